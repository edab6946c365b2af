"""Images: what a network got wrong, and what its first layer looks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_LONGEST_TITLE = 25  # characters that fit above one image in one line


def confident_mistakes(
    images: Any,
    feature_shape: Sequence[int],
    labels: Any,
    predicted: Any,
    probability: Any,
    class_names: Sequence[object],
    *,
    count: int = 16,
) -> Figure:
    """Draw the wrongly classified images of which the network was surest, the surest first.

    Args:
        images: [N, I] features, or [N, *feature_shape].
        feature_shape: (height, width), (height, width, 1) or (height, width, 3), with product I.
        labels: [N] true classes.
        predicted: [N] predicted classes.
        probability: [N] the probability that was given to the predicted class, from 0 to 1.
        class_names: K names.
        count: how many to draw at most.

    Returns:
        The figure, each image titled as "true 4 · said 9 (99.1 %)"; it says so where there are no mistakes.

    Example:
        >>> labels, predicted, probability = [0, 1, 0, 1], [0, 1, 1, 1], [0.9, 0.8, 0.6, 0.7]
        >>> names = ["cat", "dog"]
        >>> figure = confident_mistakes(np.eye(4), (2, 2), labels, predicted, probability, names)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['true cat · said dog (60.0 %)']
    """
    pictures = _as_images(images, feature_shape)
    named = [style.plain(name, 16) for name in class_names]
    true = style.class_numbers("labels", labels, len(named))
    said = style.class_numbers("predicted", predicted, len(named))
    sure = np.asarray(probability)
    wrong = np.flatnonzero(true != said)
    if not wrong.size:
        figure, (axes,) = style.new_panels(1, 4.2, 2.0)
        axes.set_axis_off()
        said_so = f"no mistakes among {len(pictures)} examples"
        axes.text(0.5, 0.5, said_so, ha="center", va="center", fontsize=11, transform=axes.transAxes)
        return figure
    surest = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    titles = []
    for index in surest:
        parts = f"true {named[true[index]]}", f"said {named[said[index]]} ({100 * sure[index]:.1f} %)"
        titles.append((" · " if len("".join(parts)) <= _LONGEST_TITLE else "\n").join(parts))
    rows, columns = style.grid_of(len(surest), 4)
    cell = (max(2.1, 3.0 / columns), 2.3)
    figure, (axes,) = style.new_panels(1, columns * cell[0], rows * cell[1], grid=False)
    # All are stretched alike, whatever the features' scale, from 0 for the least to 1 for the largest.
    shown, low = pictures[surest], pictures[surest].min()
    shown = (shown - low) / (shown.max() - low or 1.0)
    look: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
    _tile(axes, shown, titles, columns, cell, space=(0.15, 0.36), **look)
    return figure


def first_layer_weights(w: Any, feature_shape: Sequence[int], *, count: int = 36) -> Figure:
    """Draw the weights that lead into the first layer's units, all on one colour scale symmetric about 0.

    Args:
        w: [I, O] weights.
        feature_shape: (height, width), (height, width, 1) or (height, width, 3), with product I.
        count: how many units to draw at most, in their order.

    Returns:
        The figure, an image a unit. Units of colour images show the three channels' weights as colours, grey for 0.

    Example:
        >>> figure = first_layer_weights(np.ones((4, 3)), (2, 2))
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['1', '2', '3']
    """
    filters = _as_images(np.asarray(w).T, feature_shape)
    units = min(count, len(filters))
    largest = float(np.abs(filters[:units]).max()) or 1.0
    rows, columns = style.grid_of(units, int(np.clip(np.ceil(np.sqrt(units)), 4, 10)))
    figure, (axes,) = style.new_panels(1, max(4.6, 1.15 * columns + 1.3), 1.2 * rows + 0.4, grid=False)
    in_color = filters.ndim == 4
    shown = 0.5 + filters / (2 * largest) if in_color else filters
    titles = [str(number) for number in range(1, units + 1)]
    look: dict[str, Any] = {"cmap": style.DIVERGING_MAP, "vmin": -largest, "vmax": largest}
    image = _tile(axes, shown[:units], titles, columns, (1.15, 1.2), space=(0.15, 0.22), **look)
    if not in_color:
        figure.colorbar(image, ax=axes, label="weight", shrink=0.9)
    scale = f", red, green and blue from −{largest:.3g} to {largest:.3g}, grey is 0" if in_color else ""
    figure.suptitle(f"weights into units 1 to {units} of {len(filters)}{scale}", fontsize=10)
    return figure


def _tile(
    axes: Axes,
    pictures: np.ndarray,
    titles: Sequence[str],
    columns: int,
    cell: tuple[float, float],
    *,
    space: tuple[float, float],
    **keywords: Any,
) -> AxesImage:
    """Draw pictures row by row, each with its title above it, in cells of a width and height in inches.

    All stand in one axes: one axes each, with their ticks and margins, would take ten times as long to draw.
    The space is what each cell leaves free beside its picture and above it.
    """
    high, wide = pictures.shape[1:3]
    scale = min((cell[0] - space[0]) / wide, (cell[1] - space[1]) / high)
    for number, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        row, column = divmod(number, columns)
        middle, bottom = (column + 0.5) * cell[0], (row + 1) * cell[1]
        left, right, top = middle - scale * wide / 2, middle + scale * wide / 2, bottom - scale * high
        image = axes.imshow(picture, extent=(left, right, bottom, top), **keywords)
        axes.text(middle, top - 0.03, title, ha="center", va="bottom", fontsize=8)
    axes.set_xlim(0, columns * cell[0])
    axes.set_ylim(-(-len(pictures) // columns) * cell[1], 0)
    axes.set_axis_off()
    return image


def _as_images(given: Any, feature_shape: Sequence[int]) -> np.ndarray:
    """The rows as images: [N, H, W], or [N, H, W, 3] for colours."""
    shape = tuple(feature_shape)
    return np.asarray(given, float).reshape(-1, *(shape[:2] if shape[2:] == (1,) else shape))
