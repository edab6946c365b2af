"""The fully connected layer."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxmlp.initializers import INITIALIZERS, check_unscaled
from jaxmlp.layers.layer import Inputs, Outputs
from jaxmlp.registry import unknown_name
from jaxmlp.types import Key, Residuals, check_whole

PRECISIONS = ("float32", "tensorfloat32", "bfloat16", None)
PARAMETRISATIONS = ("standard", "ntk")
MIXED = 5  # examples whose mixture an initial bias is taken from


class DenseParams(NamedTuple):
    """The parameters of a `Dense` layer.

    Example:
        >>> DenseParams(jnp.ones((2, 3)), jnp.zeros(3)).b.tolist()
        [0.0, 0.0, 0.0]
    """

    w: Any  # weight, [I, O]
    b: Any = None  # bias, [O], or None where the layer has none


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: outputs = c·inputs·w + b.

    c is 1, or 1/√I in the neural tangent parametrisation (Jacot, Gabriel and Hongler 2018). There weights are of
    size 1 and one learning rate, some tens of times the usual one, serves layers of every width.

    Args:
        features: O, the number of outputs, at least 1.
        bias: whether b is there.
        weight_init: initialiser of w, by name.
        bias_init: initialiser of b, by name.
        precision: how the layer's matrix products are computed where the hardware offers a choice:
            "float32" in full, or the faster "tensorfloat32" and "bfloat16"; None leaves it to JAX.
        parametrisation: "standard", or "ntk", which wants a `weight_init` such as "normal:1".

    Raises:
        ArgumentError: `features` is not a positive integer, a name is not known, or the initialiser of the
            weights scales with their inputs as the parametrisation does.

    Example:
        >>> layer = Dense(3)
        >>> params, features = layer.init(jax.random.key(0), 2)
        >>> outputs, residuals = layer.forward(params, jnp.ones((4, 2)))
        >>> outputs.shape, features
        ((4, 3), 3)
    """

    features: int
    bias: bool = True
    weight_init: str = "he_normal"
    bias_init: str = "zeros"
    precision: str | None = "float32"
    parametrisation: str = "standard"

    def __post_init__(self) -> None:
        if isinstance(self.features, np.integer):
            object.__setattr__(self, "features", int(self.features))
        check_whole("a layer's size", self.features)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", str(self.precision), filter(None, PRECISIONS))
        INITIALIZERS[self.weight_init]  # raises for an unknown name
        if self.parametrisation not in PARAMETRISATIONS:
            raise unknown_name("parametrisation", str(self.parametrisation), PARAMETRISATIONS)
        if self.parametrisation == "ntk":
            check_unscaled(self.weight_init, "draw weights of parametrisation 'ntk'")
        check_unscaled(self.bias_init)

    @property
    def title(self) -> str:
        return "dense" if self.bias else "dense, no bias"

    def init(self, key: Key, in_features: int) -> tuple[DenseParams, int]:
        weight_key, bias_key = jax.random.split(key)
        w = INITIALIZERS[self.weight_init](weight_key, (in_features, self.features))
        b = INITIALIZERS[self.bias_init](bias_key, (self.features,)) if self.bias else None
        return DenseParams(w, b), self.features

    def factor(self, params: DenseParams) -> float:
        """Say what the product is multiplied by: c."""
        return 1 / math.sqrt(params.w.shape[0]) if self.parametrisation == "ntk" else 1.0

    def forward(self, params: DenseParams, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # z = c·x·w + b
        outputs = self.factor(params) * jnp.matmul(inputs, params.w, precision=self.precision)
        if params.b is not None:
            outputs = outputs + params.b[None, :]
        return outputs, inputs

    def backward(
        self, params: DenseParams, residuals: Residuals, output_grad: Outputs
    ) -> tuple[DenseParams, Inputs]:
        scaled = self.factor(params) * output_grad
        # ∂E/∂w = c·xᵀ·∂E/∂z
        w_grad = weight_gradient(residuals, scaled, precision=self.precision)
        # ∂E/∂b = Σ_b ∂E/∂z_b
        b_grad = None if params.b is None else jnp.sum(output_grad, axis=0)
        # ∂E/∂x = c·∂E/∂z·wᵀ
        input_grad = jnp.matmul(scaled, params.w.T, precision=self.precision)
        return DenseParams(w_grad, b_grad), input_grad

    def init_from_data(self, params: DenseParams, key: Key, inputs: Inputs) -> DenseParams:
        """Fit drawn parameters to examples: w to z of deviation 1, b to minus a mixture of examples' z."""
        z, _ = self.forward(params._replace(b=None), inputs)
        deviation = jnp.std(z, axis=0)
        # A unit that is constant but for rounding keeps its weights.
        rounding = 100 * jnp.finfo(z.dtype).eps * jnp.max(jnp.abs(z), axis=0)
        scale = 1 / jnp.where(deviation > rounding, deviation, 1)
        fitted = params._replace(w=params.w * scale[None, :])
        if params.b is None:
            return fitted
        # b_o = −Σ_j c_jo·z of example j, 5 drawn for each unit; c is uniform among shares with a sum of 1
        example_key, share_key = jax.random.split(key)
        drawn = jax.random.randint(example_key, (MIXED, self.features), 0, len(z))
        shares = jax.random.exponential(share_key, drawn.shape, z.dtype)
        mixture = jnp.sum(shares * jnp.take_along_axis(z, drawn, axis=0), axis=0) / jnp.sum(shares, axis=0)
        return fitted._replace(b=-scale * mixture)

    def kinds(self, params: DenseParams) -> DenseParams:
        return DenseParams("weight", None if params.b is None else "bias")


# Up to so many outputs XLA's product on a CPU is faster the other way round: with B = 128, I = 512 and O = 10 it
# takes 15 µs, not 187 (jaxlib 0.10.2, 2 cores of an AMD EPYC). From O = 64 on it is slower.
NARROW = 32


def weight_gradient(
    inputs: Float[Array, "B I"], output_grad: Float[Array, "B O"], *, precision: str | None = "float32"
) -> Float[Array, "I O"]:
    """Multiply as `Dense.backward` does: (xᵀ·δ)_io = Σ_b x_bi·δ_bo."""

    def direct(x: Array, delta: Array) -> Array:
        return jnp.matmul(x.T, delta, precision=precision)

    def the_other_way_round(x: Array, delta: Array) -> Array:
        # (δᵀ·x)ᵀ; without the barriers XLA turns it back into xᵀ·δ.
        product = jnp.matmul(jax.lax.optimization_barrier(delta.T), x, precision=precision)
        return jax.lax.optimization_barrier(product).T

    if output_grad.shape[1] > NARROW:
        return direct(inputs, output_grad)
    return jax.lax.platform_dependent(inputs, output_grad, cpu=the_other_way_round, default=direct)
