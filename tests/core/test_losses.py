"""Each loss is its formula, and the gradient beside it is that formula's gradient, example by example."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from scipy import special

from jaxmlp.losses import HEADS, LOSSES, Loss

NAMES = [*LOSSES, "huber:0.5", "softmax_cross_entropy:0.1", "quantile:0.2"]
SIZES = [(1, 1), (1, 3), (5, 1), (5, 3)]


def hinge(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = np.arange(len(labels))
    rivals = scores.copy()
    rivals[rows, labels] = -np.inf
    return np.maximum(0, 1 + rivals.max(axis=1) - scores[rows, labels])


def huber(delta: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def formula(f: np.ndarray, t: np.ndarray) -> np.ndarray:
        r = np.abs(f - t)
        return np.where(r <= delta, 0.5 * r**2, delta * (r - 0.5 * delta)).sum(axis=1)

    return formula


def pinball(level: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda f, t: np.where(f > t, (1 - level) * (f - t), level * (t - f)).sum(axis=1)


def smoothed(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    soft = 0.9 * np.eye(z.shape[1])[y] + 0.1 / z.shape[1]
    return -(soft * special.log_softmax(z, axis=1)).sum(axis=1)


FORMULAS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "softmax_cross_entropy": lambda z, y: -special.log_softmax(z, axis=1)[np.arange(len(y)), y],
    "sigmoid_cross_entropy": lambda z, t: (
        -(t * np.log(special.expit(z)) + (1 - t) * np.log(special.expit(-z))).sum(axis=1)
    ),
    "negative_log_likelihood": lambda p, y: -np.log(p[np.arange(len(y)), y]),
    "half_squared_error": lambda f, t: 0.5 * ((f - t) ** 2).sum(axis=1),
    "squared_error": lambda f, t: ((f - t) ** 2).sum(axis=1),
    "mean_squared_error": lambda f, t: ((f - t) ** 2).mean(axis=1),
    "absolute_error": lambda f, t: np.abs(f - t).sum(axis=1),
    "huber": huber(1.0),
    "huber:0.5": huber(0.5),
    "multiclass_hinge": hinge,
    "softmax_cross_entropy:0.1": smoothed,
    "quantile": pinball(0.5),
    "quantile:0.2": pinball(0.2),
    "poisson": lambda f, t: (f - t + special.xlogy(t, t / f)).sum(axis=1),
}


def example_data(name: str, examples: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeded outputs and targets as a loss takes them, away from its kinks."""
    random = np.random.default_rng(examples * 10 + outputs)
    kind = LOSSES[name].targets
    scores = random.normal(scale=2.0, size=(examples, outputs))
    if name == "negative_log_likelihood":
        scores = special.softmax(scores, axis=1)
    if kind in ("labels", "soft_labels"):
        return scores, random.integers(0, outputs, examples)
    if kind == "binary":
        return scores, random.uniform(size=(examples, outputs))
    if name == "poisson":
        return np.exp(scores), random.poisson(2.0, (examples, outputs)).astype(float)
    return scores, random.normal(scale=2.0, size=(examples, outputs))


def cases(names: list[str]) -> list[tuple[str, int, int]]:
    compares_classes = {"multiclass_hinge"}
    return [(name, b, k) for name in names for b, k in SIZES if k > 1 or name not in compares_classes]


@cache
def compiled(name: str) -> Loss:
    """The loss with both functions compiled, which takes less time here than op by op."""
    loss = LOSSES[name]
    return loss._replace(value=jax.jit(loss.value), gradient=jax.jit(loss.gradient))


@cache
def autodiff_gradient(name: str) -> Callable[[np.ndarray, np.ndarray], jax.Array]:
    """Row b is d value_b / d outputs_b, as `jax.grad` finds it one example at a time."""
    value = LOSSES[name].value
    one = jax.grad(lambda row, target: value(row[None], target[None])[0])
    return jax.jit(jax.vmap(one))


def is_right(by_hand: jax.Array, by_autodiff: jax.Array) -> bool:
    size = float(np.max(np.abs(by_autodiff)))
    # A cross-entropy's gradient p − t cancels terms of size 1.
    bound = 1e-10 * size + 1e-14 * max(1.0, size)
    errors = np.abs(np.asarray(by_hand) - np.asarray(by_autodiff))
    return by_hand.shape == by_autodiff.shape and bool(np.all(errors <= bound))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "examples", "outputs"), cases(list(FORMULAS)))
def test_the_value_is_the_formula(name: str, examples: int, outputs: int) -> None:
    f, t = example_data(name, examples, outputs)
    found = compiled(name).value(f, t)
    assert found.shape == (examples,)
    np.testing.assert_allclose(found, FORMULAS[name](f, t), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "examples", "outputs"), cases(NAMES))
def test_the_gradient_equals_autodiff(name: str, examples: int, outputs: int) -> None:
    f, t = example_data(name, examples, outputs)
    assert is_right(compiled(name).gradient(f, t), autodiff_gradient(name)(f, t))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [-1.0, 0.5, 5.0, 1 + 1e-8, np.nan])
def test_a_corrupted_gradient_is_caught(name: str, factor: float) -> None:
    f, t = example_data(name, 5, 3)
    assert not is_right(factor * compiled(name).gradient(f, t), autodiff_gradient(name)(f, t))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "examples", "outputs"), cases(NAMES))
def test_each_example_counts_alone(name: str, examples: int, outputs: int) -> None:
    f, t = example_data(name, examples, outputs)
    loss = compiled(name)
    values, gradients = loss.value(f, t), loss.gradient(f, t)
    for b in range(examples):
        one = f[b : b + 1], t[b : b + 1]
        np.testing.assert_allclose(loss.value(*one)[0], values[b], rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(loss.gradient(*one)[0], gradients[b], rtol=1e-14, atol=1e-15)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("examples", "outputs"), SIZES)
def test_soft_labels(examples: int, outputs: int) -> None:
    name = "softmax_cross_entropy"
    random = np.random.default_rng(3)
    z = random.normal(size=(examples, outputs))
    # Any non-negative targets: a row need not sum to 1 for the gradient to be right.
    t = random.uniform(size=(examples, outputs))
    expected = -(t * special.log_softmax(z, axis=1)).sum(axis=1)
    np.testing.assert_allclose(compiled(name).value(z, t), expected, rtol=1e-12, atol=1e-14)
    assert is_right(compiled(name).gradient(z, t), autodiff_gradient(name)(z, t))


@pytest.mark.usefixtures("x64")
def test_one_hot_labels_are_integer_labels() -> None:
    loss = compiled("softmax_cross_entropy")
    z, y = example_data("softmax_cross_entropy", 5, 3)
    one_hot = np.eye(3)[y]
    np.testing.assert_allclose(loss.value(z, one_hot), loss.value(z, y), rtol=1e-14)
    np.testing.assert_allclose(loss.gradient(z, one_hot), loss.gradient(z, y), atol=1e-15)


# --- kinks, one by one ---


def slopes(name: str, outputs: list[list[float]], targets: list[object]) -> tuple[list, list, list]:
    """A float32 batch's values, its gradient by hand, and by autodiff."""
    f = np.array(outputs, np.float32)
    t = np.array(targets, np.int32 if LOSSES[name].targets in ("labels", "soft_labels") else np.float32)
    found = compiled(name).value(f, t), compiled(name).gradient(f, t), autodiff_gradient(name)(f, t)
    assert all(array.dtype == jnp.float32 for array in found)
    values, by_hand, by_autodiff = (np.asarray(array).tolist() for array in found)
    return values, by_hand, by_autodiff


@pytest.mark.parametrize(
    ("name", "outputs", "target", "value", "by_hand", "by_autodiff"),
    [
        ("absolute_error", [0.0], [0.0], 0.0, [0.0], [1.0]),  # 0 at 0, where autodiff takes 1
        ("multiclass_hinge", [2.0, 1.0, 0.0], 0, 0.0, [0.0, 0.0, 0.0], [-0.5, 0.5, 0.0]),  # at the margin
        ("multiclass_hinge", [1.5, 1.0, 1.5], 1, 1.5, [1.0, -1.0, 0.0], [0.5, -1.0, 0.5]),  # rivals tie
        ("multiclass_hinge", [0.0, 0.0, 0.0], 0, 1.0, [-1.0, 1.0, 0.0], [-1.0, 0.5, 0.5]),  # all tie
    ],
)
def test_known_differences_from_autodiff(
    name: str, outputs: list[float], target: Any, value: float, by_hand: list[float], by_autodiff: list[float]
) -> None:
    # Both are subgradients.
    assert slopes(name, [outputs], [target]) == ([value], [by_hand], [by_autodiff])


@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.0], [5.0, -7.0, 3.0]])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_right_class_is_never_its_own_rival(scores: list[float], label: int) -> None:
    _, [gradient], _ = slopes("multiclass_hinge", [scores], [label])
    assert gradient[label] in (0.0, -1.0)
    assert sum(gradient) == 0.0


def test_a_quantile_slopes_by_its_level_and_halfway_at_the_kink() -> None:
    outputs, slope = [[3.0, -3.0, 0.0, 1e4]], [[0.75, -0.25, 0.25, 0.75]]
    assert slopes("quantile:0.25", outputs, [[0.0] * 4]) == ([2.25 + 0.75 + 7500], slope, slope)


@pytest.mark.parametrize("delta", [1.0, 0.5])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_huber_joins_smoothly_at_delta(delta: float, sign: float) -> None:
    edge = sign * delta
    assert slopes(f"huber:{delta}", [[edge]], [[0.0]]) == ([0.5 * delta**2], [[edge]], [[edge]])
    assert slopes(f"huber:{delta}", [[2 * edge]], [[0.0]]) == ([1.5 * delta**2], [[edge]], [[edge]])
    assert slopes(f"huber:{delta}", [[0.0]], [[0.0]]) == ([0.0], [[0.0]], [[0.0]])


# --- extremes ---


@pytest.mark.parametrize("size", [1e-30, 88.0, 1e2, 1e4])
@pytest.mark.parametrize("name", [name for name in NAMES if LOSSES[name].takes not in HEADS])
def test_extreme_outputs_stay_finite_in_float32(name: str, size: float) -> None:
    outputs = [[size, -size, 0.0], [-size, -size, size], [0.0, 0.0, -size]]
    kind = LOSSES[name].targets
    targets = [1, 2, 0] if kind in ("labels", "soft_labels") else [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    values, by_hand, _ = slopes(name, outputs, targets)
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(by_hand))
    assert np.all(np.asarray(values) >= 0)


def test_a_rate_of_0_stays_finite_and_one_below_is_seen() -> None:
    tiny = float(np.finfo(np.float32).tiny)
    values, by_hand, by_autodiff = slopes("poisson", [[0.0, 1e30, 0.0]], [[0.0, 0.0, 2.0]])
    assert values == pytest.approx([1e30])
    assert by_hand == by_autodiff == [[1.0, 1.0, 1.0]]
    values, by_hand, _ = slopes("poisson", [[0.0], [1e30], [-1.0]], [[1.0], [1e30], [1.0]])
    assert values == pytest.approx([-1 - np.log(tiny), 0, np.nan], nan_ok=True)
    assert by_hand[1] == [0.0]


@pytest.mark.usefixtures("x64")
def test_smoothing_softens_labels_and_leaves_what_is_measured_hard() -> None:
    loss, (z, y) = LOSSES["softmax_cross_entropy:0.1"], example_data("softmax_cross_entropy", 5, 3)
    soft = 0.9 * np.eye(3)[y] + 0.1 / 3
    for given in (y, np.eye(3)[y]):
        for part in ("value", "gradient"):
            hard = getattr(LOSSES["softmax_cross_entropy"], part)
            np.testing.assert_allclose(getattr(loss, part)(z, given), hard(z, soft), rtol=1e-13)
            assert loss.measured is not None
            np.testing.assert_array_equal(getattr(loss.measured, part)(z, given), hard(z, given))
    assert np.isnan(loss.value(z, y + 3)).all()


def test_cross_entropies_are_right_where_a_naive_one_overflows() -> None:
    logits = [[1e4, -1e4], [-1e4, 1e4]]
    values, by_hand, _ = slopes("softmax_cross_entropy", logits, [1, 1])
    assert (values, by_hand) == ([2e4, 0.0], [[1.0, -1.0], [0.0, 0.0]])
    values, by_hand, _ = slopes("sigmoid_cross_entropy", logits, [[0.0, 0.0], [0.0, 1.0]])
    assert (values, by_hand) == ([1e4, 0.0], [[1.0, 0.0], [0.0, 0.0]])


def test_soft_labels_stay_finite_at_extreme_logits() -> None:
    loss = compiled("softmax_cross_entropy")
    logits, soft = jnp.array([[1e4, -1e4, 0.0]]), jnp.array([[0.5, 0.25, 0.25]])
    assert loss.value(logits, soft).tolist() == [7500.0]
    assert loss.gradient(logits, soft).tolist() == [[0.5, -0.25, -0.25]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_probability_of_0_stays_finite(dtype: type, x64: None) -> None:
    loss = compiled("negative_log_likelihood")
    p, y = np.array([[1.0, 0.0], [0.25, 0.75]], dtype), np.array([1, 0])
    value, gradient = np.asarray(loss.value(p, y)), np.asarray(loss.gradient(p, y))
    assert value.dtype == gradient.dtype == dtype
    np.testing.assert_allclose(value, [-np.log(np.finfo(dtype).tiny), np.log(4)], rtol=1e-6)
    # Where the value is held, its gradient is that of a constant.
    assert gradient.tolist() == [[0.0, 0.0], [-4.0, 0.0]]
    assert np.array_equal(gradient, autodiff_gradient("negative_log_likelihood")(p, y))


# --- refusals ---

LABELLED = [name for name in NAMES if LOSSES[name].targets in ("labels", "soft_labels")]
SHAPES: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "values": [((5, 1), (5,)), ((5, 3), (5, 1)), ((5, 3), (3,)), ((5, 3), (1, 3)), ((5,), (5,))],
    "labels": [((5, 3), (5, 1)), ((5, 3), (3,)), ((5, 3), (1,)), ((5,), (5,)), ((5, 3), ())],
}


@pytest.mark.parametrize("part", ["value", "gradient"])
@pytest.mark.parametrize("name", NAMES)
def test_targets_of_another_shape_are_refused(name: str, part: str) -> None:
    kind = "labels" if name in LABELLED else "values"
    for outputs, targets in SHAPES[kind]:
        given = jnp.zeros(outputs), jnp.zeros(targets, int if kind == "labels" else float)
        line = refused("this loss takes", getattr(LOSSES[name], part), *given)
        assert str(list(outputs)) in line
        assert str(list(targets)) in line


@pytest.mark.parametrize("part", ["value", "gradient"])
def test_labels_that_are_no_integers_and_a_single_output_of_a_hinge_are_refused(part: str) -> None:
    for name in LABELLED:
        words = "takes integer labels 0..K−1, given labels of type float32"
        refused(words, getattr(LOSSES[name], part), jnp.ones((2, 3)), jnp.zeros(2))
    hinge = getattr(LOSSES["multiclass_hinge"], part)
    refused("give the network at least 2 outputs, not 1", hinge, jnp.zeros((2, 1)), jnp.zeros(2, int))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *(
            (f"huber:{delta}", f"huber's delta must be positive, given {delta}")
            for delta in ("-1", "0", "-0.5")
        ),
        *((f"quantile:{level}", f"must lie between 0 and 1, given {level}") for level in ("0", "1", "-1")),
        ("softmax_cross_entropy:1", "label smoothing must be at least 0 and below 1, given 1"),
        ("softmax_cross_entropy:-0.1", "label smoothing must be at least 0 and below 1, given -0.1"),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, words: str) -> None:
    refused(words, LOSSES.__getitem__, name)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_says_what_its_targets_are(name: str) -> None:
    assert LOSSES[name].targets in {"labels", "soft_labels", "binary", "values"}
    assert LOSSES[name] is LOSSES[name]


@pytest.mark.parametrize("name", [name for name in LOSSES if "labels" in LOSSES[name].targets])
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_seen_in_the_loss(name, label):
    outputs = jnp.full((2, 3), 1 / 3)
    assert np.isnan(LOSSES[name].value(outputs, jnp.array([label, 0]))).tolist() == [True, False]


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "negative_log_likelihood", "multiclass_hinge"])
@pytest.mark.parametrize(
    ("kind", "outputs"), [(np.uint8, 256), (np.uint8, 300), (np.int8, 200), (np.uint16, 3)]
)
def test_labels_of_few_bits_are_those_of_many(name: str, kind: type, outputs: int) -> None:
    scores, labels = jax.nn.softmax(jax.random.normal(jax.random.key(0), (3, outputs))), np.array([0, 1, 2])
    for part in (LOSSES[name].value, LOSSES[name].gradient):
        np.testing.assert_array_equal(part(scores, jnp.array(labels, kind)), part(scores, jnp.array(labels)))
