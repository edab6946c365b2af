"""Many networks of one shape in one compiled program: `jax.vmap` of the library's own functions."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import (
    Batch,
    Metrics,
    Network,
    TrainState,
    evaluate,
    init,
    init_state,
    make_optimizer,
    train_epoch,
)

LOSS = "softmax_cross_entropy"
SGD = make_optimizer("sgd", 0.1)  # each state holds the rate that is used, so one program serves all rates
# What runs once costs its compilation, and that takes a third of the time without optimisation.
COMPILED_FAST = {"xla_backend_optimization_level": 0}
Epoch = Callable[[TrainState], tuple[TrainState, Metrics]]


class Trained(NamedTuple):
    """What training M networks leaves."""

    params: Any  # the parameters, each array with a leading axis of M
    train: Metrics  # the metrics on the training examples, each [M]
    valid: Metrics  # the metrics on the validation examples, each [M]


# --- networks that differ in their seed and share their data ---


@partial(jax.jit, static_argnums=0, compiler_options=COMPILED_FAST)
def start_members(net: Network, seeds: Any, learning_rate: Any) -> TrainState:
    """Draw one network a seed, and set the rate that they all learn with."""

    def start(seed: Any) -> TrainState:
        state = init_state(net, SGD, jax.random.key(seed))
        rates = state.opt_state.hyperparams
        rates = rates | {"learning_rate": jnp.full_like(rates["learning_rate"], learning_rate)}
        return state._replace(opt_state=state.opt_state._replace(hyperparams=rates))

    return jax.vmap(start)(seeds)


def compile_epoch(
    net: Network, states: TrainState, data: Batch, *, batch_size: int, shuffle: bool = True
) -> Epoch:
    """Compile an epoch of all members before the clock starts."""

    def epoch(states: TrainState, data: Batch) -> tuple[TrainState, Metrics]:
        train = partial(train_epoch, net, SGD, loss=LOSS, batch_size=batch_size, shuffle=shuffle)
        return jax.vmap(train, in_axes=(0, None))(states, data)

    compiled = jax.jit(epoch).lower(states, data).compile()
    return lambda states: compiled(states, data)


@partial(jax.jit, static_argnums=0)
def evaluate_members(net: Network, params: Any, data: Batch) -> Metrics:
    """Measure every member on a data set."""
    return jax.vmap(lambda one: evaluate(net, one, data, loss=LOSS))(params)


def keep_members(kept: Any, old: TrainState, new: TrainState) -> TrainState:
    """Leave some members where they stand while the others go on."""
    stays = jnp.asarray(kept)
    return jax.tree.map(lambda a, b: jnp.where(stays.reshape(-1, *[1] * (a.ndim - 1)), a, b), old, new)


# --- networks that each have a data set ---


def stack(parts: Any) -> Batch:
    """Put M parts of data sets on top of each other."""
    inputs, targets = zip(*parts, strict=True)
    return Batch(jnp.asarray(np.stack(inputs)), jnp.asarray(np.stack(targets)))


def repeat(tree: Any, times: int) -> Any:
    """Repeat M networks, or their data, for settings × M of them."""
    return jax.tree.map(lambda leaf: jnp.tile(leaf, (times,) + (1,) * (leaf.ndim - 1)), tree)


@partial(jax.jit, static_argnums=(0, 1), compiler_options=COMPILED_FAST)
def draw_params(net: Network, count: int) -> Any:
    """Draw the parameters of M networks."""
    return jax.vmap(partial(init, net))(jax.random.split(jax.random.key(0), count))


@partial(jax.jit, static_argnums=0, static_argnames=("loss", "steps", "learning_rate"))
def train_each(
    net: Network,
    params: Any,
    train: Batch,
    valid: Batch,
    *,
    steps: int,
    loss: str = LOSS,
    learning_rate: float = 0.01,
) -> Trained:
    """Train each network on its own data, by Adam on the gradient of all its examples."""
    optimizer = make_optimizer("adam", learning_rate)
    everything: Any = {
        "loss": loss,
        "batch_size": train.inputs.shape[1],
        "shuffle": False,
    }  # an epoch is one update

    def train_one(params: Any, train: Batch, valid: Batch) -> Trained:
        def step(state: TrainState, _: None) -> tuple[TrainState, None]:
            return train_epoch(net, optimizer, state, train, **everything)[0], None

        start = init_state(net, optimizer, jax.random.key(0))._replace(params=params)
        end, _ = jax.lax.scan(step, start, length=steps)
        return Trained(end.params, *(evaluate(net, end.params, part, loss=loss) for part in (train, valid)))

    return jax.vmap(train_one)(params, train, valid)


# --- results ---


def spread(values: Any, write: Callable[[float], str], middle: Callable[[Any], Any] = np.median) -> str:
    """Write the middle of M values with their least and largest."""
    numbers = np.asarray(values, float)
    if not np.isfinite(numbers).all():
        return f"not finite in {np.sum(~np.isfinite(numbers))} of {len(numbers)} seeds"
    centre = write(float(middle(numbers)))
    return centre if len(numbers) == 1 else f"{centre} ({write(numbers.min())} to {write(numbers.max())})"


def percent(value: Any) -> str:
    return f"{100 * value:.2f} %"
