"""The picture of a sweep shows every network once, numbers on axes of numbers, and the diverged as crosses."""

import numpy as np

from jaxmlp.plots import sweep_scores

SCORES = [0.5, 0.7, np.nan, 0.9]


def test_every_network_is_drawn_against_each_hyper_parameter() -> None:
    varied = {"learning_rate": [0.001, 0.01, 10.0, 0.1], "hidden": ["4", "8", "8", "4"], "seed": [0, 1, 2, 3]}
    figure = sweep_scores(varied, SCORES, score_label="accuracy [%]", best=3)
    rate, hidden, seed = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["learning rate", "hidden", "seed"]
    assert (rate.get_xscale(), seed.get_xscale()) == ("log", "linear")
    assert [text.get_text() for text in hidden.get_xticklabels()] == ["4", "8"]
    dots, ring, crosses = rate.lines
    np.testing.assert_allclose(dots.get_xydata(), [[0.001, 0.5], [0.01, 0.7], [0.1, 0.9]])
    np.testing.assert_allclose(crosses.get_xdata(), [10.0])
    assert rate.get_xlim()[1] > 10  # wide enough to show it
    np.testing.assert_allclose(ring.get_xydata(), [[0.1, 0.9]])
    assert [line.get_segments()[0][0, 1] for line in hidden.collections] == [
        0.7,
        0.7,
    ]  # medians of the columns
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["a network", "chosen", "diverged: 1", "median"]


def test_networks_stopped_early_are_told_from_those_trained_to_the_end() -> None:
    figure = sweep_scores(
        {"rate": [0.1, 0.2, 0.3, 0.4]},
        SCORES,
        score_label="accuracy [%]",
        best=3,
        stopped=[True, False, True, False],
    )
    finished, stopped, _, crosses = figure.axes[0].lines
    np.testing.assert_allclose(stopped.get_xydata(), [[0.1, 0.5]])
    np.testing.assert_allclose(finished.get_xydata(), [[0.2, 0.7], [0.4, 0.9]])
    np.testing.assert_allclose(crosses.get_xdata(), [0.3])  # it diverged before it was stopped
    assert stopped.get_marker() != finished.get_marker()
    assert stopped.get_color() != finished.get_color()
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["trained to the end", "stopped early: 1", "chosen", "diverged: 1"]
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1  # of a single panel too
