"""The loss of a worked example and its gradient at the outputs, written out term by term.

A loss of the registry that is not written out here is named with its value, so that any loss can be traced.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import LOSSES, Trace
from jaxmlp.plots.graph import gradient_symbol, short_number, symbol

Line = tuple[str, str, str, float]  # name, formula, numbers and value, as a Step has them
Lines = tuple[tuple[str, ...], list[Line]]  # rules, and the steps under them


class SumLoss(NamedTuple):
    """A loss that is a sum of one term an output.

    Attributes:
        term: E_k of an output {a} and its target {t}.
        slope: ∂E/∂a_k; {K} is the number of outputs.
        is_mean: whether the sum is divided by K.
    """

    term: str
    slope: str
    is_mean: bool = False


SUMS = {
    "half_squared_error": SumLoss("½·({t} − {a})²", "{a} − {t}"),
    "squared_error": SumLoss("({t} − {a})²", "2·({a} − {t})"),
    "mean_squared_error": SumLoss("({t} − {a})²", "2·({a} − {t})/{K}", is_mean=True),
    "absolute_error": SumLoss("|{t} − {a}|", "sign({a} − {t})"),
    "sigmoid_cross_entropy": SumLoss("ln(1 + exp({a})) − {t}·{a}", "1/(1 + exp(−{a})) − {t}"),
}


def loss_steps(loss: str, outputs: Sequence[str], traced: Trace, targets: Any) -> Lines:
    """Write out the loss."""
    if loss in SUMS:
        return _sum(SUMS[loss], loss, outputs, traced, targets)
    values, E = traced.outputs[0], float(traced.value)
    if loss == "softmax_cross_entropy":
        return _softmax_cross_entropy(outputs, traced, targets)
    if loss == "negative_log_likelihood":
        label = int(targets[0])
        numbers = f"−ln({short_number(float(values[label]))})"
        return (f"E = −ln {outputs[label]}, as the label is class {label}, counted from 0",), [
            ("E", f"−ln({outputs[label]})", numbers, E)
        ]
    return (f"E = {loss}({outputs[0]} … {outputs[-1]}; t)",), [("E", "", "", E)]


def loss_start(loss: str, outputs: Sequence[str], traced: Trace, targets: Any) -> Lines:
    """Write out the gradient of the loss at the outputs, where the way back begins."""
    output = outputs[0].rstrip("₀₁₂₃₄₅₆₇₈₉,")
    names, slopes = [gradient_symbol(name) for name in outputs], np.asarray(traced.output_grad[0])
    if loss in SUMS:
        slope = SUMS[loss].slope
        rule = f"∂E/∂{output}ₖ = " + slope.format(a=f"{output}ₖ", t="tₖ", K="K")
        texts = [_both(slope, name, k, traced, targets, len(outputs)) for k, name in enumerate(outputs)]
    elif loss == "softmax_cross_entropy":
        rule = f"∂E/∂{output}ₖ = pₖ·Σⱼ tⱼ − tₖ"
        hits, chances = _soft(targets, len(outputs)), _chances(traced)
        total = float(hits.sum())
        texts = [
            (
                f"{symbol('p', None, k + 1)}·Σⱼ tⱼ − {symbol('t', None, k + 1)}",
                f"{_n(p)}·{_n(total)} − {_n(t)}",
            )
            for k, (p, t) in enumerate(zip(chances, hits, strict=True))
        ]
    elif loss == "negative_log_likelihood":
        label = int(targets[0])
        rule = f"∂E/∂{output}ₖ = −1/{output}ₖ for the label's class, 0 for every other"
        texts = [
            (f"−1/{name}", f"−1/{_n(traced.outputs[0, k])}") if k == label else ("", "")
            for k, name in enumerate(outputs)
        ]
    else:
        rule = f"∂E/∂{output}ₖ is the gradient of {loss}"
        texts = [("", "")] * len(outputs)
    return (rule,), [
        (name, *text, float(value)) for name, text, value in zip(names, texts, slopes, strict=True)
    ]


def _n(value: Any) -> str:
    text = short_number(float(value))
    return f"({text})" if text.startswith("−") else text


def _both(pattern: str, name: str, k: int, traced: Trace, targets: Any, outputs: int) -> tuple[str, str]:
    """Fill a pattern with symbols, and with numbers."""
    a, t = _n(traced.outputs[0, k]), _n(targets[0, k])
    return (
        pattern.format(a=name, t=symbol("t", None, k + 1), K=outputs),
        pattern.format(a=a, t=t, K=outputs),
    )


def _sum(formula: SumLoss, loss: str, outputs: Sequence[str], traced: Trace, targets: Any) -> Lines:
    output = outputs[0].rstrip("₀₁₂₃₄₅₆₇₈₉,")
    lines: list[Line] = []
    for k, name in enumerate(outputs):
        only = slice(k, k + 1)
        value = LOSSES[loss].value(traced.outputs[:, only], jnp.asarray(targets)[:, only])
        texts = _both(formula.term, name, k, traced, targets, len(outputs))
        lines.append((symbol("E", None, k + 1), *texts, float(value[0])))
    total, numbers = (
        " + ".join(texts) for texts in zip(*((line[0], _n(line[3])) for line in lines), strict=True)
    )
    if formula.is_mean:
        total, numbers = f"({total})/{len(outputs)}", f"({numbers})/{len(outputs)}"
    lines.append(("E", total, numbers, float(traced.value)))
    share = "1/K·Σₖ Eₖ" if formula.is_mean else "Σₖ Eₖ"
    return (f"E = {share},  Eₖ = " + formula.term.format(a=f"{output}ₖ", t="tₖ"),), lines


def _chances(traced: Trace) -> np.ndarray:
    return np.asarray(jax.nn.softmax(traced.outputs[0]))


def _soft(targets: Any, outputs: int) -> np.ndarray:
    given = np.asarray(targets[0])
    return given if given.ndim else np.eye(outputs)[int(given)]


def _softmax_cross_entropy(outputs: Sequence[str], traced: Trace, targets: Any) -> Lines:
    output = outputs[0].rstrip("₀₁₂₃₄₅₆₇₈₉,")
    values, chances, hits = traced.outputs[0], _chances(traced), _soft(targets, len(outputs))
    total = " + ".join(f"exp({short_number(float(value))})" for value in values)
    lines: list[Line] = [
        (
            symbol("p", None, k + 1),
            f"exp({name})/Σⱼ",
            f"exp({short_number(float(values[k]))})/({total})",
            float(chances[k]),
        )
        for k, name in enumerate(outputs)
    ]
    hit = [k for k in range(len(outputs)) if hits[k] != 0]
    formula = " − ".join(f"{symbol('t', None, k + 1)}·ln({symbol('p', None, k + 1)})" for k in hit)
    numbers = " − ".join(f"{_n(hits[k])}·ln({_n(chances[k])})" for k in hit)
    lines.append(("E", f"−{formula}" if hit else "", f"−{numbers}" if hit else "", float(traced.value)))
    rules: tuple[str, ...] = (f"pₖ = exp({output}ₖ)/Σⱼ exp({output}ⱼ),  E = −Σₖ tₖ·ln(pₖ)",)
    if not np.ndim(targets[0]):
        rules += (f"the label is class {int(targets[0])}, counted from 0: its t is 1, every other 0",)
    return rules, lines
