"""Cases of which a few are tested by default and the others, much like them, with the slow tests."""

from collections.abc import Iterable
from typing import Any

import pytest


def others_slow(cases: Iterable[Any], kept: int = 1) -> list[Any]:
    """Mark all cases but the first `kept` as slow.

    Args:
        cases: of one argument each, or `pytest.param`s of several.
        kept: how many are tested by default.

    Returns:
        The cases for `pytest.mark.parametrize`.
    """
    marked = []
    for place, case in enumerate(cases):
        values = case.values if hasattr(case, "marks") else (case,)
        marked.append(pytest.param(*values, marks=() if place < kept else pytest.mark.slow))
    return marked
