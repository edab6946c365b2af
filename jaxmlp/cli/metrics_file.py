"""metrics.csv: one row an epoch, written when the epoch ends, so that a run that dies leaves what it measured."""

import contextlib
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxmlp import EpochReport, history_columns

METRICS = "metrics.csv"


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
