"""How a training went, epoch by epoch, read from the columns of its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import checks, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METRIC_NAMES = {"r2": "R²"}


def learning_curves(columns: Mapping[str, Any], *, valid_label: str = "validation") -> Figure:
    """Draw the loss by epoch beside each score by epoch, in training and in validation.

    Args:
        columns: the history, a column [E] a name: "epoch", "train_loss", perhaps "valid_loss", and scores as
            "train_accuracy" and "valid_accuracy", or with "r2" or another metric in place of "accuracy".
            Accuracies are shares from 0 to 1 and are drawn in %. Values that are not finite are left out.
            A loss that spans more than two powers of ten stands on a logarithmic axis.
        valid_label: what the validation part is called, as "test".

    Returns:
        The figure, a panel for the loss and one for each score.

    Raises:
        ArgumentError: a column is missing, empty or of another length than "epoch".

    Example:
        >>> columns = {"epoch": [1, 2], "train_loss": [2.0, 1.0], "train_accuracy": [0.5, 0.8]}
        >>> figure = learning_curves(columns)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss', 'accuracy (%)']
    """
    epochs = checks.column(columns, "epoch")
    checks.column(columns, "train_loss", len(epochs))
    metrics = ["loss", *score_names(columns)]
    figure = style.new_figure(4.2 * len(metrics) + 0.4, 3.6)
    for axes, metric in zip(style.axes_grid(figure, len(metrics), len(metrics)), metrics, strict=True):
        draw_metric(axes, columns, metric, valid_label)
    return figure


def draw_metric(axes: Axes, columns: Mapping[str, Any], metric: str, valid_label: str) -> None:
    """Draw one metric by epoch, in training and in validation."""
    epochs = checks.column(columns, "epoch")
    scale = scale_of(metric)
    for part, label, color, line in (
        ("train", "training", style.OKABE_ITO[0], "-"),
        ("valid", valid_label, style.OKABE_ITO[1], "--"),
    ):
        if f"{part}_{metric}" not in columns:
            continue
        values = scale * checks.column(columns, f"{part}_{metric}", len(epochs))
        known = np.isfinite(values)
        if known.any():
            markers = style.marker_every(int(known.sum()))
            axes.plot(epochs[known], values[known], line, color=color, label=style.plain(label), **markers)
    if axes.lines:
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", va="center")
    epoch_axis(axes, epochs)
    axes.set_ylabel(metric_label(metric))
    if metric == "loss":
        log_when_wide(axes)
    style.quiet_grid(axes)


def epoch_axis(axes: Axes, epochs: np.ndarray) -> None:
    """Label the x axis with whole epochs, with room on both sides, so that a single epoch is in the middle."""
    from matplotlib.ticker import MaxNLocator

    room = max(0.5, 0.03 * float(np.ptp(epochs)))
    axes.set_xlim(float(epochs.min()) - room, float(epochs.max()) + room)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def scale_of(metric: str) -> float:
    """Tell by what a metric is multiplied to be drawn: a share in %."""
    return 100.0 if metric.endswith("accuracy") else 1.0


def metric_label(metric: str) -> str:
    """Name a metric as an axis does, with its unit."""
    name = _METRIC_NAMES.get(metric, metric.replace("_", " "))
    return f"{name} (%)" if scale_of(metric) == 100.0 else name


def log_when_wide(axes: Axes) -> None:
    """Make the y axis logarithmic where what is drawn spans more than two powers of ten.

    On a linear axis, whatever follows a steep start is a flat line at the bottom.
    """
    drawn = np.concatenate([np.empty(0), *(np.asarray(line.get_ydata(), float) for line in axes.lines)])
    if drawn.size and drawn.min() > 0 and drawn.max() > 100 * drawn.min():
        style.log_axis(axes, drawn)


def score_names(columns: Mapping[str, Any]) -> list[str]:
    """Name the metrics that have columns, without the loss."""
    metrics = [
        name.removeprefix(part) for name in columns for part in ("train_", "valid_") if name.startswith(part)
    ]
    return [metric for metric in dict.fromkeys(metrics) if metric != "loss"]
