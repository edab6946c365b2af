"""Arrays in files, by orbax: the one file that knows it, and imports it when it is called."""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np


def save_arrays(path: Path, arrays: Sequence[np.ndarray]) -> None:
    """Save arrays in a new folder; where none has an element there is nothing to save, and no folder.

    Args:
        path: the folder, an absolute path.
        arrays: arrays of numbers.

    Raises:
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_arrays(Path(folder, "arrays"), [np.arange(3.0), np.ones((0, 2))])
        ...     shapes = [jax.ShapeDtypeStruct((3,), float), jax.ShapeDtypeStruct((0, 2), float)]
        ...     [array.tolist() for array in load_arrays(Path(folder, "arrays"), shapes)]
        [[0.0, 1.0, 2.0], []]
    """
    # By place, because names may hold any character; and orbax takes no array without elements.
    numbered = {str(place): array for place, array in enumerate(arrays) if array.size}
    if not numbered:
        return
    import orbax.checkpoint as ocp  # here, because it takes a fifth of a second

    try:
        with contextlib.closing(_checkpointer()) as checkpointer:
            checkpointer.save(path, args=ocp.args.PyTreeSave(numbered))
    except OSError:
        raise
    except Exception as error:
        # TensorStore, which writes for orbax, tells of a full disk by a ValueError.
        told = re.search(r"OS error (\d+)", str(error))
        if told is None:
            raise
        number = int(told[1])
        raise OSError(number, os.strerror(number), str(path.parent)) from error


def load_arrays(path: Path, shapes: Sequence[jax.ShapeDtypeStruct]) -> list[np.ndarray]:
    """Load what `save_arrays` saved.

    Args:
        path: the folder.
        shapes: shape and type of each array.

    Returns:
        The arrays.

    Raises:
        ValueError, KeyError, TypeError, OSError: the files hold something else.

    Example:
        >>> load_arrays(Path("nowhere"), [])
        []
    """
    stored = {str(place): shape for place, shape in enumerate(shapes) if shape.size}
    loaded: dict[str, np.ndarray] = {}
    if stored:
        import orbax.checkpoint as ocp

        as_numpy = {place: ocp.RestoreArgs(restore_type=np.ndarray) for place in stored}
        with contextlib.closing(_checkpointer()) as checkpointer:
            loaded = checkpointer.restore(
                path.absolute(), args=ocp.args.PyTreeRestore(stored, restore_args=as_numpy)
            )
    arrays = [
        loaded[str(place)] if shape.size else np.empty(shape.shape, shape.dtype)
        for place, shape in enumerate(shapes)
    ]
    for place, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        if (array.shape, array.dtype) != (shape.shape, shape.dtype):
            raise ValueError(f"array {place} has shape {array.shape} and type {array.dtype}")
    return arrays


def _checkpointer() -> Any:
    import orbax.checkpoint as ocp

    # This process alone, whichever it is, so that it waits for no other one of a run of several processes.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)
