"""Sweeps: the scores against each hyper-parameter, to show which of them matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 30.0  # a range this many times its least value is drawn on a logarithmic axis
_JITTER = 0.18  # of the distance between two categories
_FINISHED: Mapping[str, Any] = {"marker": "o", "color": style.OKABE_ITO[0], "alpha": 0.6}
_DIVERGED: Mapping[str, Any] = {"marker": "x", "color": style.OKABE_ITO[1]}
_STOPPED: Mapping[str, Any] = {"marker": "v", "color": style.OKABE_ITO[4], "alpha": 0.8}


def sweep_scores(
    varied: Mapping[str, Sequence[Any]],
    scores: Any,
    *,
    score_label: str,
    best: int | None = None,
    stopped: Any = None,
) -> Figure:
    """Draw a panel for each hyper-parameter: every network's score against its value.

    Numbers have an axis of numbers, logarithmic where they span much; names have one column each, with its median.
    Networks without a score, which diverged, are drawn as crosses at the lower edge; those stopped early, whose
    scores are of fewer epochs, as triangles.

    Args:
        varied: [M] values a hyper-parameter's name.
        scores: [M], NaN for networks that diverged.
        score_label: what the scores are, with their unit.
        best: which network to ring; None for none.
        stopped: [M] whether each was stopped early; None for none.

    Returns:
        The figure.

    Example:
        >>> figure = sweep_scores({"rate": [0.1, 1.0], "kind": ["a", "b"]}, [0.5, np.nan], score_label="score")
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['rate', 'kind']
    """
    heights = np.asarray(scores, float)
    early = np.zeros(len(heights), bool) if stopped is None else np.asarray(stopped, bool)
    rows, columns = style.grid_of(len(varied), 3)
    figure = style.new_figure(0.6 + 3.6 * columns, 3.4 * rows)
    panels = style.axes_grid(figure, len(varied), 3)
    for index, (axes, (name, values)) in enumerate(zip(panels, varied.items(), strict=True)):
        _draw_panel(axes, list(values), heights, early, best)
        axes.set_xlabel(style.plain(name.replace("_", " ")))
        if index % columns == 0:
            axes.set_ylabel(score_label)
        style.quiet_grid(axes)
    has_names = any(not _are_numbers(values) for values in varied.values())
    _legend(figure, heights, early, best, has_names)
    return figure


def _draw_panel(
    axes: Axes, values: list[Any], heights: np.ndarray, early: np.ndarray, best: int | None
) -> None:
    across = _place(axes, values, heights)
    sound = np.isfinite(heights)
    for chosen, look in ((sound & early, _STOPPED), (sound & ~early, _FINISHED)):
        if chosen.any():
            axes.scatter(across[chosen], heights[chosen], s=18, linewidths=0, **look)
    if not sound.all():
        floor = axes.get_xaxis_transform()  # x in data, y as a share of the axes
        # Points of such a mixed kind do not widen an axis by themselves.
        axes.update_datalim(np.column_stack([across[~sound], np.zeros((~sound).sum())]), updatey=False)
        axes.autoscale_view(scaley=False)
        heights_of_lost = np.full((~sound).sum(), 0.02)
        axes.scatter(across[~sound], heights_of_lost, s=24, transform=floor, clip_on=False, **_DIVERGED)
    if best is not None and sound[best]:
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.4}
        axes.scatter(across[best], heights[best], s=110, **ring)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _place(axes: Axes, values: list[Any], heights: np.ndarray) -> np.ndarray:
    """Set up the x axis for a hyper-parameter and say where each of its values stands."""
    if _are_numbers(values):
        across = np.array(values, float)
        if across.min() > 0 and across.max() / across.min() >= _WIDE:
            style.log_across(axes)
        return across
    # In the order in which they were given.
    names = list(dict.fromkeys(map(str, values)))
    columns = np.array([names.index(str(value)) for value in values], float)
    for column in range(len(names)):
        of_column = heights[(columns == column) & np.isfinite(heights)]
        if len(of_column):
            median = np.median(of_column)
            axes.plot([column - 0.3, column + 0.3], [median, median], color="black", linewidth=1.5)
    turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if len(names) > 4 else {}
    axes.set_xticks(range(len(names)), [style.plain(name, 14) for name in names], **turned)
    axes.set_xlim(-0.6, len(names) - 0.4)
    return columns + np.random.default_rng(0).uniform(-_JITTER, _JITTER, len(columns))


def _legend(
    figure: Figure, heights: np.ndarray, early: np.ndarray, best: int | None, has_names: bool
) -> None:
    from matplotlib.lines import Line2D

    def entry(label: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, **look)

    sound = np.isfinite(heights)
    stopped = int(np.sum(sound & early))
    entries = [entry("trained to the end" if stopped else "a network", markersize=5, **_FINISHED)]
    if stopped:
        entries.append(entry(f"stopped early: {stopped}", markersize=5, **_STOPPED))
    if has_names:
        entries.append(Line2D([], [], color="black", linewidth=1.5, label="median"))
    if best is not None:
        ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": "black", "markersize": 10}
        entries.append(entry("chosen", marker="o", **ring))
    diverged = int(np.sum(~sound))
    if diverged:
        entries.append(entry(f"diverged: {diverged}", markersize=6, **_DIVERGED))
    # Two entries are as wide as a single panel; beside each other, two panels have room for all.
    columns = min(len(entries), 2) if figure.get_figwidth() < 6 else len(entries)
    figure.legend(handles=entries, loc="outside upper right", ncols=columns, frameon=False)
