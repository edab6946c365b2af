"""The shared look: colours that differ, names that fit and stay apart."""

import pytest

from jaxmlp import plots
from jaxmlp.plots import style


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 60])
def test_colours_are_as_many_as_asked_and_differ(count: int) -> None:
    assert len(set(style.colors(count))) == count
    assert len(set(style.ordered_colors(count))) == count


def test_dollars_are_themselves_and_no_formula() -> None:
    figure = style.new_figure(3, 3)
    text = figure.text(0.5, 0.5, style.plain("from $ to \\nonsense$"))
    figure.draw_without_rendering()  # a formula of nonsense would raise
    assert text.get_text().replace("\\$", "$") == "from $ to \\nonsense$"


@pytest.mark.parametrize("length", [1, 23, 24, 25, 100])
def test_a_name_keeps_both_ends_within_its_length(length: int) -> None:
    name = "a" + "-" * (length - 2) + "z" * (length > 1)
    shown = style.plain(name)
    assert len(shown) == min(length, 24)
    assert (shown[0], shown[-1]) == (name[0], name[-1])
    assert ("…" in shown) == (length > 24)
    assert style.plain("two\n lines") == "two lines"


@pytest.mark.parametrize(("panels", "grid"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 3)), (7, (3, 3))])
def test_panels_fill_rows(panels: int, grid: tuple[int, int]) -> None:
    assert style.grid_of(panels, 3) == grid


def test_a_name_that_begins_with_an_underscore_stays_in_the_legend() -> None:
    figure = plots.scatter_classes([[0, 0], [1, 1]], [0, 1], ["_private", "public"])
    shown = [text.get_text().strip() for text in figure.axes[0].get_legend().get_texts()]
    assert shown == ["_private", "public"]
