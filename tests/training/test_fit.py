"""A fit is a loop of epochs with a history: it goes on to the last bit, ends when it should, and refuses wrong data."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from comparisons import assert_close, refused, same_bits
from sklearn.linear_model import LogisticRegression
from training_cases import BATCH, DATA, EXAMPLES, INPUTS, KEY, LABELS, NET, VALUES, WEIGHT, add_noise

from jaxmlp.backprop import value_and_grad
from jaxmlp.datasets.toys import TOYS
from jaxmlp.layers import BatchNorm, Dense
from jaxmlp.network import Network, forward, mlp
from jaxmlp.training import fit as fitting
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.fit import FitResult, FitState, fit
from jaxmlp.training.optimizers import make_optimizer
from jaxmlp.training.steps import TrainState, init_state, measured_params, train_epoch
from jaxmlp.training.stopping import Best, Stopping, better, reason_to_stop
from jaxmlp.types import EpochReport

VALID = (INPUTS[:5], 1 - LABELS[:5])  # wrong labels: what is learnt makes them worse
EPOCHS = 6
GIVEN: dict[str, Any] = {"optimizer": "sgd", "batch_size": BATCH, "epochs": 1, "key": KEY}


def fitted(optimizer: Any = "sgd", epochs: int = EPOCHS, **options: Any) -> FitResult:
    given: dict[str, Any] = {"batch_size": BATCH, "transform": add_noise} | options
    if given.get("resume") is None:
        given["key"] = KEY
    return fit(NET, DATA, VALID, optimizer=optimizer, epochs=epochs, **given)


@pytest.mark.parametrize("patience", [None, 3])
def test_a_batch_norm_is_measured_and_given_back_with_the_training_datas_statistics(patience: Any) -> None:
    net = Network(NET.in_features, [BatchNorm(), *NET.layers])
    shifted = INPUTS + 100
    given = GIVEN | {"epochs": 2, "stopping": Stopping(patience=patience)}
    result = fit(net, (shifted, LABELS), (shifted, LABELS), **given)
    found = result.state.params[0]
    np.testing.assert_allclose(found.mean, np.mean(shifted, axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.variance, np.var(shifted, axis=0), rtol=1e-3)
    row = result.history[-1 if result.best is None else result.best.epoch - 1]
    loss = evaluate(net, result.state.params, (shifted, LABELS)).loss
    assert row.valid_loss == pytest.approx(float(loss), rel=1e-6)
    assert row.valid_loss < 10, "uncalibrated, inputs of 100 would give a loss far above it"


def without_times(history: tuple[EpochReport, ...]) -> list[EpochReport]:
    return [row._replace(seconds=0.0, examples_per_second=0.0) for row in history]


def same_end(one: FitResult, other: FitResult) -> bool:
    """Tell whether two fits ended alike, but for their times."""
    left, right = ((each.state, each.best and each.best.params) for each in (one, other))
    plain_ends = [
        (each.stopped, each.metric, each.best and each.best[1:], without_times(each.history))
        for each in (one, other)
    ]
    return same_bits(left, right) and plain_ends[0] == plain_ends[1]


# --- fit ---


def test_a_fit_is_a_loop_of_epochs() -> None:
    options: dict[str, Any] = {"batch_size": BATCH, "l2": 0.01, "transform": add_noise}
    state = init_state(NET, "adam", KEY)
    result = fit(NET, DATA, DATA, optimizer="adam", epochs=3, key=KEY, sample_weight=WEIGHT, **options)
    assert (result.stopped, result.metric, len(result.history)) == (None, "accuracy", 3)
    for number, report in enumerate(result.history, start=1):
        state, metrics = train_epoch(NET, "adam", state, DATA, sample_weight=WEIGHT, **options)
        measured = evaluate(NET, state.params, DATA, l2=0.01)
        assert report.epoch == number
        assert (report.train_loss, report.train_score) == (float(metrics.loss), float(metrics.score))
        assert (report.valid_loss, report.valid_score) == (float(measured.loss), float(measured.score))
        assert report.gradient_norm == float(jnp.asarray(metrics.gradient_norm))
        weights = [np.abs(np.asarray(layer.w)).max() for layer in state.params if layer]
        assert report.max_weight == tuple(float(largest) for largest in weights)
        assert report.seconds > 0
        assert report.examples_per_second == pytest.approx(EXAMPLES / report.seconds)
    assert same_bits(result.state, state)


def test_validation_data_change_nothing_in_training_and_without_them_their_columns_are_none() -> None:
    by_itself, watched = (fit(NET, DATA, valid, **GIVEN) for valid in (None, (INPUTS[:3], LABELS[:3])))
    assert same_bits(by_itself.state, watched.state)
    assert (by_itself.history[0].valid_loss, by_itself.history[0].valid_score) == (None, None)


def test_two_and_three_epochs_are_five() -> None:
    options: dict[str, Any] = {"optimizer": "adam", "batch_size": BATCH, "transform": add_noise}
    five = fit(NET, DATA, epochs=5, key=KEY, **options)
    two = fit(NET, DATA, epochs=2, key=KEY, **options)
    three_more = fit(NET, DATA, epochs=3, state=two.state, **options)
    assert same_bits(three_more.state, five.state)
    assert [report.epoch for report in (*two.history, *three_more.history)] == [1, 2, 3, 4, 5]
    losses = [report.train_loss for report in (*two.history, *three_more.history)]
    assert losses == [report.train_loss for report in five.history]


@pytest.mark.parametrize("options", [{"shuffle": False}, {"batch_size": 1000}])
def test_unshuffled_and_full_batch_fits_reach_the_epochs(options: dict[str, Any]) -> None:
    result = fit(NET, DATA, **GIVEN | options)
    options = {"batch_size": BATCH} | options
    assert same_bits(result.state, train_epoch(NET, "sgd", init_state(NET, "sgd", KEY), DATA, **options)[0])


def test_the_callback_sees_every_report_and_state_and_can_stop() -> None:
    seen: list[tuple[EpochReport, TrainState]] = []

    def watch(report: EpochReport, state: TrainState) -> bool:
        seen.append((report, state))
        return report.epoch == 3

    result = fit(NET, DATA, callback=watch, **GIVEN | {"epochs": 9})
    assert result.stopped == "callback"
    assert tuple(report for report, _ in seen) == result.history
    assert [int(state.epoch) for _, state in seen] == [1, 2, 3]
    assert same_bits(seen[-1][1], result.state)
    three = fit(NET, DATA, callback=lambda *_: None, **GIVEN | {"epochs": 3})
    assert three.stopped is None
    assert same_bits(three.state, result.state)


# --- divergence ---


def diverging(rate: float, **options: Any) -> Any:
    optimizer = make_optimizer("sgd", rate)
    given: dict[str, Any] = {"batch_size": EXAMPLES, "epochs": 50, "key": KEY} | options
    return optimizer, fit(
        Network(3, [Dense(2)]), (INPUTS, VALUES), loss="squared_error", optimizer=optimizer, **given
    )


# The parameters diverge after epochs, in the first one, and under a loss that is still finite, as it is that before.
@pytest.mark.parametrize(
    ("rate", "batch_size", "least", "most", "finite"),
    [(100.0, EXAMPLES, 2, 49, False), (1e30, 2, 1, 1, False), (3e38, EXAMPLES, 1, 1, True)],
)
def test_a_diverging_run_stops_with_the_state_before_that_epoch_and_can_go_on(
    rate: float, batch_size: int, least: int, most: int, finite: bool
) -> None:
    states: list[TrainState] = []
    optimizer, result = diverging(rate, batch_size=batch_size, callback=lambda _, state: states.append(state))
    assert (result.stopped, least <= len(result.history) <= most) == ("diverged", True)
    losses = [report.train_loss for report in result.history]
    assert np.isfinite(losses).tolist() == [True] * (len(losses) - 1) + [finite]
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(result.state.params))
    assert int(result.state.epoch) == len(losses) - 1 == result.history[-1].epoch - 1
    start = init_state(Network(3, [Dense(2)]), optimizer, KEY)
    assert same_bits(result.state, [start, *states][-1]), "no callback for the epoch that diverged"
    _, again = diverging(rate, batch_size=batch_size, key=None, state=result.state)
    assert (again.stopped, same_bits(again.state, result.state)) == ("diverged", True)


def test_a_blind_eye_for_infinite_parameters_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    survey = fitting._survey
    monkeypatch.setattr(fitting, "_survey", lambda *given: (jnp.array(True), survey(*given)[1]))
    with pytest.raises(AssertionError):
        test_a_diverging_run_stops_with_the_state_before_that_epoch_and_can_go_on(3e38, EXAMPLES, 1, 1, True)


# --- going on ---


@pytest.mark.parametrize("stopping", [Stopping(), Stopping(patience=EPOCHS, monitor="score")])
@pytest.mark.parametrize(
    "optimizer", ["adam", make_optimizer("adamw", schedule="cosine", horizon=(18, 3), clip_norm=1.0)]
)
def test_a_fit_resumed_at_any_epoch_is_the_same_fit(optimizer: Any, stopping: Stopping) -> None:
    saved: list[FitState] = []
    whole = fitted(optimizer, save=saved.append, stopping=stopping)
    assert [len(state.history) for state in saved] == list(range(1, EPOCHS + 1))
    for state in saved:
        left = EPOCHS - len(state.history)
        again = fitted(optimizer, left, resume=state, stopping=stopping)
        assert same_end(again, whole)


@pytest.mark.parametrize("part", ["epoch", "step", "key", "params", "opt_state", "best", "history"])
def test_a_state_that_is_resumed_wrongly_is_noticed(part: str) -> None:
    stopping = Stopping(patience=EPOCHS)
    saved: list[FitState] = []
    whole = fitted("adam", save=saved.append, stopping=stopping)
    start, right = init_state(NET, "adam", jax.random.key(8)), saved[2]
    if part == "best":
        wrong = right._replace(best=None)
    elif part == "history":
        wrong = right._replace(history=right.history[:-1])
    else:
        wrong = right._replace(train=right.train._replace(**{part: getattr(start, part)}))
    assert not same_end(fitted("adam", EPOCHS - 3, resume=wrong, stopping=stopping), whole)


def test_saving_comes_before_the_callback_and_never_for_a_diverged_epoch() -> None:
    seen: list[str] = []
    fitted(epochs=2, save=lambda state: seen.append("save"), callback=lambda *given: seen.append("call"))
    assert seen == ["save", "call"] * 2
    saved: list[FitState] = []
    _, result = diverging(1e30, batch_size=2, save=saved.append)
    assert (result.stopped, len(result.history), saved) == ("diverged", 1, [])


# --- patience ---


def test_patience_returns_the_parameters_of_the_best_epoch() -> None:
    states: list[Any] = []
    result = fitted("adam", 50, stopping=Stopping(patience=3), callback=lambda _, state: states.append(state))
    assert result.best is not None
    losses = [report.valid_loss for report in result.history]
    assert result.stopped == "patience"
    assert result.best.epoch == 1 + losses.index(min(losses)) == len(losses) - 3  # type: ignore[type-var]
    assert same_bits(result.state.params, states[result.best.epoch - 1].params)
    assert not same_bits(result.state.params, states[-1].params)
    assert float(evaluate(NET, result.state.params, VALID).loss) == result.best.value == min(losses)  # type: ignore[type-var]


def test_a_fit_that_ended_by_patience_has_nothing_left_to_do() -> None:
    saved: list[FitState] = []
    ended = fitted("adam", 50, stopping=Stopping(patience=3), save=saved.append)
    more: list[FitState] = []
    again = fitted("adam", 50, resume=saved[-1], stopping=Stopping(patience=3), save=more.append)
    assert same_end(again, ended)
    assert more == []
    longer = fitted("adam", 50, resume=saved[-1], stopping=Stopping(patience=5))
    assert len(longer.history) == len(ended.history) + 2  # more patience goes on


@pytest.mark.parametrize("watched", [True, False])
def test_patience_that_only_a_resumption_asks_for_counts_from_there(watched: bool) -> None:
    saved: list[FitState] = []
    valid = VALID if watched else None
    fit(NET, DATA, valid, optimizer="adam", batch_size=BATCH, epochs=EPOCHS, key=KEY, save=saved.append)
    again = fitted("adam", 50, resume=saved[-1], stopping=Stopping(patience=3), transform=None)
    assert again.stopped == "patience"
    assert again.best is not None
    assert again.best.epoch >= EPOCHS + (not watched)
    assert len(again.history) == again.best.epoch + 3
    if again.best.epoch == EPOCHS:
        assert same_bits(again.state.params, saved[-1].train.params)


# --- targets and time ---


def test_a_target_ends_a_fit_at_the_epoch_that_reaches_it() -> None:
    whole = fitted("adam", 30, transform=None)
    scores = [report.train_score for report in whole.history]
    target = sorted(set(scores))[-1]
    stopping = Stopping(target_score=target)
    result = fit(NET, DATA, stopping=stopping, **GIVEN | {"optimizer": "adam", "epochs": 30})
    assert result.stopped == "target"
    assert len(result.history) == 1 + scores.index(target)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at the clock find it a second later."""
    ticks = itertools.count()
    monkeypatch.setattr(fitting.time, "perf_counter", lambda: float(next(ticks)))


@pytest.mark.usefixtures("clock")
def test_a_time_limit_begins_no_further_epoch_and_counts_anew_when_resumed() -> None:
    saved: list[FitState] = []
    result = fitted("sgd", 50, stopping=Stopping(seconds=10.0), save=saved.append)
    assert result.stopped == "time"
    assert 1 < len(result.history) < 10
    again = fitted("sgd", 50, resume=saved[-1], stopping=Stopping(seconds=10.0))
    assert again.stopped == "time"
    assert len(again.history) == 2 * len(result.history)


# --- it learns ---


@pytest.mark.parametrize("name", ["xor", "circles"])
def test_it_learns_what_no_straight_line_separates(name: str) -> None:
    inputs, labels = TOYS[name].generate(400, TOYS[name].noise, 0)
    inputs = (inputs / np.std(inputs, axis=0)).astype(np.float32)
    train, valid = (inputs[:300], labels[:300]), (inputs[300:], labels[300:])
    options: dict[str, Any] = {"optimizer": make_optimizer("adam", 0.02), "batch_size": 20, "epochs": 30}
    result = fit(mlp([2, 16, 2], activation="tanh"), train, valid, key=KEY, **options)
    assert result.history[-1].valid_score is not None
    assert result.history[-1].valid_score > 0.95
    straight = LogisticRegression().fit(*train).score(*valid)
    assert straight < 0.8, "the set is no test if a line separates it"


LINE = np.linspace(-3, 3, 200, dtype=np.float32)[:, None]
SQUARE = np.random.default_rng(1).uniform(-1, 1, (300, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("sizes", "inputs", "targets", "loss", "metric"),
    [
        ([1, 32, 2], LINE, np.concatenate([np.sin(LINE), np.cos(LINE)], axis=1), "mean_squared_error", "r2"),
        (
            [2, 3],
            SQUARE,
            np.stack([*SQUARE.T, SQUARE.sum(axis=1)], axis=1) > 0,
            "sigmoid_cross_entropy",
            "label_accuracy",
        ),
    ],
)
def test_it_learns_a_curve_and_several_labels_at_once(
    sizes: list[int], inputs: Any, targets: Any, loss: str, metric: str
) -> None:
    optimizer = make_optimizer("adam", 0.02 if metric == "r2" else 0.1)
    data, net = (inputs, targets.astype(np.float32)), mlp(sizes, activation="tanh")
    result = fit(net, data, loss=loss, **GIVEN | {"optimizer": optimizer, "batch_size": 20, "epochs": 40})
    assert result.metric == metric
    assert result.history[0].train_score < 0.9 < result.history[-1].train_score


def test_labels_of_weight_zero_are_not_learnt() -> None:
    data = (np.concatenate([INPUTS, INPUTS]), np.concatenate([LABELS, 1 - LABELS]))
    weight: Any = np.repeat(np.array([1, 0], np.float32), EXAMPLES)
    options = GIVEN | {"shuffle": False, "batch_size": 2 * EXAMPLES}
    found = fit(NET, data, sample_weight=weight, **options)
    assert_close(found.state.params, fit(NET, DATA, **options).state.params)


# --- when to stop ---


def report(epoch: int, loss: Any = None, score: Any = None, train: float = 0.5) -> EpochReport:
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
    refused(words, Stopping, **options)


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


def test_the_last_of_ties_is_kept_where_asked_for_and_without_patience() -> None:
    for ties, epoch in (("first", 2), ("last", 4)):
        best = best_of(Stopping(keep_best=True, ties=ties), [0.5, 0.1, 0.4, 0.1, 0.2])
        assert best is not None
        assert best.epoch == epoch
    refused("unknown choice among ties 'lats': did you mean 'last'", Stopping, ties="lats")


def test_a_fit_that_keeps_the_best_epoch_trains_to_its_end() -> None:
    result = fitted("adam", 8, stopping=Stopping(keep_best=True))
    losses = [report.valid_loss for report in result.history]
    assert (len(losses), result.stopped) == (8, None)
    assert result.best is not None
    assert float(evaluate(NET, result.state.params, VALID).loss) == result.best.value == min(losses)  # type: ignore[type-var]
    refused("and there are none: give valid", fit, NET, DATA, stopping=Stopping(keep_best=True), **GIVEN)


@pytest.mark.parametrize("keep_best", [False, True])
def test_a_moving_average_is_measured_and_returned(keep_best: bool) -> None:
    states: list[TrainState] = []
    averaging = make_optimizer("sgd", 0.5, average=0.9)
    stopping = Stopping(keep_best=keep_best, monitor="score", ties="last")
    result = fitted(averaging, 3, stopping=stopping, callback=lambda _, state: states.append(state))
    kept = 3 if result.best is None else result.best.epoch
    assert same_bits(result.state.params, measured_params(states[kept - 1]))
    assert not same_bits(result.state.params, states[kept - 1].params)
    last = evaluate(NET, measured_params(states[-1]), VALID)
    assert float(last.loss) == result.history[-1].valid_loss


def test_without_patience_or_a_finite_value_nothing_is_the_best() -> None:
    assert best_of(Stopping(), [0.5]) is None
    assert best_of(Stopping(patience=2), [math.nan, math.inf]) is None
    assert better(Stopping(patience=2), "accuracy", None, report(1), ()) is None
    found = best_of(Stopping(patience=2), [math.nan, 0.5, math.nan])
    assert found is not None
    assert found.epoch == 2


@pytest.mark.parametrize(
    ("stopping", "metric", "row", "seconds", "reason"),
    [
        # Patience counts epochs since the best, which is the second here, and those without validation data not.
        (Stopping(patience=3), "accuracy", report(4, 0.2, 0.2), 0.0, None),
        (Stopping(patience=3), "accuracy", report(5, 0.2, 0.2), 0.0, "patience"),
        (Stopping(patience=3), "accuracy", report(9, math.nan, 0.2), 0.0, "patience"),
        (Stopping(patience=3), "accuracy", report(9), 0.0, None),
        # A target is reached from the side that is better, on the validation data where there are some.
        (Stopping(target_score=0.9), "accuracy", report(1, 0.1, 0.9), 0.0, "target"),
        (Stopping(target_score=0.9), "accuracy", report(1, 0.1, 0.89), 0.0, None),
        (Stopping(target_score=0.9), "accuracy", report(1, 0.1, 0.5, train=1.0), 0.0, None),
        (Stopping(target_score=0.9), "accuracy", report(1, train=0.95), 0.0, "target"),
        (Stopping(target_score=0.9), "accuracy", report(1, 0.1, math.nan), 0.0, None),
        (Stopping(target_score=0.9), "zero_one_loss", report(1, 0.1, 0.9), 0.0, "target"),
        (Stopping(target_score=0.9), "zero_one_loss", report(1, 0.1, 0.91), 0.0, None),
        # The time limit counts the seconds of this fit and comes last.
        (Stopping(seconds=2.0), "accuracy", report(1, 0.1, 0.9), 1.9, None),
        (Stopping(seconds=2.0), "accuracy", report(1, 0.1, 0.9), 2.0, "time"),
        (Stopping(seconds=2.0, target_score=0.9), "accuracy", report(1, 0.1, 0.9), 2.0, "target"),
    ],
)
def test_a_fit_stops_for_one_reason(stopping, metric, row, seconds, reason) -> None:
    assert reason_to_stop(stopping, metric, Best((), 2, 0.1), row, seconds) == reason


def test_patience_ends_a_fit_that_never_had_a_finite_value() -> None:
    for epoch, reason in ((1, None), (2, "patience")):
        row = report(epoch, math.nan, 0.0)
        assert reason_to_stop(Stopping(patience=2), "accuracy", None, row, 0.0) == reason


# --- refusals ---


def test_no_epochs_are_for_a_resumption_alone() -> None:
    state = FitState(init_state(NET, "sgd", KEY))
    result = fitted(epochs=0, resume=state)
    assert (result.history, result.stopped) == ((), None)
    assert same_bits(result.state, state.train)
    refused("number of epochs", fitted, epochs=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"state": init_state(NET, "sgd", KEY), "resume": FitState(init_state(NET, "sgd", KEY))},
            "fit goes on from a state or resumes a fit: give state= or resume=, not both",
        ),
        ({"resume": {}}, "resume takes the FitState that save was given, and here it is a dict"),
        ({"save": "a/path"}, "save takes a function of the FitState, and here it is 'a/path'"),
    ],
)
def test_what_is_no_state_and_no_function_is_refused_in_one_line(options: dict[str, Any], words: str) -> None:
    assert refused(words, fitted, **options) == words


@pytest.mark.parametrize(
    ("net", "optimizer", "what"),
    [(NET, "adam", "optimiser"), (mlp([3, 7, 2]), "sgd", "network"), (mlp([3, 2]), "sgd", "network")],
)
def test_a_fit_of_another_network_or_optimiser_is_not_resumed(net: Any, optimizer: str, what: str) -> None:
    saved: list[FitState] = []
    fitted("sgd", 1, save=saved.append)
    words = f"the fit to resume is of another {what}: give the {what} that it was begun with"
    for state in (saved[0], FitState(saved[0].train)):
        refused(words, fit, net, DATA, optimizer=optimizer, batch_size=BATCH, epochs=1, resume=state)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (np.ndarray.tolist, np.ndarray.tolist),
        (pd.DataFrame, pd.Series),
        (lambda array: array.astype(object), lambda array: array.astype(object)),
    ],
    ids=["lists", "pandas", "objects"],
)
def test_what_numpy_takes_for_arrays_is_taken(table: Any, column: Any) -> None:
    data, weight = (table(INPUTS), column(LABELS)), column(WEIGHT)
    found, expected = (
        fit(NET, data, data, sample_weight=weight, **GIVEN),
        fit(NET, DATA, DATA, sample_weight=WEIGHT, **GIVEN),
    )
    assert same_bits(found.state, expected.state)
    params = expected.state.params
    assert evaluate(NET, params, data, sample_weight=weight) == evaluate(
        NET, params, DATA, sample_weight=WEIGHT
    )
    assert same_bits(value_and_grad(NET, params, *data), value_and_grad(NET, params, *DATA))
    assert same_bits(forward(NET, params, data[0]), forward(NET, params, INPUTS))
