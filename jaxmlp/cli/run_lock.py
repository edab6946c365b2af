"""The lock of a run folder, so that two runs never write into one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from jaxmlp import ArgumentError

LOCK = ".lock"
LOOK = 0.2  # seconds: one that only looks, as compare.py does, holds the lock for a moment


class Lock:
    """A run folder that is held."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, os.stat(path)

    @property
    def is_held(self) -> bool:
        """Whether the folder is still the one that was locked: neither deleted nor made anew by another run."""
        try:
            return os.path.samestat(os.stat(self._path), self._file)
        except OSError:
            return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold a run folder inside a `with`; the lock goes with the process, however that ends."""
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOOK)
    except filelock.Timeout:
        raise ArgumentError(
            f"{folder} is in use by a run that has not ended: wait for it or stop it, "
            "or begin another with --out"
        ) from None
    except OSError as error:
        raise ArgumentError(
            f"the run folder {folder} cannot be written ({error.strerror}): make it writable, "
            "or begin another run with --out"
        ) from None
    try:
        held = Lock(folder / LOCK)
        try:
            yield held
        finally:
            # Before it is released: one that has opened the file meanwhile sees that it is gone, and takes no lock.
            if held.is_held:
                with contextlib.suppress(OSError):
                    (folder / LOCK).unlink()
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Tell whether a run holds a folder, without changing anything in it."""
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
