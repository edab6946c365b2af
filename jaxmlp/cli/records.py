"""The records of a run, written as its epochs end: the table, checkpoints, and events for TensorBoard.

What cannot be written, as on a full disk, is told once and tried again: it does not end the training.
"""

import contextlib
import csv
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

import jaxmlp
from jaxmlp import ArgumentError, EpochReport, FitState, Network, history_columns
from jaxmlp.cli.options import OF_THIS_CALL, RunOptions
from jaxmlp.cli.run import CHECKPOINTS, METRICS, MODEL, Lock
from jaxmlp.cli.session import one_line
from jaxmlp.datasets import Dataset
from jaxmlp.datasets.problem import Problem
from jaxmlp.saving import (
    CheckpointWriter,
    check_description,
    checkpoints_in,
    fit_arrays,
    latest_checkpoint,
    restore_fit,
)
from jaxmlp.saving.model_file import describe_network
from jaxmlp.training.metrics import METRICS as SCORES

EVENTS = "events"


def write_metrics(folder: Path, history: Sequence[EpochReport], metric: str) -> None:
    """Write metrics.csv anew, all at once; rows of epochs that the history does not hold are gone."""
    unfinished = folder / f"{METRICS}.unfinished"
    try:
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if history:
                writer.writerow(history_columns(tuple(history), metric))
                writer.writerows(_rows(history, metric))
        os.replace(unfinished, folder / METRICS)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def add_row(folder: Path, report: EpochReport, metric: str) -> None:
    """Add the row of an epoch; before the first one, the columns' names."""
    path = folder / METRICS
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if size == 0:
                writer.writerow(history_columns((report,), metric))
            writer.writerows(_rows((report,), metric))
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise


def _rows(history: Sequence[EpochReport], metric: str) -> Iterator[list[str]]:
    # A value that was never measured is left empty; one that is NaN says so.
    columns = history_columns(tuple(history), metric)
    for place, report in enumerate(history):
        absent = report.valid_loss is None
        yield [
            "" if absent and name.startswith("valid_") else repr(column[place].item())
            for name, column in columns.items()
        ]


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


def describe_run(net: Network, problem: Problem, dataset: Dataset, options: RunOptions) -> dict[str, Any]:
    """Say what a checkpoint is of: all that its arrays follow from."""
    # Where the data are, and the names of files, do not change what is trained.
    of_no_matter = {*OF_THIS_CALL, "out", "dataset"}
    asked = {name: value for name, value in dataclasses.asdict(options).items() if name not in of_no_matter}
    return {
        "version": jaxmlp.__version__,
        "data set": dataset.identity,
        "network": describe_network(net),
        "loss": problem.loss,
        "metric": problem.metric,
        "options": asked,
    }


def read_progress(folder: Path, like: FitState, description: dict[str, Any]) -> tuple[FitState, list[str]]:
    """Find where an interrupted run stood."""
    if not checkpoints_in(folder / CHECKPOINTS):
        if (folder / MODEL).exists():
            raise ArgumentError(f"{folder} has ended and holds no checkpoint to go on from: begin a new run")
        return like, [f"{folder} holds no checkpoint yet: the run begins anew"]
    checkpoint, notes = latest_checkpoint(folder / CHECKPOINTS)
    _check_contents(checkpoint.description, description)
    check_description(checkpoint.description, description)
    state = restore_fit(checkpoint.arrays, like)
    return state, [
        *notes,
        f"going on after epoch {checkpoint.epoch}, from the checkpoint in {folder / CHECKPOINTS}",
    ]


def _check_contents(found: Any, wanted: dict[str, Any]) -> None:
    """Say of a file of the same name that it is not what it was, rather than only which sums differ."""
    before, now = (each.get("data set") if isinstance(each, dict) else None for each in (found, wanted))
    if not isinstance(before, dict) or not isinstance(now, dict) or before.get("name") != now.get("name"):
        return
    if before.get("sha256") != now.get("sha256"):
        raise ArgumentError(
            f"the contents of {now['name']} have changed since the run began (SHA-256 {before.get('sha256')} then, "
            f"{now.get('sha256')} now): give the file as it was with --dataset, or begin a new run"
        )


def why(error: Exception) -> str:
    """Say in a few words why something could not be written."""
    nameless = isinstance(error, OSError) and error.strerror and error.filename is None
    return str(error.strerror) if nameless else one_line(error)  # type: ignore[attr-defined]


def last_saved(folder: Path) -> int:
    """Tell the epoch of a run's newest checkpoint."""
    return max(checkpoints_in(folder / CHECKPOINTS), default=0)


class Records:
    """What a run has written, and how it stands.

    Attributes:
        latest: the state after the last epoch.
        begun: how many checkpoints it has begun to write.
    """

    def __init__(
        self,
        folder: Path,
        lock: Lock,
        options: RunOptions,
        metric: str,
        description: dict[str, Any],
        writer: CheckpointWriter | None,
        events: EventFile | None,
    ) -> None:
        self.latest: FitState | None = None
        self.begun = 0
        self._folder, self._options, self._metric, self._description = folder, options, metric, description
        self._lock, self._writer, self._events = lock, writer, events
        self._saved, self._is_due = 0, False
        self._table_is_whole, self._is_closing = True, False
        self._told: set[object] = set()

    def save(self, state: FitState) -> None:
        """Write what is due after an epoch; `fit` calls it."""
        self.latest, report = state, state.history[-1]
        if not self._lock.is_held:  # and what another run has made in its place is none of ours
            self._tell_gone()
            return
        self._table_is_whole = self._try("the table's row", lambda: self._add_row(state))
        if self._events is not None:
            events = self._events
            self._try("events", lambda: events.add(report, self._metric))
        every = self._options.checkpoint_every
        self._is_due |= bool(every) and report.epoch % every == 0
        # Where epochs are shorter than the writing of a checkpoint, to wait for it would cost more than they do.
        if self._is_due and self._writer is not None and not self._writer.is_busy:
            self._checkpoint(state)

    def close(self) -> None:
        """Write the last epoch's checkpoint, and wait until all is written."""
        state, self._is_closing = self.latest, True
        if state is not None and state.history[-1].epoch != self._saved and self._lock.is_held:
            self._checkpoint(state)
        if self._writer is not None:
            self._try("a checkpoint", self._writer.close)
        if self._events is not None:
            self._try("events", self._events.close)

    def _add_row(self, state: FitState) -> None:
        if self._table_is_whole:
            add_row(self._folder, state.history[-1], self._metric)
        else:  # rows before this one are missing
            write_metrics(self._folder, state.history, self._metric)

    def _checkpoint(self, state: FitState) -> None:
        if self._writer is None:
            return
        writer, report = self._writer, state.history[-1]
        self._is_due = False

        def begin() -> None:
            writer.save(report.epoch, fit_arrays(state), self._description, self._value(report))
            self._saved = report.epoch
            self.begun += 1

        # The first call may tell of a checkpoint before this one; this one is then begun by the second.
        if not self._try("a checkpoint", begin):
            self._try("a checkpoint", begin)

    def _value(self, report: EpochReport) -> float | None:
        # Without a validation part `fit` measures the test part, which must not choose anything.
        has_valid = self._options.validation > 0
        if self._options.monitor == "score":
            return report.valid_score if has_valid else report.train_score
        return report.valid_loss if has_valid else report.train_loss

    def _try(self, what: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except (OSError, ArgumentError) as error:
            if not self._lock.is_held:
                self._tell_gone()
                return False
            # By its kind: the names of files change from epoch to epoch.
            kind = (what, getattr(error, "errno", None) or str(error))
            then = (
                "those before it are kept" if self._is_closing else "training goes on, and the next is tried"
            )
            self._tell(kind, f"{what} could not be written ({why(error)}): {then}")
            return False
        return True

    def _tell_gone(self) -> None:
        self._tell(
            "gone", f"the run folder {self._folder} is gone: nothing is saved until the training has ended"
        )

    def _tell(self, kind: object, line: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            tqdm.write(f"train.py: {line}", file=sys.stderr)


@contextlib.contextmanager
def recording(
    folder: Path,
    lock: Lock,
    options: RunOptions,
    metric: str,
    description: dict[str, Any],
    before: FitState,
) -> Iterator[Records]:
    """Open the records of a run inside a `with`; rows of epochs that it has not done are cut off."""
    write_metrics(folder, before.history, metric)
    writer = None
    if options.checkpoint_every:
        more_is_better = options.monitor == "score" and SCORES[metric].more_is_better
        better = "larger" if more_is_better else "smaller"
        writer = CheckpointWriter(folder / CHECKPOINTS, keep=options.keep, better=better)
    events = event_file(folder) if options.tensorboard else None
    records = Records(folder, lock, options, metric, description, writer, events)
    try:
        yield records
    finally:
        records.close()
