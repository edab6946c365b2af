"""Writing figures to files, as pictures or as an animation, without a window or a display."""

from __future__ import annotations

import math
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.plots import checks
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# A file's date is left out, so that the same figure gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
_FASTEST = (
    50.0  # frames per second; a GIF counts time in hundredths of a second, and viewers slow down below two
)


def save(figure: Figure, path: str | PathLike[str], *, dpi: float = 120) -> None:
    """Write a figure to a file whose ending says the format: .png, .svg or .pdf.

    Args:
        figure: the figure.
        path: the file to write; it is overwritten if it is there.
        dpi: pixels per inch of a PNG, and of what an SVG or a PDF holds as pixels.

    Raises:
        ArgumentError: the ending is another one, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from jaxmlp import plots
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(plots.label_scores([0.9, 0.8], ["a", "b"]), folder + "/labels.png")
    """
    target = _target(path, _METADATA)
    ending = target.suffix.lower()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    layout = figure.get_layout_engine()
    if layout is not None:
        # Laid out here, once: `savefig` would draw the whole figure twice for it.
        figure.set_dpi(dpi)
        FigureCanvasAgg(figure)
        layout.execute(figure)
        figure.set_layout_engine(None)
    try:
        # The salt makes the identifiers inside an SVG the same each time.
        with rc_context({"svg.hashsalt": "jaxmlp"}):
            figure.savefig(target, format=ending[1:], dpi=dpi, metadata=_METADATA[ending])
    except OSError as error:
        raise _unwritable(target, error) from None


def animate(
    frames: Iterable[Figure | np.ndarray], path: str | PathLike[str], *, fps: float = 10, dpi: float = 90
) -> None:
    """Write a sequence of figures as an animated GIF that repeats without end.

    Args:
        frames: the figures, or images [height, width, 3 or 4] of uint8, all of one size; figures may come
            from a generator, so that only one is held at a time.
        path: the file to write, ending in .gif.
        fps: frames per second, above 0 and at most 50; a GIF rounds a frame's time to 1/100 s.
        dpi: pixels per inch at which figures are drawn.

    Raises:
        ArgumentError: there are no frames or they differ in size, the rate or the ending is wrong,
            or the file cannot be written.

    Example:
        >>> import tempfile
        >>> black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     animate([black, white], folder + "/blink.gif", fps=2)
    """
    target = _target(path, [".gif"])
    if not (math.isfinite(fps) and 0 < fps <= _FASTEST):
        raise ArgumentError(f"fps is {fps}: give frames per second above 0 and at most {_FASTEST:g}")
    images = [_frame(frame, number, dpi) for number, frame in enumerate(frames, start=1)]
    if not images:
        raise ArgumentError("there are no frames: give at least one figure or image")
    for number, image in enumerate(images, start=1):
        if image.size != images[0].size:
            raise ArgumentError(
                f"frame {number} has {image.size[0]}×{image.size[1]} pixels, the first has "
                f"{images[0].size[0]}×{images[0].size[1]}: give frames of one size"
            )
    try:
        images[0].save(
            target, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, optimize=True
        )
    except OSError as error:
        raise _unwritable(target, error) from None


def _frame(frame: Figure | np.ndarray, number: int, dpi: float) -> Image:
    """One frame as an image of at most 256 colours, which is what a GIF can hold."""
    from PIL import Image

    if isinstance(frame, np.ndarray):
        pixels = checks.array(f"frame {number}", frame, ("height", "width", "3 or 4"))
        if pixels.dtype != np.uint8 or pixels.shape[-1] not in (3, 4):
            raise ArgumentError(
                f"frame {number} holds {pixels.dtype} of shape {list(pixels.shape)}: "
                f"give uint8 of shape [height, width, 3 or 4]"
            )
    else:
        pixels = _drawn(frame, dpi)
    return Image.fromarray(pixels[..., :3]).quantize(colors=256)


def _drawn(figure: Figure, dpi: float) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def _target(path: str | PathLike[str], endings: Iterable[str]) -> Path:
    target = Path(path)
    if target.suffix.lower() not in endings:
        given = target.suffix or "no ending"
        raise ArgumentError(
            f"cannot write '{target.name}' ({given}): end the file's name in {', '.join(endings)}"
        )
    return target


def _unwritable(target: Path, error: OSError) -> ArgumentError:
    reason = error.strerror or str(error)
    return ArgumentError(
        f"cannot write '{target}' ({reason}): give a file in a folder that exists and is writable"
    )
