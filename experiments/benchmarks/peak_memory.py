"""The peak memory of what is done between two moments, apart from all that the process took before."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Of glibc's mallopt, and the sizes that it would come to by itself in a program of large arrays.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
USUAL_TRIM, USUAL_MMAP = 64 * 2**20, 32 * 2**20
RETURNED = 64 * 2**10


@contextlib.contextmanager
def returning_freed() -> Iterator[None]:
    """Let freed memory go back to the system inside a `with`, where the C library can: else it counts as in use.

    Allocations are slower inside, so nothing should be timed there.
    """
    _set_thresholds(RETURNED, RETURNED)
    try:
        yield
    finally:
        _set_thresholds(USUAL_TRIM, USUAL_MMAP)


def _set_thresholds(trim: int, mmap: int) -> None:
    library = _c_library()
    if library is not None:
        library.mallopt(TRIM_THRESHOLD, trim)
        library.mallopt(MMAP_THRESHOLD, mmap)


def begin_peak() -> int | None:
    """Forget the peak so far, where that can be done; a device's own peak is that of the whole process."""
    of_device = _device_statistics()
    if "peak_bytes_in_use" in of_device:
        return of_device["bytes_in_use"]
    gc.collect()
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)
    try:
        FORGET.write_text("5", encoding="ascii")
        return _read_status("VmRSS")
    except OSError:
        return None


def peak_bytes() -> int | None:
    """Tell the peak since `begin_peak`, of the same memory; None where that cannot be told."""
    of_device = _device_statistics()
    if "peak_bytes_in_use" in of_device:
        return of_device["peak_bytes_in_use"]
    try:
        return _read_status("VmHWM")
    except OSError:
        return None


def _device_statistics() -> dict[str, int]:
    return next(iter(jnp.zeros(()).devices())).memory_stats() or {}


def _c_library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # there is none to be had on Windows
        return None
    return library if hasattr(library, "malloc_trim") else None  # only glibc has it


def _read_status(name: str) -> int:
    """Read an entry of Linux's account of this process, which it gives in kibibytes."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
