"""Each initialiser draws from the distribution that its name promises."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from scipy import stats

from jaxmlp.initializers import BIAS_INITIALIZERS, INITIALIZERS, check_unscaled

PARAMETERS = {"normal": ":0.3", "uniform": ":-0.05,0.1"}
NAMES = [name + PARAMETERS.get(name, "") for name in INITIALIZERS]
INPUTS, OUTPUTS = 300, 100

# (scipy's distribution of one weight, given I and O), cut-off normals widened to keep their variance.
CUT = stats.truncnorm(-2, 2)


def cut_normal(variance: float) -> stats.rv_continuous:
    return stats.truncnorm(-2, 2, scale=np.sqrt(variance) / CUT.std())


def centred_uniform(variance: float) -> stats.rv_continuous:
    half = np.sqrt(3 * variance)
    return stats.uniform(-half, 2 * half)


DISTRIBUTIONS: dict[str, stats.rv_continuous] = {
    "he_normal": cut_normal(2 / INPUTS),
    "he_uniform": centred_uniform(2 / INPUTS),
    "glorot_normal": cut_normal(2 / (INPUTS + OUTPUTS)),
    "glorot_uniform": centred_uniform(2 / (INPUTS + OUTPUTS)),
    "lecun_normal": cut_normal(1 / INPUTS),
    "normal:0.3": stats.norm(scale=0.3),
    "uniform:-0.05,0.1": stats.uniform(-0.05, 0.15),
}


def drawn_from(distribution: stats.rv_continuous, values: np.ndarray) -> bool:
    """Whether 30,000 values fit a distribution, by Kolmogorov and Smirnov's test, and keep to its bounds."""
    low, high = distribution.support()
    inside = bool(np.all((values >= low - 1e-6) & (values <= high + 1e-6)))
    return inside and stats.kstest(values, distribution.cdf).pvalue > 0.001


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_weights_follow_the_named_distribution_and_no_other(name: str) -> None:
    w = np.asarray(INITIALIZERS[name](jax.random.key(0), (INPUTS, OUTPUTS))).ravel().astype(float)
    fitting = [other for other, distribution in DISTRIBUTIONS.items() if drawn_from(distribution, w)]
    assert fitting == [name]


@pytest.mark.parametrize("name", NAMES)
def test_weights_have_the_shape_and_type_and_follow_the_key(name: str) -> None:
    w = INITIALIZERS[name](jax.random.key(1), (4, 3))
    assert w.shape == (4, 3)
    assert w.dtype == jnp.float32
    assert np.all(np.isfinite(w))
    assert jnp.array_equal(w, INITIALIZERS[name](jax.random.key(1), (4, 3)))
    if name != "zeros":
        assert not jnp.array_equal(w, INITIALIZERS[name](jax.random.key(2), (4, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_float64_where_jax_is(name: str, x64: None) -> None:
    assert INITIALIZERS[name](jax.random.key(1), (4, 3)).dtype == jnp.float64


def test_zeros_are_zeros() -> None:
    assert INITIALIZERS["zeros"](jax.random.key(0), (2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("name", NAMES)
def test_a_bias_is_drawn_only_where_the_inputs_do_not_count(name: str) -> None:
    if name.partition(":")[0] in BIAS_INITIALIZERS:
        check_unscaled(name)
        assert INITIALIZERS[name](jax.random.key(0), (3,)).shape == (3,)
        return
    refused(f"initialiser '{name}' scales with a weight's inputs", check_unscaled, name)


@pytest.mark.parametrize("check", [INITIALIZERS.__getitem__, check_unscaled])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("he_norml", "unknown initialiser 'he_norml': did you mean 'he_normal'? choose one of: "),
        ("normal", "initialiser 'normal' has 0 parameter(s): 'normal' takes deviation"),
        ("uniform:1", r"'uniform' takes low, high"),
        ("uniform:0.1,-0.1", "uniform needs its first bound below its second, given 0.1,-0.1"),
        ("uniform:1,1", "uniform needs its first bound below its second, given 1,1"),
        ("normal:nan", "parameters that are not finite numbers"),
        ("zeros:1", "initialiser 'zeros' takes no parameter"),
    ],
)
def test_wrong_names_are_refused(check: Callable[[str], None], name: str, message: str) -> None:
    refused(message, check, name)
