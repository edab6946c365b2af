"""Regressions: predicted values against true ones, and fitted curves through their points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TARGETS = 12


def predicted_against_true(predicted: Any, true: Any, target_names: Sequence[object]) -> Figure:
    """Draw the predicted values over the true ones, a panel a target, with the line on which they are equal.

    Args:
        predicted: [N, K] predicted values, or [N] for one target.
        true: the true values, of the same shape.
        target_names: K names; the first 12 targets are drawn.

    Returns:
        The figure, each panel titled with its target and R² = 1 − Σ(t − a)² / Σ(t − mean t)².

    Example:
        >>> predicted_against_true([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], ["price"]).axes[0].get_title()
        'price: R² = 0.500'
    """
    figure, panels = _panels(predicted, true, target_names, 3.3, 3.5)
    for axes, name, values, targets, points in panels:
        known = np.isfinite(values)
        axes.scatter(targets[known], values[known], label="an example", **points)
        ends = _span(np.concatenate([targets, values[known]]))
        axes.plot(ends, ends, color="0.3", linewidth=1.0, linestyle="--", label="predicted = true")
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="true value", ylabel="predicted value")
        axes.set_title(f"{name}: {_r2_text(values, targets)}", fontsize=10)
        axes.legend(frameon=False, loc="upper left", fontsize="small")
    return figure


def residuals(predicted: Any, true: Any, target_names: Sequence[object]) -> Figure:
    """Draw what predictions miss, true − predicted, over the predicted values, a panel a target.

    Args:
        predicted: [N, K] predicted values, or [N] for one target.
        true: the true values, of the same shape.
        target_names: K names; the first 12 targets are drawn.

    Returns:
        The figure, each panel titled with its target and the root of the mean squared residual.

    Example:
        >>> residuals([1.0, 2.0], [2.0, 1.0], ["price"]).axes[0].get_title()
        'price: RMSE = 1'
    """
    figure, panels = _panels(predicted, true, target_names, 3.9, 3.2)
    for axes, name, values, targets, points in panels:
        axes.scatter(values, targets - values, **points)
        axes.axhline(0, color="0.3", linewidth=1.0, linestyle="--")
        axes.set_title(f"{name}: RMSE = {np.sqrt(np.mean((targets - values) ** 2)):.4g}", fontsize=10)
        axes.set(xlabel="predicted value", ylabel="residual, true − predicted")
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

    Example:
        >>> figure = regression_curve([0, 1], [0, 9], {"absolute": [0.0, 1.0]}, [0, 1], [False, True])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['data', 'outliers', 'absolute']
    """
    across, up = np.asarray(x), np.asarray(y)
    marked = np.zeros(len(across), bool) if outliers is None else np.asarray(outliers, bool)
    figure, (axes,) = style.new_panels(1, 6.2, 4.0)
    axes.scatter(across[~marked], up[~marked], s=14, color="0.45", linewidths=0, label="data")
    if marked.any():
        axes.scatter(across[marked], up[marked], 32, "black", marker="x", linewidths=1.2, label="outliers")
    for index, (label, curve) in enumerate(predicted.items()):
        color, line = style.colors(len(predicted))[index], style.LINES[index % 4]
        axes.plot(grid, curve, line, color=color, linewidth=2.0, label=style.plain(label))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend(frameon=False, fontsize="small")
    return figure


def _panels(
    predicted: Any, true: Any, target_names: Sequence[object], width: float, height: float
) -> tuple[Figure, list[tuple[Axes, str, np.ndarray, np.ndarray, dict[str, Any]]]]:
    """Make a panel a target: its axes, its name, predicted and true values [N], and how points look."""
    named = list(target_names)
    values, targets = (np.asarray(each, float).reshape(len(each), -1) for each in (predicted, true))
    examples, shown = len(values), min(len(named), _MOST_TARGETS)
    figure, every = style.new_panels(shown, width, height, side=0.6)
    points = {
        "s": float(np.clip(6000 / max(1, examples), 4, 20)),
        "color": style.OKABE_ITO[0],
        "alpha": 0.7 if examples <= 500 else 0.35,
        "linewidths": 0,
        "rasterized": examples > style.MANY_POINTS,
    }
    for axes in every:
        axes.locator_params(nbins=5)  # of six numbers, as prices have, no more fit side by side
    if shown < len(named):
        figure.suptitle(f"the first {shown} of {len(named)} targets", fontsize=10)
    return figure, [
        (axes, style.plain(named[place]), values[:, place], targets[:, place], points)
        for place, axes in enumerate(every)
    ]


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low if high > low else 1.0)
    return low - room, high + room


def _r2_text(predicted: np.ndarray, true: np.ndarray) -> str:
    total = float(np.sum((true - true.mean()) ** 2))
    if total == 0 or not np.all(np.isfinite(predicted)):
        return "R² undefined"
    return f"R² = {1 - float(np.sum((true - predicted) ** 2)) / total:.3f}"
