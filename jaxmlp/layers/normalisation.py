"""Layers that set the outputs of an example, or of a batch, in proportion to one another."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxmlp.layers.layer import Inputs, Outputs, Weight, WithoutParams, example_shares
from jaxmlp.types import Key, Params, Residuals


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


class NormParams(NamedTuple):
    """The parameters of a `LayerNorm` or a `BatchNorm`."""

    scale: Any  # γ, [I]
    bias: Any  # β, [I]
    mean: Any = None  # of the population, [I]; None in a `LayerNorm`
    variance: Any = None  # likewise


class _Norm:
    """What both norms do once they know mean and variance, and the way back through these."""

    axis: ClassVar[int]  # that μ and v are taken over
    eps: float

    def _outputs(
        self, params: Params, inputs: Inputs, mean: Array, variance: Array, shares: Any
    ) -> tuple[Outputs, Residuals]:
        # x̂ = (x − μ)/√(v + ε),  y = γ ⊙ x̂ + β
        inverse = jax.lax.rsqrt(variance + self.eps)
        normal = (inputs - mean) * inverse
        return params.scale[None, :] * normal + params.bias[None, :], (normal, inverse, shares)

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        normal, inverse, shares = residuals
        # ∂E/∂γ = Σ_b ∂E/∂y_b ⊙ x̂_b,  ∂E/∂β = Σ_b ∂E/∂y_b;  what is measured has none
        grads = jax.tree.map(jnp.zeros_like, params)._replace(
            scale=jnp.sum(output_grad * normal, axis=0), bias=jnp.sum(output_grad, axis=0)
        )
        # ∂E/∂x = g/√(v + ε),  g = γ ⊙ ∂E/∂y
        g = params.scale[None, :] * output_grad
        if shares is not None:
            # where μ = Σ s·x and v = Σ s·(x − μ)² depend on x:  g − s·Σ g − s·x̂·Σ (g ⊙ x̂)
            total, along = (jnp.sum(terms, axis=self.axis, keepdims=True) for terms in (g, g * normal))
            g = g - shares * (total + normal * along)
        return grads, inverse * g


@dataclass(frozen=True)
class LayerNorm(_Norm):
    """A layer that brings each example to mean 0 and variance 1: outputs = γ ⊙ (x − μ)/√(v + ε) + β.

    μ and v are the mean and variance of the example's own inputs (Ba, Kiros and Hinton 2016).

    Args:
        eps: ε, which keeps an example of equal inputs finite.

    Example:
        >>> layer = LayerNorm()
        >>> layer.forward(layer.init(jax.random.key(0), 2)[0], jnp.array([[1.0, 3.0]]))[0].round(3).tolist()
        [[-1.0, 1.0]]
    """

    eps: float = 1e-5
    axis: ClassVar[int] = 1

    def init(self, key: Key, in_features: int) -> tuple[NormParams, int]:
        return NormParams(jnp.ones(in_features), jnp.zeros(in_features)), in_features

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # μ and v over the columns of a row, each with a share of 1/I
        mean, variance = (find(inputs, axis=1, keepdims=True) for find in (jnp.mean, jnp.var))
        return self._outputs(
            params, inputs, mean, variance, jnp.full((1, 1), 1 / inputs.shape[1], mean.dtype)
        )

    def kinds(self, params: NormParams) -> NormParams:
        return NormParams("scale", "bias")


@dataclass(frozen=True)
class BatchNorm(_Norm):
    """A layer that brings each column to mean 0 and variance 1: outputs = γ ⊙ (x − μ)/√(v + ε) + β.

    In training μ and v are those of the batch, each example counted by its weight. At inference they are those of
    the population, which `calibrate` measures on the training data (Ioffe and Szegedy 2015, algorithm 2).

    Args:
        eps: ε, which keeps a constant column finite.

    Example:
        >>> layer = BatchNorm()
        >>> params, _ = layer.init(jax.random.key(0), 1)
        >>> layer.forward(params, jnp.array([[1.0], [3.0]]), train=True)[0].round(3).tolist()
        [[-1.0], [1.0]]
    """

    eps: float = 1e-5
    axis: ClassVar[int] = 0

    def init(self, key: Key, in_features: int) -> tuple[NormParams, int]:
        ones, zeros = jnp.ones(in_features), jnp.zeros(in_features)
        return NormParams(scale=ones, bias=zeros, mean=zeros, variance=ones), in_features

    def forward(
        self, params: Params, inputs: Inputs, *, train: bool = False, weight: Any = None, **training: Any
    ) -> tuple[Outputs, Residuals]:
        if train:
            params = self.calibrate(params, inputs, weight)
            shares = example_shares(weight, inputs)[:, None]
        else:
            shares = None
            # What is measured has no gradient.
            mean, variance = jax.lax.stop_gradient((params.mean, params.variance))
            params = params._replace(mean=mean, variance=variance)
        return self._outputs(params, inputs, params.mean[None, :], params.variance[None, :], shares)

    def calibrate(self, params: NormParams, inputs: Inputs, weight: Weight | None = None) -> NormParams:
        """Set mean and variance to those of some examples: μ = Σ_b s_b·x_b, v = Σ_b s_b·(x_b − μ)²."""
        shares = example_shares(weight, inputs)[:, None]
        mean = jnp.sum(shares * inputs, axis=0)
        variance = jnp.sum(shares * jnp.square(inputs - mean[None, :]), axis=0)
        return params._replace(mean=mean, variance=variance)

    def kinds(self, params: NormParams) -> NormParams:
        return NormParams("scale", "bias", "statistic", "statistic")
