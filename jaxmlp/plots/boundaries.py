"""Decision boundaries: data with two features, and what a network makes of the plane around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style
from jaxmlp.plots.histories import draw_metric, epoch_axis
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_MARGIN = 0.08  # of the data's span, around the data
_AXIS_NAMES = ("x₁", "x₂")


def boundary_grid(inputs: Any, *, steps: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make the points of the plane on which a network is asked for its prediction.

    Args:
        inputs: [N, 2] the data to surround.
        steps: points along each axis.

    Returns:
        `grid_x` [G] and `grid_y` [H], evenly spaced with G = H = `steps`, and `points` [H·G, 2], the points
        row by row: predictions of them reshape to [H, G].

    Example:
        >>> grid_x, grid_y, points = boundary_grid([[0.0, 0.0], [1.0, 2.0]], steps=50)
        >>> points.shape, points.reshape(50, 50, 2)[3, 7].tolist() == [grid_x[7], grid_y[3]]
        ((2500, 2), True)
    """
    values = np.asarray(inputs, float)
    low, high = values.min(axis=0), values.max(axis=0)
    margin = _MARGIN * np.where(high > low, high - low, 1.0)
    grid_x, grid_y = (np.linspace(low[i] - margin[i], high[i] + margin[i], steps) for i in (0, 1))
    across, up = np.meshgrid(grid_x, grid_y)
    return grid_x, grid_y, np.stack([across.ravel(), up.ravel()], axis=1)


def scatter_classes(
    inputs: Any, labels: Any, class_names: Sequence[object], *, axis_names: Sequence[str] = _AXIS_NAMES
) -> Figure:
    """Draw data of two features, a colour and a marker a class.

    Args:
        inputs: [N, 2] features.
        labels: [N] classes.
        class_names: K names.
        axis_names: what the two features are.

    Returns:
        The figure.

    Example:
        >>> scatter_classes([[0, 0], [1, 2]], [0, 1], ["a", "b"]).axes[0].get_xlabel()
        'x₁'
    """
    figure, (axes,) = style.new_panels(1, 4.9, 4.2, side=_legend_width(class_names), grid=False)
    _draw_points(axes, inputs, labels, class_names, axis_names)
    _legend(axes, len(class_names))
    return figure


def decision_boundary(
    grid_x: Any,
    grid_y: Any,
    regions: Any,
    inputs: Any,
    labels: Any,
    class_names: Sequence[object],
    *,
    axis_names: Sequence[str] = _AXIS_NAMES,
    threshold: float = 0.5,
) -> Figure:
    """Draw which class a network predicts where, and the data on top.

    Args:
        grid_x: [G] where the columns of `regions` stand.
        grid_y: [H] where its rows stand.
        regions: [H, G] predicted classes as integers; or, for two classes, the second's scores as floats.
        inputs: [N, 2] features.
        labels: [N] true classes.
        class_names: K names.
        axis_names: what the two features are.
        threshold: the score from which on the second class is predicted: 0.5 for probabilities, 0 for signs.

    Returns:
        The figure; a line runs where the prediction changes.

    Example:
        >>> grid_x, grid_y, points = boundary_grid([[-1.0, -1.0], [1.0, 1.0]])
        >>> regions = (points.sum(axis=1) > 0).astype(int).reshape(200, 200)
        >>> inputs, labels = [[-1, -1], [1, 1]], [0, 1]
        >>> figure = decision_boundary(grid_x, grid_y, regions, inputs, labels, ["below", "above"])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['below', 'above']
    """
    figure, (axes,) = style.new_panels(1, 4.9, 4.2, side=_legend_width(class_names), grid=False)
    _draw_boundary(axes, (grid_x, grid_y, regions, inputs, labels), class_names, axis_names, threshold)
    _legend(axes, len(class_names))
    return figure


def side_by_side_boundaries(
    panels: Sequence[tuple[str, Any, Any, Any, Any, Any]],
    class_names: Sequence[object],
    *,
    axis_names: Sequence[str] = _AXIS_NAMES,
    threshold: float = 0.5,
) -> Figure:
    """Draw several networks' decision boundaries beside each other, as of one layer and of two.

    Args:
        panels: (title, grid_x, grid_y, regions, inputs, labels) each, as `decision_boundary` takes them.
        class_names: K names, the same for all.
        axis_names: what the two features are.
        threshold: the score from which on the second class is predicted, where regions are scores.

    Returns:
        The figure, up to three panels in a row.

    Example:
        >>> grid_x, grid_y, points = boundary_grid([[-1.0, -1.0], [1.0, 1.0]], steps=20)
        >>> regions = (points[:, 0] > 0).astype(int).reshape(20, 20)
        >>> panel = ("one layer", grid_x, grid_y, regions, [[-1, -1], [1, 1]], [0, 1])
        >>> [axes.get_title() for axes in side_by_side_boundaries([panel, panel], ["a", "b"]).axes]
        ['one layer', 'one layer']
    """
    figure, every = style.new_panels(len(panels), 3.7, 3.6, side=_legend_width(class_names), grid=False)
    for axes, (title, *panel) in zip(every, panels, strict=True):
        _draw_boundary(axes, panel, class_names, axis_names, threshold)
        axes.set_title(style.plain(title, 48), fontsize=10)
    _legend(every[:3][-1], len(class_names))
    return figure


def accuracy_and_boundary(
    columns: Mapping[str, Any],
    panel: tuple[Any, Any, Any, Any, Any],
    class_names: Sequence[object],
    *,
    valid_label: str = "validation",
    last_epoch: int | None = None,
    axis_names: Sequence[str] = _AXIS_NAMES,
    threshold: float = 0.5,
) -> Figure:
    """Draw accuracy by epoch beside the decision boundary; figures of growing histories make an animation.

    Args:
        columns: the history, a column [E] a name: "epoch", "train_accuracy" and perhaps "valid_accuracy".
        panel: (grid_x, grid_y, regions, inputs, labels), as `decision_boundary` takes them.
        class_names: K names.
        valid_label: what the validation part is called, as "test".
        last_epoch: where the epochs' axis ends, the same for all frames of an animation.
        axis_names: what the two features are.
        threshold: the score from which on the second class is predicted, where regions are scores.

    Returns:
        The figure, titled with the last row's epoch.

    Example:
        >>> grid_x, grid_y, points = boundary_grid([[-1.0, -1.0], [1.0, 1.0]], steps=20)
        >>> regions = (points[:, 0] > 0).astype(int).reshape(20, 20)
        >>> columns = {"epoch": [1, 2], "train_accuracy": [0.5, 1.0]}
        >>> panel = (grid_x, grid_y, regions, [[-1, -1], [1, 1]], [0, 1])
        >>> accuracy_and_boundary(columns, panel, ["a", "b"]).axes[0].lines[0].get_ydata().tolist()
        [50.0, 100.0]
    """
    epochs = np.asarray(columns["epoch"], float)
    figure, (left, right) = style.new_panels(2, 4.2, 4.0, side=_legend_width(class_names), grid=False)
    draw_metric(left, columns, "accuracy", valid_label)
    end = epochs.max() if last_epoch is None else max(float(last_epoch), epochs.max())
    epoch_axis(left, np.array([epochs.min(), end]))
    style.quiet_grid(left)
    left.set_ylim(0, 103)
    left.set_title(f"epoch {epochs[-1]:g}", fontsize=10)
    if left.lines:
        left.legend(frameon=False, loc="lower right")  # a fixed place, to stay where it is between frames
    _draw_boundary(right, panel, class_names, axis_names, threshold)
    _legend(right, len(class_names))
    return figure


def _draw_boundary(
    axes: Axes, panel: Any, class_names: Sequence[object], axis_names: Sequence[str], threshold: float
) -> None:
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap, to_rgb

    grid_x, grid_y, regions, inputs, labels = panel
    values, names = np.asarray(regions), len(class_names)
    # Thinned with white, for the area behind the points of that colour.
    colors = [np.array(to_rgb(color)) for color in style.colors(names)]
    tints: list[Any] = [tuple(0.3 * color + 0.7) for color in colors]
    if values.dtype.kind == "f":
        if names != 2:
            raise ArgumentError(
                f"regions holds scores, but there are {names} class names: give integers or two names"
            )
        reach = float(np.abs(values - threshold).max()) or 1.0
        scale: Colormap = LinearSegmentedColormap.from_list("two classes", [tints[0], "white", tints[1]])
        limits = (threshold - reach, threshold + reach)
        predicted = (values >= threshold).astype(int)
    else:
        predicted = style.class_numbers("regions", values, names)
        scale, limits = ListedColormap(tints), (-0.5, names - 0.5)
    look: dict[str, Any] = {"cmap": scale, "vmin": limits[0], "vmax": limits[1], "shading": "nearest"}
    axes.pcolormesh(grid_x, grid_y, values, rasterized=True, **look)
    for number in np.unique(predicted)[:-1]:  # the last region's line is drawn by its neighbours
        axes.contour(grid_x, grid_y, predicted == number, levels=[0.5], colors="0.25", linewidths=0.8)
    _draw_points(axes, inputs, labels, class_names, axis_names)


def _draw_points(
    axes: Axes, inputs: Any, labels: Any, class_names: Sequence[object], axis_names: Sequence[str]
) -> None:
    points = np.asarray(inputs, float)
    numbers = style.class_numbers("labels", labels, len(class_names))
    size = float(np.clip(12000 / len(points), 8, 28))
    look: dict[str, Any] = {"s": size, "edgecolors": "white", "linewidths": 0.4 if size > 12 else 0.0}
    look["rasterized"] = len(points) > style.MANY_POINTS
    for number, (name, color) in enumerate(zip(class_names, style.colors(len(class_names)), strict=True)):
        here, marker = points[numbers == number], style.MARKERS[number % len(style.MARKERS)]
        axes.scatter(*here.T, color=color, marker=marker, label=style.plain(name), **look)
    across, up = map(style.plain, axis_names)
    axes.set(xlabel=across, ylabel=up)


def _legend(axes: Axes, classes: int) -> None:
    handles: list[Any] = style.legend_beside(axes, classes).legend_handles
    for handle in handles:
        handle.set_sizes([28])  # however small the points are


def _legend_width(class_names: Sequence[object]) -> float:
    longest = max((len(style.plain(name)) for name in class_names), default=0)
    return style.legend_columns(len(class_names)) * (0.4 + 0.075 * longest)
