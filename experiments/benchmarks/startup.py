"""Measure what a user waits for: whole runs of `jaxmlp train`, imports and compilation included, first and second."""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measurement import MnistOptions, Part, Result, check, describe, finish, tell
from processes import run_program
from time_to_accuracy import FLAGS, place_flags, printed_accuracy

from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import SETTINGS, run
from jaxmlp.cli.text import seconds
from jaxmlp.datasets import load

DESCRIPTION = """Measure whole runs of jaxmlp train as a user starts them: its default, and MNIST to 98 %.
A first run finds no compiled programs, a second one those that the first has kept."""


@dataclass(frozen=True)
class StartupOptions(MnistOptions):
    """The options of the measurement."""

    repeats: int = option(5, "second runs of each; of MNIST each with its own seed", group="options")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(StartupOptions, DESCRIPTION, arguments)
    check(options, repeats=1)
    result = describe("whole runs of jaxmlp train, imports and compilation included")
    cases: dict[str, Sequence[str]] = {"digits": ()}
    if options.mnist:
        load("mnist", data_dir=options.data_dir, manual_dir=options.manual_dir)  # prepared, if it was not
        cases["mnist"] = (*FLAGS, *place_flags(options))
    result["cases"] = {name: measure(name, flags, options.repeats) for name, flags in cases.items()}
    return finish(result, parts(result), options.out)


def measure(case: str, flags: Sequence[str], repeats: int) -> Result:
    """Measure a first run and some second ones, in their own folder of compiled programs."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1 + repeats):
            tell(f"{case}: run {number + 1} of {1 + repeats}")
            seeded = (*flags, "--seed", str(max(0, number - 1))) if case == "mnist" else flags
            runs.append(time_process(seeded, Path(folder), f"run-{number}"))
    return {"flags": list(flags), "first": runs[0], "second": runs[1:]}


def time_process(flags: Sequence[str], folder: Path, name: str) -> Result:
    """Run `jaxmlp train` as a user does: its seconds, those of all cores, the programs it compiled, its accuracy."""
    programs = folder / "compiled"
    # What the command sets by itself, in another folder.
    environment = {name.upper(): str(value) for name, value in SETTINGS.items()}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(programs), "JAX_ENABLE_COMPILATION_CACHE": "true"}
    command = ["-m", "jaxmlp", "train", *flags, "--out", str(folder / name)]
    before, cores, started = len(list(programs.glob("*-cache"))), sum(os.times()[2:4]), time.perf_counter()
    printed = run_program("jaxmlp train", command, os.environ | environment)
    wall, cpu = time.perf_counter() - started, sum(os.times()[2:4]) - cores  # of all ended children
    compiled = len(list(programs.glob("*-cache"))) - before
    return {"wall": wall, "cpu": cpu, "compiled": compiled, "accuracy": printed_accuracy(printed)}


def parts(result: Result) -> list[Part]:
    """Lay out first and second runs."""
    rows = [
        ["whole run", "first", "second, median", "least to largest", "core seconds", "compiled", "accuracy"]
    ]
    for case in result["cases"].values():
        times = [one["wall"] for one in case["second"]]
        accuracy = statistics.median(one["accuracy"] for one in case["second"])
        spread = f"{seconds(min(times))} to {seconds(max(times))}"
        cpu = f"{statistics.median(one['cpu'] for one in case['second']):.2f}"
        compiled = f"{case['first']['compiled']}, then {max(one['compiled'] for one in case['second'])}"
        name = f"`{' '.join(['jaxmlp train', *case['flags']])}`"
        shown = [
            name,
            seconds(case["first"]["wall"]),
            seconds(statistics.median(times)),
            spread,
            cpu,
            compiled,
        ]
        rows.append([*shown, f"{100 * accuracy:.2f} %"])
    return [rows]


if __name__ == "__main__":
    run(main)
