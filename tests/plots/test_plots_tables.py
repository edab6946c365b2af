"""Tables show each number in its own cell, readable on its colour."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from jaxmlp import plots
from jaxmlp.plots.style import text_color


def _cells(axes: Axes) -> dict[tuple[int, int], str]:
    """The written texts by (row, column)."""
    return {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts
    }


def test_counts_stand_with_true_classes_in_rows() -> None:
    axes = plots.confusion_matrix([[90, 10], [12345, 0]], ["cat", "dog"]).axes[0]
    assert _cells(axes) == {(0, 0): "90", (0, 1): "10", (1, 0): "12345", (1, 1): "0"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert _cells(plots.confusion_matrix([[0.5]], ["a"]).axes[0]) == {(0, 0): "0.5"}, "weighted counts"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]


def test_colours_are_shares_of_the_row_and_an_empty_class_is_empty() -> None:
    image = plots.confusion_matrix([[1, 3], [0, 0]], ["a", "b"]).axes[0].images[0]
    assert np.asarray(image.get_array()).tolist() == [[25.0, 75.0], [0.0, 0.0]]
    assert image.get_clim() == (0.0, 100.0)


def test_text_contrasts_with_its_cell() -> None:
    axes = plots.confusion_matrix([[99, 1], [1, 99]], ["a", "b"]).axes[0]
    assert [text.get_color() for text in axes.texts] == ["white", "black", "black", "white"]
    assert (text_color((0, 0, 0, 1)), text_color((1, 1, 1, 1))) == ("white", "black")


@pytest.mark.parametrize(
    ("classes", "written", "named"), [(20, 400, 20), (21, 0, 21), (60, 0, 60), (100, 0, 0)]
)
def test_many_classes_lose_the_counts_and_then_the_names(classes: int, written: int, named: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    axes = plots.confusion_matrix(np.eye(classes), names).axes[0]
    assert len(axes.texts) == written
    assert sum(label.get_text().startswith("class") for label in axes.get_yticklabels()) == named


def test_long_names_do_not_run_into_each_other() -> None:
    names = [f"a long name of a class, number {number}" for number in range(12)]
    figure = plots.confusion_matrix(np.eye(12), names)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_xticklabels()
    assert all(label.get_rotation() == 45 for label in labels)
    assert len({label.get_text() for label in labels}) == 12, "shortened names are the same"


def test_heatmap_writes_numbers_by_format_and_missing_ones_as_a_dash() -> None:
    values, names = [[97.25, np.nan], [98.0, 99.125]], (["100", "300"], ["0.1", "0.5"])
    axes = plots.table_heatmap(values, *names, title="accuracy", number_format=".1f").axes[0]
    assert _cells(axes) == {(0, 0): "97.2", (0, 1): "–", (1, 0): "98.0", (1, 1): "99.1"}
    assert axes.images[0].get_clim() == (97.25, 99.125)
    assert axes.get_title() == "accuracy"


@pytest.mark.parametrize("value", [5.0, np.nan])
def test_heatmap_of_equal_or_missing_values_is_drawn(value: float) -> None:
    figure = plots.table_heatmap(np.full((2, 2), value), "ab", "cd")
    figure.draw_without_rendering()
    low, high = figure.axes[0].images[0].get_clim()
    assert low < high


def test_bars_are_shares_in_percent_from_above() -> None:
    axes = plots.label_scores([0.5, 1.0, 0.0], ["beach", "sunset", "field"]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [50.0, 100.0, 0.0]
    assert [text.get_text() for text in axes.texts] == ["50.0", "100.0", "0.0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["beach", "sunset", "field"]
    bottom, top = axes.get_ylim()
    assert bottom > top, "the first label is not above"


def test_the_columns_that_matter_most_stand_above_with_their_spread() -> None:
    falls = np.array([[0.1, 0.3], [0.5, 0.5], [-0.1, 0.0], *[[0.0, 0.0]] * 40])
    axes = plots.importances(falls, ["age", "sex", "noise", *range(40)], "accuracy").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["sex", "age"]
    assert len(axes.patches) == 30
    assert [bar.get_width() for bar in axes.patches[:2]] == pytest.approx([0.5, 0.2])
    ends = axes.collections[0].get_segments()[1][:, 0]
    assert ends.tolist() == pytest.approx([0.1, 0.3])
    assert axes.get_xlabel() == "fall of accuracy"
