"""Every number of a worked example follows from its formula; every weight, activation and loss has one."""

import math
import re

import jax
import numpy as np
import pytest
from chain_rule import Step, places, values_of
from slow_cases import others_slow
from worked_cases import as_python, by_symbol, example_of, stages_of, unfollowed
from worked_example import first_update, trace_example

from jaxmlp import ACTIVATIONS, LOSSES

NETWORKS = [
    "",
    "--activation tanh --loss squared_error",
    "--sizes 3 4 3 --activation gelu --loss softmax_cross_entropy",
    "--sizes 3 4 3 --activation sigmoid --loss mean_squared_error",
    "--sizes 2 2 3 --activation leaky_relu:0.1 --loss absolute_error --seed 3",
    "--loss softmax_cross_entropy --targets 0.3 0.7",
    "--sizes 2 3 --loss sigmoid_cross_entropy",
    "--sizes 2 3 2 --activation softplus --loss negative_log_likelihood",
    "--sizes 2 3 2 --loss huber:0.5 --output-activation none",
    "--sizes 1 1 --loss half_squared_error --output-activation softmax",
]


@pytest.fixture(autouse=True)
def _float64(x64: None) -> None:
    return


@pytest.mark.parametrize("arguments", others_slow(NETWORKS, kept=2))
def test_each_number_follows_from_its_formula_and_every_weight_has_its_gradient(arguments: str) -> None:
    example = example_of(*arguments.split())
    traced, stages = trace_example(example), stages_of(example)
    update, values = first_update(example, traced, 0.1), values_of(stages)
    assert unfollowed([*stages, update]) == []
    assert len(update.steps) == sum(leaf.size for leaf in jax.tree.leaves(example.params))
    assert values["E"] == float(traced.value)
    for letter, layer in zip("¹²", (layer for layer in traced.grads if layer), strict=False):
        right = {f"∂E/∂W{letter}": np.asarray(layer.w).T, f"∂E/∂b{letter}": np.asarray(layer.b)}
        assert all(values[name] == value for name, value in by_symbol(right).items())


def test_a_number_that_does_not_follow_is_seen() -> None:
    stages = stages_of(example_of())
    step = stages[-1].steps[0]
    wrong = step._replace(value=step.value + 1e-4)
    assert unfollowed([stages[-1]._replace(steps=[wrong, *stages[-1].steps[1:]])]) == [wrong]


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


@pytest.mark.slow
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_can_be_followed(activation: str) -> None:
    assert unfollowed(stages_of(example_of("--activation", activation))) == []


@pytest.mark.parametrize(
    "loss", ["huber", *(pytest.param(x, marks=pytest.mark.slow) for x in sorted(LOSSES))]
)
def test_every_loss_can_be_followed(loss: str) -> None:
    (stage,) = (each for each in stages_of(example_of("--loss", loss)) if each.title == f"loss: {loss}")
    assert stage.steps[-1].name == "E"
    if loss == "huber":  # it is not written out, but named with its value
        assert len(stage.steps) == 1
        assert "huber" in stage.rules[0]


def test_a_place_says_where_a_layer_stands() -> None:
    found = [(each.kind, each.number, each.came, each.goes) for each in places(trace_example(example_of()))]
    assert found[:2] == [("dense", 1, "x", "z¹"), ("relu", 1, "z¹", "a¹")]
    assert found[2:] == [("dense", 2, "a¹", "z²"), ("relu", 2, "z²", "a²")]
