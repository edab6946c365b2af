"""A small problem that the tests of training share."""

from typing import Any

import jax
import numpy as np

from jaxmlp.network import mlp
from jaxmlp.types import Key

EXAMPLES, BATCH = 10, 4  # the last minibatch holds 2
NET = mlp([3, 4, 2], activation="tanh", bias_init="normal:0.1")
RANDOM = np.random.default_rng(0)
INPUTS: Any = RANDOM.normal(size=(EXAMPLES, 3)).astype(np.float32)
LABELS: Any = RANDOM.integers(0, 2, EXAMPLES)
VALUES: Any = RANDOM.normal(size=(EXAMPLES, 2)).astype(np.float32)
WEIGHT: Any = RANDOM.uniform(0.1, 2, EXAMPLES).astype(np.float32)
DATA = (INPUTS, LABELS)
KEY = jax.random.key(7)


def add_noise(key: Key, inputs: Any) -> Any:
    """Add noise to the inputs: a transform that draws."""
    return inputs + jax.random.normal(key, inputs.shape, inputs.dtype)
