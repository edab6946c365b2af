"""Layers that treat each of their inputs by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmlp.activations import ACTIVATIONS
from jaxmlp.layers.layer import Inputs, Outputs, WithoutParams
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError, Key, Params, Residuals, Scalar


@dataclass(frozen=True)
class Activate(WithoutParams):
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

    @property
    def title(self) -> str:
        return self.activation

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # a = σ(z)
        outputs = ACTIVATIONS[self.activation].value(inputs)
        return outputs, (inputs, outputs)

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        # ∂E/∂z = ∂E/∂a ⊙ σ′(z)
        return (), output_grad * ACTIVATIONS[self.activation].derivative(*residuals)


@dataclass(frozen=True)
class Scale:
    """A layer that multiplies each of its inputs by a learnt factor: outputs = s ⊙ inputs.

    s begins at 1. In front of the first dense layer, with a high learning rate, it chooses among the columns of a
    table (Holzmüller, Grinsztajn and Steinwart 2024).

    Example:
        >>> outputs, _ = Scale().forward(jnp.array([2.0, 3.0]), jnp.array([[1.0, 1.0]]))
        >>> outputs.tolist()
        [[2.0, 3.0]]
    """

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        return jnp.ones(in_features), in_features

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # y = s ⊙ x
        return params[None, :] * inputs, inputs

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        # ∂E/∂s = Σ_b ∂E/∂y_b ⊙ x_b
        s_grad = jnp.sum(output_grad * residuals, axis=0)
        # ∂E/∂x = s ⊙ ∂E/∂y
        return s_grad, params[None, :] * output_grad

    def kinds(self, params: Params) -> Any:
        return "scale"


@dataclass(frozen=True)
class ParametricActivate:
    """An activation of learnt strength: outputs = x + (σ(x) − x) ⊙ α, one α a unit.

    α begins at 1, where the layer is the activation; at 0 it lets its inputs through (Holzmüller, Grinsztajn and
    Steinwart 2024).

    Args:
        activation: an activation's name, as in `Activate`.

    Raises:
        ArgumentError: the name is not known.

    Example:
        >>> outputs, _ = ParametricActivate("relu").forward(jnp.array([1.0, 0.5]), jnp.array([[-2.0, -2.0]]))
        >>> outputs.tolist()
        [[0.0, -1.0]]
    """

    activation: str

    def __post_init__(self) -> None:
        ACTIVATIONS[self.activation]  # raises for an unknown name

    @property
    def title(self) -> str:
        return f"parametric {self.activation}"

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        return jnp.ones(in_features), in_features

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # y = x + (σ(x) − x) ⊙ α
        activated = ACTIVATIONS[self.activation].value(inputs)
        return inputs + (activated - inputs) * params[None, :], (inputs, activated)

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        inputs, activated = residuals
        # ∂E/∂α = Σ_b ∂E/∂y_b ⊙ (σ(x_b) − x_b)
        strength_grad = jnp.sum(output_grad * (activated - inputs), axis=0)
        # ∂E/∂x = ∂E/∂y ⊙ (1 + (σ′(x) − 1) ⊙ α)
        slope = ACTIVATIONS[self.activation].derivative(inputs, activated)
        return strength_grad, output_grad * (1 + (slope - 1) * params[None, :])

    def kinds(self, params: Params) -> Any:
        return "activation"


def flat_cos(progress: Any) -> Scalar:
    """Stay at 1 for the first half of training, then fall to 0 along half a cosine."""
    return 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.clip(2 * progress - 1, 0, 1))


RATE_SCHEDULES: dict[str, Callable[[Any], Any]] = {"constant": lambda _: 1.0, "flat_cos": flat_cos}


@dataclass(frozen=True)
class Dropout(WithoutParams):
    """A layer that drops each input with probability p in training: outputs = m ⊙ inputs, m 0 or 1/(1 − p).

    Dividing by 1 − p keeps the mean; at inference the layer does nothing (Srivastava et al. 2014).

    Args:
        rate: p, at least 0 and below 1; each batch takes a 256th just above or below it, right on average.
        schedule: what p is multiplied by as training goes on: "constant" for 1, or "flat_cos", which stays at 1
            for the first half and then falls to 0 along half a cosine.

    Raises:
        ArgumentError: the rate lies outside, the schedule is not known, or training gives no random key.

    Example:
        >>> outputs, _ = Dropout(0.5).forward((), jnp.ones((1, 6)), train=True, key=jax.random.key(0))
        >>> sorted({*outputs[0].tolist()})
        [0.0, 2.0]
    """

    rate: float
    schedule: str = "constant"

    def __post_init__(self) -> None:
        if isinstance(self.rate, str) or not 0 <= self.rate < 1:
            raise ArgumentError(f"a dropout rate must be at least 0 and below 1, given {self.rate!r}")
        if self.schedule not in RATE_SCHEDULES:
            raise unknown_name("schedule of a dropout rate", str(self.schedule), RATE_SCHEDULES)

    @property
    def scheduled(self) -> bool:
        return self.schedule != "constant"

    def forward(
        self, params: Params, inputs: Inputs, *, train: bool = False, key: Key | None = None, **training: Any
    ) -> tuple[Outputs, Residuals]:
        if not train or self.rate == 0:
            return inputs, None
        if key is None:
            raise ArgumentError("dropout draws in training and was given no key: give key=jax.random.key(0)")
        progress = training.get("progress")
        factor = RATE_SCHEDULES[self.schedule](0.0 if progress is None else progress)
        kept = 1 - jnp.asarray(self.rate * factor, inputs.dtype)
        # y = m ⊙ x,  m = Bernoulli(1 − p)/(1 − p)
        mask = _mask(key, kept, inputs.shape)
        return mask * inputs, mask

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        # ∂E/∂x = m ⊙ ∂E/∂y
        return (), output_grad if residuals is None else residuals * output_grad


def _mask(key: Key, kept: Scalar, shape: tuple[int, ...]) -> Float[Array, "B I"]:
    """Draw m from a byte each, which takes a fifth of the time of `jax.random.bernoulli`."""
    round_key, byte_key = jax.random.split(key)
    # 1 − p in 256ths, rounded up or down at random
    of_256 = jnp.maximum(jnp.floor(256 * kept + jax.random.uniform(round_key, (), kept.dtype)), 1)
    words = jax.random.bits(byte_key, (shape[0], -(-shape[1] // 4)), "uint32")
    drawn = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(shape[0], -1)[:, : shape[1]]
    return (drawn.astype(kept.dtype) < of_256).astype(kept.dtype) * (256 / of_256)
