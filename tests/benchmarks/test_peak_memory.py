import subprocess
import sys

import numpy as np
import peak_memory
import pytest
from command_runs import EXPERIMENTS

LARGE = 64 * 2**20
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a peak")


FREEING = """
import numpy as np
import peak_memory

def hold(size):
    return np.ones(size, np.uint8)

def kept():
    hold(2**21)  # once freed, it has the C library keep such sizes
    own = peak_memory.begin_peak()
    many = [hold(2**20) for _ in range(64)]
    del many[:-1]  # the last holds the end of the heap, so that nothing is cut off there
    return peak_memory._read_status("VmRSS") - own

print(kept())
with peak_memory.returning_freed():
    print(kept())
print(kept())
"""


def hold(size: int) -> np.ndarray:
    return np.ones(size, np.uint8)


@needs_linux
def test_the_peak_is_of_what_was_held_since_the_beginning() -> None:
    peak_memory.begin_peak()
    before = peak_memory.peak_bytes()
    held = hold(2 * LARGE)
    assert before is not None
    assert peak_memory.peak_bytes() - before > 1.8 * LARGE  # type: ignore[operator]
    del held
    own = peak_memory.begin_peak()
    assert own is not None
    assert peak_memory.peak_bytes() - own < LARGE / 2  # type: ignore[operator]
    hold(LARGE)  # freed at once, and yet a peak
    above = peak_memory.peak_bytes() - own  # type: ignore[operator]
    assert 0.9 * LARGE < above < 1.5 * LARGE


@needs_linux
@pytest.mark.skipif(peak_memory._c_library() is None, reason="only glibc can be told")
def test_freed_memory_goes_back_to_the_system_where_that_is_wanted_and_nowhere_else() -> None:
    # In a process of its own: what others have freed before would be taken again, and lies where it lies.
    done = subprocess.run(
        [sys.executable, "-c", FREEING],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=EXPERIMENTS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, inside, after = map(int, done.stdout.split())
    assert before > 48 * 2**20
    assert inside < 8 * 2**20
    assert after > 48 * 2**20


def test_where_no_peak_can_be_forgotten_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "FORGET", peak_memory.Path("/proc/is not there"))
    monkeypatch.setattr(peak_memory, "STATUS", peak_memory.Path("/proc/is not there"))
    assert peak_memory.begin_peak() is None
    assert peak_memory.peak_bytes() is None


def test_a_device_that_counts_for_itself_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"bytes_in_use": 3, "peak_bytes_in_use": 7}
    monkeypatch.setattr(peak_memory, "_device_statistics", lambda: told)
    assert (peak_memory.begin_peak(), peak_memory.peak_bytes()) == (3, 7)
