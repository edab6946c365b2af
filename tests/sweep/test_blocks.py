"""Blocks fit in memory, divide evenly over devices, and the estimate of a member's memory holds."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused

from jaxmlp import Batch, mlp
from jaxmlp.sweep.blocks import COMPILING_ON_A_CPU, MEMBERS_A_CPU, block_size, bytes_per_member, narrowed_size
from jaxmlp.sweep.members import Members, evaluate_members, start_members, train_members
from jaxmlp.training.steps import Recipe

DATA = Batch(np.zeros((50, 6), np.float32), np.zeros(50, np.int32))
RECIPE = Recipe(mlp([6, 5, 3]))
ONE = jax.devices()[:1]


@pytest.mark.parametrize(
    ("members", "block", "size"), [(10, 4, 4), (10, 5, 5), (8, 5, 4), (3, 100, 3), (9, 4, 3), (1, None, 1)]
)
def test_blocks_are_even(members: int, block: int | None, size: int) -> None:
    assert block_size(RECIPE, members, DATA, devices=ONE, block=block) == size


def test_a_cpu_takes_no_more_than_is_faster() -> None:
    assert block_size(RECIPE, 1000, DATA, devices=ONE) <= MEMBERS_A_CPU
    assert block_size(RECIPE, 64, DATA, devices=ONE * 3) % 3 == 0


def test_a_block_is_narrowed_to_whole_devices_where_at_most_half_of_it_is_left() -> None:
    def narrowed(size: int, members: int, devices: int) -> int:
        return narrowed_size(RECIPE, size, members, 50, 10**9, ONE * devices)

    assert [narrowed(16, left, 2) for left in (1, 2, 3, 7, 8, 9, 40)] == [2, 2, 4, 8, 8, 16, 16]
    assert [narrowed(8, left, 8) for left in (1, 8)] == [8, 8]


def test_a_block_is_narrowed_where_copies_cost_more_than_compiling() -> None:
    each = 3 * 50 * (6 * 5 + 5 + 5 * 3 + 3)  # of a member's epoch
    enough = math.ceil(COMPILING_ON_A_CPU / (13 * each))
    assert narrowed_size(RECIPE, 16, 3, 50, enough - 1, ONE) == 16
    assert narrowed_size(RECIPE, 16, 3, 50, enough + 1, ONE) == 3


def test_memory_limits_a_block() -> None:
    each = bytes_per_member(RECIPE, 50)
    data = DATA.inputs.nbytes + DATA.targets.nbytes
    assert block_size(RECIPE, 6, DATA, devices=ONE, memory=data + 3 * each) == 3
    assert block_size(RECIPE, 6, DATA, devices=ONE, memory=data + 1) == 1
    for memory in (1, data):
        told = refused("", block_size, RECIPE, 6, DATA, devices=ONE, memory=memory)
        assert f"the data take 1,400 bytes on 1 device(s) and may take less than {memory:,}" in told


def test_data_are_counted_as_the_device_holds_them_and_not_copied() -> None:
    wide = Batch(DATA.inputs.astype(np.float64), DATA.targets.astype(np.int64), np.ones(50))
    held = 50 * (6 + 1 + 1) * 4
    each = bytes_per_member(RECIPE, 50)
    assert block_size(RECIPE, 6, wide, devices=ONE, memory=held + 3 * each) == 3
    assert block_size(RECIPE, 6, wide, devices=ONE, memory=held + 3 * each - 1) == 2
    # A view of 4 TiB, of which there is no room for a copy.
    huge = Batch(np.broadcast_to(np.float32(0), (2**30, 1024)), np.broadcast_to(np.int32(0), 2**30))
    taken = 2**30 * 1025 * 4 + 2 * bytes_per_member(RECIPE, 2**30)
    assert block_size(RECIPE, 6, huge, devices=ONE, memory=taken) == 2


@pytest.mark.parametrize("options", [{"block": 0}, {"memory": 0}, {"block": 1.5}])
def test_refuses_what_is_no_size(options: dict[str, int]) -> None:
    refused("whole number of at least 1", block_size, RECIPE, 6, DATA, devices=ONE, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "optimizer", "batch_size", "examples"),
    [([64, 64, 10], "adam", 32, 500), ([8, 4, 3], "sgd", 8, 20_000)],
)
def test_the_estimate_is_above_what_is_compiled_and_not_far(
    sizes: list[int], optimizer: str, batch_size: int, examples: int
) -> None:
    recipe = Recipe(mlp(sizes), optimizer, batch_size=batch_size)
    data = Batch(np.zeros((examples, sizes[0]), np.float32), np.zeros(examples, np.int32))

    def taken(count: int) -> int:
        devices, members = tuple(ONE), Members(jnp.arange(count, dtype=jnp.uint32), {})
        state = start_members(recipe, devices, members)
        programs = (
            train_members.lower(recipe, devices, members, state, data, 1),
            evaluate_members.lower(recipe, devices, members, state.params, data),
        )
        found = [program.compile().memory_analysis() for program in programs]
        return max(
            each.argument_size_in_bytes + each.output_size_in_bytes + each.temp_size_in_bytes
            for each in found
        )

    measured = (taken(6) - taken(2)) / 4
    estimate = bytes_per_member(recipe, examples)
    assert measured <= estimate <= 5 * measured
