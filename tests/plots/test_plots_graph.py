"""The computational graph shows every number of a trace once, where it belongs and in its colour."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from gradient_cases import make_problem
from matplotlib.colors import same_color
from matplotlib.figure import Figure

import jaxmlp
from jaxmlp import plots
from jaxmlp.layers import Activate, Dense, DenseParams, Softmax
from jaxmlp.network import Network
from jaxmlp.plots.graph import (
    BACKWARD,
    FORWARD,
    MOST_NEURONS,
    count_neurons,
    gradient_symbol,
    short_number,
    symbol,
)


def trace_of(net: Network, *, examples: int = 1, loss: str = "half_squared_error", seed: int = 0) -> Any:
    """A trace with numbers that all differ from each other."""
    kind = "labels" if loss == "negative_log_likelihood" else "values"
    problem = make_problem(net, kind, seed=seed, examples=examples)
    return jaxmlp.trace(*problem, loss=loss)


def texts(figure: Figure, color: str) -> Counter[str]:
    return Counter(text.get_text() for text in figure.axes[0].texts if same_color(text.get_color(), color))


def numbers(*arrays: Any) -> Counter[str]:
    return Counter(short_number(float(each), 5) for array in arrays for each in np.ravel(np.asarray(array)))


NET = jaxmlp.mlp([2, 3, 2], activation="tanh")


def test_every_number_of_the_trace_is_there_once() -> None:
    traced = trace_of(NET)
    figure = plots.computational_graph(traced)
    dense = [layer for layer in traced.layers if isinstance(layer.params, DenseParams)]
    outputs = [layer.outputs for layer in traced.layers]
    forward = numbers(
        traced.layers[0].inputs, traced.value, *outputs, *[part for layer in dense for part in layer.params]
    )
    back = numbers(
        traced.layers[0].input_grad,
        1.0,
        *[layer.output_grad for layer in traced.layers],
        *[part for layer in dense for part in layer.param_grads],
    )
    assert texts(figure, FORWARD) == forward + Counter(["forward →  value"])
    assert texts(figure, BACKWARD) == back + Counter(["←  back  ∂E/∂value"])


def test_each_weight_stands_between_its_name_and_its_gradient() -> None:
    traced = trace_of(NET)
    shown = plots.computational_graph(traced).axes[0].texts
    for place, number in ((0, 1), (2, 2)):
        layer = traced.layers[place]
        for (i, j), weight in np.ndenumerate(np.asarray(layer.params.w)):
            name = f"W{'¹²'[number - 1]}{'₁₂₃'[j]}{'₁₂₃'[i]}"
            line = next(text.get_position()[1] for text in shown if text.get_text() == name)
            beside = [text for text in shown if text.get_position()[1] == line]
            reach = [text.get_text() for text in beside]
            at = reach.index(name)
            assert reach[at + 1 : at + 3] == [
                short_number(weight, 5),
                short_number(float(layer.param_grads.w[i, j]), 5),
            ]


def test_edges_begin_at_the_box_of_their_source() -> None:
    traced = trace_of(NET)
    axes = plots.computational_graph(traced).axes[0]
    boxes = [patch.get_bbox() for patch in axes.patches]
    assert len(boxes) == 2 + 3 + 2 + 1
    assert len(axes.lines) == 2 * 3 + 3 * 2 + 2
    starts = Counter((line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines)
    middles = {(box.x1, (box.y0 + box.y1) / 2) for box in boxes[:-1]}
    near = {start: min(np.hypot(start[0] - x, start[1] - y) for x, y in middles) for start in starts}
    assert max(near.values()) < 1e-9
    assert sorted(starts.values()) == [1, 1, 2, 2, 2, 3, 3]


@pytest.mark.slow
def test_no_two_texts_and_no_two_boxes_lie_over_each_other() -> None:
    figure = plots.computational_graph(trace_of(jaxmlp.mlp([8, 12, 10])))
    figure.draw_without_rendering()
    for things in (figure.axes[0].texts, figure.axes[0].patches):
        extents = np.array([thing.get_window_extent().extents for thing in things])
        low = np.maximum(extents[:, None, :2], extents[None, :, :2])
        high = np.minimum(extents[:, None, 2:], extents[None, :, 2:])
        overlap = np.prod(np.clip(high - low - 0.5, 0, None), axis=2)
        np.fill_diagonal(overlap, 0)
        assert not np.any(overlap)


def test_columns_are_titled_by_their_layers() -> None:
    net = Network(2, [Activate("tanh"), Dense(3), Activate("relu"), Dense(2, bias=False), Softmax()])
    figure = plots.computational_graph(
        trace_of(net, loss="negative_log_likelihood"), targets=[0], loss="negative_log_likelihood"
    )
    titles = [text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"]
    assert titles == [
        "inputs, tanh",
        "layer 1: dense, relu",
        "layer 2: dense",
        "softmax",
        "negative log likelihood",
    ]
    names = {text.get_text() for text in figure.axes[0].texts}
    assert {"a⁰₁", "b¹₃", "a¹₃", "a²₂", "label"} <= names
    assert "b²₁" not in names, "there is no bias"
    assert len(figure.axes[0].lines) == 6 + 6 + 4 + 2, "each probability depends on every sum"


def test_targets_are_shown_when_they_are_given() -> None:
    traced = trace_of(NET)
    assert "t₁" not in texts(plots.computational_graph(traced), "0.15")
    figure = plots.computational_graph(traced, targets=np.array([[7.25, 8.5]]))
    assert {"t₁", "t₂"} <= set(texts(figure, "0.15"))
    assert {"7.25", "8.5"} <= set(texts(figure, FORWARD))


def test_one_example_of_a_batch_is_drawn() -> None:
    traced = trace_of(NET, examples=3)
    shown = texts(plots.computational_graph(traced, example=2), FORWARD)
    assert numbers(traced.outputs[2]) <= shown
    assert not numbers(traced.outputs[0]) <= shown


def test_neurons_are_inputs_and_the_outputs_of_dense_layers() -> None:
    assert count_neurons(trace_of(NET)) == 7
    assert count_neurons(trace_of(Network(2, [Dense(3), Activate("relu"), Softmax()]))) == 5


@pytest.mark.parametrize(("hidden", "by_neuron"), [(MOST_NEURONS - 3, True), (MOST_NEURONS - 2, False)])
def test_more_neurons_are_drawn_layer_by_layer(hidden: int, by_neuron: bool) -> None:
    traced = trace_of(jaxmlp.mlp([2, hidden, 1]))
    shown = texts(plots.computational_graph(traced), FORWARD)
    assert (short_number(float(traced.layers[0].params.w[0, 0]), 5) in shown) == by_neuron
    assert any("weights" in text for text in shown) != by_neuron


def test_the_layer_diagram_says_how_large_what_flows_is() -> None:
    traced = trace_of(jaxmlp.mlp([64, 32, 16, 16, 10]))
    figure = plots.computational_graph(traced, loss="half_squared_error")
    titles = [text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"]
    assert titles == ["inputs", *(layer.name for layer in traced.layers), "half squared error"]
    norm = np.linalg.norm(np.asarray(traced.layers[2].param_grads.w))
    assert f"‖∂E/∂W‖ = {short_number(float(norm), 3)}" in texts(figure, BACKWARD)
    outputs = np.asarray(traced.layers[2].outputs)
    low, high = (short_number(float(each), 3) for each in (outputs.min(), outputs.max()))
    assert f"{low} ≤ z ≤ {high}" in texts(figure, FORWARD)
    assert f"E = {short_number(float(traced.value), 5)}" in texts(figure, FORWARD)


# --- symbols are what people write, and say which number is meant ---


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("W", 1, 2, 1), "W¹₂₁"),
        (("b", 12, 3), "b¹²₃"),
        (("x", None, 10), "x₁₀"),
        (("z", 2), "z²"),
        (("W", 1, 1, 11), "W¹₁,₁₁"),
        (("W", 1, 11, 1), "W¹₁₁,₁"),
    ],
)
def test_layers_stand_above_and_indices_below(arguments: tuple[str, int | None, int], text: str) -> None:
    assert symbol(*arguments) == text


def test_no_two_weights_share_a_symbol() -> None:
    names = {symbol("W", layer, j, i) for layer in range(1, 13) for j in range(1, 31) for i in range(1, 31)}
    assert len(names) == 12 * 30 * 30


def test_a_gradient_is_that_of_the_objective() -> None:
    assert gradient_symbol("b¹₁") == "∂E/∂b¹₁"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.36181, "0.36181"),
        (1 / 3, "0.333333"),
        (-2.0, "−2"),
        (-0.0, "0"),
        (1.5e-9, "1.5e-09"),
        (-1.5e-9, "−1.5e-09"),
        (float("nan"), "nan"),
        (float("-inf"), "−inf"),
    ],
)
def test_numbers_are_short_and_signed(value: float, text: str) -> None:
    assert short_number(value) == text


def test_digits_are_counted_from_the_first() -> None:
    assert short_number(0.0012345, 2) == "0.0012"
