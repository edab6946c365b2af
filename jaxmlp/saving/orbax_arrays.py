"""Arrays in files, by orbax: the one file that knows it, and imports it when it is called."""

import contextlib
import errno
import logging
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

BYTES = "bytes"


def save_arrays(path: Path, arrays: Sequence[np.ndarray]) -> None:
    """Save arrays in a new folder; where none has an element there is nothing to save, and no folder."""
    # All bytes as one array: with one write in flight, one that fails leaves no other behind, which would write into
    # the deleted folder; less CPU time than with an array each; and no type or size that orbax does not take.
    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays if array.size]
    if not parts:
        return
    import orbax.checkpoint as ocp  # here, because it takes long

    try:
        with _quiet(), contextlib.closing(_checkpointer()) as checkpointer:
            checkpointer.save(path, args=ocp.args.PyTreeSave({BYTES: np.concatenate(parts)}))
    except ValueError as error:
        # TensorStore, which writes for orbax, tells so of a full disk and of files that are gone.
        told = re.search(r"os_error_code='(\d+)'", str(error))
        number = int(told[1]) if told else errno.EIO
        raise OSError(number, os.strerror(number), str(path.parent)) from error


def load_arrays(path: Path, shapes: Sequence[jax.ShapeDtypeStruct]) -> list[np.ndarray]:
    """Load what `save_arrays` saved."""
    sizes = [math.prod(shape.shape) * np.dtype(shape.dtype).itemsize for shape in shapes]
    stored = np.empty(0, np.uint8)
    if sum(sizes):
        import orbax.checkpoint as ocp

        as_numpy = {BYTES: ocp.RestoreArgs(restore_type=np.ndarray)}
        with _quiet(), contextlib.closing(_checkpointer()) as checkpointer:
            args = ocp.args.PyTreeRestore({BYTES: 0}, restore_args=as_numpy)
            stored = checkpointer.restore(path.absolute(), args=args)[BYTES]
    if stored.shape != (sum(sizes),) or stored.dtype != np.uint8:
        raise ValueError(
            f"{stored.shape} numbers of {stored.dtype} are stored, and {sum(sizes)} bytes were expected"
        )
    ends = np.cumsum(sizes, dtype=int)
    return [
        stored[end - size : end].copy().view(shape.dtype).reshape(shape.shape)
        for shape, size, end in zip(shapes, sizes, ends, strict=True)
    ]


def _checkpointer() -> Any:
    import orbax.checkpoint as ocp

    # This process alone, so that it waits for no other one of a run of several; all of them read.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax from printing the traceback of what it raises."""
    logger = logging.getLogger("absl")
    logger.addFilter(_not_of_orbax)
    try:
        yield
    finally:
        logger.removeFilter(_not_of_orbax)


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts
