"""The names of a network's numbers as people write them, W¹₂₁ and not W[1][2, 1], for figures and texts."""

from __future__ import annotations

from jaxmlp.types import ArgumentError

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def symbol(letter: str, layer: int | None, *indices: int) -> str:
    """Write a letter with its layer above and its indices below."""
    if min((*indices, layer or 0)) < 0:
        raise ArgumentError(f"a symbol has the numbers {layer} and {indices}: give numbers of at least 0")
    above = "" if layer is None else str(layer).translate(_SUPERSCRIPT)
    apart = "," if any(index > 9 for index in indices) else ""
    return letter + above + apart.join(str(index).translate(_SUBSCRIPT) for index in indices)


def gradient_symbol(name: str) -> str:
    """Write the derivative of the objective with respect to something."""
    return f"∂E/∂{name}"


def short_number(value: float, digits: int = 6) -> str:
    """Write a number with few digits and a real minus sign."""
    text = f"{value:.{digits}g}"
    return "0" if text == "-0" else text.replace("-", "−", 1) if text.startswith("-") else text
