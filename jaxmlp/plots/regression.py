"""Predicted values against true ones, and fitted curves through their points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import checks, style
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_TARGETS = 12
_MANY_POINTS = 3000  # above this, points are stored as pixels, so that an SVG stays small


def predicted_against_true(predicted: Any, true: Any, target_names: Sequence[object]) -> Figure:
    """Draw the predicted values over the true ones, a panel a target, with the line on which they are equal.

    Args:
        predicted: [N, K] predicted values, or [N] for one target.
        true: the true values, of the same shape.
        target_names: K names; the first 12 targets are drawn.

    Returns:
        The figure, each panel titled with its target and R² = 1 − Σ(t − a)² / Σ(t − mean t)².

    Raises:
        ArgumentError: the shapes differ, true values are not finite, or the names do not fit.

    Example:
        >>> predicted_against_true([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], ["price"]).axes[0].get_title()
        'price: R² = 0.500'
    """
    targets = _as_columns("true", true)
    values = _as_columns("predicted", predicted)
    checks.not_empty("true", targets)
    checks.array("predicted", values, targets.shape)
    checks.array("true", targets, targets.shape, finite=True)
    named = checks.names("target_names", target_names, targets.shape[1])
    shown = min(len(named), _MOST_TARGETS)
    rows, columns = style.grid_of(shown, 3)
    figure = style.new_figure(3.3 * columns + 0.6, 3.5 * rows)
    for index, axes in enumerate(style.axes_grid(figure, shown, 3)):
        known = np.isfinite(values[:, index])
        across, up = targets[known, index], values[known, index]
        size, faint = float(np.clip(6000 / max(1, len(up)), 4, 20)), 0.7 if len(up) <= 500 else 0.35
        axes.scatter(
            across,
            up,
            s=size,
            alpha=faint,
            color=style.OKABE_ITO[0],
            linewidths=0,
            rasterized=len(up) > _MANY_POINTS,
        )
        ends = _span(np.concatenate([targets[:, index], up]))
        axes.plot(ends, ends, color="0.3", linewidth=1.0, linestyle="--", label="predicted = true")
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="true value", ylabel="predicted value")
        axes.set_title(
            f"{style.plain(named[index])}: {_r2_text(values[:, index], targets[:, index])}", fontsize=10
        )
        axes.legend(frameon=False, loc="upper left", fontsize="small")
        style.quiet_grid(axes)
    if shown < len(named):
        figure.suptitle(f"the first {shown} of {len(named)} targets", fontsize=10)
    return figure


def regression_curve(
    x: Any,
    y: Any,
    predicted: Mapping[str, Any],
    grid: Any,
    outliers: Any = None,
    *,
    x_label: str = "x",
    y_label: str = "y",
) -> Figure:
    """Draw points, the outliers among them marked, and curves fitted through them.

    Args:
        x: [N] where the points stand.
        y: [N] their values.
        predicted: a curve [P] a label, as by the loss that it was fitted with.
        grid: [P] where the curves' points stand.
        outliers: [N] booleans, true for the outliers; None for none.
        x_label: what x is, with its unit.
        y_label: what y is, with its unit.

    Returns:
        The figure.

    Raises:
        ArgumentError: the arrays do not fit each other.

    Example:
        >>> figure = regression_curve([0, 1], [0, 9], {"absolute": [0.0, 1.0]}, [0, 1], [False, True])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['data', 'outliers', 'absolute']
    """
    across = checks.not_empty("x", checks.array("x", x, ("N",), finite=True))
    up = checks.array("y", y, across.shape, finite=True)
    along = checks.array("grid", grid, ("P",), finite=True)
    marked = np.asarray(np.zeros(len(across), bool) if outliers is None else outliers)
    if marked.dtype != bool or marked.shape != across.shape:
        raise ArgumentError(
            f"outliers holds {marked.dtype} of shape {list(marked.shape)}: "
            f"give booleans of shape [{len(across)}]"
        )
    figure = style.new_figure(6.2, 4.0)
    axes = figure.subplots()
    axes.scatter(across[~marked], up[~marked], s=14, color="0.45", linewidths=0, label="data")
    if marked.any():
        axes.scatter(
            across[marked], up[marked], s=32, color="black", marker="x", linewidths=1.2, label="outliers"
        )
    for index, (label, curve) in enumerate(predicted.items()):
        values = checks.array(f"predicted '{label}'", curve, along.shape)
        color, line = style.colors(len(predicted))[index], ("-", "--", "-.", ":")[index % 4]
        axes.plot(along, values, line, color=color, linewidth=2.0, label=style.plain(label))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(frameon=False, fontsize="small")
    style.quiet_grid(axes)
    return figure


def _as_columns(name: str, given: Any) -> np.ndarray:
    values = np.asarray(given)
    values = values[:, None] if values.ndim == 1 else values
    return checks.array(name, values, ("N", "K")).astype(float)


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low if high > low else 1.0)
    return low - room, high + room


def _r2_text(predicted: np.ndarray, true: np.ndarray) -> str:
    total = float(np.sum((true - true.mean()) ** 2))
    if total == 0 or not np.all(np.isfinite(predicted)):
        return "R² undefined"
    return f"R² = {1 - float(np.sum((true - predicted) ** 2)) / total:.3f}"
