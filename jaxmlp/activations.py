"""Activations, each beside its derivative.

Values are `jax.nn`'s own where it has them: at a kink "the derivative" means what `jax.grad`
gives for that function. Derivatives are written by hand; each takes the input z
and the output a = σ(z), and uses whichever is cheaper and exact.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmlp.registry import Registry

Elementwise = Float[Array, "..."]


class Activation(NamedTuple):
    """An elementwise function σ and its derivative.

    Example:
        >>> z, tanh = jnp.zeros(2), ACTIVATIONS["tanh"]
        >>> tanh.derivative(z, tanh.value(z)).tolist()
        [1.0, 1.0]
    """

    value: Callable[[Elementwise], Elementwise]  # z -> a = σ(z)
    derivative: Callable[[Elementwise, Elementwise], Elementwise]  # (z, a) -> dσ/dz


def _leaky_relu(slope: float = 0.01) -> Activation:
    # σ = z for z ≥ 0, slope·z below (Maas et al. 2013); σ′(0) = 1
    return Activation(
        value=lambda z: jax.nn.leaky_relu(z, slope),
        derivative=lambda z, a: jnp.where(z >= 0, 1, slope).astype(z.dtype),
    )


def _elu(alpha: float = 1.0) -> Activation:
    # σ = z for z > 0, α(eᶻ − 1) below (Clevert et al. 2016), so σ′ = αeᶻ = a + α below
    return Activation(
        value=lambda z: jax.nn.elu(z, alpha),
        derivative=lambda z, a: jnp.where(z > 0, 1, a + alpha),
    )


def _relu_derivative(z: Elementwise, a: Elementwise) -> Elementwise:
    # σ = max(0, z) (Nair and Hinton 2010); σ′(0) = 0
    return (z > 0).astype(z.dtype)


SELU_SCALE = 1.0507009873554804934193349852946  # λ and λα of Klambauer et al. 2017, section 2
SELU_SATURATION = SELU_SCALE * 1.6732632423543772848170429916717


def _selu_derivative(z: Elementwise, a: Elementwise) -> Elementwise:
    # σ = λz for z > 0, λα(eᶻ − 1) below, so σ′ = λαeᶻ = a + λα below
    return jnp.where(z > 0, SELU_SCALE, a + SELU_SATURATION)


def _gelu_derivative(z: Elementwise, a: Elementwise) -> Elementwise:
    # σ = z·Φ(z) (Hendrycks and Gimpel 2016), so σ′ = Φ(z) + z·φ(z), φ = Φ′ the normal density
    density = jnp.exp(-0.5 * jnp.square(z)) * (0.5 / jnp.pi) ** 0.5
    return 0.5 * jax.lax.erfc(-z * 0.5**0.5) + z * density


def _gelu_tanh_derivative(z: Elementwise, a: Elementwise) -> Elementwise:
    # σ = ½z(1 + t), t = tanh u, u = √(2/π)(z + 0.044715z³), so σ′ = ½(1 + t) + ½z(1 − t²)u′
    slope = (2 / jnp.pi) ** 0.5
    t = jnp.tanh(slope * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * slope * (1 + 3 * 0.044715 * z * z)


def _silu_derivative(z: Elementwise, a: Elementwise) -> Elementwise:
    # σ = z·s, s = sigmoid(z) (Elfwing et al. 2018), so σ′ = s + z·s(1 − s) = s + a(1 − s)
    s = jax.nn.sigmoid(z)
    return s + a * (1 - s)


def _mish_derivative(z: Elementwise, a: Elementwise) -> Elementwise:
    # σ = z·t, t = tanh(softplus z) (Misra 2019), so σ′ = t + z(1 − t²)·sigmoid(z)
    t = jnp.tanh(jax.nn.softplus(z))
    return t + z * (1 - t * t) * jax.nn.sigmoid(z)


SCALED_TANH_HEIGHT, SCALED_TANH_SLOPE = 1.7159, 2 / 3  # LeCun et al. 1998, "Efficient BackProp", section 4.4


def _scaled_tanh(z: Elementwise) -> Elementwise:
    return SCALED_TANH_HEIGHT * jnp.tanh(SCALED_TANH_SLOPE * z)


def _scaled_tanh_derivative(z: Elementwise, a: Elementwise) -> Elementwise:
    # σ = h·tanh(sz), so σ′ = hs(1 − tanh²) = (s/h)(h² − a²)
    return (SCALED_TANH_SLOPE / SCALED_TANH_HEIGHT) * (SCALED_TANH_HEIGHT**2 - a * a)


ACTIVATIONS: Registry[Activation] = Registry(
    "activation",
    {
        "identity": Activation(lambda z: z, lambda z, a: jnp.ones_like(z)),
        "relu": Activation(jax.nn.relu, _relu_derivative),
        # σ = min(max(0, z), 6) (Krizhevsky 2010); σ′(0) = σ′(6) = 0
        "relu6": Activation(jax.nn.relu6, lambda z, a: ((z > 0) & (z < 6)).astype(z.dtype)),
        "selu": Activation(jax.nn.selu, _selu_derivative),
        "gelu": Activation(lambda z: jax.nn.gelu(z, approximate=False), _gelu_derivative),
        "gelu_tanh": Activation(lambda z: jax.nn.gelu(z, approximate=True), _gelu_tanh_derivative),
        "silu": Activation(jax.nn.silu, _silu_derivative),
        "mish": Activation(jax.nn.mish, _mish_derivative),
        # σ = ln(1 + eᶻ), so σ′ = 1/(1 + e⁻ᶻ)
        "softplus": Activation(jax.nn.softplus, lambda z, a: jax.nn.sigmoid(z)),
        # σ = z/(1 + |z|), so σ′ = 1/(1 + |z|)²
        "softsign": Activation(jax.nn.soft_sign, lambda z, a: 1 / jnp.square(1 + jnp.abs(z))),
        # σ = 1/(1 + e⁻ᶻ), so σ′ = a(1 − a)
        "sigmoid": Activation(jax.nn.sigmoid, lambda z, a: a * (1 - a)),
        # σ = tanh z, so σ′ = 1 − a²
        "tanh": Activation(jnp.tanh, lambda z, a: 1 - a * a),
        "scaled_tanh": Activation(_scaled_tanh, _scaled_tanh_derivative),
        # σ = min(max(−1, z), 1); σ′(±1) = 1
        "hard_tanh": Activation(jax.nn.hard_tanh, lambda z, a: (jnp.abs(z) <= 1).astype(z.dtype)),
    },
    {"leaky_relu": _leaky_relu, "elu": _elu},
)
