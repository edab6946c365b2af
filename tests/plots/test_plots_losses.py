"""Loss curves stand in their own panels, named where there are several."""

import numpy as np

from jaxmlp import plots

X = np.array([-1.0, 0.0, 1.0])


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
