"""Comparisons that tests of all rooms share: of bits, of numbers, and of a refusal's line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp.types import ArgumentError


def refused(words: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Insist that a call is refused in one line with these words, where "..." is any text, and give the line.

    A call that takes a file and no more has to name it.
    """
    with pytest.raises(ArgumentError) as caught:
        call(*arguments, **options)
    line = str(caught.value)
    assert re.search(".*".join(map(re.escape, words.split("..."))), line), line
    assert "\n" not in line
    match arguments:
        case [Path() as path] if not (options or path.is_dir()):
            assert path.name in line
    return line


def is_key(leaf: Any) -> bool:
    """Tell whether an array, or the shape of one, is of random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def plain(leaf: Any) -> np.ndarray:
    """Copy an array, or the numbers of a random key, to NumPy."""
    return np.array(jax.random.key_data(leaf) if hasattr(leaf, "dtype") and is_key(leaf) else leaf)


def bits(tree: Any) -> list[tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of every leaf; random keys by their data."""
    leaves = jax.tree.leaves(tree)
    kinds = [str(leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype) for leaf in leaves]
    return [(kind, each.shape, each.tobytes()) for kind, each in zip(kinds, map(plain, leaves), strict=True)]


def same_bits(found: Any, expected: Any) -> bool:
    """Tell whether two trees of arrays (or keys) have one structure and agree in every bit."""
    structure: Any = jax.tree.structure(expected)
    return jax.tree.structure(found) == structure and bits(found) == bits(expected)


def pairs(found: Any, expected: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pair the leaves of two trees, which have to have one structure and the same shapes."""
    structure: Any = jax.tree.structure(expected)
    assert jax.tree.structure(found) == structure
    together = list(zip(*(map(plain, jax.tree.leaves(tree)) for tree in (found, expected)), strict=True))
    assert all(left.shape == right.shape for left, right in together)
    return together


def assert_close(found: Any, expected: Any, *, relative: float = 2e-5, absolute: float = 1e-6) -> None:
    """Assert that two trees agree but for the rounding of float32."""
    for left, right in pairs(found, expected):
        np.testing.assert_allclose(left, right, rtol=relative, atol=absolute)


def largest_difference(found: Any, expected: Any, *, relative: bool = False) -> float:
    """Measure max |a − b|, or max |a − b| / max |b|, of the worst pair of two trees; NaN where any number is."""
    worst = [0.0]
    for left, right in pairs(found, expected):
        size = float(np.max(np.abs(right), initial=0.0)) if relative else 1.0
        worst.append(float(np.max(np.abs(left - right), initial=0.0)) / (size or 1.0))
    return float(np.max(worst))
