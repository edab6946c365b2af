"""A registry gives the same thing for the same description, and an error that helps for a wrong one."""

import pytest
from comparisons import refused

from jaxmlp.activations import ACTIVATIONS
from jaxmlp.initializers import INITIALIZERS
from jaxmlp.layers import LAYERS
from jaxmlp.losses import LOSSES
from jaxmlp.registry import Registry, UnknownNameError, unknown_name
from jaxmlp.training.metrics import METRICS
from jaxmlp.training.optimizers import CLIPPINGS, OPTIMIZERS, SCHEDULES
from jaxmlp.types import ArgumentError

REGISTRIES = {
    "activations": ACTIVATIONS,
    "initializers": INITIALIZERS,
    "layers": LAYERS,
    "losses": LOSSES,
    "metrics": METRICS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "clippings": CLIPPINGS,
}


class Line:
    """A thing with numbers, whose equality is its identity."""

    def __init__(self, slope: float, height: float = 0.0) -> None:
        self.numbers = (slope, height)


PLAIN = object()


@pytest.fixture
def shapes() -> Registry[object]:
    return Registry("shape", {"point": PLAIN}, {"line": Line, "level": lambda height=1.0: Line(0.0, height)})


@pytest.mark.parametrize(
    ("description", "numbers"),
    [("line:2", (2.0, 0.0)), ("line:2,-3.5", (2.0, -3.5)), ("level", (0.0, 1.0)), ("level:1e-1", (0.0, 0.1))],
)
def test_numbers_behind_the_colon_reach_the_factory(
    shapes: Registry[Line], description: str, numbers: tuple[float, float]
) -> None:
    assert shapes[description].numbers == numbers


def test_the_same_description_gives_the_same_object_and_another_another(shapes: Registry[object]) -> None:
    assert shapes["line:2"] is shapes["line:2"]
    assert shapes["line:2"] is shapes["line:2.0"]  # the numbers count, not how they are written
    assert shapes["line:2"] is not shapes["line:3"]
    assert shapes["level"] is shapes["level"]
    assert shapes["point"] is PLAIN


def test_it_is_a_mapping_of_the_names_alone(shapes: Registry[object]) -> None:
    assert list(shapes) == ["point", "line", "level"]
    assert len(shapes) == 3
    assert repr(shapes) == "Registry('shape': point, line, level)"
    assert "point" in shapes
    assert "level:3" in shapes
    assert "pint" not in shapes
    assert shapes.get("pint", "absent") == "absent"


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("lin", "unknown shape 'lin': did you mean 'line'? choose one of: level, line, point"),
        ("POINT", "unknown shape 'POINT': did you mean 'point'? choose one of: level, line, point"),
        ("zzz", "unknown shape 'zzz': choose one of: level, line, point"),
        ("", "unknown shape '': choose one of: level, line, point"),
        ("point:1", "shape 'point' takes no parameter, given 'point:1': write 'point'"),
        ("line", "shape 'line' has 0 parameter(s): 'line' takes slope, height"),
        ("line:1,2,3", "shape 'line:1,2,3' has 3 parameter(s): 'line' takes slope, height"),
        ("level:1,2", "shape 'level:1,2' has 2 parameter(s): 'level' takes height"),
    ],
)
def test_a_wrong_description_is_refused(shapes: Registry[object], description: str, message: str) -> None:
    assert refused(message, shapes.__getitem__, description) == message


@pytest.mark.parametrize("parameters", ["a", "1;2", "1,", ",1", "nan", "inf", "1,-inf"])
def test_parameters_that_are_no_finite_numbers_are_refused(shapes: Registry[object], parameters: str) -> None:
    words = "shape 'line:...' has parameters that are not finite numbers"
    assert refused(words, shapes.__getitem__, f"line:{parameters}").startswith("shape")


def test_an_unknown_name_is_also_a_key_error() -> None:
    error = unknown_name("colour", "gren", ["red", "green"])
    assert isinstance(error, UnknownNameError)
    assert isinstance(error, KeyError)
    assert isinstance(error, ArgumentError)
    assert "\n" not in str(error)


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES.keys())
def test_a_misspelled_name_is_answered_with_the_right_one(registry: Registry[object]) -> None:
    for name in registry:
        misspelled = name + "x"
        words = f"'{misspelled}': did you mean '{name}'? choose one of: "
        refused(words, registry.__getitem__, misspelled)


def test_a_registry_that_answers_anything_would_be_caught(
    shapes: Registry[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "__getitem__", lambda self, description: PLAIN)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_misspelled_name_is_answered_with_the_right_one(shapes)
