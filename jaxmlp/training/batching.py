"""Minibatches: shuffled indices that hold every example exactly once an epoch, and the rows that they pick."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jaxmlp.types import Batch, Key


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Count the minibatches of an epoch: S = ⌈N / B⌉."""
    return -(-examples // batch_size)


def _permutation(key: Key, examples: int) -> Int[Array, "N"]:
    """Draw an order of N examples by sorting random numbers that carry their places in their lowest bits.

    XLA sorts plain numbers several times faster than pairs: `jax.random.permutation` takes 31 ms for
    60,000 examples on a CPU, this 5 ms, beside an epoch of 500. Where one sort leaves too few random bits
    the order is sorted again, as radix sorting does, until less than one tie is to be expected.
    """
    place_bits = (examples - 1).bit_length()
    random_bits = 32 - place_bits
    sorts = max(1, math.ceil((2 * place_bits - 1) / random_bits))
    places = jnp.arange(examples, dtype=jnp.uint32)
    order = jnp.arange(examples, dtype=jnp.int32)
    for sort_key in jax.random.split(key, sorts):
        drawn = jax.random.bits(sort_key, (examples,), jnp.uint32) >> place_bits << place_bits
        mixed = jnp.sort(drawn | places) & ((1 << place_bits) - 1)
        order = order[mixed.astype(jnp.int32)]
    return order


def minibatch_indices(
    key: Key | None, examples: int, batch_size: int
) -> tuple[Int[Array, "S B"], Bool[Array, "S B"]]:
    """Lay out one epoch: which examples each step sees, every example exactly once."""
    steps = steps_per_epoch(examples, batch_size)
    padding = steps * batch_size - examples
    order = jnp.arange(examples) if key is None else _permutation(key, examples)
    indices = jnp.pad(order, (0, padding)).reshape(steps, batch_size)
    held = (jnp.arange(steps * batch_size) < examples).reshape(steps, batch_size)
    return indices, held


def gather(data: Batch, indices: Int[Array, "B"], held: Bool[Array, "B"]) -> Batch:
    """Pick a minibatch out of a data set; places that hold no example get weight 0."""
    inputs = data.inputs[indices]
    # Inputs may be integers, as pixels are; weights of 0.5 must not become 0 with them.
    is_float = jnp.issubdtype(inputs.dtype, jnp.floating)
    weight = held.astype(inputs.dtype if is_float else jnp.result_type(float))
    if data.weight is not None:
        weight = weight * data.weight[indices].astype(weight.dtype)
    return Batch(inputs, data.targets[indices], weight)
