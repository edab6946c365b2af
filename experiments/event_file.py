"""Events of a run for TensorBoard: a scalar a column of its table, one point an epoch."""

from pathlib import Path
from typing import Any

from jaxmlp import ArgumentError, EpochReport, history_columns


class EventFile:
    """The events of one run.

    Args:
        writer: a SummaryWriter of tensorboardX.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, report: EpochReport, metric: str) -> None:
        """Add the point of an epoch to every curve, and see it written."""
        for name, column in history_columns((report,), metric).items():
            absent = name.startswith("valid_") and report.valid_loss is None
            if name != "epoch" and not absent:
                self._writer.add_scalar(name, column[0], report.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def event_file(folder: Path, epochs: int) -> EventFile:
    """Open the events of a run in its folder.

    Args:
        folder: the run folder.
        epochs: epochs done; points of later ones, which a run that was killed has left, are hidden.

    Returns:
        The file.

    Raises:
        ArgumentError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise ArgumentError(
            "--tensorboard needs the package tensorboardX: python -m pip install -e '.[tensorboard]'"
        ) from None
    return EventFile(SummaryWriter(str(folder / "events"), purge_step=epochs + 1 if epochs else None))
