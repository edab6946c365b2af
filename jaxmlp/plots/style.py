"""The look that all figures share: colours that colour-blind readers can tell apart, sizes and text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

# M. Okabe and K. Ito, "Color Universal Design", 2008; yellow stands last because it is faint on white.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL_MAP = "cividis"  # perceptually uniform
SHARE_MAP = "Blues"  # lightness falls steadily from white, and a share of 0 looks like paper
DIVERGING_MAP = "RdBu_r"  # drawn symmetric about 0, which is white
LONGEST_NAME = 24  # characters
MANY_POINTS = 3000  # above this, points are stored as pixels, to keep an SVG small


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure that lays itself out."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Inches around everything; with the default, text touches the border.
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    return Figure(figsize=(width, height), layout=layout)


def colors(count: int) -> list[str]:
    """Choose colours that can be told apart: the Okabe-Ito palette, or viridis for more than eight."""
    if count <= len(OKABE_ITO):
        return list(OKABE_ITO[:count])
    return ordered_colors(count)


def ordered_colors(count: int) -> list[str]:
    """Choose colours for things that stand in an order, as layers do, dark first."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # The last tenth of viridis is a yellow that is faint on white.
    return [to_hex(color) for color in colormaps["viridis"](np.linspace(0, 0.9, count))]


def plain(text: object, longest: int = LONGEST_NAME) -> str:
    """Make a name from data fit for a figure: of bounded length, and with "$" as itself, not as a formula."""
    name = " ".join(str(text).split())
    if len(name) > longest:
        # Names such as "a long name 7" and "a long name 8" differ at their ends, so the middle goes.
        name = name[: longest // 2] + "…" + name[len(name) - (longest - longest // 2 - 1) :]
    if name.startswith("_"):
        name = f" {name}"  # matplotlib leaves names that begin with "_" out of legends
    return name.replace("$", r"\$")


def text_color(shade: Sequence[float]) -> str:
    """Choose black or white text, whichever reads better on a shade."""
    luminance = float(np.dot(np.asarray(shade)[:3], (0.2126, 0.7152, 0.0722)))
    return "black" if luminance > 0.45 else "white"


def draw_finite(axes: Axes, x: Any, y: Any, *, few: int = 40, **look: Any) -> None:
    """Draw a line through the points whose y is finite; up to a few are marked, for a single one to be visible."""
    across, up = np.asarray(x), np.asarray(y, float)
    known = np.isfinite(up)
    markers: dict[str, Any] = {"marker": "o", "markersize": 5} if known.sum() <= few else {}
    axes.plot(across[known], up[known], **markers, **look)


def quiet_grid(axes: Axes) -> None:
    """Put a faint grid behind the data and take away the frame's upper and right sides."""
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def log_axis(axes: Axes, values: np.ndarray) -> None:
    """Make the y axis logarithmic where there is anything that a logarithm can show."""
    if np.any(np.isfinite(values) & (values > 0)):
        axes.set_yscale("log")
        from matplotlib.ticker import LogFormatter

        class Plain(LogFormatter):  # 0.2 and not 2·10⁻¹: a formula takes a tenth of a second to set
            def __call__(self, x: float, pos: int | None = None) -> str:
                return f"{x:g}" if super().__call__(x, pos) else ""

        axes.yaxis.set_major_formatter(Plain())
        axes.yaxis.set_minor_formatter(Plain())


def log_across(axes: Axes) -> None:
    """Make the x axis logarithmic, with numbers only at powers of ten: of a short range the others would overlap."""
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())


def grid_of(panels: int, widest: int) -> tuple[int, int]:
    """Arrange panels in rows of equal length."""
    columns = max(1, min(panels, widest))
    return max(1, -(-panels // columns)), columns


def new_panels(
    count: int, width: float, height: float, *, widest: int = 3, side: float = 0.0, grid: bool = True
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels, each of a size in inches, in rows of equal length, with room at the side."""
    rows, columns = grid_of(count, widest)
    figure = new_figure(width * columns + side, height * rows)
    every = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in every[count:]:
        unused.set_axis_off()
    for axes in every[:count] if grid else []:
        quiet_grid(axes)
    return figure, every[:count]


def legend_beside(axes: Axes, entries: int) -> Legend:
    """Put the legend at the right of the data, which may be anywhere inside."""
    columns = legend_columns(entries)
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "ncols": columns}
    return axes.legend(**place, frameon=False, fontsize="small")


def legend_columns(entries: int) -> int:
    """Count the columns of a legend beside the data."""
    return 1 + (entries - 1) // 16


def class_numbers(name: str, given: Any, count: int) -> np.ndarray:
    """Take an array of whole numbers from 0 to count − 1; examples of any other class would be left out."""
    values = np.asarray(given)
    wrong = values[~np.isin(values, np.arange(count))]
    if wrong.size:
        raise ArgumentError(
            f"{name} holds {wrong[0]}, but there are {count} class names: give 0 to {count - 1}"
        )
    return values.astype(int)
