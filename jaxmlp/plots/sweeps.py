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
_DOT: dict[str, Any] = {"linestyle": "none", "markersize": 4.3, "markeredgewidth": 0}
_FINISHED = _DOT | {"marker": "o", "color": style.OKABE_ITO[0], "alpha": 0.6}
_STOPPED = _DOT | {"marker": "v", "color": style.OKABE_ITO[4], "alpha": 0.8}
_CROSS = {"marker": "x", "color": style.OKABE_ITO[1], "markersize": 5, "markeredgewidth": 1.5}
_RING = {"marker": "o", "color": "black", "fillstyle": "none", "markersize": 10.5, "markeredgewidth": 1.4}


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
    figure, panels = style.new_panels(len(varied), 3.6, 3.4, side=0.6)
    entries: dict[str, Any] = {}  # of the legend, by label
    for index, (axes, (name, values)) in enumerate(zip(panels, varied.items(), strict=True)):
        _draw_panel(axes, list(values), heights, early, best)
        axes.set_xlabel(style.plain(name.replace("_", " ")))
        if index % 3 == 0:
            axes.set_ylabel(score_label)
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    # Two entries are as wide as a single panel; beside each other, two panels have room for all.
    columns = min(len(entries), 2) if len(panels) == 1 else len(entries)
    shown = list(entries.values())
    figure.legend(handles=shown, loc="outside upper right", ncols=columns, frameon=False)
    return figure


def _draw_panel(
    axes: Axes, values: list[Any], heights: np.ndarray, early: np.ndarray, best: int | None
) -> None:
    across, sound = _place(axes, values, heights), np.isfinite(heights)
    stopped = sound & early
    for chosen, label, look in (
        (sound & ~early, "trained to the end" if stopped.any() else "a network", _FINISHED),
        (stopped, f"stopped early: {stopped.sum()}", _STOPPED),
        (sound & (np.arange(len(sound)) == best), "chosen", _DOT | _RING),
    ):
        if chosen.any():
            axes.plot(across[chosen], heights[chosen], label=label, **look)
    lost = across[~sound]
    if len(lost):
        floor = axes.get_xaxis_transform()  # x in data, y as a share of the axes
        look = _DOT | _CROSS | {"transform": floor, "clip_on": False, "label": f"diverged: {len(lost)}"}
        axes.plot(lost, np.full(len(lost), 0.02), **look)


def _place(axes: Axes, values: list[Any], heights: np.ndarray) -> np.ndarray:
    """Set up the x axis for a hyper-parameter and say where each of its values stands."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
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
            axes.hlines(median, column - 0.3, column + 0.3, color="black", zorder=3, label="median")
    turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if len(names) > 4 else {}
    axes.set_xticks(range(len(names)), [style.plain(name, 14) for name in names], **turned)
    axes.set_xlim(-0.6, len(names) - 0.4)
    return columns + np.random.default_rng(0).uniform(-_JITTER, _JITTER, len(columns))
