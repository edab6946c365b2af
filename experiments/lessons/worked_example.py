"""Follow one example through a small network by hand: every number forward, back and in the update."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from chain_rule import Stage, layer_table, update_stage, values_of, worked_stages
from post_comparison import PRINTED_RATES, comparison_text
from small_network import (
    FORMAT,
    POST_SIZES,
    Numbers,
    SmallNetwork,
    drawn_numbers,
    make_network,
    numbers_as_json,
    post_numbers,
    read_numbers,
)

from jaxmlp import (
    LOSSES,
    ArgumentError,
    Trace,
    TrainState,
    init_state,
    loss,
    make_optimizer,
    plots,
    trace,
    train_step,
)
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.cli.options import option, parse_options
from jaxmlp.cli.run import describe_machine, make_run_folder, write_config
from jaxmlp.cli.session import computing, run
from jaxmlp.plots.graph import MOST_NEURONS, count_neurons, short_number

DESCRIPTION = f"""Follow one example through a small network, in float64, with the formula beside every number:
forward, the loss, the chain rule for every weight, the update; then train on it by plain gradient descent.

With no options: the network of the post, 2-3-2 with ReLU on both layers, and what the post got wrong.
--weights takes a file\n{FORMAT}."""

_network = partial(option, group="network")
_example = partial(option, group="example")
_training = partial(option, group="training")
_output = partial(option, group="output")
USUAL_ACTIVATION, USUAL_LOSS = "relu", "half_squared_error"
LONGEST_VECTOR = 10
SHOWN_UPDATES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True)
class WorkedOptions:
    """The options of a worked example."""

    sizes: tuple[int, ...] = _network(
        (),
        "features of input, hidden layers and output (default: 2 3 2, or as in --weights)",
        metavar="SIZE",
    )
    activation: str = _network(
        USUAL_ACTIVATION,
        f"{', '.join(ACTIVATIONS)}; a parameter behind a colon, as leaky_relu:0.1",
        metavar="NAME",
    )
    output_activation: str | None = _network(
        None,
        "an activation, softmax or none (default: none before a loss on logits, softmax before "
        "negative_log_likelihood, else that of --activation, as in the post)",
        metavar="NAME",
    )
    weights: str | None = _network(None, "JSON file of weights and biases", metavar="FILE")
    seed: int | None = _network(
        None, "draw what is not given (default: the post's numbers where they fit, else seed 0)", metavar="N"
    )
    inputs: tuple[float, ...] = _example((), "the example's inputs, as many as the first size", metavar="X")
    targets: tuple[float, ...] = _example(
        (), "its targets, as many as the last size, or its label", metavar="T"
    )
    loss: str = _example(USUAL_LOSS, f"{', '.join(LOSSES)}", metavar="NAME")
    learning_rate: tuple[float, ...] = _training((0.01, 0.1), "one or more, each trained with", metavar="X")
    goal: float = _training(1e-4, "train until E is below this", metavar="X")
    most_updates: int = _training(10000, "give up after so many", metavar="N")
    out: str | None = _output(None, "run folder (default: runs/worked-example-TIME)", metavar="FOLDER")


class Descent(NamedTuple):
    """Plain gradient descent from the example's weights.

    Attributes:
        learning_rate: η.
        updates: how many were made.
        values: E before the first update and after each.
        params: the parameters at the end.
        reached: whether E came below the goal.
    """

    learning_rate: float
    updates: int
    values: list[float]
    params: Any
    reached: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options = read_options(arguments)
    with computing("cpu", "float64"):
        example = make_example(options)
        folder = make_run_folder(options.out, "worked-example")
        traced = trace_example(example)
        text = worked_text(options, example, traced)
        save(folder, options, example, traced, text)
        print(text)
    print(f"\nrun folder {folder}: graph.svg, graph.png, steps.txt, network.json (for --weights), trace.npz")
    return 0


def read_options(arguments: Sequence[str] | None) -> WorkedOptions:
    """Read and check the command line."""
    options, _ = parse_options(WorkedOptions, DESCRIPTION, arguments)
    if not options.learning_rate or any(not (math.isfinite(r) and r > 0) for r in options.learning_rate):
        given = " ".join(map(str, options.learning_rate)) or "nothing"
        raise ArgumentError(f"--learning-rate takes finite numbers above 0, given {given}: try 0.1")
    if not options.goal > 0 or options.most_updates < 1:
        raise ArgumentError(
            f"--goal must be above 0 and --most-updates at least 1, given {options.goal:g} and {options.most_updates}"
        )
    if options.seed is not None and options.seed < 0:
        raise ArgumentError(f"--seed must be at least 0, given {options.seed}")
    return options


def make_example(options: WorkedOptions) -> SmallNetwork:
    """Put together the network and the example that the options ask for; x64 must be enabled."""
    numbers = choose_numbers(options)
    if options.inputs:
        numbers = numbers._replace(inputs=np.array(options.inputs))
    if options.targets:
        numbers = numbers._replace(targets=np.array(options.targets))
    return make_network(
        numbers,
        activation=options.activation,
        output_activation=choose_output_activation(options),
        loss=options.loss,
        seed=options.seed or 0,
    )


def choose_numbers(options: WorkedOptions) -> Numbers:
    """Take weights from the file, the post or a draw, whichever is asked for."""
    if options.weights is not None:
        numbers = read_numbers(options.weights)
        if options.sizes not in ((), numbers.sizes):
            raise ArgumentError(
                f"--sizes {' '.join(map(str, options.sizes))} does not fit {options.weights}, which has "
                f"{' '.join(map(str, numbers.sizes))}: leave --sizes out"
            )
        return numbers
    sizes = options.sizes or POST_SIZES
    if sizes != POST_SIZES or options.seed is not None:
        return drawn_numbers(sizes, options.seed or 0)
    takes_values = LOSSES[options.loss].targets in ("values", "binary")
    return post_numbers() if takes_values else post_numbers()._replace(targets=None)


def choose_output_activation(options: WorkedOptions) -> str:
    """Take the output activation that is asked for, or the one that the loss calls for."""
    if options.output_activation is not None:
        return options.output_activation
    if options.loss == "negative_log_likelihood":
        return "softmax"
    return options.activation if LOSSES[options.loss].targets == "values" else "none"


def is_the_posts(options: WorkedOptions) -> bool:
    """Tell whether the example is the post's own, number for number."""
    return (
        (options.weights, options.seed, options.inputs, options.targets) == (None, None, (), ())
        and options.sizes in ((), POST_SIZES)
        and (options.activation, choose_output_activation(options)) == ("relu", "relu")
        and options.loss == USUAL_LOSS
    )


def trace_example(example: SmallNetwork) -> Trace:
    """Go forward and back once."""
    return trace(example.net, example.params, example.inputs, example.targets, loss=example.loss)


def worked_text(options: WorkedOptions, example: SmallNetwork, traced: Trace) -> str:
    """Write the whole example: the network, the pass, the update, the post's numbers and the training."""
    parts = [introduction(example)]
    descents = [descend(example, rate, options.goal, options.most_updates) for rate in options.learning_rate]
    if count_neurons(traced) > MOST_NEURONS:
        parts.append(
            f"more than {MOST_NEURONS} neurons are too many to write out; layer by layer:\n{layer_table(traced)}"
        )
    else:
        stages = worked_stages(traced, example.targets, example.loss)
        updates = [first_update(example, traced, rate) for rate in options.learning_rate]
        parts += number_stages([*stages, *updates])
    if is_the_posts(options):
        parts.append(compare_with_post(example, traced))
    parts.append(training_text(example, descents, options.goal))
    return "\n\n".join(parts)


def introduction(example: SmallNetwork) -> str:
    """Say what is followed, and in which notation."""
    is_label = example.targets.ndim == 1
    targets = f"class {int(example.targets[0])}" if is_label else vector_text(example.targets[0])
    return (
        f"{example.net}\n\n"
        f"example: x = {vector_text(example.inputs[0])}, t = {targets}; loss {example.loss}\n"
        "Wˡⱼᵢ leads from input i to neuron j of layer l, bˡⱼ is that neuron's bias; in the code they are\n"
        "w[i, j] and b[j] of the layer's parameters, counted from 0. Numbers are computed in float64 and\n"
        "shown with 6 digits; one as small as 1e-17 is a 0 that rounding has moved."
    )


def vector_text(values: Any) -> str:
    """Write a vector, or the beginning of a long one."""
    shown = [short_number(float(each)) for each in values[:LONGEST_VECTOR]]
    more = f", … {len(values)} numbers" if len(values) > LONGEST_VECTOR else ""
    return f"({', '.join(shown)}{more})"


def number_stages(stages: Sequence[Stage]) -> list[str]:
    """Write stages with a number before each title."""
    return [f"{place}. {stage}" for place, stage in enumerate(stages, start=1)]


def compare_with_post(example: SmallNetwork, traced: Trace) -> str:
    """Set the post's numbers beside the right ones, for both of its learning rates."""
    values = values_of(worked_stages(traced, example.targets, example.loss))
    updated = {rate: values_of([first_update(example, traced, rate)]) for rate in PRINTED_RATES}
    return comparison_text(example, values, updated)


def descend(example: SmallNetwork, learning_rate: float, goal: float, most_updates: int) -> Descent:
    """Train by plain gradient descent until E is below the goal, or not finite any more."""
    state = first_state(example, learning_rate)
    values = [value_of(example, state)]
    while math.isfinite(values[-1]) and values[-1] >= goal and len(values) <= most_updates:
        state = update(example, state, learning_rate)
        values.append(value_of(example, state))
    return Descent(learning_rate, len(values) - 1, values, state.params, values[-1] < goal)


def first_state(example: SmallNetwork, learning_rate: float) -> TrainState:
    """Stand at the example's weights, before the first update."""
    optimizer = make_optimizer("sgd", learning_rate)
    fresh = init_state(example.net, optimizer, jax.random.key(0))
    return fresh._replace(params=example.params, opt_state=optimizer.init(example.params))


def update(example: SmallNetwork, state: TrainState, learning_rate: float) -> TrainState:
    """Make one update on the example."""
    batch = (example.inputs, example.targets)
    return train_step(example.net, make_optimizer("sgd", learning_rate), state, batch, loss=example.loss)[0]


def value_of(example: SmallNetwork, state: TrainState) -> float:
    """Compute E."""
    return float(loss(example.net, state.params, example.inputs, example.targets, loss=example.loss))


def first_update(example: SmallNetwork, traced: Trace, learning_rate: float) -> Stage:
    """Write out the first update."""
    updated = update(example, first_state(example, learning_rate), learning_rate)
    return update_stage(traced, updated.params, learning_rate)


def training_text(example: SmallNetwork, descents: Sequence[Descent], goal: float) -> str:
    """Report every descent."""
    lines = [f"training: plain gradient descent on all weights and biases, until E < {goal:g}"]
    for descent in descents:
        outputs = trace_example(example._replace(params=descent.params)).outputs[0]
        lines.append(f"    η = {descent.learning_rate:g}: {outcome(descent)}; outputs {vector_text(outputs)}")
        some = [step for step in SHOWN_UPDATES if step < descent.updates] + [descent.updates]
        course = ", ".join(f"{short_number(descent.values[step], 3)} ({step})" for step in some)
        lines.append(f"        E after so many updates: {course}")
    return "\n".join(lines)


def outcome(descent: Descent) -> str:
    """Say how a descent ended."""
    value = short_number(descent.values[-1])
    updates = f"{descent.updates} update{'' if descent.updates == 1 else 's'}"
    if descent.reached:
        return f"{updates}, E = {value}"
    if not math.isfinite(descent.values[-1]):
        return f"diverged after {updates}, E = {value}: try a smaller --learning-rate"
    return f"not reached in {updates}, E = {value}"


def save(folder: Path, options: WorkedOptions, example: SmallNetwork, traced: Trace, text: str) -> None:
    """Write the pictures, the text and every number into the run folder."""
    write_config(
        folder,
        {
            "options": dataclasses.asdict(options),
            "command": ["python", *sys.argv],
            "machine": describe_machine(),
        },
    )
    (folder / "steps.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "network.json").write_text(numbers_as_json(example), encoding="utf-8")
    np.savez(folder / "trace.npz", allow_pickle=False, **named_arrays(traced))
    figure = plots.computational_graph(traced, targets=example.targets, loss=example.loss)
    for ending in ("svg", "png"):
        plots.save(figure, folder / f"graph.{ending}")


def named_arrays(traced: Trace) -> dict[str, np.ndarray]:
    """Name every array of a trace, as "0 dense/output_grad" and "0 dense/param_grads.w"."""
    arrays = {"value": np.asarray(traced.value)}
    for layer in traced.layers:
        for name in ("inputs", "outputs", "output_grad", "input_grad"):
            arrays[f"{layer.name}/{name}"] = np.asarray(getattr(layer, name))
        for name in ("params", "param_grads"):
            for path, leaf in jax.tree.leaves_with_path(getattr(layer, name)):
                arrays[f"{layer.name}/{name}{jax.tree_util.keystr(path)}"] = np.asarray(leaf)
    return arrays


if __name__ == "__main__":
    run(main)
