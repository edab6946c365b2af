"""Timings: who is faster by how much, and how a cost grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST_LABEL = 34


def time_bars(panels: Mapping[str, Mapping[str, Any]], *, x_label: str) -> Figure:
    """Draw a panel of horizontal bars a case, on a logarithmic axis: a bar a peer, with its least and largest value.

    Args:
        panels: by case, by peer: median, least and largest, [3], above 0. The first peer's bar
            has another colour.
        x_label: what the values are, as times of the first peer's.

    Returns:
        The figure, with a vertical line at 1.

    Example:
        >>> panels = {"a case": {"ours": [1.0, 0.9, 1.1], "theirs": [2.0, 1.8, 2.5]}}
        >>> figure = time_bars(panels, x_label="times as long")
        >>> [float(bar.get_width()) for bar in figure.axes[0].patches]
        [1.0, 2.0]
    """
    most = max(len(bars) for bars in panels.values())
    figure, every = style.new_panels(len(panels), 3.4, 0.9 + 0.23 * most, side=1.5)
    for axes, (title, bars) in zip(every, panels.items(), strict=True):
        _bars(axes, title, bars)
        axes.axvline(1.0, color="0.5", linewidth=0.8)
        axes.set_xlabel(x_label, fontsize="small")
    return figure


def _bars(axes: Axes, title: str, bars: Mapping[str, Any]) -> None:
    median, least, largest = np.array(list(bars.values()), float).T
    places, spread = np.arange(len(bars)), [median - least, largest - median]
    look: dict[str, Any] = {"color": [style.colors(2)[0]] + ["0.65"] * (len(bars) - 1), "height": 0.7}
    drawn = axes.barh(places, median, xerr=spread, error_kw={"elinewidth": 0.8}, **look)
    axes.set_yticks(places, [style.plain(name, _LONGEST_LABEL) for name in bars], fontsize="small")
    axes.invert_yaxis()
    axes.set_title(style.plain(title, 60), fontsize="small")
    style.log_across(axes)
    axes.set_xlim(min(0.5, 0.8 * least.min()), 4 * largest.max())
    axes.bar_label(drawn, fmt="{:.3g}", padding=3, fontsize="x-small", annotation_clip=False)


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
    point, line = style.colors(2)
    axes.loglog(x, y, marker="o", markersize=4, color=point, linewidth=1)
    style.quiet_grid(axes)
    axes.tick_params(which="both", labelsize="x-small")
    if slope is None or len(x) < 2:
        return
    upper = x[len(x) // 2 :] if len(x) > 2 else x
    middle = np.exp(np.mean(np.log(upper))), np.exp(np.mean(np.log(y[-len(upper) :])))
    axes.plot(upper, middle[1] * (upper / middle[0]) ** slope, color=line, linestyle="--", linewidth=1.5)
    text = f"slope {round(slope, 2) + 0.0:.2f}".replace("-", "−")  # adding 0 makes a −0 a 0
    axes.text(0.05, 0.95, text, transform=axes.transAxes, va="top", color=line, fontsize="small")
