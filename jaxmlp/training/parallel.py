"""Data parallelism: the minibatches of one network shared by several devices, of one process or of many.

The parameters are whole on every device, and so are the data; each device computes its rows of every minibatch.
The rules of the layers know nothing of it: XLA's partitioner divides what is computed from divided rows and adds
the sums over devices: a minibatch means the same on 1 device or 8.
"""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxmlp.types import ArgumentError

Devices: TypeAlias = Sequence[jax.Device] | None

AXIS = "batch"


def memory_of(devices: Sequence[jax.Device]) -> int | None:
    """Tell how many bytes devices can hold together; CPU devices share their machine's."""
    if devices[0].platform != "cpu":
        limits: list[Any] = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
        return None if None in limits else sum(limits)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # there is no such question on Windows
        return None


def batch_mesh(devices: Devices) -> Mesh | None:
    """Lay out devices to share the minibatches of one network, its parameters being on all of them."""
    if devices is None:
        return None
    given = list(devices) if isinstance(devices, Sequence) else []
    if not (0 < len(given) == len(set(given)) and all(isinstance(each, jax.Device) for each in given)):
        raise ArgumentError(
            f"devices must be at least one and each once, given {len(given)}: jax.devices() are all of them"
        )
    if set(devices) == jax.device_put(0.0).devices():
        return None
    return Mesh(np.array(devices), (AXIS,))


def place_whole(tree: Any, mesh: Mesh | None) -> Any:
    """Bring arrays to every device of a mesh, or to the default one; of several processes each gives an equal copy."""
    if mesh is None:
        return jax.device_put(tree)
    sharding = NamedSharding(mesh, PartitionSpec())

    def place(leaf: Any) -> Any:
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(place, tree)


def share_rows(mesh: Mesh | None, *blocks: Array) -> tuple[Array, ...]:
    """Divide the columns of index blocks among devices; columns of 0 fill up what is uneven.

    What is computed from them is then divided the same way, and XLA adds the sums over devices where a
    result is wanted whole; no rule of a layer has to know of devices.
    """
    if mesh is None:
        return blocks
    filled = tuple(jnp.pad(block, ((0, 0), (0, -block.shape[1] % mesh.size))) for block in blocks)
    return jax.lax.with_sharding_constraint(filled, NamedSharding(mesh, PartitionSpec(None, AXIS)))


def keep_whole(mesh: Mesh | None, tree: Any) -> Any:
    """Hold arrays whole on every device of a mesh, inside a compiled function."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def largest_of_processes(number: int, mesh: Mesh | None) -> int:
    """Take the largest of the numbers that the processes of a mesh hold, for all to decide alike."""
    if mesh is None or len({device.process_index for device in mesh.devices.flat}) == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))
