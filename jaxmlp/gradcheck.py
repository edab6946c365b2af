"""The proof: the hand-written gradient against `jax.grad` and against finite differences, in float64.

This is the one file of the package that differentiates automatically.

A tensor passes against autodiff when ‖hand − auto‖∞ ≤ 1e-10·‖auto‖∞ + 1e-14·s, where s is the largest
absolute term summed into it: rounding is relative to the terms of a sum, not to the sum.
It passes against finite differences when each sampled entry agrees within 1e-6·‖auto‖∞ + 1e-9·max(1, |E|).
"""

from collections.abc import Callable, Sequence
from functools import partial, singledispatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import keystr, tree_leaves_with_path
from jaxtyping import Array, Float

from jaxmlp.backprop import (
    L2,
    example_shares,
    kinds,
    objective,
    objective_and_grads,
    propagate,
    training_keywords,
)
from jaxmlp.checks import as_batch, traced_l2
from jaxmlp.layers import (
    Activate,
    BatchNorm,
    Committee,
    Dense,
    Inputs,
    Layer,
    LayerNorm,
    Residual,
    Softmax,
    Weight,
)
from jaxmlp.losses import Loss, Targets, loss_for
from jaxmlp.network import Network
from jaxmlp.types import Batch, Key, Params, Progress, Residuals, Scalar

AUTODIFF_RELATIVE, AUTODIFF_TERM = 1e-10, 1e-14
DIFFERENCE_RELATIVE, DIFFERENCE_ABSOLUTE = 1e-6, 1e-9
LINE = "{:<10} {:<14} {:>12} {:>15} {:>8} {:>8}"
STEP = 2e-4  # of the outer stencil: balances truncation, ~STEP⁴, against rounding, ~1e-16/STEP


class GradientRow(NamedTuple):
    """How one tensor's hand-written gradient compares."""

    path: str  # where the tensor stands among the parameters, as "0.w"
    shape: tuple[int, ...]
    autodiff_error: float  # largest |hand − auto| over the tensor
    autodiff_bound: float  # what that may be at most
    autodiff_size: float  # ‖auto‖∞, which a relative error is relative to
    difference_error: float = np.nan  # largest |hand − finite difference| over the sampled entries
    difference_bound: float = np.nan  # what that may be at most
    sampled: int = 0  # entries that were compared with finite differences
    skipped: int = 0  # entries left out because their stencil crosses a kink

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
        errors = (f"{error:.1e}" for error in (self.autodiff_relative, self.difference_relative))
        line = LINE.format(self.path, str(list(self.shape)), *errors, self.sampled, self.skipped)
        return line if self.passed else f"{line}  OVER ITS BOUND"


class GradientReport(NamedTuple):
    """How a network's hand-written gradient compares, a row a tensor."""

    rows: tuple[GradientRow, ...]  # in the parameters' order
    direction: GradientRow | None  # the derivative along one random direction, where differences are taken

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
        columns = ("tensor", "shape", "vs autodiff", "vs differences", "sampled", "skipped")
        return "\n".join([LINE.format(*columns), *(row.line() for row in self._all_rows())])


def _relative(error: float, size: float) -> float:
    return error / size if size > 0 else (0.0 if error == 0 else error)


def _share_of_bound(row: GradientRow) -> float:
    if not row.autodiff_error <= row.autodiff_bound:
        return float("inf")
    return row.autodiff_error / row.autodiff_bound if row.autodiff_bound > 0 else 0.0


def check_gradients(
    net: Network,
    params: Params,
    inputs: Inputs,
    targets: Targets,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    sample_weight: Weight | None = None,
    l2: float = 0.0,
    train: bool = False,
    key: Key | None = None,
    progress: Progress = None,
    finite_differences: bool = True,
    entries: int = 64,
    seed: int = 0,
) -> GradientReport:
    """Compare a network's hand-written gradient with `jax.grad` and with finite differences, in float64.

    Args (the others are those of `loss`):
        params: the network's parameters, of any float type.
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
        batch = as_batch((inputs, targets), sample_weight)
        params, batch = jax.tree.map(_to_float64, (params, batch))
        training = training_keywords(train, key, progress)
        keywords = {"loss": loss, "l2": traced_l2(l2), **training}
        hand, auto, terms = _gradients(net, params, batch, **keywords)
        rows = _compare_with_autodiff(hand, auto, terms)
        if not finite_differences:
            return GradientReport(rows, None)
        named = kinds(net, params)

        def energy(candidate: Params) -> Scalar:
            # What is measured and not learnt has a gradient of 0, whatever the objective does.
            held = jax.tree.map(
                lambda kind, new, old: old if kind == "statistic" else new, named, candidate, params
            )
            return objective(net, held, batch, **keywords)

        return _compare_with_differences(energy, params, (hand, auto), rows, entries=entries, seed=seed)


def _to_float64(leaf: Any) -> Any:
    array = np.asarray(leaf)
    # Not jnp.asarray, which compiles a program for every shape.
    return jax.device_put(array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array)


def _largest(array: Array) -> Float[Array, ""]:
    return jnp.max(jnp.abs(array), initial=0.0)


# --- against autodiff ---


@partial(jax.jit, static_argnums=0, static_argnames=("loss", "train"))
def _gradients(net: Network, params: Params, batch: Batch, **keywords: Any) -> tuple[Params, Params, Params]:
    """Compute the gradient by hand, by autodiff, and the largest terms summed into it."""
    hand = objective_and_grads(net, params, batch, **keywords).grads
    auto = jax.grad(lambda candidate: objective(net, candidate, batch, **keywords))(params)
    return hand, auto, _largest_terms(net, params, batch, **keywords)


def _compare_with_autodiff(hand: Params, auto: Params, terms: Params) -> tuple[GradientRow, ...]:
    rows = []
    # Compared by NumPy: each JAX operation outside a jitted function would be a program to compile, for each shape.
    leaves = zip(jax.tree.leaves(hand), tree_leaves_with_path(auto), jax.tree.leaves(terms), strict=True)
    for by_hand, (path, by_autodiff), term in leaves:
        by_autodiff = np.asarray(by_autodiff)
        size = float(np.max(np.abs(by_autodiff), initial=0.0))
        error = float(np.max(np.abs(np.asarray(by_hand) - by_autodiff), initial=0.0))
        bound = AUTODIFF_RELATIVE * size + AUTODIFF_TERM * float(term)
        name = keystr(path, simple=True, separator=".")
        rows.append(GradientRow(name, by_autodiff.shape, error, bound, size))
    return tuple(rows)


def _largest_terms(
    net: Network, params: Params, batch: Batch, *, loss: str | Loss, l2: L2, **training: Any
) -> Params:
    """Bound the absolute terms that are summed into each gradient tensor, by going back in magnitudes."""
    passed, residuals = propagate(net, params, batch, **training)
    pair = loss_for(passed[-1], loss)
    slope = jax.grad(lambda row, target: pair.value(row[None], target[None])[0])
    slopes = jnp.abs(jax.vmap(slope)(passed[-1], batch.targets))
    # A cross-entropy's gradient p − t cancels terms of size 1.
    shares = example_shares(batch.weight, passed[-1]).reshape(-1, *[1] * (slopes.ndim - 1))
    size = shares * jnp.maximum(1, slopes)
    terms, _ = _stack_terms(net.layers, params, residuals, size)

    def with_penalty(term: Array, leaf: Array, kind: str) -> Array:
        return jnp.maximum(term, l2 * _largest(leaf)) if kind == "weight" and l2 is not None else term

    return jax.tree.map(with_penalty, terms, params, kinds(net, params))


def _stack_terms(layers: Sequence[Layer], params: Params, residuals: Any, size: Any) -> tuple[Params, Any]:
    """Go back through layers in magnitudes: the largest terms of each one's parameters', and the inputs' gradient."""
    terms = []
    for layer, layer_params, kept in reversed(list(zip(layers, params, residuals, strict=True))):
        layer_terms, size = _layer_terms(layer, layer_params, kept, size)
        terms.append(layer_terms)
    return tuple(terms[::-1]), size


@singledispatch
def _layer_terms(
    layer: Any, params: Params, residuals: Residuals, size: Float[Array, "B O"]
) -> tuple[Params, Float[Array, "B I"]]:
    """Go back through a layer in magnitudes: the largest terms of its parameters' and inputs' gradient."""
    grads, input_size = layer.backward(params, residuals, size)
    return jax.tree.map(_largest, grads), jnp.abs(input_size)


@_layer_terms.register
def _(layer: Dense, params: Params, residuals: Residuals, size: Float[Array, "B O"]) -> Any:
    # The terms are c·x_bi·δ_bo, δ_bo, and c·δ_bo·w_io.
    largest = layer.factor(params) * jnp.max(size, axis=1)
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


@_layer_terms.register(LayerNorm)
@_layer_terms.register(BatchNorm)
def _(layer: Any, params: Params, residuals: Residuals, size: Float[Array, "B O"]) -> Any:
    # The terms are δ·x̂ and δ; and over a row or a batch r·g and r·x̂·g·x̂ of any other entry, g = γ·δ.
    normal, inverse, axis = jnp.abs(residuals[0]), residuals[1], layer.axis
    g = jnp.abs(params.scale)[None, :] * size
    along = jnp.max(g * normal, axis=axis, keepdims=True)
    terms = jax.tree.map(lambda _: _largest(size * jnp.maximum(1, normal)), params)
    return terms, inverse * jnp.maximum(jnp.max(g, axis=axis, keepdims=True), normal * along)


@_layer_terms.register
def _(layer: Residual, params: Params, residuals: Residuals, size: Float[Array, "B O"]) -> Any:
    terms, input_size = _stack_terms(layer.layers, params, residuals, size)
    return terms, size + input_size


@_layer_terms.register
def _(layer: Committee, params: Params, residuals: Residuals, size: Float[Array, "B ..."]) -> Any:
    kept, averaged = residuals
    if averaged is not None:  # the terms are r_k·δ_k and p_k·r_j·δ_j, r and p at most 1
        size = jnp.broadcast_to(jnp.max(size, axis=1)[:, None, None], averaged.shape)
    terms, sizes = jax.vmap(partial(_stack_terms, layer.layers), in_axes=(0, 0, 1))(params, kept, size)
    return jax.tree.map(_largest, terms), jnp.max(sizes, axis=0)


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
    energy: Callable[[Params], Scalar],
    params: Params,
    gradients: tuple[Params, Params],
    rows: tuple[GradientRow, ...],
    *,
    entries: int,
    seed: int,
) -> GradientReport:
    random = np.random.default_rng(seed)
    flat, unravel = ravel_pytree(params)
    hand, auto = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in gradients)
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    samples = [
        start + random.choice(size, min(entries, size), replace=False)
        for start, size in zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True)
    ]
    direction = random.normal(size=flat.shape)
    direction /= np.linalg.norm(direction)

    # One line at a time and one point of it, to keep large networks from being copied once an entry.
    @jax.jit
    def along_lines(flat: Array, direction: Array, chosen: Array, directed: Array) -> Array:
        def along(line: tuple[Array, Array]) -> Array:
            entry, share = line  # share is 1 for the random direction and 0 for a single entry
            step = (share * direction).at[entry].add(1 - share)
            return jax.lax.map(lambda offset: energy(unravel(flat + offset * step)), jnp.array(OFFSETS))

        return jax.lax.map(along, (chosen, directed))

    chosen = np.concatenate([*samples, [0]])
    directed = (np.arange(len(chosen)) == len(chosen) - 1).astype(np.float64)
    lines = np.asarray(along_lines(flat, direction, chosen, directed))
    floor = DIFFERENCE_ABSOLUTE * max(1.0, abs(float(lines[0, 0])))
    stencils = [_Stencil(*part.T) for part in np.split(lines, np.cumsum([len(sample) for sample in samples]))]
    compared = [
        _with_differences(row, stencil, hand[sample], floor)
        for row, stencil, sample in zip(rows, stencils, samples, strict=False)
    ]
    by_hand, by_autodiff = float(hand @ direction), float(auto @ direction)
    bound = sum(row.autodiff_bound for row in rows) * np.sqrt(len(auto))
    row = GradientRow("direction", flat.shape, abs(by_hand - by_autodiff), bound, abs(by_autodiff))
    return GradientReport(tuple(compared), _with_differences(row, stencils[-1], by_hand, floor))


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
