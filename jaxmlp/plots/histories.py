"""Histories: how loss, scores, gradients and weights went, epoch by epoch, and gradients by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METRIC_NAMES = {"r2": "R²"}
_WEIGHT_COLUMN = "max_weight_"


def learning_curves(
    columns: Mapping[str, Any], *, valid_label: str = "validation", best: int | None = None
) -> Figure:
    """Draw the loss by epoch beside each score by epoch, in training and in validation.

    Args:
        columns: the history, a column [E] a name: "epoch", "train_loss", perhaps "valid_loss", and scores as
            "train_accuracy" and "valid_accuracy", or with "r2" or another metric in place of "accuracy".
            Accuracies are shares from 0 to 1 and are drawn in %. Values that are not finite are left out.
            A loss that spans more than two powers of ten stands on a logarithmic axis.
        valid_label: what the validation part is called, as "test".
        best: an epoch to mark, as that of the least loss there.

    Returns:
        The figure, a panel for the loss and one for each score.

    Example:
        >>> columns = {"epoch": [1, 2], "train_loss": [2.0, 1.0], "train_accuracy": [0.5, 0.8]}
        >>> figure = learning_curves(columns)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss', 'accuracy (%)']
    """
    metrics = ["loss", *score_names(columns)]
    figure = style.new_figure(4.2 * len(metrics) + 0.4, 3.6)
    for axes, metric in zip(style.axes_grid(figure, len(metrics), len(metrics)), metrics, strict=True):
        draw_metric(axes, columns, metric, valid_label)
        if best is not None:
            axes.axvline(best, color="0.6", linestyle=":")
            axes.set_title(f"least {valid_label} loss in epoch {best}", fontsize=9)
    return figure


def draw_metric(axes: Axes, columns: Mapping[str, Any], metric: str, valid_label: str) -> None:
    """Draw one metric by epoch, in training and in validation."""
    epochs = np.asarray(columns["epoch"], float)
    for part, label, color, line in (
        ("train", "training", style.OKABE_ITO[0], "-"),
        ("valid", valid_label, style.OKABE_ITO[1], "--"),
    ):
        if f"{part}_{metric}" not in columns:
            continue
        values = scale_of(metric) * np.asarray(columns[f"{part}_{metric}"], float)
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
    """Label the x axis with whole epochs, with room on both sides, for a single epoch to be in the middle."""
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


def gradient_curves(columns: Mapping[str, Any]) -> Figure:
    """Draw the gradient's norm by epoch beside the largest absolute weight of each layer.

    Args:
        columns: the history, a column [E] a name: "epoch", "gradient_norm", and "max_weight_1" to
            "max_weight_L", max |W| of each layer. Values that are not finite are left out.

    Returns:
        The figure; the norm is on a logarithmic axis.

    Example:
        >>> columns = {"epoch": [1, 2], "gradient_norm": [1.0, 0.1], "max_weight_1": [0.5, 0.6]}
        >>> gradient_curves(columns).axes[0].get_yscale()
        'log'
    """
    epochs, norms = (np.asarray(columns[name], float) for name in ("epoch", "gradient_norm"))
    layers = _layers(columns)
    figure = style.new_figure(8.8 if layers else 4.6, 3.6)
    panels = style.axes_grid(figure, 2 if layers else 1, 2)

    _lines(panels[0], epochs, {"": norms})
    style.log_axis(panels[0], norms)
    panels[0].set_ylabel("gradient norm ‖∂E/∂θ‖₂")
    if layers:
        weights = {f"layer {i}": np.asarray(columns[f"{_WEIGHT_COLUMN}{i}"], float) for i in layers}
        _lines(panels[1], epochs, weights)
        panels[1].set_ylim(bottom=0)
        panels[1].set_ylabel("largest weight max |W|")
    for axes in panels:
        epoch_axis(axes, epochs)
    return figure


def gradient_flow(norms: Any, *, epochs: Any = None) -> Figure:
    """Draw the gradient's norm by layer on a logarithmic axis, at the start and through training.

    Args:
        norms: [L] a norm a layer, or [L, E] by layer and epoch, or a mapping from labels (as activations)
            to [L] norms, drawn as a line a label.
        epochs: [E] the columns' epochs; 1 to E when absent.

    Returns:
        The figure: norm by layer, and for [L, E] beside it norm by epoch, a line a layer.

    Example:
        >>> len(gradient_flow([1.0, 0.1, 0.01]).axes), len(gradient_flow([[1.0, 0.9], [0.1, 0.2]]).axes)
        (1, 2)
    """
    if not isinstance(norms, Mapping):
        values = np.asarray(norms, float)
        if values.ndim == 2:
            steps = np.arange(1, values.shape[1] + 1) if epochs is None else np.asarray(epochs)
            return _flow_through_training(values, steps)
        norms = {"": values}
    figure = style.new_figure(5.4, 3.8)
    _by_layer(figure.subplots(), {label: np.asarray(values, float) for label, values in norms.items()})
    return figure


def _flow_through_training(values: np.ndarray, epochs: np.ndarray) -> Figure:
    figure = style.new_figure(8.8, 3.8)
    start, through = figure.subplots(1, 2)
    _by_layer(start, {f"epoch {epochs[end]:g}": values[:, end] for end in (0, -1)})
    _lines(through, epochs, {f"layer {layer}": row for layer, row in enumerate(values, start=1)})
    style.log_axis(through, values)
    through.set_ylabel("gradient norm ‖∂E/∂W‖₂")
    epoch_axis(through, epochs)
    return figure


def _by_layer(axes: Axes, by_label: Mapping[str, np.ndarray]) -> None:
    from matplotlib.ticker import MaxNLocator

    colors = style.colors(len(by_label))
    for index, (label, values) in enumerate(by_label.items()):
        layers = np.arange(1, len(values) + 1)
        shown = np.isfinite(values)
        axes.plot(
            layers[shown],
            values[shown],
            marker=style.MARKERS[index % len(style.MARKERS)],
            color=colors[index],
            label=style.plain(label),
        )
    style.log_axis(axes, np.concatenate([np.ravel(values) for values in by_label.values()]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("layer (1 is next to the inputs)")
    axes.set_ylabel("gradient norm ‖∂E/∂W‖₂")
    _legend(axes, list(by_label))
    style.quiet_grid(axes)


def _lines(axes: Axes, epochs: np.ndarray, by_label: Mapping[str, np.ndarray]) -> None:
    for color, (label, values) in zip(style.ordered_colors(len(by_label)), by_label.items(), strict=True):
        known = np.isfinite(values)
        markers = style.marker_every(int(known.sum()))
        axes.plot(epochs[known], values[known], color=color, label=label, **markers)
    _legend(axes, list(by_label))
    style.quiet_grid(axes)


def _legend(axes: Axes, labels: list[str]) -> None:
    if len(labels) > 6:  # beside the lines, which would otherwise run through it
        columns = 1 + (len(labels) - 1) // 16
        axes.legend(
            frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=columns, fontsize="small"
        )
    elif labels != [""]:
        axes.legend(frameon=False, fontsize="small")


def _layers(columns: Mapping[str, Any]) -> list[int]:
    """The numbers of the layers that have a column of weights, in order."""
    endings = [name.removeprefix(_WEIGHT_COLUMN) for name in columns if name.startswith(_WEIGHT_COLUMN)]
    return sorted(int(ending) for ending in endings if ending.isdecimal())
