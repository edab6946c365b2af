"""The worked example's numbers are the table's, and each follows from the formula beside it."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import chain_rule_steps
import jax
import numpy as np
import post_comparison
import pytest
import worked_example
from chain_rule_steps import Stage, Step, values_of, worked_stages
from experiment_runs import run_experiment
from post_comparison import PRINTED, comparison_text, verdict
from small_network import SmallNetwork
from worked_example import (
    descend,
    first_update,
    is_the_posts,
    make_example,
    named_arrays,
    read_options,
    trace_example,
)

from jaxmlp import ACTIVATIONS, LOSSES

# The right values of the post's network; W and b by layer, W as [outputs, inputs].
RIGHT: dict[str, Any] = {
    "z¹": [0.43, 0.69, 0.92],
    "a¹": [0.43, 0.69, 0.92],
    "z²": [1.006, 0.672],
    "a²": [1.006, 0.672],
    "E": 0.36181,
    "E₁": 0.324818,
    "E₂": 0.036992,
    "∂E/∂W²": [[0.34658, 0.55614, 0.74152], [0.11696, 0.18768, 0.25024]],
    "∂E/∂b²": [0.806, 0.272],
    "∂E/∂W¹": [[0.25812, 0.38718], [0.22668, 0.34002], [0.12936, 0.19404]],
    "∂E/∂b¹": [0.4302, 0.3778, 0.2156],
}
UPDATES = {0.01: 155, 0.1: 14}
NEW_FIRST_WEIGHT = {0.01: 0.0974188, 0.1: 0.074188}


@pytest.fixture(autouse=True)
def _float64(x64: None) -> None:
    return


def example_of(*arguments: str) -> SmallNetwork:
    return make_example(read_options(arguments))


def stages_of(example: SmallNetwork) -> list[Stage]:
    return worked_stages(trace_example(example), example.targets, example.loss)


def by_symbol(right: Mapping[str, Any]) -> dict[str, float]:
    """The table with a symbol a number: "W²" with an entry in row 1, column 3 is "W²₁₃"."""
    digits = "₀₁₂₃₄₅₆₇₈₉"
    return {
        name + "".join(digits[place + 1] for place in index): float(value)
        for name, values in right.items()
        for index, value in np.ndenumerate(np.array(values))
    }


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
def test_updates_until_the_fit_is_good_enough(rate: float) -> None:
    descent = descend(example_of(), rate, 1e-4, 10000)
    assert descent.reached
    assert descent.updates == UPDATES[rate] == len(descent.values) - 1
    assert descent.values[-1] < 1e-4 <= descent.values[-2]
    assert descent.values[0] == pytest.approx(RIGHT["E"], abs=1e-12)


@pytest.mark.parametrize("rate", UPDATES)
def test_the_update_is_of_every_weight_along_its_gradient(rate: float) -> None:
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


def test_a_descent_ends_at_its_limit_or_when_it_diverges() -> None:
    example = example_of()
    short = descend(example, 0.01, 1e-4, 3)
    assert (short.updates, short.reached, worked_example.outcome(short)[:25]) == (
        3,
        False,
        "not reached in 3 updates,",
    )
    wild = descend(example_of("--activation", "identity"), 1e3, 1e-4, 200)
    assert not wild.reached
    assert wild.updates < 200
    assert "diverged" in worked_example.outcome(wild)
    assert "smaller --learning-rate" in worked_example.outcome(wild)


# --- what is written beside each number ---


def applied(name: str) -> Callable[[float], float]:
    return lambda z: float(ACTIVATIONS[name].value(jax.numpy.asarray(z)))


FUNCTIONS = {"exp": math.exp, "ln": math.log, "sign": np.sign, "abs": abs}
FUNCTIONS |= {name: applied(name) for name in ACTIVATIONS}


def as_python(text: str) -> str:
    text = re.sub(r"\|([^|]*)\|", r"abs(\1)", text)
    for sign, python in {"−": "-", "·": "*", "½": "0.5", "²": "**2"}.items():
        text = text.replace(sign, python)
    return text


def evaluated(numbers: str) -> float:
    """Compute a formula with its numbers put in, as a reader would with a calculator."""
    text = re.sub(r"(\w+:[\d.]+)\(", r"applied('\1')(", numbers)
    return float(eval(as_python(text), {**FUNCTIONS, "applied": applied}))


def unfollowed(stages: list[Stage]) -> list[Step]:
    """The steps whose value does not follow from the numbers beside it, which have six digits each."""
    return [
        step
        for stage in stages
        for step in stage.steps
        if step.numbers and not math.isclose(evaluated(step.numbers), step.value, rel_tol=2e-5, abs_tol=2e-5)
    ]


NETWORKS = [
    (),
    ("--activation", "tanh", "--loss", "squared_error"),
    ("--sizes", "3", "4", "3", "--activation", "sigmoid", "--loss", "mean_squared_error"),
    ("--sizes", "2", "2", "3", "--activation", "leaky_relu:0.1", "--loss", "absolute_error", "--seed", "3"),
    ("--sizes", "3", "4", "3", "--activation", "gelu", "--loss", "softmax_cross_entropy"),
    ("--loss", "softmax_cross_entropy", "--targets", "0.2", "0.7"),
    ("--sizes", "2", "3", "--loss", "sigmoid_cross_entropy"),
    ("--sizes", "2", "3", "2", "--activation", "softplus", "--loss", "negative_log_likelihood"),
    ("--sizes", "2", "3", "2", "--loss", "huber:0.5", "--output-activation", "none"),
    ("--sizes", "1", "1", "--loss", "half_squared_error", "--output-activation", "softmax"),
]


@pytest.mark.parametrize("arguments", NETWORKS, ids=" ".join)
def test_each_number_follows_from_the_formula_beside_it(arguments: tuple[str, ...]) -> None:
    assert unfollowed(stages_of(example_of(*arguments))) == []


@pytest.mark.parametrize("arguments", NETWORKS[:5:4], ids=" ".join)
def test_each_new_weight_follows_from_its_gradient(arguments: tuple[str, ...]) -> None:
    example = example_of(*arguments)
    stage = first_update(example, trace_example(example), 0.1)
    assert unfollowed([stage]) == []
    assert len(stage.steps) == sum(leaf.size for leaf in jax.tree.leaves(example.params))


@pytest.mark.parametrize("arguments", NETWORKS, ids=" ".join)
def test_every_weight_has_its_gradient(arguments: tuple[str, ...]) -> None:
    example = example_of(*arguments)
    values = values_of(stages_of(example))
    traced = trace_example(example)
    assert values["E"] == float(traced.value)
    right = {}
    for number, layer in enumerate((layer for layer in traced.grads if layer), start=1):
        letters = "¹²"[number - 1]
        right.update(
            by_symbol({f"∂E/∂W{letters}": np.asarray(layer.w).T, f"∂E/∂b{letters}": np.asarray(layer.b)})
        )
    assert {name: values[name] for name in right} == right


def test_a_number_that_does_not_follow_is_seen() -> None:
    stages = stages_of(example_of())
    stage = stages[-1]
    step = stage.steps[0]
    wrong = stage._replace(steps=(step._replace(value=step.value + 1e-4), *stage.steps[1:]))
    assert unfollowed([wrong]) == [wrong.steps[0]]


def test_formulas_and_numbers_speak_of_the_same_things() -> None:
    """Putting each symbol's value into the formula gives the numbers, for sums and products."""
    example = example_of("--sizes", "3", "4", "2", "--activation", "tanh", "--inputs", "0.3", "-0.7", "1.5")
    values = values_of(stages_of(example))
    values |= {f"x{'₁₂₃'[i]}": float(example.inputs[0, i]) for i in range(3)}
    values |= {f"t{'₁₂'[k]}": float(example.targets[0, k]) for k in range(2)}
    dense = [layer for layer in example.params if layer]
    for number, layer in zip("¹²", dense, strict=True):
        values |= by_symbol({f"W{number}": np.asarray(layer.w).T, f"b{number}": np.asarray(layer.b)})
    # Longest first, so that W¹₁₁ is not taken for a part of ∂E/∂W¹₁₁.
    names = sorted(values, key=len, reverse=True)
    checked = 0
    for stage in stages_of(example):
        for step in stage.steps:
            if "′" in step.formula or not step.formula:
                continue
            text = re.sub("|".join(names), lambda match: f"({values[match[0]]!r})", step.formula)
            text = re.sub(r"(?<![\w.])tanh\(\((.*)\)\)", r"math.tanh(\1)", text)
            assert eval(as_python(text), {"math": math}) == pytest.approx(step.value, rel=1e-9, abs=1e-12), (
                step
            )
            checked += 1
    assert checked == 4 + 4 + 2 + 2 + 3 + 2 + (8 + 2 + 4) + (12 + 4)


def test_long_lines_are_broken_before_their_equals_signs() -> None:
    stages = stages_of(example_of("--sizes", "6", "2"))
    assert "\n      = W¹₁₁·x₁ + " in str(stages[0])
    assert str(Step("a", "b", "0.43", 0.43)) == "a = b = 0.43", "the number is not written twice"


def test_a_loss_that_is_not_written_out_is_named_with_its_value() -> None:
    stage = next(stage for stage in stages_of(example_of("--loss", "huber")) if stage.title == "loss: huber")
    assert [step.name for step in stage.steps] == ["E"]
    assert "huber" in stage.rules[0]


@pytest.mark.slow
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_can_be_followed(loss: str) -> None:
    stages = stages_of(example_of("--loss", loss))
    assert [stage.title.partition(":")[0] for stage in stages].count("loss") == 1


@pytest.mark.slow
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_can_be_followed(activation: str) -> None:
    assert unfollowed(stages_of(example_of("--activation", activation))) == []


# --- the post ---


@pytest.mark.parametrize(
    ("printed", "right", "expected"),
    [
        ("0.43", 0.43, "the same"),
        ("0.67", 0.672, "rounded"),
        ("0.31", 0.324818, "wrong"),
        ("0.036", 0.036992, "wrong"),
        ("-0.0006", 0.25812, "wrong"),
        ("0.100006", 0.0974188, "wrong"),
    ],
)
def test_the_post_is_judged_by_the_digits_that_it_prints(printed: str, right: float, expected: str) -> None:
    assert verdict(printed, right) == expected


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
    updated = {rate: {"new W¹₁₁": 0.100006} for rate in post_comparison.PRINTED_RATES}
    text = comparison_text(example, values, updated)
    assert "0.25812" not in text.split("E₁:")[0]
    assert re.search(r"new W¹₁₁, η = 0.01 +0.100006 +0.100006   the same", text)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), True),
        (("--sizes", "2", "3", "2"), True),
        (("--learning-rate", "0.5"), True),
        (("--activation", "tanh"), False),
        (("--loss", "squared_error"), False),
        (("--output-activation", "none"), False),
        (("--inputs", "1", "2"), False),
        (("--seed", "0"), False),
        (("--sizes", "2", "2"), False),
    ],
)
def test_only_the_posts_own_example_is_compared_with_the_post(
    arguments: tuple[str, ...], expected: bool
) -> None:
    assert is_the_posts(read_options(arguments)) == expected


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


def test_the_run_folder_holds_pictures_text_and_numbers(post_run: tuple[Path, str]) -> None:
    folder, printed = post_run
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "graph.png", "graph.svg", "network.json", "steps.txt", "trace.npz"}
    assert (folder / "steps.txt").read_text(encoding="utf-8").strip() in printed
    assert "<svg" in (folder / "graph.svg").read_text(encoding="utf-8")
    with np.load(folder / "trace.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["0 dense/param_grads.w"].T, RIGHT["∂E/∂W¹"], rtol=0, atol=5e-7)
        assert arrays["value"].dtype == np.float64
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["options"]["learning_rate"] == [
        0.01,
        0.1,
    ]


def test_the_network_it_wrote_can_be_followed_again(post_run: tuple[Path, str], tmp_path: Path) -> None:
    example, again = example_of(), example_of("--weights", str(post_run[0] / "network.json"))
    for left, right in zip(jax.tree.leaves(example[1:4]), jax.tree.leaves(again[1:4]), strict=True):
        assert np.array_equal(left, right)
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
    assert {
        "value",
        "0 dense/param_grads.w",
        "0 dense/params.b",
        "1 relu/output_grad",
        "3 relu/outputs",
    } <= names
    assert len(names) == 1 + 4 * 4 + 2 * 4


def test_a_seed_gives_the_same_network_and_another_one_another() -> None:
    first, same, other = (example_of("--seed", seed).params[0].w for seed in ("1", "1", "2"))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert np.array_equal(first, np.round(np.asarray(first), 2)), "not to be followed by hand"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--sizes", 2), "--sizes takes at least two numbers"),
        (("--sizes", 2, 0, 2), "--sizes takes at least two numbers of at least 1"),
        (("--activation", "rellu"), "did you mean 'relu'?"),
        (("--output-activation", "sofmax"), "unknown activation 'sofmax'"),
        (("--loss", "half_squared"), "did you mean 'half_squared_error'?"),
        (("--inputs", 1, 2, 3), "inputs must have shape [N, 2]"),
        (("--inputs", 1, "nan"), "NaN or infinite"),
        (("--targets", 1), "targets of shape [N, 2]"),
        (("--targets", 3, "--loss", "negative_log_likelihood"), "labels must lie in 0 to 1"),
        (("--targets", 0.5, "--loss", "negative_log_likelihood"), "a whole number from 0, given [0.5]"),
        (("--learning-rate", -1), "finite numbers above 0"),
        (("--learning-rate",), "given nothing"),
        (("--goal", 0), "--goal must be above 0"),
        (("--most-updates", 0), "--most-updates at least 1"),
        (("--seed", -1), "--seed must be at least 0"),
        (("--weights", "nowhere.json"), "nowhere.json"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: tuple[Any, ...], complaint: str, tmp_path: Path) -> None:
    outcome = run_experiment("worked_example", *arguments, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert complaint in outcome.error_line
    assert not (tmp_path / "run").exists(), "it wrote something"


def test_the_module_of_steps_says_where_a_layer_stands() -> None:
    kinds = [
        (place.kind, place.number, place.came, place.goes)
        for place in chain_rule_steps.places(trace_example(example_of()))
    ]
    assert kinds == [
        ("dense", 1, ("x", None), ("z", 1)),
        ("relu", 1, ("z", 1), ("a", 1)),
        ("dense", 2, ("a", 1), ("z", 2)),
        ("relu", 2, ("z", 2), ("a", 2)),
    ]
