"""Layers that join what other layers make: a stack added to its inputs, the largest of several units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jaxmlp.layers.layer import (
    Inputs,
    Layer,
    Outputs,
    WithLayers,
    WithoutParams,
    backward_layers,
    draw_layers,
    forward_layers,
    layer_title,
)
from jaxmlp.types import ArgumentError, Key, Params, Residuals, check_whole


@dataclass(frozen=True)
class Residual(WithLayers):
    """A stack of layers added to its inputs: outputs = inputs + layers(inputs) (He et al. 2016).

    Args:
        layers: the layers in order, with as many outputs at the end as inputs; any sequence, kept as a tuple.

    Raises:
        ArgumentError: there is no layer, something is not one, or they do not end in as many features as they
            begin with.

    Example:
        >>> from jaxmlp.layers import Activate
        >>> outputs, _ = Residual([Activate("relu")]).forward(((),), jnp.array([[-1.0, 2.0]]))
        >>> outputs.tolist()
        [[-1.0, 4.0]]
    """

    layers: Sequence[Layer]

    @property
    def title(self) -> str:
        return f"residual: {', '.join(map(layer_title, self.layers))}"

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        params, widths = draw_layers(self.layers, key, in_features)
        if widths[-1] != in_features:
            raise ArgumentError(
                f"the layers of a residual must end in as many features as they begin with, {in_features}: "
                f"given {widths[-1]}; end them in Dense({in_features})"
            )
        return params, in_features

    def forward(
        self, params: Params, inputs: Inputs, *, key: Key | None = None, **training: Any
    ) -> tuple[Outputs, Residuals]:
        # y = x + f(x)
        x, residuals = forward_layers(self.layers, params, inputs, key, **training)
        return inputs + x, residuals

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        # ∂E/∂x = ∂E/∂y + f′(x)ᵀ·∂E/∂y
        grads, delta = backward_layers(self.layers, params, residuals, output_grad)
        return grads, output_grad + delta

    def kinds(self, params: Params) -> Params:
        return tuple(map(lambda layer, own: layer.kinds(own), self.layers, params))


@dataclass(frozen=True)
class Maxout(WithoutParams):
    """A layer that takes the largest of every few inputs: output o = max of inputs o·k … o·k + k − 1.

    Behind a dense layer of k·O outputs it makes O units, each the largest of k lines (Goodfellow et al. 2013). Where
    inputs tie they share the gradient, as `jax.grad` of a maximum has it.

    Args:
        pieces: k, at least 2.

    Raises:
        ArgumentError: k is no such number, or does not divide the number of inputs.

    Example:
        >>> Maxout(2).forward((), jnp.array([[1.0, 3.0, -2.0, -5.0]]))[0].tolist()
        [[3.0, -2.0]]
    """

    pieces: int = 2

    def __post_init__(self) -> None:
        check_whole("a maxout's number of pieces", self.pieces, 2)

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        if in_features % self.pieces:
            raise ArgumentError(
                f"a maxout of {self.pieces} pieces needs a multiple as inputs, given {in_features}"
            )
        return (), in_features // self.pieces

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        # y_o = max_k x_ok
        grouped = inputs.reshape(len(inputs), -1, self.pieces)
        outputs = jnp.max(grouped, axis=2)
        is_largest = (grouped == outputs[:, :, None]).astype(inputs.dtype)
        return outputs, is_largest / jnp.sum(is_largest, axis=2, keepdims=True)

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        # ∂E/∂x_ok = ∂E/∂y_o where x_ok is the largest, shared among those that tie
        return (), (residuals * output_grad[:, :, None]).reshape(len(output_grad), -1)
