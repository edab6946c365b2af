"""The computational graph of one pass: what flowed forward and what flowed back, at the place where it did.

A network of up to `MOST_NEURONS` neurons is drawn neuron by neuron, every weight on its edge; a
larger one layer by layer. All lengths are in inches, for text and boxes to fit each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmlp.plots import style
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NEURONS = 30
FORWARD, BACKWARD = style.OKABE_ITO[0], style.OKABE_ITO[1]
INK, EDGE = "0.15", "0.6"

_ROW = 0.2  # height of a line of numbers
_PAD = 0.08
_GAP = 0.28  # between two neurons
_SYMBOL, _NUMBER = 0.42, 0.84  # widths of a symbol and of the longest number
_BOX = _SYMBOL + 2 * _NUMBER + 2 * _PAD
_PORT = _SYMBOL + 2 * _NUMBER + 0.2
_CROSSING = 1.0  # the least width of where the edges cross each other
_MARGIN = 0.05  # between the drawing and its axes
_BORDER = _MARGIN + 0.08  # with the figure's own
_TEXT = 8.0  # points
_DIGITS = 5
_BOX_LOOK: Any = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": "0.97", "edgecolor": "0.35"}


class Row(NamedTuple):
    """A line of numbers in a box or on an edge."""

    name: str  # its symbol
    value: float  # what went forward
    gradient: float | None  # what came back; None where nothing does


class Unit(NamedTuple):
    """A box of the graph: an input, a neuron, or the loss."""

    rows: tuple[Row, ...]  # the lines inside it
    edges: tuple[Row, ...] = ()  # a line an edge that leads into it
    sources: int = 0  # how many boxes of the column before lead into it without a weight


class Column(NamedTuple):
    """Boxes above each other, first to last, under a title."""

    title: str
    units: tuple[Unit, ...]


def computational_graph(
    traced: Any,
    *,
    targets: Any = None,
    loss: str = "loss",
    example: int = 0,
    mixing: Sequence[str] = ("softmax",),
) -> Figure:
    """Draw a pass through a network as a graph: values that went forward in blue, gradients that came back in orange.

    Up to 30 neurons (inputs and outputs of dense layers) each is a box with its bias b, its weighted sum z and
    its activation a, and every weight stands on its edge. Above that each layer is a box.

    Args:
        traced: what `jaxmlp.trace` returned: `layers`, each with name, params, inputs [B, I], outputs [B, O],
            output_grad [B, O], param_grads and input_grad [B, I]; and value. Parameters with a `w` [I, O]
            are a dense layer's.
        targets: what the trace was made with, [B, K] or labels [B]; None leaves them out.
        loss: the loss's name.
        example: which of the B examples to draw, counted from 0; weights' gradients are those of the batch.
        mixing: names of layers without weights each of whose outputs depends on every input.

    Returns:
        The figure.

    Raises:
        ArgumentError: the example is not there.

    Example:
        >>> import jax, jaxmlp
        >>> net = jaxmlp.mlp([2, 3, 1], activation="tanh")
        >>> batch = np.ones((1, 2)), np.ones((1, 1))
        >>> traced = jaxmlp.trace(net, jaxmlp.init(net, jax.random.key(0)), *batch, loss="half_squared_error")
        >>> texts = computational_graph(traced, targets=batch[1]).axes[0].texts
        >>> [text.get_text() for text in texts if text.get_weight() == "bold"][:2]
        ['inputs', 'layer 1: dense, tanh']
    """
    examples = len(traced.layers[0].inputs)
    if not 0 <= example < examples:
        raise ArgumentError(f"example is {example}: give a number from 0 to {examples - 1}")
    if count_neurons(traced) > MOST_NEURONS:
        return _layer_diagram(traced, loss, example)
    first, number = traced.layers[0], 0
    rows = _rows("x", None, first.inputs[example], first.input_grad[example])
    columns = [Column("inputs", tuple(Unit((row,)) for row in rows))]
    for layer in traced.layers:
        number += _has_weights(layer)
        _add_layer(columns, layer, example, number, mixing)
    return _draw_columns([*columns, _loss_column(traced, targets, loss, example)])


def count_neurons(traced: Any) -> int:
    """Count the neurons of a trace: the inputs, and the outputs of every layer with weights."""
    dense = [layer.outputs.shape[1] for layer in traced.layers if _has_weights(layer)]
    return int(traced.layers[0].inputs.shape[1] + sum(dense))


def _has_weights(layer: Any) -> bool:
    return getattr(layer.params, "w", None) is not None


# --- numbers as people write them ---

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def symbol(letter: str, layer: int | None, *indices: int) -> str:
    """Write a letter with its layer above and its indices below: W¹₂₁, not W[1][2, 1]."""
    above = "" if layer is None else str(layer).translate(_SUPERSCRIPT)
    apart = "," if any(index > 9 for index in indices) else ""
    return letter + above + apart.join(str(index).translate(_SUBSCRIPT) for index in indices)


def gradient_symbol(name: str) -> str:
    """Write the derivative of the objective with respect to something."""
    return f"∂E/∂{name}"


def short_number(value: float, digits: int = 6) -> str:
    """Write a number with few digits and a real minus sign."""
    text = f"{value:.{digits}g}"
    return "0" if text == "-0" else text.replace("-", "−", 1) if text.startswith("-") else text


# --- what stands in the graph ---


def _rows(letter: str, layer: int | None, values: Any, gradients: Any, *above: int) -> list[Row]:
    pairs = enumerate(zip(values, gradients, strict=True), start=1)
    return [Row(symbol(letter, layer, *above, i), float(v), float(g)) for i, (v, g) in pairs]


def _add_layer(columns: list[Column], layer: Any, example: int, number: int, mixing: Sequence[str]) -> None:
    """Add a dense or mixing layer as a column, and any other to the boxes before it, each of which it follows."""
    kind, last = layer.name.partition(" ")[2] or layer.name, columns[-1]
    values, gradients = layer.outputs[example], layer.output_grad[example]
    if _has_weights(layer):
        units = _dense_units(layer.params, layer.param_grads, number, _rows("z", number, values, gradients))
        columns.append(Column(f"layer {number}: dense", units))
        return
    rows = _rows("a", number, values, gradients)
    if kind not in mixing and len(rows) == len(last.units):
        units = tuple(
            unit._replace(rows=(*unit.rows, row)) for unit, row in zip(last.units, rows, strict=True)
        )
        columns[-1] = Column(f"{last.title}, {kind}", units)
    else:
        sources = layer.inputs.shape[1]
        columns.append(Column(kind, tuple(Unit((row,), sources=sources) for row in rows)))


def _dense_units(params: Any, grads: Any, number: int, sums: list[Row]) -> tuple[Unit, ...]:
    has_bias = getattr(params, "b", None) is not None
    biases = [(row,) for row in _rows("b", number, params.b, grads.b)] if has_bias else [()] * len(sums)
    return tuple(
        Unit((*bias, row), tuple(_rows("W", number, params.w[:, j], grads.w[:, j], j + 1)))
        for j, (bias, row) in enumerate(zip(biases, sums, strict=True))
    )


def _loss_column(traced: Any, targets: Any, loss: str, example: int) -> Column:
    rows = [Row("E", float(traced.value), 1.0)]
    if targets is not None:
        chosen = np.ravel(np.asarray(targets)[example])
        names = ["label"] if np.ndim(targets) == 1 else [symbol("t", None, k + 1) for k in range(len(chosen))]
        rows += [Row(name, float(value), None) for name, value in zip(names, chosen, strict=True)]
    return Column(loss.replace("_", " "), (Unit(tuple(rows), sources=traced.layers[-1].outputs.shape[1]),))


# --- where it stands ---


def _heights(column: Column) -> np.ndarray:
    lines = [max(len(unit.rows), len(unit.edges)) for unit in column.units]
    return np.array(lines) * _ROW + 2 * _PAD


def _draw_columns(columns: list[Column]) -> Figure:
    heading, legend = 0.35, 0.4
    tall = [_heights(column).sum() + _GAP * (len(column.units) - 1) for column in columns]
    height = max(tall) + heading + legend
    crossing = max(_CROSSING, height / 8)  # steep edges could not be followed
    ports = [_PORT if column.units[0].edges else 0.0 for column in columns]
    width = len(columns) * _BOX + sum(ports) + crossing * (len(columns) - 1)
    figure, axes = _blank_figure(width, height)
    left = 0.0
    before: list[tuple[float, float]] = []  # where the edges of the column before begin
    for column, port, own in zip(columns, ports, tall, strict=True):
        left += (crossing if before else 0.0) + port
        axes.text(
            left + _BOX / 2, height - 0.1, column.title, ha="center", va="center", size=9, weight="bold"
        )
        top = legend + (height - heading - legend + own) / 2
        heights = _heights(column)
        middles = top - np.cumsum(heights + _GAP) + _GAP + heights / 2
        for unit, middle, box in zip(column.units, middles, heights, strict=True):
            _draw_box(axes, left, middle, box)
            _draw_unit(axes, unit, left, middle, before)
        left += _BOX
        before = [(left, middle) for middle in middles]
    _draw_legend(axes, width)
    return figure


def _blank_figure(width: float, height: float) -> tuple[Figure, Axes]:
    # In quarters of an inch, which are whole pixels at the usual resolutions.
    sizes = (math.ceil(4 * (length + 2 * _BORDER)) / 4 for length in (width, height))
    figure = style.new_figure(*sizes)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-_MARGIN, width + _MARGIN)
    axes.set_ylim(-_MARGIN, height + _MARGIN)
    return figure, axes


# --- how it looks ---


def _draw_unit(
    axes: Axes, unit: Unit, left: float, middle: float, sources: list[tuple[float, float]]
) -> None:
    """Draw the lines of a box, and the edges that lead into it from its sources."""
    port, look = left - _PORT, dict[str, Any](color=EDGE, linewidth=0.7)
    for row, y in zip(unit.rows, _levels(len(unit.rows), middle), strict=True):
        _draw_row(axes, row, left + _PAD, y)
    edges = zip(unit.edges, _levels(len(unit.edges), middle), strict=True)
    for (row, y), (x, start) in zip(edges, sources, strict=False):
        under = y - _ROW / 2 + 0.02
        axes.plot([x, port, left], [start, under, under], **look)
        _draw_row(axes, row, port + 0.1, y)
    for x, start in sources[: unit.sources]:
        axes.plot([x, left], [start, middle], **look)


def _levels(count: int, middle: float) -> list[float]:
    return [middle + ((count - 1) / 2 - place) * _ROW for place in range(count)]


def _draw_box(axes: Axes, left: float, middle: float, height: float, width: float = _BOX) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (left, middle - height / 2)
    axes.add_patch(FancyBboxPatch(corner, width, height, linewidth=1, zorder=2, **_BOX_LOOK))


def _draw_row(axes: Axes, row: Row, left: float, y: float) -> None:
    axes.text(left, y, row.name, color=INK, size=_TEXT, va="center")
    right = left + _SYMBOL + _NUMBER
    axes.text(right, y, short_number(row.value, _DIGITS), color=FORWARD, size=_TEXT, va="center", ha="right")
    if row.gradient is not None:
        text = short_number(row.gradient, _DIGITS)
        axes.text(right + _NUMBER, y, text, color=BACKWARD, size=_TEXT, va="center", ha="right")


def _draw_legend(axes: Axes, width: float) -> None:
    axes.text(width / 2 - 0.15, 0.1, "forward →  value", color=FORWARD, size=9, ha="right", va="center")
    axes.text(width / 2 + 0.15, 0.1, "←  back  ∂E/∂value", color=BACKWARD, size=9, ha="left", va="center")


# --- larger networks, layer by layer ---


def _layer_diagram(traced: Any, loss: str, example: int) -> Figure:
    value = f"E = {short_number(float(traced.value), _DIGITS)}"
    return _draw_diagram(
        [
            ("inputs", _range_row("x", traced.layers[0].inputs[example]), []),
            *((layer.name, *_layer_lines(layer, example)) for layer in traced.layers),
            (loss.replace("_", " "), [value], []),
        ]
    )


def _range_row(name: str, values: Any) -> list[str]:
    values = np.asarray(values)
    low, high = (short_number(float(each), 3) for each in (values.min(), values.max()))
    return [f"{len(values):,} values", f"{low} ≤ {name} ≤ {high}"]


def _layer_lines(layer: Any, example: int) -> tuple[list[str], list[str]]:
    """What a layer's box says of the way forward, and of the way back."""
    forward = _range_row("z" if _has_weights(layer) else "a", layer.outputs[example])
    back = [f"‖∂E/∂outputs‖ = {_norm(layer.output_grad[example])}"]
    if _has_weights(layer):
        forward.append(f"‖W‖ = {_norm(layer.params.w)}, {np.size(layer.params.w):,} weights")
        back.append(f"‖∂E/∂W‖ = {_norm(layer.param_grads.w)}")
    return forward, back


def _norm(values: Any) -> str:
    return short_number(float(np.linalg.norm(np.asarray(values))), 3)


def _draw_diagram(boxes: list[tuple[str, list[str], list[str]]]) -> Figure:
    box, between, tall, in_a_row = 2.3, 0.5, 1.35, 5
    rows, columns = style.grid_of(len(boxes), in_a_row)
    width, height = columns * (box + between) + between, rows * (tall + 0.35) + 0.1
    figure, axes = _blank_figure(width, height)
    for place, (title, forward, back) in enumerate(boxes):
        line, column = divmod(place, columns)
        left, middle = between + column * (box + between), height - line * (tall + 0.35) - tall / 2
        top = middle + tall / 2
        _draw_box(axes, left, middle, tall, box)
        axes.text(left + box / 2, top - 0.17, title, ha="center", va="center", size=9, weight="bold")
        texts = [(text, FORWARD) for text in forward] + [(text, BACKWARD) for text in back]
        for level, (text, color) in enumerate(texts):
            axes.text(left + _PAD, top - 0.42 - level * _ROW, text, color=color, size=_TEXT, va="center")
        # An arrow into every box but the first, and one out of a line's last where another line follows.
        into = [left] if place else []
        onward = [left + box + between] if column == columns - 1 and place < len(boxes) - 1 else []
        for tip in into + onward:
            arrow = {"arrowstyle": "->", "color": INK, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (tip, middle), (tip - between, middle), arrowprops=arrow)
    _draw_legend(axes, width)
    return figure
