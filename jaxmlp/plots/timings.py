"""Timings: who is faster by how much, and how a cost grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDEST = 3  # panels of bars in a row
_LONGEST_LABEL = 34


def time_bars(
    panels: Mapping[str, Mapping[str, Any]], *, x_label: str, reference: float = 1.0, log: bool = True
) -> Figure:
    """Draw a panel of horizontal bars a case: a bar a peer, with its least and largest value.

    Args:
        panels: by case, by peer: median, least and largest, [3], above 0. The first peer's bar
            has another colour.
        x_label: what the values are, with their unit.
        reference: where a vertical line stands, as 1 among ratios.
        log: whether the values' axis is logarithmic.

    Returns:
        The figure.

    Example:
        >>> panels = {"a case": {"ours": [1.0, 0.9, 1.1], "theirs": [2.0, 1.8, 2.5]}}
        >>> figure = time_bars(panels, x_label="times as long")
        >>> [float(bar.get_width()) for bar in figure.axes[0].patches]
        [1.0, 2.0]
    """
    rows, columns = style.grid_of(len(panels), _WIDEST)
    most = max(len(bars) for bars in panels.values())
    figure = style.new_figure(1.5 + 3.4 * columns, rows * (0.9 + 0.23 * most))
    for axes, (title, bars) in zip(
        style.axes_grid(figure, len(panels), _WIDEST), panels.items(), strict=True
    ):
        _bars(axes, title, bars, log)
        axes.axvline(reference, color="0.5", linewidth=0.8)
        axes.set_xlabel(x_label, fontsize="small")
    return figure


def _bars(axes: Axes, title: str, bars: Mapping[str, Any], log: bool) -> None:
    median, least, largest = np.array(list(bars.values()), float).T
    places = np.arange(len(bars))
    ours, others = style.colors(2)[0], "0.65"
    axes.barh(places, median, color=[ours] + [others] * (len(bars) - 1), height=0.7)
    spread = [median - least, largest - median]
    axes.errorbar(median, places, xerr=spread, fmt="none", ecolor="black", elinewidth=0.8)
    axes.set_yticks(places, [style.plain(name, _LONGEST_LABEL) for name in bars], fontsize="small")
    axes.invert_yaxis()
    axes.set_title(style.plain(title, 60), fontsize="small")
    if log:
        style.log_across(axes)
        axes.set_xlim(min(0.5, 0.8 * least.min()), 4 * largest.max())
    for place, value, end in zip(places, median, largest, strict=True):
        at = (max(value, end), place)
        axes.annotate(f" {value:.3g}", at, va="center", fontsize="x-small", annotation_clip=False)
    style.quiet_grid(axes)


def growth_sheet(
    across: Mapping[str, Any], down: Mapping[str, Mapping[str, Any]], slopes: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Draw log-log curves: a column for what is varied, a row for what is measured, each with its slope.

    Args:
        across: by what is varied, its values [P], above 0.
        down: by what is measured (with its unit), by what is varied: the measured values [P]. Those not above 0
            are left out.
        slopes: likewise by row and column, the slope of the fitted line, drawn through the upper half of the
            points; None for none.

    Returns:
        The figure.

    Example:
        >>> across, down = {"width": [1, 10, 100]}, {"time (s)": {"width": [2.0, 3.0, 30.0]}}
        >>> figure = growth_sheet(across, down, {"time (s)": {"width": 1.0}})
        >>> figure.axes[0].texts[0].get_text()
        'slope 1.00'
    """
    figure = style.new_figure(1.0 + 2.3 * len(across), 0.8 + 1.9 * len(down))
    grid = figure.subplots(len(down), len(across), squeeze=False, sharex="col", sharey="row")
    for row, (what, columns) in zip(grid, down.items(), strict=True):
        for axes, (name, given) in zip(row, across.items(), strict=True):
            x, y = np.asarray(given, float), np.asarray(columns[name], float)
            _growth(axes, x, y, slopes[what][name])
        row[0].set_ylabel(style.plain(what, 40), fontsize="small")
    for axes, name in zip(grid[-1], across, strict=True):
        axes.set_xlabel(style.plain(name), fontsize="small")
    return figure


def _growth(axes: Axes, x: np.ndarray, y: np.ndarray, slope: float | None) -> None:
    there = np.isfinite(y) & (y > 0)
    x, y = x[there], y[there]
    axes.set_xscale("log")
    axes.set_yscale("log")
    point, line = style.colors(2)
    axes.plot(x, y, marker="o", markersize=4, color=point, linewidth=1)
    style.quiet_grid(axes)
    axes.tick_params(which="both", labelsize="x-small")
    if slope is None or len(x) < 2:
        return
    upper = x[len(x) // 2 :] if len(x) > 2 else x
    middle = np.exp(np.mean(np.log(upper))), np.exp(np.mean(np.log(y[-len(upper) :])))
    axes.plot(upper, middle[1] * (upper / middle[0]) ** slope, color=line, linestyle="--", linewidth=1.5)
    axes.annotate(
        f"slope {round(slope, 2) + 0.0:.2f}".replace("-", "−"),  # adding 0 makes a −0 a 0
        (0.05, 0.95),
        xycoords="axes fraction",
        va="top",
        color=line,
        fontsize="small",
    )
