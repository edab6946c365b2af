"""Settings for every test: no silent broadcasting between ranks, no silent mixing of types."""

from collections.abc import Iterator

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64() -> Iterator[None]:
    """Compute in float64 for the length of a test."""
    with jax.enable_x64(True):
        yield
