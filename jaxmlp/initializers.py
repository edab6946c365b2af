"""Initialisers by name: `jax.nn.initializers`' own.

Those named after people scale with the layer's inputs I and outputs O. Their normal distributions are cut off
at two standard deviations and widened to keep the variance.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jaxtyping import Array, Float

from jaxmlp.registry import Registry
from jaxmlp.types import ArgumentError, Key

Initializer: TypeAlias = Callable[[Key, tuple[int, ...]], Float[Array, "..."]]


def _normal(deviation: float) -> Initializer:
    return initializers.normal(deviation)


def _uniform(low: float, high: float) -> Initializer:
    if not low < high:
        raise ArgumentError(f"uniform needs its first bound below its second, given {low:g},{high:g}")
    return lambda key, shape: jax.random.uniform(key, shape, minval=low, maxval=high)


INITIALIZERS: Registry[Initializer] = Registry(
    "initialiser",
    {
        "he_normal": initializers.he_normal(),  # variance 2/I (He et al. 2015)
        "he_uniform": initializers.he_uniform(),
        "glorot_normal": initializers.glorot_normal(),  # variance 2/(I + O) (Glorot and Bengio 2010)
        "glorot_uniform": initializers.glorot_uniform(),
        "lecun_normal": initializers.lecun_normal(),  # variance 1/I (LeCun et al. 1998)
        "zeros": lambda key, shape: jnp.zeros(shape),
    },
    {"normal": _normal, "uniform": _uniform},
)


# Those that do not scale with a weight's inputs, and can draw a bias too.
BIAS_INITIALIZERS = ("normal", "uniform", "zeros")


def check_unscaled(name: str, use: str = "draw a bias") -> None:
    """Raise an ArgumentError unless an initialiser of this name is for a use that has no number of inputs."""
    INITIALIZERS[name]
    if name.partition(":")[0] not in BIAS_INITIALIZERS:
        raise ArgumentError(
            f"initialiser '{name}' scales with a weight's inputs and cannot {use}: "
            f"choose one of {', '.join(BIAS_INITIALIZERS)}"
        )
