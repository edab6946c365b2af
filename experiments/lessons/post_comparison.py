"""The numbers that the post prints beside the right ones, and why they differ.

The printed values are quotations; every other number here is computed.
"""

from collections.abc import Mapping
from typing import Any

from small_network import SmallNetwork

from jaxmlp import DenseParams, loss
from jaxmlp.cli.text import aligned
from jaxmlp.plots.graph import short_number as n

# What the post prints, in the digits in which it prints it.
PRINTED = {
    "z¹₁": "0.43",
    "z¹₂": "0.69",
    "z¹₃": "0.92",
    "a¹₁": "0.43",
    "a¹₂": "0.69",
    "a¹₃": "0.92",
    "z²₁": "1.006",
    "z²₂": "0.67",
    "a²₁": "1.006",
    "a²₂": "0.67",
    "E₁": "0.31",
    "E₂": "0.036",
    "E": "0.345",
    "∂E/∂W¹₁₁": "-0.0006",
}
PRINTED_RATES = (0.01, 0.1)  # where the problem is set, and where the step is taken
PRINTED_WEIGHT = "0.100006"  # W¹₁₁ after one step
NUDGE = 0.01


def verdict(printed: str, right: float) -> str:
    """Judge a printed number by the right one: "the same", "rounded" (right in the digits printed) or "wrong"."""
    decimals = len(printed.partition(".")[2])
    if abs(float(printed) - right) < 1e-12:
        return "the same"
    return "rounded" if round(right, decimals) == float(printed) else "wrong"


def value_with(example: SmallNetwork, first_weight: float) -> float:
    """Compute E with another W¹₁₁ and everything else as it is."""
    first, *others = example.params
    params: Any = (DenseParams(first.w.at[0, 0].set(first_weight), first.b), *others)
    return float(loss(example.net, params, example.inputs, example.targets, loss=example.loss))


def comparison_text(example: SmallNetwork, values: Mapping[str, float], after: Mapping[float, float]) -> str:
    """Set the post right, number by number; `after` is W¹₁₁ after a step with each of PRINTED_RATES."""
    rows = [("", "the post", "right", "")]
    for name, printed in PRINTED.items():
        judged = verdict(printed, values[name])
        rows.append(
            (name, printed.replace("-", "−"), n(values[name]), "" if judged == "the same" else judged)
        )
    rows.append(("η", " and ".join(map(n, PRINTED_RATES)), "either", "the post uses both"))
    for rate, weight in after.items():
        judged = verdict(PRINTED_WEIGHT, weight)
        rows.append((f"new W¹₁₁, η = {rate:g}", PRINTED_WEIGHT, n(weight), judged))
    reasons = [_why_the_loss(example, values), _why_the_gradient(example, values)]
    reasons.append(_why_the_step(example, values, after))
    paragraphs = "\n\n".join([aligned(rows), *("\n".join(lines) for lines in reasons)])
    indented = "\n".join(f"    {line}" if line else "" for line in paragraphs.split("\n"))
    return f"the post's numbers beside the right ones\n{indented}"


def _why_the_loss(example: SmallNetwork, values: Mapping[str, float]) -> list[str]:
    first_target, second_target = (float(target) for target in example.targets[0])
    rounded = float(PRINTED["a²₂"])
    printed_sum = float(PRINTED["E₁"]) + float(PRINTED["E₂"])
    return [
        f"E₁: ½·({n(first_target)} − {PRINTED['a²₁']})² is {n(values['E₁'])}; the printed {PRINTED['E₁']} "
        "does not follow from the post's own a²₁.",
        f"E₂: with a²₂ rounded to {n(rounded)} it is ½·({n(second_target)} − {n(rounded)})² = "
        f"{n((second_target - rounded) ** 2 / 2)}, which gives the printed {PRINTED['E₂']};",
        f"    with all digits of a²₂ it is {n(values['E₂'])}.",
        f"E:  the printed parts add up to {n(printed_sum)}, not to {PRINTED['E']}; the right ones to {n(values['E'])}.",
    ]


def _why_the_gradient(example: SmallNetwork, values: Mapping[str, float]) -> list[str]:
    """Write the whole chain rule of ∂E/∂W¹₁₁ in one product, and measure it by nudging the weight."""
    outputs = [values["∂E/∂a²₁"], values["∂E/∂a²₂"]]
    relus = [values["∂E/∂z²₁"] / outputs[0], values["∂E/∂z²₂"] / outputs[1]]
    weights = [float(weight) for weight in example.params[2].w[0]]
    hidden, entered = values["∂E/∂z¹₁"] / values["∂E/∂a¹₁"], float(example.inputs[0, 0])
    ways = list(zip(outputs, relus, weights, strict=True))
    products = " + ".join("·".join(map(n, way)) for way in ways)
    parts = " + ".join(n(slope * relu * weight * hidden * entered) for slope, relu, weight in ways)
    start = float(example.params[0].w[0, 0])
    low, high = value_with(example, start - NUDGE), value_with(example, start + NUDGE)
    return [
        "∂E/∂W¹₁₁: W¹₁₁ reaches E by two ways, one through each output, and the chain rule adds them:",
        "    [(a²₁ − t₁)·relu′(z²₁)·W²₁₁ + (a²₂ − t₂)·relu′(z²₂)·W²₂₁]·relu′(z¹₁)·x₁",
        f"    = [{products}]·{n(hidden)}·{n(entered)}",
        f"    = {parts} = {n(values['∂E/∂W¹₁₁'])}",
        f"    The printed {PRINTED['∂E/∂W¹₁₁'].replace('-', '−')} does not follow from the chain rule: every factor "
        "above is\n    positive, so the gradient cannot be negative. Whoever doubts it can ask E itself:",
        f"    E is {n(low, 8)} with W¹₁₁ = {n(start - NUDGE)} and {n(high, 8)} with W¹₁₁ = {n(start + NUDGE)};",
        f"    ({n(high, 8)} − {n(low, 8)})/{n(2 * NUDGE)} = {n((high - low) / (2 * NUDGE), 5)}.",
    ]


def _why_the_step(
    example: SmallNetwork, values: Mapping[str, float], after: Mapping[float, float]
) -> list[str]:
    slope, start = float(PRINTED["∂E/∂W¹₁₁"]), float(example.params[0].w[0, 0])
    set_with, taken_with = PRINTED_RATES
    lines = [
        f"η: the post sets the problem with η = {set_with:g} and says {taken_with:g} where it takes the step.",
        f"    Its new W¹₁₁ is {PRINTED_WEIGHT}:",
    ]
    for rate in PRINTED_RATES:
        weight = start - rate * slope
        fits = "which it prints" if n(weight) == PRINTED_WEIGHT else "which it does not print"
        lines.append(f"    {n(start)} − {rate:g}·(−{n(-slope)}) = {n(weight)}, {fits};")
    steps = (f"{n(start)} − {rate:g}·{n(values['∂E/∂W¹₁₁'])} = {n(weight)}" for rate, weight in after.items())
    changes = (f"{n(value_with(example, weight))} with {n(weight)}" for weight in after.values())
    uphill = n(value_with(example, float(PRINTED_WEIGHT)), 7)
    return [
        *lines,
        f"    right are {' and '.join(steps)}.",
        f"    The post's step goes uphill: with only W¹₁₁ changed, E goes from {n(values['E'], 7)} up to {uphill}",
        f"    with {PRINTED_WEIGHT}, but down to {' and '.join(changes)}.",
    ]
