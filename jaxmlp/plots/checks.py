"""Checks of arguments that all figures share, so that a wrong array is named before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmlp.types import ArgumentError


def array(name: str, given: Any, shape: Sequence[int | str], *, finite: bool = False) -> np.ndarray:
    """Take an argument as an array of numbers of a stated shape."""
    try:
        values = np.asarray(given)
    except ValueError:
        raise ArgumentError(f"{name} has rows of different lengths: give {_spelled(shape)}") from None
    if values.dtype.kind not in "biuf":
        raise ArgumentError(f"{name} holds {values.dtype}, not numbers: give {_spelled(shape)}")
    fits = values.ndim == len(shape) and all(
        isinstance(wanted, str) or wanted == size for wanted, size in zip(shape, values.shape, strict=False)
    )
    if not fits:
        raise ArgumentError(f"{name} has shape {list(values.shape)}: give {_spelled(shape)}")
    if finite and not np.all(np.isfinite(values)):
        raise ArgumentError(f"{name} holds NaN or infinite values: give finite numbers only")
    return values


def not_empty(name: str, values: np.ndarray) -> np.ndarray:
    """Refuse an array without entries."""
    if values.size == 0:
        raise ArgumentError(
            f"{name} is empty, of shape {list(values.shape)}: give at least one entry an axis"
        )
    return values


def classes(name: str, given: Any, shape: Sequence[int | str], count: int) -> np.ndarray:
    """Take an argument as class numbers from 0 to the number of classes less one."""
    values = array(name, given, shape, finite=True)
    numbers = values.astype(np.int64)
    wrong = values[(numbers != values) | (numbers < 0) | (numbers >= count)]
    if wrong.size:
        raise ArgumentError(
            f"{name} holds {wrong.flat[0]!s}, but there are {count} class names: "
            f"give whole numbers from 0 to {count - 1}"
        )
    return numbers


def names(name: str, given: Sequence[object], count: int) -> list[str]:
    """Take an argument as one name an entry."""
    if len(given) != count:
        raise ArgumentError(f"{name} has {len(given)} name(s): give {count}, one for each entry")
    return [str(each) for each in given]


def column(columns: Mapping[str, Any], name: str, epochs: int | str = "E") -> np.ndarray:
    """Take one column of a history."""
    if name not in columns:
        present = ", ".join(sorted(columns)) or "none"
        raise ArgumentError(f"the history has no column '{name}' (it has: {present}): add that column")
    values = array(f"column '{name}'", np.asarray(columns[name]), (epochs,))
    return not_empty(f"column '{name}'", values).astype(float)


def positive(name: str, given: int) -> int:
    """Take an argument as a count of at least 1."""
    if given < 1:
        raise ArgumentError(f"{name} is {given}: give a whole number of at least 1")
    return given


def _spelled(shape: Sequence[int | str]) -> str:
    return "numbers of shape [" + ", ".join(str(axis) for axis in shape) + "]"
