"""Losses as curves of what the network said, to be compared at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxmlp.plots import checks, style
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_curves(
    panels: Sequence[tuple[str, Any, Mapping[str, Any]]], *, x_label: str = "x", y_label: str = "loss"
) -> Figure:
    """Draw losses, or any functions of one number, as small panels beside each other.

    Args:
        panels: (title, x [P], a curve [P] a label) each; values that are not finite leave a gap.
        x_label: what x is, with its unit.
        y_label: what the curves are.

    Returns:
        The figure, up to three panels in a row; one curve alone has no legend.

    Raises:
        ArgumentError: there are no panels or no curves, or a curve does not fit its x.

    Example:
        >>> figure = loss_curves([("absolute error", [-1, 0, 1], {"|x|": [1, 0, 1]})])
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [1, 0, 1]
    """
    if not panels:
        raise ArgumentError("there are no panels: give at least one")
    rows, columns = style.grid_of(len(panels), 3)
    figure = style.new_figure(3.2 * columns + 0.6, 2.9 * rows)
    for axes, (title, x, curves) in zip(style.axes_grid(figure, len(panels), 3), panels, strict=True):
        across = checks.not_empty("x", checks.array("x", x, ("P",), finite=True))
        if not curves:
            raise ArgumentError(f"panel '{title}' has no curve: give at least one")
        for index, (label, curve) in enumerate(curves.items()):
            values = checks.array(f"curve '{label}' of panel '{title}'", curve, across.shape)
            color, line = style.colors(len(curves))[index], ("-", "--", "-.", ":")[index % 4]
            axes.plot(across, values, line, color=color, linewidth=1.8, label=style.plain(label))
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize="small")
        axes.set_title(style.plain(title, 40), fontsize=10)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        style.quiet_grid(axes)
    return figure
