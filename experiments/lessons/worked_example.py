"""A two-layer network by hand, after the Burmese post "What are forward propagation and backward propagation?"

The post is by Htun Khaing Lynn, in the series "from learners to learners: Artificial Intelligence".
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import small_network
from chain_rule import Stage, layer_table, update_stage, values_of, worked_stages
from lesson_program import check_counts, check_rates, open_run
from post_comparison import PRINTED_RATES, comparison_text
from small_network import POST, Numbers, SmallNetwork

import jaxmlp
from jaxmlp import LOSSES, ArgumentError, Trace, make_optimizer, plots
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import computing, run
from jaxmlp.cli.text import counted
from jaxmlp.files import write_text
from jaxmlp.losses import HEADS
from jaxmlp.plots.graph import MOST_NEURONS, count_neurons, short_number

DESCRIPTION = f"""Follow one example through a small network, in float64, with the formula beside every number:
forward, the loss, the chain rule for every weight, the update; then train on it by plain gradient descent.

With no options: the network of the post, 2-3-2 with ReLU on both layers, and what the post got wrong.
--weights takes a file\n{small_network.FORMAT}."""

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
        (), "features of input, hidden layers and output (default: 2 3 2, or as in --weights)", metavar="SIZE"
    )
    activation: str = _network(USUAL_ACTIVATION, f"{', '.join(ACTIVATIONS)}; a parameter as leaky_relu:0.1")
    output_activation: str | None = _network(
        None,
        "an activation, softmax or none (default: none before a loss on logits, softmax before "
        "negative_log_likelihood, else that of --activation, as in the post)",
        metavar="NAME",
    )
    weights: str | None = _network(None, "JSON file of weights and biases", metavar="FILE")
    seed: int | None = _network(
        None, "draw what is not given (default: the post's numbers where they fit, else seed 0)"
    )
    inputs: tuple[float, ...] = _example((), "the example's inputs, as many as the first size")
    targets: tuple[float, ...] = _example((), "its targets, one an output, or its label", metavar="T")
    loss: str = _example(USUAL_LOSS, f"{', '.join(LOSSES)}")
    learning_rate: tuple[float, ...] = _training((0.01, 0.1), "one or more, each trained with")
    goal: float = _training(1e-4, "train until E is below this")
    most_updates: int = _training(10000, "give up after so many")
    out: str | None = _output(None, "run folder (default: runs/worked-example-TIME)", metavar="FOLDER")


class Descent(NamedTuple):
    """Plain gradient descent from the example's weights."""

    learning_rate: float  # η
    values: list[float]  # E before the first update and after each
    params: Any  # the parameters at the end
    reached: bool  # whether E came below the goal

    @property
    def updates(self) -> int:
        return len(self.values) - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options = read_options(arguments)
    with computing("cpu", "float64"):
        example = make_example(options)
        folder = open_run(options, "worked-example")
        traced = trace_example(example)
        text = worked_text(options, example, traced)
        save(folder, example, traced, text)
    print(f"{text}\n")
    print(f"run folder {folder}: graph.svg, graph.png, steps.txt, network.json (for --weights), trace.npz")
    return 0


def read_options(arguments: Sequence[str] | None) -> WorkedOptions:
    """Read and check the command line."""
    options, _ = parse_options(WorkedOptions, DESCRIPTION, arguments)
    check_rates(*options.learning_rate)
    check_counts({"--most-updates": options.most_updates})
    if not options.goal > 0:
        raise ArgumentError(f"--goal must be above 0, given {options.goal:g}")
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
    return small_network.make_network(
        numbers,
        activation=options.activation,
        output_activation=choose_output_activation(options),
        loss=options.loss,
        seed=options.seed or 0,
    )


def choose_numbers(options: WorkedOptions) -> Numbers:
    """Take weights from the file, the post or a draw, whichever is asked for."""
    if options.weights is not None:
        numbers = small_network.read_numbers(options.weights)
        if options.sizes not in ((), numbers.sizes):
            raise ArgumentError(
                f"--sizes {' '.join(map(str, options.sizes))} does not fit {options.weights}, which has "
                f"{' '.join(map(str, numbers.sizes))}: leave --sizes out"
            )
        return numbers
    sizes = options.sizes or POST.sizes
    if sizes != POST.sizes or options.seed is not None:
        return small_network.drawn_numbers(sizes, options.seed or 0)
    takes_values = LOSSES[options.loss].targets in ("values", "binary")
    return POST if takes_values else POST._replace(targets=None)


def choose_output_activation(options: WorkedOptions) -> str:
    """Take the output activation that is asked for, or the one that the loss calls for."""
    if options.output_activation is not None:
        return options.output_activation
    loss = LOSSES[options.loss]
    return HEADS.get(loss.takes or "", options.activation if loss.targets == "values" else "none")


def is_the_posts(options: WorkedOptions) -> bool:
    """Tell whether the example is the post's own, number for number."""
    return (
        (options.weights, options.seed, options.inputs, options.targets) == (None, None, (), ())
        and options.sizes in ((), POST.sizes)
        and (options.activation, choose_output_activation(options)) == ("relu", "relu")
        and options.loss == USUAL_LOSS
    )


def trace_example(example: SmallNetwork) -> Trace:
    """Go forward and back once."""
    return jaxmlp.trace(example.net, example.params, example.inputs, example.targets, loss=example.loss)


def worked_text(options: WorkedOptions, example: SmallNetwork, traced: Trace) -> str:
    """Write the whole example: the network, the pass, the update, the post's numbers and the training."""
    parts = [introduction(example)]
    if count_neurons(traced) > MOST_NEURONS:
        parts.append(
            f"more than {MOST_NEURONS} neurons are too many to write out; layer by layer:\n{layer_table(traced)}"
        )
    else:
        stages = worked_stages(traced, example.targets, example.loss)
        stages += [first_update(example, traced, rate) for rate in options.learning_rate]
        parts += [f"{place}. {stage}" for place, stage in enumerate(stages, start=1)]
    if is_the_posts(options):
        parts.append(compare_with_post(example, traced))
    descents = [descend(example, rate, options.goal, options.most_updates) for rate in options.learning_rate]
    return "\n\n".join([*parts, training_text(example, descents, options.goal)])


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


def compare_with_post(example: SmallNetwork, traced: Trace) -> str:
    """Set the post's numbers beside the right ones, for both of its learning rates."""
    values = values_of(worked_stages(traced, example.targets, example.loss))
    updates = {rate: values_of([first_update(example, traced, rate)]) for rate in PRINTED_RATES}
    return comparison_text(example, values, {rate: new["new W¹₁₁"] for rate, new in updates.items()})


def updates_of(example: SmallNetwork, learning_rate: float) -> Iterator[tuple[float, Any]]:
    """Yield E and the parameters at the example's weights, and after each update of plain gradient descent."""
    optimizer, batch = make_optimizer("sgd", learning_rate), (example.inputs, example.targets)
    state = jaxmlp.init_state(example.net, optimizer, jax.random.key(0))._replace(params=example.params)
    while True:
        yield float(jaxmlp.loss(example.net, state.params, *batch, loss=example.loss)), state.params
        state, _ = jaxmlp.train_step(example.net, optimizer, state, batch, loss=example.loss)


def descend(example: SmallNetwork, learning_rate: float, goal: float, most_updates: int) -> Descent:
    """Train until E is below the goal, or not finite any more."""
    values: list[float] = []
    for value, params in updates_of(example, learning_rate):
        values.append(value)
        if not math.isfinite(value) or value < goal or len(values) > most_updates:
            return Descent(learning_rate, values, params, value < goal)
    raise AssertionError("updates never end")


def first_update(example: SmallNetwork, traced: Trace, learning_rate: float) -> Stage:
    """Write out the first update."""
    _, (_, updated) = itertools.islice(updates_of(example, learning_rate), 2)
    return update_stage(traced, updated, learning_rate)


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
    updates = counted(descent.updates, "update")
    if descent.reached:
        return f"{updates}, E = {value}"
    if not math.isfinite(descent.values[-1]):
        return f"diverged after {updates}, E = {value}: try a smaller --learning-rate"
    return f"not reached in {updates}, E = {value}"


def save(folder: Path, example: SmallNetwork, traced: Trace, text: str) -> None:
    """Write the pictures, the text and every number into the run folder."""
    write_text(folder / "steps.txt", text + "\n")
    write_text(folder / "network.json", small_network.numbers_as_json(example))
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
