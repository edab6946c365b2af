"""Bars are medians with their spread, and growth has its slope."""

import numpy as np
import pytest

from jaxmlp.plots import growth_sheet, time_bars

BARS = {"ours": [1.0, 0.9, 1.2], "theirs": [2.0, 1.5, 4.0]}


def test_bars_are_the_medians_with_their_spread() -> None:
    figure = time_bars({"first": BARS, "second": {"ours": [1.0, 1.0, 1.0]}}, x_label="times as long")
    first, second = figure.axes
    assert [bar.get_width() for bar in first.patches] == [1.0, 2.0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["ours", "theirs"]
    (spread,) = first.collections
    ends = [tuple(segment[:, 0]) for segment in spread.get_segments()]
    assert ends == [pytest.approx((0.9, 1.2)), pytest.approx((1.5, 4.0))]
    assert [text.get_text().strip() for text in first.texts] == ["1", "2"]
    assert first.get_xscale() == "log"
    assert (first.get_title(), second.get_title()) == ("first", "second")


def test_growth_has_a_column_for_what_varies_and_a_row_for_what_is_measured() -> None:
    across = {"width": [1, 10, 100, 1000], "depth": [1, 2]}
    down = {
        "time (s)": {"width": [5.0, 5.0, 50.0, 500.0], "depth": [1.0, 2.0]},
        "memory": {"width": [0.0, 1.0, 2.0, 4.0], "depth": [np.nan, np.nan]},
    }
    slopes = {"time (s)": {"width": 1.0, "depth": 1.0}, "memory": {"width": 0.3, "depth": None}}
    figure = growth_sheet(across, down, slopes)
    width, depth, memory, nothing = figure.axes
    points, line = width.lines
    np.testing.assert_array_equal(points.get_ydata(), [5, 5, 50, 500])
    # The line lies on the upper half of the points, as they grow by just that slope.
    np.testing.assert_array_equal(line.get_xdata(), [100, 1000])
    np.testing.assert_allclose(line.get_ydata(), [50, 500])
    assert [text.get_text() for axes in (width, depth, memory, nothing) for text in axes.texts] == [
        "slope 1.00",
        "slope 1.00",
        "slope 0.30",
    ]
    np.testing.assert_array_equal(memory.lines[0].get_xdata(), [10, 100, 1000])  # 0 has no logarithm
    assert len(nothing.lines[0].get_xdata()) == 0
    assert (width.get_ylabel(), memory.get_xlabel()) == ("time (s)", "width")
