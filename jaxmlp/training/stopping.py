"""Stopping: when a fit should end before its last epoch, and the best parameters that it met until then."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from jaxmlp.registry import unknown_name
from jaxmlp.training.metrics import METRICS
from jaxmlp.types import ArgumentError, EpochReport, Params

MONITORED = ("loss", "score")
TIES = ("first", "last")


@dataclass(frozen=True)
class Stopping:
    """When to end a fit early; what is None never ends it.

    Attributes:
        patience: epochs in a row without an improvement on the validation data. Where it is given, a fit
            returns the parameters of its best epoch.
        monitor: what should improve: the validation "loss", or the "score".
        min_improvement: by how much it must improve to count, at least 0.
        target_score: the score to reach, on the validation data, or the training data where there are none.
        seconds: wall-clock time after which no further epoch is begun.
        keep_best: whether a fit without patience returns the parameters of its best epoch, too.
        ties: which of equally good epochs is the best, the "first" or the "last"; the last one is waited from.

    Raises:
        ArgumentError: a number out of its range, or nothing of that name to monitor.

    Example:
        >>> Stopping(patience=5, monitor="score").patience
        5
    """

    patience: int | None = None
    monitor: str = "loss"
    min_improvement: float = 0.0
    target_score: float | None = None
    seconds: float | None = None
    keep_best: bool = False
    ties: str = "first"

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise ArgumentError(f"patience must be at least 1 epoch, given {self.patience}; None never stops")
        if self.monitor not in MONITORED:
            raise unknown_name("monitored quantity", self.monitor, MONITORED)
        if self.ties not in TIES:
            raise unknown_name("choice among ties", self.ties, TIES)
        if not 0 <= self.min_improvement < math.inf:
            raise ArgumentError(
                f"the smallest improvement must be a number of at least 0, given {self.min_improvement:g}"
            )
        if self.target_score is not None and not math.isfinite(self.target_score):
            raise ArgumentError(f"the target score must be a finite number, given {self.target_score:g}")
        if self.seconds is not None and not self.seconds > 0:
            raise ArgumentError(f"the time limit must be above 0 seconds, given {self.seconds:g}")

    @property
    def keeps_best(self) -> bool:
        """Whether the best epoch is watched for."""
        return self.keep_best or self.patience is not None


NEVER = Stopping()


class Best(NamedTuple):
    """The best epoch of a fit until now.

    Attributes:
        params: the parameters after it.
        epoch: its number, from 1.
        value: the monitored loss or score on the validation data.
    """

    params: Params
    epoch: int
    value: float


def better(
    stopping: Stopping, metric: str, best: Best | None, report: EpochReport, params: Params
) -> Best | None:
    """Keep the better of the best epoch until now and the one just ended."""
    value = _monitored(stopping, report)
    if not stopping.keeps_best or value is None or not math.isfinite(value):
        return best
    if best is not None:
        more_is_better = stopping.monitor == "score" and METRICS[metric].more_is_better
        gain = value - best.value if more_is_better else best.value - value
        # By default strictly: an epoch that is only as good does not count, and a flat run ends.
        counts = gain > stopping.min_improvement or (stopping.ties == "last" and gain == 0)
        if not counts:
            return best
    return Best(params, report.epoch, value)


def reason_to_stop(
    stopping: Stopping, metric: str, best: Best | None, report: EpochReport, seconds: float
) -> str | None:
    """Tell why a fit should end after an epoch."""
    if stopping.target_score is not None:
        score = report.train_score if report.valid_score is None else report.valid_score
        sign = 1 if METRICS[metric].more_is_better else -1
        if sign * score >= sign * stopping.target_score:
            return "target"
    # An epoch without validation data, as before a resumption that brings some, was not waited for.
    if stopping.patience is not None and _monitored(stopping, report) is not None:
        waited = report.epoch - (0 if best is None else best.epoch)
        if waited >= stopping.patience:
            return "patience"
    return "time" if stopping.seconds is not None and seconds >= stopping.seconds else None


def _monitored(stopping: Stopping, report: EpochReport) -> float | None:
    return report.valid_loss if stopping.monitor == "loss" else report.valid_score
