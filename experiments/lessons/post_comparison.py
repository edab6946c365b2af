"""The numbers that the post prints beside the right ones, and why they differ.

The printed values are quotations; every other number here is computed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from small_network import SmallNetwork

from jaxmlp import DenseParams, loss
from jaxmlp.plots.graph import short_number

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


class Comparison(NamedTuple):
    """A number of the post beside the right one.

    Attributes:
        name: its symbol.
        printed: as the post prints it.
        right: as it is computed.
        verdict: "the same", "rounded" (right in the digits that are printed) or "wrong".
    """

    name: str
    printed: str
    right: float
    verdict: str


def compare(values: Mapping[str, float]) -> list[Comparison]:
    """Compare what the post prints with what is right."""
    return [
        Comparison(name, text, values[name], verdict(text, values[name])) for name, text in PRINTED.items()
    ]


def verdict(printed: str, right: float) -> str:
    """Judge a printed number by the right one."""
    decimals = len(printed.partition(".")[2])
    if abs(float(printed) - right) < 1e-12:
        return "the same"
    return "rounded" if round(right, decimals) == float(printed) else "wrong"


def value_with(example: SmallNetwork, first_weight: float) -> float:
    """Compute E with another W¹₁₁ and everything else as it is."""
    first, *others = example.params
    changed = DenseParams(first.w.at[0, 0].set(first_weight), first.b)
    params: Any = (changed, *others)
    return float(loss(example.net, params, example.inputs, example.targets, loss=example.loss))


def comparison_text(
    example: SmallNetwork, values: Mapping[str, float], updated: Mapping[float, Mapping[str, float]]
) -> str:
    """Set the post right, number by number."""
    rows = [("", "the post", "right", "")]
    rows += [
        (
            row.name,
            row.printed.replace("-", "−"),
            short_number(row.right),
            "" if row.verdict == "the same" else row.verdict,
        )
        for row in compare(values)
    ]
    after = {rate: updated[rate]["new W¹₁₁"] for rate in PRINTED_RATES}
    rates = " and ".join(map(short_number, PRINTED_RATES))
    rows.append(("η", rates, "any one", "the post uses both"))
    for rate, weight in after.items():
        rows.append(
            (f"new W¹₁₁, η = {rate:g}", PRINTED_WEIGHT, short_number(weight), verdict(PRINTED_WEIGHT, weight))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = [
        "    " + f"{a:<{widths[0]}}   {b:>{widths[1]}}   {c:>{widths[2]}}   {d}".rstrip()
        for a, b, c, d in rows
    ]
    why = [f"    {line}" if line else "" for line in _reasons(example, values, after)]
    return "\n".join(["the post's numbers beside the right ones", *table, "", *why])


def _reasons(example: SmallNetwork, values: Mapping[str, float], after: Mapping[float, float]) -> list[str]:
    return [
        *_why_the_loss(example, values),
        "",
        *_why_the_gradient(example, values),
        "",
        *_why_the_step(example, values, after),
    ]


def _why_the_loss(example: SmallNetwork, values: Mapping[str, float]) -> list[str]:
    n = short_number
    first_target, second_target = (float(target) for target in example.targets[0])
    rounded = float(PRINTED["a²₂"])
    from_rounded = (second_target - rounded) ** 2 / 2
    printed_sum = float(PRINTED["E₁"]) + float(PRINTED["E₂"])
    return [
        f"E₁: ½·({n(first_target)} − {PRINTED['a²₁']})² is {n(values['E₁'])}; the printed {PRINTED['E₁']} "
        "does not follow from the post's own a²₁.",
        f"E₂: with a²₂ rounded to {n(rounded)} it is ½·({n(second_target)} − {n(rounded)})² = {n(from_rounded)}, "
        f"which gives the printed {PRINTED['E₂']};",
        f"    with all digits of a²₂ it is {n(values['E₂'])}.",
        f"E:  the printed parts add up to {n(printed_sum)}, not to {PRINTED['E']}; the right ones to {n(values['E'])}.",
    ]


def _why_the_gradient(example: SmallNetwork, values: Mapping[str, float]) -> list[str]:
    """Write the whole chain rule of ∂E/∂W¹₁₁ in one product, and measure it by nudging the weight."""
    n = short_number
    first, second = example.params[0].w, example.params[2].w
    slopes = [values["∂E/∂a²₁"], values["∂E/∂a²₂"]]
    steep = [values[f"∂E/∂z²{k}"] / slope for k, slope in zip("₁₂", slopes, strict=True)]
    hidden = values["∂E/∂z¹₁"] / values["∂E/∂a¹₁"]
    weights, entered = [float(second[0, 0]), float(second[0, 1])], float(example.inputs[0, 0])
    numbers = " + ".join(
        f"{n(slope)}·{n(relu)}·{n(weight)}"
        for slope, relu, weight in zip(slopes, steep, weights, strict=True)
    )
    ways = [
        slope * relu * weight * hidden * entered
        for slope, relu, weight in zip(slopes, steep, weights, strict=True)
    ]
    start = float(first[0, 0])
    printed = PRINTED["∂E/∂W¹₁₁"].replace("-", "−")
    low, high = value_with(example, start - NUDGE), value_with(example, start + NUDGE)
    return [
        "∂E/∂W¹₁₁: W¹₁₁ reaches E by two ways, one through each output, and the chain rule adds them:",
        "    [(a²₁ − t₁)·relu′(z²₁)·W²₁₁ + (a²₂ − t₂)·relu′(z²₂)·W²₂₁]·relu′(z¹₁)·x₁",
        f"    = [{numbers}]·{n(hidden)}·{n(entered)}",
        f"    = {n(ways[0])} + {n(ways[1])} = {n(values['∂E/∂W¹₁₁'])}",
        f"    The printed {printed} does not follow from the chain rule: every factor above is",
        "    positive, so the gradient cannot be negative. Whoever doubts it can ask E itself:",
        f"    E is {n(low, 8)} with W¹₁₁ = {n(start - NUDGE)} and {n(high, 8)} with W¹₁₁ = {n(start + NUDGE)};",
        f"    ({n(high, 8)} − {n(low, 8)})/{n(2 * NUDGE)} = {n((high - low) / (2 * NUDGE), 5)}.",
    ]


def _why_the_step(
    example: SmallNetwork, values: Mapping[str, float], after: Mapping[float, float]
) -> list[str]:
    n = short_number
    slope, start = float(PRINTED["∂E/∂W¹₁₁"]), float(example.params[0].w[0, 0])
    posts = {rate: start - rate * slope for rate in PRINTED_RATES}
    set_with, taken_with = PRINTED_RATES
    lines = [
        f"η: the post sets the problem with η = {set_with:g} and says {taken_with:g} where it takes the step.",
        f"    Its new W¹₁₁ is {PRINTED_WEIGHT}:",
    ]
    for rate, weight in posts.items():
        fits = "which it prints" if abs(weight - float(PRINTED_WEIGHT)) < 1e-12 else "which it does not print"
        lines.append(f"    {n(start)} − {rate:g}·(−{n(-slope)}) = {n(weight)}, {fits};")
    lines.append(
        "    right are "
        + " and ".join(
            f"{n(start)} − {rate:g}·{n(values['∂E/∂W¹₁₁'])} = {n(weight)}" for rate, weight in after.items()
        )
        + "."
    )
    changes = " and ".join(f"{n(value_with(example, weight))} with {n(weight)}" for weight in after.values())
    lines.append(
        f"    The post's step goes uphill: with W¹₁₁ alone changed, E goes from {n(values['E'], 7)} up to "
        f"{n(value_with(example, float(PRINTED_WEIGHT)), 7)}"
    )
    lines.append(f"    with {PRINTED_WEIGHT}, but down to {changes}.")
    return lines
