"""The worked example's numbers are the table's, and its program takes any small network."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import pytest
from chain_rule import values_of
from command_runs import run_experiment
from post_comparison import PRINTED, PRINTED_RATES, comparison_text, value_with, verdict
from worked_cases import NEW_FIRST_WEIGHT, RIGHT, UPDATES, by_symbol, example_of, stages_of
from worked_example import (
    compare_with_post,
    descend,
    first_update,
    is_the_posts,
    named_arrays,
    read_options,
    trace_example,
)
from worked_example import outcome as outcome_of

from jaxmlp import ACTIVATIONS


@pytest.fixture(autouse=True)
def _float64(x64: None) -> None:
    return


def differing(values: Mapping[str, float]) -> list[str]:
    return [name for name, right in by_symbol(RIGHT).items() if abs(values[name] - right) > 5e-7]


def test_every_value_of_the_table_is_right_to_six_digits() -> None:
    values = values_of(stages_of(example_of()))
    assert len(by_symbol(RIGHT)) == 3 + 3 + 2 + 2 + 3 + 6 + 2 + 6 + 3
    assert differing(values) == []


def test_a_wrong_relu_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    relu = ACTIVATIONS["relu"]
    wrong = relu._replace(derivative=lambda z, a: 0.999998 * relu.derivative(z, a))
    monkeypatch.setitem(ACTIVATIONS._things, "relu", wrong)  # type: ignore[attr-defined]
    assert "∂E/∂W¹₁₁" in differing(values_of(stages_of(example_of())))


@pytest.mark.parametrize("rate", UPDATES)
def test_every_weight_goes_along_its_gradient_until_the_fit_is_good_enough(rate: float) -> None:
    example = example_of()
    stage = first_update(example, trace_example(example), rate)
    values = values_of([stage])
    assert len(stage.steps) == len(values) == 17
    assert values["new W¹₁₁"] == pytest.approx(NEW_FIRST_WEIGHT[rate], abs=5e-9)
    grads = by_symbol({name: each for name, each in RIGHT.items() if name.startswith("∂E/∂")})
    before = {"W²": [[0.5, 0.3, 0.2], [0.1, 0.5, 0.2]], "b²": [0.4, 0.1], "b¹": [0.1, 0.3, 0.5]}
    before["W¹"] = [[0.1, 0.3], [0.5, 0.1], [0.4, 0.2]]
    for name, weight in by_symbol(before).items():
        assert values[f"new {name}"] == pytest.approx(weight - rate * grads[f"∂E/∂{name}"], abs=1e-12)
    descent = descend(example, rate, 1e-4, 10000)
    assert descent.reached
    assert descent.updates == UPDATES[rate]
    assert descent.values[-1] < 1e-4 <= descent.values[-2]
    assert descent.values[0] == pytest.approx(RIGHT["E"], abs=1e-12)


def test_a_descent_ends_at_its_limit_or_when_it_diverges() -> None:
    example = example_of()
    short = descend(example, 0.01, 1e-4, 3)
    assert (short.updates, short.reached) == (3, False)
    assert outcome_of(short).startswith("not reached in 3 updates,")
    wild = descend(example_of("--activation", "identity"), 1e3, 1e-4, 200)
    assert (wild.updates < 200, wild.reached) == (True, False)
    assert re.match("diverged.*smaller --learning-rate", outcome_of(wild))


def test_only_the_posts_own_example_is_compared_with_the_post() -> None:
    own = ("", "--sizes 2 3 2", "--learning-rate 0.5")
    other = ("--activation tanh", "--loss squared_error", "--output-activation none", "--inputs 1 2")
    assert all(is_the_posts(read_options(each.split())) for each in own)
    assert not any(is_the_posts(read_options(each.split())) for each in (*other, "--seed 0", "--sizes 2 2"))


# --- what is said of the post is computed, and so ---


def test_the_post_is_judged_by_the_digits_that_it_prints() -> None:
    assert verdict("0.43", 0.43) == "the same"
    assert verdict("0.67", 0.672) == "rounded"
    wrong = {"0.31": 0.324818, "0.036": 0.036992, "-0.0006": 0.25812, "0.100006": 0.0974188}
    assert {verdict(printed, right) for printed, right in wrong.items()} == {"wrong"}


def post_text() -> str:
    example = example_of()
    return compare_with_post(example, trace_example(example))


def test_the_posts_numbers_stand_beside_the_right_ones() -> None:
    rows = {line.strip().split("  ")[0]: line for line in post_text().split("\n")[2:20]}
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
    assert value_with(example, 0.100006) > before
    assert all(value_with(example, weight) < before for weight in NEW_FIRST_WEIGHT.values())


def test_the_comparison_is_computed_and_not_recited() -> None:
    example = example_of()
    values = values_of(stages_of(example)) | {"∂E/∂W¹₁₁": -0.0006}
    text = comparison_text(example, values, dict.fromkeys(PRINTED_RATES, 0.100006))
    assert "0.25812" not in text.split("E₁:")[0]
    assert re.search(r"new W¹₁₁, η = 0.01 +0.100006 +0.100006 +the same", text)


# --- the program ---


@pytest.fixture(scope="module")
def post_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run with no options: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("post") / "run"
    outcome = run_experiment("worked_example", "--out", folder)
    assert (outcome.status, outcome.err) == (0, "")
    return folder, outcome.out


def test_the_program_prints_the_steps_in_order_and_the_training(post_run: tuple[Path, str]) -> None:
    printed = post_run[1]
    expected = [
        "z¹₁ = W¹₁₁·x₁ + W¹₁₂·x₂ + b¹₁ = 0.1·0.6 + 0.3·0.9 + 0.1 = 0.43",
        "a¹₁ = relu(z¹₁) = relu(0.43) = 0.43",
        "E = E₁ + E₂ = 0.324818 + 0.036992 = 0.36181",
        "∂E/∂a²₁ = a²₁ − t₁ = 1.006 − 0.2 = 0.806",
        "∂E/∂W²₁₁ = ∂E/∂z²₁·a¹₁ = 0.806·0.43 = 0.34658",
        "∂E/∂W¹₁₁ = ∂E/∂z¹₁·x₁ = 0.4302·0.6 = 0.25812",
        "new W¹₁₁ = W¹₁₁ − η·∂E/∂W¹₁₁ = 0.1 − 0.01·0.25812 = 0.0974188",
        "new W¹₁₁ = W¹₁₁ − η·∂E/∂W¹₁₁ = 0.1 − 0.1·0.25812 = 0.074188",
        "the post's numbers beside the right ones",
        "η = 0.01: 155 updates",
        "η = 0.1: 14 updates",
    ]
    places = [printed.find(line) for line in expected]
    assert -1 not in places
    assert places == sorted(places)


def test_the_run_folder_holds_pictures_text_numbers_and_the_network(post_run: tuple[Path, str]) -> None:
    folder, printed = post_run
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "graph.png", "graph.svg", "network.json", "steps.txt", "trace.npz"}
    assert (folder / "steps.txt").read_text(encoding="utf-8").strip() in printed
    assert "<svg" in (folder / "graph.svg").read_text(encoding="utf-8")
    with np.load(folder / "trace.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["0 dense/param_grads.w"].T, RIGHT["∂E/∂W¹"], rtol=0, atol=5e-7)
        assert arrays["value"].dtype == np.float64
    options = json.loads((folder / "config.json").read_text(encoding="utf-8"))["options"]
    assert options["learning_rate"] == [0.01, 0.1]
    example, again = example_of(), example_of("--weights", str(folder / "network.json"))
    jax.tree.map(np.testing.assert_array_equal, example[1:4], again[1:4])
    assert example.net == again.net


@pytest.mark.slow
def test_a_network_too_large_to_write_out_is_described_by_layer(tmp_path: Path) -> None:
    outcome = run_experiment(
        "worked_example", "--sizes", 20, 9, 2, "--most-updates", 1, "--learning-rate", 0.1, "--out", tmp_path
    )
    assert outcome.status == 0
    assert "1. forward" not in outcome.out
    lines = outcome.out.splitlines()
    assert next(line for line in lines if line.startswith("0 dense")).split()[2] == "9"
    assert "not reached in 1 update, E =" in outcome.out
    assert "the post" not in outcome.out


def test_every_array_of_the_trace_has_a_name() -> None:
    names = set(named_arrays(trace_example(example_of())))
    some = {"value", "0 dense/param_grads.w", "0 dense/params.b", "1 relu/output_grad", "3 relu/outputs"}
    assert some <= names
    assert len(names) == 1 + 4 * 4 + 2 * 4


def test_a_seed_gives_the_same_network_and_another_one_another() -> None:
    first, same, other = (example_of("--seed", seed).params[0].w for seed in ("1", "1", "2"))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert np.array_equal(first, np.round(np.asarray(first), 2)), "not to be followed by hand"
