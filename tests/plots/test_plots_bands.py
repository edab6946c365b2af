"""Bands show the median over seeds and how far the seeds spread."""

import numpy as np
import pytest

from jaxmlp import plots

SEEDS = np.array([[1.0, 5.0], [2.0, 7.0], [9.0, 6.0]])  # [M, P]


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
