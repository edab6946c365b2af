"""A step is plain descent, and an epoch is a loop of steps that sees every example exactly once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from slow_cases import others_slow
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
    assert_close,
    corrupted,
    same_bits,
)

from jaxmlp.backprop import value_and_grad
from jaxmlp.layers import Dense
from jaxmlp.losses import LOSSES, Loss
from jaxmlp.network import Network, forward, init
from jaxmlp.training import steps as training
from jaxmlp.training.batching import minibatch_indices
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.optimizers import OPTIMIZERS, make_optimizer
from jaxmlp.training.steps import TrainState, init_state, train_epoch, train_step
from jaxmlp.types import ArgumentError, Batch

# --- a step ---


@pytest.mark.parametrize(
    "options", [{}, {"l2": 0.1}, {"sample_weight": WEIGHT}, {"l2": 0.1, "sample_weight": WEIGHT}]
)
def test_a_step_moves_down_the_gradient_by_the_rate(options: dict[str, Any]) -> None:
    optimizer = make_optimizer("sgd", 0.5)
    state = init_state(NET, optimizer, KEY)
    after, metrics = train_step(NET, optimizer, state, DATA, **options)
    value, grads = value_and_grad(NET, state.params, INPUTS, LABELS, **options)
    expected = jax.tree.map(lambda p, g: np.asarray(p) - np.float32(0.5) * np.asarray(g), state.params, grads)
    assert_close(after.params, expected, relative=1e-6, absolute=1e-7)
    norm = np.sqrt(sum(np.sum(np.square(np.asarray(g, np.float64))) for g in jax.tree.leaves(grads)))
    assert float(jnp.asarray(metrics.gradient_norm)) == pytest.approx(norm, rel=1e-5)
    assert float(metrics.loss) == pytest.approx(float(value), rel=1e-6)
    weight: Any = options.get("sample_weight", np.ones(EXAMPLES, np.float32))
    assert float(metrics.weight) == pytest.approx(weight.sum(), rel=1e-6)
    right = np.argmax(np.asarray(forward(NET, state.params, INPUTS)), axis=1) == LABELS
    assert float(metrics.score) == pytest.approx(np.average(right, weights=weight), rel=1e-6)
    assert (int(after.step), int(after.epoch)) == (1, 0)
    assert same_bits(after.key, state.key)


@pytest.mark.parametrize("loss", ["multiclass_hinge", "sigmoid_cross_entropy", "huber"])
def test_a_step_takes_any_loss(loss: str) -> None:
    targets = {"values": VALUES, "binary": (VALUES > 0).astype(np.float32)}.get(LOSSES[loss].targets, LABELS)
    optimizer = make_optimizer("sgd", 0.01)
    state = init_state(NET, optimizer, KEY)
    after, _ = train_step(NET, optimizer, state, (INPUTS, targets), loss=loss)
    _, grads = value_and_grad(NET, state.params, INPUTS, targets, loss=loss)
    assert_close(after.params, jax.tree.map(lambda p, g: p - 0.01 * g, state.params, grads), absolute=1e-7)


def test_weights_of_a_batch_and_of_the_call_multiply() -> None:
    state = init_state(NET, "sgd", KEY)
    both, _ = train_step(NET, "sgd", state, Batch(INPUTS, LABELS, WEIGHT), sample_weight=WEIGHT)
    once, _ = train_step(NET, "sgd", state, DATA, sample_weight=WEIGHT * WEIGHT)
    assert same_bits(both, once)


def test_a_batch_without_weight_leaves_the_parameters() -> None:
    state = init_state(NET, "sgd", KEY)
    after, metrics = train_step(NET, "sgd", state, DATA, sample_weight=0 * WEIGHT)
    assert same_bits(after.params, state.params)
    assert float(metrics.loss) == float(jnp.asarray(metrics.gradient_norm)) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.adam(1e-3),
        lambda: optax.chain(optax.clip(0.01), optax.trace(0.9), optax.scale(-0.1)),
        lambda: optax.adamw(optax.cosine_decay_schedule(0.1, 5)),
    ],
    ids=["adam", "chain", "schedule"],
)
def test_any_optax_transformation_trains(make: Callable[[], optax.GradientTransformation]) -> None:
    optimizer = make()
    state = init_state(NET, optimizer, KEY)
    params, opt_state = state.params, optimizer.init(state.params)
    update = jax.jit(optimizer.update)
    for _ in range(2):
        _, grads = value_and_grad(NET, params, INPUTS, LABELS)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        state, _ = train_step(NET, optimizer, state, DATA)
    assert_close(state.params, params)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_by_name_trains_an_epoch(name: str) -> None:
    state = init_state(NET, name, KEY)
    after, metrics = train_epoch(NET, name, state, DATA, batch_size=BATCH)
    assert not same_bits(after.params, state.params)
    assert bool(jnp.isfinite(metrics.loss))
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(after.params))


def test_the_initial_state_is_drawn_from_the_key() -> None:
    state = init_state(NET, "adam", KEY)
    assert (int(state.step), int(state.epoch)) == (0, 0)
    assert same_bits(state, init_state(NET, "adam", KEY))
    assert not same_bits(state.params, init_state(NET, "adam", jax.random.key(8)).params)
    assert same_bits(state.params, init(NET, jax.random.split(KEY)[0]))


# --- an epoch is a loop of steps ---


def loop_of_steps(
    state: TrainState, data: Batch, *, batch_size: int, shuffle: bool = True, **options: Any
) -> tuple[TrainState, np.ndarray]:
    """Train an epoch by a plain Python loop; its last minibatch is short, not filled up."""
    order = np.arange(EXAMPLES)
    if shuffle:
        order = np.asarray(minibatch_indices(training.shuffle_key(state), EXAMPLES, EXAMPLES)[0][0])
    rows, weights = [], []
    for start in range(0, EXAMPLES, batch_size):
        chosen = order[start : start + batch_size]
        batch = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], data)
        state, metrics = train_step(NET, "sgd", state, batch, **options)
        rows.append([float(jnp.asarray(value)) for value in metrics])
        weights.append(len(chosen) if batch.weight is None else np.sum(batch.weight))
    losses, scores, _, norms = np.array(rows).T
    loss, score = (np.average(column, weights=weights) for column in (losses, scores))
    return state._replace(epoch=state.epoch + 1), np.array([loss, score, sum(weights), norms.mean()])


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({"batch_size": BATCH}, None),
        ({"batch_size": BATCH, "shuffle": False}, None),
        ({"batch_size": BATCH, "l2": 0.1}, WEIGHT),
        ({"batch_size": 5}, None),
        ({"batch_size": 1}, WEIGHT),
        ({"batch_size": EXAMPLES}, None),
        ({"batch_size": EXAMPLES, "shuffle": False}, WEIGHT),
    ],
)
def test_an_epoch_equals_a_loop_of_steps(options: dict[str, Any], weight: Any) -> None:
    state = init_state(NET, "sgd", KEY)
    data = Batch(INPUTS, LABELS, weight)
    for _ in range(2):
        expected_state, expected = loop_of_steps(state, data, **options)
        found_state, found = train_epoch(NET, "sgd", state, data, **options)
        assert_close(found_state, expected_state)
        np.testing.assert_allclose(np.array(found), expected, rtol=2e-5)
        state = found_state
    assert int(state.step) == 2 * -(-EXAMPLES // options["batch_size"])


def norms_agree(steps: int) -> None:
    """Compare an epoch's gradient norm with that of the same steps taken one by one."""
    random = np.random.default_rng(steps)
    data = Batch(
        jnp.asarray(random.normal(size=(steps, 3)), jnp.float32), jnp.asarray(random.integers(0, 2, steps))
    )
    state = init_state(NET, "sgd", KEY)
    _, metrics = train_epoch(NET, "sgd", state, data, batch_size=1, shuffle=False)
    norms = []
    for step in range(steps):
        state, one = train_step(NET, "sgd", state, jax.tree.map(lambda leaf, at=step: leaf[at][None], data))
        norms.append(float(jnp.asarray(one.gradient_norm)))
    expected = np.mean(norms[:: max(1, steps // training.NORMS)])
    assert float(jnp.asarray(metrics.gradient_norm)) == pytest.approx(expected, rel=1e-4)


# Below twice as many steps as are measured every one is, then every second, then every third.
@pytest.mark.parametrize("steps", others_slow([129, 127, 128, 193], kept=2))
def test_the_norm_of_a_long_epoch_is_the_mean_over_steps_spread_evenly(steps: int) -> None:
    norms_agree(steps)


def test_a_norm_taken_of_other_steps_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = jax.lax.scan

    def one_late(body: Any, carried: Any, blocks: Any) -> Any:
        indices, held, measured = blocks
        return scan(body, carried, (indices, held, jnp.roll(measured, 1)))

    monkeypatch.setattr(training.jax.lax, "scan", one_late)
    with corrupted("weighted_mean", training.weighted_mean), pytest.raises(AssertionError):
        norms_agree(130)


def test_an_epoch_of_whole_batches_equals_the_loop_bit_for_bit_in_its_bookkeeping() -> None:
    state = init_state(NET, "sgd", KEY)
    found, _ = train_epoch(NET, "sgd", state, DATA, batch_size=5)
    expected, _ = loop_of_steps(state, Batch(*DATA), batch_size=5)
    assert same_bits(
        (found.key, found.step, found.epoch, found.opt_state),
        (expected.key, expected.step, expected.epoch, expected.opt_state),
    )


def test_a_short_batch_that_weighs_like_a_whole_one_is_caught() -> None:
    with corrupted("weighted_mean", lambda values, weight: jnp.mean(values)), pytest.raises(AssertionError):
        test_an_epoch_equals_a_loop_of_steps({"batch_size": BATCH}, None)


def test_a_batch_larger_than_the_set_is_the_full_batch() -> None:
    state = init_state(NET, "sgd", KEY)
    larger, metrics = train_epoch(NET, "sgd", state, DATA, batch_size=3 * EXAMPLES, shuffle=False)
    full, expected = train_epoch(NET, "sgd", state, DATA, batch_size=EXAMPLES, shuffle=False)
    assert_close(larger, full)
    np.testing.assert_allclose(np.array(metrics), np.array(expected), rtol=1e-5)


def test_r_squared_of_an_epoch_is_that_of_all_its_examples() -> None:
    # A rate this small leaves the parameters, so the epoch's score must be the whole set's.
    still = make_optimizer("sgd", 1e-30)
    state = init_state(NET, still, KEY)
    _, found = train_epoch(NET, still, state, (INPUTS, VALUES), loss="squared_error", batch_size=BATCH)
    expected = evaluate(NET, state.params, (INPUTS, VALUES), loss="squared_error")
    assert float(found.score) == pytest.approx(float(expected.score), rel=1e-5)
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-5)


# --- every example exactly once ---


def shares_seen(examples: int, batch_size: int, *, shuffle: bool) -> np.ndarray:
    """Read off how much each example counted in an epoch [N], by descending along gradients of 1.

    Example i has the i-th one-hot row as its features, so that weight i of a linear network falls by
    1/B for each time that it is seen in a minibatch that holds B examples.
    """
    net = Network(examples, [Dense(1, bias=False, weight_init="zeros")])
    # New functions every time: nothing compiled earlier can hide a change.
    ones = Loss(lambda outputs, targets: outputs[:, 0], lambda outputs, targets: jnp.ones_like(outputs))
    optimizer = make_optimizer("sgd", 1.0)
    data = (np.eye(examples, dtype=np.float32), np.zeros((examples, 1), np.float32))
    after, _ = train_epoch(
        net,
        optimizer,
        init_state(net, optimizer, KEY),
        data,
        loss=ones,
        batch_size=batch_size,
        shuffle=shuffle,
    )
    return -np.asarray(after.params[0].w)[:, 0]


def assert_each_seen_once(examples: int, batch_size: int, *, shuffle: bool) -> None:
    short = examples % batch_size
    expected = [1 / batch_size] * (examples - short) + [1 / max(1, short)] * short
    found = shares_seen(examples, batch_size, shuffle=shuffle)
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-6)
    if not shuffle:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("examples", "batch_size", "shuffle"),
    [(10, 4, True), (10, 4, False), (8, 4, True), (7, 1, True), (3, 8, True), (64, 24, False)],
)
def test_every_example_counts_once_an_epoch(examples: int, batch_size: int, shuffle: bool) -> None:
    assert_each_seen_once(examples, batch_size, shuffle=shuffle)


def with_replacement(key: Any, examples: int, batch_size: int) -> Any:
    indices, held = minibatch_indices(key, examples, batch_size)
    return jax.random.randint(jax.random.key(0), indices.shape, 0, examples), held


def without_the_rest(key: Any, examples: int, batch_size: int) -> Any:
    indices, held = minibatch_indices(key, examples, batch_size)
    return indices[:-1], held[:-1]


def filled_with_examples(key: Any, examples: int, batch_size: int) -> Any:
    indices, held = minibatch_indices(key, examples, batch_size)
    return indices, jnp.ones_like(held)


@pytest.mark.parametrize("corrupt", [with_replacement, without_the_rest, filled_with_examples])
def test_examples_seen_twice_or_never_are_caught(
    corrupt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "minibatch_indices", corrupt)
    with pytest.raises(AssertionError):
        assert_each_seen_once(10, 4, shuffle=True)


# --- refusals ---


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (DATA, {"batch_size": 0}, "given 0"),
        (DATA, {"batch_size": -1}, "given -1"),
        (DATA, {"batch_size": 2.5}, "given 2.5"),
        ((INPUTS, LABELS[:7]), {}, "given 7 for 10 inputs"),
        ((INPUTS[:0], LABELS[:0]), {}, "is empty"),
        ((INPUTS[:, :2], LABELS), {}, "inputs must have shape [B, 3]"),
        ((INPUTS, LABELS.astype(np.float32)), {}, "integer labels"),
        (DATA, {"sample_weight": WEIGHT[:4]}, "shape [10], given [4]"),
        (DATA, {"loss": "softmax_crossentropy"}, "did you mean 'softmax_cross_entropy'"),
        (DATA, {"metric": "acuracy"}, "did you mean 'accuracy'"),
    ],
)
def test_an_epoch_refuses_in_one_line(data: Any, options: dict[str, Any], words: str) -> None:
    state = init_state(NET, "sgd", KEY)
    with pytest.raises(ArgumentError) as caught:
        train_epoch(NET, "sgd", state, data, **{"batch_size": BATCH} | options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ((INPUTS, LABELS[:7]), {}, "given outputs [10, 2] and targets [7]"),
        ((INPUTS[:, :2], LABELS), {}, "inputs must have shape [B, 3]"),
        ((INPUTS[0], LABELS[:1]), {}, "reshape one example to [1, I]"),
        (DATA, {"sample_weight": WEIGHT[:4]}, "shape [10], given [4]"),
        (DATA, {"loss": "hubr"}, "did you mean 'huber'"),
        (DATA, {"metric": "r3"}, "unknown metric 'r3'"),
    ],
)
def test_a_step_refuses_in_one_line(data: Any, options: dict[str, Any], words: str) -> None:
    state = init_state(NET, "sgd", KEY)
    with pytest.raises(ArgumentError) as caught:
        train_step(NET, "sgd", state, data, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_optimizer_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'momentum'"):
        init_state(NET, "momentun", KEY)
