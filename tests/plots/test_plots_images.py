"""Images show the right examples and weights, the right way up, on one scale."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from jaxmlp import plots

NAMES = ["cat", "dog", "owl"]


def titles(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_mistakes_come_surest_first_and_right_answers_not_at_all() -> None:
    images = np.arange(20.0).reshape(5, 4)
    figure = plots.confident_mistakes(
        images, (2, 2), [0, 1, 2, 0, 1], [1, 1, 0, 2, 0], [0.6, 1.0, 0.991, 0.7, 0.5], NAMES, count=3
    )
    (axes,) = figure.axes
    assert titles(axes) == [
        "true owl · said cat (99.1 %)",
        "true cat · said owl (70.0 %)",
        "true cat · said dog (60.0 %)",
    ]
    shown = [np.asarray(image.get_array()) for image in axes.images]
    expected = [
        images[index].reshape(2, 2) / 15 for index in (2, 3, 0)
    ]  # one scale: 0 to 15 among those shown
    for picture, wanted in zip(shown, expected, strict=True):
        np.testing.assert_allclose(picture, wanted)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3)])
@pytest.mark.parametrize("flat", [True, False])
def test_images_of_any_channels_are_drawn(shape: tuple[int, ...], flat: bool) -> None:
    images = np.random.default_rng(0).normal(size=(2, *shape))
    given = images.reshape(2, -1) if flat else images
    axes = plots.confident_mistakes(given, shape, [0, 0], [0, 1], [0.5, 0.5], NAMES).axes[0]
    drawn = np.asarray(axes.images[0].get_array())
    assert drawn.shape == ((2, 3, 3) if shape[2:] == (3,) else (2, 3))
    scaled = (images[1] - images[1].min()) / np.ptp(images[1])
    np.testing.assert_allclose(drawn, scaled.reshape(drawn.shape))


def test_no_mistakes_is_said() -> None:
    axes = plots.confident_mistakes(np.ones((2, 4)), (2, 2), [0, 1], [0, 1], [1, 1], NAMES).axes[0]
    assert [text.get_text() for text in axes.texts] == ["no mistakes among 2 examples"]


def test_long_titles_take_two_lines_and_stay_apart() -> None:
    names = ["Ankle boot", "T-shirt/top"]
    figure = plots.confident_mistakes(np.ones((8, 4)), (2, 2), [0] * 8, [1] * 8, [0.9] * 8, names)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert titles(axes) == ["true Ankle boot\nsaid T-shirt/top (90.0 %)"] * 8
    boxes = [each.get_window_extent() for each in (*axes.texts, *axes.images)]
    assert not any(one.overlaps(two) for i, one in enumerate(boxes) for two in boxes[i + 1 :])


@pytest.mark.parametrize("shape", [(8, 8), (2, 9), (9, 2)])
@pytest.mark.parametrize("units", [1, 3, 6])
def test_pictures_stand_row_by_row_each_below_its_title(shape: tuple[int, int], units: int) -> None:
    figure = plots.first_layer_weights(np.ones((shape[0] * shape[1], units)), shape)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [image.get_window_extent() for image in axes.images]
    names = [text.get_window_extent() for text in axes.texts]
    for picture, name in zip(boxes, names, strict=True):
        assert picture.y1 < name.y0 < picture.y1 + picture.height / 2 + 20
        assert name.x0 + name.width / 2 == pytest.approx(picture.x0 + picture.width / 2, abs=1)
        assert picture.width / picture.height == pytest.approx(shape[1] / shape[0], rel=0.02)
        assert axes.bbox.x0 - 1 < picture.x0 < picture.x1 < axes.bbox.x1 + 1
        assert axes.bbox.y0 - 1 < picture.y0 < name.y1 < axes.bbox.y1 + 1
    places = [(round(-box.y0), round(box.x0)) for box in boxes]
    assert places == sorted(places)
    assert len({place[0] for place in places}) == -(-units // 4)
    assert len(set(places)) == units


def test_weights_of_a_unit_are_its_column_on_a_scale_symmetric_about_zero() -> None:
    w = np.arange(12.0).reshape(4, 3) - 9.0
    figure = plots.first_layer_weights(w, (2, 2))
    axes = figure.axes[0]
    assert titles(axes) == ["1", "2", "3"]
    for unit, image in enumerate(axes.images):
        assert np.asarray(image.get_array()).tolist() == w[:, unit].reshape(2, 2).tolist()
        assert image.get_clim() == (-9.0, 9.0)


def test_units_beyond_the_count_are_left_out_and_that_is_said() -> None:
    figure = plots.first_layer_weights(np.ones((4, 50)), (2, 2, 1), count=5)
    assert titles(figure.axes[0]) == ["1", "2", "3", "4", "5"]
    assert figure.get_suptitle() == "weights into units 1 to 5 of 50"


def test_weights_of_colour_images_are_grey_at_zero() -> None:
    w = np.zeros((12, 1))
    w[0], w[4] = 2.0, -2.0  # red of the first pixel, green of the second
    drawn = np.asarray(plots.first_layer_weights(w, (2, 2, 3)).axes[0].images[0].get_array())
    assert drawn[0, 0].tolist() == [1.0, 0.5, 0.5]
    assert drawn[0, 1].tolist() == [0.5, 0.0, 0.5]


def test_weights_of_zero_are_drawn() -> None:
    figure = plots.first_layer_weights(np.zeros((4, 1)), (2, 2))
    figure.draw_without_rendering()
    assert figure.axes[0].images[0].get_clim() == (-1.0, 1.0)
