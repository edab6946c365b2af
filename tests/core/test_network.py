"""A network is a value: described, compared, drawn and run; and what it predicts fits how it was trained."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from gradient_cases import Scale
from scipy import special

from jaxmlp import network
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.backprop import propagate
from jaxmlp.layers import (
    Activate,
    Dense,
    DenseParams,
    Dropout,
    Embed,
    Layer,
    LayerNorm,
    PeriodicEmbedding,
    Residual,
    Softmax,
)
from jaxmlp.losses import LOSSES
from jaxmlp.network import (
    TASKS,
    Network,
    forward,
    init,
    layer_shapes,
    mlp,
    outputs_are_probabilities,
    predict,
)
from jaxmlp.types import Batch

TRACES: list[Any] = []


class Counted(Scale):
    """A layer whose forward is counted wherever it is traced; another of its kind is equal."""

    def forward(self, params: Any, inputs: jax.Array, **training: Any) -> tuple[jax.Array, Any]:
        TRACES.append(self)
        return super().forward(params, inputs, **training)


class Unequal(Counted):
    """The same layer, equal to itself alone, for which every network is a new one."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


# --- the description ---


@pytest.mark.parametrize(
    ("net", "table"),
    [
        (
            mlp([784, 300, 10], activation="leaky_relu:0.1"),
            """\
layer           output    parameters
input           [B, 784]
dense           [B, 300]     235,500
leaky_relu:0.1  [B, 300]
dense           [B, 10]        3,010
total                        238,510""",
        ),
        (
            mlp([2, 3, 1], bias=False, output_activation="sigmoid"),
            """\
layer           output  parameters
input           [B, 2]
dense, no bias  [B, 3]           6
relu            [B, 3]
dense, no bias  [B, 1]           3
sigmoid         [B, 1]
total                            9""",
        ),
        (
            Network(
                3, [Embed((2,), (5,), size=2), PeriodicEmbedding(2), Residual([LayerNorm(), Dropout(0.1)])]
            ),
            """\
layer                          output   parameters
input                          [B, 3]
embed                          [B, 4]           10
pbld embedding                 [B, 10]         166
residual: layer norm, dropout  [B, 10]          20
total                                          196""",
        ),
        (
            Network(4, [Softmax(), Scale()]),
            """\
layer    output  parameters
input    [B, 4]
softmax  [B, 4]
scale    [B, 4]           4
total                     4""",
        ),
    ],
)
def test_the_table_names_every_layer_its_shape_and_its_parameters(net: Network, table: str) -> None:
    assert str(net) == table


@pytest.mark.parametrize("bias", [True, False])
def test_the_table_counts_what_init_draws(bias: bool) -> None:
    net = mlp([7, 5, 3], bias=bias)
    drawn = sum(leaf.size for leaf in jax.tree.leaves(init(net, jax.random.key(0))))
    assert drawn == sum(shape.parameters for shape in layer_shapes(net))
    assert str(net).splitlines()[-1].split() == ["total", str(drawn)]


def test_mlp_puts_an_activation_between_dense_layers() -> None:
    settings = {"bias": False, "bias_init": "normal:2", "precision": None}
    net = mlp([4, 3, 2], activation="tanh", init="normal:1", **settings)
    dense = [Dense(features, weight_init="normal:1", **settings) for features in (3, 2)]
    assert net == Network(4, [dense[0], Activate("tanh"), dense[1]])


@pytest.mark.parametrize(
    ("name", "last"), [(None, Dense(2)), ("softmax", Softmax()), ("sigmoid", Activate("sigmoid"))]
)
def test_mlp_ends_in_the_output_activation(name: str | None, last: Layer) -> None:
    assert mlp([3, 2], output_activation=name).layers[-1] == last


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mlp_takes_every_activation(name: str) -> None:
    net = mlp([2, 3, 1], activation=name, output_activation=name)
    assert net.layers[1] == net.layers[3] == Activate(name)


def test_networks_described_alike_are_equal() -> None:
    layers = [Dense(3), Activate("relu"), Dense(2)]
    net = mlp([4, 3, 2])
    assert net == Network(4, layers) == Network(4, tuple(layers)) == Network(4, iter(layers))
    assert hash(net) == hash(Network(4, layers))


@pytest.mark.parametrize(
    "other",
    [
        mlp([5, 3, 2]),
        mlp([4, 3, 3]),
        mlp([4, 2]),
        mlp([4, 3, 2], activation="tanh"),
        mlp([4, 3, 2], init="zeros"),
        mlp([4, 3, 2], bias_init="normal:1"),
        mlp([4, 3, 2], bias=False),
        mlp([4, 3, 2], precision=None),
        mlp([4, 3, 2], output_activation="softmax"),
    ],
    ids=str,
)
def test_networks_described_otherwise_are_not(other: Network) -> None:
    assert other != mlp([4, 3, 2])


@pytest.mark.parametrize(("layer", "traces"), [(Counted, 1), (Unequal, 2)])
def test_two_equal_networks_compile_once_and_others_would_be_seen(layer: type[Scale], traces: int) -> None:
    TRACES.clear()
    network._forward.clear_cache()
    for _ in range(2):
        forward(Network(3, [layer()]), ({"s": jnp.full(3, 2.0)},), jnp.ones((2, 3)))
    assert len(TRACES) == traces


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", True, None])
def test_sizes_that_are_no_counts_are_refused(size: Any) -> None:
    for sizes in ([size, 3, 2], [4, size, 2], [4, 3, size]):
        refused("must be a whole number of at least 1, given ", mlp, sizes)


@pytest.mark.parametrize("sizes", [[], [3]])
def test_fewer_than_two_sizes_are_refused(sizes: list[int]) -> None:
    refused("sizes must name at least inputs and outputs, as [784, 300, 10]", mlp, sizes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "rellu"}, "unknown activation 'rellu': did you mean 'relu'?"),
        ({"output_activation": "sigmoyd"}, "unknown activation 'sigmoyd': did you mean 'sigmoid'?"),
        ({"init": "he"}, "unknown initialiser 'he'"),
        ({"bias_init": "he_normal"}, "cannot draw a bias"),
        ({"precision": "float8"}, "unknown precision 'float8'"),
    ],
)
def test_unknown_names_are_refused(settings: dict[str, str], message: str) -> None:
    for sizes in ([4, 3, 2], [4, 2]):  # also where no hidden layer uses the name
        refused(message, mlp, sizes, **settings)


@pytest.mark.parametrize("layer", ["relu", Dense, 3, None, object()])
def test_what_is_no_layer_is_refused(layer: Any) -> None:
    refused("not a layer: ", Network, 3, [Dense(3), layer])


def test_a_network_without_layers_is_refused() -> None:
    refused("a network needs at least one layer, given none", Network, 3, [])


# --- parameters ---


def test_init_draws_one_entry_a_layer() -> None:
    net = Network(4, [Dense(3), Activate("relu"), Dense(2, bias=False), Softmax()])
    params = init(net, jax.random.key(0))
    assert isinstance(params, tuple)
    assert jax.tree.map(jnp.shape, params) == (DenseParams((4, 3), (3,)), (), DenseParams((3, 2), None), ())
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert [shape.out_features for shape in layer_shapes(net)] == [3, 3, 2, 2]
    for drawn, shape in zip(params, layer_shapes(net), strict=True):
        assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, shape.params)


def test_init_draws_float64_where_jax_does(x64: None) -> None:
    params = init(mlp([4, 3, 2]), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float64")}


def test_init_follows_the_key_and_draws_layers_apart() -> None:
    net = mlp([3, 3, 3], init="normal:1")
    first, again, other = (init(net, jax.random.key(seed)) for seed in (0, 0, 1))
    assert jnp.array_equal(first[0].w, again[0].w)
    assert not jnp.any(first[0].w == other[0].w)
    assert not jnp.any(first[0].w == first[2].w)


# --- forward ---


@pytest.fixture
def small() -> tuple[Network, Any, jax.Array]:
    net = mlp([4, 3, 2], activation="tanh", bias_init="normal:1")
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    return net, init(net, jax.random.key(0)), inputs


def test_forward_is_the_layers_one_after_another(small: tuple[Network, Any, jax.Array]) -> None:
    net, params, inputs = small
    (w1, b1), _, (w2, b2) = jax.tree.map(np.asarray, params)
    expected = np.tanh(np.asarray(inputs) @ w1 + b1) @ w2 + b2
    np.testing.assert_allclose(forward(net, params, inputs), expected, rtol=1e-5, atol=1e-6)
    passed, residuals = propagate(net, params, Batch(inputs, None))
    assert passed[0] is inputs
    np.testing.assert_allclose(passed[-1], expected, rtol=1e-5, atol=1e-6)
    assert len(residuals) == 3


def test_forward_stays_float32_and_takes_numpy(small: tuple[Network, Any, jax.Array]) -> None:
    net, params, inputs = small
    outputs = forward(net, params, np.asarray(inputs))
    assert outputs.dtype == jnp.float32
    assert jnp.array_equal(outputs, forward(net, params, inputs))


@pytest.mark.parametrize("shape", [(5, 3), (5, 5), (5, 4, 1)])
def test_inputs_of_another_shape_are_refused(small: Any, shape: tuple[int, ...]) -> None:
    net, params, _ = small
    wrong = jnp.ones(shape)
    for run, given in ((forward, wrong), (propagate, Batch(wrong, None))):
        message = f"inputs must have shape [B, 4] for this network, given {list(shape)}"
        assert refused(message, run, net, params, given) == message


def test_a_single_example_is_refused_with_what_to_do(small: tuple[Network, Any, jax.Array]) -> None:
    net, params, _ = small
    refused("given [4]; reshape one example to [1, I]", forward, net, params, jnp.ones(4))


@pytest.mark.parametrize("wrong", ["too few", "too many", "a list", "none"])
def test_params_of_another_network_are_refused(small: tuple[Network, Any, jax.Array], wrong: str) -> None:
    net, params, inputs = small
    given = {"too few": params[:-1], "too many": (*params, ()), "a list": list(params), "none": None}[wrong]
    refused("one entry for each of the network's 3 layers: make them with init", forward, net, given, inputs)


# --- predict: networks whose outputs are their inputs, so that a test can choose the outputs ---


def passing(outputs: int, end: str | None = None) -> tuple[Network, Any]:
    net = mlp([outputs, outputs], bias=False, output_activation=end)
    params = (DenseParams(jnp.eye(outputs), None), ())[: len(net.layers)]
    return net, params


LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [-4.0, -2.0, -1.0]], np.float32)
ONE = np.array([[0.2], [-0.1], [0.7]], np.float32)


def normalised(chances: np.ndarray) -> np.ndarray:
    return chances / chances.sum(axis=1, keepdims=True)


SIGMOID, SOFTMAX = special.expit(LOGITS), special.softmax(LOGITS, axis=1)


@pytest.mark.parametrize(
    ("end", "loss", "task", "expected"),
    [
        (None, None, "classification", SOFTMAX),
        (None, "softmax_cross_entropy", "classification", SOFTMAX),
        (None, "sigmoid_cross_entropy", "classification", normalised(SIGMOID)),  # one against the rest
        ("softmax", None, "classification", SOFTMAX),
        ("softmax", "negative_log_likelihood", "classification", SOFTMAX),
        ("sigmoid", None, "classification", normalised(SIGMOID)),
        ("sigmoid", "squared_error", "classification", normalised(SIGMOID)),
        (None, None, "multilabel", SIGMOID),
        (None, "sigmoid_cross_entropy", "multilabel", SIGMOID),
        ("sigmoid", "squared_error", "multilabel", SIGMOID),
    ],
)
def test_probabilities(end: str | None, loss: str | None, task: str, expected: np.ndarray) -> None:
    found = predict(*passing(3, end), LOGITS, task=task, loss=loss, probabilities=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("end", "loss"),
    [(None, None), (None, "sigmoid_cross_entropy"), ("sigmoid", None), ("sigmoid", "squared_error")],
)
def test_a_single_output_is_the_chance_of_class_1(end: str | None, loss: str | None) -> None:
    found = predict(*passing(1, end), ONE, task="classification", loss=loss, probabilities=True)
    chance = special.expit(ONE[:, 0])
    np.testing.assert_allclose(found, np.stack([1 - chance, chance], axis=1), rtol=1e-5)


@pytest.mark.parametrize("loss", [None, *LOSSES])
@pytest.mark.parametrize("end", [None, "softmax", "sigmoid"])
def test_the_class_is_the_largest_output(end: str | None, loss: str | None) -> None:
    found = predict(*passing(3, end), LOGITS, task="classification", loss=loss)
    assert found.tolist() == [0, 1, 2]
    assert jnp.issubdtype(found.dtype, jnp.integer)


@pytest.mark.parametrize(
    ("end", "loss", "expected"),
    [
        (None, None, [1, 0, 1]),  # a logit, split at 0
        (None, "sigmoid_cross_entropy", [1, 0, 1]),
        ("sigmoid", None, [1, 0, 1]),  # a probability, split at 0.5
        ("sigmoid", "squared_error", [1, 0, 1]),
        (None, "squared_error", [0, 0, 1]),  # fitted to 0 and 1, split at 0.5
        (None, "huber:0.5", [0, 0, 1]),
    ],
)
def test_a_single_output_and_a_label_are_split_halfway(
    end: str | None, loss: str | None, expected: list[int]
) -> None:
    net, params = passing(1, end)
    found = predict(net, params, ONE, task="classification", loss=loss)
    assert found.tolist() == expected
    labels = predict(net, params, ONE, task="multilabel", loss=loss)
    assert labels.tolist() == [[label] for label in expected]
    assert found.dtype == labels.dtype == jnp.int32


def test_labels_are_split_one_by_one() -> None:
    found = predict(*passing(3), LOGITS, task="multilabel")
    assert found.tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("loss", [None, "mean_squared_error"])
def test_a_regression_predicts_its_outputs(loss: str | None) -> None:
    assert predict(*passing(3), LOGITS, task="regression", loss=loss).tolist() == LOGITS.tolist()


@pytest.mark.parametrize(
    ("task", "loss", "message"),
    [
        ("regression", None, "a regression predicts values and has no probabilities"),
        ("classification", "multiclass_hinge", "outputs are no probabilities: ask for classes"),
        ("classification", "squared_error", "outputs are no probabilities: ask for classes"),
        ("multilabel", "huber:0.5", "outputs are no probabilities: ask for classes"),
    ],
)
def test_probabilities_where_there_are_none_are_refused(task: str, loss: str | None, message: str) -> None:
    refused(message, predict, *passing(3), LOGITS, task=task, loss=loss, probabilities=True)


@pytest.mark.parametrize("task", TASKS)
def test_unknown_names_and_inputs_that_do_not_fit_are_refused(task: str) -> None:
    for given, message in [
        ({"loss": "squared_eror"}, "unknown loss 'squared_eror': did you mean 'squared_error'"),
        ({"task": task[:4] + task[5:]}, f"unknown task '{task[:4] + task[5:]}': did you mean '{task}'"),
        ({"inputs": LOGITS[:, :2]}, "inputs must have shape [B, 3]"),
        ({"inputs": LOGITS * np.nan}, "inputs: 9 feature(s) are NaN or infinite in float32"),
        ({"inputs": "abc"}, "inputs must be numbers, given str"),
        ({"inputs": None}, "inputs must be numbers, given NoneType"),
        ({"params": None}, "params must be a tuple with one entry"),
        ({"params": (DenseParams("w", None),)}, "params are those of another network"),
    ]:
        net, params = passing(3)
        refused(message, predict, net, **{"params": params, "inputs": LOGITS, "task": task, **given})


@pytest.mark.parametrize(
    ("end", "expected"), [(None, False), ("softmax", True), ("sigmoid", True), ("tanh", False)]
)
def test_which_outputs_are_probabilities(end: str | None, expected: bool) -> None:
    assert outputs_are_probabilities(passing(3, end)[0]) is expected


def test_parameters_of_another_network_are_refused():
    params = init(mlp([2, 4]), jax.random.key(0))
    refused("params are those of another network", forward, mlp([2, 3]), params, jnp.ones((1, 2)))


@pytest.mark.parametrize("ends", [[], [Activate("sigmoid")]])
def test_probabilities_of_one_label_against_the_rest_sum_to_1_however_small(ends: list[Layer]) -> None:
    net = Network(3, [Dense(3, bias=False, weight_init="zeros"), *ends])
    params = jax.tree.map(lambda leaf: jnp.eye(3), init(net, jax.random.key(0)))
    logits = jnp.array([[-200.0, -150.0, -120.0], [1.0, 0.0, -1.0]])
    found = predict(
        net, params, logits, task="classification", loss="sigmoid_cross_entropy", probabilities=True
    )
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    single = jax.nn.sigmoid(logits[1])
    np.testing.assert_allclose(found[1], single / single.sum(), rtol=1e-5)
