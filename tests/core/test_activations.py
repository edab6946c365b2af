"""Each activation is the textbook's function, and the derivative beside it is that function's derivative."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from scipy import special

from jaxmlp.activations import ACTIVATIONS, Activation

NAMES = [*ACTIVATIONS, "leaky_relu:0.1", "elu:0.5"]

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(0, z),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "leaky_relu:0.1": lambda z: np.where(z > 0, z, 0.1 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "elu:0.5": lambda z: np.where(z > 0, z, 0.5 * np.expm1(np.minimum(z, 0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * special.ndtr(z),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z * special.expit(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "softplus": lambda z: np.logaddexp(0, z),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "scaled_tanh": lambda z: 1.7159 * np.tanh(2 / 3 * z),
    "hard_tanh": lambda z: np.clip(z, -1, 1),
    "relu6": lambda z: np.clip(z, 0, 6),
}


def grid() -> np.ndarray:
    """Points of every size up to 1e4, both signs, none of them at a kink."""
    random = np.random.default_rng(0)
    sizes = np.concatenate([10.0 ** random.uniform(-6, 4, 100), random.uniform(0, 8, 100), [1e4]])
    return np.concatenate([sizes, -sizes])


def largest_excess(activation: Activation, z: np.ndarray) -> float:
    """How far |hand − auto| stands above its bound, at the worst point; at most 0 where all are within."""
    points = jnp.asarray(z)
    by_hand = np.asarray(activation.derivative(points, activation.value(points)))
    by_autodiff = np.asarray(jax.vmap(jax.grad(activation.value))(points))
    bound = 1e-10 * np.max(np.abs(by_autodiff)) + 1e-14 * np.maximum(1, np.abs(z))
    excess = np.abs(by_hand - by_autodiff) - bound
    return float(np.max(np.where(np.isfinite(excess), excess, np.inf)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_equals_autodiff(name: str) -> None:
    assert largest_excess(ACTIVATIONS[name], grid()) <= 0


def swapped(activation: Activation) -> Activation:
    return activation._replace(derivative=lambda z, a: activation.derivative(a, z))


def scaled(activation: Activation, factor: float) -> Activation:
    return activation._replace(derivative=lambda z, a: factor * activation.derivative(z, a))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [-1.0, 0.5, 1 + 1e-9, np.nan])
def test_a_corrupted_derivative_is_caught(name: str, factor: float) -> None:
    assert largest_excess(scaled(ACTIVATIONS[name], factor), grid()) > 0


# Piecewise linear ones whose pieces are told apart as well by a as by z.
EITHER_ARGUMENT = {"identity", "relu", "leaky_relu", "leaky_relu:0.1", "relu6"}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NAMES)
def test_a_derivative_of_the_wrong_argument_is_caught(name: str) -> None:
    assert (largest_excess(swapped(ACTIVATIONS[name]), grid()) > 0) == (name not in EITHER_ARGUMENT)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", FORMULAS)
def test_the_value_is_the_textbooks(name: str) -> None:
    z = grid()
    expected = FORMULAS[name](z)
    found = np.asarray(ACTIVATIONS[name].value(jnp.asarray(z)))
    # Within rounding of the larger of the value and its terms; 1 + tanh cancels terms of size |z|.
    bound = 1e-14 * np.maximum(np.abs(expected), np.maximum(1, np.abs(z)))
    assert np.all(np.abs(found - expected) <= bound)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", FORMULAS)
def test_no_formula_is_another_ones(name: str) -> None:
    z = grid()
    found = np.asarray(ACTIVATIONS[name].value(jnp.asarray(z)))
    others = [formula(z) for other, formula in FORMULAS.items() if other != name]
    assert all(np.max(np.abs(found - other)) > 1e-4 for other in others)


# Every kink: where it is, jax.nn's own function, and the derivative that jax.grad gives for that there.
KINKS: list[tuple[str, float, Callable[[jax.Array], jax.Array], float]] = [
    ("relu", 0.0, jax.nn.relu, 0.0),
    ("leaky_relu", 0.0, jax.nn.leaky_relu, 1.0),
    ("leaky_relu:0.1", 0.0, lambda z: jax.nn.leaky_relu(z, 0.1), 1.0),
    ("elu", 0.0, jax.nn.elu, 1.0),
    ("elu:0.5", 0.0, lambda z: jax.nn.elu(z, 0.5), 0.5),
    ("selu", 0.0, jax.nn.selu, SELU_SCALE * SELU_ALPHA),
    ("relu6", 0.0, jax.nn.relu6, 0.0),
    ("relu6", 6.0, jax.nn.relu6, 0.0),
    ("hard_tanh", -1.0, jax.nn.hard_tanh, 1.0),
    ("hard_tanh", 1.0, jax.nn.hard_tanh, 1.0),
    ("softsign", 0.0, jax.nn.soft_sign, 1.0),
]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("name", "kink", "function", "slope"), KINKS)
def test_at_a_kink_the_derivative_is_that_of_jax_nn(
    name: str, kink: float, function: Callable[[jax.Array], jax.Array], slope: float, dtype: type, x64: None
) -> None:
    z = jnp.array(kink, dtype)
    by_hand = ACTIVATIONS[name].derivative(z, ACTIVATIONS[name].value(z))
    assert by_hand.dtype == dtype
    assert float(by_hand) == pytest.approx(float(jax.grad(function)(z)), rel=1e-6, abs=0)
    assert float(by_hand) == pytest.approx(slope, rel=1e-6, abs=0)


EXTREMES = [0.0, 1e-30, 1.0, 88.0, 1e2, 1e4]


@pytest.mark.parametrize("name", NAMES)
def test_extremes_stay_finite_in_float32(name: str) -> None:
    z = jnp.array([*EXTREMES, *(-size for size in EXTREMES)], jnp.float32)
    a = ACTIVATIONS[name].value(z)
    slope = ACTIVATIONS[name].derivative(z, a)
    assert a.dtype == slope.dtype == jnp.float32
    assert a.shape == slope.shape == z.shape
    assert np.all(np.isfinite(a))
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("name", NAMES)
def test_extremes_are_those_of_float64(name: str, x64: None) -> None:
    z = np.array([*EXTREMES, *(-size for size in EXTREMES)])
    activation = ACTIVATIONS[name]

    def pair(dtype: type) -> np.ndarray:
        points = jnp.asarray(z, dtype)
        a = activation.value(points)
        return np.stack([a, activation.derivative(points, a)])

    np.testing.assert_allclose(pair(jnp.float32), pair(jnp.float64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_name_gives_the_same_pair(name: str) -> None:
    assert ACTIVATIONS[name] is ACTIVATIONS[name]
    assert hash(ACTIVATIONS[name]) == hash(ACTIVATIONS[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rellu", "unknown activation 'rellu': did you mean 'relu'? choose one of: "),
        ("relu:0.1", "activation 'relu' takes no parameter, given 'relu:0.1': write 'relu'"),
        ("leaky_relu:x", "activation 'leaky_relu:x' has parameters that are not finite numbers"),
        ("leaky_relu:0.1,0.2", "has 2 parameter(s): 'leaky_relu' takes slope"),
    ],
)
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    refused(message, ACTIVATIONS.__getitem__, name)
