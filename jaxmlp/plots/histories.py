"""Histories: how loss, scores, gradients and weights went, epoch by epoch, and gradients by layer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METRIC_NAMES = {"r2": "R²"}


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
    figure, panels = style.new_panels(len(metrics), 4.2, 3.6, widest=len(metrics), side=0.4)
    for axes, metric in zip(panels, metrics, strict=True):
        draw_metric(axes, columns, metric, valid_label)
        if best is not None:
            axes.axvline(best, color="0.6", linestyle=":")
            axes.set_title(f"least {valid_label} loss in epoch {best}", fontsize=9)
    return figure


def draw_metric(axes: Axes, columns: Mapping[str, Any], metric: str, valid_label: str) -> None:
    """Draw one metric by epoch, in training and in validation."""
    training, validation = style.OKABE_ITO[:2]
    draw_column(axes, columns, f"train_{metric}", color=training, label="training")
    look = {"color": validation, "linestyle": "--", "label": style.plain(valid_label)}
    draw_column(axes, columns, f"valid_{metric}", **look)
    if axes.lines:
        axes.legend(frameon=False)
    epoch_axis(axes, np.asarray(columns["epoch"], float))
    axes.set_ylabel(metric_label(metric))
    if metric == "loss":
        log_when_wide(axes)


def draw_column(axes: Axes, columns: Mapping[str, Any], name: str, **look: Any) -> bool:
    """Draw a column by epoch and say whether there was anything finite to draw."""
    values = scale_of(name) * np.asarray(columns[name], float) if name in columns else np.empty(0)
    if not np.isfinite(values).any():
        return False
    style.draw_finite(axes, columns["epoch"], values, **look)
    return True


def epoch_axis(axes: Axes, epochs: np.ndarray) -> None:
    """Label the x axis with whole epochs, with room on both sides, for a single epoch to be in the middle."""
    if not axes.lines and not axes.texts:
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", va="center")
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


def log_when_wide(*sharing: Axes) -> None:
    """Make a y axis logarithmic where what is drawn spans more than two powers of ten.

    On a linear axis, whatever follows a steep start is a flat line at the bottom.
    """
    lines = [np.asarray(line.get_ydata(), float) for axes in sharing for line in axes.lines]
    drawn = np.concatenate([np.empty(0), *lines])
    if drawn.size and drawn.min() > 0 and drawn.max() > 100 * drawn.min():
        style.log_axis(sharing[0], drawn)


def score_names(columns: Iterable[str]) -> list[str]:
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
    prefix = "max_weight_"
    layers = sorted(int(name.removeprefix(prefix)) for name in columns if name.startswith(prefix))
    figure, (first, *others) = style.new_panels(2 if layers else 1, 4.2, 3.6, side=0.4)
    _by_epoch(first, epochs, {"": norms})
    style.log_axis(first, norms)
    first.set_ylabel("gradient norm ‖∂E/∂θ‖₂")
    for axes in others:
        _by_epoch(axes, epochs, {f"layer {i}": columns[f"{prefix}{i}"] for i in layers})
        axes.set_ylim(bottom=0)
        axes.set_ylabel("largest weight max |W|")
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
    values = None if isinstance(norms, Mapping) else np.asarray(norms, float)
    if values is None or values.ndim == 1:
        figure, (axes,) = style.new_panels(1, 5.4, 3.8)
        _by_layer(axes, norms if values is None else {"": values})
        return figure
    steps = np.arange(1, values.shape[1] + 1) if epochs is None else np.asarray(epochs)
    figure, (start, through) = style.new_panels(2, 4.4, 3.8)
    _by_layer(start, {f"epoch {steps[end]:g}": values[:, end] for end in (0, -1)})
    _by_epoch(through, steps, {f"layer {layer}": row for layer, row in enumerate(values, start=1)})
    style.log_axis(through, values)
    through.set_ylabel("gradient norm ‖∂E/∂W‖₂")
    return figure


def _by_layer(axes: Axes, by_label: Mapping[str, Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    looks = zip(style.colors(len(by_label)), itertools.cycle(style.MARKERS), strict=False)
    for (label, values), (color, marker) in zip(by_label.items(), looks, strict=True):
        layers, look = np.arange(1, len(values) + 1), {"color": color, "marker": marker}
        style.draw_finite(axes, layers, values, few=0, label=style.plain(label), **look)
    style.log_axis(axes, np.concatenate([np.asarray(values, float) for values in by_label.values()]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("layer (1 is next to the inputs)")
    axes.set_ylabel("gradient norm ‖∂E/∂W‖₂")
    _legend(axes, list(by_label))


def _by_epoch(axes: Axes, epochs: np.ndarray, by_label: Mapping[str, Any]) -> None:
    for color, (label, values) in zip(style.ordered_colors(len(by_label)), by_label.items(), strict=True):
        style.draw_finite(axes, epochs, values, color=color, label=label)
    _legend(axes, list(by_label))
    epoch_axis(axes, epochs)


def _legend(axes: Axes, labels: list[str]) -> None:
    if len(labels) > 6:  # the lines would otherwise run through it
        style.legend_beside(axes, len(labels))
    elif labels != [""]:
        axes.legend(frameon=False, fontsize="small")
