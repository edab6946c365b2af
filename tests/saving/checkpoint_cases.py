"""Arrays that a careless copy would change, for tests of saving."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from comparisons import is_key

from jaxmlp.layers import (
    LAYERS,
    Activate,
    Committee,
    Dense,
    Dropout,
    Embed,
    Maxout,
    ParametricActivate,
    PeriodicEmbedding,
    Residual,
)

ODD = np.array([1 / 7, -0.0, np.inf, -np.inf, np.nan, -np.nan, 5e-324, 1e-40, 1 / 3])

# By name, with what a name may hold.
ARRAYS: dict[str, np.ndarray] = {
    "params[0].w": ODD.astype(np.float32).reshape(3, 3),
    "params/0.w": ODD.astype(np.float16),
    "['a.b']['c/d']": ODD.copy(),
    "a name: with spaces, ü and \n a line": np.array([0x7FC00001, 0xFFC12345], np.uint32).view(np.float32),
    "bfloat16": ODD.astype(np.float32).astype(ml_dtypes.bfloat16),
    "negative zeros": np.full((3, 2), -0.0, np.float32),
    "count": np.array(7, np.int32),
    "complex": np.array([1 - 0.0j, complex(np.nan, -np.inf)]),
    "float8": ODD.astype(np.float32).astype(ml_dtypes.float8_e5m2),
    "int4": np.arange(-8, 8).astype(ml_dtypes.int4),
    "no bfloat16": np.zeros((0, 2), ml_dtypes.bfloat16),
    "none": np.zeros((0, 3), np.float64),
    "nothing": np.zeros(0, np.int32),
    "flags": np.array([True, False]),
    "strided": np.arange(12.0)[::-2],
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "../../outside": np.arange(5, dtype=np.int64),
    "": np.array(-0.0),
}


# Layers whose settings have no default need an example; any other is tested by its bare name.
LAYER_EXAMPLES: dict[str, Any] = {
    "Dense": Dense(3, bias_init="normal:1.0"),
    "Activate": Activate("leaky_relu:0.1"),
    "ParametricActivate": ParametricActivate("mish"),
    "Embed": Embed(columns=np.array([2, 0]), codes=[3, 1]),
    "Dropout": Dropout(0.15, "flat_cos"),
    "Residual": Residual([Dense(3), Residual([Activate("elu:0.5")])]),
    "Maxout": Maxout(3),
    "Committee": Committee([Dense(3), Dropout(0.1)], members=2, sigmas=[0.1, 4.0]),
}
LAYER_CASES = [
    *(LAYER_EXAMPLES.get(name) or LAYERS[name]() for name in LAYERS),
    Dense(2, bias=False, weight_init="uniform:-0.05,0.05", precision=None),
    Dense(2, precision="bfloat16"),
    Dense(2, weight_init="normal:1", parametrisation="ntk"),
    PeriodicEmbedding(columns=np.int64(2), form="plr", frequencies=3, size=5, sigma=4.0),
    Activate("gelu_tanh"),
]


class Bomb:
    """Raises where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


def odd_like(shapes: Any) -> Any:
    """A tree of given shapes and types, filled with odd numbers; every random key another one."""

    def fill(shape: Any) -> Any:
        if is_key(shape):
            return jax.random.key(9)
        values = ODD if jnp.issubdtype(shape.dtype, jnp.floating) else np.arange(-3, 9)
        return jnp.array(np.resize(values, shape.shape).astype(shape.dtype))

    return jax.tree.map(fill, shapes)
