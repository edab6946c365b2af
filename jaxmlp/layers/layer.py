"""The layer: what everything that stands in a `Network` offers."""

import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmlp.types import ArgumentError, Key, Params, Progress, Residuals, Scalar

Inputs: TypeAlias = Float[Array, "B I"]
Outputs: TypeAlias = Float[Array, "B O"]
Weight: TypeAlias = Float[Array, "B"]


@runtime_checkable
class Layer(Protocol):
    """What every layer offers; any frozen dataclass with these methods can stand in a `Network`.

    A layer's parameters live outside it, in a pytree. `init` draws them and says how many outputs the
    layer has. `forward` maps inputs [B, I] to outputs [B, O], and keeps as residuals what `backward` needs.
    `train`, `key`, `weight` [B] and `progress` matter only to layers that behave differently in training. Rows of
    weight 0 take no part in batch statistics. `progress` says how far training is, from 0 to 1; None stands for 0,
    and a layer that asks for it has a true `scheduled`. `backward` takes the objective's gradient with respect to
    the outputs [B, O], and returns those with respect to the parameters (like them) and to the inputs [B, I].
    `kinds` names, in a tree like the parameters, what each leaf is: "weight" (L2 acts on these), "bias", "scale",
    "activation", "embedding" or "statistic" (measured and not learnt: its gradient is 0).
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
        progress: Progress = None,
    ) -> tuple[Outputs, Residuals]: ...

    def backward(
        self, params: Params, residuals: Residuals, output_grad: Outputs
    ) -> tuple[Params, Inputs]: ...

    def kinds(self, params: Params) -> Params: ...


def check_layers(layers: Sequence[Any]) -> None:
    """Raise an ArgumentError unless all that is given are layers."""
    for layer in layers:
        if isinstance(layer, type) or not isinstance(layer, Layer):
            raise ArgumentError(f"not a layer: {layer!r}; give layers such as Dense(10) or Activate('relu')")


def layer_title(layer: Layer) -> str:
    """Name a layer as people do: "dense", or its activation's name."""
    return getattr(layer, "title", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(layer).__name__).lower())


def draw_layers(layers: Sequence[Layer], key: Key, in_features: int) -> tuple[Params, list[int]]:
    """Draw the parameters of layers that follow one another, and count the outputs of each."""
    params, widths = [], [in_features]
    for layer, layer_key in zip(layers, jax.random.split(key, len(layers)), strict=True):
        layer_params, features = layer.init(layer_key, widths[-1])
        params.append(layer_params)
        widths.append(features)
    return tuple(params), widths[1:]


def forward_layers(
    layers: Sequence[Layer], params: Params, inputs: Array, key: Key | None, **training: Any
) -> tuple[Array, list[Residuals]]:
    """Go forward through a stack that stands inside a layer; `backprop.py` has the network's own loops."""
    keys = [None] * len(layers) if key is None else jax.random.split(key, len(layers))
    x, residuals = inputs, []
    for layer, layer_params, layer_key in zip(layers, params, keys, strict=True):
        x, kept = layer.forward(layer_params, x, key=layer_key, **training)
        residuals.append(kept)
    return x, residuals


def backward_layers(
    layers: Sequence[Layer], params: Params, residuals: Sequence[Residuals], output_grad: Array
) -> tuple[Params, Array]:
    """Go back through such a stack."""
    grads, delta = [], output_grad
    for layer, layer_params, kept in reversed(list(zip(layers, params, residuals, strict=True))):
        layer_grads, delta = layer.backward(layer_params, kept, delta)
        grads.append(layer_grads)
    return tuple(grads[::-1]), delta


def is_scheduled(layers: Sequence[Layer]) -> bool:
    """Tell whether a layer asks how far training is."""
    return any(getattr(layer, "scheduled", False) for layer in layers)


def example_shares(weight: Weight | None, outputs: Array, total: Scalar | float | None = None) -> Weight:
    """Share the mean out among the examples, s_b = weight_b / Σ weight or total, for loss and gradient alike."""
    examples = outputs.shape[0]
    if weight is None:
        return jnp.full(examples, 1 / max(examples, 1), outputs.dtype)
    if jnp.shape(weight) != (examples,):
        raise ArgumentError(f"sample_weight must have shape [{examples}], given {list(jnp.shape(weight))}")
    total = jnp.sum(weight) if total is None else jnp.asarray(total, weight.dtype)
    # Only a sum of exactly 0 is held to 0: a weight that is NaN must be seen in the loss.
    return jnp.where(total == 0, 0, weight / jnp.where(total == 0, 1, total)).astype(outputs.dtype)


class WithLayers:
    """A layer that holds a stack of others."""

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        check_layers(self.layers)
        if not self.layers:
            kind = type(self).__name__
            raise ArgumentError(
                f"a {kind.lower()} needs at least one layer, given none: as {kind}([Dense(8)])"
            )

    @property
    def scheduled(self) -> bool:
        return is_scheduled(self.layers)


class WithoutParams:
    """A layer without parameters, and with as many outputs as inputs."""

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        return (), in_features

    def kinds(self, params: Params) -> Params:
        return ()
