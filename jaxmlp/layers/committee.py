"""A committee: networks side by side on the same inputs, each trained by itself, whose predictions are averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmlp.layers.embedding import PeriodicEmbedding
from jaxmlp.layers.layer import (
    Inputs,
    Layer,
    WithLayers,
    backward_layers,
    draw_layers,
    forward_layers,
)
from jaxmlp.registry import unknown_name
from jaxmlp.types import Key, Params, Residuals, check_whole

AVERAGES = ("probabilities", "values")


@dataclass(frozen=True)
class Committee(WithLayers):
    """M stacks of layers on the same inputs: in training their outputs [B, M, K], at inference the average [B, K].

    In training each member learns by itself: the objective is the mean of the members' losses. Members differ in what
    they draw, and in the initial frequencies of a `PeriodicEmbedding`. With the average "probabilities" the outputs
    are the logits of the mean of the members' softmax, log(1/M · Σ_m p_m); with "values" they are 1/M · Σ_m z_m.
    It ends a network.

    Args:
        layers: one member's layers, in order; any sequence, kept as a tuple.
        members: M, at least 1.
        average: "probabilities" of logits, or "values".
        sigmas: the standard deviations of the members' initial frequencies, taken in turn; () leaves the layers' own.

    Raises:
        ArgumentError: there is no layer, something is not one, or M or the average are not among those allowed.

    Example:
        >>> from jaxmlp.layers import Dense
        >>> committee = Committee([Dense(3)], members=4, average="values")
        >>> params, features = committee.init(jax.random.key(0), 2)
        >>> features, *(committee.forward(params, jnp.ones((5, 2)), train=train)[0].shape for train in (True, False))
        (3, (5, 4, 3), (5, 3))
    """

    layers: Sequence[Layer]
    members: int = 4
    average: str = "probabilities"
    sigmas: Sequence[float] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sigmas", tuple(self.sigmas))
        check_whole("a committee's number of members", self.members)
        if self.average not in AVERAGES:
            raise unknown_name("average of a committee", str(self.average), AVERAGES)

    @property
    def title(self) -> str:
        return f"committee of {self.members}"

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        widths: list[int] = []

        def draw(member_key: Key) -> Params:
            params, found = draw_layers(self.layers, member_key, in_features)
            widths.extend(found)
            return params

        params = list(jax.vmap(draw)(jax.random.split(key, self.members)))
        for place, layer in enumerate(self.layers):
            if self.sigmas and isinstance(layer, PeriodicEmbedding):
                factors = jnp.resize(jnp.array(self.sigmas), (self.members,)) / layer.sigma
                params[place] = params[place]._replace(w1=factors[:, None, None] * params[place].w1)
        return tuple(params), widths[-1]

    def forward(
        self, params: Params, inputs: Inputs, *, key: Key | None = None, train: bool = False, **training: Any
    ) -> tuple[Float[Array, "B ..."], Residuals]:
        def one(own: Params, own_key: Any) -> tuple[Array, Residuals]:
            return forward_layers(self.layers, own, inputs, own_key, train=train, **training)

        keys = None if key is None else jax.random.split(key, self.members)
        outputs, residuals = jax.vmap(one, out_axes=(1, 0))(params, keys)
        if train:
            return outputs, (residuals, None)
        if self.average == "values":
            # y = 1/M · Σ_m z_m
            return jnp.mean(outputs, axis=1), (residuals, outputs)
        # y = log(1/M · Σ_m p_m),  p_m = softmax(z_m)
        log_p = jax.nn.log_softmax(outputs, axis=2)
        return jax.nn.logsumexp(log_p, axis=1) - jnp.log(self.members), (residuals, log_p)

    def backward(
        self, params: Params, residuals: Residuals, output_grad: Float[Array, "B ..."]
    ) -> tuple[Params, Inputs]:
        kept, averaged = residuals
        if averaged is not None:
            output_grad = self._average_backward(averaged, output_grad)

        one = partial(backward_layers, self.layers)
        grads, deltas = jax.vmap(one, in_axes=(0, 0, 1))(params, kept, output_grad)
        # ∂E/∂x = Σ_m ∂E/∂x of member m
        return grads, jnp.sum(deltas, axis=0)

    def _average_backward(self, averaged: Array, output_grad: Array) -> Array:
        if self.average == "values":
            # ∂E/∂z_m = 1/M · ∂E/∂y
            return jnp.broadcast_to(output_grad[:, None] / self.members, averaged.shape)
        # ∂E/∂log p_mk = r_mk·∂E/∂y_k,  r_mk = p_mk / Σ_j p_jk
        log_p_grad = jax.nn.softmax(averaged, axis=1) * output_grad[:, None]
        # ∂E/∂z_m = g_m − p_m · Σ_k g_mk,  g_m = ∂E/∂log p_m
        return log_p_grad - jnp.exp(averaged) * jnp.sum(log_p_grad, axis=2, keepdims=True)

    def kinds(self, params: Params) -> Params:
        return tuple(map(lambda layer, own: layer.kinds(own), self.layers, params))
