"""The lab's runs: perceptrons of several depths and activations, and what was measured of each."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from side_by_side import LOSS, SGD, train_by_epoch

from jaxmlp import Batch, Network, mlp, value_and_grad
from jaxmlp.training.steps import Recipe

PROBED = 1000  # training examples over which gradient norms are measured
SINGLE = "single layer"  # a perceptron of one layer has no activation between layers
IDENTITY = "identity"
RECTIFIERS = ("relu", "leaky_relu", "relu6", "elu", "gelu", "gelu_tanh", "silu", "mish")


class Kind(NamedTuple):
    """What kind of perceptron: how many layers of weights, and what stands between them."""

    activation: str  # an activation's name, or SINGLE
    depth: int  # L

    def __str__(self) -> str:
        if self.depth == 1:
            return "1 layer"
        between = "no activation" if self.activation == IDENTITY else self.activation
        return f"{between}, {self.depth} layers"


class Measured(NamedTuple):
    """What was measured of M perceptrons of one kind, which differ in their seed."""

    train_accuracy: np.ndarray  # after each epoch, [M, E]; NaN for a network that diverged
    test_accuracy: np.ndarray  # after each epoch, [M, E]; NaN for a network that diverged
    gradient_norm: np.ndarray  # ‖∂E/∂W‖₂ by layer, at the start and after each epoch, [M, E + 1, L]
    max_weight: np.ndarray  # max |W| by layer, at the start and after each epoch, [M, E + 1, L]
    seconds: float  # of training all M, without compilation and measurements

    @property
    def accuracy(self) -> np.ndarray:
        """Test accuracy after the last epoch, [M]."""
        return np.asarray(self.test_accuracy[:, -1])


Runs: TypeAlias = Mapping[Kind, Measured]


class Plan(NamedTuple):
    """How all kinds are trained."""

    hidden: int  # units of each hidden layer
    epochs: int  # E
    batch_size: int  # B
    learning_rate: float  # η
    seeds: int  # M, the seeds are 0 to M − 1
    init: str | None  # initialiser of the weights, or None for the one made for the activation
    precision: str | None  # of the matrix products


def kinds_of_lab(
    activations: Sequence[str], deep_activations: Sequence[str], deep_depths: Sequence[int]
) -> list[Kind]:
    """List the perceptrons of the lab, each once."""
    shallow = [Kind(name, depth) for name in (IDENTITY, *activations, *deep_activations) for depth in (2, 3)]
    deep = [Kind(name, depth) for name in deep_activations for depth in deep_depths]
    return list(dict.fromkeys([Kind(SINGLE, 1), *shallow, *deep]))


def initializer_for(activation: str) -> str:
    """Name the initialiser made for an activation: He's for rectifiers, Glorot's for all others."""
    return "he_normal" if activation.partition(":")[0] in RECTIFIERS else "glorot_normal"


def build(kind: Kind, in_features: int, outputs: int, plan: Plan) -> Network:
    """Describe the network of a kind."""
    sizes = [in_features, *[plan.hidden] * (kind.depth - 1), outputs]
    activation = IDENTITY if kind.depth == 1 else kind.activation
    init = plan.init or initializer_for(kind.activation)
    return mlp(sizes, activation=activation, init=init, precision=plan.precision)


def measure(
    net: Network, plan: Plan, train: Batch, test: Batch, after_epoch: Callable[[np.ndarray], None]
) -> Measured:
    """Train M networks side by side and measure them at the start and after every epoch."""
    probe = jax.tree.map(lambda leaf: leaf[:PROBED], train)
    recipe = Recipe(net, SGD, LOSS, batch_size=plan.batch_size)
    standings, surveys = [], []
    for standing in train_by_epoch(recipe, plan.seeds, plan.learning_rate, train, test, plan.epochs):
        standings.append(standing)
        surveys.append(survey(net, standing.params, probe))
        after_epoch(standing.measures["test accuracy"])
    train_scores, test_scores = (
        np.stack([standing.measures[f"{part} accuracy"] for standing in standings[1:]], 1)
        for part in ("train", "test")
    )
    gradients, weights = (np.stack(each, 1) for each in zip(*surveys, strict=True))
    seconds = sum(standing.seconds for standing in standings)
    return Measured(train_scores, test_scores, gradients, weights, seconds)


@partial(jax.jit, static_argnums=0)
def survey(net: Network, params: Any, data: Batch) -> tuple[Any, Any]:
    """Measure ‖∂E/∂W‖₂ and max |W| of every member's layers, each [M, L]."""

    def one(params: Any) -> tuple[Any, Any]:
        _, grads = value_and_grad(net, params, data.inputs, data.targets, loss=LOSS)
        gradients = [jnp.linalg.norm(layer.w) for layer in grads if layer]
        return jnp.stack(gradients), jnp.stack([jnp.max(jnp.abs(layer.w)) for layer in params if layer])

    return jax.vmap(one)(params)
