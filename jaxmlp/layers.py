"""Layers: frozen dataclasses of static settings, each with `forward` directly above its `backward`."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxmlp.activations import ACTIVATIONS
from jaxmlp.initializers import INITIALIZERS, check_bias_initializer
from jaxmlp.registry import Registry, unknown_name
from jaxmlp.types import Key, Params, Residuals, check_whole

Inputs: TypeAlias = Float[Array, "B I"]
Outputs: TypeAlias = Float[Array, "B O"]
Weight: TypeAlias = Float[Array, "B"]

PRECISIONS = ("float32", "tensorfloat32", "bfloat16", None)


@runtime_checkable
class Layer(Protocol):
    """What every layer offers; any frozen dataclass with these methods can stand in a `Network`.

    A layer's parameters live outside it, in a pytree. `init` draws them and says how many outputs the
    layer has. `forward` maps inputs [B, I] to outputs [B, O], and keeps as residuals what `backward` needs.
    `train`, `key` and `weight` [B] matter only to layers that behave differently in training; rows of weight 0
    take no part in batch statistics. `backward` takes the objective's gradient with respect to the outputs
    [B, O], and returns those with respect to the parameters (like them) and to the inputs [B, I].
    `decayed` marks, in a tree of bools like the parameters, the leaves that L2 acts on.
    """

    def init(self, key: Key, in_features: int) -> tuple[Params, int]: ...

    def forward(
        self,
        params: Params,
        inputs: Inputs,
        *,
        train: bool = False,
        key: Key | None = None,
        weight: Weight | None = None,
    ) -> tuple[Outputs, Residuals]: ...

    def backward(
        self, params: Params, residuals: Residuals, output_grad: Outputs
    ) -> tuple[Params, Inputs]: ...

    def decayed(self, params: Params) -> Params: ...


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
    """A fully connected layer: outputs = inputs·w + b.

    Args:
        features: O, the number of outputs, at least 1.
        bias: whether b is there.
        weight_init: initialiser of w, by name.
        bias_init: initialiser of b, by name.
        precision: how the layer's matrix products are computed where the hardware offers a choice:
            "float32" in full, or the faster "tensorfloat32" and "bfloat16"; None leaves it to JAX.

    Raises:
        ArgumentError: `features` is not a positive integer, or an initialiser is not known.

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

    def __post_init__(self) -> None:
        if isinstance(self.features, np.integer):
            object.__setattr__(self, "features", int(self.features))
        check_whole("a layer's size", self.features)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", str(self.precision), filter(None, PRECISIONS))
        INITIALIZERS[self.weight_init]  # raises for an unknown name
        check_bias_initializer(self.bias_init)

    def init(self, key: Key, in_features: int) -> tuple[DenseParams, int]:
        weight_key, bias_key = jax.random.split(key)
        w = INITIALIZERS[self.weight_init](weight_key, (in_features, self.features))
        b = INITIALIZERS[self.bias_init](bias_key, (self.features,)) if self.bias else None
        return DenseParams(w, b), self.features

    def forward(self, params: DenseParams, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # z = x·w + b
        outputs = jnp.matmul(inputs, params.w, precision=self.precision)
        if params.b is not None:
            outputs = outputs + params.b[None, :]
        return outputs, inputs

    def backward(
        self, params: DenseParams, residuals: Residuals, output_grad: Outputs
    ) -> tuple[DenseParams, Inputs]:
        # ∂E/∂w = xᵀ·∂E/∂z
        w_grad = weight_gradient(residuals, output_grad, precision=self.precision)
        # ∂E/∂b = Σ_b ∂E/∂z_b
        b_grad = None if params.b is None else jnp.sum(output_grad, axis=0)
        # ∂E/∂x = ∂E/∂z·wᵀ
        input_grad = jnp.matmul(output_grad, params.w.T, precision=self.precision)
        return DenseParams(w_grad, b_grad), input_grad

    def decayed(self, params: DenseParams) -> DenseParams:
        return DenseParams(w=True, b=None if params.b is None else False)


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


@dataclass(frozen=True)
class Activate:
    """A layer that applies an activation to each of its inputs: outputs = σ(inputs).

    Args:
        activation: an activation's name, with its parameter where it takes one ("leaky_relu:0.1").

    Raises:
        ArgumentError: the name is not known.

    Example:
        >>> outputs, _ = Activate("relu").forward((), jnp.array([[-1.0, 2.0]]))
        >>> outputs.tolist()
        [[0.0, 2.0]]
    """

    activation: str

    def __post_init__(self) -> None:
        ACTIVATIONS[self.activation]  # raises for an unknown name

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        return (), in_features

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # a = σ(z)
        outputs = ACTIVATIONS[self.activation].value(inputs)
        return outputs, (inputs, outputs)

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        # ∂E/∂z = ∂E/∂a ⊙ σ′(z)
        return (), output_grad * ACTIVATIONS[self.activation].derivative(*residuals)

    def decayed(self, params: Params) -> Params:
        return ()


@dataclass(frozen=True)
class Softmax:
    """A layer that turns logits into probabilities: outputs = exp(inputs) / Σ exp(inputs), row by row.

    With `negative_log_likelihood` it is the unfused partner of `softmax_cross_entropy`, which is
    the pair to prefer: it cannot underflow.

    Example:
        >>> outputs, _ = Softmax().forward((), jnp.zeros((1, 4)))
        >>> outputs.tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        return (), in_features

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # p = exp(z) / Σ_j exp(z_j)
        probabilities = jax.nn.softmax(inputs, axis=1)
        return probabilities, probabilities

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        # ∂E/∂z = (diag(p) − p·pᵀ)·g = p ⊙ (g − ⟨p, g⟩), g = ∂E/∂p
        probabilities = residuals
        mean_grad = jnp.sum(probabilities * output_grad, axis=1, keepdims=True)
        return (), probabilities * (output_grad - mean_grad)

    def decayed(self, params: Params) -> Params:
        return ()


LAYERS: Registry[type] = Registry("layer", {"Dense": Dense, "Activate": Activate, "Softmax": Softmax})
