"""Events of a run for TensorBoard: a scalar a column of its table, one point an epoch."""

import contextlib
import time
from pathlib import Path
from typing import Any

from jaxmlp import ArgumentError, EpochReport, history_columns

EVENTS = "events"


class EventFile:
    """The events of one run, in files that are numbered in the order in which they were begun.

    They are written at once and by the caller. The package's own `SummaryWriter` writes in a thread, which dies on a
    full disk; whoever adds a point then waits for it for ever.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / EVENTS
        self._writer: Any = None
        self._path: Path | None = None  # of a file without a point so far

    def add(self, report: EpochReport, metric: str) -> None:
        """Add the point of an epoch to every curve, and see it written."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=column[0])
            for name, column in history_columns((report,), metric).items()
            if name != "epoch" and not (name.startswith("valid_") and report.valid_loss is None)
        ]
        try:
            if self._writer is None:
                self._begin(report.epoch)
            self._write(Event(step=report.epoch, summary=Summary(value=values)))
            self._writer.flush()
            self._path = None
        except OSError:
            # A record may be there in part, and nothing could be read behind it.
            self.close()
            with contextlib.suppress(OSError):
                if self._path is not None:
                    self._path.unlink()
            raise

    def close(self) -> None:
        """Close the file, if one is open."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):  # what could not be written has been told
                writer.close()

    def _begin(self, epoch: int) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter

        self._folder.mkdir(exist_ok=True)
        # TensorBoard reads files in the order of their names; the clock may jump, a count does not.
        number = sum(1 for _ in self._folder.iterdir())
        self._path = self._folder / f"{number:04d}.out.tfevents.{time.time():.0f}"
        self._writer = RecordWriter(str(self._path))
        self._write(Event(file_version="brain.Event:2"))
        if number:
            # Hides points of this epoch and later ones, which a run that was killed has left.
            self._write(Event(step=epoch, session_log=SessionLog(status=SessionLog.START)))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())


def event_file(folder: Path) -> EventFile:
    """Keep the events of a run in its folder."""
    try:
        import tensorboardX  # noqa: F401
    except ModuleNotFoundError:
        raise ArgumentError(
            "--tensorboard needs the package tensorboardX: python -m pip install -e '.[tensorboard]'"
        ) from None
    return EventFile(folder)
