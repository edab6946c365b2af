"""A writer of checkpoints that works beside the training, so that no epoch waits for the disk."""

import errno
import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from jaxmlp.checks import check_size
from jaxmlp.registry import unknown_name
from jaxmlp.saving.descriptions import plain_data
from jaxmlp.saving.files import (
    AnyPath,
    check_same_folder,
    checkpoints_in,
    clean,
    discard,
    value_of,
    write_checkpoint,
)

# One that is being written and one that waits: more would hold more memory and tell of a full disk later.
WAITING = 2
BETTER = ("smaller", "larger")


class CheckpointWriter:
    """Writes the checkpoints of one run in a thread of its own and deletes those that are no longer wanted.

    A failure there (a full disk, a folder that is gone) is raised by the next `save` or by `close`; the
    checkpoints before it stay whole.

    Args:
        folder: where the checkpoints are; made where it is missing, and cleared of unfinished ones.
        keep: how many of the last checkpoints are kept.
        better: "smaller" or "larger": also keeps the one of the best value; None keeps the last ones alone.

    Raises:
        ArgumentError: a number below 1, or an unknown word.
        OSError: the folder cannot be made or written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with CheckpointWriter(folder, keep=2, better="smaller") as writer:
        ...         for epoch, loss in enumerate([0.9, 0.2, 0.3, 0.4, 0.5], 1):
        ...             writer.save(epoch, {"w": np.ones(2)}, {"network": "mine"}, loss)
        ...     list(checkpoints_in(folder))
        [2, 4, 5]
    """

    def __init__(self, folder: AnyPath, *, keep: int = 3, better: str | None = None) -> None:
        check_size("number of checkpoints to keep", keep)
        if better is not None and better not in BETTER:
            raise unknown_name("better value", better, BETTER)
        self._folder = Path(folder).absolute()
        self._keep = keep
        self._better = better
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self._folder))
        clean(self._folder)
        self._descriptor = os.open(self._folder, os.O_RDONLY)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: deque[Future[None]] = deque()
        self._closed = False

    def save(
        self, epoch: int, arrays: Mapping[str, Any], description: Any, value: float | None = None
    ) -> None:
        """Have a checkpoint written; waits only while two others are not written yet.

        Checkpoints of later epochs, which a run that went back has left, are deleted with it.

        Args:
            epoch: epochs done.
            arrays: arrays of JAX or NumPy by name, as of `named_arrays`; those of JAX must not be donated later.
            description: plain JSON data, which say what the arrays are of.
            value: how good it is; None and NaN are never the best.

        Raises:
            ArgumentError: the description is not plain data.
            OSError: an earlier checkpoint could not be written. This one is not begun; the next may be.
        """
        if self._closed:
            raise RuntimeError("the writer of checkpoints is closed")
        self._raise_failures(leave=WAITING - 1)
        # What could be altered before it is written is copied; JAX's own arrays cannot be.
        plain = plain_data(description)
        kept = {
            name: array.copy() if isinstance(array, np.ndarray) else array for name, array in arrays.items()
        }
        self._pending.append(self._pool.submit(self._write, epoch, kept, plain, value))

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is still being written, so that one more would cost the training time."""
        return any(not future.done() for future in self._pending)

    def close(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: a checkpoint could not be written.
        """
        self._pool.shutdown()
        if not self._closed:
            os.close(self._descriptor)
        self._closed = True
        self._raise_failures(leave=0)

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            # What ended the run matters more, and takes this along.
            error.add_note(f"besides, a checkpoint could not be written: {failure}")

    def _raise_failures(self, leave: int) -> None:
        failures = []
        while self._pending and (self._pending[0].done() or len(self._pending) > leave):
            wait([self._pending[0]])
            failures.append(self._pending.popleft().exception())
        told = [failure for failure in failures if failure is not None]
        for other in told[1:]:
            told[0].add_note(f"besides, another checkpoint could not be written: {other}")
        if told:
            raise told[0]

    def _write(self, epoch: int, arrays: Mapping[str, Any], description: Any, value: float | None) -> None:
        check_same_folder(self._folder, self._descriptor)
        write_checkpoint(self._folder, epoch, arrays, description, value)
        found = checkpoints_in(self._folder)
        for other, path in found.items():
            if other not in self._kept(found, epoch):
                discard(path)

    def _kept(self, found: dict[int, Path], epoch: int) -> set[int]:
        line = [other for other in found if other <= epoch]
        kept = set(line[-self._keep :])
        values = {other: value for other in line if (value := value_of(found[other])) is not None}
        if self._better is not None and values:
            best = min if self._better == "smaller" else max
            kept.add(best(values, key=lambda other: values[other]))  # the earliest of equals
        return kept
