"""Regression figures set the right values against each other and say how well they fit."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from sklearn.metrics import r2_score

from jaxmlp import plots


def _points(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(each.get_offsets()).tolist() for each in axes.collections]


def test_true_values_run_across_and_predicted_ones_up() -> None:
    axes = plots.predicted_against_true([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], ["price"]).axes[0]
    assert _points(axes) == [[[1.0, 1.0], [2.0, 2.0], [3.0, 4.0]]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true value", "predicted value")
    line = axes.lines[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["an example", "predicted = true"]
    assert np.array_equal(line.get_xdata(), line.get_ydata())
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_aspect() == 1.0


def test_each_target_has_its_panel_and_its_r2() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(50, 5))
    predicted = true + random.normal(size=(50, 5)) * np.arange(5)
    figure = plots.predicted_against_true(predicted, true, list("abcde"))
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    wanted = [r2_score(true[:, i], predicted[:, i]) for i in range(5)]
    assert titles == [f"{name}: R² = {score:.3f}" for name, score in zip("abcde", wanted, strict=True)]


@pytest.mark.parametrize(
    ("predicted", "true"), [([1.0, 2.0], [3.0, 3.0]), ([1.0, np.nan], [1.0, 2.0]), ([np.inf] * 2, [1.0, 2.0])]
)
def test_r2_that_is_none_is_called_undefined(predicted: list[float], true: list[float]) -> None:
    figure = plots.predicted_against_true(predicted, true, ["price"])
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == "price: R² undefined"


def test_targets_beyond_twelve_are_left_out_and_that_is_said() -> None:
    values = np.random.default_rng(0).normal(size=(4, 20))
    figure = plots.predicted_against_true(values, values, range(20))
    assert len(figure.axes) == 12
    assert figure.get_suptitle() == "the first 12 of 20 targets"


def test_residuals_are_what_predictions_miss_over_the_predictions() -> None:
    axes = plots.residuals([[1.0], [2.0], [4.0]], [[1.0], [3.0], [2.0]], ["price"]).axes[0]
    assert _points(axes) == [[[1.0, 0.0], [2.0, 1.0], [4.0, -2.0]]]
    assert axes.get_title() == "price: RMSE = 1.291"


def test_outliers_are_marked_apart_and_curves_stand_on_their_grid() -> None:
    grid = [0.0, 0.5, 1.0]
    curves = {"absolute error": [0.0, 0.5, 1.0], "squared error": [0.0, 2.0, 4.0]}
    outliers = np.array([False, True, False])
    axes = plots.regression_curve([0, 1, 2], [0, 9, 2], curves, grid, outliers, x_label="t (s)").axes[0]
    assert _points(axes) == [[[0, 0], [2, 2]], [[1, 9]]]
    assert [line.get_ydata().tolist() for line in axes.lines] == list(curves.values())
    assert [line.get_xdata().tolist() for line in axes.lines] == [grid, grid]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["data", "outliers", *curves]
    assert len({line.get_linestyle() for line in axes.lines}) == 2, "colour alone tells the curves apart"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("t (s)", "y")


def test_without_outliers_none_are_named() -> None:
    axes = plots.regression_curve([0, 1], [0, 1], {"fit": [0, 1]}, [0, 1], [False, False]).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["data", "fit"]
