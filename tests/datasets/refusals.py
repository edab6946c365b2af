"""How tests of data sets insist on a refusal: by its message, in one line."""

import pytest

from jaxmlp.types import ArgumentError


def refused(message, call, *arguments, **options):
    """Insist that a call is refused in one line that matches, and give the line."""
    with pytest.raises(ArgumentError, match=message) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
