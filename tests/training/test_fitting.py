"""A fit is a loop of epochs that keeps a history, stops at divergence, refuses wrong data and does learn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from training_cases import (
    BATCH,
    DATA,
    EXAMPLES,
    INPUTS,
    KEY,
    LABELS,
    NET,
    VALUES,
    WEIGHT,
    add_noise,
    assert_close,
    same_bits,
)

from jaxmlp.layers import Dense
from jaxmlp.network import Network, mlp
from jaxmlp.training import fit as fitting
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.fit import fit
from jaxmlp.training.optimizers import make_optimizer
from jaxmlp.training.steps import TrainState, init_state, train_epoch
from jaxmlp.types import ArgumentError, EpochReport

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


def test_without_validation_data_their_columns_are_none() -> None:
    result = fit(NET, DATA, optimizer="sgd", batch_size=BATCH, epochs=1, key=KEY)
    assert (result.history[0].valid_loss, result.history[0].valid_score) == (None, None)


def test_validation_data_change_nothing_in_training() -> None:
    options: dict[str, Any] = {"optimizer": "sgd", "batch_size": BATCH, "epochs": 2, "key": KEY}
    alone = fit(NET, DATA, **options)
    watched = fit(NET, DATA, (INPUTS[:3], LABELS[:3]), **options)
    assert same_bits(alone.state, watched.state)


@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_two_and_three_epochs_are_five(optimizer: str) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "batch_size": BATCH, "transform": add_noise}
    five = fit(NET, DATA, epochs=5, key=KEY, **options)
    two = fit(NET, DATA, epochs=2, key=KEY, **options)
    three_more = fit(NET, DATA, epochs=3, state=two.state, **options)
    assert same_bits(three_more.state, five.state)
    assert [report.epoch for report in (*two.history, *three_more.history)] == [1, 2, 3, 4, 5]
    losses = [report.train_loss for report in (*two.history, *three_more.history)]
    assert losses == [report.train_loss for report in five.history]


def test_unshuffled_and_full_batch_fits_reach_the_epochs() -> None:
    every_mode: list[dict[str, Any]] = [{"shuffle": False, "batch_size": BATCH}, {"batch_size": 1000}]
    for options in every_mode:
        result = fit(NET, DATA, optimizer="sgd", epochs=1, key=KEY, **options)
        size: dict[str, Any] = {"batch_size": min(options["batch_size"], EXAMPLES)}
        expected, _ = train_epoch(NET, "sgd", init_state(NET, "sgd", KEY), DATA, **options | size)
        assert same_bits(result.state, expected)


def test_the_callback_sees_every_report_and_state_and_can_stop() -> None:
    seen: list[tuple[EpochReport, TrainState]] = []

    def watch(report: EpochReport, state: TrainState) -> bool:
        seen.append((report, state))
        return report.epoch == 3

    result = fit(NET, DATA, optimizer="sgd", batch_size=BATCH, epochs=9, key=KEY, callback=watch)
    assert result.stopped == "callback"
    assert tuple(report for report, _ in seen) == result.history
    assert [int(state.epoch) for _, state in seen] == [1, 2, 3]
    assert same_bits(seen[-1][1], result.state)
    three = fit(NET, DATA, optimizer="sgd", batch_size=BATCH, epochs=3, key=KEY, callback=lambda *_: None)
    assert three.stopped is None
    assert same_bits(three.state, result.state)


# --- divergence ---


def is_finite(state: TrainState) -> bool:
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(state.params))


def diverging(rate: float, **options: Any) -> Any:
    optimizer = make_optimizer("sgd", rate)
    given: dict[str, Any] = {"batch_size": EXAMPLES, "epochs": 50, "key": KEY} | options
    return optimizer, fit(
        Network(3, [Dense(2)]), (INPUTS, VALUES), loss="squared_error", optimizer=optimizer, **given
    )


def test_a_diverging_run_stops_and_keeps_the_state_before_that_epoch() -> None:
    states: list[TrainState] = []
    _, result = diverging(100.0, callback=lambda _, state: states.append(state))
    assert result.stopped == "diverged"
    assert 1 < len(result.history) < 50
    assert all(np.isfinite(report.train_loss) for report in result.history[:-1])
    assert is_finite(result.state)
    assert int(result.state.epoch) == len(result.history) - 1 == result.history[-1].epoch - 1
    assert same_bits(result.state, states[-1]), "the callback is not called for the epoch that diverged"


def test_a_run_that_diverges_at_once_returns_the_state_it_began_with() -> None:
    optimizer, result = diverging(1e30, batch_size=2)
    assert (result.stopped, len(result.history)) == ("diverged", 1)
    assert not np.isfinite(result.history[0].train_loss)
    assert same_bits(result.state, init_state(Network(3, [Dense(2)]), optimizer, KEY))


def test_infinite_parameters_under_a_finite_loss_are_divergence_too() -> None:
    # The loss is that before the step, so it is the parameters that tell.
    _, result = diverging(3e38)
    assert (result.stopped, len(result.history)) == ("diverged", 1)
    assert np.isfinite(result.history[0].train_loss)
    assert is_finite(result.state)


def test_a_state_that_is_continued_survives_divergence() -> None:
    _, first = diverging(1e30, batch_size=2)
    _, second = diverging(1e30, batch_size=2, key=None, state=first.state)
    assert second.stopped == "diverged"
    assert same_bits(second.state, first.state)


def test_a_blind_eye_for_infinite_parameters_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    survey = fitting._survey
    monkeypatch.setattr(fitting, "_survey", lambda *given: (jnp.array(True), survey(*given)[1]))
    with pytest.raises(AssertionError):
        test_infinite_parameters_under_a_finite_loss_are_divergence_too()


# --- it learns ---


@pytest.mark.parametrize("name", ["xor", "circles"])
def test_it_learns_what_no_straight_line_separates(name: str) -> None:
    from jaxmlp.datasets.toys import TOYS

    inputs, labels = TOYS[name].generate(400, TOYS[name].noise, 0)
    inputs = (inputs / np.std(inputs, axis=0)).astype(np.float32)
    train, valid = (inputs[:300], labels[:300]), (inputs[300:], labels[300:])
    options: dict[str, Any] = {"batch_size": 20, "epochs": 30, "key": KEY}
    result = fit(
        mlp([2, 16, 2], activation="tanh"), train, valid, optimizer=make_optimizer("adam", 0.02), **options
    )
    assert result.history[-1].valid_score is not None
    assert result.history[-1].valid_score > 0.95
    straight = LogisticRegression().fit(*train).score(*valid)
    assert straight < 0.8, "the set is no test if a line separates it"


def test_it_learns_a_curve() -> None:
    inputs = np.linspace(-3, 3, 200, dtype=np.float32)[:, None]
    values = np.concatenate([np.sin(inputs), np.cos(inputs)], axis=1)
    result = fit(
        mlp([1, 32, 2], activation="tanh"),
        (inputs, values),
        loss="mean_squared_error",
        optimizer=make_optimizer("adam", 0.02),
        batch_size=20,
        epochs=40,
        key=KEY,
    )
    assert result.metric == "r2"
    assert result.history[0].train_score < 0.9 < result.history[-1].train_score


def test_it_learns_several_labels_at_once() -> None:
    inputs = np.random.default_rng(1).uniform(-1, 1, (300, 2)).astype(np.float32)
    targets = np.stack([inputs[:, 0] > 0, inputs[:, 1] > 0, inputs.sum(axis=1) > 0], axis=1).astype(
        np.float32
    )
    result = fit(
        mlp([2, 3]),
        (inputs, targets),
        loss="sigmoid_cross_entropy",
        optimizer=make_optimizer("adam", 0.1),
        batch_size=20,
        epochs=15,
        key=KEY,
    )
    assert result.metric == "label_accuracy"
    assert result.history[-1].train_score > 0.95


def test_labels_of_weight_zero_are_not_learnt() -> None:
    wrong = np.concatenate([LABELS, 1 - LABELS])
    inputs = np.concatenate([INPUTS, INPUTS])
    weight: Any = np.concatenate([np.ones(EXAMPLES), np.zeros(EXAMPLES)]).astype(np.float32)
    options: dict[str, Any] = {
        "optimizer": "sgd",
        "shuffle": False,
        "epochs": 2,
        "key": KEY,
        "batch_size": 20,
    }
    found = fit(NET, (inputs, wrong), sample_weight=weight, **options)
    expected = fit(NET, DATA, **options)
    assert_close(found.state.params, expected.state.params)


# --- refusals ---


def with_element(array: np.ndarray, value: Any) -> np.ndarray:
    changed = array.copy()
    changed.flat[4] = value
    return changed


GIVEN: dict[str, Any] = {"optimizer": "sgd", "batch_size": BATCH, "epochs": 1, "key": KEY}


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (DATA, {"batch_size": 0}, "batch size must be a whole number of at least 1, given 0"),
        (DATA, {"batch_size": -1}, "batch size must be a whole number of at least 1, given -1"),
        (DATA, {"batch_size": 2.5}, "batch size must be a whole number of at least 1, given 2.5"),
        (DATA, {"batch_size": "32"}, "batch size must be a whole number of at least 1, given '32'"),
        (DATA, {"epochs": 0}, "number of epochs must be a whole number of at least 1, given 0"),
        (DATA, {"epochs": True}, "number of epochs must be a whole number of at least 1, given True"),
        (DATA, {"key": None}, "give key=jax.random.key(0)"),
        ((INPUTS, with_element(LABELS, 2)), {}, "labels must lie in 0 to 1 for 2 outputs"),
        ((INPUTS, with_element(LABELS, -1)), {}, "labels must lie in 0 to 1 for 2 outputs, given -1"),
        ((INPUTS, LABELS.astype(np.float32)), {}, "takes integer labels 0 to 1, given type float32"),
        ((INPUTS, LABELS.astype(str)), {}, "takes integer labels"),
        ((INPUTS, LABELS[:, None]), {}, "given [10, 1]"),
        ((with_element(INPUTS, np.nan), LABELS), {}, "1 feature(s) are NaN or infinite"),
        ((with_element(INPUTS, np.inf), LABELS), {}, "1 feature(s) are NaN or infinite"),
        ((INPUTS.astype(str), LABELS), {}, "features must be numbers"),
        ((INPUTS[:0], LABELS[:0]), {}, "the set is empty"),
        ((INPUTS, LABELS[:7]), {}, "given 7 for 10 inputs"),
        ((INPUTS, 1), {}, "given a single number for 10 inputs"),
        ((INPUTS[:, :2], LABELS), {}, "inputs must have shape [N, 3] for this network, given [10, 2]"),
        ((INPUTS[0], LABELS), {}, "inputs must have shape [N, 3] for this network, given [3]"),
        (INPUTS, {}, "data must be a pair (inputs, targets) or a Batch"),
        ((INPUTS, VALUES[:, :1]), {"loss": "squared_error"}, "targets of shape [N, 2]"),
        ((INPUTS, VALUES[:, 0]), {"loss": "squared_error"}, "targets of shape [N, 2]"),
        ((INPUTS, with_element(VALUES, np.nan)), {"loss": "squared_error"}, "targets are NaN or infinite"),
        ((INPUTS, 3 + np.abs(VALUES)), {"loss": "sigmoid_cross_entropy"}, "takes targets from 0 to 1"),
        (DATA, {"sample_weight": WEIGHT[:4]}, "sample weights must have shape [10], given [4]"),
        (DATA, {"sample_weight": -WEIGHT}, "finite and at least 0"),
        (DATA, {"sample_weight": with_element(WEIGHT, np.nan)}, "finite and at least 0"),
        (DATA, {"sample_weight": 0 * WEIGHT}, "all sample weights are 0"),
        (DATA, {"valid": (INPUTS, LABELS[:7])}, "validation data: as many targets as inputs"),
        (DATA, {"valid": (INPUTS[:0], LABELS[:0])}, "validation data: the set is empty"),
        (DATA, {"valid": (INPUTS, LABELS + 5)}, "validation data: labels must lie in 0 to 1"),
        (DATA, {"loss": "softmax_crossentropy"}, "did you mean 'softmax_cross_entropy'"),
        (DATA, {"optimizer": "adm"}, "did you mean 'adam'"),
        (DATA, {"optimizer": 0.1}, "not an optimiser: 0.1"),
        (DATA, {"metric": "acuracy"}, "did you mean 'accuracy'"),
        (DATA, {"metric": "r2"}, "targets of shape [10, 2] here, given [10]"),
    ],
)
def test_fit_refuses_in_one_line(data: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        fit(NET, data, **GIVEN | options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_are_taken_as_arrays() -> None:
    lists = fit(NET, (INPUTS.tolist(), LABELS.tolist()), sample_weight=WEIGHT.tolist(), **GIVEN)
    arrays = fit(NET, DATA, sample_weight=WEIGHT, **GIVEN)
    assert same_bits(lists.state, arrays.state)
