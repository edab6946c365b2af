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


def is_locked(folder: Path) -> bool:
    """Tell whether a run holds a folder, without changing anything in it.

    Args:
        folder: the run folder.

    Returns:
        Whether a run that has not ended holds it; where the system has no `fcntl`, whether one has left its lock.
    """
    path = folder / LOCK
    try:
        import fcntl
    except ModuleNotFoundError:
        return path.exists()
    try:
        with path.open("rb") as file:
            # Shared, so that several may look at a time; the run's own lock excludes it.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
