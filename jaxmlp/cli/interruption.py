"""Interruption: SIGINT and SIGTERM end a run after the epoch in progress, so that what it reached is saved."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether a signal has asked to stop, and which.

    Attributes:
        signal: the signal; None as long as there was none.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def status(self) -> int:
        """The exit status by which shells tell a program that a signal ended."""
        return 0 if self.signal is None else 128 + self.signal


@contextlib.contextmanager
def interruption(advice: str = "") -> Iterator[Interruption]:
    """Note SIGINT and SIGTERM inside a `with`; a second one ends the process at once.

    Both are heard by a thread: Python's own handlers wait until the compiled program that computes an epoch returns.
    """
    asked = Interruption()
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    thread = threading.Thread(target=_listen, args=(heard, asked, advice), daemon=True)
    thread.start()
    # Python writes the number of every signal that has a handler here, before it runs the handler.
    descriptor = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        told.close()
        thread.join()
        heard.close()


def _listen(heard: socket.socket, asked: Interruption, advice: str) -> None:
    while byte := heard.recv(1):
        if byte[0] not in SIGNALS:
            continue
        number = signal.Signals(byte[0])
        if asked.signal is None:
            asked.signal = number
            _say(f"{number.name}: ending after this epoch; once more ends at once")
        else:
            _say(f"{number.name} once more: ended at once{'; ' if advice else ''}{advice}")
            os._exit(128 + number)  # all files are whole at any moment, or cleared up by the next run


def _say(text: str) -> None:
    line = f"{Path(sys.argv[0]).name}: {text}\n"
    # Not by `print`, which the other thread may be in; on a terminal a bar or "^C" stands in the line already.
    with contextlib.suppress(OSError):
        os.write(2, f"{chr(10) if os.isatty(2) else ''}{line}".encode())
