"""Whole processes, imports and compilation included, from prepared data to 98 % on MNIST: ours and those of peers."""

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measurement import PlaceOptions, Result, drawn_order, tell, time_summary
from peers import OURS, missing_packages
from processes import ProcessFailed, process_environment, run_program

from jaxmlp import ArgumentError
from jaxmlp.datasets import load

PEERS = Path(__file__).parent / "peers"
# Few epochs, at a high learning rate that rises for a tenth of the run and falls to 0; chosen on seeds 10 to 14.
FLAGS = (
    *("--dataset", "mnist", "--hidden", "256", "--batch-size", "128", "--epochs", "3"),
    *("--optimizer", "adam", "--learning-rate", "0.01", "--schedule", "warmup_cosine:0.1"),
    *("--no-pictures", "--checkpoint-every", "0"),  # the peers draw and keep nothing either
)


class Program(NamedTuple):
    """A whole program that trains on MNIST and prints a line as `test accuracy 98.10 %`."""

    name: str
    title: str
    command: Callable[[Path, int], Sequence[str]]  # of a folder, which holds mnist.npz, and a seed


def programs(place: PlaceOptions, device: str, precision: str) -> list[Program]:
    """List the programs that can run here: ours, and those whose packages are installed."""
    where = [*place_flags(place), "--device", device, "--precision", precision]

    def ours(folder: Path, seed: int) -> list[str]:
        # A run folder is taken once: the uncounted run has the first seed, too.
        out = tempfile.mkdtemp(prefix="run-", dir=folder)
        return ["-m", "jaxmlp", "train", *FLAGS, "--quiet", *where, "--seed", str(seed), "--out", out]

    def theirs(name: str, *more: str) -> Callable[[Path, int], list[str]]:
        script = str(PEERS / f"mnist_{name}.py")
        return lambda folder, seed: [script, str(folder / "mnist.npz"), str(seed), *more]

    found = [Program(OURS, "jaxmlp train", ours)]
    if not missing_packages("torch"):
        found.append(Program("torch", "PyTorch, eager", theirs("torch", device, precision)))
    return [*found, Program("sklearn", "scikit-learn", theirs("sklearn"))]


def place_flags(place: PlaceOptions) -> list[str]:
    """Write the flags that tell `jaxmlp train` where data sets are."""
    places = {"--data-dir": place.data_dir, "--manual-dir": place.manual_dir}
    return [text for flag, folder in places.items() if folder is not None for text in (flag, folder)]


def printed_accuracy(text: str) -> float:
    """Read the line that names the test accuracy in per cent."""
    found = re.search(r"test accuracy\s+([\d.]+) %", text)
    if found is None:
        raise ProcessFailed("a program printed no test accuracy")
    return float(found[1]) / 100


def measure_time_to_accuracy(
    place: PlaceOptions, device: str, precision: str, seeds: Iterable[int]
) -> Result | None:
    """Let the programs run in turn, each as a fresh process, seed by seed; None where MNIST is not at hand.

    An uncounted run of each goes before, which fills the disk's cache and the cache of compiled programs: the
    time that counts is that of a machine on which the program has run before.
    """
    seeds = list(seeds)
    try:
        dataset = load("mnist", data_dir=place.data_dir, manual_dir=place.manual_dir, quiet=True)
    except ArgumentError:
        return None
    chosen = programs(place, device, precision)
    found: dict[str, Result] = {
        one.name: {"name": one.name, "title": one.title, "accuracies": [], "seconds": []} for one in chosen
    }
    with tempfile.TemporaryDirectory(prefix="jaxmlp-mnist-") as name:
        parts = {"train": dataset.train, "test": dataset.test}
        arrays = {f"{part}_inputs": each.inputs for part, each in parts.items()}
        arrays |= {f"{part}_targets": each.targets for part, each in parts.items()}
        np.savez(Path(name, "mnist.npz"), **arrays)  # type: ignore[arg-type]
        for turn, seed in enumerate([seeds[0], *seeds]):
            for program in drawn_order(chosen, turn):
                result = found[program.name]
                if "failure" in result:
                    continue
                tell(f"whole process: {program.title}, seed {seed}")
                try:
                    seconds, accuracy = run_once(program, Path(name), seed, device)
                except ProcessFailed as failed:
                    result["failure"] = str(failed)
                    continue
                if turn > 0:
                    result["seconds"].append(seconds)
                    result["accuracies"].append(accuracy)
    what = "MNIST: whole processes from the prepared data set to the test accuracy, imports and compilation included"
    summed = [one if "failure" in one else one | time_summary(one["seconds"]) for one in found.values()]
    return {"what": what, "seeds": seeds, "flags": FLAGS, "programs": summed}


def run_once(program: Program, folder: Path, seed: int, device: str = "cpu") -> tuple[float, float]:
    """Run a program; returns the seconds of its process and the accuracy it printed."""
    command, started = program.command(folder, seed), time.perf_counter()
    told = run_program(program.title, command, process_environment(device))
    return time.perf_counter() - started, printed_accuracy(told)
