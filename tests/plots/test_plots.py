"""What every figure owes its reader: labelled axes, a file a format, one line for a wrong argument."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from matplotlib.figure import Figure
from matplotlib.image import imread

import jaxmlp
from jaxmlp import plots

COLUMNS = {
    "epoch": [1, 2, 3],
    "train_loss": [2.0, 1.0, 0.5],
    "valid_loss": [2.1, 1.2, 0.9],
    "train_accuracy": [0.2, 0.5, 0.9],
    "valid_accuracy": [0.1, 0.4, 0.8],
    "gradient_norm": [1.0, 0.1, 0.01],
    "max_weight_1": [0.5, 0.6, 0.7],
    "max_weight_2": [0.4, 0.5, 0.9],
}
INPUTS = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])
LABELS = np.array([0, 1, 2])
NAMES = ["cat", "dog", "$bird_ with a name that is far too long for a legend"]
GRID = np.linspace(0, 2, 5)
REGIONS = np.tile([0, 0, 1, 2, 2], (5, 1))
BOUNDARY = (GRID, GRID, REGIONS, INPUTS, LABELS)

NET = jaxmlp.mlp([2, 3, 2], activation="tanh", output_activation="softmax")
TRACED = jaxmlp.trace(
    NET, jaxmlp.init(NET, jax.random.key(0)), jnp.ones((1, 2)), jnp.array([1]), loss="negative_log_likelihood"
)

# Functions that return a figure, each with arguments that are right.
FIGURES: dict[str, Callable[[], Figure]] = {
    "learning_curves": lambda: plots.learning_curves(COLUMNS),
    "gradient_curves": lambda: plots.gradient_curves(COLUMNS),
    "gradient_flow": lambda: plots.gradient_flow([[1.0, 0.5], [0.1, 0.2]]),
    "computational_graph": lambda: plots.computational_graph(TRACED, targets=[1]),
    "confusion_matrix": lambda: plots.confusion_matrix(np.diag([3, 4, 5]), NAMES),
    "table_heatmap": lambda: plots.table_heatmap(
        [[1.0, np.nan]], ["a"], ["b", "c"], row_label="units", column_label="rate", value_label="accuracy (%)"
    ),
    "label_scores": lambda: plots.label_scores([0.5, 0.9, 1.0], NAMES),
    "importances": lambda: plots.importances([[0.1, 0.3], [0.5, 0.4], [0.0, 0.0]], NAMES, "accuracy"),
    "residuals": lambda: plots.residuals(INPUTS, INPUTS + 0.1, ["a", "b"]),
    "two_class_curves": lambda: plots.two_class_curves(([0, 1], [0, 1]), 0.5, ([0.2], [0.1]), NAMES[2]),
    "confident_mistakes": lambda: plots.confident_mistakes(
        np.eye(4)[:3], (2, 2), LABELS, [1, 1, 0], [0.9] * 3, NAMES
    ),
    "first_layer_weights": lambda: plots.first_layer_weights(np.ones((4, 3)), (2, 2)),
    "decision_boundary": lambda: plots.decision_boundary(*BOUNDARY, NAMES),
    "scatter_classes": lambda: plots.scatter_classes(INPUTS, LABELS, NAMES),
    "side_by_side_boundaries": lambda: plots.side_by_side_boundaries([("one", *BOUNDARY)] * 4, NAMES),
    "accuracy_and_boundary": lambda: plots.accuracy_and_boundary(COLUMNS, BOUNDARY, NAMES),
    "predicted_against_true": lambda: plots.predicted_against_true(INPUTS, INPUTS + 0.1, ["a", "b"]),
    "regression_curve": lambda: plots.regression_curve([0, 1], [0, 1], {"fit": GRID}, GRID),
    "loss_curves": lambda: plots.loss_curves([("absolute", GRID, {"|x|": GRID})]),
    "band_curves": lambda: plots.band_curves(GRID, {"train": np.ones((3, 5))}, x_label="x", y_label="loss"),
    "sweep_scores": lambda: plots.sweep_scores(
        {"rate": [0.1, 1.0], "kind": ["a", "b"]}, [0.5, np.nan], score_label="accuracy", best=0
    ),
    "time_bars": lambda: plots.time_bars(
        {"a case": {"ours": [1.0, 0.9, 1.1], "theirs": [2.0, 1.5, 4.0]}}, x_label="times as long"
    ),
    "run_curves": lambda: plots.run_curves(
        {
            "digits": {NAMES[2]: COLUMNS, "_two": COLUMNS},
            "sine": {"one": {**COLUMNS, "train_loss": [1, 2, np.nan]}},
        }
    ),
    "growth_sheet": lambda: plots.growth_sheet(
        {"width": [1, 10], "depth": [1, 2]},
        {"time (s)": {"width": [1.0, 9.0], "depth": [1.0, 2.0]}},
        {"time (s)": {"width": 0.95, "depth": 1.0}},
    ),
}
LABELLED_BY_ROW = {"sweep_scores", "growth_sheet"}  # the y label stands at the first axes of a row
BARS_WITH_NAMES = {"time_bars"}  # which say what stands on y
OTHERS = {"animate", "boundary_grid", "save"}  # public, but they return no figure


def test_every_public_function_is_tested_here() -> None:
    assert set(plots.__all__) == set(FIGURES) | OTHERS


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_figure_is_labelled_readable_and_written_with_nothing_cut_off(name: str, tmp_path: Path) -> None:
    figure = FIGURES[name]()
    assert type(figure) is Figure
    for place, axes in enumerate(axes for axes in figure.axes if axes.axison):
        # A colour bar is an axes of its own, with its label on y only.
        is_colorbar = hasattr(axes, "_colorbar")
        first_of_rows = name in LABELLED_BY_ROW and place > 0
        assert axes.get_ylabel() or name in BARS_WITH_NAMES or first_of_rows, "an axes without a y label"
        assert is_colorbar or axes.get_xlabel(), "an axes without an x label"
        assert all(text.get_fontsize() >= 6 for text in axes.texts + axes.get_xticklabels())

    plots.save(figure, tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
    plots.save(figure, tmp_path / "figure.png")
    pixels = imread(tmp_path / "figure.png")
    width, height = figure.get_size_inches()
    assert pixels.shape[:2] == (round(120 * height), round(120 * width))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert np.all(border[:, :3] == 1.0), "it draws over its border"
    assert np.any(pixels[..., :3] < 0.5), "it is empty"


# An argument that would give a wrong picture without a word, and what its message must name.
IMAGE = (np.eye(4)[:1], (2, 2))
REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "label": (lambda: plots.confident_mistakes(*IMAGE, [3], [0], [1], NAMES), "labels holds 3"),
    "half label": (lambda: plots.confident_mistakes(*IMAGE, [0], [0.5], [1], NAMES), "predicted holds 0.5"),
    "point": (lambda: plots.scatter_classes(INPUTS, LABELS - 1, NAMES), "labels holds -1"),
    "region": (
        lambda: plots.decision_boundary(GRID, GRID, REGIONS + 1, *BOUNDARY[3:], NAMES),
        "regions holds 3",
    ),
    "scores": (
        lambda: plots.decision_boundary(GRID, GRID, REGIONS * 0.5, *BOUNDARY[3:], NAMES),
        "regions holds scores, but there are 3",
    ),
    "names": (lambda: plots.confusion_matrix(np.eye(2), NAMES), "table has shape [2, 2], its names [3, 3]"),
    "not square": (lambda: plots.confusion_matrix(np.ones((2, 3)), NAMES[:2]), "the table has shape [2, 3]"),
    "columns": (lambda: plots.table_heatmap([[1.0, 2.0]], ["a"], ["b"]), "the table has shape [1, 2]"),
    "share": (lambda: plots.label_scores([1.5], ["a"]), "from 0 to 1"),
    "share NaN": (lambda: plots.label_scores([np.nan], ["a"]), "from 0 to 1"),
    "no example": (lambda: plots.computational_graph(TRACED, example=1), "example is 1"),
    "log of 0": (
        lambda: plots.band_curves(GRID, {"a": np.ones((1, 5))}, x_label="x", y_label="y", log_x=True),
        "x holds 0",
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_wrong_argument_is_refused_in_one_line(case: str) -> None:
    call, wanted = REFUSALS[case]
    assert "give " in refused(wanted, call), "says nothing of what to do"


@pytest.mark.parametrize(
    "call",
    [
        lambda: plots.learning_curves({**COLUMNS, "valid_loss": [1.0]}),
        lambda: plots.gradient_flow(np.ones((2, 3)), epochs=[1]),
        lambda: plots.confident_mistakes(INPUTS, (2, 2), LABELS, LABELS[::-1], GRID[:3], NAMES),
        lambda: plots.first_layer_weights(np.ones((4, 2)), (3, 3)),
        lambda: plots.decision_boundary(GRID, GRID[:4], *BOUNDARY[2:], NAMES),
        lambda: plots.scatter_classes(INPUTS, LABELS, NAMES, axis_names=["x"]),
        lambda: plots.predicted_against_true(np.ones((3, 1)), np.ones((3, 3)), "abc"),
        lambda: plots.regression_curve([0, 1], [0], {}, GRID),
        lambda: plots.loss_curves([("hinge", GRID, {"a": [1.0]})]),
        lambda: plots.band_curves(GRID, {"a": np.ones((5, 2))}, x_label="x", y_label="y"),
        lambda: plots.sweep_scores({"rate": [1]}, [0.5, 0.7], score_label="score"),
        lambda: plots.time_bars({"a": {"ours": [1.0, 1.0]}}, x_label="s"),
        lambda: plots.growth_sheet({"x": [1, 2]}, {"s": {"x": [1]}}, {"s": {"x": None}}),
        lambda: plots.growth_sheet({"x": [1, 2]}, {"s": {"x": [1, 2]}}, {"s": {}}),
    ],
)
def test_arrays_that_do_not_fit_give_an_error_and_no_picture(call: Callable[[], Any], tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, IndexError)):
        plots.save(call(), tmp_path / "never.png")
    assert list(tmp_path.iterdir()) == []


def test_import_is_light_and_no_window_is_ever_needed(tmp_path: Path) -> None:
    code = """
import sys
from jaxmlp import plots
assert not any(name.split(".")[0] in ("matplotlib", "PIL") for name in sys.modules), "matplotlib at import"
figure = plots.label_scores([0.5], ["a"])
plots.save(figure, sys.argv[1])
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules, "pyplot holds global state"
"""
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "figure.png")], check=True, cwd=Path(__file__).parents[2]
    )
