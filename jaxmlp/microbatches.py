"""Microbatches: the gradient of a minibatch as the mean of those of its parts, added in an order of its own.

    E = Σ_m S_m·E_m,   ∂E/∂params = Σ_m S_m·∂E_m/∂params,   S_m = Σ weights of part m / Σ all weights

(Huang and others 2019, GPipe, section 2.) A sum of floating-point numbers depends on the order in which they are
added (Goldberg 1991), and with several devices XLA's order depends on how many there are. Here each part is computed
by one device, and the parts are added in the order of their numbers by all: to the last bit the same on any number
of devices that divides that of the parts.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from jaxmlp.backprop import (
    L2,
    Inputs,
    Objective,
    Outputs,
    Targets,
    Weight,
    add_l2_gradient,
    example_shares,
    l2_term,
)
from jaxmlp.data_parallel import AXIS
from jaxmlp.errors import ArgumentError
from jaxmlp.losses import Loss
from jaxmlp.network import Network
from jaxmlp.types import Key, Params

Gradient: TypeAlias = Callable[..., Objective]


def check_microbatches(count: int, batch_size: int, mesh: Mesh | None) -> None:
    """Raise an ArgumentError unless minibatches can be computed in so many parts.

    Args:
        count: the parts of a minibatch, 1 or a multiple of the devices.
        batch_size: B, at least as many as parts.
        mesh: the devices that share each minibatch; None for one.

    Example:
        >>> check_microbatches(8, 32, None)
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= batch_size:
        raise ArgumentError(
            f"microbatches must be a whole number from 1 to the batch size, which is {batch_size}, given {count!r}"
        )
    if mesh is not None and count > 1 and count % mesh.size:
        raise ArgumentError(
            f"microbatches must be a multiple of the {mesh.size} devices that share them, given {count}: "
            f"give {-(-count // mesh.size) * mesh.size}, or other devices"
        )


def add_in_order(parts: Float[Array, "M ..."]) -> Float[Array, "..."]:
    """Add along the first axis, the first two first, then the third.

    Args:
        parts: what to add, [M, ...].

    Returns:
        The sum, whose roundings do not depend on how XLA would take it.

    Example:
        >>> add_in_order(jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist()
        [9.0, 12.0]
    """
    return reduce(jnp.add, list(parts))


def in_microbatches(gradient: Gradient, count: int, mesh: Mesh | None = None) -> Gradient:
    """Make of a gradient one that takes a minibatch in parts.

    A layer that draws in training draws anew for each part.

    Args:
        gradient: takes what `objective_and_grads` takes and gives an `Objective`.
        count: the parts, which must divide the examples B.
        mesh: devices that share the parts; their number divides that of the parts. None for one device.

    Returns:
        A function like `gradient`; its memory is that of one part, and of `count` gradients.

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

    def found(
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
        weight = jnp.ones(len(inputs), inputs.dtype) if sample_weight is None else sample_weight
        measure = partial(_measure, partial(gradient, net, loss=loss, train=train))
        compute = _shared(partial(_compute, measure, count, mesh), mesh)
        parts, outputs = compute(params, key, inputs, targets, weight)
        value, grads = jax.tree.map(add_in_order, parts)
        value += l2_term(net, params, l2)
        grads = add_l2_gradient(net, params, grads, l2)
        return Objective(value, grads, outputs.reshape(-1, outputs.shape[-1]))

    return found


def _shared(compute: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """Let each device of a mesh compute its rows."""
    if mesh is None:
        return compute
    whole, rows = PartitionSpec(), PartitionSpec(AXIS)
    # What each device gathers from all is alike, which shard_map cannot know.
    return jax.shard_map(
        compute, mesh=mesh, in_specs=(whole, whole, rows, rows, rows), out_specs=whole, check_vma=False
    )


def _compute(
    measure: Callable[..., Any],
    count: int,
    mesh: Mesh | None,
    params: Params,
    key: Key | None,
    *examples: Array,
) -> Any:
    """Measure the parts that a device has, one after another, and collect those of all, in their order."""
    own = count if mesh is None else count // mesh.size
    numbers = jnp.arange(own, dtype=jnp.int32) + (0 if mesh is None else own * jax.lax.axis_index(AXIS))
    totals = jnp.sum(_whole(mesh, examples[-1]).reshape(count, -1), axis=1)
    parts = [each.reshape(own, -1, *each.shape[1:]) for each in examples]
    measured = jax.lax.map(
        partial(measure, params, key, example_shares(totals, totals[:, None])), (numbers, *parts)
    )
    return jax.tree.map(partial(_whole, mesh), measured)


def _whole(mesh: Mesh | None, rows: Array) -> Array:
    """Gather what the devices of a mesh hold, in their order."""
    return rows if mesh is None else jax.lax.all_gather(rows, AXIS, tiled=True)


def _measure(
    gradient: Callable[..., Objective],
    params: Params,
    key: Key | None,
    shares: Float[Array, "M"],
    part: tuple[Array, Inputs, Targets, Weight],
) -> tuple[tuple[Float[Array, ""], Params], Outputs]:
    """Compute a part: its share of the objective and of the gradient, and its outputs."""
    # Nothing outside may be fused with a part, or where it is computed could change its roundings.
    number, inputs, targets, weight = jax.lax.optimization_barrier(part)
    own_key = None if key is None else jax.random.fold_in(key, number)
    found = gradient(params, inputs, targets, sample_weight=weight, key=own_key)
    share = shares[number].astype(found.value.dtype)
    # Taken here and not of the sum, so that nothing but adding is left where the parts meet.
    return jax.tree.map(lambda leaf: share * leaf, (found.value, found.grads)), found.outputs
