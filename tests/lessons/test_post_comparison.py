"""What is said of the post's numbers is computed, and so."""

import re

import numpy as np
import post_comparison
import pytest
import worked_example
from chain_rule import values_of
from post_comparison import PRINTED, comparison_text, verdict
from worked_cases import NEW_FIRST_WEIGHT, example_of, stages_of
from worked_example import trace_example


@pytest.fixture(autouse=True)
def _float64(x64: None) -> None:
    return


def test_the_post_is_judged_by_the_digits_that_it_prints() -> None:
    assert verdict("0.43", 0.43) == "the same"
    assert verdict("0.67", 0.672) == "rounded"
    wrong = {"0.31": 0.324818, "0.036": 0.036992, "-0.0006": 0.25812, "0.100006": 0.0974188}
    assert {verdict(printed, right) for printed, right in wrong.items()} == {"wrong"}


def post_text() -> str:
    example = example_of()
    return worked_example.compare_with_post(example, trace_example(example))


def test_the_posts_numbers_stand_beside_the_right_ones() -> None:
    rows = {
        line.strip().split("  ")[0]: line for line in post_text().split("\n")[2:20] if line.startswith("    ")
    }
    for name, printed in PRINTED.items():
        assert printed.replace("-", "−") in rows[name]
    assert rows["∂E/∂W¹₁₁"].split() == ["∂E/∂W¹₁₁", "−0.0006", "0.25812", "wrong"]
    assert rows["E"].split() == ["E", "0.345", "0.36181", "wrong"]
    assert rows["z²₂"].split() == ["z²₂", "0.67", "0.672", "rounded"]
    assert rows["z¹₁"].split() == ["z¹₁", "0.43", "0.43"]
    assert "0.0974188" in rows["new W¹₁₁, η = 0.01"]
    assert "0.074188" in rows["new W¹₁₁, η = 0.1"]


def test_what_is_said_of_the_post_is_so() -> None:
    example, text = example_of(), post_text()
    values = values_of(stages_of(example))
    # Every factor of both ways is positive, so that no rounding makes the sum negative.
    factors = [*np.ravel(example.params[2].w[0]), *np.ravel(example.inputs)]
    factors += [value for name, value in values.items() if name.startswith("∂E/∂")]
    assert all(float(factor) > 0 for factor in factors)
    assert round(float(re.search(r"= ([\d.]+), which gives the printed 0.036", text)[1]), 3) == 0.036  # type: ignore[index]
    assert "0.1 − 0.01·(−0.0006) = 0.100006, which it prints" in text
    assert "0.1 − 0.1·(−0.0006) = 0.10006, which it does not print" in text
    assert "add up to 0.346, not to 0.345" in text
    slope = re.search(r"\(([\d.]+) − ([\d.]+)\)/([\d.]+) = ([\d.]*\d)", text)
    assert slope is not None
    high, low, width, quotient = map(float, slope.groups())
    assert (high - low) / width == pytest.approx(quotient, abs=1e-6)
    assert quotient == pytest.approx(0.25812, abs=1e-6)
    before = values["E"]
    assert post_comparison.value_with(example, 0.100006) > before
    assert all(post_comparison.value_with(example, weight) < before for weight in NEW_FIRST_WEIGHT.values())


def test_the_comparison_is_computed_and_not_recited() -> None:
    example = example_of()
    values = values_of(stages_of(example)) | {"∂E/∂W¹₁₁": -0.0006}
    text = comparison_text(example, values, dict.fromkeys(post_comparison.PRINTED_RATES, 0.100006))
    assert "0.25812" not in text.split("E₁:")[0]
    assert re.search(r"new W¹₁₁, η = 0.01 +0.100006 +0.100006 +the same", text)
