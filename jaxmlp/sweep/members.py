"""Networks of one recipe trained side by side, because one network of usual size leaves a machine idle.

A member is a network with a seed and its own numbers (rates, strength of L2, initial scale). All members
of a block go through one compiled program: `vmap` over the members of a device, within `shard_map` over the
devices. Each ends as the same run of `fit` does, up to rounding, for what it draws follows from its key only.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxmlp.backprop import kinds
from jaxmlp.network import Network
from jaxmlp.training.evaluation import evaluate_recipe
from jaxmlp.training.metrics import METRICS
from jaxmlp.training.optimizers import Optimizer, resolve_optimizer
from jaxmlp.training.steps import (
    Recipe,
    TrainState,
    all_finite,
    epoch_of_steps,
    init_state,
    measured_params,
)
from jaxmlp.types import Batch, Params

AXIS = "members"
SECONDS_A_CALL = 1.0  # how long a program runs before progress is told; short enough to interrupt


class Members(NamedTuple):
    """What M members differ in."""

    seed: Int[Array, "M"]  # of everything that a member draws
    rates: dict[str, Float[Array, "M"]]  # by name, in place of those in the optimiser's state
    l2: Float[Array, "M"] | None = None  # strength of the penalty on weights
    init_scale: Float[Array, "M"] | None = None  # a factor on the initial weights


class MemberScores(NamedTuple):
    """How good M members are."""

    loss: Float[Array, "M"]  # the objective, L2 included
    score: Float[Array, "M"]  # the metric
    finite: Bool[Array, "M"]  # whether loss and parameters are; where not, the member diverged


def scale_weights(net: Network, params: Params, factor: Any) -> Params:
    """Multiply the weights of a network, not its biases: W → factor·W."""

    def scaled(leaf: Array, kind: str) -> Array:
        return leaf * jnp.asarray(factor, leaf.dtype) if kind == "weight" else leaf

    return jax.tree.map(scaled, params, kinds(net, params))


class Watched(NamedTuple):
    """M members in training, measured after every epoch, and the best that each of them has been."""

    state: TrainState  # where each stands, leaves [M, …]
    params: Params  # of each one's best epoch, the last of equals; as they began where none was finite
    epoch: Int[Array, "M"]  # its number, from 1; 0 for none
    loss: Float[Array, "M E"]  # the objective on what is held out, after each epoch; NaN for those to come
    score: Float[Array, "M E"]  # the metric there, which tells the best


def watch(states: TrainState, epochs: int) -> Watched:
    """Watch members from their start, for a run of so many epochs in all."""
    members = len(states.epoch)
    to_come = jnp.full((members, epochs), jnp.nan)
    return Watched(states, measured_params(states), jnp.zeros(members, jnp.int32), to_come, to_come)


# Runs once a block, and compiling is what it costs: without optimisation that takes a third of the time.
@partial(jax.jit, static_argnums=(0, 1), compiler_options={"xla_backend_optimization_level": 0})
def start_members(recipe: Recipe, devices: tuple[jax.Device, ...], members: Members) -> TrainState:
    """Draw the parameters of M members and set their rates."""

    def start(member: Members, _: None) -> TrainState:
        state = init_state(recipe.net, recipe.optimizer, jax.random.key(member.seed))
        params, rates = state.params, member.rates
        if member.init_scale is not None:
            params = scale_weights(recipe.net, params, member.init_scale)
        held = {name: optax.tree.get(state.opt_state, name) for name in rates}
        values = {name: jnp.asarray(rate, held[name].dtype) for name, rate in rates.items()}
        return state._replace(params=params, opt_state=optax.tree.set(state.opt_state, **values))

    return side_by_side(start, devices, members, None)


@partial(jax.jit, static_argnums=(0, 1))
def train_members(
    recipe: Recipe,
    devices: tuple[jax.Device, ...],
    members: Members,
    states: TrainState,
    data: Batch,
    epochs: Int[Array, ""],
    rows: Int[Array, "M R"] | None = None,
) -> TrainState:
    """Train M members, each on its rows where they are given, for some epochs; nothing is measured on the way."""

    def train(own: tuple[Any, TrainState, Any], shared: tuple[Batch, Any]) -> TrainState:
        l2, state, rows = own
        data, epochs = shared
        epoch = _epoch_of(recipe, data, rows, l2)
        # The number of epochs is traced, to let rungs of any length share one program. The metrics are
        # not used, and the compiler drops what they would cost.
        return jax.lax.fori_loop(0, epochs, lambda _, state: epoch(state)[0], state)

    return side_by_side(train, devices, (members.l2, states, rows), (data, epochs))


@partial(jax.jit, static_argnums=(0, 1))
def watch_members(
    recipe: Recipe,
    devices: tuple[jax.Device, ...],
    members: Members,
    watched: Watched,
    data: Batch,
    valid: Batch | None,
    epochs: Int[Array, ""],
    rows: tuple[Int[Array, "M R"], Int[Array, "M H"]] | None = None,
) -> Watched:
    """Train M members for some epochs, measure each after every one, and keep the parameters of its best.

    They are measured on `valid`, or each on rows of the data: those it trains on, and those held out from it.
    """
    sign = 1 if METRICS[recipe.metric].more_is_better else -1

    def train(own: tuple[Any, Watched, Any], shared: tuple[Batch, Any, Any]) -> Watched:
        l2, watched, (kept, held_out) = own
        data, part, epochs = shared
        epoch = _epoch_of(recipe, data, kept, l2)
        part = part if held_out is None else jax.tree.map(lambda each: each[held_out], data)

        def advance(_: Any, watched: Watched) -> Watched:
            state, _ = epoch(watched.state)
            params, place = measured_params(state), state.epoch - 1
            found = evaluate_recipe(recipe, params, part, l2)
            # Before a best epoch this reads the last place, which is still NaN and worse than nothing.
            best = watched.score[watched.epoch - 1]
            is_best = jnp.isfinite(found.loss + found.score) & ~(sign * found.score < sign * best)

            def keep(new: Array, old: Array) -> Array:
                return jnp.where(is_best, new, old)

            return Watched(
                state,
                jax.tree.map(keep, params, watched.params),
                keep(state.epoch, watched.epoch),
                watched.loss.at[place].set(found.loss),
                watched.score.at[place].set(found.score),
            )

        return jax.lax.fori_loop(0, epochs, advance, watched)

    own = members.l2, watched, (None, None) if rows is None else rows
    return side_by_side(train, devices, own, (data, valid, epochs))


def in_calls(advance: Callable[[Any, int], Any], state: Any, epochs: int, tell: Callable[[int], None]) -> Any:
    """Train for some epochs in calls of about a second, between which progress is told and a run can be interrupted."""
    done, length = 0, 1
    while done < epochs:
        each, before = min(length, epochs - done), time.perf_counter()
        state = jax.block_until_ready(advance(state, each))
        done += each
        length = max(1, round(SECONDS_A_CALL * each / (time.perf_counter() - before)))
        tell(each)
    return state


def _epoch_of(recipe: Recipe, data: Batch, rows: Any, l2: Any) -> Callable[[TrainState], Any]:
    """Make an epoch of a member, which may be given its examples by number, to be fetched minibatch by minibatch.

    A copy of a fold for each member would multiply the data set by M. The numbers of the rows go where the
    inputs would, and the transform of a minibatch begins by fetching the rows.
    """

    def fetch(key: Any, numbers: Any) -> Any:
        inputs = data.inputs[numbers[:, 0]]
        return inputs if recipe.transform is None else recipe.transform(key, inputs)

    if rows is None:
        return partial(epoch_of_steps, recipe, data=data, l2=l2)
    weight = None if data.weight is None else data.weight[rows]
    examples = Batch(rows[:, None], data.targets[rows], weight)
    return partial(epoch_of_steps, replace(recipe, transform=fetch), data=examples, l2=l2)


@partial(jax.jit, static_argnums=(0, 1))
def evaluate_members(
    recipe: Recipe,
    devices: tuple[jax.Device, ...],
    members: Members,
    params: Params,
    data: Batch,
    weight: Float[Array, "M N"] | None = None,
) -> MemberScores:
    """Measure M members on a data set, each with weights of the examples where they are given."""

    def measure(own: Any, data: Batch) -> MemberScores:
        l2, params, weight = own
        if weight is not None:
            data = data._replace(weight=weight if data.weight is None else data.weight * weight)
        metrics = evaluate_recipe(recipe, params, data, l2)
        return MemberScores(metrics.loss, metrics.score, jnp.isfinite(metrics.loss) & all_finite(params))

    return side_by_side(measure, devices, (members.l2, params, weight), data)


def rates_of(optimizer: Optimizer) -> dict[str, float]:
    """Tell the rates that an optimiser holds in its state, where members can differ in them."""
    with jax.ensure_compile_time_eval():
        injected = optax.tree.get(resolve_optimizer(optimizer).init(()), "hyperparams", {})
    # Single precision would show 0.1 as 0.10000000149; its shortest spelling is what was given.
    return {name: float(str(np.asarray(rate))) for name, rate in injected.items()}


# --- devices: the GPUs of a machine, or its CPU cores where `jax_num_cpu_devices` sets them up as devices ---


def place_shared(tree: Any, devices: tuple[jax.Device, ...]) -> Any:
    """Copy arrays that all members share to every device, once and not at each call."""
    return jax.device_put(tree, NamedSharding(_mesh(devices), PartitionSpec()))


def place_members(tree: Any, devices: tuple[jax.Device, ...]) -> Any:
    """Divide arrays of members among devices, as `side_by_side` leaves them: nothing compiles again."""
    return jax.device_put(tree, NamedSharding(_mesh(devices), PartitionSpec(AXIS)))


def side_by_side(
    one: Callable[[Any, Any], Any], devices: tuple[jax.Device, ...], own: Any, shared: Any
) -> Any:
    """Apply a function to every member: `vmap` over the members of a device, within `shard_map` over devices."""
    by_member, by_all = PartitionSpec(AXIS), PartitionSpec()
    # The check of what varies between devices knows no mixing of shared and own numbers in a scan's state.
    return jax.shard_map(
        jax.vmap(one, in_axes=(0, None)),
        mesh=_mesh(devices),
        in_specs=(by_member, by_all),
        out_specs=by_member,
        check_vma=False,
    )(own, shared)


def _mesh(devices: tuple[jax.Device, ...]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,))
