"""What a sweep tries, what it reports, and the ranking that follows: plain data, nothing is trained here."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxmlp.network import Network
from jaxmlp.training.metrics import METRICS
from jaxmlp.types import ArgumentError, check_whole


@dataclass(frozen=True)
class Trial:
    """One network to be trained, as `fit` would train it."""

    net: Network
    optimizer: str = "sgd"  # a name, with its parameter where it takes one; the parameter is traced
    learning_rate: float | None = None  # None takes the optimiser's own
    batch_size: int = 32
    schedule: str = "constant"  # a name; it runs over the trial's epochs
    clip_norm: float | None = None  # the gradient's norm is held to this; None leaves it
    l2: float = 0.0  # strength of the penalty on weights
    init_scale: float = 1.0  # a factor on the initial weights
    epochs: int | None = None  # how long it trains; None as long as the sweep
    seed: int = 0  # of everything drawn
    fold: int | None = None  # which fold is held out, from 0; None without folds

    @property
    def setting(self) -> "Trial":
        """What is tried, whatever the seed and the fold."""
        return dataclasses.replace(self, seed=0, fold=None)


@dataclass(frozen=True)
class Halving:
    """Successive halving: at each rung the best 1/eta of the settings go on, the others stop.

    Attributes:
        first: epochs of the first rung.
        eta: each rung trains eta times as long as the last, and keeps one setting in eta.

    Source: K. Jamieson and A. Talwalkar, "Non-stochastic best arm identification and hyperparameter
    optimization", 2016.
    """

    first: int
    eta: int = 3

    def __post_init__(self) -> None:
        check_whole("number of epochs of the first rung", self.first)
        check_whole("eta", self.eta, 2, advice=": 3 keeps a third")

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """List the epochs at which settings are compared: first, first·eta, first·eta² …, then the whole run.

        Example:
            >>> Halving(first=2, eta=3).rungs(50)
            (2, 6, 18, 50)
        """
        if self.first >= epochs:
            raise ArgumentError(
                f"the first rung must be shorter than the run of {epochs} epoch{'' if epochs == 1 else 's'}, given "
                f"{self.first}: train for more epochs, or compare sooner"
            )
        rungs, epoch = [], self.first
        while epoch < epochs:
            rungs.append(epoch)
            epoch *= self.eta
        return (*rungs, epochs)

    def kept(self, settings: int) -> int:
        """Count the settings that go on: ⌈settings / eta⌉."""
        return -(-settings // self.eta)


class TrialReport(NamedTuple):
    """How a trial stood at a rung, or at its end."""

    number: int  # its place among the trials, from 0
    epochs: int  # epochs trained
    loss: float  # the objective on the held-out data
    score: float  # the metric there
    diverged: bool  # whether the loss or a parameter became NaN or infinite


class Standing(NamedTuple):
    """A setting's place in the ranking, over its seeds and folds."""

    setting: Trial  # what was tried
    numbers: tuple[int, ...]  # its trials
    epochs: int  # epochs that all of them trained
    scores: tuple[float, ...]  # of those that did not diverge, by number
    loss: float  # mean loss of those; NaN where there are none
    diverged: int  # how many did

    @property
    def score(self) -> float:
        """The mean score, which ranks; NaN where every trial diverged."""
        return float(np.mean(self.scores)) if self.scores else float("nan")


def rank(
    trials: Sequence[Trial], reports: Iterable[TrialReport], metric: str, epochs: int
) -> tuple[Standing, ...]:
    """Rank settings by the mean score of their trials; those that diverged come last, those stopped early before."""
    by_setting: dict[Trial, list[TrialReport]] = {}
    for report in reports:
        by_setting.setdefault(trials[report.number].setting, []).append(report)
    sign = -1 if METRICS[metric].more_is_better else 1

    def standing_of(setting: Trial, group: Sequence[TrialReport]) -> Standing:
        sound = [report for report in group if not report.diverged]
        return Standing(
            setting,
            tuple(report.number for report in group),
            min(report.epochs for report in group),
            tuple(report.score for report in sound),
            float(np.mean([report.loss for report in sound])) if sound else float("nan"),
            len(group) - len(sound),
        )

    def worst_last(standing: Standing) -> tuple[float, ...]:
        ended = standing.epochs >= (standing.setting.epochs or epochs)
        score, loss = (sign * standing.score, standing.loss) if standing.scores else (np.inf, np.inf)
        return (standing.diverged, -np.inf if ended else -standing.epochs, score, loss)

    return tuple(sorted(itertools.starmap(standing_of, by_setting.items()), key=worst_last))


def planned_epochs(trials: Sequence[Trial], epochs: int, halving: Halving | None = None) -> int:
    """Count the epochs of a sweep, summed over its networks, for a progress bar."""
    if halving is None:
        return sum(trial.epochs or epochs for trial in trials)
    settings = len({trial.setting for trial in trials})
    each, done, total = len(trials) / settings, 0, 0.0
    for rung in halving.rungs(epochs):
        total += settings * each * (rung - done)
        settings, done = halving.kept(settings), rung
    return round(total)
