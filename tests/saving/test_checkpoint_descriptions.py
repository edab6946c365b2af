"""The first difference between two descriptions is named by its path, with both values."""

import json
from typing import Any

import pytest

from jaxmlp.saving import check_description
from jaxmlp.saving.checkpoint import _plain_data as plain_data
from jaxmlp.types import ArgumentError

DESCRIPTION: dict[str, Any] = {
    "version": "0.1.0",
    "network": {"in_features": 4, "layers": [{"layer": "Dense", "features": 3}, {"layer": "Softmax"}]},
    "rate": 0.1,
    "l2": float("nan"),
    "shuffle": True,
    "stream": None,
}


def changed(path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(DESCRIPTION))
    inner = copy
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return copy


def test_the_same_passes() -> None:
    check_description(DESCRIPTION, DESCRIPTION)
    check_description(json.loads(json.dumps(DESCRIPTION)), dict(reversed(DESCRIPTION.items())))
    check_description(plain_data({"sizes": (1, 2)}), {"sizes": (1, 2)})
    for plain in (None, 1, "text", [], {}):
        check_description(plain, plain)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("version",), "0.2.0", 'version is "0.2.0" there and "0.1.0" here'),
        (("network", "in_features"), 5, "network.in_features is 5 there and 4 here"),
        (("network", "layers", 0, "features"), 7, "network.layers[0].features is 7 there and 3 here"),
        (("network", "layers"), [], 'network.layers[0].layer is not told there and "Dense" here'),
        (("network", "layers", 1, "slope"), 0.5, "network.layers[1].slope is 0.5 there and not told here"),
        (("network",), 3, "network.in_features is not told there and 4 here"),
        (("rate",), 0.1000000001, "rate is 0.1000000001 there and 0.1 here"),
        (("l2",), 0.0, "l2 is 0.0 there and NaN here"),
        (("shuffle",), 1, "shuffle is 1 there and true here"),
        (("stream",), 0, "stream is 0 there and null here"),
        (("new",), "ü" * 200, 'new is "üüü'),
    ],
)
def test_the_first_difference_is_named(path: tuple[Any, ...], value: Any, told: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        check_description(changed(path, value), DESCRIPTION)
    message = str(caught.value)
    assert message.startswith("the checkpoint is of another run: ")
    assert told in message
    assert "\n" not in message
    assert len(message) < 300


def test_what_the_checkpoint_does_not_tell_is_named() -> None:
    found = {name: value for name, value in DESCRIPTION.items() if name != "rate"}
    with pytest.raises(
        ArgumentError, match=r"rate is not told there and 0\.1 here; give the same or begin a new run"
    ):
        check_description(found, DESCRIPTION)
    with pytest.raises(ArgumentError, match=r'version is not told there and "0\.1'):
        check_description(None, DESCRIPTION)


@pytest.mark.parametrize("description", [object(), {"a": {1, 2}}, b"bytes", {("a", "b"): 1}])
def test_what_is_not_plain_is_refused(description: Any) -> None:
    with pytest.raises(ArgumentError, match="must be plain JSON data"):
        plain_data(description)
