"""The options of load: each wrong value is refused with its own line."""

from pathlib import Path

import pytest

from jaxmlp.datasets.options import Options, check_missing, silenced
from jaxmlp.types import ArgumentError


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("test_fraction", 1.0, "test fraction 1.0 is outside"),
        ("task", "clasification", "did you mean 'classification'"),
        ("missing", "imput", "did you mean 'impute'"),
        ("seed", -1, "seed -1"),
        ("seed", 2**32, "too large"),
        ("seed", 0.5, "whole number"),
        ("examples", 0, "examples 0"),
        ("examples", 10.0, "whole number"),
        ("noise", -0.1, "noise -0.1"),
        ("noise", float("nan"), "noise nan"),
        ("noise", float("inf"), "noise inf"),
    ],
)
def test_a_wrong_value_is_refused(option, value, message):
    with pytest.raises(ArgumentError, match=message):
        Options(Path("data"), **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("target", "y"), ("task", "regression"), ("missing", "impute"), ("examples", 5), ("noise", 0.0)],
)
def test_an_option_that_would_be_ignored_is_refused(option, value):
    options = Options(Path("data"), **{option: value})
    options.refuse("digits", ())
    with pytest.raises(ArgumentError, match=f"'{option}' does not apply to data set 'digits'"):
        options.refuse("digits", (option,))


def test_defaults_are_not_taken_for_given():
    Options(Path("data")).refuse("digits", ("target", "task", "missing", "examples", "noise"))


def test_missing_values_are_treated_in_two_ways():
    check_missing("refuse")
    with pytest.raises(ArgumentError, match="unknown treatment of missing values 'drop'"):
        check_missing("drop")


@pytest.mark.parametrize("quiet", [False, True])
def test_a_library_can_be_kept_from_printing(capsys, quiet):
    with silenced(quiet):
        print("heard")
    print("after")
    assert capsys.readouterr().out == ("after\n" if quiet else "heard\nafter\n")
