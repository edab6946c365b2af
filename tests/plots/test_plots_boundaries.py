"""Decision boundaries stand where the prediction changes, under the points of the right class."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.contour import ContourSet

from jaxmlp import plots

INPUTS = np.array([[0.0, 10.0], [4.0, 30.0], [2.0, 20.0]])
LABELS = np.array([0, 1, 0])
NAMES = ["left", "right"]
GRID_X = np.linspace(0, 4, 9)
GRID_Y = np.linspace(10, 30, 5)
REGIONS = np.tile((GRID_X > 2.2).astype(int), (5, 1))
PANEL = (GRID_X, GRID_Y, REGIONS, INPUTS, LABELS)


def _points(axes: Axes) -> dict[str, list[list[float]]]:
    scatters = [each for each in axes.collections if isinstance(each, PathCollection)]
    return {str(each.get_label()): np.asarray(each.get_offsets()).tolist() for each in scatters}


def _mesh(axes: Axes) -> QuadMesh:
    return next(each for each in axes.collections if isinstance(each, QuadMesh))


def test_grid_surrounds_the_data_row_by_row() -> None:
    grid_x, grid_y, points = plots.boundary_grid(INPUTS, steps=7)
    assert (grid_x.shape, grid_y.shape, points.shape) == ((7,), (7,), (49, 2))
    assert grid_x[0] < 0 < 4 < grid_x[-1]
    assert grid_y[0] < 10 < 30 < grid_y[-1]
    by_row = points.reshape(7, 7, 2)
    assert np.array_equal(by_row[2, :, 0], grid_x)
    assert np.array_equal(by_row[:, 2, 1], grid_y)


def test_grid_of_a_constant_feature_has_a_width() -> None:
    grid_x, _, _ = plots.boundary_grid([[1.0, 0.0], [1.0, 5.0]])
    assert grid_x[0] < 1.0 < grid_x[-1]


def test_points_are_drawn_by_class() -> None:
    for figure in (plots.scatter_classes(INPUTS, LABELS, NAMES), plots.decision_boundary(*PANEL, NAMES)):
        points = _points(figure.axes[0])
        assert points == {"left": [[0.0, 10.0], [2.0, 20.0]], "right": [[4.0, 30.0]]}


def test_regions_stand_on_their_grid_in_the_tint_of_their_class() -> None:
    axes = plots.decision_boundary(*PANEL, NAMES).axes[0]
    mesh = _mesh(axes)
    assert np.asarray(mesh.get_array()).tolist() == REGIONS.tolist()
    shades = mesh.to_rgba(np.array([0, 1]))[:, :3]
    scatters = [each for each in axes.collections if isinstance(each, PathCollection)]
    for shade, scatter in zip(shades, scatters, strict=True):
        np.testing.assert_allclose(shade, 0.7 + 0.3 * scatter.get_facecolor()[0, :3])
    left, right = axes.get_xlim()
    assert left <= 0
    assert right >= 4


def test_a_line_runs_where_the_class_changes_and_nowhere_else() -> None:
    axes = plots.decision_boundary(*PANEL, NAMES).axes[0]
    lines = [each for each in axes.collections if isinstance(each, ContourSet)]
    assert len(lines) == 1
    crossings = lines[0].get_paths()[0].vertices[:, 0]
    assert np.all((crossings > 2.0) & (crossings < 2.5))

    everywhere_one = plots.decision_boundary(GRID_X, GRID_Y, 0 * REGIONS, INPUTS, LABELS, NAMES).axes[0]
    assert not any(isinstance(each, ContourSet) for each in everywhere_one.collections)


@pytest.mark.parametrize(("threshold", "edge"), [(0.5, 2.0), (0.0, 0.0), (0.75, 3.0)])
def test_scores_change_class_at_the_threshold(threshold: float, edge: float) -> None:
    scores = np.tile(GRID_X / 4, (5, 1))  # from 0 to 1
    inputs = INPUTS - [1.0, 0.0] if edge == 0 else INPUTS
    axes = plots.decision_boundary(
        GRID_X, GRID_Y, scores - 1e-9, inputs, LABELS, NAMES, threshold=threshold
    ).axes[0]
    low, high = _mesh(axes).get_clim()
    assert (low + high) / 2 == pytest.approx(threshold), "white is not at the threshold"
    contour = next(each for each in axes.collections if isinstance(each, ContourSet))
    crossings = contour.get_paths()[0].vertices[:, 0]
    assert np.all(np.abs(crossings - edge) <= 0.5)


@pytest.mark.parametrize("classes", [2, 3, 7, 20])
def test_classes_differ_in_colour_and_the_legend_names_them_beside_the_data(classes: int) -> None:
    inputs = np.random.default_rng(0).normal(size=(classes, 2))
    names = [f"a class with a long name, number {number}" for number in range(classes)]
    figure = plots.scatter_classes(inputs, np.arange(classes), names)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert len({tuple(each.get_facecolor()[0]) for each in axes.collections}) == classes
    legend = axes.get_legend()
    assert len({text.get_text() for text in legend.get_texts()}) == classes
    assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    assert axes.get_window_extent().width > 0.5 * figure.bbox.width or classes == 20


def test_panels_keep_their_titles_and_share_one_legend() -> None:
    panels = [
        (title, GRID_X, GRID_Y, regions, INPUTS, LABELS)
        for title, regions in (("one layer", REGIONS), ("two layers", 1 - REGIONS))
    ]
    one, two = plots.side_by_side_boundaries(panels, NAMES, axis_names=["width", "height"]).axes
    assert (one.get_title(), two.get_title()) == ("one layer", "two layers")
    assert np.array_equal(np.asarray(_mesh(two).get_array()), 1 - REGIONS)
    assert (one.get_legend(), two.get_legend()) != (None, None)
    assert one.get_legend() is None
    assert (two.get_xlabel(), two.get_ylabel()) == ("width", "height")


def test_accuracy_stands_beside_the_boundary_on_axes_fixed_for_an_animation() -> None:
    columns = {"epoch": [1, 2], "train_accuracy": [0.5, 0.75], "valid_accuracy": [0.25, 0.5]}
    sizes, ends = set(), set()
    for rows in (1, 2):
        part = {name: values[:rows] for name, values in columns.items()}
        figure = plots.accuracy_and_boundary(part, PANEL, NAMES, valid_label="test", last_epoch=30)
        figure.draw_without_rendering()
        accuracy, boundary = figure.axes
        sizes.add(tuple(np.round(boundary.get_window_extent().bounds, 3)))
        ends.add((accuracy.get_xlim(), accuracy.get_ylim()))
        assert accuracy.get_title() == f"epoch {rows}"
    assert len(sizes) == len(ends) == 1, "frames would jump"
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [[50.0, 75.0], [25.0, 50.0]]
    assert accuracy.get_xlim()[1] > 30
    assert np.array_equal(np.asarray(_mesh(boundary).get_array()), REGIONS)


def test_last_epoch_never_cuts_the_history() -> None:
    columns = {"epoch": [1, 9], "train_accuracy": [0.5, 0.75]}
    figure = plots.accuracy_and_boundary(columns, PANEL, NAMES, last_epoch=2)
    assert figure.axes[0].get_xlim()[1] > 9
