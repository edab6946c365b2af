"""An epoch sees every example exactly once, in an order that follows the key alone."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxmlp.training.batching import minibatch_indices, steps_per_epoch

# N below, at, above and at a multiple of B; and the full batch.
SIZES = [(1, 1), (1, 4), (3, 4), (4, 4), (5, 4), (8, 4), (10, 3), (7, 1)]


def seen_once(indices: np.ndarray, held: np.ndarray, examples: int) -> bool:
    return sorted(indices[held].tolist()) == list(range(examples))


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize(("examples", "batch_size"), SIZES)
def test_every_example_is_seen_exactly_once(examples: int, batch_size: int, seed: int | None) -> None:
    key = None if seed is None else jax.random.key(seed)
    indices, held = map(np.asarray, minibatch_indices(key, examples, batch_size))
    steps = steps_per_epoch(examples, batch_size)
    assert indices.shape == held.shape == (steps, batch_size)
    assert jnp.issubdtype(indices.dtype, jnp.integer)
    assert held.dtype == bool
    assert seen_once(indices, held, examples)


def test_an_example_lost_or_seen_twice_is_caught() -> None:
    indices, held = map(np.array, minibatch_indices(jax.random.key(0), 10, 3))
    twice = indices.copy()
    twice[0, 0] = twice[1, 1]
    assert not seen_once(twice, held, 10)
    lost = held.copy()
    lost[-1, 0] = False
    assert not seen_once(indices, lost, 10)
    everything = np.ones_like(held)  # the padding taken for examples
    assert not seen_once(indices, everything, 10)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize(("examples", "batch_size"), SIZES)
def test_the_padding_closes_the_last_row(examples: int, batch_size: int, seed: int | None) -> None:
    key = None if seed is None else jax.random.key(seed)
    indices, held = map(np.asarray, minibatch_indices(key, examples, batch_size))
    assert held.ravel().tolist() == [True] * examples + [False] * (held.size - examples)
    assert held.size - examples < batch_size
    assert not np.any(indices[~held])  # an index that every data set has


@pytest.mark.parametrize(("examples", "batch_size"), SIZES)
def test_without_a_key_the_order_is_kept(examples: int, batch_size: int) -> None:
    indices, held = map(np.asarray, minibatch_indices(None, examples, batch_size))
    assert indices[held].tolist() == list(range(examples))


def test_the_order_follows_the_key() -> None:
    first, again, other = (
        np.asarray(minibatch_indices(jax.random.key(seed), 50, 8)[0]).ravel()[:50].tolist()
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert first != sorted(first)


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    orders = [
        np.asarray(minibatch_indices(jax.random.key(0), 12, batch_size)[0]).ravel()[:12].tolist()
        for batch_size in (1, 5, 12)
    ]
    assert orders[0] == orders[1] == orders[2]


def test_it_runs_compiled_and_over_many_keys() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    indices, held = jax.jit(jax.vmap(lambda key: minibatch_indices(key, 7, 3)))(keys)
    assert indices.shape == (3, 3, 3)
    for row, there, key in zip(np.asarray(indices), np.asarray(held), keys, strict=True):
        assert seen_once(row, there, 7)
        assert np.array_equal(row, minibatch_indices(key, 7, 3)[0])


@pytest.mark.parametrize(
    ("examples", "batch_size", "steps"), [(1, 1, 1), (4, 4, 1), (5, 4, 2), (8, 4, 2), (3, 9, 1)]
)
def test_the_steps_are_the_quotient_rounded_up(examples: int, batch_size: int, steps: int) -> None:
    assert steps_per_epoch(examples, batch_size) == steps


def order_of(key: jax.Array, examples: int) -> jax.Array:
    return minibatch_indices(key, examples, examples)[0][0]


def is_fair(orders: np.ndarray) -> bool:
    """Tell whether all orders [D, N] of few examples were drawn about equally often, by a chi-squared test."""
    _, counts = np.unique(orders, axis=0, return_counts=True)
    ways = math.factorial(orders.shape[1])
    return len(counts) == ways and stats.chisquare(counts).pvalue > 1e-4


def test_every_order_is_as_likely_as_any_other() -> None:
    keys = jax.random.split(jax.random.key(0), 12_000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: order_of(key, 4)))(keys))
    assert is_fair(orders)
    turned = orders.copy()
    turned[:600] = np.sort(turned[:600], axis=1)  # one draw in twenty left unshuffled
    assert not is_fair(turned)


# As many examples as need one, two, three and four sorts.
@pytest.mark.parametrize("examples", [2, 2_000, 3_000, 300_000, 1_500_000])
def test_many_examples_are_shuffled_evenly(examples: int) -> None:
    order = np.asarray(jax.jit(order_of, static_argnums=1)(jax.random.key(0), examples))
    assert np.array_equal(np.sort(order), np.arange(examples))
    if examples > 100:
        # Neighbours come in either order equally often, and places do not follow from the example.
        rising = np.mean(np.diff(order) > 0)
        assert abs(rising - 0.5) < 2 / math.sqrt(examples)
        assert abs(np.corrcoef(order, np.arange(examples))[0, 1]) < 4 / math.sqrt(examples)
