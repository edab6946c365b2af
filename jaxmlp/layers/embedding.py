"""Layers that turn a column into several numbers: a number into waves, the code of a category into a vector."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp.layers.layer import Inputs, Outputs
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError, Key, Params, Residuals, check_whole

FORMS = ("pbld", "pl", "plr")


class PeriodicParams(NamedTuple):
    """The parameters of a `PeriodicEmbedding` of C columns, with F frequencies and D numbers a column."""

    w1: Any  # frequencies, [C, F]
    b1: Any  # phases, [C, F], or None in the forms "pl" and "plr"
    w2: Any  # [C, F, D], or [C, 2F, D] in the forms "pl" and "plr"
    b2: Any  # [C, D]


@dataclass(frozen=True)
class PeriodicEmbedding:
    """A layer that embeds each of the first columns of a table in waves of learnt frequency; the others pass.

    In the form "pbld" column x becomes [cos(2π·x·w₁ + b₁)·w₂ + b₂, x] (Holzmüller, Grinsztajn and Steinwart 2024),
    in "pl" [cos(2π·x·w₁), sin(2π·x·w₁)]·w₂ + b₂, and in "plr" relu of that (Gorishniy, Rubachev and Babenko 2022).
    At first w₁ is normal, b₁ uniform in ±π, and w₂ and b₂ are uniform in ±1/√H for H waves.

    Args:
        columns: C, how many of the first columns are embedded; None for all. One-hot columns stand behind them.
        form: "pbld", "pl" or "plr".
        frequencies: F, how many a column has.
        size: how many numbers a column becomes, x among them in the form "pbld"; at least 2 there.
        sigma: standard deviation of the initial frequencies: larger follows finer detail.

    Raises:
        ArgumentError: a count is no positive integer, the form is not known, sigma is not above 0, or there are
            fewer inputs than columns.

    Example:
        >>> layer = PeriodicEmbedding(columns=2)
        >>> params, features = layer.init(jax.random.key(0), 5)
        >>> layer.forward(params, jnp.ones((4, 5)))[0].shape, features  # 2 columns of 4 numbers, 3 as they are
        ((4, 11), 11)
    """

    columns: int | None = None
    form: str = "pbld"
    frequencies: int = 16
    size: int = 4
    sigma: float = 0.1

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown_name("form of a periodic embedding", str(self.form), FORMS)
        if self.columns is not None:
            check_whole("a periodic embedding's number of columns", self.columns)
        check_whole("a periodic embedding's number of frequencies", self.frequencies)
        check_whole("a periodic embedding's size", self.size, 2 if self.form == "pbld" else 1)
        if not 0 < self.sigma < math.inf:
            raise ArgumentError(f"sigma must be a finite number above 0, given {self.sigma!r}")

    @property
    def title(self) -> str:
        return f"{self.form} embedding"

    def init(self, key: Key, in_features: int) -> tuple[PeriodicParams, int]:
        count = in_features if self.columns is None else self.columns
        if count > in_features:
            raise ArgumentError(
                f"a periodic embedding of {count} columns has {in_features} inputs: embed fewer"
            )
        is_pbld = self.form == "pbld"
        waves = self.frequencies if is_pbld else 2 * self.frequencies
        numbers = self.size - 1 if is_pbld else self.size
        keys = jax.random.split(key, 4)
        bound = 1 / math.sqrt(waves)
        params = PeriodicParams(
            w1=self.sigma * jax.random.normal(keys[0], (count, self.frequencies)),
            b1=jax.random.uniform(keys[1], (count, self.frequencies), minval=-math.pi, maxval=math.pi)
            if is_pbld
            else None,
            w2=jax.random.uniform(keys[2], (count, waves, numbers), minval=-bound, maxval=bound),
            b2=jax.random.uniform(keys[3], (count, numbers), minval=-bound, maxval=bound),
        )
        return params, count * self.size + in_features - count

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        x, rest = inputs[:, : len(params.w1), None], inputs[:, len(params.w1) :]
        # z = 2π·x·w₁ + b₁, or [2π·x·w₁, 2π·x·w₁ − π/2], whose cosine is that of the first and its sine;  h = cos z
        z = 2 * math.pi * x * params.w1[None]
        z = jnp.concatenate([z, z - math.pi / 2], axis=2) if params.b1 is None else z + params.b1[None]
        # Without the barriers XLA computes each wave again wherever it is read.
        waves, sines = map(jax.lax.optimization_barrier, (jnp.cos(z), jnp.sin(z)))
        # y = h·w₂ + b₂, column by column
        y = jnp.einsum("bch,chd->bcd", waves, params.w2, precision="float32") + params.b2[None]
        if self.form == "plr":
            y = jax.nn.relu(y)
        embedded = jnp.concatenate([y, x], axis=2) if self.form == "pbld" else y
        outputs = jnp.concatenate([embedded.reshape(len(inputs), -1), rest], axis=1)
        return outputs, (x, waves, sines, y)

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        x, waves, sines, y = residuals
        count, numbers = params.b2.shape
        own, rest_grad = output_grad[:, : count * self.size], output_grad[:, count * self.size :]
        own = own.reshape(-1, count, self.size)
        y_grad = own[:, :, :numbers]
        if self.form == "plr":
            # ∂E/∂y ⊙ relu′
            y_grad = y_grad * (y > 0).astype(y.dtype)
        # ∂E/∂w₂ = Σ_b h_b·∂E/∂y_bᵀ,  ∂E/∂b₂ = Σ_b ∂E/∂y_b
        w2_grad = jnp.einsum("bch,bcd->chd", waves, y_grad, precision="float32")
        b2_grad = jnp.sum(y_grad, axis=0)
        # ∂E/∂h = ∂E/∂y·w₂ᵀ,  ∂E/∂z = −sin z ⊙ ∂E/∂h, summed over both where a frequency has two
        waves_grad = jnp.einsum("bcd,chd->bch", y_grad, params.w2, precision="float32")
        z_grad = -jnp.sum((sines * waves_grad).reshape(len(x), count, -1, self.frequencies), axis=2)
        # ∂E/∂w₁ = 2π·Σ_b x_b·∂E/∂z_b,  ∂E/∂b₁ = Σ_b ∂E/∂z_b
        w1_grad = 2 * math.pi * jnp.sum(x * z_grad, axis=0)
        b1_grad = None if params.b1 is None else jnp.sum(z_grad, axis=0)
        # ∂E/∂x = 2π·Σ_f w₁_f·∂E/∂z_f, and what came back to x itself
        x_grad = 2 * math.pi * jnp.sum(params.w1[None] * z_grad, axis=2)
        if self.form == "pbld":
            x_grad = x_grad + own[:, :, -1]
        grads = PeriodicParams(w1_grad, b1_grad, w2_grad, b2_grad)
        return grads, jnp.concatenate([x_grad, rest_grad], axis=1)

    def kinds(self, params: PeriodicParams) -> PeriodicParams:
        return PeriodicParams(
            "embedding", None if params.b1 is None else "embedding", "embedding", "embedding"
        )


@dataclass(frozen=True)
class Embed:
    """A layer that turns columns of category codes into learnt vectors, behind the columns that it leaves.

    Code n of a column becomes row n of its table, n = 1 … the column's number of codes. 0, what is not known, and
    any other number become zeros. At first the tables are normal (Guo and Berkhahn 2016).

    Args:
        columns: the numbers of the columns that hold codes, from 0.
        codes: how many codes each of them has.
        size: how many numbers a code becomes.

    Raises:
        ArgumentError: columns and codes do not go together, a column is named twice or is not among the inputs, or a
            count is no positive integer.

    Example:
        >>> layer = Embed(columns=(1,), codes=(2,), size=2)
        >>> table = jnp.array([[1.0, 2.0], [3.0, 4.0]])
        >>> layer.forward(table, jnp.array([[0.5, 2.0], [0.75, 0.0]]))[0].tolist()
        [[0.5, 3.0, 4.0], [0.75, 0.0, 0.0]]
    """

    columns: tuple[int, ...]
    codes: tuple[int, ...]
    size: int = 8

    def __post_init__(self) -> None:
        for name, least in (("columns", 0), ("codes", 1)):
            given = tuple(getattr(self, name))
            for each in given:
                check_whole(f"each of an embedding's {name}", each, least)
            object.__setattr__(self, name, tuple(map(int, given)))
        if not 0 < len(self.columns) == len({*self.columns}) == len(self.codes):
            raise ArgumentError(
                "an embedding needs columns, each once, and a number of codes for each: "
                f"given columns {self.columns} and codes {self.codes}"
            )
        check_whole("an embedding's size", self.size)

    def init(self, key: Key, in_features: int) -> tuple[Params, int]:
        if max(self.columns) >= in_features:
            raise ArgumentError(
                f"an embedding of columns {self.columns} has {in_features} inputs, 0 the first"
            )
        table = jax.random.normal(key, (sum(self.codes), self.size))
        return table, in_features + len(self.columns) * (self.size - 1)

    def forward(self, params: Params, inputs: Inputs, **training: Any) -> tuple[Outputs, Residuals]:
        codes = inputs[:, np.array(self.columns)].astype(jnp.int32)
        counts = np.array([self.codes], np.int32)
        # Row r = start of the column + code − 1 of the table t; one behind its end for a code that is not known.
        is_known = (codes >= 1) & (codes <= counts)
        starts = np.cumsum(counts, axis=1, dtype=np.int32) - counts
        rows = jnp.where(is_known, starts + codes - 1, len(params))
        # y = t_r, or 0
        vectors = params.at[rows].get(mode="fill", fill_value=0)
        others = inputs[:, self._others(inputs.shape[1])]
        return jnp.concatenate([others, vectors.reshape(len(inputs), -1)], axis=1), rows

    def backward(self, params: Params, residuals: Residuals, output_grad: Outputs) -> tuple[Params, Inputs]:
        width = output_grad.shape[1] - len(self.columns) * self.size
        vectors_grad = output_grad[:, width:].reshape(-1, self.size)
        # ∂E/∂t_r = Σ ∂E/∂y over the places that took row r
        table_grad = jax.ops.segment_sum(vectors_grad, residuals.ravel(), num_segments=len(params))
        # ∂E/∂x: the other columns' own, and 0 for codes
        features = width + len(self.columns)
        input_grad = jnp.zeros((len(output_grad), features), output_grad.dtype)
        return table_grad, input_grad.at[:, self._others(features)].set(output_grad[:, :width])

    def _others(self, in_features: int) -> np.ndarray:
        return np.setdiff1d(np.arange(in_features), self.columns)

    def kinds(self, params: Params) -> Any:
        return "weight"  # that of a dense layer on one-hot columns, which this is without the zeros
