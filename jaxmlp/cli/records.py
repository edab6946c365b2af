"""The records of a run, a row an epoch: the table metrics.csv, and events for TensorBoard."""

import contextlib
import csv
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxmlp import EpochReport, history_columns
from jaxmlp.files import whole_file

METRICS, EVENTS = "metrics.csv", "events"


def write_metrics(folder: Path, history: Sequence[EpochReport], metric: str, part: str = "valid") -> None:
    """Write the table again, all at once; rows of epochs that the history does not hold are gone."""
    with whole_file(folder / METRICS) as file:
        _add_rows(file, history, metric, part)


def add_row(folder: Path, report: EpochReport, metric: str, part: str = "valid") -> None:
    """Add the row of an epoch, or no part of it."""
    path = folder / METRICS
    size = path.stat().st_size if path.exists() else 0
    try:
        _add_rows(path, (report,), metric, part)
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise


def _add_rows(path: Path, history: Sequence[EpochReport], metric: str, part: str) -> None:
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if history and file.tell() == 0:
            writer.writerow(history_columns(tuple(history), metric, part))
        writer.writerows(_rows(history, metric, part))


def _rows(history: Sequence[EpochReport], metric: str, part: str) -> Iterator[list[str]]:
    # A value that was never measured is left empty; one that is NaN says so.
    columns = history_columns(tuple(history), metric, part)
    for place, report in enumerate(history):
        absent = report.valid_loss is None
        yield [
            "" if absent and name.startswith(f"{part}_") else repr(column[place].item())
            for name, column in columns.items()
        ]


class EventFile:
    """The events of one run, in files that are numbered in the order in which they were begun.

    They are written at once and by the caller. `SummaryWriter` writes in a thread, which dies on a full disk;
    whoever adds a point then waits for it for ever.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._writer = folder / EVENTS, None

    def add(self, report: EpochReport, metric: str, part: str = "valid") -> None:
        """Add the point of an epoch to every curve, and see it written."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=column[0])
            for name, column in history_columns((report,), metric, part).items()
            if name != "epoch" and not (name.startswith(f"{part}_") and report.valid_loss is None)
        ]
        try:
            writer = self._writer = self._writer or self._begin(report.epoch)
            point = Event(wall_time=time.time(), step=report.epoch, summary=Summary(value=values))
            writer.write(point.SerializeToString())
            writer.flush()
        except OSError:
            self.close()  # a record may be there in part, and nothing could be read behind it
            raise

    def close(self) -> None:
        """Close the file, if one is open."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):  # what could not be written has been told
                writer.close()

    def _begin(self, epoch: int) -> Any:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter

        self._folder.mkdir(exist_ok=True)
        # TensorBoard reads files in the order of their names; the clock may jump, a count does not.
        number, now = sum(1 for _ in self._folder.iterdir()), time.time()
        writer = RecordWriter(str(self._folder / f"{number:04d}.out.tfevents.{now:.0f}"))
        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        # Hides points of this epoch and later ones, which a run that was killed has left.
        begun = SessionLog(status=SessionLog.START)
        writer.write(Event(wall_time=now, step=epoch, session_log=begun).SerializeToString())
        return writer
