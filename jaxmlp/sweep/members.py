"""Networks of one description trained side by side, because one network of usual size leaves a machine idle.

A member is a network with a seed and numbers of its own (rates, strength of L2, initial scale). All members
of a block go through one compiled program: `vmap` over the members of a device, within `shard_map` over the
devices. Each ends as the same run does alone, up to rounding, for what it draws follows from its key alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxmlp.backprop import decayed
from jaxmlp.checks import check_lengths, check_size
from jaxmlp.network import Network
from jaxmlp.training.evaluation import evaluate_recipe
from jaxmlp.training.optimizers import Optimizer, resolve_optimizer
from jaxmlp.training.parallel import Devices
from jaxmlp.training.steps import Recipe, TrainState, Transform, all_finite, epoch_of_steps, init_state
from jaxmlp.types import ArgumentError, Batch, Params

AXIS = "members"


class Members(NamedTuple):
    """What M members differ in.

    Attributes:
        seed: of everything that a member draws, [M].
        rates: [M] by name, in place of the optimiser's own: whatever stands in its state under
            `hyperparams`, as learning_rate, momentum, weight_decay.
        l2: strength of the penalty on weights, [M]; None for no penalty.
        init_scale: a factor on the initial weights, [M]; None for 1.
    """

    seed: Int[Array, "M"]
    rates: Mapping[str, Float[Array, "M"]] = MappingProxyType({})
    l2: Float[Array, "M"] | None = None
    init_scale: Float[Array, "M"] | None = None


class MemberScores(NamedTuple):
    """How good M members are.

    Attributes:
        loss: the objective, L2 included, [M].
        score: the metric, [M].
        finite: whether loss and parameters are all finite, [M]; where not, the member diverged.
    """

    loss: Float[Array, "M"]
    score: Float[Array, "M"]
    finite: Bool[Array, "M"]


def scale_weights(net: Network, params: Params, factor: Any) -> Params:
    """Multiply the weights of a network, not its biases: W → factor·W."""
    leaves, structure = jax.tree.flatten(params)
    marks = jax.tree.leaves(decayed(net, params))
    scaled = [
        leaf * jnp.asarray(factor, leaf.dtype) if is_weight else leaf
        for leaf, is_weight in zip(leaves, marks, strict=True)
    ]
    return jax.tree.unflatten(structure, scaled)


def start_members(recipe: Recipe, members: Members, *, devices: Devices = None) -> TrainState:
    """Draw the parameters of M members and set their rates."""
    members = _as_arrays(members)
    known = rates_of(recipe.optimizer)
    for name in members.rates:
        if name not in known:
            raise ArgumentError(
                f"this optimiser holds no rate '{name}' that members could differ in: it holds "
                f"{', '.join(known) or 'none'}; leave '{name}' out, or choose an optimiser that has it"
            )
    return _start(recipe, devices_for(len(members.seed), devices), members)


# Runs once a block, so that compiling is what it costs: without optimisation that takes a third of the time.
@partial(jax.jit, static_argnums=(0, 1), compiler_options={"xla_backend_optimization_level": 0})
def _start(recipe: Recipe, devices: tuple[jax.Device, ...], members: Members) -> TrainState:
    def start(member: Members, _: None) -> TrainState:
        state = init_state(recipe.net, recipe.optimizer, jax.random.key(member.seed))
        params = state.params
        if member.init_scale is not None:
            params = scale_weights(recipe.net, params, member.init_scale)
        return state._replace(params=params, opt_state=_set_rates(state.opt_state, member.rates))

    return side_by_side(start, devices, members, None)


def train_members(
    recipe: Recipe,
    members: Members,
    states: TrainState,
    data: Batch,
    *,
    epochs: int,
    rows: Int[Array, "M R"] | None = None,
    devices: Devices = None,
) -> TrainState:
    """Train M members for some epochs in one compiled program, which serves any number of epochs.

    Nothing is measured on the way: the metrics of the steps are left out of the program.
    """
    check_size("number of epochs", epochs)
    members, examples = _as_arrays(members), len(data.inputs)
    count = len(members.seed)
    check_lengths(data)
    _check_count("states", states, count)
    numbers = None if rows is None else _checked_rows(rows, count, examples)
    return _train(recipe, devices_for(count, devices), (members.l2, states, numbers), data, epochs)


@partial(jax.jit, static_argnums=(0, 1))
def _train(
    recipe: Recipe,
    devices: tuple[jax.Device, ...],
    own: tuple[Any, TrainState, Any],
    data: Batch,
    epochs: Any,
) -> TrainState:
    def train(own: tuple[Any, TrainState, Any], shared: tuple[Batch, Any]) -> TrainState:
        l2, state, rows = own
        data, epochs = shared
        examples, transform = _examples_of(data, rows, recipe.transform)
        epoch = partial(epoch_of_steps, replace(recipe, transform=transform), data=examples, l2=l2)
        # The number of epochs is traced, so that rungs of any length share one program. The metrics are
        # not used, and the compiler drops what they would cost.
        return jax.lax.fori_loop(0, epochs, lambda _, state: epoch(state)[0], state)

    return side_by_side(train, devices, own, (data, epochs))


def _examples_of(data: Batch, rows: Any, transform: Transform | None) -> tuple[Batch, Transform | None]:
    """Give a member its examples by number, to be fetched minibatch by minibatch.

    A copy of a fold for each member would multiply the data set by M; so the numbers of the rows go where the
    inputs would, and the transform of a minibatch begins by fetching the rows.
    """
    if rows is None:
        return data, transform

    def fetch(key: Any, numbers: Any) -> Any:
        inputs = data.inputs[numbers[:, 0]]
        return inputs if transform is None else transform(key, inputs)

    weight = None if data.weight is None else data.weight[rows]
    return Batch(rows[:, None], data.targets[rows], weight), fetch


def evaluate_members(
    recipe: Recipe,
    members: Members,
    params: Params,
    data: Batch,
    *,
    weight: Float[Array, "M N"] | None = None,
    devices: Devices = None,
) -> MemberScores:
    """Measure M members on a data set."""
    members = _as_arrays(members)
    check_lengths(data)
    _check_count("parameters", params, len(members.seed))
    expected = (len(members.seed), len(data.inputs))
    if weight is not None and np.shape(weight) != expected:
        raise ArgumentError(
            f"weight must have shape {list(expected)}, a number for each of {expected[0]} members and {expected[1]} "
            f"examples, given {list(np.shape(weight))}: give that, or None to count all alike"
        )
    own = (members.l2, params, None if weight is None else jnp.asarray(weight))
    return _evaluate(recipe, devices_for(len(members.seed), devices), own, data)


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate(recipe: Recipe, devices: tuple[jax.Device, ...], own: Any, data: Batch) -> MemberScores:
    def measure(own: Any, data: Batch) -> MemberScores:
        l2, params, weight = own
        if weight is not None:
            data = data._replace(weight=weight if data.weight is None else data.weight * weight)
        metrics = evaluate_recipe(recipe, params, data, l2)
        finite = jnp.isfinite(metrics.loss) & all_finite(params)
        return MemberScores(metrics.loss, metrics.score, finite)

    return side_by_side(measure, devices, own, data)


def take_members(tree: Any, places: Sequence[int] | np.ndarray) -> Any:
    """Pick some members, in any order and as often as wanted."""
    chosen = np.asarray(places, np.int32)
    return jax.tree.map(lambda leaf: leaf[chosen], tree)


def rates_of(optimizer: Optimizer) -> dict[str, float]:
    """Tell the rates that an optimiser holds in its state, where members can differ in them."""
    with jax.ensure_compile_time_eval():
        injected = _injected(resolve_optimizer(optimizer).init(()))
    # Single precision would show 0.1 as 0.10000000149; its shortest spelling is what was given.
    return {name: float(str(np.asarray(rate))) for rates in injected for name, rate in rates.items()}


def _injected(state: Any) -> list[Mapping[str, Any]]:
    """Find the injected rates in an optimiser's state, which may be a chain's."""
    if hasattr(state, "hyperparams"):
        return [state.hyperparams]
    parts = state if isinstance(state, tuple) else ()
    return [rates for part in parts for rates in _injected(part)]


def _set_rates(opt_state: Any, rates: Mapping[str, Any]) -> Any:
    held = {name: optax.tree.get(opt_state, name) for name in rates}
    values = {name: jnp.asarray(rate, held[name].dtype) for name, rate in rates.items()}
    return optax.tree.set(opt_state, **values)


def _check_count(name: str, tree: Any, members: int) -> None:
    for leaf in jax.tree.leaves(tree):
        if np.shape(leaf)[:1] != (members,):
            raise ArgumentError(
                f"{name} must have a leading axis of {members}, one for each member's seed, "
                f"given an array of shape {list(np.shape(leaf))}: give those of the same members"
            )


def _checked_rows(given: Any, members: int, examples: int) -> Any:
    # JAX would read the last example in place of one that is not there.
    rows = np.asarray(given)
    if rows.ndim != 2 or rows.shape[0] != members or rows.shape[1] == 0 or rows.dtype.kind not in "iu":
        raise ArgumentError(
            f"rows must be whole numbers [{members}, R], R at least 1, given type {rows.dtype} and shape "
            f"{list(rows.shape)}: give each member the numbers of its examples"
        )
    if rows.min() < 0 or rows.max() >= examples:
        raise ArgumentError(
            f"rows must lie in 0 to {examples - 1} for {examples} examples, given {rows.min()} to {rows.max()}: give "
            f"the numbers of examples, counted from 0"
        )
    return jnp.asarray(rows, jnp.int32)


def _as_arrays(members: Members) -> Members:
    """Check what members differ in, and give it the types that the programs compute in."""
    seeds = np.asarray(members.seed)
    if seeds.ndim != 1 or len(seeds) == 0 or seeds.dtype.kind not in "iu":
        raise ArgumentError(
            f"seeds must be whole numbers [M], M at least 1, given type {seeds.dtype} and shape {list(seeds.shape)}: "
            f"give one for each member, as np.arange(M)"
        )
    if seeds.min() < 0 or seeds.max() >= 2**32:
        raise ArgumentError(
            f"seeds must lie in 0 to {2**32 - 1}, given {seeds.min()} to {seeds.max()}: choose others there"
        )

    def numbers(name: str, values: Any) -> Any:
        if values is None:
            return None
        if np.shape(values) != seeds.shape:
            raise ArgumentError(
                f"members need one '{name}' each, shape [{len(seeds)}] as the seeds, given shape "
                f"{list(np.shape(values))}: repeat what several share"
            )
        return jnp.asarray(values, jnp.result_type(float))

    return Members(
        jnp.asarray(seeds.astype(np.uint32)),
        {name: numbers(name, rate) for name, rate in members.rates.items()},
        numbers("l2", members.l2),
        numbers("init_scale", members.init_scale),
    )


def place_shared(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copy arrays that all members share to every device, once and not at each call."""
    return jax.device_put(tree, NamedSharding(_mesh(tuple(devices)), PartitionSpec()))


def place_members(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Divide arrays of members among devices, as `side_by_side` leaves them, so that nothing compiles again."""
    return jax.device_put(tree, NamedSharding(_mesh(tuple(devices)), PartitionSpec(AXIS)))


def side_by_side(
    one: Callable[[Any, Any], Any], devices: tuple[jax.Device, ...], own: Any, shared: Any
) -> Any:
    """Apply a function to every member: `vmap` over the members of a device, within `shard_map` over devices."""

    def on_a_device(own: Any, shared: Any) -> Any:
        return jax.vmap(one, in_axes=(0, None))(own, shared)

    by_member, by_all = PartitionSpec(AXIS), PartitionSpec()
    # The check of what varies between devices knows no mixing of shared and own numbers in a scan's state.
    return jax.shard_map(
        on_a_device, mesh=_mesh(devices), in_specs=(by_member, by_all), out_specs=by_member, check_vma=False
    )(own, shared)


def devices_for(members: int, devices: Devices) -> tuple[jax.Device, ...]:
    """Choose the devices that members can be spread evenly over."""
    if devices is None:
        local = jax.local_devices()
        count = max(number for number in range(1, len(local) + 1) if members % number == 0)
        return tuple(local[:count])
    if not devices or members % len(devices):
        raise ArgumentError(
            f"{members} members cannot be spread evenly over {len(devices)} devices: give a multiple of them"
        )
    return tuple(devices)


def _mesh(devices: tuple[jax.Device, ...]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,))
