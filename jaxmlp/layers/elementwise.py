"""Layers that treat each of their inputs by itself."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmlp.activations import ACTIVATIONS
from jaxmlp.layers.layer import Inputs, Outputs, WithoutParams
from jaxmlp.types import Key, Params, Residuals

Factors: TypeAlias = Float[Array, "I"]


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

    def init(self, key: Key, in_features: int) -> tuple[Factors, int]:
        return jnp.ones(in_features), in_features

    def forward(self, params: Factors, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # y = s ⊙ x
        return params[None, :] * inputs, inputs

    def backward(self, params: Factors, residuals: Residuals, output_grad: Outputs) -> tuple[Factors, Inputs]:
        # ∂E/∂s = Σ_b ∂E/∂y_b ⊙ x_b
        s_grad = jnp.sum(output_grad * residuals, axis=0)
        # ∂E/∂x = s ⊙ ∂E/∂y
        return s_grad, params[None, :] * output_grad

    def kinds(self, params: Factors) -> Any:
        return "scale"
