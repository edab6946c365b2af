"""The proof: the hand-written gradient against `jax.grad` and against finite differences, tensor by tensor.

This is the one file of the package that differentiates automatically. Everything is computed in
float64, whatever the parameters' own type.

A tensor passes against autodiff when ‖hand − auto‖∞ ≤ 1e-10·‖auto‖∞ + 1e-14·s, where s is the largest
absolute term summed into it: rounding is relative to the terms of a sum, not to the sum.
It passes against finite differences when each sampled entry agrees within 1e-6·‖auto‖∞ + 1e-9·max(1, |E|).
"""

from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Num

from jaxmlp.backprop import example_shares, objective, objective_and_grads, traced_l2
from jaxmlp.layers import Activate, Dense, Softmax
from jaxmlp.losses import Loss, resolve_loss
from jaxmlp.network import Network, propagate
from jaxmlp.types import Key, Params, Residuals

AUTODIFF_RELATIVE, AUTODIFF_TERM = 1e-10, 1e-14
DIFFERENCE_RELATIVE, DIFFERENCE_ABSOLUTE = 1e-6, 1e-9
STEP = 2e-4  # of the outer stencil: balances truncation, ~STEP⁴, against rounding, ~1e-16/STEP


class GradientRow(NamedTuple):
    """How one tensor's hand-written gradient compares.

    Attributes:
        path: where the tensor stands among the parameters, as "0.w".
        shape: its shape.
        autodiff_error: largest |hand − auto| over the tensor.
        autodiff_bound: what that may be at most.
        autodiff_size: ‖auto‖∞, which a relative error is relative to.
        difference_error: largest |hand − finite difference| over the sampled entries, or NaN.
        difference_bound: what that may be at most.
        sampled: how many entries were compared with finite differences.
        skipped: how many more were left out because their stencil crosses a kink.
    """

    path: str
    shape: tuple[int, ...]
    autodiff_error: float
    autodiff_bound: float
    autodiff_size: float
    difference_error: float
    difference_bound: float
    sampled: int
    skipped: int

    @property
    def passed(self) -> bool:
        """Whether both errors are within their bounds; a value that is not finite never is."""
        by_autodiff = self.autodiff_error <= self.autodiff_bound < np.inf
        return by_autodiff and (self.sampled == 0 or self.difference_error <= self.difference_bound)

    @property
    def autodiff_relative(self) -> float:
        """The largest error against autodiff, relative to the tensor's largest gradient entry."""
        return _relative(self.autodiff_error, self.autodiff_size)

    @property
    def difference_relative(self) -> float:
        """The largest error against finite differences, relative to the tensor's largest gradient entry."""
        return _relative(self.difference_error, self.autodiff_size)

    def line(self) -> str:
        """The row as a line of the report's table."""
        verdict = "" if self.passed else "  OVER ITS BOUND"
        return (
            f"{self.path:<10} {list(self.shape)!s:<14} {self.autodiff_relative:>12.1e} "
            f"{self.difference_relative:>15.1e} {self.sampled:>8} {self.skipped:>8}{verdict}"
        )


class GradientReport(NamedTuple):
    """How a network's hand-written gradient compares, a row a tensor.

    Attributes:
        rows: one GradientRow a tensor, in the parameters' order.
        direction: a row for the derivative along one random direction through all parameters, or None
            where finite differences were not asked for.
    """

    rows: tuple[GradientRow, ...]
    direction: GradientRow | None

    @property
    def passed(self) -> bool:
        """Whether every row is within its bounds."""
        return all(row.passed for row in self._all_rows())

    @property
    def worst(self) -> GradientRow:
        """The row that uses up the largest part of its autodiff bound."""
        return max(self.rows, key=_share_of_bound)

    def _all_rows(self) -> tuple[GradientRow, ...]:
        return self.rows if self.direction is None else (*self.rows, self.direction)

    def __str__(self) -> str:
        """A table: path, shape, largest relative errors, verdict."""
        lines = [
            f"{'tensor':<10} {'shape':<14} {'vs autodiff':>12} {'vs differences':>15} "
            f"{'sampled':>8} {'skipped':>8}"
        ]
        lines += [row.line() for row in self._all_rows()]
        return "\n".join(lines)


def _relative(error: float, size: float) -> float:
    return error / size if size > 0 else (0.0 if error == 0 else error)


def _share_of_bound(row: GradientRow) -> float:
    if not row.autodiff_error <= row.autodiff_bound:
        return float("inf")
    return row.autodiff_error / row.autodiff_bound if row.autodiff_bound > 0 else 0.0


def check_gradients(
    net: Network,
    params: Params,
    inputs: Float[Array, "B I"],
    targets: Num[Array, "B ..."],
    *,
    loss: str | Loss = "softmax_cross_entropy",
    sample_weight: Float[Array, "B"] | None = None,
    l2: float = 0.0,
    train: bool = False,
    key: Key | None = None,
    finite_differences: bool = True,
    entries: int = 64,
    seed: int = 0,
) -> GradientReport:
    """Compare a network's hand-written gradient with `jax.grad` and with finite differences, in float64.

    Args:
        net: the network.
        params: its parameters, of any float type.
        inputs: [B, I].
        targets: labels [B], or [B, K], as the loss takes them.
        loss: a loss's name or a `Loss` pair.
        sample_weight: [B], at least 0; None means 1 for each.
        l2: strength of the penalty on weights.
        train: whether layers behave as in training.
        key: random key for layers that draw in training.
        finite_differences: whether to take finite differences too, which costs a few hundred forward passes.
        entries: how many entries of each tensor to sample for them.
        seed: of the sample and the direction.

    Returns:
        A report with a row a tensor; `report.passed` tells whether all are within their bounds.

    Raises:
        ArgumentError: shapes that do not fit, or an unknown loss.

    Example:
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([3, 4, 2], activation="tanh")
        >>> params = init(net, jax.random.key(0))
        >>> check_gradients(net, params, jnp.ones((5, 3)), jnp.array([0, 1, 1, 0, 1])).passed
        True
    """
    with jax.enable_x64(True):
        params, inputs, targets, sample_weight = jax.tree.map(
            _to_float64, (params, inputs, targets, sample_weight)
        )
        keywords: dict[str, Any] = {
            "loss": loss,
            "sample_weight": sample_weight,
            "l2": traced_l2(l2),
            "train": train,
            "key": key,
        }

        @jax.jit
        def energy(candidate: Params) -> Float[Array, ""]:
            return objective(net, candidate, inputs, targets, **keywords)

        hand, auto, terms = _gradients(net, params, inputs, targets, **keywords)
        rows = _compare_with_autodiff(hand, auto, terms)
        if not finite_differences:
            return GradientReport(rows, None)
        return _compare_with_differences(energy, params, hand, auto, rows, entries, seed)


def _to_float64(leaf: Any) -> Any:
    array = np.asarray(leaf)
    # Not jnp.asarray, which compiles a program for every shape.
    return jax.device_put(array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array)


def _paths(params: Params) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]


def _largest(array: Array) -> Float[Array, ""]:
    return jnp.max(jnp.abs(array), initial=0.0)


# --- against autodiff ---


@partial(jax.jit, static_argnums=0, static_argnames=("loss", "train"))
def _gradients(
    net: Network, params: Params, inputs: Float[Array, "B I"], targets: Num[Array, "B ..."], **keywords: Any
) -> tuple[Params, Params, Params]:
    """Compute the gradient by hand, by autodiff, and the largest terms summed into it."""
    hand = objective_and_grads(net, params, inputs, targets, **keywords).grads
    auto = jax.grad(lambda candidate: objective(net, candidate, inputs, targets, **keywords))(params)
    return hand, auto, _largest_terms(net, params, inputs, targets, **keywords)


def _compare_with_autodiff(hand: Params, auto: Params, terms: Params) -> tuple[GradientRow, ...]:
    rows = []
    # Compared by NumPy: each JAX operation outside a jitted function would be a program to compile, for each shape.
    leaves = zip(
        _paths(auto), *(map(np.asarray, jax.tree.leaves(tree)) for tree in (hand, auto, terms)), strict=True
    )
    for path, by_hand, by_autodiff, term in leaves:
        size = float(np.max(np.abs(by_autodiff), initial=0.0))
        error = float(np.max(np.abs(by_hand - by_autodiff), initial=0.0))
        bound = AUTODIFF_RELATIVE * size + AUTODIFF_TERM * float(term)
        rows.append(GradientRow(path, by_autodiff.shape, error, bound, size, np.nan, np.nan, 0, 0))
    return tuple(rows)


def _largest_terms(
    net: Network,
    params: Params,
    inputs: Float[Array, "B I"],
    targets: Num[Array, "B ..."],
    *,
    loss: str | Loss,
    sample_weight: Float[Array, "B"] | None,
    l2: float | None,
    train: bool,
    key: Key | None,
) -> Params:
    """Bound the absolute terms that are summed into each gradient tensor, by going back in magnitudes."""
    pair = resolve_loss(loss)
    outputs, residuals = propagate(net, params, inputs, train=train, key=key, weight=sample_weight)
    slopes = jax.vmap(jax.grad(lambda row, target: pair.value(row[None], target[None])[0]))(outputs, targets)
    # A cross-entropy's gradient p − t cancels terms of size 1.
    size = example_shares(sample_weight, outputs)[:, None] * jnp.maximum(1, jnp.abs(slopes))
    terms = []
    for layer, layer_params, kept in reversed(list(zip(net.layers, params, residuals, strict=True))):
        layer_terms, size = _layer_terms(layer, layer_params, kept, size)
        marks = layer.decayed(layer_params)
        terms.append(
            jax.tree.map(
                lambda term, leaf, mark: (
                    term if l2 is None or not mark else jnp.maximum(term, l2 * _largest(leaf))
                ),
                layer_terms,
                layer_params,
                marks,
            )
        )
    return tuple(reversed(terms))


@singledispatch
def _layer_terms(
    layer: Any, params: Params, residuals: Residuals, size: Float[Array, "B O"]
) -> tuple[Params, Float[Array, "B I"]]:
    """Go back through a layer in magnitudes: the largest terms of its parameters' and inputs' gradient."""
    grads, input_size = layer.backward(params, residuals, size)
    return jax.tree.map(_largest, grads), jnp.abs(input_size)


@_layer_terms.register
def _(layer: Dense, params: Params, residuals: Residuals, size: Float[Array, "B O"]) -> Any:
    # The terms are x_bi·δ_bo, δ_bo, and δ_bo·w_io.
    largest = jnp.max(size, axis=1)
    w_term = _largest(jnp.max(jnp.abs(residuals), axis=1) * largest)
    b_term = None if params.b is None else _largest(size)
    return type(params)(w_term, b_term), largest[:, None] * jnp.max(jnp.abs(params.w), axis=1)[None, :]


@_layer_terms.register
def _(layer: Activate, params: Params, residuals: Residuals, size: Float[Array, "B O"]) -> Any:
    # A derivative such as 1 − a² cancels terms of size 1.
    _, slope = layer.backward(params, residuals, jnp.ones_like(size))
    return (), size * jnp.maximum(1, jnp.abs(slope))


@_layer_terms.register
def _(layer: Softmax, params: Params, residuals: Residuals, size: Float[Array, "B O"]) -> Any:
    # The terms are p_k·g_k and p_k·p_j·g_j.
    return (), residuals * jnp.maximum(size, jnp.max(residuals * size, axis=1, keepdims=True))


# --- against finite differences ---


class _Stencil(NamedTuple):
    """The objective at five points of a line: offsets 0, ±STEP/2 and ±STEP."""

    centre: Any
    half_back: Any
    half_on: Any
    back: Any
    on: Any

    def derivative(self) -> Any:
        """Extrapolate the two central differences (Richardson 1911), which leaves an error of order STEP⁴."""
        return (4 * self._inner() - self._outer()) / 3

    def roughness(self) -> Any:
        """Measure how far the line is from smooth: near 0, but for a kink within the stencil.

        The two central differences of a smooth line agree, and its second difference falls to
        a quarter when the step is halved; a kink moves the first, or halves the second.
        """
        outer_bend = self.on - 2 * self.centre + self.back
        inner_bend = self.half_on - 2 * self.centre + self.half_back
        return np.maximum(np.abs(self._outer() - self._inner()), np.abs(outer_bend - 4 * inner_bend) / STEP)

    def _outer(self) -> Any:
        return (self.on - self.back) / (2 * STEP)

    def _inner(self) -> Any:
        return (self.half_on - self.half_back) / STEP


OFFSETS = (0.0, -STEP / 2, STEP / 2, -STEP, STEP)


def _compare_with_differences(
    energy: Callable[[Params], Float[Array, ""]],
    params: Params,
    hand: Params,
    auto: Params,
    rows: tuple[GradientRow, ...],
    entries: int,
    seed: int,
) -> GradientReport:
    random = np.random.default_rng(seed)
    flat_params, unravel = ravel_pytree(params)
    flat_hand = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(hand)])
    flat_auto = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(auto)])
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    starts = np.cumsum([0, *sizes[:-1]])
    samples = [
        start + random.choice(size, min(entries, size), replace=False)
        for start, size in zip(starts, sizes, strict=True)
    ]

    @jax.jit
    def along_entries(chosen: Array) -> Array:
        # One entry at a time, so that large networks are not copied once an entry.
        def at(entry: Array) -> Array:
            moved = [energy(unravel(flat_params.at[entry].add(offset))) for offset in OFFSETS]
            return jnp.stack(moved)

        return jax.lax.map(at, chosen)

    lines = np.asarray(along_entries(jnp.concatenate([jnp.asarray(sample) for sample in samples])))
    floor = DIFFERENCE_ABSOLUTE * max(1.0, abs(float(lines[0, 0])))
    compared, done = [], 0
    for row, sample in zip(rows, samples, strict=True):
        stencil = _Stencil(*lines[done : done + len(sample)].T)
        done += len(sample)
        compared.append(_with_differences(row, stencil, flat_hand[sample], floor))

    direction = random.normal(size=flat_params.shape)
    direction /= np.linalg.norm(direction)
    line = [np.atleast_1d(energy(unravel(flat_params + offset * direction))) for offset in OFFSETS]
    size = abs(float(flat_auto @ direction))
    along_hand = np.atleast_1d(flat_hand @ direction)
    error = abs(float(along_hand[0] - flat_auto @ direction))
    bound = sum(row.autodiff_bound for row in rows) * np.sqrt(len(flat_auto))
    start = GradientRow("direction", flat_params.shape, error, bound, size, np.nan, np.nan, 0, 0)
    return GradientReport(tuple(compared), _with_differences(start, _Stencil(*line), along_hand, floor))


def _with_differences(row: GradientRow, stencil: _Stencil, by_hand: Any, floor: float) -> GradientRow:
    bound = DIFFERENCE_RELATIVE * row.autodiff_size + floor
    # Half the bound: what a kink this small could shift the difference by stays within the bound.
    smooth = ~(stencil.roughness() > 0.5 * bound)
    errors = np.abs(by_hand - stencil.derivative())[smooth]
    error = float(np.max(errors)) if errors.size else np.nan
    return row._replace(
        difference_error=error,
        difference_bound=bound,
        sampled=int(smooth.sum()),
        skipped=int((~smooth).sum()),
    )
