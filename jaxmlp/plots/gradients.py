"""How large gradients and weights are, by epoch and by layer: what vanishes and what explodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import checks, style
from jaxmlp.plots.histories import epoch_axis
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WEIGHT_COLUMN = "max_weight_"


def gradient_curves(columns: Mapping[str, Any]) -> Figure:
    """Draw the gradient's norm by epoch beside the largest absolute weight of each layer.

    Args:
        columns: the history, a column [E] a name: "epoch", "gradient_norm", and "max_weight_1" to
            "max_weight_L", max |W| of each layer. Values that are not finite are left out.

    Returns:
        The figure; the norm is on a logarithmic axis.

    Raises:
        ArgumentError: a column is missing, empty or of another length than "epoch".

    Example:
        >>> columns = {"epoch": [1, 2], "gradient_norm": [1.0, 0.1], "max_weight_1": [0.5, 0.6]}
        >>> gradient_curves(columns).axes[0].get_yscale()
        'log'
    """
    epochs = checks.column(columns, "epoch")
    norms = checks.column(columns, "gradient_norm", len(epochs))
    layers = _layers(columns)
    figure = style.new_figure(8.8 if layers else 4.6, 3.6)
    panels = style.axes_grid(figure, 2 if layers else 1, 2)

    _lines(panels[0], epochs, {"": norms})
    style.log_axis(panels[0], norms)
    panels[0].set_ylabel("gradient norm ‖∂E/∂θ‖₂")
    if layers:
        weights = {f"layer {i}": checks.column(columns, f"{_WEIGHT_COLUMN}{i}", len(epochs)) for i in layers}
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

    Raises:
        ArgumentError: the norms have another shape or are empty, or `epochs` does not fit them.

    Example:
        >>> len(gradient_flow([1.0, 0.1, 0.01]).axes), len(gradient_flow([[1.0, 0.9], [0.1, 0.2]]).axes)
        (1, 2)
    """
    by_label = {"": norms} if not isinstance(norms, Mapping) else norms
    if not by_label:
        raise ArgumentError("norms has no entry: give at least one label with its norms by layer")
    if not isinstance(norms, Mapping) and np.ndim(norms) == 2:
        return _flow_through_training(norms, epochs)
    if epochs is not None:
        raise ArgumentError("epochs is given, but norms has no axis of epochs: give norms of shape [L, E]")
    figure = style.new_figure(5.4, 3.8)
    _by_layer(
        figure.subplots(), {label: checks.array("norms", each, ("L",)) for label, each in by_label.items()}
    )
    return figure


def _flow_through_training(norms: Any, epochs: Any) -> Figure:
    values = checks.not_empty("norms", checks.array("norms", norms, ("L", "E"))).astype(float)
    layers, count = values.shape
    steps = checks.array(
        "epochs", np.arange(1, count + 1) if epochs is None else epochs, (count,), finite=True
    )
    figure = style.new_figure(8.8, 3.8)
    start, through = figure.subplots(1, 2)
    ends = {f"epoch {steps[0]:g}": values[:, 0], f"epoch {steps[-1]:g}": values[:, -1]}
    _by_layer(start, ends)
    _lines(through, steps, {f"layer {i + 1}": values[i] for i in range(layers)})
    style.log_axis(through, values)
    through.set_ylabel("gradient norm ‖∂E/∂W‖₂")
    epoch_axis(through, steps)
    return figure


def _by_layer(axes: Axes, by_label: Mapping[str, np.ndarray]) -> None:
    from matplotlib.ticker import MaxNLocator

    colors = style.colors(len(by_label))
    for index, (label, values) in enumerate(by_label.items()):
        checks.not_empty("norms", values)
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
