"""Symbols are what people write, and say which number is meant."""

import pytest

from jaxmlp.plots.symbols import gradient_symbol, short_number, symbol
from jaxmlp.types import ArgumentError


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("W", 1, 2, 1), "W¹₂₁"),
        (("b", 12, 3), "b¹²₃"),
        (("x", None, 10), "x₁₀"),
        (("z", 2), "z²"),
        (("W", 1, 1, 11), "W¹₁,₁₁"),
        (("W", 1, 11, 1), "W¹₁₁,₁"),
    ],
)
def test_layers_stand_above_and_indices_below(arguments: tuple[str, int | None, int], text: str) -> None:
    assert symbol(*arguments) == text


def test_no_two_weights_share_a_symbol() -> None:
    names = {symbol("W", layer, j, i) for layer in range(1, 13) for j in range(1, 31) for i in range(1, 31)}
    assert len(names) == 12 * 30 * 30


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least 0"):
        symbol("W", 1, -1)


def test_a_gradient_is_that_of_the_objective() -> None:
    assert gradient_symbol("b¹₁") == "∂E/∂b¹₁"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.36181, "0.36181"),
        (1 / 3, "0.333333"),
        (-2.0, "−2"),
        (-0.0, "0"),
        (1.5e-9, "1.5e-09"),
        (-1.5e-9, "−1.5e-09"),
        (float("nan"), "nan"),
        (float("-inf"), "−inf"),
    ],
)
def test_numbers_are_short_and_signed(value: float, text: str) -> None:
    assert short_number(value) == text


def test_digits_are_counted_from_the_first() -> None:
    assert short_number(0.0012345, 2) == "0.0012"
