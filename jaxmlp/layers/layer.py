"""The layer: what everything that stands in a `Network` offers."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Array, Float

from jaxmlp.types import ArgumentError, Key, Params, Progress, Residuals

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


class WithoutParams:
    """A layer without parameters, and with as many outputs as inputs."""

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        return (), in_features

    def kinds(self, params: Params) -> Params:
        return ()
