"""What the tests of the worked example share: the right numbers, and a calculator for what is written."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from chain_rule import Stage, Step, worked_stages
from small_network import SmallNetwork
from worked_example import make_example, read_options, trace_example

from jaxmlp import ACTIVATIONS

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
