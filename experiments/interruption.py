"""Interruption: SIGINT and SIGTERM end a run after the epoch in progress, so that what it reached is saved."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


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
def interruption() -> Iterator[Interruption]:
    """Note SIGINT and SIGTERM inside a `with`; a second one acts at once, as it would have outside.

    Yields:
        What was asked for.
    """
    asked = Interruption()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        asked.signal = signal.Signals(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        restore()
