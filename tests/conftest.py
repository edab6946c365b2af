"""Settings for every test: no silent broadcasting or mixing of types, and nothing kept from run to run."""

import os
from collections.abc import Iterator

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Programs that an earlier run compiled could hide what this one does; the second line is for child processes.
jax.config.update("jax_enable_compilation_cache", False)
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


@pytest.fixture
def x64() -> Iterator[None]:
    """Compute in float64 for the length of a test, by programs that are compiled fast: they are small."""
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_disable_most_optimizations", False)
