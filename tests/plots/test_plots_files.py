"""Figures become files of the format that the name asks for, the same each time, or one line says why not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from comparisons import refused
from matplotlib.figure import Figure
from PIL import Image

from jaxmlp import plots

SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def _figure(share: float = 0.5) -> Figure:
    return plots.label_scores([share, 0.9], ["cat", "dog"])


@pytest.mark.parametrize("ending", [*SIGNATURES, ".PNG"])
def test_the_ending_chooses_the_format_and_a_figure_gives_the_same_bytes(ending: str, tmp_path: Path) -> None:
    one, two = tmp_path / f"one{ending}", tmp_path / f"two{ending}"
    plots.save(_figure(), one)
    plots.save(_figure(), str(two))
    written = one.read_bytes()
    assert written.startswith(SIGNATURES[ending.lower()])
    assert written == two.read_bytes()
    assert b"Date>" not in written
    assert b"CreationDate" not in written


def test_dpi_sets_the_pixels(tmp_path: Path) -> None:
    figure = _figure()
    plots.save(figure, tmp_path / "figure.png", dpi=50)
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size == tuple(round(50 * side) for side in figure.get_size_inches())


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "figure.png.txt"])
def test_another_ending_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    refused(".png, .svg, .pdf", plots.save, _figure(), tmp_path / name)
    refused(".gif", plots.animate, [_figure()], tmp_path / name, fps=1)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "missing"
    refused("cannot write ...missing/a.png...No such file", plots.save, _figure(), gone / "a.png")
    refused("cannot write ...missing/a.gif...No such file", plots.animate, [_figure()], gone / "a.gif", fps=1)


def test_animation_holds_each_figure_in_turn(tmp_path: Path) -> None:
    def frames() -> Iterator[Figure]:
        yield from (_figure(share) for share in (0.1, 0.5, 0.9))

    path = tmp_path / "run.gif"
    plots.animate(frames(), path, fps=4, dpi=40)
    with Image.open(path) as animation:
        assert animation.n_frames == 3
        assert animation.info["duration"] == 250
        assert animation.info["loop"] == 0
        blue = []
        for number in range(3):
            animation.seek(number)
            pixels = np.asarray(animation.convert("RGB"), int)
            blue.append(int(np.sum(pixels[..., 2] - pixels[..., 0] > 100)))
        assert blue == sorted(set(blue)), "longer bars have more pixels of their colour"


def test_animation_takes_images(tmp_path: Path) -> None:
    path = tmp_path / "blink.gif"
    plots.animate([np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 4), 255, np.uint8)], path, fps=50)
    with Image.open(path) as animation:
        assert (animation.size, animation.n_frames, animation.info["duration"]) == ((6, 4), 2, 20)
        shades = []
        for number in range(2):
            animation.seek(number)
            shades.append(np.unique(np.asarray(animation.convert("RGB"))).tolist())
        assert shades == [[0], [255]]


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        *(([np.zeros((4, 6, 3), np.uint8)], fps, "fps is") for fps in (0, -1, 51, np.nan, np.inf)),
        ([], 5, "no frames"),
        ([np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], 5, "frame 2 has 5×4 pixels"),
    ],
)
def test_wrong_rates_and_frames_are_refused(
    frames: list[np.ndarray], fps: float, message: str, tmp_path: Path
) -> None:
    refused(message, plots.animate, frames, tmp_path / "run.gif", fps=fps)
    assert not list(tmp_path.iterdir())
