"""The ranking: best first, over seeds and folds; the diverged last; the rungs of halving."""

import dataclasses
import math
from typing import Any

import pytest
from comparisons import refused

from jaxmlp import mlp
from jaxmlp.sweep.trials import Halving, Trial, TrialReport, planned_epochs, rank

BASE = Trial(mlp([2, 2]))


def trial(rate: float, seed: int = 0, fold: int | None = None) -> Trial:
    return dataclasses.replace(BASE, learning_rate=rate, seed=seed, fold=fold)


def report(number: int, score: float, loss: float = 1.0, epochs: int = 5) -> TrialReport:
    return TrialReport(number, epochs, loss, score, math.isnan(score))


def test_seeds_and_folds_of_a_setting_are_one_standing() -> None:
    trials = [trial(0.1, seed, fold) for seed in (0, 1) for fold in (0, 1)]
    (standing,) = rank(
        trials, [report(n, score) for n, score in enumerate((0.5, 0.7, 0.6, 0.8))], "accuracy", 5
    )
    assert (standing.setting, standing.numbers) == (trial(0.1), (0, 1, 2, 3))
    assert standing.score == pytest.approx(0.65)
    assert standing.scores == (0.5, 0.7, 0.6, 0.8)


def ranked(reports: list[TrialReport], metric: str = "accuracy", ends: Any = None) -> list[int]:
    trials = [trial(0.1 * (number + 1)) for number in range(len(reports))]
    own = ends or [None] * len(trials)
    trials = [dataclasses.replace(each, epochs=end) for each, end in zip(trials, own, strict=True)]
    return [standing.numbers[0] for standing in rank(trials, reports, metric, 9)]


def test_the_best_is_first_and_less_is_better_for_an_error() -> None:
    reports = [report(0, 0.5), report(1, 0.9), report(2, 0.7)]
    assert ranked(reports) == [1, 2, 0]
    assert ranked(reports, "zero_one_loss") == [0, 2, 1]
    assert ranked(reports, "zero_one_loss:0.5") == [0, 2, 1]


def test_equal_scores_are_ranked_by_loss_then_as_given() -> None:
    assert ranked([report(0, 0.5, 2.0), report(1, 0.5, 1.0), report(2, 0.5, 1.0)]) == [1, 2, 0]


def test_what_was_stopped_early_is_behind_and_what_diverged_last() -> None:
    reports = [report(0, math.nan, math.nan, 9), report(1, 0.9, epochs=2), report(2, 0.3, epochs=9)]
    assert ranked(reports) == [2, 1, 0]
    # Shorter because it was to be: it is judged by its score.
    assert ranked(reports, ends=[9, 2, None]) == [1, 2, 0]


def test_a_setting_that_diverged_once_is_behind_those_that_never_did() -> None:
    trials = [trial(0.1, 0), trial(0.1, 1), trial(0.2, 0), trial(0.2, 1), trial(0.3)]
    scores = (0.9, math.nan, 0.2, 0.2, math.nan)
    standings = rank(trials, [report(number, score) for number, score in enumerate(scores)], "accuracy", 5)
    assert [standing.setting.learning_rate for standing in standings] == [0.2, 0.1, 0.3]
    assert [standing.diverged for standing in standings] == [0, 1, 1]
    assert math.isnan(standings[-1].score)


def test_rungs_grow_by_eta_and_end_with_the_run() -> None:
    assert Halving(1, 2).rungs(10) == (1, 2, 4, 8, 10)
    assert Halving(3, 3).rungs(9) == (3, 9)
    assert [Halving(1, 3).kept(count) for count in (1, 3, 4, 81)] == [1, 1, 2, 27]


@pytest.mark.parametrize(("first", "eta"), [(0, 2), (1, 1), (1, 2.5), (1.5, 2), (1, True)])
def test_refuses_a_halving_that_is_none(first: int, eta: int) -> None:
    refused("whole number of at least", Halving, first, eta)


def test_planned_epochs_count_what_is_left_at_each_rung() -> None:
    trials = [trial(rate, seed) for rate in (0.1, 0.2, 0.3, 0.4) for seed in (0, 1)]
    assert planned_epochs(trials, 10) == 80
    assert planned_epochs(trials, 10, Halving(2, 2)) == 8 * 2 + 4 * 2 + 2 * 4 + 2 * 2
