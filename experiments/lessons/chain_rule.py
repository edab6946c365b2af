"""A pass forward and back, written out as a person would: every number with the formula it comes from.

W¹ⱼᵢ leads from input i to neuron j of layer 1, counted from 1; the package keeps it as `params.w[i, j]`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import ACTIVATIONS, LOSSES, DenseParams, Trace
from jaxmlp.cli.text import aligned
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
# Losses that are a sum of one term an output: the term of an output {a} and its target {t}, its slope, and whether
# the sum is divided by the number of outputs, {K}.
SUMS = {
    "half_squared_error": ("½·({t} − {a})²", "{a} − {t}", False),
    "squared_error": ("({t} − {a})²", "2·({a} − {t})", False),
    "mean_squared_error": ("({t} − {a})²", "2·({a} − {t})/{K}", True),
    "absolute_error": ("|{t} − {a}|", "sign({a} − {t})", False),
    "sigmoid_cross_entropy": ("ln(1 + exp({a})) − {t}·{a}", "1/(1 + exp(−{a})) − {t}", False),
}
Named = tuple[str, float]  # a symbol and its value


class Step(NamedTuple):
    """One number of a worked example."""

    name: str  # its symbol, as "∂E/∂W¹₂₁"
    formula: str  # where it comes from, in symbols; empty where the symbol says it
    numbers: str  # the same with the numbers put in; empty where there is nothing to put in
    value: float  # the number itself, as the package computed it

    def __str__(self) -> str:
        """The step as one line, or as several where it would be too long."""
        parts = [part for part in (self.formula, self.numbers, short_number(self.value)) if part]
        if len(parts) > 1 and parts[-1] == parts[-2]:
            parts.pop()  # "= 0.43 = 0.43"
        line = " = ".join((self.name, *parts))
        return line if len(line) <= WIDEST else f"{self.name}\n" + "\n".join(f"  = {part}" for part in parts)


class Stage(NamedTuple):
    """Steps that belong together, in the order in which they can be computed, under a title and their rules."""

    title: str
    rules: Sequence[str]
    steps: Sequence[Step]

    def __str__(self) -> str:
        """The stage as text, indented under its title."""
        lines = [*self.rules, *("\n".join(map(str, self.steps)).split("\n"))]
        return "\n".join([self.title, *(f"    {line}" for line in lines)])


class Place(NamedTuple):
    """A layer of a trace, with a name for every number that goes in and comes out."""

    kind: str  # "dense", or the activation's name
    number: int  # the dense layers up to here, counted from 1
    came: str  # the symbol of its inputs, as "x"
    goes: str  # the symbol of its outputs, as "z¹"
    inputs: list[Named]
    outputs: list[Named]
    slopes: list[Named]  # ∂E/∂outputs, which came back
    handed: list[Named]  # ∂E/∂inputs, which goes on
    params: Any
    grads: Any


# --- names and numbers ---


def named(letter: str, layer: int | None, values: Any) -> list[Named]:
    """Name the entries of a vector."""
    return [(symbol(letter, layer, place), float(value)) for place, value in enumerate(values, start=1)]


def named_params(layer: int, params: DenseParams) -> list[Named]:
    """Name the weights of a layer, neuron by neuron, and then its biases."""
    inputs, neurons = params.w.shape
    weights = [
        (symbol("W", layer, j + 1, i + 1), float(params.w[i, j]))
        for j in range(neurons)
        for i in range(inputs)
    ]
    return weights if params.b is None else weights + named("b", layer, params.b)


def slopes_of(names: Iterable[Named], values: Any) -> list[Named]:
    """Name the gradients of what has names."""
    return [(gradient_symbol(name), float(value)) for (name, _), value in zip(names, values, strict=True)]


def both(pattern: str, **entries: Named) -> tuple[str, str]:
    """Fill a pattern with symbols, and with numbers; `{x}` puts a number with a sign in brackets, `{x_}` does not."""
    symbols: dict[str, str] = {}
    numbers: dict[str, str] = {}
    for key, (name, value) in entries.items():
        text = short_number(value)
        symbols |= {key: name, f"{key}_": name}
        numbers |= {key: f"({text})" if text.startswith("−") else text, f"{key}_": text}
    return pattern.format(**symbols), pattern.format(**numbers)


def joined(texts: Iterable[tuple[str, str]], sign: str = " + ") -> tuple[str, str]:
    """Add up terms, in symbols and in numbers."""
    formulas, numbers = zip(*texts, strict=True)
    return sign.join(formulas), sign.join(numbers)


def places(traced: Trace) -> list[Place]:
    """Name what flows between the layers: x into the first; z out of a dense layer, a out of its activation."""
    found: list[Place] = []
    number, came = 0, "x"
    inputs = named("x", None, traced.layers[0].inputs[0])
    for layer in traced.layers:
        is_dense = isinstance(layer.params, DenseParams)
        number += is_dense
        letter = "z" if is_dense else "a"
        kind = "dense" if is_dense else layer.name.partition(" ")[2]
        outputs = named(letter, number, layer.outputs[0])
        slopes, handed = slopes_of(outputs, layer.output_grad[0]), slopes_of(inputs, layer.input_grad[0])
        goes, flows = symbol(letter, number), (inputs, outputs, slopes, handed)
        found.append(Place(kind, number, came, goes, *flows, layer.params, layer.param_grads))
        came, inputs = goes, outputs
    return found


# --- the stages ---


def worked_stages(traced: Trace, targets: Any, loss: str) -> list[Stage]:
    """Write out a pass through a network: forward, the loss, and back."""
    layers = places(traced)
    (rules, steps), (slope_rule, texts) = loss_texts(loss, layers[-1], traced, targets)
    start = [Step(name, *text, slope) for (name, slope), text in zip(layers[-1].slopes, texts, strict=True)]
    return [
        *map(forward_stage, layers),
        Stage(f"loss: {loss}", rules, steps),
        Stage("back: the gradient at the outputs", [slope_rule], start),
        *map(backward_stage, reversed(layers)),
    ]


def forward_stage(place: Place) -> Stage:
    """Write out what a layer makes of its inputs."""
    title, came, goes = f"forward: layer {place.number}", place.came, place.goes
    if place.kind == "dense":
        bias = "" if place.params.b is None else f" + {symbol('b', place.number)}ⱼ"
        rule = f"{goes}ⱼ = Σᵢ {symbol('W', place.number)}ⱼᵢ·{came}ᵢ{bias}"
        return Stage(f"{title}, weighted sums", [rule], list(_dense_forward(place)))
    is_softmax = place.kind == "softmax"
    rule = f"{goes}ⱼ = " + (f"softmax({came})ⱼ" if is_softmax else f"{place.kind}({came}ⱼ)")
    steps = _softmax_forward(place) if is_softmax else _activation_forward(place)
    return Stage(f"{title}, {place.kind}", [rule, *_formula(place.kind, 0)], list(steps))


def backward_stage(place: Place) -> Stage:
    """Write out what a layer's gradients are, given those of its outputs."""
    title, came, goes = f"back: layer {place.number}", place.came, place.goes
    if place.kind == "dense":
        w, b = symbol("W", place.number), symbol("b", place.number)
        rules = [f"∂E/∂{w}ⱼᵢ = ∂E/∂{goes}ⱼ·{came}ᵢ"]
        rules += [] if place.params.b is None else [f"∂E/∂{b}ⱼ = ∂E/∂{goes}ⱼ"]
        rules += [f"∂E/∂{came}ᵢ = Σⱼ ∂E/∂{goes}ⱼ·{w}ⱼᵢ"] if place.number > 1 else []
        return Stage(f"{title}, weights", rules, list(_dense_backward(place)))
    if place.kind == "softmax":
        rule = f"∂E/∂{came}ⱼ = {goes}ⱼ·(∂E/∂{goes}ⱼ − Σₖ {goes}ₖ·∂E/∂{goes}ₖ)"
        return Stage(f"{title}, softmax", [rule], list(_softmax_backward(place)))
    rule = f"∂E/∂{came}ⱼ = ∂E/∂{goes}ⱼ·{place.kind}′({came}ⱼ)"
    steps = list(_activation_backward(place))
    return Stage(f"{title}, {place.kind}", [rule, *_formula(place.kind, 1)], steps)


def _formula(kind: str, which: int) -> list[str]:
    formula = ACTIVATION_FORMULAS.get(kind, ("", ""))[which]
    return [formula] if formula else []


def _dense_forward(place: Place) -> Iterator[Step]:
    weights, width = named_params(place.number, place.params), len(place.inputs)
    for j, (name, value) in enumerate(place.outputs):
        row = weights[j * width : (j + 1) * width]
        terms = [both("{w}·{x}", w=w, x=x) for w, x in zip(row, place.inputs, strict=True)]
        if place.params.b is not None:
            terms.append(both("{b}", b=weights[len(place.outputs) * width + j]))
        yield Step(name, *joined(terms), value)


def _dense_backward(place: Place) -> Iterator[Step]:
    weights, width = named_params(place.number, place.params), len(place.inputs)
    slopes = slopes_of(weights, [value for _, value in named_params(place.number, place.grads)])
    for at, (name, value) in enumerate(slopes):
        if at < width * len(place.outputs):
            j, i = divmod(at, width)
            yield Step(name, *both("{d}·{x}", d=place.slopes[j], x=place.inputs[i]), value)
        else:
            yield Step(name, place.slopes[at - width * len(place.outputs)][0], "", value)
    if place.number > 1:
        for i, (name, value) in enumerate(place.handed):
            terms = (both("{d}·{w}", d=d, w=weights[j * width + i]) for j, d in enumerate(place.slopes))
            yield Step(name, *joined(terms), value)


def _activation_forward(place: Place) -> Iterator[Step]:
    for (name, value), z in zip(place.outputs, place.inputs, strict=True):
        yield Step(name, *both(f"{place.kind}({{z_}})", z=z), value)


def _activation_backward(place: Place) -> Iterator[Step]:
    z, a = (jnp.asarray([value for _, value in flow]) for flow in (place.inputs, place.outputs))
    derivatives = ACTIVATIONS[place.kind].derivative(z, a)
    for (name, value), (z_name, _), d, s in zip(
        place.handed, place.inputs, place.slopes, derivatives, strict=True
    ):
        yield Step(name, *both("{d}·{s}", d=d, s=(f"{place.kind}′({z_name})", float(s))), value)


def _softmax_forward(place: Place) -> Iterator[Step]:
    _, total = joined(both("exp({z_})", z=z) for z in place.inputs)
    for (name, value), z in zip(place.outputs, place.inputs, strict=True):
        formula, numbers = both("exp({z_})", z=z)
        yield Step(name, f"{formula}/Σₖ exp({place.came}ₖ)", f"{numbers}/({total})", value)


def _softmax_backward(place: Place) -> Iterator[Step]:
    pairs = list(zip(place.outputs, place.slopes, strict=True))
    _, mean = joined(both("{a}·{d}", a=a, d=d) for a, d in pairs)
    for (name, value), (a, d) in zip(place.handed, pairs, strict=True):
        formula, numbers = both("{a}·({d} − ", a=a, d=d)
        total = f"Σₖ {place.goes}ₖ·∂E/∂{place.goes}ₖ"
        yield Step(name, f"{formula}{total})", f"{numbers}({mean}))", value)


def update_stage(traced: Trace, updated: Any, learning_rate: float) -> Stage:
    """Write out one step of gradient descent."""
    steps: list[Step] = []
    after = [params for params in updated if isinstance(params, DenseParams)]
    dense = [place for place in places(traced) if place.kind == "dense"]
    for place, params in zip(dense, after, strict=True):
        trees = (place.params, place.grads, params)
        for w, (name, grad), (_, new) in zip(
            *(named_params(place.number, tree) for tree in trees), strict=True
        ):
            texts = both("{w_} − {r}·{g}", w=w, r=("η", learning_rate), g=(gradient_symbol(name), grad))
            steps.append(Step(f"new {name}", *texts, new))
    rule = "new W = W − η·∂E/∂W, new b = b − η·∂E/∂b; all with the gradients from above"
    return Stage(f"update, with learning rate η = {short_number(learning_rate)}", [rule], steps)


# --- the loss, and its gradient at the outputs ---

Texts = list[tuple[str, str]]  # a formula in symbols and in numbers, for each output


def loss_texts(
    loss: str, last: Place, traced: Trace, targets: Any
) -> tuple[tuple[list[str], list[Step]], tuple[str, Texts]]:
    """Write out the loss, and the rule and texts of its gradient at the outputs; one without a formula is named."""
    if loss in SUMS:
        return _sum(loss, last, traced, targets)
    if loss == "softmax_cross_entropy":
        return _softmax_cross_entropy(last, traced, targets)
    E, slope = float(traced.value), f"∂E/∂{last.goes}ₖ"
    if loss == "negative_log_likelihood":
        label = int(targets[0])
        output = last.outputs[label]
        rule = f"E = −ln {output[0]}, as the label is class {label}, counted from 0"
        texts = [("", "")] * len(last.outputs)
        texts[label] = both("−1/{a}", a=output)
        steps = [Step("E", *both("−ln({a_})", a=output), E)]
        return ([rule], steps), (f"{slope} = −1/{last.goes}ₖ for the label's class, 0 for every other", texts)
    rule = f"E = {loss}({last.outputs[0][0]} … {last.outputs[-1][0]}; t)"
    texts = [("", "")] * len(last.outputs)
    return ([rule], [Step("E", "", "", E)]), (f"{slope} is the gradient of {loss}", texts)


def _sum(loss: str, last: Place, traced: Trace, targets: Any) -> Any:
    term, slope, is_mean = SUMS[loss]
    K = len(last.outputs)
    pairs = list(zip(last.outputs, named("t", None, targets[0]), strict=True))
    steps = []
    for k, (a, t) in enumerate(pairs):
        value = LOSSES[loss].value(traced.outputs[:, k : k + 1], jnp.asarray(targets)[:, k : k + 1])
        steps.append(Step(symbol("E", None, k + 1), *both(term, a=a, t=t), float(value[0])))
    total = joined(both("{E}", E=(step.name, step.value)) for step in steps)
    if is_mean:
        total = (f"({total[0]})/{K}", f"({total[1]})/{K}")
    steps.append(Step("E", *total, float(traced.value)))
    general = {"a": f"{last.goes}ₖ", "t": "tₖ", "K": "K"}
    rule = f"E = {'1/K·' * is_mean}Σₖ Eₖ,  Eₖ = " + term.format(**general)
    texts = [both(slope, a=a, t=t, K=(str(K), K)) for a, t in pairs]
    return ([rule], steps), (f"∂E/∂{last.goes}ₖ = " + slope.format(**general), texts)


def _softmax_cross_entropy(last: Place, traced: Trace, targets: Any) -> Any:
    is_label, z = np.ndim(targets[0]) == 0, last.goes
    given = np.eye(len(last.outputs))[int(targets[0])] if is_label else targets[0]
    chances, hits = named("p", None, jax.nn.softmax(traced.outputs[0])), named("t", None, given)
    _, total = joined(both("exp({z_})", z=each) for each in last.outputs)
    steps = []
    for (name, value), each in zip(chances, last.outputs, strict=True):
        formula, numbers = both("exp({z_})", z=each)
        steps.append(Step(name, f"{formula}/Σⱼ exp({z}ⱼ)", f"{numbers}/({total})", value))
    pairs = list(zip(chances, hits, strict=True))
    terms = [both("{t}·ln({p})", t=t, p=p) for p, t in pairs if t[1] != 0]
    formula, numbers = (f"−{text}" for text in joined(terms, " − ")) if terms else ("", "")
    steps.append(Step("E", formula, numbers, float(traced.value)))
    rules = [f"pₖ = exp({z}ₖ)/Σⱼ exp({z}ⱼ),  E = −Σₖ tₖ·ln(pₖ)"]
    if is_label:
        rules.append(f"the label is class {int(targets[0])}, counted from 0: its t is 1, every other 0")
    pattern = "{p} − {t}" if is_label else "{p}·{s} − {t}"
    hit = ("Σⱼ tⱼ", float(np.sum(given)))
    rule = f"∂E/∂{z}ₖ = " + pattern.format(p="pₖ", s="Σⱼ tⱼ", t="tₖ")
    return (rules, steps), (rule, [both(pattern, p=p, s=hit, t=t) for p, t in pairs])


# --- all of it together ---


def values_of(stages: Iterable[Stage]) -> dict[str, float]:
    """Collect every number of some stages by its symbol."""
    return {step.name: step.value for stage in stages for step in stage.steps}


def layer_table(traced: Trace) -> str:
    """Describe a pass through a network too large to be written out: a line a layer, in norms."""
    rows = [["layer", "outputs", "smallest", "largest", "‖∂E/∂outputs‖", "‖∂E/∂W‖"]]
    for layer in traced.layers:
        outputs = np.asarray(layer.outputs[0])
        numbers = [outputs.min(), outputs.max(), np.linalg.norm(layer.output_grad[0])]
        if isinstance(layer.params, DenseParams):
            numbers.append(np.linalg.norm(layer.param_grads.w))
        shown = [short_number(float(number), 4) for number in numbers]
        rows.append([layer.name, str(len(outputs)), *shown, *[""] * (4 - len(shown))])
    return aligned(rows)
