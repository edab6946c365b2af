"""The picture of a sweep shows every network once, numbers on axes of numbers, and the diverged as crosses."""

import numpy as np
import pytest

from jaxmlp.errors import ArgumentError
from jaxmlp.plots import sweep_scores

SCORES = [0.5, 0.7, np.nan, 0.9]


def test_every_network_is_drawn_against_each_hyper_parameter() -> None:
    varied = {"learning_rate": [0.001, 0.01, 10.0, 0.1], "hidden": ["4", "8", "8", "4"], "seed": [0, 1, 2, 3]}
    figure = sweep_scores(varied, SCORES, score_label="accuracy [%]", best=3)
    rate, hidden, seed = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["learning rate", "hidden", "seed"]
    assert (rate.get_xscale(), seed.get_xscale()) == ("log", "linear")
    assert [text.get_text() for text in hidden.get_xticklabels()] == ["4", "8"]
    dots, crosses, ring = rate.collections
    np.testing.assert_allclose(dots.get_offsets(), [[0.001, 0.5], [0.01, 0.7], [0.1, 0.9]])
    np.testing.assert_allclose(crosses.get_offsets()[:, 0], [10.0])
    assert rate.get_xlim()[1] > 10  # wide enough to show it
    np.testing.assert_allclose(ring.get_offsets(), [[0.1, 0.9]])
    assert [line.get_ydata()[0] for line in hidden.lines] == [0.7, 0.7]  # medians of the columns
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["a network", "median", "chosen", "diverged: 1"]


@pytest.mark.parametrize(
    ("varied", "options", "words"),
    [
        ({}, {}, "varied has no entry"),
        ({"rate": [1]}, {}, "'rate' has 1 values for 4 scores"),
        ({"rate": [1, 2, 3, 4]}, {"best": 4}, "best must be one of the 4 networks"),
    ],
)
def test_refuses_in_one_line(varied: dict, options: dict, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        sweep_scores(varied, SCORES, score_label="score", **options)
