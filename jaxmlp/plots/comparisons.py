"""Runs beside each other in one figure, epoch by epoch: which one learns better."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import histories, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST_NAME = 30
_ROOM_TO_DIVERGE = 10.0  # how far above the others' largest loss one that diverges is followed
_LEAST_R2 = -1.0  # an R² far below 0, as of a first epoch, would press all others together


def run_curves(
    groups: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    valid_label: str = "validation",
    loss_labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the loss and the scores of several runs by epoch: training on the left, validation on the right.

    Args:
        groups: by title, runs that can be measured by each other; by name, a run's history as `learning_curves`
            takes it. With a single group the title is left out. Values that are not finite are left out. A run whose
            training loss ends with one has a cross at the last that was finite, and says so in the legend.
            A loss that spans more than two powers of ten stands on a logarithmic axis. What would press the other
            curves together is cut off: an R² below −1, and a diverging loss above ten times the others' largest.
        valid_label: what the validation part is called, as "test".
        loss_labels: by title, what a group's loss is called where that is not "loss".

    Returns:
        The figure, two rows of panels a group: the loss, then the score; a colour and a line a run, named once.

    Example:
        >>> runs = {"slow": {"epoch": [1, 2], "train_loss": [2.0, 1.9]}, "fast": {"epoch": [1], "train_loss": [0.5]}}
        >>> figure = run_curves({"digits": runs})
        >>> [axes.get_ylabel() for axes in figure.axes], [len(axes.lines) for axes in figure.axes]
        (['training loss', 'validation loss'], [2, 0])
    """
    places = [(title, name) for title, runs in groups.items() for name in runs]
    looks = dict(zip(places, _looks(len(places)), strict=True))
    panels = [
        (title, metric)
        for title, runs in groups.items()
        for metric in ["loss", *histories.score_names(itertools.chain.from_iterable(runs.values()))]
    ]
    figure = style.new_figure(10.4, 0.3 + 2.9 * len(panels))
    rows = figure.subplots(len(panels), 2, squeeze=False, sharey="row")
    for (title, metric), row in zip(panels, rows, strict=True):
        for axes, part, label in zip(row, ("train", "valid"), ("training", valid_label), strict=True):
            for name, columns in groups[title].items():
                _draw_run(axes, columns, f"{part}_{metric}", looks[title, name])
            epochs = [columns["epoch"] for columns in groups[title].values()]
            histories.epoch_axis(axes, np.concatenate(epochs))
            style.quiet_grid(axes)
            shown = histories.metric_label(metric)
            if metric == "loss":
                shown = style.plain((loss_labels or {}).get(title, shown))
            axes.set_ylabel(f"{style.plain(label)} {shown}")
        if metric == "r2":
            _cut_below(row)
        elif metric == "loss":
            histories.log_when_wide(*row)  # both share their axis
            _cut_above(row[0], groups[title])
        for axes in row:
            _keep_crosses_inside(axes)
        if len(groups) > 1 and metric == "loss":
            row[0].set_title(style.plain(title, 70), loc="left", fontsize="medium")
    _legend(figure, groups, looks)
    return figure


def _looks(count: int) -> list[dict[str, Any]]:
    """A colour and a line for each run: the palette without its faint yellow, solid, then dashed and so on."""
    looks = list(itertools.product(style.LINES, style.OKABE_ITO[:7]))
    if count > len(looks):
        looks = [("-", color) for color in style.ordered_colors(count)]
    return [{"linestyle": line, "color": color} for line, color in looks[:count]]


def _draw_run(axes: Axes, columns: Mapping[str, Any], name: str, look: Mapping[str, Any]) -> None:
    if histories.draw_column(axes, columns, name, few=1, linewidth=1.4, **look) and _diverged(columns):
        line: Any = axes.lines[-1]
        axes.plot(*line.get_xydata()[-1], "x", color=look["color"], markersize=8, clip_on=False)


def _diverged(columns: Mapping[str, Any]) -> bool:
    return not np.isfinite(np.asarray(columns["train_loss"], float)[-1])


def _cut_below(row: np.ndarray) -> None:
    if row[0].get_ylim()[0] < _LEAST_R2:
        row[0].set_ylim(_LEAST_R2, 1.0)
        for axes in row:
            axes.set_ylabel(f"{axes.get_ylabel()} (cut off below −1)")


def _cut_above(axes: Axes, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """A run on its way to infinity would press all others together: those that did not diverge set the scale."""
    sound = [columns for columns in runs.values() if not _diverged(columns)]
    losses = [columns[name] for columns in sound for name in ("train_loss", "valid_loss") if name in columns]
    values = np.concatenate([np.empty(0), *(np.asarray(each, float) for each in losses)])
    largest = np.max(values, initial=0.0, where=np.isfinite(values))
    if largest > 0 and axes.get_ylim()[1] > _ROOM_TO_DIVERGE * largest:
        axes.set_ylim(top=_ROOM_TO_DIVERGE * largest)


def _keep_crosses_inside(axes: Axes) -> None:
    for line in axes.lines:
        if line.get_marker() == "x":
            least, largest = sorted(axes.get_ylim())
            line.set_ydata(np.clip(np.asarray(line.get_ydata(), float), least, largest))


def _legend(figure: Figure, groups: Mapping[str, Mapping[str, Any]], looks: Mapping[Any, Any]) -> None:
    from matplotlib.lines import Line2D

    entries = []
    for (title, name), look in looks.items():
        ended = " ×" if _diverged(groups[title][name]) else ""
        label = style.plain(name, _LONGEST_NAME) + ended
        entries.append(Line2D([], [], linewidth=1.6, label=label, **look))
    has_cross = any(str(entry.get_label()).endswith(" ×") for entry in entries)
    heading: dict[str, Any] = {"title": "× diverged" if has_cross else None, "title_fontsize": "small"}
    shape: dict[str, Any] = {"alignment": "left", "handlelength": 2.6}  # to show how a line is dashed
    figure.legend(
        handles=entries, loc="outside right upper", frameon=False, fontsize="small", **heading, **shape
    )
