"""The lock of a run folder, so that two runs never write into one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from jaxmlp import ArgumentError

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder inside a `with`; the lock goes with the process, however that ends.

    Args:
        folder: the run folder.

    Raises:
        ArgumentError: another run holds it.
    """
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ArgumentError(
            f"{folder} is in use by a run that has not ended: wait for it or stop it, "
            "or begin another with --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
