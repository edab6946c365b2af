"""Each layer computes the formula that its documentation states, and refuses what it cannot compute."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from gradient_cases import assert_close, check_without_compiling, make_problem, make_weight
from scipy import special

from jaxmlp import backprop
from jaxmlp.gradcheck import check_gradients
from jaxmlp.layers import (
    Activate,
    BatchNorm,
    Dense,
    Dropout,
    Embed,
    LayerNorm,
    Maxout,
    NormParams,
    ParametricActivate,
    PeriodicEmbedding,
    Residual,
    Scale,
)
from jaxmlp.network import Network, calibrate, forward, init, init_from_data

KEY = jax.random.key(0)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def outputs_of(layer: Any, params: Any, inputs: Any, **training: Any) -> np.ndarray:
    return np.asarray(layer.forward(params, jnp.asarray(inputs), **training)[0])


# --- dense, activations ---


def test_the_neural_tangent_parametrisation_divides_the_product_by_the_root_of_its_inputs() -> None:
    layer = Dense(3, parametrisation="ntk", weight_init="normal:1", bias_init="normal:1")
    params, x = layer.init(KEY, 4)[0], normal(5, 4)
    expected = x @ np.asarray(params.w) / 2 + np.asarray(params.b)
    np.testing.assert_allclose(outputs_of(layer, params, x), expected, rtol=1e-5)


def test_a_parametric_activation_goes_from_its_inputs_to_the_activation() -> None:
    x = normal(6, 3)
    found = outputs_of(ParametricActivate("relu"), jnp.array([0.0, 0.25, 1.0]), x)
    expected = x + (np.maximum(x, 0) - x) * np.array([0, 0.25, 1], np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    params, _ = ParametricActivate("mish").init(KEY, 3)
    np.testing.assert_allclose(
        outputs_of(ParametricActivate("mish"), params, x), x * np.tanh(special.log1p(np.exp(x))), rtol=1e-4
    )


# --- dropout ---

ONES = jnp.ones((100, 100))


@pytest.mark.parametrize(
    ("schedule", "progress", "rate"),
    [("constant", 1.0, 0.4), ("flat_cos", None, 0.4), ("flat_cos", 0.5, 0.4), ("flat_cos", 0.75, 0.2)],
)
def test_dropout_drops_its_share_and_keeps_the_mean(schedule: str, progress: Any, rate: float) -> None:
    found = outputs_of(Dropout(0.4, schedule), (), ONES, train=True, key=KEY, progress=progress)
    assert np.mean(found == 0) == pytest.approx(rate, abs=0.02)
    np.testing.assert_allclose(found[found != 0], 1 / (1 - rate), rtol=0.01)
    assert np.mean(found) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_a_small_rate_is_right_on_average() -> None:
    def dropped(key: Any) -> Any:
        outputs, _ = Dropout(0.001).forward((), ONES, train=True, key=key)
        return jnp.mean((outputs == 0).astype(jnp.float32)), jnp.mean(outputs)

    shares, means = jax.vmap(dropped)(jax.random.split(KEY, 200))
    assert np.mean(shares) == pytest.approx(0.001, rel=0.25)
    assert np.mean(means) == pytest.approx(1, abs=1e-4)


def test_dropout_does_nothing_at_inference_at_the_end_of_its_schedule_and_at_a_rate_of_0() -> None:
    layer = Dropout(0.4, "flat_cos")
    assert layer.scheduled
    assert not Dropout(0.4).scheduled
    for found in (
        outputs_of(layer, (), ONES, key=KEY),
        outputs_of(layer, (), ONES, train=True, key=KEY, progress=1.0),
        outputs_of(Dropout(0.0), (), ONES, train=True),
    ):
        assert np.all(found == 1)


@pytest.mark.slow
def test_layers_draw_apart_and_progress_reaches_them_traced() -> None:
    net = Network(100, [Dropout(0.5, "flat_cos"), Residual([Dropout(0.5), Scale()])])
    assert net.scheduled
    assert not Network(2, [Residual([Dropout(0.5)])]).scheduled
    params, targets = init(net, KEY), jnp.zeros((100, 100))

    def loss_at(progress: Any) -> Any:
        given = {"loss": "half_squared_error", "train": True, "key": KEY, "progress": progress}
        value, _ = backprop.value_and_grad(net, params, ONES, targets, **given)
        assert float(value) == pytest.approx(float(backprop.loss(net, params, ONES, targets, **given)))
        return backprop.trace(net, params, ONES, targets, **given).layers

    first, second = loss_at(0.0)
    assert np.mean((np.asarray(first.outputs) == 0) == (np.asarray(first.outputs) == second.outputs)) < 0.9
    assert np.all(loss_at(1.0)[0].outputs == 1)
    counted = jax.jit(
        lambda progress: backprop.propagate(
            net, params, backprop.Batch(ONES, targets), train=True, key=KEY, progress=progress
        )[0][1]
    )
    assert np.all(counted(jnp.float32(1.0)) == 1)
    assert np.any(counted(jnp.float32(0.0)) == 0)
    assert counted._cache_size() == 1


# --- embeddings ---


@pytest.mark.parametrize("form", ["pbld", "pl", "plr"])
def test_a_periodic_embedding_is_its_formula_column_by_column(form: str) -> None:
    layer = PeriodicEmbedding(columns=2, form=form, frequencies=5, size=3, sigma=0.7)
    params, features = layer.init(KEY, 4)
    x, expected = normal(6, 4), []
    for column in range(2):
        w1, b1, w2, b2 = (None if leaf is None else np.asarray(leaf[column]) for leaf in params)
        z = 2 * np.pi * x[:, column, None] * w1
        waves = np.cos(z + b1) if form == "pbld" else np.concatenate([np.cos(z), np.sin(z)], axis=1)
        y = waves @ w2 + b2
        expected += [np.maximum(y, 0) if form == "plr" else y]
        expected += [x[:, [column]]] if form == "pbld" else []
    found = outputs_of(layer, params, x)
    np.testing.assert_allclose(found, np.concatenate([*expected, x[:, 2:]], axis=1), atol=1e-5)
    assert found.shape[1] == features == 2 * 3 + 2


def test_sigma_sets_the_initial_frequencies() -> None:
    drawn = [PeriodicEmbedding(frequencies=400, sigma=s).init(KEY, 2)[0].w1 for s in (0.1, 4.0)]
    assert np.std(drawn[0]) == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(drawn[1], 40 * drawn[0], rtol=1e-5)


@pytest.mark.slow
def test_an_embedding_is_a_dense_layer_on_one_hot_columns_and_unknown_codes_are_zeros() -> None:
    layer = Embed(columns=(2, 0), codes=(3, 2), size=4)
    table, features = layer.init(KEY, 3)
    codes = np.array([[1, 2, 3, 2, 0, 4, -1, np.nan, 3e9], [2, 1, 2, 0, 1, 1, 1, 2, 1]], np.float32)
    x = np.stack([codes[1], np.arange(9, dtype=np.float32), codes[0]], axis=1)
    one_hot = np.concatenate(
        [codes[0][:, None] == np.arange(1, 4), codes[1][:, None] == np.arange(1, 3)], axis=1
    ).astype(np.float32)
    blocks = [one_hot[:, :3] @ np.asarray(table)[:3], one_hot[:, 3:] @ np.asarray(table)[3:]]
    found = outputs_of(layer, table, x)
    np.testing.assert_allclose(found, np.concatenate([x[:, [1]], *blocks], axis=1), rtol=1e-6)
    assert found.shape[1] == features == 1 + 2 * 4
    grads, back = layer.backward(table, layer.forward(table, jnp.asarray(x))[1], jnp.ones((9, 9)))
    np.testing.assert_array_equal(grads, np.tile(one_hot.sum(axis=0)[:, None], (1, 4)))
    np.testing.assert_array_equal(back, np.tile(np.array([[0, 1, 0]]), (9, 1)))


# --- normalisation ---


def test_norms_bring_rows_and_columns_to_mean_0_and_variance_1() -> None:
    x = 3 * normal(7, 4) + 5
    params = NormParams(jnp.arange(1.0, 5), jnp.arange(4.0), jnp.full(4, 9.0), jnp.full(4, 4.0))
    for layer, axis in ((LayerNorm(), 1), (BatchNorm(), 0)):
        centred = x - x.mean(axis=axis, keepdims=True)
        standard = centred / np.sqrt(x.var(axis=axis, keepdims=True) + 1e-5)
        expected = standard * np.arange(1, 5) + np.arange(4)
        np.testing.assert_allclose(outputs_of(layer, params, x, train=True), expected, rtol=1e-4, atol=1e-4)
    at_inference = outputs_of(BatchNorm(eps=0.0), params, x)
    np.testing.assert_allclose(at_inference, (x - 9) / 2 * np.arange(1, 5) + np.arange(4), rtol=1e-5)


def test_batch_statistics_leave_out_rows_of_weight_0_and_count_the_others_by_weight() -> None:
    layer, x = BatchNorm(), normal(4, 3)
    params, _ = layer.init(KEY, 3)
    padded, weight = np.concatenate([x, np.full((1, 3), 1e6, np.float32)]), jnp.array([1.0, 2, 1, 1, 0])
    found = outputs_of(layer, params, padded, train=True, weight=weight)
    twice = outputs_of(layer, params, x[[0, 1, 1, 2, 3]], train=True)
    np.testing.assert_allclose(found[:4], twice[[0, 1, 3, 4]], rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(outputs_of(layer, params, padded, train=True, weight=jnp.zeros(5))))


@pytest.mark.slow
def test_calibrated_statistics_are_the_populations_at_each_batch_norm() -> None:
    net = Network(3, [Dense(4), BatchNorm(), Residual([Activate("tanh"), BatchNorm()]), Dense(2)])
    params, x, weight = init(net, KEY), jnp.asarray(normal(50, 3)), jnp.asarray(normal(50) ** 2)
    found = calibrate(net, params, x, weight)
    batch = backprop.Batch(x, jnp.zeros((50, 2)), weight)
    in_training = backprop.propagate(net, params, batch, train=True)[0][-1]
    assert_close(forward(net, found, x), in_training, relative=1e-5)
    rest = [
        leaf
        for leaf, kind in zip(
            jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), found, params)),
            jax.tree.leaves(backprop.kinds(net, params)),
            strict=True,
        )
        if kind != "statistic"
    ]
    assert all(rest)


@pytest.mark.slow
def test_finite_differences_leave_statistics_alone(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    check_without_compiling(monkeypatch)
    net = Network(3, [BatchNorm(), Activate("tanh"), LayerNorm(), Dense(2)])
    report = check_gradients(*make_problem(net, "labels"), sample_weight=make_weight(5), l2=0.1)
    assert report.passed
    assert [row.autodiff_size == 0 for row in report.rows[:4]] == [False, False, True, True]


# --- composed ---


def test_a_residual_adds_its_layers_and_a_maxout_takes_the_largest() -> None:
    net = Network(3, [Residual([Dense(5), Activate("relu"), Dense(3)])])
    (params,), x = init(net, KEY), normal(4, 3)
    first, _, second = params
    stack = np.maximum(x @ np.asarray(first.w), 0) @ np.asarray(second.w)
    np.testing.assert_allclose(forward(net, (params,), x), x + stack, rtol=1e-4, atol=1e-5)
    wide = normal(4, 6)
    np.testing.assert_array_equal(outputs_of(Maxout(3), (), wide), wide.reshape(4, 2, 3).max(axis=2))
    # Two of three tie: each takes half, as by autodiff.
    _, shares = Maxout(3).forward((), jnp.array([[2.0, 1.0, 2.0]]))
    assert Maxout(3).backward((), shares, jnp.ones((1, 1)))[1].tolist() == [[0.5, 0.0, 0.5]]


# --- what is refused ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ParametricActivate("tahn"), "did you mean 'tanh'"),
        (lambda: Dropout(1.0), "a dropout rate must be at least 0 and below 1, given 1.0"),
        (lambda: Dropout(float("nan")), "a dropout rate must be"),
        (lambda: Dropout(0.1, "flat"), "did you mean 'flat_cos'"),
        (lambda: Dropout(0.1).forward((), ONES, train=True), "give key=jax.random.key(0)"),
        (lambda: PeriodicEmbedding(form="pblt"), "did you mean 'pbld'"),
        (
            lambda: PeriodicEmbedding(size=1),
            "a periodic embedding's size must be a whole number of at least 2",
        ),
        (lambda: PeriodicEmbedding(columns=0), "number of columns must be"),
        (lambda: PeriodicEmbedding(sigma=0), "sigma must be a finite number above 0, given 0"),
        (lambda: PeriodicEmbedding(columns=3).init(KEY, 2), "of 3 columns has 2 inputs"),
        (lambda: Embed((1, 1), (2, 2)), "columns, each once"),
        (lambda: Embed((0, 1), (2,)), "a number of codes for each"),
        (lambda: Embed((), ()), "needs columns"),
        (lambda: Embed((-1,), (2,)), "each of an embedding's columns must be a whole number of at least 0"),
        (lambda: Embed((0,), (0,)), "each of an embedding's codes must be a whole number of at least 1"),
        (lambda: Embed((3,), (2,)).init(KEY, 3), "of columns (3,) has 3 inputs"),
        (lambda: Residual([]), "needs at least one layer"),
        (lambda: Residual(["relu"]), "not a layer: 'relu'"),
        (lambda: Residual([Dense(2)]).init(KEY, 3), "as many features as they begin with, 3: given 2"),
        (lambda: Maxout(1), "number of pieces must be a whole number of at least 2"),
        (lambda: Maxout(2).init(KEY, 3), "needs a multiple as inputs, given 3"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, message: str) -> None:
    refused(message, make)


# --- parameters fitted to data ---

NTK = {"parametrisation": "ntk", "weight_init": "normal:1"}
DEEP = Network(
    5, [Scale(), Dense(6, **NTK), Activate("relu"), Residual([Dense(6), BatchNorm()]), Dense(3, bias=False)]
)


@pytest.mark.slow
def test_units_begin_with_a_deviation_of_1_and_their_kink_among_the_examples() -> None:
    x = jnp.asarray(normal(40, 5) * np.array([1, 10, 0.1, 1, 1], np.float32) + 7)
    params = init_from_data(DEEP, KEY, x)
    passed, _ = backprop.propagate(DEEP, params, backprop.Batch(x, None))
    inner, _ = Dense(6).forward(params[3][0], passed[3])
    for z in (passed[2], inner, passed[5]):
        np.testing.assert_allclose(np.std(z, axis=0), 1, rtol=1e-3)
    for z in (np.asarray(passed[2]), np.asarray(inner)):
        assert np.all((z.min(axis=0) <= 0) & (z.max(axis=0) >= 0))
        assert not np.any(z == 0), "the combination is of several examples"
    np.testing.assert_allclose(params[3][1].mean, np.mean(inner, axis=0), atol=1e-5)
    drawn = init(DEEP, KEY)
    assert jax.tree.structure(params) == jax.tree.structure(drawn)
    assert not np.allclose(params[1].w, init_from_data(DEEP, jax.random.key(1), x)[1].w)


@pytest.mark.parametrize(
    "inputs", [normal(1, 5), np.full((9, 5), 0.1, np.float32), np.zeros((9, 5), np.float32)]
)
def test_constant_columns_and_dead_units_stay_finite(inputs: np.ndarray) -> None:
    partly = np.concatenate([normal(len(inputs), 2), inputs[:, :3]], axis=1)
    net = Network(5, [*DEEP.layers[:4], Dense(4, weight_init="zeros"), Activate("relu"), Dense(2)])
    for given in (inputs, partly):
        leaves = jax.tree.leaves(init_from_data(net, KEY, given))
        assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
        assert max(float(np.max(np.abs(leaf))) for leaf in leaves) < 100, "rounding must not be blown up"


@pytest.mark.slow
def test_many_are_drawn_side_by_side_as_each_by_itself() -> None:
    x, keys = jnp.asarray(normal(20, 5)), jax.random.split(KEY, 3)
    together = jax.vmap(lambda key: init_from_data(DEEP, key, x))(keys)
    for place in range(3):
        one = jax.tree.map(lambda leaf, place=place: leaf[place], together)
        assert_close(one, init_from_data(DEEP, keys[place], x), relative=1e-4, absolute=1e-5)
    refused("inputs must have shape [B, 5]", init_from_data, DEEP, KEY, x[:, :4])
    refused("inputs must have shape [B, 5]", calibrate, DEEP, init(DEEP, KEY), x[:, :4])
