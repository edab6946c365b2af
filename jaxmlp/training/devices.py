"""Work spread over devices: the GPUs of a machine, or its CPU cores where they are set up as devices.

A matrix product of a small network leaves all but one core idle. With one CPU device a core
(`jax.config.update("jax_num_cpu_devices", …)` before JAX starts its backend) each core has members of its own.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmlp.types import ArgumentError

Devices: TypeAlias = Sequence[jax.Device] | None

AXIS = "members"


def memory_of(devices: Sequence[jax.Device]) -> int | None:
    """Tell how many bytes devices can hold together; CPU devices share their machine's."""
    if devices[0].platform != "cpu":
        limits: list[int | None] = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
        told = [limit for limit in limits if limit is not None]
        return sum(told) if len(told) == len(limits) else None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # there is no such question on Windows
        return None


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
