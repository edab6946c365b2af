"""Measure the training loop against the same scan with jax.grad and against a jitted step in a Python loop."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from command_line import DeviceOptions, computing, option, parse_options, run
from run_folder import describe_machine

from jaxmlp import (
    LOSSES,
    ArgumentError,
    Batch,
    Network,
    init_state,
    make_optimizer,
    mlp,
    train_step,
    training,
)
from jaxmlp.backprop import Objective, l2_term, mean_loss
from jaxmlp.batching import minibatch_indices
from jaxmlp.network import propagate

DESCRIPTION = """Measure an epoch of training: the hand-written gradient inside one compiled scan, against the same
scan with jax.grad, and against a jitted step called from a Python loop. The three run in turn, in one process;
the figures to look at are the ratios of the medians."""

_option = partial(option, group="options")


@dataclass(frozen=True)
class BenchmarkOptions(DeviceOptions):
    """The options of a benchmark."""

    sizes: tuple[int, ...] = _option(
        (784, 300, 10), "features of input, hidden layers and output", metavar="SIZE"
    )
    examples: int = _option(60_000, "examples in the epoch, drawn at random", metavar="N")
    batch_size: int = _option(32, "minibatch size", metavar="N")
    repeats: int = _option(5, "epochs timed of each kind", metavar="N")
    out: str | None = _option(None, "json file for the result (default: none)", metavar="FILE")


class Case(NamedTuple):
    """One way to train an epoch.

    Attributes:
        name: what it is called in the table.
        epoch: state -> state.
        temporaries: bytes of temporaries of the compiled epoch, or None where it is not one program.
    """

    name: str
    epoch: Callable[[Any], Any]
    temporaries: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(BenchmarkOptions, DESCRIPTION, arguments)
    if min(options.examples, options.batch_size, options.repeats) < 1:
        raise ArgumentError("--examples, --batch-size and --repeats must be at least 1")
    if options.out is not None and not Path(options.out).absolute().parent.is_dir():
        raise ArgumentError(f"the folder of {options.out} is not there: make it, or choose another file")
    with computing(options.device, options.precision) as precision:
        return measure(options, precision)


def measure(options: BenchmarkOptions, precision: str | None) -> int:
    """Time every case in turn, and print ratios of the medians."""
    net = mlp(options.sizes, precision=precision)
    optimizer = make_optimizer("sgd", 0.1)
    data = draw_data(options)
    state = init_state(net, optimizer, jax.random.key(0))
    cases = [
        scan_case(
            "scan, hand-written gradient", training.objective_and_grads, net, optimizer, state, data, options
        ),
        scan_case("scan, jax.grad", autodiff_objective, net, optimizer, state, data, options),
        loop_case(net, optimizer, data, options),
        blind_loop_case(net, optimizer, data, options),
    ]
    seconds = time_in_turn(cases, state, options.repeats)
    result = summarise(cases, seconds, options)
    print(table(result))
    if options.out is not None:
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def draw_data(options: BenchmarkOptions) -> Batch:
    """Draw inputs in [0, 1] and labels; the time of an epoch does not depend on what they show."""
    random = np.random.default_rng(0)
    inputs = random.random((options.examples, options.sizes[0]), np.float32)
    labels = random.integers(0, options.sizes[-1], options.examples, np.int32)
    return Batch(jnp.asarray(inputs), jnp.asarray(labels))


def autodiff_objective(net: Network, params: Any, inputs: Any, targets: Any, **keywords: Any) -> Objective:
    """Compute what `objective_and_grads` computes, with `jax.value_and_grad` in place of backpropagation."""

    def value_and_outputs(candidate: Any) -> tuple[Any, Any]:
        outputs, _ = propagate(net, candidate, inputs, train=keywords["train"], key=keywords["key"])
        value = mean_loss(LOSSES[keywords["loss"]], outputs, targets, keywords["sample_weight"])
        return value + l2_term(net, candidate, keywords["l2"]), outputs

    (value, outputs), grads = jax.value_and_grad(value_and_outputs, has_aux=True)(params)
    return Objective(value, grads, outputs)


EPOCH_KEYWORDS: dict[str, Any] = {
    "loss": "softmax_cross_entropy",
    "metric": "accuracy",
    "l2": None,
    "transform": None,
}


def scan_case(
    name: str,
    gradient: Callable[..., Objective],
    net: Network,
    optimizer: Any,
    state: Any,
    data: Batch,
    options: BenchmarkOptions,
) -> Case:
    """Compile the package's epoch with one gradient function or the other."""
    original = training.objective_and_grads
    training.objective_and_grads = gradient
    try:
        epoch = jax.jit(
            lambda state, data: training.epoch_of_steps(
                net, optimizer, state, data, batch_size=options.batch_size, shuffle=True, **EPOCH_KEYWORDS
            )
        )
        compiled = epoch.lower(state, data).compile()
    finally:
        training.objective_and_grads = original
    memory = compiled.memory_analysis()
    return Case(
        name, lambda state: compiled(state, data)[0], None if memory is None else memory.temp_size_in_bytes
    )


def shuffled_minibatches(state: Any, options: BenchmarkOptions) -> Any:
    """Lay out an epoch for the Python loops, on the host."""
    key = jax.random.fold_in(state.key, state.epoch)
    indices, held = minibatch_indices(key, options.examples, options.batch_size)
    return zip(np.asarray(indices), np.asarray(held, np.float32), strict=True)


def loop_case(net: Network, optimizer: Any, data: Batch, options: BenchmarkOptions) -> Case:
    """Call the jitted `train_step` from a Python loop over NumPy minibatches, and keep its loss as a scan does."""
    inputs, targets = np.asarray(data.inputs), np.asarray(data.targets)

    def epoch(state: Any) -> Any:
        losses = []
        for rows, held in shuffled_minibatches(state, options):
            state, metrics = train_step(net, optimizer, state, Batch(inputs[rows], targets[rows], held))
            losses.append(float(metrics.loss))
        return state

    return Case("jitted step in a Python loop", epoch, None)


def blind_loop_case(net: Network, optimizer: Any, data: Batch, options: BenchmarkOptions) -> Case:
    """The same, but never looking at what a step reports, so that the host runs ahead of the device."""
    inputs, targets = np.asarray(data.inputs), np.asarray(data.targets)

    def epoch(state: Any) -> Any:
        for rows, held in shuffled_minibatches(state, options):
            state, _ = train_step(net, optimizer, state, Batch(inputs[rows], targets[rows], held))
        return state

    return Case("the same, loss never read", epoch, None)


def time_in_turn(cases: Sequence[Case], state: Any, repeats: int) -> dict[str, list[float]]:
    """Time the cases one after another, again and again, so that a noisy machine treats them alike."""
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for turn in range(repeats + 1):
        for case in cases:
            started = time.perf_counter()
            jax.block_until_ready(case.epoch(state))
            if turn > 0:  # the first turn warms up
                seconds[case.name].append(time.perf_counter() - started)
    return seconds


def summarise(
    cases: Sequence[Case], seconds: dict[str, list[float]], options: BenchmarkOptions
) -> dict[str, Any]:
    """Bring the timings to medians, spreads and ratios."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ours = medians[cases[0].name]
    return {
        "what": f"one epoch of {options.examples:,} examples, {'-'.join(map(str, options.sizes))}, "
        f"batch {options.batch_size}, SGD, float32 unless said otherwise",
        "command": ["python", *sys.argv],
        "machine": describe_machine(),
        "precision": options.precision,
        "repeats": options.repeats,
        "cases": [
            {
                "name": case.name,
                "median_seconds": medians[case.name],
                "least_seconds": min(seconds[case.name]),
                "largest_seconds": max(seconds[case.name]),
                "time_relative_to_first": medians[case.name] / ours,
                "temporaries_bytes": case.temporaries,
            }
            for case in cases
        ],
    }


def table(result: dict[str, Any]) -> str:
    """Write the result as a table for people."""
    lines = [
        result["what"],
        f"{result['machine']['processor']}, jax {result['machine']['versions']['jax']}",
        "",
    ]
    lines.append(f"{'':<30} {'median':>9} {'least to largest':>18} {'to the first':>13} {'temporaries':>12}")
    for case in result["cases"]:
        spread = f"{case['least_seconds']:.3f} to {case['largest_seconds']:.3f} s"
        memory = "" if case["temporaries_bytes"] is None else f"{case['temporaries_bytes'] / 2**20:.2f} MiB"
        ratio = f"{case['time_relative_to_first']:.2f} ×"
        lines.append(
            f"{case['name']:<30} {case['median_seconds']:>7.3f} s {spread:>18} {ratio:>13} {memory:>12}"
        )
    ours, autodiff, loop, _ = (case["median_seconds"] for case in result["cases"])
    lines.append(f"\nhand-written against jax.grad, the same scan: {ours / autodiff:.3f} of its time")
    lines.append(f"scan against a jitted step in a Python loop: {loop / ours:.2f} times as fast")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
