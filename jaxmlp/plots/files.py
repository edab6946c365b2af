"""Files of figures: pictures and animations, written without a window or a display."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.files import whole_file
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A file's date is left out, for the same figure to give the same bytes.
_METADATA: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
_FASTEST = 50.0  # frames per second; a GIF counts hundredths of a second, and viewers slow down below two


def save(figure: Figure, path: str | PathLike[str], *, dpi: float = 120) -> None:
    """Write a figure to a file whose ending says the format: .png, .svg or .pdf.

    Args:
        figure: the figure.
        path: the file to write; it is overwritten if it is there.
        dpi: pixels per inch of a PNG, and of what an SVG or a PDF holds as pixels.

    Raises:
        ArgumentError: the ending is another one, or the file cannot be written.

    Example:
        >>> from jaxmlp import plots
        >>> save(plots.label_scores([0.9, 0.8], ["a", "b"]), "labels.png")
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # The salt makes the identifiers inside an SVG the same each time.
    with _target(path, _METADATA) as target, rc_context({"svg.hashsalt": "jaxmlp"}):
        layout = figure.get_layout_engine()
        if layout is not None:
            # Laid out here, once: `savefig` would draw the whole figure twice for it.
            figure.set_dpi(dpi)
            FigureCanvasAgg(figure)
            layout.execute(figure)
            figure.set_layout_engine(None)
        ending = target.suffix.lower()
        figure.savefig(target, format=ending[1:], dpi=dpi, metadata=_METADATA[ending])


def animate(
    frames: Iterable[Figure | np.ndarray], path: str | PathLike[str], *, fps: float = 10, dpi: float = 90
) -> None:
    """Write a sequence of figures as an animated GIF that repeats without end.

    Args:
        frames: the figures, or images [height, width, 3 or 4] of uint8, all of one size. Figures may come
            from a generator, for only one to be held at a time.
        path: the file to write, ending in .gif.
        fps: frames per second, above 0 and at most 50; a GIF rounds a frame's time to 1/100 s.
        dpi: pixels per inch at which figures are drawn.

    Raises:
        ArgumentError: there are no frames or they differ in size, the rate or the ending is wrong,
            or the file cannot be written.

    Example:
        >>> black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
        >>> animate([black, white], "blink.gif", fps=2)
    """
    from PIL import Image

    if not (math.isfinite(fps) and 0 < fps <= _FASTEST):
        raise ArgumentError(f"fps is {fps}: give frames per second above 0 and at most {_FASTEST:g}")
    with _target(path, [".gif"]) as target:
        pixels = (frame if isinstance(frame, np.ndarray) else _drawn(frame, dpi) for frame in frames)
        # A GIF holds at most 256 colours.
        images = [Image.fromarray(each[..., :3]).quantize(colors=256) for each in pixels]
        if not images:
            raise ArgumentError("there are no frames: give at least one figure or image")
        for number, image in enumerate(images, start=1):
            if image.size != images[0].size:
                raise ArgumentError(
                    f"frame {number} has {image.size[0]}×{image.size[1]} pixels, the first has "
                    f"{images[0].size[0]}×{images[0].size[1]}: give frames of one size"
                )
        time = round(1000 / fps)
        images[0].save(target, save_all=True, append_images=images[1:], duration=time, loop=0, optimize=True)


def _drawn(figure: Figure, dpi: float) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


@contextlib.contextmanager
def _target(path: str | PathLike[str], endings: Iterable[str]) -> Iterator[Path]:
    target = Path(path)
    if target.suffix.lower() not in endings:
        given = target.suffix or "no ending"
        raise ArgumentError(
            f"cannot write '{target.name}' ({given}): end the file's name in {', '.join(endings)}"
        )
    try:
        with whole_file(target) as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArgumentError(
            f"cannot write '{target}' ({reason}): give a file in a folder that exists and is writable"
        ) from None
