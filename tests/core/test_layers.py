"""Each layer's forward is plain linear algebra, and its backward is the transpose of forward's derivative."""

import dataclasses
from typing import Any

import gradient_corruptions as corruptions
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from gradient_cases import assert_close, make_params, make_weight
from scipy import special
from slow_cases import others_slow

from jaxmlp import backprop
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.layers import (
    LAYERS,
    NARROW,
    Activate,
    BatchNorm,
    Dense,
    DenseParams,
    Dropout,
    Layer,
    ParametricActivate,
    PeriodicEmbedding,
    Residual,
    Scale,
    Softmax,
    weight_gradient,
)
from jaxmlp.network import Network

# One layer of each registered kind, with the settings it cannot do without; a new kind without any is built bare.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "Dense": [
        {"features": 3},
        {"features": 3, "bias": False},
        {"features": 1, "bias_init": "normal:1"},
        {"features": 3, "parametrisation": "ntk", "weight_init": "normal:1"},
    ],
    "Activate": [{"activation": name} for name in [*ACTIVATIONS, "leaky_relu:0.1", "elu:0.5"]],
    "ParametricActivate": [{"activation": name} for name in ("relu", "selu", "mish")],
    "PeriodicEmbedding": [{"sigma": 0.5}, {"columns": 2, "form": "pl"}, {"columns": 1, "form": "plr"}],
    "Embed": [{"columns": (1,), "codes": (3,)}, {"columns": (2, 0), "codes": (2, 4), "size": 2}],
    "Dropout": [{"rate": 0.0}, {"rate": 0.3}, {"rate": 0.9, "schedule": "flat_cos"}],
    "Residual": [
        {"layers": (Dense(4), Dropout(0.2), Activate("tanh"), BatchNorm(), Dense(3))},
        {"layers": (Residual([Scale()]), ParametricActivate("gelu"))},
    ],
    "Maxout": [{"pieces": 3}],
    "Committee": [
        {"layers": (Dense(4), Dropout(0.2), Activate("tanh"), Dense(3)), "members": 3},
        {"layers": (PeriodicEmbedding(), Dense(2)), "members": 2, "average": "values", "sigmas": (0.2, 1.0)},
        {"layers": (BatchNorm(), Activate("tanh")), "members": 1},
    ],
}
EXAMPLES, INPUTS = 5, 3
INFERENCE: dict[str, Any] = {}
TRAINING = {"train": True, "key": jax.random.key(1), "progress": 0.6}
BOTH = pytest.mark.parametrize("training", [TRAINING, pytest.param(INFERENCE, marks=pytest.mark.slow)])


def layers() -> list[Layer]:
    return [LAYERS[kind](**settings) for kind in LAYERS for settings in SETTINGS.get(kind, [{}])]


def cases() -> list[Any]:
    """All of them; by default one setting a kind, and every activation."""
    return [
        pytest.param(
            layer, id=str(layer), marks=() if number == 0 or kind == "Activate" else pytest.mark.slow
        )
        for kind in LAYERS
        for number, layer in enumerate(LAYERS[kind](**settings) for settings in SETTINGS.get(kind, [{}]))
    ]


def random_case(layer: Layer, seed: int = 0) -> tuple[Any, jax.Array, jax.Array]:
    """Parameters, inputs [B, I] and an output gradient [B, O], all random, none of them at a kink."""
    random = np.random.default_rng(seed)
    (params,) = make_params(Network(INPUTS, [layer]), random)
    inputs = jnp.asarray(random.normal(scale=2, size=(EXAMPLES, INPUTS)))
    features = layer.init(jax.random.key(0), INPUTS)[1]
    return params, inputs, jnp.asarray(random.normal(size=(EXAMPLES, features)))


def worst_disagreement(layer: Layer, training: dict[str, Any]) -> float:
    """The largest difference between `backward` and `jax.vjp`, relative to the tensor's largest entry."""
    params, inputs, output_grad = random_case(layer)
    training = training and {**training, "weight": make_weight(EXAMPLES)}
    outputs, residuals = layer.forward(params, inputs, **training)
    if outputs.ndim == 3:  # a committee in training
        output_grad = jnp.stack([output_grad[::-1] + place for place in range(outputs.shape[1])], axis=1)
    by_hand = layer.backward(params, residuals, output_grad)
    _, pull_back = jax.vjp(lambda *given: layer.forward(*given, **training)[0], params, inputs)
    by_autodiff = pull_back(output_grad)
    assert jax.tree.structure(by_hand) == jax.tree.structure(by_autodiff)
    errors = []
    for hand, auto in zip(
        jax.tree.leaves(by_hand), map(np.asarray, jax.tree.leaves(by_autodiff)), strict=True
    ):
        same_shape = hand.shape == auto.shape
        size = np.max(np.abs(auto)) or 1.0
        error = np.max(np.abs(np.asarray(hand) - auto)) / size if same_shape else np.inf
        errors.append(np.inf if np.isnan(error) else float(error))
    return max(errors)


@pytest.mark.usefixtures("x64")
@BOTH
@pytest.mark.parametrize("layer", cases())
def test_backward_equals_vjp(layer: Layer, training: dict[str, Any]) -> None:
    assert worst_disagreement(layer, training) <= 1e-13


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(
            name, fault, marks=() if fault in corruptions.SPECIFIC.get(name, {}) else pytest.mark.slow
        )
        for name in LAYERS
        for fault in corruptions.layer_corruptions(name)
    ],
)
def test_a_corrupted_backward_is_caught(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = corruptions.layer_corruptions(name)[fault](LAYERS[name].backward)
    monkeypatch.setattr(LAYERS[name], "backward", wrong)
    assert worst_disagreement(corruptions.make_layer(name), TRAINING) > 1e-9


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


@pytest.mark.slow
@pytest.mark.parametrize("layer", cases())
def test_init_and_forward_agree_on_shapes_and_types(layer: Layer) -> None:
    params, features = layer.init(jax.random.key(0), INPUTS)
    outputs, residuals = layer.forward(params, jnp.ones((2, INPUTS)), **TRAINING)
    assert (outputs.shape[0], outputs.shape[-1]) == (2, features)
    assert layer.backward(params, residuals, outputs)[1].dtype == jnp.float32
    assert all(array.dtype == jnp.float32 for array in [outputs, *jax.tree.leaves(params)])
    if isinstance(layer, Dense):
        assert params.w.shape == (INPUTS, layer.features)
        assert params.b is None if not layer.bias else params.b.shape == (layer.features,)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", others_slow(["Dense", *(name for name in LAYERS if name != "Dense")]))
def test_models_side_by_side_are_as_each_by_itself(name: str) -> None:
    layer = corruptions.make_layer(name)

    def there_and_back(params: Any, inputs: Any, output_grad: Any, key: Any) -> Any:
        outputs, residuals = layer.forward(params, inputs, train=True, key=key, progress=0.2)
        output_grad = output_grad if outputs.ndim == 2 else output_grad[:, None] * jnp.cos(outputs)
        return outputs, layer.backward(params, residuals, output_grad)

    models = [(*random_case(layer, seed), jax.random.key(seed)) for seed in (0, 1)]
    together = jax.vmap(there_and_back)(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *models))
    for place, model in enumerate(models):
        assert_close(jax.tree.map(lambda leaf, place=place: leaf[place], together), there_and_back(*model))


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


def test_the_products_of_waves_are_in_full_precision() -> None:
    layer = PeriodicEmbedding()
    params, _ = layer.init(jax.random.key(0), INPUTS)

    def there_and_back(params: Any, inputs: jax.Array) -> Any:
        outputs, residuals = layer.forward(params, inputs)
        return layer.backward(params, residuals, outputs)

    products = products_within(jax.make_jaxpr(there_and_back)(params, jnp.ones((2, INPUTS))))
    highest = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
    assert [product.params["precision"] for product in products] == 3 * [highest]


@pytest.mark.parametrize("features", [0, -1, 2.0, "3", True, None])
def test_dense_refuses_a_size_that_is_no_count(features: Any) -> None:
    refused("a layer's size must be a whole number of at least 1, given ", Dense, features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_init": "he_norml"}, "did you mean 'he_normal'?"),
        ({"bias_init": "zeroes"}, "did you mean 'zeros'?"),
        ({"bias_init": "he_normal"}, "'he_normal' scales with a weight's inputs and cannot draw a bias"),
        ({"precision": "float16"}, "unknown precision 'float16': did you mean 'bfloat16'?"),
        ({"precision": 32}, "unknown precision '32'"),
        ({"parametrisation": "nkt"}, "unknown parametrisation 'nkt': did you mean 'ntk'?"),
        ({"parametrisation": "ntk"}, "'he_normal' scales with a weight's inputs and cannot draw weights"),
    ],
)
def test_dense_refuses_unknown_names(settings: dict[str, Any], message: str) -> None:
    refused(message, Dense, 3, **settings)


def test_activate_refuses_an_unknown_name() -> None:
    refused("unknown activation 'tahn': did you mean 'tanh'", Activate, "tahn")


KINDS = {"weight", "bias", "scale", "activation", "embedding", "statistic"}


@pytest.mark.slow
@pytest.mark.parametrize("layer", cases())
def test_each_leaf_has_a_kind(layer: Layer) -> None:
    params, _ = layer.init(jax.random.key(0), INPUTS)
    kinds = layer.kinds(params)
    assert jax.tree.structure(kinds) == jax.tree.structure(params)
    assert {*jax.tree.leaves(kinds)} <= KINDS
    assert (kinds,) == backprop.kinds(Network(INPUTS, [layer]), (params,))
    if isinstance(layer, Dense):
        assert kinds == DenseParams("weight", "bias" if layer.bias else None)


@pytest.mark.parametrize("layer", cases())
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


# --- a weight's gradient is xᵀ·δ, whichever way round the product is computed ---

WIDTHS = [1, 2, NARROW, NARROW + 1, 2 * NARROW]


def example(
    features: int, batch_size: int = 5, inputs: int = 7, dtype: Any = np.float64, seed: int = 0
) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    drawn = random.normal(size=(batch_size, inputs)), random.normal(size=(batch_size, features))
    return drawn[0].astype(dtype), drawn[1].astype(dtype)


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("features", WIDTHS)
def test_it_is_the_sum_over_the_batch(features: int, batch_size: int, x64: None) -> None:
    inputs, output_grad = example(features, batch_size)
    expected = np.einsum("bi,bo->io", inputs, output_grad)
    for multiply in (weight_gradient, jax.jit(weight_gradient)):
        found = multiply(jnp.asarray(inputs), jnp.asarray(output_grad))
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("features", WIDTHS)
def test_many_models_multiply_side_by_side(features: int) -> None:
    models = [example(features, dtype=np.float32, seed=seed) for seed in (0, 1)]
    inputs, output_grad = (jnp.stack([jnp.asarray(model[part]) for model in models]) for part in (0, 1))
    found = jax.jit(jax.vmap(weight_gradient))(inputs, output_grad)
    expected = jnp.einsum("mbi,mbo->mio", inputs, output_grad)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-5)


def test_a_few_outputs_go_the_other_way_round_and_many_do_not() -> None:
    def barriers(features: int, platform: str) -> int:
        arrays = map(jnp.asarray, example(features, dtype=np.float32))
        lowered = jax.jit(weight_gradient).trace(*arrays).lower(lowering_platforms=(platform,))
        return lowered.as_text().count("optimization_barrier")

    assert barriers(NARROW, "cpu") == 2
    assert barriers(NARROW + 1, "cpu") == 0
    assert barriers(NARROW, "cuda") == 0
