"""The package itself: an epoch is one compiled scan, whose gradient is written by hand."""

from typing import Any

import jax
import numpy as np

from contestants.jax_device import choose_device
from contestants.job import MOMENTUM, Job, Layers, Settings
from jaxmlp import Batch, DenseParams, Network, TrainState, init_state, make_optimizer, mlp
from jaxmlp.training.steps import Recipe, epoch_of_steps

LOSS = {"classification": "softmax_cross_entropy", "regression": "half_squared_error"}
METRIC = {"classification": "accuracy", "regression": "r2"}


def begin(settings: Settings) -> tuple[Network, Any, TrainState]:
    """Describe the network and its optimiser, and draw the state before the first step."""
    net = mlp(settings.sizes, precision=settings.precision)
    name = f"momentum:{MOMENTUM}" if settings.optimizer == "momentum" else settings.optimizer
    optimizer = make_optimizer(name, settings.learning_rate)
    return net, optimizer, init_state(net, optimizer, jax.random.key(settings.seed))


def dense_layers(params: Any) -> Layers:
    """Take the weights and biases out of a network's parameters."""
    return [(np.asarray(layer.w), np.asarray(layer.b)) for layer in params if isinstance(layer, DenseParams)]


def with_layers(params: Any, layers: Layers) -> Any:
    """Put weights and biases into a network's parameters."""
    given = iter(layers)
    return tuple(
        DenseParams(*map(jax.numpy.array, next(given))) if isinstance(layer, DenseParams) else layer
        for layer in params
    )


class Program:
    """One compiled epoch of the package, which shuffles for itself: it draws the order that the others get."""

    def __init__(self, job: Job) -> None:
        choose_device(job.settings)
        net, optimizer, state = begin(job.settings)
        self.state = state._replace(params=with_layers(state.params, job.layers))
        self.data = Batch(jax.numpy.array(job.train_inputs), jax.numpy.array(job.train_targets))
        self.compiled = compile_epoch(net, optimizer, self.state, self.data, job.settings)
        memory = self.compiled.memory_analysis()
        self.temporaries = None if memory is None else int(memory.temp_size_in_bytes)

    def epoch(self, order: np.ndarray) -> float:
        self.state, metrics = self.compiled(self.state, self.data)
        jax.block_until_ready(self.state)
        return float(metrics.loss)

    def layers(self) -> Layers:
        return dense_layers(self.state.params)


def compile_epoch(net: Network, optimizer: Any, state: TrainState, data: Batch, settings: Settings) -> Any:
    """Compile the function beneath `train_epoch`."""
    recipe = Recipe(net, optimizer, LOSS[settings.task], METRIC[settings.task], settings.batch_size)
    # A program of its own, whose gradient is that which stands in `jaxmlp.training.steps` now.
    return jax.jit(lambda state, data: epoch_of_steps(recipe, state, data)).lower(state, data).compile()
