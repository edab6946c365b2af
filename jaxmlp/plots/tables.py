"""Tables as colours or bars: where a classifier confuses classes, and which settings do well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import style
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_MOST_WRITTEN = 20  # classes whose counts still fit into the cells
_MOST_NAMED = 60  # classes whose names still fit along an axis


def confusion_matrix(matrix: Any, class_names: Sequence[object]) -> Figure:
    """Draw how many examples of each true class were predicted as each class.

    Args:
        matrix: [K, K] counts, a row a true class and a column a predicted one.
        class_names: K names.

    Returns:
        The figure: colours are shares of the row, for rare classes to be seen as well as common ones. Up to
        20 classes the counts stand in the cells.

    Raises:
        ArgumentError: the names do not fit the matrix.

    Example:
        >>> figure = confusion_matrix([[9, 1], [0, 5]], ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['9', '1', '0', '5']
    """
    from matplotlib.colors import PowerNorm

    counts, classes = _named(matrix, class_names, class_names), len(class_names)
    side = float(np.clip(0.45 * classes + 1.5, 3.6, 9.0))
    figure, (axes,) = style.new_panels(1, side, side, side=1.4, grid=False)
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100.0 * counts / np.where(totals > 0, totals, 1)  # a class without examples has a row of 0
    # The square root sets a few mistakes apart from none, which a linear scale would not.
    image = axes.imshow(shares, cmap=style.SHARE_MAP, norm=PowerNorm(0.5, vmin=0.0, vmax=100.0))
    ticks = [0, 1, 5, 10, 20, 40, 60, 80, 100]
    figure.colorbar(image, ax=axes, label="share of the true class (%)", ticks=ticks)
    if classes <= _MOST_WRITTEN:
        number_format = ".0f" if np.all(counts == np.round(counts)) else ".3g"
        _write_cells(axes, image, [[format(count, number_format) for count in row] for row in counts])
    _name_ticks(axes, class_names, class_names, 0.8 * side / classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


def table_heatmap(
    values: Any,
    row_names: Sequence[object],
    column_names: Sequence[object],
    *,
    title: str = "",
    number_format: str = ".2f",
    row_label: str = "",
    column_label: str = "",
    value_label: str = "",
) -> Figure:
    """Draw a table of results, as accuracies by hidden size and learning rate, with each number in its cell.

    Args:
        values: [R, C] numbers; NaN marks a cell without a result and is written "–".
        row_names: R names.
        column_names: C names.
        title: what stands above, if it says something.
        number_format: how numbers are written, as Python's `format` takes it.
        row_label: what the rows are, with its unit.
        column_label: what the columns are, with its unit.
        value_label: what the numbers are, with their unit.

    Returns:
        The figure.

    Raises:
        ArgumentError: the names do not fit the table.

    Example:
        >>> figure = table_heatmap([[97.5, 98.0]], ["300"], ["0.1", "0.5"], number_format=".1f")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['97.5', '98.0']
    """
    table = _named(values, row_names, column_names)
    cells = [[format(value, number_format) if np.isfinite(value) else "–" for value in row] for row in table]
    known = table[np.isfinite(table)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    width = 0.14 * max(len(cell) for row in cells for cell in row) + 0.3
    rows, columns = table.shape
    size = np.clip(width * columns + 2.6, 4.0, 14.0), np.clip(0.42 * rows + 1.3, 2.4, 12.0)
    figure, (axes,) = style.new_panels(1, *map(float, size), grid=False)
    image = axes.imshow(table, cmap=style.SEQUENTIAL_MAP, aspect="auto", vmin=low, vmax=high)
    figure.colorbar(image, ax=axes, label=value_label)
    _write_cells(axes, image, cells)
    _name_ticks(axes, row_names, column_names, width)
    axes.set(xlabel=column_label, ylabel=row_label, title=title)
    return figure


def label_scores(accuracy_by_label: Any, names: Sequence[object]) -> Figure:
    """Draw the share of right answers for each label of a multi-label task.

    Args:
        accuracy_by_label: [K] shares from 0 to 1.
        names: K names.

    Returns:
        The figure, a bar a label in the given order, from above, in %.

    Raises:
        ArgumentError: a share is below 0 or above 1.

    Example:
        >>> [float(bar.get_width()) for bar in label_scores([0.5, 1.0], ["a", "b"]).axes[0].patches]
        [50.0, 100.0]
    """
    shares = np.asarray(accuracy_by_label)
    if not np.all((shares >= 0) & (shares <= 1)):
        raise ArgumentError("accuracy_by_label holds values that are no shares: give numbers from 0 to 1")
    figure, axes = _bars(100.0 * shares, names, "right answers (%)", "label")
    size = axes.get_yticklabels()[0].get_fontsize()
    axes.bar_label(axes.containers[0], fmt="%.1f", padding=3, fontsize=size)
    axes.set_xlim(0, 108)  # room for the number at the end of a full bar
    axes.set_xticks(range(0, 101, 20))
    return figure


def importances(drops: Any, names: Sequence[object], score: str) -> Figure:
    """Draw by how much a score falls when a column is shuffled, a bar a column, the largest above.

    Args:
        drops: [C, R] falls of the score by column and repeat.
        names: C names.
        score: the score's name, with its unit.

    Returns:
        The figure: means over the repeats of the 30 largest, with their standard deviations.

    Example:
        >>> axes = importances([[0.1, 0.3], [0.5, 0.5]], ["age", "sex"], "accuracy").axes[0]
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['sex', 'age']
    """
    falls = np.asarray(drops, float)
    order = np.argsort(-falls.mean(axis=1), kind="stable")[:30]
    means, spread = falls[order].mean(axis=1), falls[order].std(axis=1)
    return _bars(means, [names[place] for place in order], f"fall of {score}", "column", spread)[0]


def _bars(
    values: np.ndarray, names: Sequence[object], across: str, up: str, spread: Any = None
) -> tuple[Figure, Any]:
    height = float(np.clip(0.3 * len(values) + 1.0, 2.2, 16.0))
    size = float(np.clip(50 * (height - 1.0) / len(values), 5, 9))  # points, for the height of a bar
    figure, (axes,) = style.new_panels(1, 6.4, height)
    axes.barh(np.arange(len(values)), values, xerr=spread, color=style.OKABE_ITO[0], ecolor="0.4")
    axes.set_yticks(np.arange(len(values)), [style.plain(name) for name in names], fontsize=size)
    axes.set(ylim=(len(values) - 0.4, -0.6), xlabel=across, ylabel=up)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _named(given: Any, rows: Sequence[object], columns: Sequence[object]) -> np.ndarray:
    table, shape = np.asarray(given, float), [len(rows), len(columns)]
    if list(table.shape) != shape:
        raise ArgumentError(
            f"the table has shape {list(table.shape)}, its names {shape}: give a name a row and column"
        )
    return table


def _write_cells(axes: Axes, image: AxesImage, cells: list[list[str]]) -> None:
    size = float(np.clip(130 / len(cells), 7, 9))
    shades = image.to_rgba(np.asarray(image.get_array()))
    for row, texts in enumerate(cells):
        for column, text in enumerate(texts):
            color = style.text_color(shades[row, column])
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)


def _name_ticks(axes: Axes, rows: Sequence[object], columns: Sequence[object], cell_width: float) -> None:
    """Write the names along both axes, slanted or upright where cells, in inches, are too narrow for them."""
    for axis, names in ((axes.yaxis, rows), (axes.xaxis, columns)):
        if len(names) <= _MOST_NAMED:
            texts = [style.plain(name) for name in names]
            axis.set_ticks(np.arange(len(names)), texts, fontsize=float(np.clip(200 / len(names), 6, 9)))
    longest = max(len(style.plain(name)) for name in columns)
    if len(columns) <= _MOST_NAMED and 0.09 * longest > cell_width:
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        for label in axes.get_xticklabels():
            label.set(**(slanted if len(columns) <= 20 else {"rotation": 90}))
    axes.tick_params(length=0)
