"""Shuffled minibatch indices, so that an epoch is one scan that sees every example exactly once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jaxmlp.types import Key


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Count the minibatches of an epoch: S = ⌈N / B⌉.

    Args:
        examples: N.
        batch_size: B, at least 1.

    Returns:
        S; the last minibatch may be shorter than B.

    Example:
        >>> steps_per_epoch(10, 4)
        3
    """
    return -(-examples // batch_size)


def _permutation(key: Key, examples: int) -> Int[Array, "N"]:
    # Sorting random numbers once; `jax.random.permutation` sorts twice, against ties that at 32 bits are
    # too rare to matter here (28 ms against 12 ms for 60,000 examples, where an epoch takes 550).
    return jnp.argsort(jax.random.bits(key, (examples,)))


def minibatch_indices(
    key: Key | None, examples: int, batch_size: int
) -> tuple[Int[Array, "S B"], Bool[Array, "S B"]]:
    """Lay out one epoch: which examples each step sees, every example exactly once.

    Args:
        key: random key of the epoch's permutation; None keeps the given order.
        examples: N.
        batch_size: B, at least 1.

    Returns:
        Indices [S, B] in 0..N−1, and whether each place holds an example [S, B]. The last row is
        filled up with places that hold none; their index is 0.

    Example:
        >>> indices, held = minibatch_indices(None, 5, 2)
        >>> indices.tolist(), held.tolist()
        ([[0, 1], [2, 3], [4, 0]], [[True, True], [True, True], [True, False]])
    """
    steps = steps_per_epoch(examples, batch_size)
    padding = steps * batch_size - examples
    order = jnp.arange(examples) if key is None else _permutation(key, examples)
    indices = jnp.pad(order, (0, padding)).reshape(steps, batch_size)
    held = (jnp.arange(steps * batch_size) < examples).reshape(steps, batch_size)
    return indices, held
