"""A small problem and comparisons that the tests of training share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp.network import mlp
from jaxmlp.training import steps as training
from jaxmlp.types import ArgumentError, Key

EXAMPLES, BATCH = 10, 4  # the last minibatch holds 2
NET = mlp([3, 4, 2], activation="tanh", bias_init="normal:0.1")
RANDOM = np.random.default_rng(0)
INPUTS: Any = RANDOM.normal(size=(EXAMPLES, 3)).astype(np.float32)
LABELS: Any = RANDOM.integers(0, 2, EXAMPLES)
VALUES: Any = RANDOM.normal(size=(EXAMPLES, 2)).astype(np.float32)
WEIGHT: Any = RANDOM.uniform(0.1, 2, EXAMPLES).astype(np.float32)
DATA = (INPUTS, LABELS)
KEY = jax.random.key(7)


def same_bits(found: Any, expected: Any) -> bool:
    """Tell whether two trees of arrays (or keys) agree in every bit."""
    pairs = _pairs(found, expected)
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def assert_close(found: Any, expected: Any, *, relative: float = 2e-5, absolute: float = 1e-6) -> None:
    """Assert that two trees agree but for the rounding of float32."""
    for left, right in _pairs(found, expected):
        np.testing.assert_allclose(left, right, rtol=relative, atol=absolute)


def _pairs(found: Any, expected: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    structure: Any = jax.tree.structure(expected)
    assert jax.tree.structure(found) == structure
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return [(plain(left), plain(right)) for left, right in leaves]


def plain(leaf: Any) -> np.ndarray:
    """Copy an array, or the numbers of a random key, to NumPy."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.array(jax.random.key_data(leaf) if is_key else leaf)


def add_noise(key: Key, inputs: Any) -> Any:
    """Add noise to the inputs: a transform that draws."""
    return inputs + jax.random.normal(key, inputs.shape, inputs.dtype)


def double(key: Key, inputs: Any) -> Any:
    """Double the inputs: a transform that draws nothing."""
    return 2 * inputs


@contextmanager
def refused(words: str) -> Iterator[None]:
    """Expect an `ArgumentError` of one line that says these words."""
    with pytest.raises(ArgumentError) as caught:
        yield
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@contextmanager
def corrupted(name: str, corrupt: Callable[..., Any]) -> Iterator[None]:
    """Put a corrupted function in the place of one of `training`'s, compiled anew, and take it out again."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, name, corrupt)
        training.jitted_step.clear_cache()
        training.jitted_epoch.clear_cache()
        try:
            yield
        finally:
            training.jitted_step.clear_cache()
            training.jitted_epoch.clear_cache()
