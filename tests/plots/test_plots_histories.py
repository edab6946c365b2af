"""Curves of a history show its numbers, whatever part is missing; gradient norms stand at their layer and epoch."""

import numpy as np
import pandas as pd
import pytest

from jaxmlp import plots

EPOCHS = np.arange(1, 4)
NORMS = np.array([[1.0, 0.5, 0.25], [0.1, 0.2, 0.4]])  # [L, E]


def test_curves_hold_the_columns_and_accuracy_is_in_percent() -> None:
    columns = {
        "epoch": EPOCHS,
        "train_loss": [2.0, 1.0, 0.5],
        "valid_loss": [2.5, 1.5, 1.0],
        "train_accuracy": [0.2, 0.5, 0.75],
        "valid_accuracy": [0.1, 0.25, 0.5],
    }
    loss, score = plots.learning_curves(columns, valid_label="test").axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[2.0, 1.0, 0.5], [2.5, 1.5, 1.0]]
    assert [line.get_ydata().tolist() for line in score.lines] == [[20.0, 50.0, 75.0], [10.0, 25.0, 50.0]]
    assert [line.get_xdata().tolist() for line in loss.lines] == [[1, 2, 3]] * 2
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "test"]
    assert score.get_ylabel() == "accuracy (%)"
    first, second = loss.lines
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle(), "colour alone tells the parts apart"


@pytest.mark.parametrize(
    ("metric", "label", "factor"),
    [
        ("r2", "R²", 1),
        ("label_accuracy", "label accuracy (%)", 100),
        ("mean_squared_error", "mean squared error", 1),
    ],
)
def test_any_metric_makes_a_panel(metric: str, label: str, factor: float) -> None:
    columns = {"epoch": EPOCHS, "train_loss": EPOCHS, f"train_{metric}": [0.1, 0.2, 0.3], "seconds": EPOCHS}
    loss, score = plots.learning_curves(columns).axes
    assert loss.get_ylabel() == "loss"
    assert score.get_ylabel() == label
    np.testing.assert_allclose(score.lines[0].get_ydata(), factor * np.array([0.1, 0.2, 0.3]))


def test_a_table_of_pandas_is_a_history() -> None:
    table = pd.DataFrame({"epoch": EPOCHS, "train_loss": [3.0, 2.0, 1.0], "valid_r2": [0.1, 0.2, 0.3]})
    loss, score = plots.learning_curves(table).axes
    assert loss.lines[0].get_ydata().tolist() == [3.0, 2.0, 1.0]
    assert [text.get_text() for text in score.get_legend().get_texts()] == ["validation"]


def test_a_single_epoch_is_visible_and_in_the_middle() -> None:
    axes = plots.learning_curves({"epoch": [1], "train_loss": [2.0]}).axes[0]
    assert axes.lines[0].get_marker() == "o"
    assert axes.get_xlim() == (0.5, 1.5)
    assert [tick for tick in axes.get_xticks() if 0.5 <= tick <= 1.5] == [1.0]
    many = plots.learning_curves({"epoch": np.arange(1, 501), "train_loss": np.ones(500)}).axes[0]
    assert many.lines[0].get_marker() == "None"


def test_missing_validation_leaves_gaps_or_nothing() -> None:
    columns = {"epoch": EPOCHS, "train_loss": [2.0, 1.0, np.inf], "valid_loss": [np.nan, 1.5, np.nan]}
    train, valid = plots.learning_curves(columns).axes[0].lines
    assert train.get_xdata().tolist() == [1, 2]
    assert (valid.get_xdata().tolist(), valid.get_ydata().tolist()) == ([2], [1.5])

    never = plots.learning_curves({**columns, "valid_loss": [np.nan] * 3}).axes[0]
    assert [text.get_text() for text in never.get_legend().get_texts()] == ["training"]
    nothing = plots.learning_curves({"epoch": [1], "train_loss": [np.nan]}).axes[0]
    assert [text.get_text() for text in nothing.texts] == ["no finite value"]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([2, 0.1, 0.03], "linear"), ([2, 0.1, 0.01], "log"), ([2, 0.1, 0.0], "linear"), ([2, 0, -1], "linear")],
)
def test_a_loss_that_falls_far_stands_on_a_log_axis(losses: list[float], scale: str) -> None:
    figure = plots.learning_curves({"epoch": EPOCHS, "train_loss": losses})
    assert figure.axes[0].get_yscale() == scale


def test_norm_and_largest_weights_by_epoch_in_the_layers_order() -> None:
    columns = {"epoch": [1, 2], "gradient_norm": [1, 0.1], "max_weight_10": [9, 8], "max_weight_2": [3, 4]}
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
    assert plots.gradient_flow(NORMS).axes[1].lines[0].get_xdata().tolist() == [1, 2, 3]
    assert (start.get_yscale(), through.get_yscale()) == ("log", "log")


def test_the_legend_of_many_layers_stands_beside_the_lines() -> None:
    columns = {"epoch": [1, 2], "gradient_norm": [1, 1], **{f"max_weight_{i}": [i, i] for i in range(1, 13)}}
    figure = plots.gradient_curves(columns)
    figure.draw_without_rendering()
    axes = figure.axes[1]
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1
