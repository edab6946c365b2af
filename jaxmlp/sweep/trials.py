"""What a sweep tries, what it reports, and the ranking that follows: plain data, nothing is trained here."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxmlp.checks import check_size
from jaxmlp.network import Network
from jaxmlp.training.metrics import METRICS
from jaxmlp.types import ArgumentError


@dataclass(frozen=True)
class Trial:
    """One network to be trained, as `fit` would train it alone.

    Attributes:
        net: the network.
        optimizer: an optimiser's name, with its parameter where it takes one; the parameter is traced.
        learning_rate: None takes the optimiser's own.
        batch_size: B.
        schedule: a schedule's name; the run's length is that of the whole sweep.
        clip_norm: the gradient's norm is held to this; None leaves it.
        l2: strength of the penalty on weights.
        init_scale: a factor on the initial weights.
        seed: of everything drawn.
        fold: which fold is held out, from 0; None without folds.
    """

    net: Network
    optimizer: str = "sgd"
    learning_rate: float | None = None
    batch_size: int = 32
    schedule: str = "constant"
    clip_norm: float | None = None
    l2: float = 0.0
    init_scale: float = 1.0
    seed: int = 0
    fold: int | None = None

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
        check_size("number of epochs of the first rung", self.first)
        if isinstance(self.eta, bool) or not isinstance(self.eta, int) or self.eta < 2:
            raise ArgumentError(
                f"eta must be a whole number of at least 2, given {self.eta!r}: 3 keeps a third"
            )

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """List the epochs at which settings are compared, the last of them the whole run.

        Args:
            epochs: of the whole run.

        Returns:
            first, first·eta, first·eta² … below `epochs`, then `epochs`.

        Raises:
            ArgumentError: the first rung is no shorter than the run.

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
        """Count the settings that go on: ⌈settings / eta⌉.

        Args:
            settings: how many there were.

        Returns:
            How many go on, at least 1.

        Example:
            >>> Halving(first=1, eta=3).kept(10)
            4
        """
        return -(-settings // self.eta)


class TrialReport(NamedTuple):
    """How a trial stood at a rung, or at its end.

    Attributes:
        number: its place among the trials, from 0.
        epochs: epochs trained.
        loss: the objective on the held-out data.
        score: the metric there.
        diverged: whether the loss or a parameter became NaN or infinite.
    """

    number: int
    epochs: int
    loss: float
    score: float
    diverged: bool


class Standing(NamedTuple):
    """A setting's place in the ranking, over its seeds and folds.

    Attributes:
        setting: what was tried.
        numbers: its trials.
        epochs: epochs that all of them trained.
        scores: of those that did not diverge, by number.
        loss: mean loss of those; NaN where there are none.
        diverged: how many did.
    """

    setting: Trial
    numbers: tuple[int, ...]
    epochs: int
    scores: tuple[float, ...]
    loss: float
    diverged: int

    @property
    def score(self) -> float:
        """The mean score, which ranks; NaN where every trial diverged."""
        return float(np.mean(self.scores)) if self.scores else float("nan")


def rank(trials: Sequence[Trial], reports: Iterable[TrialReport], metric: str) -> tuple[Standing, ...]:
    """Rank settings by the mean score of their trials; those that diverged come last, those stopped early before."""
    by_setting: dict[Trial, list[TrialReport]] = {}
    for report in reports:
        by_setting.setdefault(trials[report.number].setting, []).append(report)
    sign = -1 if METRICS[metric].more_is_better else 1
    standings = [_standing(setting, group) for setting, group in by_setting.items()]

    def worst_last(standing: Standing) -> tuple[float, ...]:
        if not standing.scores:
            return (standing.diverged, -standing.epochs, np.inf, np.inf)
        return (standing.diverged, -standing.epochs, sign * standing.score, standing.loss)

    return tuple(sorted(standings, key=worst_last))


def _standing(setting: Trial, reports: Sequence[TrialReport]) -> Standing:
    sound = [report for report in reports if not report.diverged]
    return Standing(
        setting,
        tuple(report.number for report in reports),
        min(report.epochs for report in reports),
        tuple(report.score for report in sound),
        float(np.mean([report.loss for report in sound])) if sound else float("nan"),
        len(reports) - len(sound),
    )


def planned_epochs(trials: Sequence[Trial], epochs: int, halving: Halving | None = None) -> int:
    """Count the epochs of a sweep, summed over its networks, for a progress bar."""
    if halving is None:
        return len(trials) * epochs
    settings = len({trial.setting for trial in trials})
    each, done, total = len(trials) / settings, 0, 0.0
    for rung in halving.rungs(epochs):
        total += settings * each * (rung - done)
        settings, done = halving.kept(settings), rung
    return round(total)
