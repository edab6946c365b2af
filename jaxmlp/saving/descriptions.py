"""What a checkpoint is of, in plain data, so that a run does not go on from that of another."""

import json
from typing import Any

from jaxmlp.types import ArgumentError


def plain_data(description: Any) -> Any:
    """Copy a description as a file gives it back: tuples become lists."""
    try:
        return json.loads(json.dumps(description))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"a checkpoint's description must be plain JSON data: {error}") from None


def check_description(found: Any, wanted: Any) -> None:
    """Refuse a checkpoint that is of something else.

    Args:
        found: the checkpoint's description.
        wanted: that of the run which is to go on from it, plain JSON data.

    Raises:
        ArgumentError: they differ; the first difference is named by its path, with both values.

    Example:
        >>> try:
        ...     check_description({"network": {"sizes": [4, 3]}}, {"network": {"sizes": [4, 5]}})
        ... except ArgumentError as error:
        ...     print(error)
        the checkpoint is of another run: network.sizes[1] is 3 there and 5 here; give the same or start anew
    """
    difference = _difference("", found, plain_data(wanted))
    if difference:
        raise ArgumentError(f"the checkpoint is of another run: {difference}; give the same or start anew")


def _difference(path: str, found: Any, wanted: Any) -> str | None:
    name = path.removeprefix(".") or "the description"
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            inner = f"{path}.{key}"
            if key not in found:
                return f"{inner.removeprefix('.')} is {_shown(wanted[key])} here and not told there"
            if key not in wanted:
                return f"{inner.removeprefix('.')} is {_shown(found[key])} there and not told here"
            difference = _difference(inner, found[key], wanted[key])
            if difference:
                return difference
        return None
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = enumerate(zip(found, wanted, strict=True))
        differences = (_difference(f"{path}[{place}]", *pair) for place, pair in pairs)
        return next(filter(None, differences), None)
    # As JSON text, in which NaN is NaN, and 1 is neither 1.0 nor true.
    if json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True):
        return None
    return f"{name} is {_shown(found)} there and {_shown(wanted)} here"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
