"""Measure whole processes, imports and compilation included: from prepared data to 98 % on MNIST."""

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmark_cases import Place
from benchmark_run import time_summary
from contestants import missing_packages
from recipe import RECIPE
from worker_process import WorkerFailed, process_environment, run_process

from jaxmlp import ArgumentError
from jaxmlp.datasets import load

FOLDER = Path(__file__).parent
FLAGS = (*RECIPE, "--quiet")


class Runner(NamedTuple):
    """A whole program that trains on MNIST and prints its test accuracy.

    Attributes:
        name: short.
        title: what it is called in tables.
        command: (folder, seed) -> the arguments of the process; the folder holds mnist.npz and may be written to.
        accuracy: what it printed -> the test accuracy, from 0 to 1.
    """

    name: str
    title: str
    command: Callable[[Path, int], Sequence[str]]
    accuracy: Callable[[str], float]


def runners(place: Place, device: str, precision: str) -> list[Runner]:
    """List the programs that can run here: ours, and those whose packages are installed."""
    where = ["--device", device, "--precision", precision]
    for flag, folder in (("--data-dir", place.data_dir), ("--manual-dir", place.manual_dir)):
        where += [] if folder is None else [flag, folder]

    def ours(folder: Path, seed: int) -> list[str]:
        # A run folder is taken once: the uncounted run has the first seed, too.
        out = tempfile.mkdtemp(prefix="run-", dir=folder)
        return [str(FOLDER / "train.py"), *FLAGS, *where, "--seed", str(seed), "--out", out]

    found = [Runner("jaxmlp", "jaxmlp (experiments/train.py)", ours, _printed_share)]
    for name, title in (("torch", "PyTorch, eager"), ("sklearn", "scikit-learn")):
        if not missing_packages(name):
            script = str(FOLDER / "contestants" / f"race_{name}.py")
            more = (device, precision) if name == "torch" else ()
            command = _plain_command(script, *more)
            found.append(Runner(name, title, command, lambda text: float(text.split()[-1])))
    return found


def _plain_command(script: str, *more: str) -> Callable[[Path, int], list[str]]:
    return lambda folder, seed: [script, str(folder / "mnist.npz"), str(seed), *more]


def _printed_share(text: str) -> float:
    """Read the line of `train.py` that names the test accuracy in per cent."""
    found = re.search(r"test accuracy\s+([\d.]+) %", text)
    if found is None:
        raise WorkerFailed("train.py printed no test accuracy")
    return float(found[1]) / 100


def measure_race(
    place: Place, device: str, precision: str, seeds: Iterable[int], tell: Callable[[str], None]
) -> dict[str, Any] | None:
    """Let the programs run in turn, each as a fresh process, seed by seed.

    An uncounted run of each goes before, which fills the disk's cache and the cache of compiled programs: the
    time that counts is that of a machine on which the program has run before.
    """
    seeds = list(seeds)
    try:
        dataset = load("mnist", data_dir=place.data_dir, manual_dir=place.manual_dir, quiet=True)
    except ArgumentError:
        return None
    chosen = runners(place, device, precision)
    failures: dict[str, str] = {}
    seconds: dict[str, list[float]] = {runner.name: [] for runner in chosen}
    accuracies: dict[str, list[float]] = {runner.name: [] for runner in chosen}
    with tempfile.TemporaryDirectory(prefix="jaxmlp-race-") as name:
        folder = Path(name)
        np.savez(
            folder / "mnist.npz",
            train_inputs=dataset.train.inputs,
            train_targets=dataset.train.targets,
            test_inputs=dataset.test.inputs,
            test_targets=dataset.test.targets,
        )
        for turn, seed in enumerate([seeds[0], *seeds]):
            for runner in chosen:
                if runner.name in failures:
                    continue
                tell(f"whole process: {runner.title}, seed {seed}")
                try:
                    taken, accuracy = run_once(runner, folder, seed, device)
                except WorkerFailed as failed:
                    failures[runner.name] = str(failed)
                    continue
                if turn > 0:
                    seconds[runner.name].append(taken)
                    accuracies[runner.name].append(accuracy)
    return {
        "what": "MNIST: whole processes from the prepared data set to the test accuracy, "
        "imports and compilation included",
        "seeds": seeds,
        "flags": FLAGS,
        "runners": [
            {"name": runner.name, "title": runner.title}
            | (
                {"failure": failures[runner.name]}
                if runner.name in failures
                else {"accuracies": accuracies[runner.name]} | time_summary(seconds[runner.name])
            )
            for runner in chosen
        ],
    }


def run_once(runner: Runner, folder: Path, seed: int, device: str = "cpu") -> tuple[float, float]:
    """Run a program; returns the seconds of its process and the accuracy it printed."""
    started = time.perf_counter()
    told = run_process(runner.title, runner.command(folder, seed), process_environment(device))
    return time.perf_counter() - started, runner.accuracy(told)
