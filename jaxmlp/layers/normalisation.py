"""Layers that set the outputs of an example, or of a batch, in proportion to one another."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxmlp.layers.layer import Inputs, Outputs, WithoutParams
from jaxmlp.types import Params, Residuals


@dataclass(frozen=True)
class Softmax(WithoutParams):
    """A layer that turns logits into probabilities: outputs = exp(inputs) / Σ exp(inputs), row by row.

    With `negative_log_likelihood` it is the unfused partner of `softmax_cross_entropy`, which is
    the pair to prefer: it cannot underflow.

    Example:
        >>> outputs, _ = Softmax().forward((), jnp.zeros((1, 4)))
        >>> outputs.tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # p = exp(z) / Σ_j exp(z_j)
        probabilities = jax.nn.softmax(inputs, axis=1)
        return probabilities, probabilities

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        # ∂E/∂z = (diag(p) − p·pᵀ)·g = p ⊙ (g − ⟨p, g⟩), g = ∂E/∂p
        probabilities = residuals
        mean_grad = jnp.sum(probabilities * output_grad, axis=1, keepdims=True)
        return (), probabilities * (output_grad - mean_grad)
