"""What training draws follows from its key alone, and training composes as pure functions do."""

import dataclasses
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
    add_noise,
    assert_close,
    corrupted,
    double,
    plain,
    same_bits,
)

from jaxmlp.layers import Dense, Softmax
from jaxmlp.network import Network, mlp
from jaxmlp.training import steps as training
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.fit import fit
from jaxmlp.training.optimizers import make_optimizer
from jaxmlp.training.steps import TrainState, init_state, train_epoch, train_step
from jaxmlp.types import Batch, Key

# --- the order of the examples ---


class Recorder:
    """A transform that records, from inside the training, the first feature of each example it is given."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, key: Key, inputs: Any) -> Any:
        jax.debug.callback(
            lambda rows: self.seen.extend(rows[:, 0].astype(int).tolist()), inputs, ordered=True
        )
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
        found = train(NET, "sgd", state, DATA, transform=double)
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


def one_of(together: Any, model: int) -> Any:
    """Pick one of the models that were trained side by side."""
    return jax.tree.map(lambda leaf: plain(leaf)[model], together)


def test_seeds_side_by_side_equal_separate_runs() -> None:
    keys = jax.random.split(KEY, 3)

    def run(key: Key) -> Any:
        state = init_state(NET, "adam", key)
        return train_epoch(NET, "adam", state, DATA, batch_size=BATCH)

    together = jax.jit(jax.vmap(run))(keys)
    for model, key in enumerate(keys):
        state, metrics = run(key)
        picked_state, picked = one_of(together, model)
        assert_close(picked_state.params, state.params, relative=1e-6, absolute=1e-6)
        np.testing.assert_allclose(np.array(picked), np.array(metrics), rtol=1e-5)


def test_learning_rates_side_by_side_equal_separate_runs() -> None:
    rates = [0.01, 1.0]
    sgd = make_optimizer("sgd")

    def run(rate: Any) -> Any:
        state = init_state(NET, sgd, KEY)
        state.opt_state.hyperparams["learning_rate"] = rate
        return train_epoch(NET, sgd, state, DATA, batch_size=BATCH)[0].params

    together = jax.jit(jax.vmap(run))(jnp.array(rates))
    for model, rate in enumerate(rates):
        optimizer = make_optimizer("sgd", rate)
        alone, _ = train_epoch(NET, optimizer, init_state(NET, optimizer, KEY), DATA, batch_size=BATCH)
        picked = one_of(together, model)
        assert_close(picked, alone.params, relative=1e-6, absolute=1e-6)


def test_strengths_of_l2_side_by_side_equal_separate_runs() -> None:
    state = init_state(NET, "sgd", KEY)
    strengths = [0.0, 0.1]
    together = jax.vmap(lambda l2: train_epoch(NET, "sgd", state, DATA, batch_size=BATCH, l2=l2)[1].loss)(
        jnp.array(strengths)
    )
    alone = [float(train_epoch(NET, "sgd", state, DATA, batch_size=BATCH, l2=l2)[1].loss) for l2 in strengths]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_the_given_state_and_data_stay_whole() -> None:
    state = init_state(NET, "adam", KEY)
    before = jax.tree.map(plain, state)
    data = jax.tree.map(jnp.asarray, Batch(INPUTS, LABELS, WEIGHT))
    train_step(NET, "adam", state, data)
    train_epoch(NET, "adam", state, data, batch_size=BATCH)
    fit(NET, data, optimizer="adam", batch_size=BATCH, epochs=2, state=state)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((state, data)))
    assert same_bits(state, before)
    np.testing.assert_array_equal(data.inputs, INPUTS)


def describe() -> tuple[Network, optax.GradientTransformation]:
    return mlp([3, 5, 2], activation="leaky_relu:0.1"), make_optimizer("momentum:0.8", 0.03)


def test_equal_descriptions_compile_once() -> None:
    compiled: Any = training.jitted_epoch

    def run(l2: float, scale: float = 1.0, bare: Any = None) -> int:
        net, named = describe()
        optimizer = bare or named
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


# --- corruptions, each caught by a test above ---


def shuffle_alike(state: TrainState) -> Key:
    return state.key


def draw_alike(state: TrainState) -> tuple[Key, Key]:
    return state.key, state.key


def test_one_order_for_all_epochs_is_caught() -> None:
    with corrupted("shuffle_key", shuffle_alike), pytest.raises(AssertionError):
        test_every_epoch_has_an_order_of_its_own_that_follows_from_the_key()


def test_one_draw_for_all_steps_is_caught() -> None:
    with corrupted("_step_keys", draw_alike), pytest.raises(AssertionError):
        test_draws_are_repeatable_and_differ_from_step_to_step(NET, add_noise)
