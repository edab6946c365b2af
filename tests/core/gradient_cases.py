"""Networks, batches and comparisons that the tests of gradients share."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import largest_difference

from jaxmlp import backprop, gradcheck
from jaxmlp.layers import Activate, Dense, Layer, Softmax
from jaxmlp.losses import LOSSES
from jaxmlp.network import Network, layer_shapes
from jaxmlp.types import Batch

# Losses on probabilities and on other positive numbers: before them the network ends in a Softmax layer.
ON_PROBABILITIES = ("negative_log_likelihood", "poisson")
# Rules that the bare names do not reach.
WITH_PARAMETERS = ("softmax_cross_entropy:0.1", "quantile:0.2")
# Losses that compare classes and refuse a single output; any other loss is tested at K = 1 too.
FEWEST_OUTPUTS = {"multiclass_hinge": 2}


@dataclass(frozen=True)
class Scale:
    """A layer of a user's own: outputs = inputs ⊙ s, one factor a feature; in training some are dropped, by the key."""

    def init(self, key: Any, in_features: int) -> tuple[Any, int]:
        return {"s": jax.random.normal(key, (in_features,))}, in_features

    def forward(
        self, params: Any, inputs: Any, *, train: bool = False, key: Any = None, **training: Any
    ) -> tuple[Any, Any]:
        kept = jax.random.bernoulli(key, 0.5, inputs.shape) if train else jnp.ones(inputs.shape, bool)
        inputs = inputs * kept.astype(inputs.dtype)
        return inputs * params["s"][None, :], (inputs, kept)

    def backward(self, params: Any, residuals: Any, output_grad: Any) -> tuple[Any, Any]:
        inputs, kept = residuals
        slope = output_grad * params["s"][None, :] * kept.astype(output_grad.dtype)
        return {"s": jnp.sum(output_grad * inputs, axis=0)}, slope

    def kinds(self, params: Any) -> Any:
        return {"s": "weight"}


class Problem(NamedTuple):
    """What a gradient is taken of; in float64, but for labels."""

    net: Network
    params: Any
    inputs: Any
    targets: Any


DEFAULTS: dict[str, Any] = {"loss": "softmax_cross_entropy", "l2": None}


def plain_pass(*problem: Any, sample_weight: Any = None, **keywords: Any) -> backprop.Trace:
    """Go forward and back without compiling, by the arguments of `value_and_grad`."""
    net, params, *batch = problem
    return backprop.objective_and_grads(net, params, Batch(*batch, sample_weight), **{**DEFAULTS, **keywords})


def plain_value(*problem: Any, sample_weight: Any = None, **keywords: Any) -> Any:
    """Compute the objective without compiling, by the arguments of `loss`."""
    net, params, *batch = problem
    return backprop.objective(net, params, Batch(*batch, sample_weight), **{**DEFAULTS, **keywords})


def target_kinds(loss: str) -> tuple[str, ...]:
    """Say what targets a loss is tested with: a loss on soft labels takes labels as well."""
    kind = LOSSES[loss].targets
    return ("labels", "soft_labels") if kind == "soft_labels" else (kind,)


def make_targets(kind: str, random: np.random.Generator, examples: int, outputs: int) -> Any:
    """Draw targets of a kind, as `Loss.targets` names it."""
    if kind == "labels":
        return jnp.asarray(random.integers(0, outputs, examples))
    if kind == "soft_labels":
        return jnp.asarray(random.dirichlet(np.ones(outputs), examples))
    if kind == "binary":
        return jnp.asarray(random.integers(0, 2, (examples, outputs)).astype(np.float64))
    return jnp.asarray(random.normal(size=(examples, outputs)))


def stack(activation: str, loss: str, *, depth: int = 2, outputs: int = 3, features: int = 3) -> Network:
    """Stack `depth` dense layers with activations between them; a single one is followed by its activation."""
    layers: list[Layer] = []
    for _ in range(depth - 1):
        layers += [Dense(features), Activate(activation)]
    layers.append(Dense(outputs))
    if depth == 1:
        layers.append(Activate(activation))
    if loss in ON_PROBABILITIES:
        layers.append(Softmax())
    return Network(features, layers)


def make_params(net: Network, random: np.random.Generator) -> Any:
    """Draw every parameter, biases too, wide enough to reach both sides of every kink at 0 and ±1."""

    def draw(leaf: Any, kind: str) -> Any:
        drawn = random.normal(size=leaf.shape)
        return jnp.asarray(1 + np.abs(drawn) if kind == "statistic" else drawn)  # a variance is above 0

    shapes = tuple(shape.params for shape in layer_shapes(net))
    return jax.tree.map(draw, shapes, backprop.kinds(net, shapes))


def make_problem(net: Network, kind: str, *, seed: int = 0, examples: int = 5, scale: float = 1.0) -> Problem:
    """Draw parameters, inputs and targets for a network; in float64 where x64 is enabled."""
    random = np.random.default_rng(seed)
    inputs = jnp.asarray(scale * random.normal(size=(examples, net.in_features)))
    outputs = layer_shapes(net)[-1].out_features
    return Problem(net, make_params(net, random), inputs, make_targets(kind, random, examples, outputs))


def make_weight(examples: int) -> Any:
    """Weigh examples unequally, the second (where there is one) not at all."""
    return jnp.asarray(np.array([0.7, 0.0, 2.0, 0.3, 1.1, 0.9])[:examples])


def assert_close(found: Any, expected: Any, *, relative: float = 1e-10, absolute: float = 1e-14) -> None:
    """Assert that two trees have one structure and that each pair of tensors agrees normwise."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        bound = relative * float(np.max(np.abs(np.asarray(right)), initial=0.0)) + absolute
        assert largest_difference(left, right) <= bound


# Losses with places where this package and `jax.grad` choose different subgradients.
WITH_KNOWN_DIFFERENCES = ("absolute_error", "multiclass_hinge")


def has_known_difference(loss: str, outputs: Any, targets: Any) -> bool:
    """Tell whether a batch lies where this package and `jax.grad` choose different subgradients.

    Absolute error at 0: 0 here, 1 by autodiff. The hinge at its margin: 0 here, half the slope by
    autodiff; and where its largest rivals tie: the first here, shared among them by autodiff.
    """
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if loss == "absolute_error":
        return bool(np.any(outputs == targets))
    if loss != "multiclass_hinge":
        return False
    right = outputs[np.arange(len(targets)), targets]
    is_right = np.arange(outputs.shape[1]) == targets[:, None]
    rivals = np.sort(np.where(is_right, -np.inf, outputs), axis=1)
    at_margin = 1 + rivals[:, -1] - right == 0
    tied = np.isfinite(rivals[:, -2]) & (rivals[:, -1] == rivals[:, -2])
    return bool(np.any(at_margin | tied))


def check_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `check_gradients` go un-jitted: faster on tiny networks, and blind to what was compiled before."""
    monkeypatch.setattr(gradcheck, "_gradients", gradcheck._gradients.__wrapped__)  # type: ignore[attr-defined]
