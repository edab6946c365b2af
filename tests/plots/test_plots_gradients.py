"""Gradient figures show each norm at its layer and epoch, on a logarithmic axis."""

import numpy as np

from jaxmlp import plots

NORMS = np.array([[1.0, 0.5, 0.25], [0.1, 0.2, 0.4]])  # [L, E]


def test_norm_and_largest_weights_by_epoch_in_the_layers_order() -> None:
    columns = {
        "epoch": [1, 2],
        "gradient_norm": [1.0, 0.1],
        "max_weight_10": [9.0, 8.0],
        "max_weight_2": [3, 4],
    }
    norm, weights = plots.gradient_curves(columns).axes
    assert norm.lines[0].get_ydata().tolist() == [1.0, 0.1]
    assert (norm.get_yscale(), weights.get_yscale()) == ("log", "linear")
    assert [line.get_label() for line in weights.lines] == ["layer 2", "layer 10"]
    assert [line.get_ydata().tolist() for line in weights.lines] == [[3.0, 4.0], [9.0, 8.0]]


def test_a_network_without_weights_has_one_panel() -> None:
    figure = plots.gradient_curves({"epoch": [1], "gradient_norm": [0.0]})
    assert len(figure.axes) == 1
    assert figure.axes[0].get_yscale() == "linear", "a logarithm cannot show 0"
    assert figure.axes[0].lines[0].get_marker() == "o", "a single epoch is invisible"


def test_flow_at_the_start_counts_layers_from_one() -> None:
    axes = plots.gradient_flow([1.0, 0.1, 0.01]).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert axes.lines[0].get_ydata().tolist() == [1.0, 0.1, 0.01]
    assert axes.get_yscale() == "log"
    assert axes.get_legend() is None


def test_flow_by_label_draws_a_line_each() -> None:
    axes = plots.gradient_flow({"sigmoid": [1.0, 0.1], "relu": [1.0, np.nan, 0.8]}).axes[0]
    assert [line.get_label() for line in axes.lines] == ["sigmoid", "relu"]
    assert axes.lines[1].get_xdata().tolist() == [1, 3], "what is not finite is left out"
    assert len({line.get_marker() for line in axes.lines}) == 2, "colour alone tells the lines apart"


def test_flow_through_training_shows_first_and_last_epoch_by_layer() -> None:
    start, through = plots.gradient_flow(NORMS, epochs=[0, 5, 10]).axes
    by_label = {line.get_label(): line.get_ydata().tolist() for line in start.lines}
    assert by_label == {"epoch 0": [1.0, 0.1], "epoch 10": [0.25, 0.4]}
    assert [line.get_ydata().tolist() for line in through.lines] == NORMS.tolist()
    assert through.lines[0].get_xdata().tolist() == [0, 5, 10]
    assert (start.get_yscale(), through.get_yscale()) == ("log", "log")


def test_epochs_count_from_one_when_they_are_not_given() -> None:
    assert plots.gradient_flow(NORMS).axes[1].lines[0].get_xdata().tolist() == [1, 2, 3]


def test_the_legend_of_many_layers_stands_beside_the_lines() -> None:
    columns = {"epoch": [1, 2], "gradient_norm": [1, 1], **{f"max_weight_{i}": [i, i] for i in range(1, 13)}}
    figure = plots.gradient_curves(columns)
    figure.draw_without_rendering()
    axes = figure.axes[1]
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1
