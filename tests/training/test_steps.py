"""A step is plain descent; an epoch is a loop of steps that sees every example once, in an order that the key tells."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from comparisons import assert_close, plain, refused, same_bits
from scipy import stats
from slow_cases import others_slow
from training_cases import BATCH, DATA, EXAMPLES, INPUTS, KEY, LABELS, NET, VALUES, WEIGHT, add_noise

from jaxmlp.backprop import value_and_grad
from jaxmlp.layers import Dense, Softmax
from jaxmlp.losses import Loss
from jaxmlp.network import Network, forward, init, mlp
from jaxmlp.training import steps as training
from jaxmlp.training.batching import minibatch_indices, steps_per_epoch
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.fit import fit
from jaxmlp.training.metrics import accuracy, score
from jaxmlp.training.optimizers import OPTIMIZERS, make_optimizer
from jaxmlp.training.steps import TrainState, init_state, train_epoch, train_step
from jaxmlp.training.stream import stream_from_chunks
from jaxmlp.types import Batch, Key

# --- a step ---


@pytest.mark.parametrize(
    "options",
    [
        *({}, {"l2": 0.1}, {"sample_weight": WEIGHT}, {"l2": 0.1, "sample_weight": WEIGHT}),
        *({"loss": "multiclass_hinge"}, {"loss": "huber"}),
    ],
)
def test_a_step_moves_down_the_gradient_of_any_loss_by_the_rate(options: dict[str, Any]) -> None:
    optimizer = make_optimizer("sgd", 0.5)
    state = init_state(NET, optimizer, KEY)
    targets = VALUES if options.get("loss") == "huber" else LABELS
    after, metrics = train_step(NET, optimizer, state, (INPUTS, targets), **options)
    value, grads = value_and_grad(NET, state.params, INPUTS, targets, **options)
    expected = jax.tree.map(lambda p, g: np.asarray(p) - np.float32(0.5) * np.asarray(g), state.params, grads)
    assert_close(after.params, expected, relative=1e-6, absolute=1e-7)
    norm = np.sqrt(sum(np.sum(np.square(np.asarray(g, np.float64))) for g in jax.tree.leaves(grads)))
    assert float(jnp.asarray(metrics.gradient_norm)) == pytest.approx(norm, rel=1e-5)
    assert float(metrics.loss) == pytest.approx(float(value), rel=1e-6)
    weight: Any = options.get("sample_weight", np.ones(EXAMPLES, np.float32))
    assert float(metrics.weight) == pytest.approx(weight.sum(), rel=1e-6)
    if targets is LABELS:
        right = np.argmax(np.asarray(forward(NET, state.params, INPUTS)), axis=1) == LABELS
        assert float(metrics.score) == pytest.approx(np.average(right, weights=weight), rel=1e-6)
    assert (int(after.step), int(after.epoch)) == (1, 0)
    assert same_bits(after.key, state.key)


def test_weights_of_a_batch_and_of_the_call_multiply_and_without_any_the_parameters_stay() -> None:
    state = init_state(NET, "sgd", KEY)
    both, _ = train_step(NET, "sgd", state, Batch(INPUTS, LABELS, WEIGHT), sample_weight=WEIGHT)
    once, _ = train_step(NET, "sgd", state, DATA, sample_weight=WEIGHT * WEIGHT)
    assert same_bits(both, once)
    after, metrics = train_step(NET, "sgd", state, DATA, sample_weight=0 * WEIGHT)
    assert same_bits(after.params, state.params)
    assert float(metrics.loss) == float(jnp.asarray(metrics.gradient_norm)) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.chain(optax.clip(0.01), optax.trace(0.9), optax.scale(-0.1)),
        lambda: optax.adamw(optax.cosine_decay_schedule(0.1, 5)),
        # These ask for the value.
        lambda: optax.polyak_sgd(),
        lambda: optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1)),
        lambda: optax.lbfgs(0.1, linesearch=None),
    ],
    ids=["chain", "schedule", "polyak", "plateau", "lbfgs"],
)
def test_any_optax_transformation_trains(make: Callable[[], optax.GradientTransformation]) -> None:
    optimizer = make()
    state = init_state(NET, optimizer, KEY)
    params, opt_state = state.params, optimizer.init(state.params)
    update = jax.jit(optax.with_extra_args_support(optimizer).update)
    for _ in range(2):
        value, grads = value_and_grad(NET, params, INPUTS, LABELS)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = update(grads, opt_state, params, value=value)
        params = optax.apply_updates(params, updates)
        state, _ = train_step(NET, optimizer, state, DATA)
    assert_close(state.params, params)


@pytest.mark.parametrize("name", others_slow(list(OPTIMIZERS), kept=2))
def test_every_optimizer_by_name_trains_an_epoch(name: str) -> None:
    state = init_state(NET, name, KEY)
    after, metrics = train_epoch(NET, name, state, DATA, batch_size=BATCH)
    assert not same_bits(after.params, state.params)
    assert bool(jnp.isfinite(metrics.loss))
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(after.params))


def test_the_initial_state_is_drawn_from_the_key() -> None:
    state = init_state(NET, "adam", KEY)
    assert (int(state.step), int(state.epoch)) == (0, 0)
    assert same_bits(state.params, init(NET, jax.random.split(KEY)[0]))
    assert not same_bits(state.params, init_state(NET, "adam", jax.random.key(8)).params)
    refused("did you mean 'momentum'", init_state, NET, "momentun", KEY)


# --- an epoch is a loop of steps ---


def loop_of_steps(
    state: TrainState, data: Batch, *, batch_size: int, shuffle: bool = True, l2: float | None = None
) -> tuple[TrainState, np.ndarray]:
    """Train an epoch by a plain Python loop; its last minibatch is short, not filled up."""
    order = np.arange(EXAMPLES)
    if shuffle:
        order = np.asarray(minibatch_indices(training.shuffle_key(state), EXAMPLES, EXAMPLES)[0][0])
    recipe, rows = training.Recipe(NET, "sgd"), []
    for start in range(0, EXAMPLES, batch_size):
        chosen = order[start : start + batch_size]
        batch = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], data)
        weight = np.ones(len(chosen)) if batch.weight is None else batch.weight
        total = None if data.weight is None else len(chosen) * np.mean(data.weight)
        state, found = training.step(recipe, state, batch, l2, total)
        score = accuracy(found.outputs, batch.targets, jnp.asarray(weight))
        row = found.value, score, optax.tree.norm(found.grads), len(chosen), np.sum(weight)
        rows.append([float(each) for each in row])
    losses, scores, norms, counts, weights = np.array(rows).T
    loss, score = np.average(losses, weights=counts), np.average(scores, weights=weights)
    return state._replace(epoch=state.epoch + 1), np.array([loss, score, sum(weights), norms.mean()])


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({"batch_size": BATCH}, None),
        ({"batch_size": BATCH, "shuffle": False}, None),
        ({"batch_size": BATCH, "l2": 0.1}, WEIGHT),
        ({"batch_size": 1}, WEIGHT),
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
        bookkeeping = [(s.key, s.step, s.epoch, s.opt_state) for s in (found_state, expected_state)]
        assert same_bits(*bookkeeping)
    assert int(state.step) == 2 * -(-EXAMPLES // options["batch_size"])


# What an epoch's steps follow stands, summed, in this optimiser's state; it does not move the parameters.
SUM = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda grads, state, params=None: (
        jax.tree.map(jnp.zeros_like, grads),
        jax.tree.map(jnp.add, state, grads),
    ),
)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("weight", [WEIGHT, 1000 * WEIGHT, np.where(np.arange(EXAMPLES) < 3, 0, WEIGHT) ** 8])
def test_the_mean_gradient_of_weighted_minibatches_is_that_of_all_data(size: int, weight: Any) -> None:
    state = init_state(NET, SUM, KEY)
    value, expected = value_and_grad(NET, state.params, INPUTS, LABELS, sample_weight=weight)
    given: dict[str, Any] = {"optimizer": SUM, "batch_size": size, "epochs": 1, "state": state}
    stream = stream_from_chunks([(*DATA, weight)], window=2)
    for found in (fit(NET, DATA, sample_weight=weight, **given), fit(NET, stream, **given)):
        mean = jax.tree.map(lambda total: total * size / EXAMPLES, found.state.opt_state)
        assert_close(mean, expected, relative=1e-5, absolute=1e-5)
        assert found.history[0].train_loss == pytest.approx(float(value), rel=1e-5)


def test_a_heavy_example_moves_more_and_scaling_all_weights_changes_nothing() -> None:
    given: dict[str, Any] = {"optimizer": "sgd", "batch_size": 1, "epochs": 1, "key": KEY, "shuffle": False}
    ends = [
        fit(NET, (INPUTS[:2], LABELS[:2]), sample_weight=weight, **given).state
        for weight in (None, [1, 1000], [2, 2], [2**32, 2**32])
    ]
    assert [same_bits(end, ends[0]) for end in ends] == [True, False, True, True]


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


def test_a_batch_larger_than_the_set_is_the_full_batch() -> None:
    state = init_state(NET, "sgd", KEY)
    sizes = (3 * EXAMPLES, EXAMPLES)
    assert same_bits(*(train_epoch(NET, "sgd", state, DATA, batch_size=size) for size in sizes))


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
    given = {"loss": ones, "batch_size": batch_size, "shuffle": shuffle}
    after, _ = train_epoch(net, optimizer, init_state(net, optimizer, KEY), data, **given)
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
    [(10, 4, True), (8, 4, True), (3, 8, True), (64, 24, False)],
)
def test_every_example_counts_once_an_epoch(examples: int, batch_size: int, shuffle: bool) -> None:
    assert_each_seen_once(examples, batch_size, shuffle=shuffle)


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda indices, held: (jax.random.randint(jax.random.key(0), indices.shape, 0, 10), held),
        lambda indices, held: (indices[:-1], held[:-1]),
        lambda indices, held: (indices, jnp.ones_like(held)),
    ],
    ids=["with_replacement", "without_the_rest", "filled_with_examples"],
)
def test_examples_seen_twice_or_never_are_caught(corrupt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "minibatch_indices", lambda *given: corrupt(*minibatch_indices(*given)))
    with pytest.raises(AssertionError):
        assert_each_seen_once(10, 4, shuffle=True)


# --- the order of the examples ---


class Recorder:
    """A transform that records, from inside the training, the first feature of each example it is given."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, key: Key, inputs: Any) -> Any:
        jax.debug.callback(lambda x: self.seen.extend(x[:, 0].astype(int).tolist()), inputs, ordered=True)
        return inputs


def orders_seen(recorder: Recorder, epochs: int, *, shuffle: bool = True, key: Key = KEY) -> list[list[int]]:
    """Train and tell in which order the examples of each epoch were seen."""
    recorder.seen.clear()
    numbered = (np.tile(np.arange(EXAMPLES, dtype=np.float32)[:, None], 3), LABELS)
    state = init_state(NET, "sgd", key)
    for _ in range(epochs):
        state, _ = train_epoch(NET, "sgd", state, numbered, batch_size=5, shuffle=shuffle, transform=recorder)
    jax.effects_barrier()
    return np.reshape(recorder.seen, (epochs, EXAMPLES)).tolist()


def test_every_epoch_has_an_order_of_its_own_that_follows_from_the_key() -> None:
    recorder = Recorder()
    orders = orders_seen(recorder, 3)
    assert all(sorted(order) == list(range(EXAMPLES)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(EXAMPLES)]}) == 4
    assert orders_seen(recorder, 3) == orders
    assert orders_seen(recorder, 1, key=jax.random.key(8)) != orders[:1]


def test_without_shuffling_the_order_is_the_given_one() -> None:
    assert orders_seen(Recorder(), 2, shuffle=False) == [list(range(EXAMPLES))] * 2


@pytest.mark.slow
def test_a_metric_that_ranks_is_taken_over_the_whole_epoch() -> None:
    still = make_optimizer("sgd", 1e-30)
    state = init_state(NET, still, KEY)
    _, found = train_epoch(NET, still, state, DATA, batch_size=BATCH, metric="roc_auc")
    outputs = forward(NET, state.params, INPUTS)
    assert float(found.score) == pytest.approx(
        float(score("roc_auc", outputs, jnp.asarray(LABELS))), rel=1e-6
    )
    blocks = [float(score("roc_auc", outputs[each], LABELS[each])) for each in (slice(0, 4), slice(4, 10))]
    assert abs(np.nanmean(blocks) - float(found.score)) > 1e-3


# --- keys, transforms and layers that draw ---


@dataclasses.dataclass(frozen=True)
class Noise(Softmax):
    """Adds noise in training and nothing at inference."""

    def forward(
        self, params: Any, inputs: Any, *, train: bool = False, key: Any = None, weight: Any = None
    ) -> Any:
        return (add_noise(key, inputs) if train else inputs), None

    def backward(self, params: Any, residuals: Any, output_grad: Any) -> Any:
        return (), output_grad


@pytest.mark.parametrize("transform", others_slow([add_noise, None]))
def test_one_key_gives_the_same_bits_twice_and_another_key_others(transform: Any) -> None:
    def run(seed: int) -> Any:
        state = init_state(NET, "adam", jax.random.key(seed))
        return train_epoch(NET, "adam", state, DATA, batch_size=BATCH, transform=transform)

    assert same_bits(run(0), run(0))
    assert not same_bits(run(0)[0].params, run(1)[0].params)


def test_a_transform_changes_the_inputs_of_training() -> None:
    state = init_state(NET, "sgd", KEY)
    for train in (train_step, lambda *given, **named: train_epoch(*given, batch_size=BATCH, **named)):
        found = train(NET, "sgd", state, DATA, transform=lambda key, inputs: 2 * inputs)
        assert same_bits(found, train(NET, "sgd", state, (2 * INPUTS, LABELS)))
        assert not same_bits(found, train(NET, "sgd", state, DATA))


@pytest.mark.parametrize(
    ("net", "transform"),
    [(NET, add_noise), (Network(3, [Dense(2), Noise()]), None)],
    ids=["transform", "layer"],
)
def test_draws_are_repeatable_and_differ_from_step_to_step(net: Network, transform: Any) -> None:
    # With a rate this small the parameters stay, so only the draws can change the loss.
    still = make_optimizer("sgd", 1e-30)
    state = init_state(net, still, KEY)
    losses, again = [], []
    for step in range(3):
        earlier = state
        state, metrics = train_step(net, still, earlier, DATA, transform=transform)
        losses.append(float(metrics.loss))
        again.append(float(train_step(net, still, earlier, DATA, transform=transform)[1].loss))
        assert int(state.step) == step + 1
    assert losses == again
    assert len(set(losses)) == 3


@dataclasses.dataclass(frozen=True)
class Fade(Softmax):
    """Multiplies by how far training is."""

    scheduled = True

    def forward(self, params: Any, inputs: Any, *, progress: Any = None, **_: Any) -> Any:
        factor = jnp.asarray(0.0 if progress is None else progress)
        return factor * inputs, factor

    def backward(self, params: Any, residuals: Any, output_grad: Any) -> Any:
        return (), residuals * output_grad


def test_a_layer_with_a_schedule_is_told_how_far_training_is() -> None:
    net, means = Network(3, [Dense(2), Fade()]), []
    options: dict[str, Any] = {"loss": "squared_error", "horizon": 3, "metric": "r2"}
    state, values = init_state(net, make_optimizer("sgd", 1e-30), KEY), jnp.zeros((EXAMPLES, 2))
    plain, _ = train_step(net, "sgd", state, (INPUTS, values), **{**options, "horizon": None})
    outputs = np.asarray(INPUTS @ state.params[0].w + state.params[0].b[None, :])
    for _ in range(5):
        state, metrics = train_step(net, make_optimizer("sgd", 1e-30), state, (INPUTS, values), **options)
        means.append(float(metrics.loss))
    whole = np.mean(np.sum(outputs**2, axis=1))
    np.testing.assert_allclose(means, [0, whole / 9, whole * 4 / 9, whole, whole], rtol=1e-5)
    assert float(plain.step) == 1


def test_a_fit_counts_the_steps_of_the_whole_run_for_it() -> None:
    net, seen = Network(3, [Dense(2), Fade()]), []

    def remember(report: Any, state: Any) -> None:
        seen.append(report.train_loss)

    options: dict[str, Any] = {"loss": "squared_error", "batch_size": 5, "callback": remember}
    fit(net, (INPUTS, np.zeros((EXAMPLES, 2), np.float32)), optimizer=make_optimizer("sgd", 1e-30), epochs=2,
        key=KEY, shuffle=False, **options)  # fmt: skip
    params = init_state(net, "sgd", KEY).params[0]
    each = np.sum(np.asarray(INPUTS @ params.w + params.b[None, :]) ** 2, axis=1).reshape(2, 5).mean(axis=1)
    told = np.array([[0, 1 / 16], [1 / 4, 9 / 16]])  # the squares of 0, ¼, ½ and ¾
    np.testing.assert_allclose(seen, told @ each / 2, rtol=1e-5)
    stream = stream_from_chunks(lambda epoch: iter([DATA]))
    refused(
        "the length of a stream is not known",
        fit,
        net,
        stream,
        optimizer="sgd",
        batch_size=5,
        epochs=1,
        key=KEY,
    )


def test_a_layer_that_draws_is_quiet_in_evaluation() -> None:
    noisy, quiet = Network(3, [Dense(2), Noise()]), Network(3, [Dense(2)])
    state = init_state(noisy, "sgd", KEY)
    found = evaluate(noisy, state.params, DATA)
    assert float(found.loss) == float(evaluate(quiet, state.params[:1], DATA).loss)
    _, in_training = train_step(noisy, "sgd", state, DATA)
    assert float(in_training.loss) != float(found.loss)


def test_layers_and_transform_draw_from_different_keys() -> None:
    transform_key, layer_key = training._step_keys(init_state(NET, "sgd", KEY))
    shuffle_key = training.shuffle_key(init_state(NET, "sgd", KEY))
    drawn = {plain(key).tobytes() for key in (transform_key, layer_key, shuffle_key, KEY)}
    assert len(drawn) == 4


# --- pure functions: vmap, inputs that stay, compiling once ---


@pytest.mark.slow
def test_seeds_rates_and_strengths_of_l2_side_by_side_equal_separate_runs() -> None:
    adam = make_optimizer("adam")
    keys, rates = jax.random.split(KEY, 3), jnp.array([0.001, 0.01, 0.1])
    strengths = jnp.array([0.0, 0.0, 0.1])

    def run(key: Key, rate: Any, l2: Any) -> Any:
        state = init_state(NET, adam, key)
        state.opt_state.hyperparams["learning_rate"] = rate
        return train_epoch(NET, adam, state, DATA, batch_size=BATCH, l2=l2)

    states, metrics = jax.jit(jax.vmap(run))(keys, rates, strengths)
    for model in range(3):
        state, measured = run(keys[model], rates[model], strengths[model])
        picked = jax.tree.map(lambda leaf, at=model: leaf[at], (states.params, metrics))
        assert_close(picked[0], state.params, relative=1e-6, absolute=1e-6)
        np.testing.assert_allclose(np.array(picked[1]), np.array(measured), rtol=1e-5)


def test_the_given_state_and_data_stay_whole() -> None:
    state = init_state(NET, "adam", KEY)
    before = jax.tree.map(jnp.copy, state)
    data = jax.tree.map(jnp.asarray, Batch(INPUTS, LABELS, WEIGHT))
    train_step(NET, "adam", state, data)
    train_epoch(NET, "adam", state, data, batch_size=BATCH)
    fit(NET, data, optimizer="adam", batch_size=BATCH, epochs=2, state=state)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((state, data)))
    assert same_bits(state, before)
    np.testing.assert_array_equal(data.inputs, INPUTS)


def test_equal_descriptions_compile_once() -> None:
    compiled: Any = training.jitted_epoch

    def run(l2: float, scale: float = 1.0, bare: Any = None) -> int:
        net = mlp([3, 5, 2], activation="leaky_relu:0.1")
        optimizer = bare or make_optimizer("momentum:0.8", 0.03)
        state = init_state(net, optimizer, jax.random.key(int(100 * l2)))
        train_epoch(net, optimizer, state, (scale * INPUTS, LABELS), batch_size=BATCH, l2=l2)
        return compiled._cache_size()

    before = run(0.1)
    assert run(0.1) == before
    assert run(0.3, scale=2.0) == before, "seeds, data and the strength of L2 are traced"
    assert run(0.1, bare=optax.sgd(0.1)) == before + 1, "the count does notice"


def test_float64_training_is_plain_descent_to_float64(x64: None) -> None:
    optimizer = make_optimizer("sgd", 0.5)
    inputs, values = INPUTS.astype(np.float64), VALUES.astype(np.float64)
    net = Network(3, [Dense(2)])
    state = init_state(net, optimizer, KEY)
    w, b = (np.asarray(leaf) for leaf in state.params[0])
    assert w.dtype == np.float64
    for start in range(0, EXAMPLES, BATCH):
        x, t = inputs[start : start + BATCH], values[start : start + BATCH]
        residual = 2 * (x @ w + b - t) / len(x)
        w, b = w - 0.5 * x.T @ residual, b - 0.5 * residual.sum(axis=0)
    found, metrics = train_epoch(
        net, optimizer, state, (inputs, values), loss="squared_error", batch_size=BATCH, shuffle=False
    )
    assert_close(found.params[0], type(found.params[0])(w, b), relative=1e-12, absolute=1e-13)
    assert metrics.loss.dtype == jnp.float64


# --- the blocks of indices ---


def is_layout(indices: np.ndarray, held: np.ndarray, examples: int) -> bool:
    """Tell whether every example is there exactly once, and padding only at the end of the last row."""
    places = [True] * examples + [False] * (held.size - examples)
    return sorted(indices[held].tolist()) == list(range(examples)) and held.ravel().tolist() == places


# N below, at, above and at a multiple of B; and the full batch.
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize(("examples", "batch_size"), [(1, 4), (4, 4), (5, 4), (8, 4), (10, 3), (7, 1)])
def test_every_example_is_laid_out_exactly_once(examples: int, batch_size: int, seed: int | None) -> None:
    key = None if seed is None else jax.random.key(seed)
    indices, held = map(np.asarray, minibatch_indices(key, examples, batch_size))
    steps = steps_per_epoch(examples, batch_size)
    assert (steps - 1) * batch_size < examples <= steps * batch_size
    assert indices.shape == held.shape == (steps, batch_size)
    assert jnp.issubdtype(indices.dtype, jnp.integer)
    assert is_layout(indices, held, examples)
    assert not np.any(indices[~held])  # an index that every data set has
    if seed is None:
        assert indices[held].tolist() == list(range(examples))


def test_an_example_lost_or_laid_out_twice_is_caught() -> None:
    indices, held = map(np.array, minibatch_indices(jax.random.key(0), 10, 3))
    twice, lost = indices.copy(), held.copy()
    twice[0, 0] = twice[1, 1]
    lost[-1, 0] = False
    assert is_layout(indices, held, 10)
    assert not is_layout(twice, held, 10)
    assert not is_layout(indices, lost, 10)
    assert not is_layout(indices, np.ones_like(held), 10)  # the padding taken for examples


def test_the_order_follows_the_key_and_not_the_batch_size_also_compiled_over_many_keys() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    blocks = jax.jit(jax.vmap(lambda key: minibatch_indices(key, 12, 5)[0]))(keys)
    orders = blocks.reshape(3, -1)[:, :12].tolist()
    assert len({tuple(order) for order in [*orders, range(12)]}) == 4
    for order, key in zip(orders, keys, strict=True):
        assert order == minibatch_indices(key, 12, 12)[0].ravel().tolist()


def order_of(key: jax.Array, examples: int) -> jax.Array:
    return minibatch_indices(key, examples, examples)[0][0]


def is_fair(orders: np.ndarray) -> bool:
    """Tell whether all orders [D, N] of few examples were drawn about equally often, by a chi-squared test."""
    _, counts = np.unique(orders, axis=0, return_counts=True)
    ways = math.factorial(orders.shape[1])
    return len(counts) == ways and stats.chisquare(counts).pvalue > 1e-4


def test_every_order_is_as_likely_as_any_other() -> None:
    keys = jax.random.split(jax.random.key(0), 12_000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: order_of(key, 4)))(keys))
    assert is_fair(orders)
    turned = orders.copy()
    turned[:600] = np.sort(turned[:600], axis=1)  # one draw in twenty left unshuffled
    assert not is_fair(turned)


# As many examples as need one, two, three and four sorts.
@pytest.mark.parametrize("examples", [2, 2_000, 3_000, 300_000, 1_500_000])
def test_many_examples_are_shuffled_evenly(examples: int) -> None:
    order = np.asarray(jax.jit(order_of, static_argnums=1)(jax.random.key(0), examples))
    assert np.array_equal(np.sort(order), np.arange(examples))
    if examples > 100:
        # Neighbours come in either order equally often, and places do not follow from the example.
        rising = np.mean(np.diff(order) > 0)
        assert abs(rising - 0.5) < 2 / math.sqrt(examples)
        assert abs(np.corrcoef(order, np.arange(examples))[0, 1]) < 4 / math.sqrt(examples)


# --- corruptions, each caught by a test above ---


@contextmanager
def corrupted(name: str, corrupt: Callable[..., Any]) -> Iterator[None]:
    """Put a corrupted function in the place of one of `training`'s, compiled again, and take it out again."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, name, corrupt)
        training.jitted_step.clear_cache()
        training.jitted_epoch.clear_cache()
        try:
            yield
        finally:
            training.jitted_step.clear_cache()
            training.jitted_epoch.clear_cache()


def test_one_order_for_all_epochs_is_caught() -> None:
    with corrupted("shuffle_key", lambda state: state.key), pytest.raises(AssertionError):
        test_every_epoch_has_an_order_of_its_own_that_follows_from_the_key()


def test_one_draw_for_all_steps_is_caught() -> None:
    with corrupted("_step_keys", lambda state: (state.key, state.key)), pytest.raises(AssertionError):
        test_draws_are_repeatable_and_differ_from_step_to_step(NET, add_noise)


def test_a_norm_taken_of_other_steps_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = jax.lax.scan

    def one_late(body: Any, carried: Any, blocks: Any) -> Any:
        indices, held, measured = blocks
        return scan(body, carried, (indices, held, jnp.roll(measured, 1)))

    monkeypatch.setattr(training.jax.lax, "scan", one_late)
    with corrupted("weighted_mean", training.weighted_mean), pytest.raises(AssertionError):
        norms_agree(130)


def test_a_short_batch_that_weighs_like_a_whole_one_is_caught() -> None:
    with corrupted("weighted_mean", lambda values, weight: jnp.mean(values)), pytest.raises(AssertionError):
        test_an_epoch_equals_a_loop_of_steps({"batch_size": BATCH}, None)
