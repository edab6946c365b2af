"""Microbatches: the gradient of a minibatch as the mean of those of its parts, added in an order of its own.

    E = Σ_m S_m·E_m,   ∂E/∂params = Σ_m S_m·∂E_m/∂params,   S_m = Σ weights of part m / Σ all weights

(Huang and others 2019, GPipe, section 2.) A sum of floating-point numbers depends on the order in which they are
added (Goldberg 1991), and with several devices XLA's order depends on how many there are. Here each part is computed
by one device, and all devices add the parts in the order of their numbers: the bits are the same on any number of
devices that divides that of the parts, if each computes a part alike. CPUs do so with as many threads each; XLA takes
as many as there are cores or devices, whichever are more, or what the environment variable NPROC says.

A layer that looks at the whole minibatch, as for its statistics, sees the part.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from jaxmlp.backprop import (
    L2,
    Gradient,
    Inputs,
    Objective,
    Outputs,
    Targets,
    Weight,
    add_l2_gradient,
    example_shares,
    l2_term,
)
from jaxmlp.checks import check_size
from jaxmlp.losses import Loss
from jaxmlp.network import Network
from jaxmlp.training.parallel import AXIS
from jaxmlp.types import ArgumentError, Key, Params

# So many parts are added in one pass over the memory.
ADDED_AT_ONCE = 8


def check_microbatches(count: int, batch_size: int, mesh: Mesh | None) -> None:
    """Check that minibatches can be computed in so many parts.

    Args:
        count: the parts of a minibatch, 1 or a multiple of the devices.
        batch_size: B, as many as there are examples where that is fewer; at least as many as parts.
        mesh: the devices that share each minibatch; None for one.

    Raises:
        ArgumentError: no whole number from 1 to B, or one that the devices cannot share.

    Example:
        >>> check_microbatches(8, 32, None)
    """
    check_size("number of microbatches", count)
    if count > batch_size:
        raise ArgumentError(
            f"the number of microbatches must be at most that of a minibatch's examples, which is {batch_size}, "
            f"given {count}: give fewer"
        )
    if mesh is not None and count > 1 and count % mesh.size:
        raise ArgumentError(
            f"{mesh.size} devices cannot share {count} microbatches alike: give a number of devices that divides "
            f"{count}, or begin with a multiple of {mesh.size} microbatches"
        )


def in_microbatches(gradient: Gradient, count: int, mesh: Mesh | None = None) -> Gradient:
    """Make of a gradient one that takes a minibatch in parts.

    A layer that draws in training draws anew for each part.

    Args:
        gradient: takes what `objective_and_grads` takes and gives an `Objective`.
        count: the parts, which must divide the examples B.
        mesh: devices that share the parts; their number divides that of the parts. None for one device.

    Returns:
        A function like `gradient`. What it keeps for the way back is that of one part, beside `count` gradients.

    Raises:
        ArgumentError: when it is called, examples that cannot be divided, or weights that are not [B].

    Example:
        >>> from jaxmlp.backprop import objective_and_grads
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([2, 1], init="zeros")
        >>> found = in_microbatches(objective_and_grads, 2)(
        ...     net, init(net, jax.random.key(0)), jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[3.0], [5.0]]),
        ...     loss="half_squared_error",
        ... )
        >>> float(found.value), found.grads[0].w.tolist()  # (9 + 25)/4, and −(3·[1, 2] + 5·[3, 4])/2
        (8.5, [[-9.0], [-13.0]])
    """

    def in_parts(
        net: Network,
        params: Params,
        inputs: Inputs,
        targets: Targets,
        *,
        loss: str | Loss = "softmax_cross_entropy",
        sample_weight: Weight | None = None,
        l2: L2 = None,
        train: bool = False,
        key: Key | None = None,
    ) -> Objective:
        weight = _weight_of(sample_weight, len(inputs), count)
        measure = partial(_measure, partial(gradient, net, loss=loss, train=train))
        compute = _shared(partial(_compute, measure, count, mesh), mesh)
        parts, outputs = compute(params, key, inputs, targets, weight)
        value, grads = jax.tree.map(add_in_order, parts)
        value += l2_term(net, params, l2)
        grads = add_l2_gradient(net, params, grads, l2)
        return Objective(value, grads, outputs.reshape(-1, outputs.shape[-1]))

    return in_parts


def add_in_order(parts: Float[Array, "P ..."]) -> Float[Array, "..."]:
    """Add along the first axis: the second to the first, the third to their sum, and so on.

    Args:
        parts: what to add, [P, ...].

    Returns:
        The sum; XLA's own would take an order that serves the program at hand.

    Example:
        >>> add_in_order(jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist()
        [9.0, 12.0]
    """
    total, _ = jax.lax.scan(
        lambda total, part: (total + part, None), parts[0], parts[1:], unroll=ADDED_AT_ONCE
    )
    return total


def _weight_of(sample_weight: Weight | None, examples: int, count: int) -> Weight:
    """Take the examples' weights as floating-point numbers, 1 for each where there are none."""
    if examples % count:
        raise ArgumentError(
            f"{examples} examples cannot be divided into {count} microbatches: fill up with rows of weight 0"
        )
    if sample_weight is None:
        return jnp.ones(examples)
    if jnp.shape(sample_weight) != (examples,):
        raise ArgumentError(
            f"sample_weight must have shape [{examples}], given {list(jnp.shape(sample_weight))}"
        )
    is_float = jnp.issubdtype(sample_weight.dtype, jnp.floating)
    return sample_weight if is_float else sample_weight.astype(jnp.result_type(float))


def _shared(compute: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """Let each device of a mesh compute its rows."""
    if mesh is None:
        return compute
    whole, rows = PartitionSpec(), PartitionSpec(AXIS)
    # What each device gathers from all is alike, which shard_map cannot know.
    return jax.shard_map(
        compute,
        mesh=mesh,
        in_specs=(whole, whole, rows, rows, rows),
        out_specs=(whole, rows),
        check_vma=False,
    )


def _compute(
    measure: Callable[..., Any],
    count: int,
    mesh: Mesh | None,
    params: Params,
    key: Key | None,
    *examples: Array,
) -> tuple[Any, Array]:
    """Measure the parts that a device has, one after another.

    Returns:
        The shares of value and gradient of all parts, [count, ...], in their order; and the outputs of its own.
    """
    own = count if mesh is None else count // mesh.size
    numbers = jnp.arange(own, dtype=jnp.int32) + (0 if mesh is None else own * jax.lax.axis_index(AXIS))
    totals = jnp.sum(_whole(mesh, examples[-1]).reshape(count, -1), axis=1)
    shares = example_shares(totals, totals[:, None])
    divided = [each.reshape(own, -1, *each.shape[1:]) for each in examples]
    parts, outputs = _one_after_another(partial(measure, params, key, shares), (numbers, *divided), totals[0])
    return jax.tree.map(partial(_whole, mesh), parts), outputs


def _one_after_another(measure: Callable[..., Any], parts: Any, some_weight: Float[Array, ""]) -> Any:
    """Measure each part, as `jax.lax.map` does, by the same program however many there are.

    A loop of one part, and the picking of one part out of one, the compiler would undo: it then added 32 rows in
    another order. So it is not told the loop's length, and there is one part more, of zeros, that is not picked.
    """
    own = len(parts[0])
    parts = jax.tree.map(lambda leaf: jnp.pad(leaf, [(0, 1), *[(0, 0)] * (leaf.ndim - 1)]), parts)
    one = jax.eval_shape(measure, jax.tree.map(lambda leaf: leaf[0], parts))
    nothing = jax.tree.map(lambda shape: jnp.zeros((own, *shape.shape), shape.dtype), one)

    def measure_next(place: Array, found: Any) -> Any:
        part = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), parts)
        return jax.tree.map(
            lambda leaf, new: jax.lax.dynamic_update_index_in_dim(leaf, new, place, 0), found, measure(part)
        )

    # With a weight that is NaN the part of zeros takes the place of the last one: all shares are NaN then.
    length = own + jnp.isnan(some_weight).astype(jnp.int32)
    return jax.lax.fori_loop(0, length, measure_next, nothing)


def _whole(mesh: Mesh | None, rows: Array) -> Array:
    """Gather what the devices of a mesh hold, in their order."""
    return rows if mesh is None else jax.lax.all_gather(rows, AXIS, tiled=True)


def _measure(
    gradient: Callable[..., Objective],
    params: Params,
    key: Key | None,
    shares: Float[Array, "P"],
    part: tuple[Array, Inputs, Targets, Weight],
) -> tuple[tuple[Float[Array, ""], Params], Outputs]:
    """Compute a part: its share of the objective and of the gradient, and its outputs."""
    number, inputs, targets, weight = part
    own_key = None if key is None else jax.random.fold_in(key, number)
    found = gradient(params, inputs, targets, sample_weight=weight, key=own_key)
    share = shares[number].astype(found.value.dtype)
    # Taken here and not of the sum: of that, XLA divides in one program and multiplies by 1/Σ in another.
    return jax.tree.map(lambda leaf: share * leaf, (found.value, found.grads)), found.outputs
