"""Measure what checkpoints cost: the time of an epoch with one asked for after every epoch, and with none, in turns."""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
from mnist_options import MnistOptions
from tqdm import tqdm

from jaxmlp import ArgumentError, EpochReport, FitState, TrainState, fit
from jaxmlp.cli.options import CompilationCacheOptions, RunOptions, option, parse_options
from jaxmlp.cli.records import describe_run, recording
from jaxmlp.cli.run import describe_machine, locked, read_options
from jaxmlp.cli.session import compilation_cache, computing, run
from jaxmlp.cli.text import check_out, write_result
from jaxmlp.cli.train import PARTS, load_dataset, network_of, optimizer_of, start
from jaxmlp.datasets.problem import make_problem

CASES = {
    "MNIST, 784-300-10, minibatches of 32": ("--dataset", "mnist", "--hidden", "300"),
    "digits, 64-128-10, minibatches of 32": (),
}

DESCRIPTION = """Measure the time of an epoch with a checkpoint asked for after every epoch, and with none.
Runs with and without take turns; the first epoch of each, which may compile, is left out, and the time that the
last checkpoint takes to be whole is shared among the epochs. As in train.py no epoch waits for a checkpoint: where
epochs are shorter than its writing some have none, and it is told how many there were."""


@dataclass(frozen=True)
class CostOptions(CompilationCacheOptions, MnistOptions):
    """The options of the measurement."""

    epochs: int = option(10, "of each run", group="runs", metavar="N")
    repeats: int = option(5, "runs with and runs without", group="runs", metavar="N")


class Cost(NamedTuple):
    """Seconds of an epoch, a number a run.

    Attributes:
        without: with no checkpoint.
        every_epoch: with one asked for after every epoch.
        written: how many there were in each of those runs.
    """

    without: list[float]
    every_epoch: list[float]
    written: list[int]

    @property
    def ratios(self) -> list[float]:
        """Each run with checkpoints over the run without that stood beside it."""
        return [much / little for much, little in zip(self.every_epoch, self.without, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(CostOptions, DESCRIPTION, arguments)
    if options.epochs < 2 or options.repeats < 1:
        raise ArgumentError(
            "--epochs must be at least 2, of which the first is left out, and --repeats at least 1"
        )
    check_out(options.out)
    cases = {name: flags for name, flags in CASES.items() if options.mnist or "mnist" not in flags}
    with compilation_cache(options.compilation_cache), computing("auto", "float32") as precision:
        costs = {name: measure(flags, options, precision) for name, flags in cases.items()}
    for name, cost in costs.items():
        print(
            f"{name}: {1e3 * statistics.median(cost.every_epoch):.1f} ms an epoch with checkpoints, "
            f"{1e3 * statistics.median(cost.without):.1f} without: {statistics.median(cost.ratios):.3f} times as long "
            f"({min(cost.ratios):.3f} to {max(cost.ratios):.3f}, {len(cost.ratios)} pairs of runs); "
            f"{min(cost.written)} to {max(cost.written)} checkpoints in {options.epochs} epochs"
        )
    result = {
        "what": "seconds of an epoch with a checkpoint asked for after every epoch and with none",
        "epochs": options.epochs,
        "command": ["python", *sys.argv],
        "machine": describe_machine(),
        "cases": {name: cost._asdict() | {"ratios": cost.ratios} for name, cost in costs.items()},
    }
    write_result(options.out, result)
    return 0


def measure(flags: Sequence[str], options: CostOptions, precision: str | None) -> Cost:
    """Run with and without checkpoints in turns, on data loaded once."""
    places = {"--data-dir": options.data_dir, "--manual-dir": options.manual_dir}
    given = [text for name, value in places.items() if value is not None for text in (name, value)]
    asked = read_options([*flags, *given, "--epochs", str(options.epochs), "--quiet"])
    dataset = load_dataset(asked)
    problem = make_problem(dataset)
    problem = problem._replace(**{part: jax.device_put(getattr(problem, part)) for part in PARTS})
    net = network_of(asked, problem, precision)
    before = FitState(start(net, asked, problem))
    description = describe_run(net, problem, dataset, asked)

    def one_run(every: int) -> tuple[float, int]:
        """Train once; seconds of an epoch, and how many checkpoints were written."""
        told = [time.perf_counter()]

        def note(report: EpochReport, state: TrainState) -> None:
            told.append(time.perf_counter())

        saving = RunOptions(**(vars(asked) | {"checkpoint_every": every}))
        with tempfile.TemporaryDirectory() as folder:
            with (
                locked(Path(folder)) as lock,
                recording(Path(folder), lock, saving, problem.metric, description, before) as records,
            ):
                fit(
                    net,
                    problem.train,
                    loss=problem.loss,
                    optimizer=optimizer_of(asked, problem),
                    batch_size=asked.batch_size or len(problem.train.inputs),
                    epochs=asked.epochs,
                    resume=before,
                    save=records.save,
                    callback=note,
                    metric=problem.metric,
                )
                ended = time.perf_counter()
            last = time.perf_counter() - ended
        after_first = [later - earlier for earlier, later in itertools.pairwise(told[1:])]
        return (sum(after_first) + last) / len(after_first), records.begun

    cost = Cost([], [], [])
    one_run(1)  # compiles, and imports what writes checkpoints
    for number in tqdm(range(options.repeats), unit="pair", file=sys.stderr):
        # Each goes first in every second pair, so that a slow drift of the machine favours neither.
        for every in (0, 1) if number % 2 else (1, 0):
            seconds, written = one_run(every)
            (cost.every_epoch if every else cost.without).append(seconds)
            if every:
                cost.written.append(written)
    return cost


if __name__ == "__main__":
    run(main)
