"""A gradient taken in microbatches is the whole minibatch's, and has the same bits on any number of devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_cases import (
    FEWEST_OUTPUTS,
    assert_close,
    make_params,
    make_targets,
    make_weight,
    stack,
    target_kinds,
)
from jax.sharding import Mesh

from jaxmlp.activations import ACTIVATIONS
from jaxmlp.backprop import Objective, objective, objective_and_grads
from jaxmlp.losses import LOSSES
from jaxmlp.network import mlp
from jaxmlp.training import microbatches
from jaxmlp.training.fit import fit
from jaxmlp.training.microbatches import add_in_order, check_microbatches, in_microbatches
from jaxmlp.training.steps import init_state, train_epoch
from jaxmlp.training.stream import stream_from_chunks
from jaxmlp.types import ArgumentError, history_columns

EXAMPLES, PARTS = 6, 3
REAL = LOSSES["half_squared_error"].targets


def compare(
    activation: str,
    loss: str,
    kind: str,
    *,
    outputs: int,
    weighted: bool,
    l2: float | None,
    scale: float = 1.0,
) -> None:
    """Hold objective, gradient and outputs in parts to autodiff of the whole minibatch's objective."""
    random = np.random.default_rng(0)
    net = stack(activation, loss, outputs=outputs)
    params = make_params(net, random)
    inputs = jnp.asarray(scale * random.normal(size=(EXAMPLES, 3)))
    targets = make_targets(kind, random, EXAMPLES, outputs)
    weight = make_weight(EXAMPLES) if weighted else None
    options: dict[str, Any] = {"loss": loss, "sample_weight": weight, "l2": l2, "train": True}
    found = in_microbatches(objective_and_grads, PARTS)(net, params, inputs, targets, **options)
    value, grads = jax.value_and_grad(lambda given: objective(net, given, inputs, targets, **options))(params)
    whole = objective_and_grads(net, params, inputs, targets, **options)
    assert_close(found.value, value)
    assert_close(found.grads, grads)
    assert_close(found.outputs, whole.outputs)


# --- equal to autodiff ---


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("loss", "kind"), [(loss, kind) for loss in LOSSES for kind in target_kinds(loss)])
def test_in_parts_it_is_autodiffs_gradient_of_the_whole_for_every_loss(loss: str, kind: str) -> None:
    compare("tanh", loss, kind, outputs=3, weighted=True, l2=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("loss", "kind"), [(loss, kind) for loss in LOSSES for kind in target_kinds(loss)])
def test_in_parts_it_is_so_without_weights_and_for_the_fewest_outputs_too(loss: str, kind: str) -> None:
    compare("tanh", loss, kind, outputs=3, weighted=False, l2=None)
    compare("tanh", loss, kind, outputs=FEWEST_OUTPUTS.get(loss, 1), weighted=True, l2=None)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_in_parts_it_is_autodiffs_gradient_of_the_whole_for_every_activation(
    activation: str, scale: float
) -> None:
    compare(activation, "half_squared_error", REAL, outputs=2, weighted=True, l2=0.1, scale=scale)


@pytest.mark.usefixtures("x64")
def test_a_part_without_weight_counts_nothing_and_a_minibatch_without_gives_0() -> None:
    net = stack("relu", "half_squared_error", outputs=2)  # a kink: inputs of 0 meet biases of 0
    params = make_params(net, np.random.default_rng(0))
    inputs, targets = jnp.zeros((4, 3)).at[0].set(1.0), jnp.ones((4, 2))
    take = in_microbatches(objective_and_grads, 2)
    options: dict[str, Any] = {"loss": "half_squared_error", "l2": None}
    for weight in ([1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]):
        given = options | {"sample_weight": jnp.asarray(weight)}
        found = take(net, params, inputs, targets, **given)
        expected = objective_and_grads(net, params, inputs, targets, **given)
        assert_close(found, expected)
    unseen = take(net, params, inputs, targets, sample_weight=jnp.array([1.0, jnp.nan, 0.0, 0.0]), **options)
    assert jnp.isnan(unseen.value), "a weight that is NaN is seen in the loss"
    assert all(jnp.any(jnp.isnan(leaf)) for leaf in jax.tree.leaves(unseen.grads))


# --- a corrupted sum is caught ---


def lose_a_part(parts: Any, add: Callable[..., Any]) -> Any:
    """Leave the last part out of every sum."""
    return add(parts[:-1])


def count_a_part_twice(parts: Any, add: Callable[..., Any]) -> Any:
    """Add the first part once more."""
    return add(jnp.concatenate([parts[:1], parts]))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("fault", [lose_a_part, count_a_part_twice])
def test_a_corrupted_sum_of_parts_is_caught(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = microbatches.add_in_order
    monkeypatch.setattr(microbatches, "add_in_order", lambda parts: fault(parts, right))
    with pytest.raises(AssertionError):
        compare("tanh", "half_squared_error", REAL, outputs=2, weighted=True, l2=0.1)


@pytest.mark.usefixtures("x64")
def test_parts_that_count_alike_whatever_their_weight_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        microbatches, "example_shares", lambda totals, _: jnp.full_like(totals, 1 / len(totals))
    )
    with pytest.raises(AssertionError):
        compare("tanh", "half_squared_error", REAL, outputs=2, weighted=True, l2=None)


# --- keys, sizes ---


def test_a_layer_that_draws_draws_anew_for_every_part() -> None:
    seen = []

    def gradient(net: Any, params: Any, inputs: Any, targets: Any, *, key: Any, **options: Any) -> Objective:
        noise = jax.random.normal(key, inputs.shape)
        jax.debug.callback(lambda drawn: seen.append(np.asarray(drawn)), noise)
        return objective_and_grads(net, params, inputs, targets, **options)

    net = mlp([3, 2])
    params = make_params(net, np.random.default_rng(0))
    in_microbatches(gradient, 2)(
        net, params, jnp.ones((4, 3)), jnp.array([0, 1, 1, 0]), key=jax.random.key(0)
    )
    jax.effects_barrier()
    first, second = seen
    assert first.shape == second.shape == (2, 3)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "number of microbatches must be"),
        (-1, "number of microbatches must be"),
        (2.0, "number of microbatches must be"),
        (True, "number of microbatches must be"),
        ("4", "number of microbatches must be"),
        (33, "examples, which is 32, given 33"),
    ],
)
def test_a_wrong_number_of_parts_is_refused(count: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        check_microbatches(count, 32, None)
    data = (np.ones((40, 2), np.float32), np.zeros(40, int))
    net = mlp([2, 2])
    options: dict[str, Any] = {"batch_size": 32, "microbatches": count}
    stream = stream_from_chunks([data], window=32)
    with pytest.raises(ArgumentError, match=words):
        fit(net, data, optimizer="sgd", epochs=1, key=jax.random.key(0), **options)
    with pytest.raises(ArgumentError, match=words):
        train_epoch(net, "sgd", init_state(net, "sgd", jax.random.key(0)), data, **options)
    with pytest.raises(ArgumentError, match=words):
        fit(net, stream, optimizer="sgd", epochs=1, key=jax.random.key(0), **options)


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_a_number_of_numpy_is_a_number(kind: Any) -> None:
    data = (np.ones((5, 2), np.float32), np.zeros(5, int))
    fit(
        mlp([2, 2]),
        data,
        optimizer="sgd",
        batch_size=3,
        epochs=1,
        key=jax.random.key(0),
        microbatches=kind(2),
    )


def test_more_parts_than_examples_are_refused() -> None:
    data = (np.ones((5, 2), np.float32), np.zeros(5, int))
    with pytest.raises(ArgumentError, match="examples, which is 5, given 8: give fewer"):
        fit(
            mlp([2, 2]), data, optimizer="sgd", batch_size=32, epochs=1, key=jax.random.key(0), microbatches=8
        )


def test_parts_that_the_devices_cannot_share_alike_are_refused() -> None:
    class ThreeDevices:
        size = 3

    mesh: Any = ThreeDevices()
    check_microbatches(1, 32, mesh)
    check_microbatches(6, 32, mesh)
    with pytest.raises(
        ArgumentError,
        match=r"3 devices cannot share 8 .* divides 8, or .* multiple of 3",
    ):
        check_microbatches(8, 32, mesh)


def test_examples_that_cannot_be_divided_and_weights_of_another_number_are_refused() -> None:
    net = mlp([3, 2])
    params = make_params(net, np.random.default_rng(0))
    inputs, targets = jnp.ones((4, 3)), jnp.array([0, 1, 1, 0])
    with pytest.raises(ArgumentError, match="4 examples cannot be divided into 3 microbatches"):
        in_microbatches(objective_and_grads, 3)(net, params, inputs, targets)
    with pytest.raises(ArgumentError, match=r"must have shape \[4\], given \[3\]"):
        in_microbatches(objective_and_grads, 2)(net, params, inputs, targets, sample_weight=jnp.ones(3))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", [int, bool, np.uint8])
def test_whole_numbers_count_as_what_they_are(dtype: Any) -> None:
    random = np.random.default_rng(0)
    net = stack("tanh", "half_squared_error", outputs=2)
    params, inputs = make_params(net, random), jnp.asarray(random.normal(size=(4, 3)))
    given: Any = (net, params, inputs, jnp.ones((4, 2)))
    weight = jnp.array([1, 2, 0, 1]).astype(dtype)
    found = in_microbatches(objective_and_grads, 2)(*given, loss="half_squared_error", sample_weight=weight)
    expected = objective_and_grads(*given, loss="half_squared_error", sample_weight=weight.astype(float))
    assert_close(found, expected)
    assert float(found.value) > 0


def test_parts_are_added_in_their_order() -> None:
    parts = np.array([1e8, 1, -1e8, 1, *np.linspace(0.1, 1e7, 20)], np.float32)
    expected = parts[0]
    for part in parts[1:]:
        expected = expected + part
    assert float(add_in_order(jnp.asarray(parts))) == expected
    assert float(add_in_order(jnp.asarray(parts[::-1]))) != expected, "another order is seen"


# --- in training ---


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("batch_size", [8, 7])
def test_a_fit_in_parts_is_the_fit_of_the_whole(streamed: bool, batch_size: int) -> None:
    random = np.random.default_rng(0)
    inputs, labels, weight = random.normal(size=(20, 3)), random.integers(0, 2, 20), random.uniform(0, 1, 20)
    found = []
    for count in (1, 4):
        whole = (inputs, labels, weight)
        result = fit(
            mlp([3, 4, 2], activation="tanh"),
            stream_from_chunks(lambda epoch: [(inputs, labels, weight)], window=8) if streamed else whole,
            (inputs, labels),
            optimizer="momentum",
            batch_size=batch_size,
            epochs=2,
            key=jax.random.key(1),
            l2=0.1,
            transform=lambda key, rows: rows + jax.random.normal(key, (1, 3)),
            microbatches=count,
        )
        found.append((result.state.params, history_columns(result.history, result.metric)))
    (params, history), (expected, other) = found[1], found[0]
    assert_close(params, expected)
    for name in set(history) - {"seconds", "examples_per_second"}:
        np.testing.assert_allclose(history[name], other[name], rtol=1e-10, err_msg=name)


def test_on_a_mesh_of_one_device_the_bits_are_those_without_a_mesh() -> None:
    net = mlp([3, 4, 2])
    params = make_params(net, np.random.default_rng(0))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    inputs, targets = jnp.ones((4, 3)), jnp.array([0, 1, 1, 0])
    mesh = Mesh(np.array(jax.devices()[:1]), ("batch",))
    found = [
        jax.jit(in_microbatches(objective_and_grads, 2, given), static_argnums=0)(
            net, params, inputs, targets
        )
        for given in (None, mesh)
    ]
    jax.tree.map(np.testing.assert_array_equal, *found)
