import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxmlp.cli.session import interruption

# Waits in one call that no handler of Python's interrupts, as a compiled program does.
COMPUTE = """
import ctypes, sys
from jaxmlp.cli.session import interruption
sys.argv[0] = "train.py"
libc = ctypes.CDLL(None)
with interruption("go on with --resume") as asked:
    print("ready", flush=True)
    left = 100
    while left and asked.signal is None:
        left = libc.sleep(left)
    print(asked.signal.name, flush=True)
    for _ in range(10_000):
        libc.usleep(10_000)
"""


SIGNALS = pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
TOLD = "ending after this epoch; once more ends at once\n"


@SIGNALS
def test_the_first_signal_is_noted_and_told(
    number: signal.Signals, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with interruption() as asked:
        assert (asked.signal, asked.status) == (None, 0)
        os.kill(os.getpid(), number)
        end = time.monotonic() + 30
        while asked.signal is None and time.monotonic() < end:
            time.sleep(0.001)
        assert (asked.signal, asked.status) == (number, status)
    said = capfd.readouterr().err
    assert f": {number.name}: {TOLD}" in said
    assert len(said.splitlines()) == 1


def test_outside_everything_is_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads = threading.active_count()
    with interruption():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_another_signal_asks_for_nothing() -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with interruption() as asked:
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(0.05)
            assert asked.signal is None
    finally:
        signal.signal(signal.SIGUSR1, before)


@SIGNALS
def test_a_second_signal_ends_at_once_even_within_a_long_call(number: signal.Signals, status: int) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", COMPUTE], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stderr.readline() == f"train.py: {number.name}: {TOLD}"
            process.send_signal(number)
            rest = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert process.returncode == status
    assert rest == f"train.py: {number.name} once more: ended at once; go on with --resume\n"
