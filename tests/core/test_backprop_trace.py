"""A trace is the pass that trains, number for number, with every station of it kept."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused, same_bits
from gradient_cases import (
    ON_PROBABILITIES,
    Scale,
    assert_close,
    make_problem,
    make_weight,
    stack,
    target_kinds,
)

import jaxmlp
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.backprop import Trace
from jaxmlp.layers import Activate, Dense, DenseParams, Softmax
from jaxmlp.losses import LOSSES
from jaxmlp.network import Network

CUSTOM = Network(3, [Dense(4), Scale(), Activate("tanh"), Dense(3, bias=False), Softmax()])
WEIGHED: dict[str, Any] = {"sample_weight": make_weight(5).astype(jnp.float32), "l2": 0.3}
# Every activation with one loss, and every loss with one activation.
CASES = [(activation, "half_squared_error") for activation in ACTIVATIONS]
CASES += [("tanh", loss) for loss in LOSSES if loss != "half_squared_error"]


def both(net: Network, loss: str, **keywords: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The value with the gradients, of a trace and by `value_and_grad`."""
    problem = make_problem(net, target_kinds(loss)[0])
    traced = jaxmlp.trace(*problem, loss=loss, **keywords)
    return (traced.value, traced.grads), jaxmlp.value_and_grad(*problem, loss=loss, **keywords)


objectives = pytest.mark.parametrize("keywords", [{}, WEIGHED], ids=["plain", "weights and l2"])


@objectives
@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_trace_is_value_and_grad_bit_for_bit_when_neither_is_compiled(
    activation: str, loss: str, keywords: dict[str, Any]
) -> None:
    with jax.disable_jit():
        assert same_bits(*both(stack(activation, loss), loss, **keywords))


@pytest.mark.parametrize("train", [False, True])
def test_so_it_is_with_layers_of_the_users_own(train: bool) -> None:
    keywords = {"train": train, "key": jax.random.key(1), **WEIGHED}
    with jax.disable_jit():
        assert same_bits(*both(CUSTOM, "negative_log_likelihood", **keywords))
        outputs = traced_custom(**keywords).layers[1].outputs
    assert np.any(np.asarray(outputs) == 0) == train, "the key did not reach the layer"


def test_a_single_different_bit_is_seen() -> None:
    tree = {"w": jnp.ones(3), "b": jnp.zeros(1)}
    assert same_bits(tree, jax.tree.map(jnp.array, tree))
    assert not same_bits(tree, {**tree, "w": tree["w"].at[1].set(np.nextafter(np.float32(1), np.float32(2)))})
    assert not same_bits(tree, {**tree, "b": -tree["b"]}), "0 and −0 are different bits"


@pytest.mark.slow
@objectives
@pytest.mark.parametrize(("activation", "loss"), [CASES[0], CASES[6], ("tanh", "softmax_cross_entropy")])
def test_trace_is_close_to_the_compiled_value_and_grad(activation: str, loss: str, keywords: Any) -> None:
    traced, compiled = both(stack(activation, loss), loss, **keywords)
    assert_close(traced, compiled, relative=1e-6, absolute=0)


def traced_custom(**keywords: Any) -> Trace:
    problem = make_problem(CUSTOM, "labels")
    return jaxmlp.trace(*problem, loss="negative_log_likelihood", **keywords)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_what_leaves_a_layer_enters_the_next(loss: str) -> None:
    net = stack("tanh", loss, depth=3)
    problem = make_problem(net, target_kinds(loss)[0])
    traced = jaxmlp.trace(*problem, loss=loss)
    assert same_bits(traced.layers[0].inputs, problem.inputs)
    assert same_bits(traced.layers[-1].outputs, traced.outputs)
    assert same_bits(traced.layers[-1].output_grad, traced.output_grad)
    for layer, following in pairwise(traced.layers):
        assert same_bits(layer.outputs, following.inputs)
        assert same_bits(layer.output_grad, following.input_grad)
    assert len(traced.layers) == len(net.layers) == 5 + (loss in ON_PROBABILITIES)


def test_layers_and_gradients_have_their_names_and_shapes() -> None:
    traced = traced_custom()
    names = ["0 dense", "1 scale", "2 tanh", "3 dense, no bias", "4 softmax"]
    assert [layer.name for layer in traced.layers] == names
    grads = [layer.param_grads for layer in traced.layers]
    assert isinstance(grads[0], DenseParams)
    assert (grads[0].w.shape, grads[0].b.shape) == ((3, 4), (4,))
    assert (grads[1]["s"].shape, grads[2], grads[3].b, grads[4]) == ((4,), (), None, ())
    assert same_bits(tuple(grads), traced.grads)
    for layer in traced.layers:
        assert layer.input_grad.shape == layer.inputs.shape
        assert layer.output_grad.shape == layer.outputs.shape


def test_each_layer_by_itself_gives_what_the_trace_says() -> None:
    for layer, station in zip(CUSTOM.layers, traced_custom().layers, strict=True):
        outputs, residuals = layer.forward(station.params, station.inputs)
        assert same_bits((outputs, residuals), (station.outputs, station.residuals))
        param_grads, input_grad = layer.backward(station.params, station.residuals, station.output_grad)
        assert same_bits((param_grads, input_grad), (station.param_grads, station.input_grad))


def test_losses_are_the_examples_and_their_weighted_mean_is_the_value() -> None:
    problem = make_problem(stack("relu", "half_squared_error"), "values")
    weight = make_weight(5).astype(jnp.float32)
    traced = jaxmlp.trace(*problem, loss="half_squared_error", sample_weight=weight)
    expected = 0.5 * np.sum(np.square(np.asarray(traced.outputs - problem.targets)), axis=1)
    np.testing.assert_allclose(traced.losses, expected, rtol=1e-6)
    np.testing.assert_allclose(traced.value, np.average(expected, weights=weight), rtol=1e-6)


def test_l2_is_in_the_gradients_of_weights_alone() -> None:
    plain, penalised = traced_custom(), traced_custom(l2=0.5)
    for before, after in zip(plain.layers, penalised.layers, strict=True):
        assert same_bits(before.input_grad, after.input_grad)
    first, last = (penalised.layers[place] for place in (0, 3))
    np.testing.assert_allclose(
        first.param_grads.w - plain.layers[0].param_grads.w, 0.5 * first.params.w, rtol=1e-4, atol=1e-6
    )
    assert same_bits(first.param_grads.b, plain.layers[0].param_grads.b)
    assert not same_bits(last.param_grads.w, plain.layers[3].param_grads.w)


@pytest.mark.parametrize("broken", ["input_grad", "param_grads"])
def test_a_corrupted_backward_shows_at_its_layer(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, backward = traced_custom(), Scale.backward

    def corrupted(layer: Scale, params: Any, residuals: Any, output_grad: Any) -> Any:
        param_grads, input_grad = backward(layer, params, residuals, output_grad)
        if broken == "input_grad":
            return param_grads, -input_grad
        return jax.tree.map(lambda leaf: 2 * leaf, param_grads), input_grad

    monkeypatch.setattr(Scale, "backward", corrupted)
    wrong = traced_custom()
    same = {
        name: [
            same_bits(getattr(one, name), getattr(other, name))
            for one, other in zip(right.layers, wrong.layers, strict=True)
        ]
        for name in ("outputs", "output_grad", "param_grads", "input_grad")
    }
    assert all(same["outputs"])
    if broken == "input_grad":
        # The layer passes the wrong gradient back, so that all before it is wrong, and nothing behind it.
        assert same["input_grad"] == [False, False, True, True, True]
        assert same["output_grad"] == [False, True, True, True, True]
        assert same["param_grads"] == [False, True, True, True, True]
    else:
        assert same["param_grads"] == [True, False, True, True, True]
        assert all(same["input_grad"])
        assert all(same["output_grad"])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"inputs": jnp.ones((5, 2))}, "inputs must have shape [B, 3]"),
        ({"inputs": jnp.ones(3)}, "reshape one example to [1, I]"),
        ({"params": ()}, "params must be a tuple"),
        ({"targets": jnp.zeros((4,), int)}, "integer labels [B]"),
        ({"loss": "huberr"}, "did you mean 'huber'?"),
        ({"sample_weight": jnp.ones(4)}, "sample_weight must have shape [5]"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change: dict[str, Any], complaint: str) -> None:
    problem = make_problem(CUSTOM, "labels")
    given = {**problem._asdict(), "loss": "negative_log_likelihood", **change}
    refused(complaint, jaxmlp.trace, **given)
