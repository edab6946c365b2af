"""Bands show the median over seeds and how far they spread; losses stand in panels, named where there are several."""

import numpy as np
import pytest

from jaxmlp import plots

SEEDS = np.array([[1.0, 5.0], [2.0, 7.0], [9.0, 6.0]])  # [M, P]
X = np.array([-1.0, 0.0, 1.0])


def test_line_is_the_median_and_band_reaches_from_least_to_largest() -> None:
    axes = plots.band_curves([10, 20], {"validation": SEEDS}, x_label="units", y_label="loss").axes[0]
    assert axes.lines[0].get_ydata().tolist() == [2.0, 6.0]
    vertices = axes.collections[0].get_paths()[0].vertices
    for x, values in zip((10, 20), SEEDS.T, strict=True):
        heights = vertices[vertices[:, 0] == x, 1]
        assert (heights.min(), heights.max()) == (values.min(), values.max())
    assert axes.get_legend().get_title().get_text() == "median, least to largest of 3 seeds"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("units", "loss")


def test_series_differ_in_colour_and_marker() -> None:
    series = {"train": SEEDS, "validation": SEEDS[:2] + 1}
    axes = plots.band_curves([1, 2], series, x_label="units", y_label="loss").axes[0]
    one, two = axes.lines
    assert one.get_color() != two.get_color()
    assert one.get_marker() != two.get_marker()
    assert "of 2 or 3 seeds" in axes.get_legend().get_title().get_text()


def test_a_seed_that_diverged_leaves_a_gap_not_a_median_of_the_rest() -> None:
    values = SEEDS.copy()
    values[0, 1] = np.inf
    figure = plots.band_curves([1, 2], {"train": values}, x_label="rate", y_label="loss", log_y=True)
    figure.draw_without_rendering()
    drawn = figure.axes[0].lines[0].get_ydata()
    assert drawn[0] == 2.0
    assert np.isnan(drawn[1])


@pytest.mark.parametrize(("log_x", "log_y"), [(False, False), (True, False), (False, True), (True, True)])
def test_axes_are_logarithmic_when_asked(log_x: bool, log_y: bool) -> None:
    axes = plots.band_curves(
        [2, 4], {"a": SEEDS}, x_label="units", y_label="loss", log_x=log_x, log_y=log_y
    ).axes[0]
    assert (axes.get_xscale() == "log", axes.get_yscale() == "log") == (log_x, log_y)
    if log_x:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "4"]


def test_each_panel_holds_its_curves() -> None:
    panels = [
        ("absolute error", X, {"|x|": np.abs(X)}),
        ("logistic", 2 * X, {"log(1+exp(-x))": np.log1p(np.exp(-2 * X)), "0-1": 1.0 * (X < 0)}),
    ]
    one, two = plots.loss_curves(panels, x_label="output", y_label="cost").axes
    for axes, (title, x, curves) in zip((one, two), panels, strict=True):
        assert axes.get_title() == title
        assert {line.get_label(): line.get_ydata().tolist() for line in axes.lines} == {
            label: values.tolist() for label, values in curves.items()
        }
        assert all(line.get_xdata().tolist() == x.tolist() for line in axes.lines)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("output", "cost")
    assert one.get_legend() is None
    assert [text.get_text() for text in two.get_legend().get_texts()] == ["log(1+exp(-x))", "0-1"]


def test_an_infinite_loss_leaves_a_gap() -> None:
    figure = plots.loss_curves([("cross-entropy", [0.0, 0.5, 1.0], {"-log p": [np.inf, 0.7, 0.0]})])
    figure.draw_without_rendering()
    assert figure.axes[0].get_ylim()[1] < 1.0


def test_five_panels_take_two_rows_without_an_empty_frame() -> None:
    figure = plots.loss_curves([(str(number), X, {"a": X}) for number in range(5)])
    assert [axes.axison for axes in figure.axes] == [True] * 5 + [False]


def test_the_ranking_stands_beside_the_calibration() -> None:
    roc, groups = ([0.0, 0.1, 1.0], [0.0, 0.8, 1.0]), ([0.2, 0.7], [0.3, 0.6])
    ranking, calibration = plots.two_class_curves(roc, 0.85, groups, "sick").axes
    assert (ranking.get_title(), calibration.get_title()) == ("ROC AUC = 0.850", "calibration of 'sick'")
    for axes, (across, up) in ((ranking, roc), (calibration, groups)):
        diagonal, curve = axes.lines
        assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
        assert (curve.get_xdata().tolist(), curve.get_ydata().tolist()) == (across, up)
