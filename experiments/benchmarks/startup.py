"""Measure what a user waits for: whole runs of train.py, imports and compilation included, first and second."""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mnist_options import MnistOptions
from recipe import RECIPE
from tqdm import tqdm

from jaxmlp import ArgumentError
from jaxmlp.cli.options import option, parse_options
from jaxmlp.cli.run import describe_machine
from jaxmlp.cli.session import SETTINGS, run
from jaxmlp.cli.text import check_out, write_result
from jaxmlp.datasets import load

HERE = Path(__file__).parent
LONGEST, LEAST_ACCURACY = 4.0, 0.98  # the targets: seconds of a second run, accuracy on MNIST's test part

DESCRIPTION = """Measure whole runs of train.py as a user starts them: its default, and a recipe for MNIST.
A first run finds no compiled programs, a second one those that the first has kept."""


@dataclass(frozen=True)
class StartupOptions(MnistOptions):
    """The options of the measurement."""

    repeats: int = option(
        5, "second runs of each; of MNIST each with a seed of its own", group="runs", metavar="N"
    )


class Run(NamedTuple):
    """What one process took.

    Attributes:
        wall: seconds from its start to its end.
        cpu: seconds of all cores together.
        compiled: how many programs it compiled and kept.
        accuracy: on the test part, from 0 to 1.
    """

    wall: float
    cpu: float
    compiled: int
    accuracy: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(StartupOptions, DESCRIPTION, arguments)
    check(options)
    cases: dict[str, Sequence[str]] = {"digits": ()}
    if options.mnist:
        load("mnist", data_dir=options.data_dir, manual_dir=options.manual_dir)  # prepared, if it was not
        cases["mnist"] = RECIPE if options.data_dir is None else (*RECIPE, "--data-dir", options.data_dir)
    with tqdm(total=len(cases) * (1 + options.repeats), unit="run", file=sys.stderr) as bar:
        measured = {name: measure(name, flags, options.repeats, bar) for name, flags in cases.items()}
    print(table(measured))
    result = {
        "what": "whole runs of train.py, imports and compilation included",
        "command": ["python", *sys.argv],
        "machine": describe_machine(),
        "targets": {"second run (s)": LONGEST, "MNIST accuracy": LEAST_ACCURACY},
        "cases": {
            name: {
                "flags": list(cases[name]),
                "first": runs[0]._asdict(),
                "second": [each._asdict() for each in runs[1:]],
            }
            for name, runs in measured.items()
        },
    }
    write_result(options.out, result)
    return 0


def check(options: StartupOptions) -> None:
    """Refuse what would be found out only after the runs."""
    if options.repeats < 1:
        raise ArgumentError(f"--repeats must be at least 1, given {options.repeats}")
    check_out(options.out)


def measure(case: str, flags: Sequence[str], repeats: int, bar: Any) -> list[Run]:
    """Measure a first run and some second ones, in a folder of compiled programs of their own."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1 + repeats):
            seeded = (*flags, "--seed", str(max(0, number - 1))) if case == "mnist" else flags
            runs.append(time_process(seeded, Path(folder), f"run-{number}"))
            bar.update()
    return runs


def time_process(flags: Sequence[str], folder: Path, name: str) -> Run:
    """Run train.py as a user does, and wait for its end."""
    programs = folder / "compiled"
    # What train.py sets by itself, in another folder.
    environment = {name.upper(): str(value) for name, value in SETTINGS.items()}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(programs), "JAX_ENABLE_COMPILATION_CACHE": "true"}
    before, cpu_before, started = count(programs), children_cpu(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / "train.py"), *flags, "--out", str(folder / name)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    wall, cpu = time.perf_counter() - started, children_cpu() - cpu_before
    found = re.search(r"test accuracy ([\d.]+) %", done.stdout)
    if done.returncode != 0 or found is None:
        raise ArgumentError(
            f"train.py ended with status {done.returncode}: {done.stderr.strip() or 'no accuracy'}"
        )
    return Run(wall, cpu, count(programs) - before, float(found[1]) / 100)


def count(programs: Path) -> int:
    """Count the programs in a folder."""
    return len(list(programs.glob("*-cache")))


def children_cpu() -> float:
    """Tell the processor time of all ended children, in seconds."""
    times = os.times()
    return times.children_user + times.children_system


def table(measured: dict[str, list[Run]]) -> str:
    """Write the runs as people read them, with the targets."""
    lines = [
        f"{'run':<16} {'seconds':>8} {'least to largest':>17} {'cores ×s':>9} {'compiled':>9}  test accuracy"
    ]
    for name, (first, *second) in measured.items():
        lines.append(row(f"{name}, first", [first]))
        lines.append(row(f"{name}, second", second))
        seconds = statistics.median(each.wall for each in second)
        lines.append(f"{'':<16} target ≤ {LONGEST:g} s: {verdict(seconds <= LONGEST)}")
        if name == "mnist":
            accuracy = statistics.median(each.accuracy for each in second)
            lines[-1] += f"; accuracy ≥ {100 * LEAST_ACCURACY:g} %: {verdict(accuracy >= LEAST_ACCURACY)}"
    return "\n".join(lines)


def row(name: str, runs: Sequence[Run]) -> str:
    """Write medians, and the spread of time and accuracy."""
    wall, cpu, compiled, accuracy = zip(*runs, strict=True)
    spread = f"{min(wall):.2f} to {max(wall):.2f}"
    score = f"{100 * statistics.median(accuracy):.2f} %"
    if len(runs) > 1:
        score += f" ({100 * min(accuracy):.2f} to {100 * max(accuracy):.2f})"
    return (
        f"{name:<16} {statistics.median(wall):>8.2f} {spread:>17} {statistics.median(cpu):>9.2f} "
        f"{max(compiled):>9}  {score}"
    )


def verdict(is_reached: bool) -> str:
    """Say whether a target is reached."""
    return "reached" if is_reached else "NOT reached"


if __name__ == "__main__":
    run(main)
