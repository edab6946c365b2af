"""Networks of one shape that differ in their seed alone, trained side by side in one compiled program.

It is not `jaxmlp.sweep.members`, because the lab needs each epoch's metrics as the steps were taken, an epoch compiled
before the clock starts, and gradients and weights layer by layer.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import Batch, Metrics, Network, TrainState, evaluate, init_state, train_epoch, value_and_grad

Epoch = Callable[[TrainState], tuple[TrainState, Metrics]]
LOSS = "softmax_cross_entropy"


class Survey(NamedTuple):
    """How large gradients and weights are, layer by layer; layers without weights are left out.

    Attributes:
        gradient_norm: ‖∂E/∂W‖₂ of each member's layers, [M, L].
        max_weight: max |W| of each member's layers, [M, L].
    """

    gradient_norm: Any
    max_weight: Any


# Runs once, so that compiling is what it costs: without optimisation that takes a third of the time.
@partial(jax.jit, static_argnums=(0, 1), compiler_options={"xla_backend_optimization_level": 0})
def _start(net: Network, optimizer: Any, seeds: Any, learning_rate: Any) -> TrainState:
    states = jax.vmap(lambda seed: init_state(net, optimizer, jax.random.key(seed)))(seeds)
    rates = states.opt_state.hyperparams
    rates = rates | {"learning_rate": jnp.full_like(rates["learning_rate"], learning_rate)}
    return states._replace(opt_state=states.opt_state._replace(hyperparams=rates))


def start_members(net: Network, optimizer: Any, seeds: Sequence[int], learning_rate: float) -> TrainState:
    """Draw one network a seed, and set the rate that they all learn with."""
    return _start(net, optimizer, np.asarray(seeds, np.uint32), learning_rate)


def compile_epoch(
    net: Network, optimizer: Any, states: TrainState, data: Batch, *, batch_size: int, shuffle: bool = True
) -> Epoch:
    """Compile one epoch of all members before it is needed, so that the clock measures training alone."""

    compiled = _epoch.lower(net, optimizer, states, data, batch_size=batch_size, shuffle=shuffle).compile()
    return lambda states: compiled(states, data)


@partial(jax.jit, static_argnums=(0, 1), static_argnames=("batch_size", "shuffle"))
def _epoch(
    net: Network, optimizer: Any, states: TrainState, data: Batch, *, batch_size: int, shuffle: bool
) -> tuple[TrainState, Metrics]:
    train = partial(train_epoch, net, optimizer, batch_size=batch_size, shuffle=shuffle, loss=LOSS)
    return jax.vmap(lambda state: train(state, data))(states)


@partial(jax.jit, static_argnums=0)
def evaluate_members(net: Network, params: Any, data: Batch) -> Metrics:
    """Measure every member on a data set."""
    return jax.vmap(lambda one: evaluate(net, one, data, loss=LOSS))(params)


@partial(jax.jit, static_argnums=0)
def survey_members(net: Network, params: Any, data: Batch) -> Survey:
    """Measure every member's gradient and weights, layer by layer."""

    def survey(params: Any) -> Survey:
        _, grads = value_and_grad(net, params, data.inputs, data.targets, loss=LOSS)
        gradients = [jnp.linalg.norm(layer.w) for layer in grads if layer]
        weights = [jnp.max(jnp.abs(layer.w)) for layer in params if layer]
        return Survey(jnp.stack(gradients), jnp.stack(weights))

    return jax.vmap(survey)(params)


def keep_members(kept: Any, old: TrainState, new: TrainState) -> TrainState:
    """Leave some members where they stand while the others go on."""
    stays = jnp.asarray(kept)
    return jax.tree.map(
        lambda before, after: jnp.where(stays.reshape(-1, *[1] * (before.ndim - 1)), before, after), old, new
    )


def draw_examples(data: Batch, count: int | None, seed: int = 0) -> Batch:
    """Draw some of a data set's examples without replacement, and bring them to the device."""
    if count is None or count >= len(data.inputs):
        return jax.tree.map(jnp.asarray, data)
    chosen = np.random.default_rng(seed).choice(len(data.inputs), count, replace=False)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[chosen]), data)
