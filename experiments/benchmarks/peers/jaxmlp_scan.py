"""The package itself, whose epoch is one compiled scan, and its twin with `jax.grad`."""

from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import numpy as np

from jaxmlp import LOSSES, Batch, DenseParams, TrainState, init_state, make_optimizer, mlp
from jaxmlp.backprop import l2_term, mean_loss, propagate
from jaxmlp.network import Network
from jaxmlp.training import steps
from peers.jax_step import choose_device
from peers.job import MOMENTUM, Job, Layers, Peer, Settings

LOSS = {"classification": "softmax_cross_entropy", "regression": "half_squared_error"}


def recipe_of(settings: Settings) -> steps.Recipe:
    """Describe a training as the package does."""
    name = f"momentum:{MOMENTUM}" if settings.optimizer == "momentum" else settings.optimizer
    return steps.Recipe(
        mlp(settings.sizes, precision=settings.precision),
        make_optimizer(name, settings.learning_rate),
        LOSS[settings.task],
        batch_size=settings.batch_size,
    )


def begin(settings: Settings) -> TrainState:
    """Draw the state before the first step."""
    recipe = recipe_of(settings)
    return init_state(recipe.net, recipe.optimizer, jax.random.key(settings.seed))


def dense_layers(params: Any) -> Layers:
    """Take the weights and biases out of a network's parameters."""
    return [(np.asarray(layer.w), np.asarray(layer.b)) for layer in params if isinstance(layer, DenseParams)]


def compile_epoch(settings: Settings, state: TrainState, data: Batch) -> Any:
    """Compile the function beneath `train_epoch`."""
    recipe = recipe_of(settings)
    return jax.jit(lambda state, data: steps.epoch_of_steps(recipe, state, data)).lower(state, data).compile()


class Jaxmlp(Peer):
    """One compiled epoch of the package, which shuffles for itself: it draws the order that the others get."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        choose_device(job.settings)
        state, given = begin(job.settings), iter(job.layers)
        params = tuple(
            DenseParams(*map(jax.numpy.array, next(given))) if isinstance(layer, DenseParams) else layer
            for layer in state.params
        )
        self.state = state._replace(params=params)
        self.data = Batch(jax.numpy.array(job.train_inputs), jax.numpy.array(job.train_targets))
        self.compiled = compile_epoch(job.settings, self.state, self.data)
        memory = self.compiled.memory_analysis()
        self.temporaries = None if memory is None else int(memory.temp_size_in_bytes)

    def epoch(self, order: np.ndarray) -> float:
        self.state, metrics = self.compiled(self.state, self.data)
        jax.block_until_ready(self.state)
        return float(metrics.loss)

    def layers(self) -> Layers:
        return dense_layers(self.state.params)


class Autodiff(Jaxmlp):
    """The same program with `jax.value_and_grad` in place of backpropagation: a reference, not a peer."""

    def __init__(self, job: Job) -> None:
        with mock.patch.object(steps, "objective_and_grads", autodiff_objective):
            super().__init__(job)


def autodiff_objective(
    net: Network, params: Any, batch: Batch, *, loss: str, l2: Any, total: Any = None, **training: Any
) -> Any:
    """Compute what `objective_and_grads` computes, with the same way forward and JAX's own way back."""

    def value_and_outputs(candidate: Any) -> tuple[Any, Any]:
        passed, _ = propagate(net, candidate, batch, **training)
        losses = LOSSES[loss].value(passed[-1], batch.targets)
        return mean_loss(losses, batch.weight, total) + l2_term(net, candidate, l2), passed[-1]

    (value, outputs), grads = jax.value_and_grad(value_and_outputs, has_aux=True)(params)
    return SimpleNamespace(value=value, grads=grads, outputs=outputs)
