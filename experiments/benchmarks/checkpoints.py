"""Measure what checkpoints cost: the time of an epoch with one asked for after every epoch, and with none, in turns."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
from cases import Data, digits, mnist
from measurement import MnistOptions, Part, Result, check, describe, finish, tell

from jaxmlp import EpochReport, FitState, TrainState, fit, mlp
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import computing, run
from jaxmlp.cli.text import seconds
from jaxmlp.saving import CheckpointWriter, fit_arrays

CASES = {
    "MNIST, 784-300-10, minibatches of 32": ((784, 300, 10), mnist),
    "digits, 64-128-10, minibatches of 32": ((64, 128, 10), digits),
}

DESCRIPTION = """Measure the time of an epoch with a checkpoint asked for after every epoch, and with none.
Runs with and without take turns. The first epoch of each, which may compile, is left out. The time that the last
checkpoint takes to be whole is shared among the epochs. As in jaxmlp train no epoch waits for a checkpoint. Where
epochs are shorter than its writing some have none, and it is told how many there were."""


@dataclass(frozen=True)
class CheckpointOptions(MnistOptions):
    """The options of the measurement."""

    epochs: int = option(10, "of each run", group="options")
    repeats: int = option(5, "runs with and runs without", group="options")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(CheckpointOptions, DESCRIPTION, arguments)
    check(options, epochs=2, repeats=1)
    result = describe("seconds of an epoch with a checkpoint asked for after every epoch and with none")
    result |= {"epochs": options.epochs, "cases": {}}
    with computing("auto", "float32"):
        for name, (sizes, data) in CASES.items():
            if data is digits or options.mnist:
                tell(name)
                result["cases"][name] = measure(sizes, data(options), options.epochs, options.repeats)
    return finish(result, parts(result), options.out)


def measure(sizes: Sequence[int], data: Data, epochs: int, repeats: int) -> Result:
    """Run with and without checkpoints in turns; seconds of an epoch, a number a run."""
    found: Result = {"without": [], "every_epoch": [], "written": []}
    one_run(sizes, data, epochs, True)  # compiles, and imports what writes checkpoints
    for number in range(repeats):
        # Each goes first in every second pair, so that a slow drift of the machine favours neither.
        for is_saving in (False, True) if number % 2 else (True, False):
            taken, written = one_run(sizes, data, epochs, is_saving)
            found["every_epoch" if is_saving else "without"].append(taken)
            found["written"] += [written] if is_saving else []
    ratios = [much / little for much, little in zip(found["every_epoch"], found["without"], strict=True)]
    return found | {"ratios": ratios}


def one_run(sizes: Sequence[int], data: Data, epochs: int, is_saving: bool) -> tuple[float, int]:
    """Train once; seconds of an epoch, and how many checkpoints were written."""
    ends: list[float] = []
    written: list[int] = []
    with tempfile.TemporaryDirectory() as folder, CheckpointWriter(folder, keep=2) as writer:

        def save(state: FitState) -> None:
            if is_saving and (not writer.is_busy or len(state.history) == epochs):
                writer.save(len(state.history), fit_arrays(state), {})
                written.append(len(state.history))

        def note(report: EpochReport, state: TrainState) -> None:
            ends.append(time.perf_counter())

        fit(
            mlp(sizes),
            (data.train_inputs, data.train_targets),
            optimizer="sgd",
            batch_size=32,
            epochs=epochs,
            key=jax.random.key(0),
            save=save,
            callback=note,
        )
        ended = time.perf_counter()
        writer.close()
        last = time.perf_counter() - ended
    after_first = [later - earlier for earlier, later in itertools.pairwise(ends)]
    return (sum(after_first) + last) / len(after_first), len(written)


def parts(result: Result) -> list[Part]:
    """Lay out the cases."""
    rows = [["an epoch of", "without", "with checkpoints", "times as long (least to largest)", "checkpoints"]]
    for name, case in result["cases"].items():
        ratios, written = case["ratios"], case["written"]
        medians = [seconds(statistics.median(case[what])) for what in ("without", "every_epoch")]
        middle = (
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
        )
        count = f"{min(written)} to {max(written)} in {result['epochs']} epochs"
        rows.append([name, *medians, middle, count])
    return [rows]


if __name__ == "__main__":
    run(main)
