"""How many members to train at a time: as many as fit in memory, and no more than make it faster."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmlp.network import layer_shapes
from jaxmlp.training.evaluation import CHUNK
from jaxmlp.training.parallel import Devices, memory_of
from jaxmlp.training.steps import Recipe, init_state
from jaxmlp.types import ArgumentError, Batch, check_whole

UNKNOWN_MEMORY = 2**33  # bytes, where a device does not tell what it has: what small ones have

# Members a CPU device trains at a time. Measured on 2 cores of an AMD EPYC, CPU time a member: 64-64-10 takes as
# long with 4 as with 128; 784-300-10 takes 30 to 36 ms with 4 or 8 and 47 with 16, whose weights leave the cache.
MEMBERS_A_CPU = 8

# Multiplications that a machine does in the time in which it compiles a program: 2 s at 6e10 a second, as measured in
# sweeps of 64-64-10 on 2 cores of an AMD EPYC. Of an accelerator a hundred times as many are assumed.
COMPILING_ON_A_CPU = 1e11
COMPILING_ELSEWHERE = 1e13


def bytes_per_member(recipe: Recipe, examples: int) -> int:
    """Estimate the memory that one member needs in training and evaluation, data left out.

        2·state + 2·parameters + max(training, evaluation)
        training   = a·B·(2·I + 4·Σ O) + 24·N
        evaluation = a·1024·2·Σ O

    The state (parameters and the optimiser's) is there before and after an epoch, beside gradients and updates;
    a is a number's size, Σ O runs over the layers; a shuffled order of N takes keys and places, each twice.
    """
    state = jax.eval_shape(lambda: init_state(recipe.net, recipe.optimizer, jax.random.key(0)))
    parameters = _bytes_of(state.params)
    widths = sum(shape.out_features for shape in layer_shapes(recipe.net))
    item = jnp.zeros(()).dtype.itemsize
    batch = min(recipe.batch_size, examples)
    training = item * batch * (2 * recipe.net.in_features + 4 * widths) + 24 * examples
    evaluation = item * CHUNK * 2 * widths
    return 2 * (parameters + _bytes_of(state.opt_state)) + 2 * parameters + max(training, evaluation)


def _bytes_of(tree: Any) -> int:
    """Count the bytes that arrays take on a device, where float64 becomes float32 unless JAX computes in it."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size * jax.dtypes.canonicalize_dtype(leaf.dtype).itemsize for leaf in leaves)


def block_size(
    recipe: Recipe,
    members: int,
    data: Batch,
    *,
    devices: Devices = None,
    block: int | None = None,
    memory: int | None = None,
) -> int:
    """Choose how many members to train at a time: as many as fit, in blocks of equal size.

    On CPUs a block holds at most 8 members a device, because more are no faster (see `MEMBERS_A_CPU`).
    """
    check_whole("number of members", members)
    local = tuple(devices or jax.local_devices())
    most = members
    if block is not None:
        check_whole("block", block)
        most = min(most, block)
    elif local[0].platform == "cpu":
        most = min(most, MEMBERS_A_CPU * len(local))
    if memory is not None:
        check_whole("memory in bytes", memory)
    allowed = (memory_of(local) or UNKNOWN_MEMORY) // 2 if memory is None else memory
    taken = len(local) * _bytes_of(data)
    left = allowed - taken
    if left <= 0:
        raise ArgumentError(
            f"the data take {taken:,} bytes on {len(local)} device(s) and may take less than {allowed:,}: give fewer "
            f"examples, fewer devices, or more memory with memory="
        )
    # The estimate of a member is generous: one is tried where the data leave less than it.
    most = max(1, min(most, left // bytes_per_member(recipe, len(data.inputs))))
    blocks = -(-members // most)
    even = -(-members // blocks)
    return -(-even // len(local)) * len(local)


def narrowed_size(
    recipe: Recipe, size: int, members: int, examples: int, epochs: int, devices: Sequence[jax.Device]
) -> int:
    """Cut a block to the few members that are left to train, as by successive halving, where it is worth a program.

    A block is filled up with copies, which cost as much as members do:

        copies·epochs·3·N·Σ I·O

    multiplications, forward and backward. A block of another size is another program to compile.
    """
    needed = -(-members // len(devices)) * len(devices)
    if needed > size // 2:
        return size
    products = sum(shape.parameters for shape in layer_shapes(recipe.net))
    saved = (size - needed) * epochs * 3 * examples * products
    compiling = COMPILING_ON_A_CPU if devices[0].platform == "cpu" else COMPILING_ELSEWHERE
    return needed if saved > compiling else size
