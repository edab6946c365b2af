"""Results of several seeds as a line with a band, so that a difference can be told from chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import checks, style
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MOST_TICKS = 12  # points of a logarithmic axis that are each named


def band_curves(
    x: Any,
    series: Mapping[str, Any],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
) -> Figure:
    """Draw each series' median over seeds as a line, and its least and largest value as a band.

    Args:
        x: [P] what was varied, as hidden sizes.
        series: values [M, P] a label, a row a seed; where a seed's value is not finite the line has a gap.
        x_label: what x is, with its unit.
        y_label: what the values are, with their unit.
        log_x: whether the x axis is logarithmic.
        log_y: whether the y axis is logarithmic.

    Returns:
        The figure.

    Raises:
        ArgumentError: there is no series, one does not fit `x`, or x is not above 0 on a logarithmic axis.

    Example:
        >>> figure = band_curves([1, 2], {"train": [[1, 2], [3, 4], [5, 9]]}, x_label="units", y_label="loss")
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [3.0, 4.0]
    """
    across = checks.not_empty("x", checks.array("x", x, ("P",), finite=True))
    if not series:
        raise ArgumentError("series has no entry: give at least one label with its values [M, P]")
    if log_x and np.any(across <= 0):
        raise ArgumentError(f"x holds {across.min():g}, which a logarithmic axis cannot show: give x above 0")
    figure = style.new_figure(6.4, 4.0)
    axes = figure.subplots()
    lines = []
    for index, (label, given) in enumerate(series.items()):
        name = f"series '{label}'"
        values = checks.not_empty(name, checks.array(name, given, ("M", len(across)))).astype(float)
        values = np.where(np.isfinite(values), values, np.nan)
        color, marker = style.colors(len(series))[index], style.MARKERS[index % len(style.MARKERS)]
        axes.fill_between(across, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0)
        middle = np.median(values, axis=0)
        lines += axes.plot(across, middle, marker=marker, markersize=4, color=color, label=style.plain(label))
    if log_x:
        axes.set_xscale("log")
        if len(across) <= _MOST_TICKS:
            axes.set_xticks(across, [f"{value:g}" for value in across])
            axes.minorticks_off()
    if log_y:
        style.log_axis(axes, np.concatenate([np.ravel(values) for values in series.values()]))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    seeds = sorted({len(values) for values in series.values()})
    counted = " or ".join(str(count) for count in seeds)
    axes.legend(
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        title=f"median, least to largest of {counted} seeds",
    )
    style.quiet_grid(axes)
    return figure
