import math
from typing import Any

import pytest
from training_cases import DATA, KEY, NET

from jaxmlp.training.fit import fit
from jaxmlp.training.stopping import Best, Stopping, better, reason_to_stop
from jaxmlp.types import ArgumentError, EpochReport


def report(
    epoch: int, loss: float | None = None, score: float | None = None, train: float = 0.5
) -> EpochReport:
    return EpochReport(epoch, 1.0, train, loss, score, 1.0, (1.0,), 0.1, 10.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patience": 0}, "patience must be at least 1 epoch, given 0"),
        ({"patience": -3}, "given -3"),
        ({"monitor": "los"}, "unknown monitored quantity 'los': did you mean 'loss'?"),
        ({"min_improvement": -0.1}, "at least 0, given -0.1"),
        ({"min_improvement": math.nan}, "at least 0, given nan"),
        ({"min_improvement": math.inf}, "at least 0, given inf"),
        ({"target_score": math.nan}, "the target score must be a finite number, given nan"),
        ({"seconds": 0.0}, "the time limit must be above 0 seconds, given 0"),
        ({"seconds": math.nan}, "above 0 seconds, given nan"),
    ],
)
def test_a_number_out_of_range_is_refused_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError) as refusal:
        Stopping(**options)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_patience_needs_validation_data() -> None:
    with pytest.raises(ArgumentError, match="patience watches validation data, and there are none"):
        fit(NET, DATA, optimizer="sgd", batch_size=4, epochs=1, key=KEY, stopping=Stopping(patience=1))


def best_of(stopping: Stopping, values: list[float], metric: str = "accuracy") -> Best | None:
    best = None
    for epoch, value in enumerate(values, 1):
        row = report(epoch, loss=value, score=value)
        best = better(stopping, metric, best, row, (epoch,))  # type: ignore[arg-type]
    return best


@pytest.mark.parametrize(
    ("monitor", "metric", "epoch"),
    [("loss", "accuracy", 2), ("score", "accuracy", 4), ("score", "r2", 4), ("score", "zero_one_loss", 2)],
)
def test_the_best_epoch_is_the_least_loss_or_the_best_score(monitor: str, metric: str, epoch: int) -> None:
    best = best_of(Stopping(patience=9, monitor=monitor), [0.5, 0.1, 0.4, 0.8, 0.8, 0.1], metric)
    assert best is not None
    assert (best.epoch, best.params) == (epoch, (epoch,))  # the first of equals


@pytest.mark.parametrize(("least", "epoch"), [(0.0, 4), (0.05, 4), (0.25, 3), (0.5, 4), (0.625, 1)])
def test_an_improvement_must_be_large_enough_against_the_best_so_far(least: float, epoch: int) -> None:
    # 0.75 is 0.25 better than 1, which does not exceed 0.25; 0.5 does.
    best = best_of(Stopping(patience=9, min_improvement=least), [1.0, 0.75, 0.5, 0.375])
    assert best is not None
    assert best.epoch == epoch


def test_without_patience_or_a_finite_value_nothing_is_the_best() -> None:
    assert best_of(Stopping(), [0.5]) is None
    assert best_of(Stopping(patience=2), [math.nan, math.inf]) is None
    assert better(Stopping(patience=2), "accuracy", None, report(1), ()) is None
    found = best_of(Stopping(patience=2), [math.nan, 0.5, math.nan])
    assert found is not None
    assert found.epoch == 2


@pytest.mark.parametrize(("epoch", "reason"), [(4, None), (5, "patience"), (9, "patience")])
def test_patience_counts_epochs_since_the_best(epoch: int, reason: str | None) -> None:
    best = Best((), 2, 0.1)
    assert reason_to_stop(Stopping(patience=3), "accuracy", best, report(epoch, 0.2, 0.2), 0.0) == reason


def test_patience_ends_a_fit_that_never_had_a_finite_value() -> None:
    stopping = Stopping(patience=2)
    assert reason_to_stop(stopping, "accuracy", None, report(1, math.nan, 0.0), 0.0) is None
    assert reason_to_stop(stopping, "accuracy", None, report(2, math.nan, 0.0), 0.0) == "patience"


def test_patience_does_not_count_an_epoch_without_validation_data() -> None:
    assert reason_to_stop(Stopping(patience=2), "accuracy", None, report(9), 0.0) is None


@pytest.mark.parametrize(
    ("metric", "row", "reason"),
    [
        ("accuracy", report(1, 0.1, 0.9), "target"),
        ("accuracy", report(1, 0.1, 0.89), None),
        ("accuracy", report(1, 0.1, 0.5, train=1.0), None),  # the validation data decide
        ("accuracy", report(1, train=0.95), "target"),  # where there are none, the training data
        ("accuracy", report(1, 0.1, math.nan), None),
        ("zero_one_loss", report(1, 0.1, 0.9), "target"),
        ("zero_one_loss", report(1, 0.1, 0.91), None),
    ],
)
def test_a_target_is_reached_from_the_side_that_is_better(
    metric: str, row: EpochReport, reason: str | None
) -> None:
    assert reason_to_stop(Stopping(target_score=0.9), metric, None, row, 0.0) == reason


def test_the_time_limit_counts_seconds_of_this_fit_and_comes_last() -> None:
    row = report(1, 0.1, 0.9)
    assert reason_to_stop(Stopping(seconds=2.0), "accuracy", None, row, 1.9) is None
    assert reason_to_stop(Stopping(seconds=2.0), "accuracy", None, row, 2.0) == "time"
    both = Stopping(seconds=2.0, target_score=0.9)
    assert reason_to_stop(both, "accuracy", None, row, 2.0) == "target"
