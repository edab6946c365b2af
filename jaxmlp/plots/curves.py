"""Curves of any kind: losses as functions of what a network says, and results of several seeds as bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_TICKS = 12  # points of a logarithmic axis that are each named


def band_curves(
    x: Any, series: Mapping[str, Any], *, x_label: str, y_label: str, log_x: bool = False, log_y: bool = False
) -> Figure:
    """Draw each series' median over seeds as a line, and its least and largest value as a band.

    Args:
        x: [P] what was varied, as hidden sizes; above 0 on a logarithmic axis.
        series: values [M, P] a label, a row a seed; where a seed's value is not finite the line has a gap.
        x_label: what x is, with its unit.
        y_label: what the values are, with their unit.
        log_x: whether the x axis is logarithmic.
        log_y: whether the y axis is logarithmic.

    Returns:
        The figure.

    Example:
        >>> figure = band_curves([1, 2], {"train": [[1, 2], [3, 4], [5, 9]]}, x_label="units", y_label="loss")
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [3.0, 4.0]
    """
    x = np.asarray(x)
    if log_x and np.any(x <= 0):
        raise ArgumentError(f"x holds {x.min():g}, which a logarithmic axis cannot show: give x above 0")
    figure, (axes,) = style.new_panels(1, 6.4, 4.0)
    arrays = {label: np.asarray(values, float) for label, values in series.items()}
    for index, (label, values) in enumerate(arrays.items()):
        values = np.where(np.isfinite(values), values, np.nan)
        color, marker = style.colors(len(series))[index], style.MARKERS[index % len(style.MARKERS)]
        axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0)
        median = np.median(values, axis=0)
        axes.plot(x, median, marker=marker, markersize=4, color=color, label=style.plain(label))
    if log_x:
        axes.set_xscale("log")
        if len(x) <= _MOST_TICKS:
            axes.set_xticks(x, [f"{value:g}" for value in x])
            axes.minorticks_off()
    if log_y:
        style.log_axis(axes, np.concatenate([np.ravel(values) for values in arrays.values()]))
    axes.set(xlabel=x_label, ylabel=y_label)
    counted = " or ".join(map(str, sorted({len(values) for values in arrays.values()})))
    title = f"median, least to largest of {counted} seeds"
    axes.legend(frameon=False, fontsize="small", title_fontsize="small", title=title)
    return figure


def loss_curves(
    panels: Sequence[tuple[str, Any, Mapping[str, Any]]], *, x_label: str = "x", y_label: str = "loss"
) -> Figure:
    """Draw losses, or any functions of one number, as small panels beside each other.

    Args:
        panels: (title, x [P], a curve [P] a label) each; values that are not finite leave a gap.
        x_label: what x is, with its unit.
        y_label: what the curves are.

    Returns:
        The figure, up to three panels in a row; a single curve has no legend.

    Example:
        >>> figure = loss_curves([("absolute error", [-1, 0, 1], {"|x|": [1, 0, 1]})])
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [1, 0, 1]
    """
    figure, every = style.new_panels(len(panels), 3.2, 2.9, side=0.6)
    for axes, (title, x, curves) in zip(every, panels, strict=True):
        for index, (label, values) in enumerate(curves.items()):
            color, line = style.colors(len(curves))[index], style.LINES[index % 4]
            axes.plot(x, values, line, color=color, linewidth=1.8, label=style.plain(label))
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize="small")
        axes.set_title(style.plain(title, 40), fontsize=10)
        axes.set(xlabel=x_label, ylabel=y_label)
    return figure


def two_class_curves(ranking: Any, area: float, calibration: Any, name: object) -> Figure:
    """Draw how well probabilities of one of two classes rank, and whether they can be taken at their word.

    Args:
        ranking: shares [P] of false and of true positives, the ROC curve.
        area: the area under it.
        calibration: predicted probabilities [G] of groups of examples, and the shares of the class in them.
        name: the class's name.

    Returns:
        The figure: the ROC curve, and beside it the share of the class over the predicted probability.

    Example:
        >>> two_class_curves(([0, 0.5, 1], [0, 1, 1]), 0.75, ([0.2, 0.8], [0.1, 0.9]), "sick").axes[0].get_title()
        'ROC AUC = 0.750'
    """
    figure, panels = style.new_panels(2, 4.2, 4.0)
    for axes, (across, up), title, x_label, y_label in zip(
        panels,
        (ranking, calibration),
        (f"ROC AUC = {area:.3f}", f"calibration of '{style.plain(name)}'"),
        ("false positives (share)", "predicted probability"),
        ("true positives (share)", "share of the class"),
        strict=True,
    ):
        axes.plot([0, 1], [0, 1], color="0.5", linewidth=1.0, linestyle="--")
        style.draw_finite(axes, across, up, color=style.OKABE_ITO[0])
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=x_label, ylabel=y_label)
        axes.set_title(title, fontsize=10)
    return figure
