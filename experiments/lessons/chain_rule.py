"""A pass forward and back, written out as a person would: every number with the formula it comes from.

W¹ⱼᵢ leads from input i to neuron j of layer 1, counted from 1; the package keeps it as `params.w[i, j]`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from loss_steps import loss_start, loss_steps

from jaxmlp import ACTIVATIONS, DenseParams, LayerTrace, Trace
from jaxmlp.plots.graph import gradient_symbol, short_number, symbol

WIDEST = 110  # characters of a line
# What an activation and its derivative are, for those that fit in a line; others keep their names.
ACTIVATION_FORMULAS = {
    "relu": ("relu(z) = max(0, z)", "relu′(z) = 1 for z > 0, else 0"),
    "leaky_relu": ("leaky_relu(z) = z for z ≥ 0, else 0.01·z", "leaky_relu′(z) = 1 for z ≥ 0, else 0.01"),
    "tanh": ("tanh(z) = (eᶻ − e⁻ᶻ)/(eᶻ + e⁻ᶻ)", "tanh′(z) = 1 − a²"),
    "sigmoid": ("sigmoid(z) = 1/(1 + e⁻ᶻ)", "sigmoid′(z) = a·(1 − a)"),
    "softplus": ("softplus(z) = ln(1 + eᶻ)", "softplus′(z) = 1/(1 + e⁻ᶻ)"),
    "identity": ("identity(z) = z", "identity′(z) = 1"),
    "softmax": ("softmax(z)ⱼ = exp(zⱼ)/Σₖ exp(zₖ)", ""),
}


class Step(NamedTuple):
    """One number of a worked example.

    Attributes:
        name: its symbol, as "∂E/∂W¹₂₁".
        formula: where it comes from, in symbols; empty where the symbol says it.
        numbers: the same with the numbers put in; empty where there is nothing to put in.
        value: the number itself, as the package computed it.
    """

    name: str
    formula: str
    numbers: str
    value: float

    def __str__(self) -> str:
        """The step as one line, or as several where it would be too long."""
        parts = [part for part in (self.formula, self.numbers, short_number(self.value)) if part]
        if len(parts) > 1 and parts[-1] == parts[-2]:
            parts.pop()  # "= 0.43 = 0.43"
        line = " = ".join((self.name, *parts))
        return line if len(line) <= WIDEST else f"{self.name}\n" + "\n".join(f"  = {part}" for part in parts)


class Stage(NamedTuple):
    """Steps that belong together.

    Attributes:
        title: what is computed.
        rules: the formulas of the stage, one a line.
        steps: its steps, in the order in which they can be computed.
    """

    title: str
    rules: tuple[str, ...]
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        """The stage as text, indented under its title."""
        lines = [*self.rules, *("\n".join(map(str, self.steps)).split("\n"))]
        return "\n".join([self.title, *(f"    {line}" for line in lines)])


class Place(NamedTuple):
    """A layer of a trace with the names of what goes in and comes out.

    Attributes:
        layer: the layer's trace.
        kind: "dense", or the activation's name.
        number: the dense layers up to here, counted from 1.
        came: letter and layer number of its inputs.
        goes: letter and layer number of its outputs.
    """

    layer: LayerTrace
    kind: str
    number: int
    came: tuple[str, int | None]
    goes: tuple[str, int | None]


def places(traced: Trace) -> list[Place]:
    """Name what flows between the layers: x into the first; z out of a dense layer, a out of its activation."""
    found: list[Place] = []
    number = 0
    came: tuple[str, int | None] = ("x", None)
    for layer in traced.layers:
        is_dense = isinstance(layer.params, DenseParams)
        number += is_dense
        goes: tuple[str, int | None] = ("z" if is_dense else "a", number)
        kind = "dense" if is_dense else layer.name.partition(" ")[2]
        found.append(Place(layer, kind, number, came, goes))
        came = goes
    return found


def operand(value: Any) -> str:
    """Write a number as it stands inside a formula: in brackets where it has a sign."""
    text = short_number(float(value))
    return f"({text})" if text.startswith("−") else text


def weight_names(layer: int, neurons: int, inputs: int) -> list[list[str]]:
    """Name the weights of a layer, a list a neuron."""
    return [[symbol("W", layer, j, i) for i in range(1, inputs + 1)] for j in range(1, neurons + 1)]


def names_of(letter: tuple[str, int | None], count: int) -> list[str]:
    """Name the entries of a vector."""
    return [symbol(*letter, index) for index in range(1, count + 1)]


def worked_stages(traced: Trace, targets: Any, loss: str) -> list[Stage]:
    """Write out a pass through a network: forward, the loss, and back."""
    layers = places(traced)
    outputs = names_of(layers[-1].goes, traced.outputs.shape[1])
    rules, steps = loss_steps(loss, outputs, traced, targets)
    slopes, start = loss_start(loss, outputs, traced, targets)
    return [
        *(forward_stage(place) for place in layers),
        Stage(f"loss: {loss}", rules, tuple(Step(*step) for step in steps)),
        Stage("back: the gradient at the outputs", slopes, tuple(Step(*step) for step in start)),
        *(backward_stage(place) for place in reversed(layers)),
    ]


def forward_stage(place: Place) -> Stage:
    """Write out what a layer makes of its inputs."""
    if place.kind == "dense":
        bias = "" if place.layer.params.b is None else f" + {symbol('b', place.number)}ⱼ"
        rule = f"{symbol('z', place.number)}ⱼ = Σᵢ {symbol('W', place.number)}ⱼᵢ·{symbol(*place.came)}ᵢ{bias}"
        return Stage(f"forward: layer {place.number}, weighted sums", (rule,), tuple(_dense_forward(place)))
    rules = (f"{symbol(*place.goes)}ⱼ = {_applied(place, 'ⱼ')}", *_formula(place.kind, 0))
    return Stage(f"forward: layer {place.number}, {place.kind}", rules, tuple(_activation_forward(place)))


def backward_stage(place: Place) -> Stage:
    """Write out what a layer's gradients are, given those of its outputs."""
    z, a = symbol("z", place.number), symbol("a", place.number)
    if place.kind == "dense":
        came = symbol(*place.came)
        rules = [f"∂E/∂{symbol('W', place.number)}ⱼᵢ = ∂E/∂{z}ⱼ·{came}ᵢ"]
        if place.layer.params.b is not None:
            rules.append(f"∂E/∂{symbol('b', place.number)}ⱼ = ∂E/∂{z}ⱼ")
        if place.number > 1:
            rules.append(f"∂E/∂{came}ᵢ = Σⱼ ∂E/∂{z}ⱼ·{symbol('W', place.number)}ⱼᵢ")
        return Stage(f"back: layer {place.number}, weights", tuple(rules), tuple(_dense_backward(place)))
    if place.kind == "softmax":
        rule = f"∂E/∂{z}ⱼ = {a}ⱼ·(∂E/∂{a}ⱼ − Σₖ {a}ₖ·∂E/∂{a}ₖ)"
        return Stage(f"back: layer {place.number}, softmax", (rule,), tuple(_softmax_backward(place)))
    rules = [f"∂E/∂{z}ⱼ = ∂E/∂{a}ⱼ·{place.kind}′({z}ⱼ)", *_formula(place.kind, 1)]
    return Stage(
        f"back: layer {place.number}, {place.kind}", tuple(rules), tuple(_activation_backward(place))
    )


def _formula(kind: str, which: int) -> list[str]:
    formula = ACTIVATION_FORMULAS.get(kind, ("", ""))[which]
    return [formula] if formula else []


def _applied(place: Place, index: str) -> str:
    came = symbol(*place.came)
    return f"softmax({came}){index}" if place.kind == "softmax" else f"{place.kind}({came}{index})"


def _dense_forward(place: Place) -> Iterator[Step]:
    w, b, inputs = place.layer.params.w, place.layer.params.b, place.layer.inputs[0]
    came = names_of(place.came, len(inputs))
    weights = weight_names(place.number, w.shape[1], w.shape[0])
    for j, name in enumerate(names_of(place.goes, w.shape[1])):
        formula = [f"{weight}·{each}" for weight, each in zip(weights[j], came, strict=True)]
        numbers = [f"{operand(w[i, j])}·{operand(inputs[i])}" for i in range(len(inputs))]
        if b is not None:
            formula.append(symbol("b", place.number, j + 1))
            numbers.append(operand(b[j]))
        yield Step(name, " + ".join(formula), " + ".join(numbers), float(place.layer.outputs[0, j]))


def _activation_forward(place: Place) -> Iterator[Step]:
    inputs, outputs = place.layer.inputs[0], place.layer.outputs[0]
    came, goes = names_of(place.came, len(inputs)), names_of(place.goes, len(outputs))
    total = " + ".join(f"exp({short_number(float(each))})" for each in inputs)
    for j, name in enumerate(goes):
        entry = short_number(float(inputs[j]))
        if place.kind == "softmax":
            yield Step(name, f"exp({came[j]})/Σₖ", f"exp({entry})/({total})", float(outputs[j]))
        else:
            yield Step(name, f"{place.kind}({came[j]})", f"{place.kind}({entry})", float(outputs[j]))


def _dense_backward(place: Place) -> Iterator[Step]:
    layer, inputs, delta = place.layer, place.layer.inputs[0], place.layer.output_grad[0]
    came, goes = names_of(place.came, len(inputs)), names_of(place.goes, len(delta))
    weights = weight_names(place.number, len(delta), len(inputs))
    for j, neuron in enumerate(goes):
        slope = gradient_symbol(neuron)
        for i, weight in enumerate(weights[j]):
            yield Step(
                gradient_symbol(weight),
                f"{slope}·{came[i]}",
                f"{operand(delta[j])}·{operand(inputs[i])}",
                float(layer.param_grads.w[i, j]),
            )
    if layer.params.b is not None:
        for j, neuron in enumerate(goes):
            name = gradient_symbol(symbol("b", place.number, j + 1))
            yield Step(name, gradient_symbol(neuron), "", float(layer.param_grads.b[j]))
    if place.number > 1:
        yield from _handed_back(place, came, goes, weights)


def _handed_back(place: Place, came: list[str], goes: list[str], weights: list[list[str]]) -> Iterator[Step]:
    w, delta = place.layer.params.w, place.layer.output_grad[0]
    for i, name in enumerate(came):
        formula = [f"{gradient_symbol(neuron)}·{weights[j][i]}" for j, neuron in enumerate(goes)]
        numbers = [f"{operand(delta[j])}·{operand(w[i, j])}" for j in range(len(goes))]
        yield Step(
            gradient_symbol(name),
            " + ".join(formula),
            " + ".join(numbers),
            float(place.layer.input_grad[0, i]),
        )


def _activation_backward(place: Place) -> Iterator[Step]:
    layer = place.layer
    derivative = ACTIVATIONS[place.kind].derivative(layer.inputs[0], layer.outputs[0])
    came = names_of(place.came, len(derivative))
    for j, name in enumerate(names_of(place.goes, len(derivative))):
        yield Step(
            gradient_symbol(came[j]),
            f"{gradient_symbol(name)}·{place.kind}′({came[j]})",
            f"{operand(layer.output_grad[0, j])}·{operand(derivative[j])}",
            float(layer.input_grad[0, j]),
        )


def _softmax_backward(place: Place) -> Iterator[Step]:
    layer = place.layer
    chances, slopes = layer.outputs[0], layer.output_grad[0]
    came, goes = names_of(place.came, len(chances)), names_of(place.goes, len(chances))
    mean = " + ".join(f"{operand(chances[k])}·{operand(slopes[k])}" for k in range(len(chances)))
    for j, name in enumerate(goes):
        yield Step(
            gradient_symbol(came[j]),
            f"{name}·({gradient_symbol(name)} − Σₖ)",
            f"{operand(chances[j])}·({operand(slopes[j])} − ({mean}))",
            float(layer.input_grad[0, j]),
        )


def update_stage(traced: Trace, updated: Any, learning_rate: float) -> Stage:
    """Write out one step of gradient descent."""
    steps: list[Step] = []
    rate = short_number(learning_rate)
    dense = [place for place in places(traced) if place.kind == "dense"]
    after = [params for params in updated if isinstance(params, DenseParams)]
    for place, params in zip(dense, after, strict=True):
        for name, before, slope, value in _entries(place, params):
            numbers = f"{short_number(before)} − {rate}·{operand(slope)}"
            steps.append(Step(f"new {name}", f"{name} − η·{gradient_symbol(name)}", numbers, value))
    rules = ("new W = W − η·∂E/∂W, new b = b − η·∂E/∂b; all with the gradients from above",)
    return Stage(f"update, with learning rate η = {rate}", rules, tuple(steps))


def _entries(place: Place, updated: DenseParams) -> Iterator[tuple[str, float, float, float]]:
    """Each weight of a layer, then each bias: name, value, gradient and new value."""
    params, grads = place.layer.params, place.layer.param_grads
    inputs, neurons = params.w.shape
    for j, names in enumerate(weight_names(place.number, neurons, inputs)):
        for i, name in enumerate(names):
            yield name, *(float(each.w[i, j]) for each in (params, grads, updated))  # type: ignore[misc]
    for j in range(0 if params.b is None else neurons):
        name = symbol("b", place.number, j + 1)
        yield name, *(float(each.b[j]) for each in (params, grads, updated))  # type: ignore[misc]


def values_of(stages: list[Stage]) -> dict[str, float]:
    """Collect every number of some stages by its symbol."""
    return {step.name: step.value for stage in stages for step in stage.steps}


def layer_table(traced: Trace) -> str:
    """Describe a pass through a network too large to be written out: a line a layer, in norms."""
    rows = [("layer", "outputs", "smallest", "largest", "‖∂E/∂outputs‖", "‖∂E/∂W‖")]
    for layer in traced.layers:
        outputs, slopes = np.asarray(layer.outputs[0]), np.asarray(layer.output_grad[0])
        is_dense = isinstance(layer.params, DenseParams)
        grads = np.linalg.norm(layer.param_grads.w) if is_dense else None
        numbers = (outputs.min(), outputs.max(), np.linalg.norm(slopes), grads)
        shown = ("" if number is None else short_number(float(number), 4) for number in numbers)
        rows.append((layer.name, str(len(outputs)), *shown))  # type: ignore[arg-type]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
