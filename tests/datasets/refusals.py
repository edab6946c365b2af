"""How tests of data sets insist on a refusal: by its message, in one line."""

from collections.abc import Callable

import pytest

from jaxmlp.types import ArgumentError


def refused(message: str, call: Callable[..., object], *arguments: object, **options: object) -> str:
    """Insist that a call is refused in one line that matches, and give the line."""
    with pytest.raises(ArgumentError, match=message) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
