"""Each layer's forward is plain linear algebra, and its backward is the transpose of forward's derivative."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxmlp import backprop
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.layers import LAYERS, Activate, Dense, DenseParams, Layer, Softmax
from jaxmlp.network import Network
from jaxmlp.training import optimizers
from jaxmlp.types import ArgumentError

# One layer of each registered kind, with the settings it cannot do without; a new kind without any is built bare.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "Dense": [{"features": 3}, {"features": 3, "bias": False}, {"features": 1, "bias_init": "normal:1"}],
    "Activate": [{"activation": name} for name in [*ACTIVATIONS, "leaky_relu:0.1", "elu:0.5"]],
}
EXAMPLES, INPUTS = 5, 4


def layers() -> list[Layer]:
    return [LAYERS[kind](**settings) for kind in LAYERS for settings in SETTINGS.get(kind, [{}])]


def random_case(layer: Layer) -> tuple[Any, jax.Array, jax.Array]:
    """Parameters, inputs [B, I] and an output gradient [B, O], all random, none of them at a kink."""
    random = np.random.default_rng(0)
    params, features = layer.init(jax.random.key(0), INPUTS)
    params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), params)
    inputs = jnp.asarray(random.normal(scale=2, size=(EXAMPLES, INPUTS)))
    return params, inputs, jnp.asarray(random.normal(size=(EXAMPLES, features)))


def worst_disagreement(layer: Layer) -> float:
    """The largest difference between `backward` and `jax.vjp`, relative to the tensor's largest entry."""
    params, inputs, output_grad = random_case(layer)
    _, residuals = layer.forward(params, inputs)
    by_hand = layer.backward(params, residuals, output_grad)
    _, pull_back = jax.vjp(lambda params, inputs: layer.forward(params, inputs)[0], params, inputs)
    by_autodiff = pull_back(output_grad)
    assert jax.tree.structure(by_hand) == jax.tree.structure(by_autodiff)
    errors = jax.tree.map(
        lambda hand, auto: jnp.max(jnp.abs(hand - auto)) / jnp.max(jnp.abs(auto)), by_hand, by_autodiff
    )
    return max(float(jnp.where(jnp.isnan(error), jnp.inf, error)) for error in jax.tree.leaves(errors))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("layer", layers(), ids=str)
def test_backward_equals_vjp(layer: Layer) -> None:
    assert worst_disagreement(layer) <= 1e-13


@dataclasses.dataclass(frozen=True)
class Corrupted:
    """A layer whose backward has one fault."""

    layer: Layer
    fault: str

    def init(self, key: jax.Array, in_features: int) -> tuple[Any, int]:
        return self.layer.init(key, in_features)

    def forward(self, params: Any, inputs: jax.Array) -> tuple[jax.Array, Any]:
        return self.layer.forward(params, inputs)

    def backward(self, params: Any, residuals: Any, output_grad: jax.Array) -> tuple[Any, jax.Array]:
        param_grads, input_grad = self.layer.backward(params, residuals, output_grad)
        match self.fault:
            case "sign of the inputs' gradient":
                input_grad = -input_grad
            case "mean over the batch":
                param_grads = jax.tree.map(lambda grad: grad / EXAMPLES, param_grads)
            case "gradient passed on as it came":
                input_grad = output_grad
            case "NaN":
                input_grad = input_grad.at[0, 0].set(jnp.nan)
        return param_grads, input_grad


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        *(
            (layer, fault)
            for layer in (Dense(3), Activate("tanh"), Softmax())
            for fault in ("sign of the inputs' gradient", "NaN")
        ),
        (Dense(3), "mean over the batch"),
        (Dense(INPUTS), "gradient passed on as it came"),
        (Activate("tanh"), "gradient passed on as it came"),
        (Softmax(), "gradient passed on as it came"),
    ],
    ids=str,
)
def test_a_corrupted_backward_is_caught(layer: Layer, fault: str) -> None:
    assert worst_disagreement(Corrupted(layer, fault)) > 1e-3


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bias", [True, False])
def test_dense_is_inputs_times_w_plus_b(bias: bool) -> None:
    layer = Dense(3, bias=bias)
    params, inputs, output_grad = random_case(layer)
    x, w, g = np.asarray(inputs), np.asarray(params.w), np.asarray(output_grad)
    outputs, residuals = layer.forward(params, inputs)
    grads, input_grad = layer.backward(params, residuals, output_grad)
    np.testing.assert_allclose(outputs, x @ w + (np.asarray(params.b) if bias else 0), rtol=1e-12)
    np.testing.assert_allclose(grads.w, x.T @ g, rtol=1e-12)
    np.testing.assert_allclose(input_grad, g @ w.T, rtol=1e-12)
    if bias:
        np.testing.assert_allclose(grads.b, g.sum(axis=0), rtol=1e-12)
    else:
        assert params.b is None
        assert grads.b is None


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activate_applies_its_activation(name: str) -> None:
    _, inputs, output_grad = random_case(Activate(name))
    outputs, residuals = Activate(name).forward((), inputs)
    assert jnp.array_equal(outputs, ACTIVATIONS[name].value(inputs))
    slope = ACTIVATIONS[name].derivative(inputs, outputs)
    assert jnp.array_equal(Activate(name).backward((), residuals, output_grad)[1], slope * output_grad)


@pytest.mark.usefixtures("x64")
def test_softmax_backward_is_the_full_jacobian_product() -> None:
    _, inputs, output_grad = random_case(Softmax())
    outputs, residuals = Softmax().forward((), inputs)
    p, g = np.asarray(outputs), np.asarray(output_grad)
    np.testing.assert_allclose(p, special.softmax(np.asarray(inputs), axis=1), rtol=1e-13)
    jacobians = [np.diag(row) - np.outer(row, row) for row in p]
    expected = np.stack([jacobian @ row for jacobian, row in zip(jacobians, g, strict=True)])
    np.testing.assert_allclose(Softmax().backward((), residuals, output_grad)[1], expected, atol=1e-15)


def test_softmax_stays_finite_at_extreme_inputs() -> None:
    outputs, residuals = Softmax().forward((), jnp.array([[1e4, -1e4, 0.0]]))
    assert outputs.tolist() == [[1.0, 0.0, 0.0]]
    assert Softmax().backward((), residuals, jnp.ones((1, 3)))[1].tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("layer", layers(), ids=str)
def test_init_and_forward_agree_on_shapes_and_types(layer: Layer) -> None:
    params, features = layer.init(jax.random.key(0), INPUTS)
    outputs, _ = layer.forward(params, jnp.ones((2, INPUTS)))
    assert outputs.shape == (2, features)
    assert all(array.dtype == jnp.float32 for array in [outputs, *jax.tree.leaves(params)])
    if isinstance(layer, Dense):
        assert params.w.shape == (INPUTS, layer.features)
        assert params.b is None if not layer.bias else params.b.shape == (layer.features,)


def test_the_initialisers_are_those_asked_for() -> None:
    params, _ = Dense(50, weight_init="zeros", bias_init="uniform:2,3").init(jax.random.key(0), INPUTS)
    assert not np.any(params.w)
    assert np.all((params.b >= 2) & (params.b < 3))
    params, _ = Dense(50, weight_init="uniform:2,3").init(jax.random.key(0), INPUTS)
    assert np.all((params.w >= 2) & (params.w < 3))
    assert not np.any(params.b)


def test_w_and_b_are_drawn_apart() -> None:
    params, _ = Dense(4, weight_init="normal:1", bias_init="normal:1").init(jax.random.key(0), 1)
    assert not np.any(params.w[0] == params.b)


def products_within(jaxpr: Any) -> list[Any]:
    """Collect the matrix products of a program, those of its branches included."""
    found = [equation for equation in jaxpr.eqns if equation.primitive.name == "dot_general"]
    for equation in jaxpr.eqns:
        for branch in equation.params.get("branches", ()):
            found += products_within(branch.jaxpr)
    return found


# Few outputs have one way for a CPU and one for other hardware; many have one for all.
@pytest.mark.parametrize(("features", "products"), [(3, 4), (100, 3)])
def test_the_precision_asked_for_reaches_every_matrix_product(features: int, products: int) -> None:
    def precisions(layer: Dense) -> list[str]:
        def there_and_back(params: DenseParams, inputs: jax.Array) -> Any:
            outputs, residuals = layer.forward(params, inputs)
            return layer.backward(params, residuals, outputs)

        params, _ = layer.init(jax.random.key(0), INPUTS)
        jaxpr = jax.make_jaxpr(there_and_back)(params, jnp.ones((2, INPUTS)))
        return [str(product.params["precision"]) for product in products_within(jaxpr)]

    full, reduced, default = (
        precisions(Dense(features, precision=precision)) for precision in ("float32", "tensorfloat32", None)
    )
    assert len(full) == len(reduced) == len(default) == products
    assert len(set(full)) == len(set(reduced)) == 1
    assert set(default) == {"None"}
    assert full != reduced


@pytest.mark.parametrize("features", [0, -1, 2.0, "3", True, None])
def test_dense_refuses_a_size_that_is_no_count(features: Any) -> None:
    with pytest.raises(ArgumentError, match="a layer's size must be a whole number of at least 1, given "):
        Dense(features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_init": "he_norml"}, "did you mean 'he_normal'?"),
        ({"bias_init": "zeroes"}, "did you mean 'zeros'?"),
        (
            {"bias_init": "he_normal"},
            "initialiser 'he_normal' scales with a weight's inputs and cannot draw a bias",
        ),
        ({"precision": "float16"}, "unknown precision 'float16': did you mean 'bfloat16'?"),
        ({"precision": 32}, "unknown precision '32'"),
    ],
)
def test_dense_refuses_unknown_names(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Dense(3, **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_activate_refuses_an_unknown_name() -> None:
    with pytest.raises(ArgumentError, match="unknown activation 'tahn': did you mean 'tanh'"):
        Activate("tahn")


@pytest.mark.parametrize("layer", layers(), ids=str)
def test_decayed_leaves_are_the_weights(layer: Layer) -> None:
    params, _ = layer.init(jax.random.key(0), INPUTS)
    marks = layer.decayed(params)
    assert jax.tree.structure(marks) == jax.tree.structure(params)
    # The optimisers know no layers: what they hold for a weight must be what the objective decays.
    assert (marks,) == backprop.decayed(Network(INPUTS, [layer]), (params,)) == optimizers.matrices((params,))
    if isinstance(layer, Dense):
        assert marks == DenseParams(w=True, b=False if layer.bias else None)


@pytest.mark.parametrize("layer", layers(), ids=str)
def test_layers_are_values(layer: Layer) -> None:
    twin = dataclasses.replace(layer)
    assert twin is not layer
    assert twin == layer
    assert hash(twin) == hash(layer)
    assert isinstance(layer, Layer)
    assert [other for other in layers() if other == layer] == [layer]
    for field in dataclasses.fields(layer):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(layer, field.name, getattr(layer, field.name))


def test_the_registry_names_every_layer_by_its_class() -> None:
    assert all(LAYERS[name].__name__ == name for name in LAYERS)
    assert {Dense, Activate, Softmax} <= {LAYERS[name] for name in LAYERS}
