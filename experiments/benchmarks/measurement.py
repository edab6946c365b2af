"""What every measurement has: options, the machine it ran on, times brought together, and a result file."""

import contextlib
import importlib.metadata
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from jaxmlp import ArgumentError
from jaxmlp.cli.options import check_least
from jaxmlp.cli.parser import option
from jaxmlp.cli.run import describe_machine
from jaxmlp.cli.session import available_cores
from jaxmlp.cli.text import aligned, check_out, machine_line, seconds, write_result

# Variables that change how libraries use the cores, and so their times.
THREAD_SETTINGS = ("OMP_", "OPENBLAS_", "MKL_", "KMP_", "XLA_FLAGS")

ACCURACY = 0.98  # on MNIST, to which whole processes train

Result = dict[str, Any]
Part = str | list[list[str]]  # of what people read: a paragraph, or a table with its heading
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class OutOptions:
    """The option that says where the result goes."""

    out: str | None = option(None, "json file for the result (default: none)", group="output", metavar="FILE")


@dataclass(frozen=True)
class PlaceOptions:
    """The options that say where data sets are."""

    data_dir: str | None = option(
        None, "where data sets are prepared (default: ~/.cache/jaxmlp)", group="data", metavar="FOLDER"
    )
    manual_dir: str | None = option(
        None, "folder of MNIST's archives (default: JAXMLP_MANUAL_DIR)", group="data", metavar="FOLDER"
    )


@dataclass(frozen=True)
class MnistOptions(PlaceOptions, OutOptions):
    """The options of a measurement that takes MNIST too."""

    mnist: bool = option(True, "measure MNIST too", group="options")


def check(options: Any, **least: int) -> None:
    """Refuse numbers below the least, and a result file that cannot be written, before anything is measured."""
    check_least(options, **least)
    check_out(options.out)


def program() -> str:
    """Name the script that runs."""
    return Path(sys.argv[0]).name


def tell(line: str) -> None:
    """Show what is being done, only on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def describe(what: str, *packages: str) -> Result:
    """Begin a result: what it is of, the command, and the machine with its load and versions."""
    machine = describe_machine()
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            machine["versions"][package] = importlib.metadata.version(package)
    threads = {name: value for name, value in os.environ.items() if name.startswith(THREAD_SETTINGS)}
    machine |= {"cores": available_cores(), "load_average": tell_load(), "thread_settings": threads}
    command = ["python", f"experiments/benchmarks/{program()}", *sys.argv[1:]]
    return {"what": what, "command": command, "machine": machine}


def tell_load() -> float | None:
    """Warn where other programs are at work; returns the load average of the last minute, if there is one."""
    if not hasattr(os, "getloadavg"):
        return None
    load = os.getloadavg()[0]
    if load > available_cores() / 4:
        print(
            f"{program()}: the machine is busy (load average {load:.2f} on {available_cores()} cores): "
            "times will be too long, and unevenly so",
            file=sys.stderr,
        )
    return load


def finish(result: Result, parts: Sequence[Part], out: str | None, failures: Sequence[str] = ()) -> int:
    """Print and write a result, and say what failed; returns the exit status."""
    tell("")
    texts = [part if isinstance(part, str) else aligned(part) for part in parts]
    print("\n\n".join([machine_line(result["machine"]), *texts]))
    write_result(out, result)
    for failure in failures:
        print(f"{program()}: {failure}", file=sys.stderr)
    return 1 if failures else 0


def drawn_order(things: Sequence[Thing], turn: int) -> list[Thing]:
    """Put those that take turns in an order drawn for the turn (seeded): none always follows the same one."""
    return [things[place] for place in np.random.default_rng(turn).permutation(len(things))]


def time_summary(times: Sequence[float]) -> Result:
    """Bring seconds to their median and spread."""
    spread = {"least_seconds": min(times), "largest_seconds": max(times)}
    return {"seconds": list(times), "median_seconds": statistics.median(times)} | spread


def spread(summary: Result) -> str:
    """Write the least and the largest of some times."""
    return f"{seconds(summary['least_seconds'])} to {seconds(summary['largest_seconds'])}"


def comments(block: str) -> tuple[str, str]:
    """Write the comments that a block of a file stands between."""
    return f"<!-- {block}: begin -->", f"<!-- {block}: end -->"


def with_block(text: str, block: str, new: str, file: str) -> str:
    """Put new text in place of what stands between a block's two comments."""
    begin, end = comments(block)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ArgumentError(f"{file} needs the line {begin} and, below it, the line {end}, once each")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{new}\n{end}{rest.partition(end)[2]}"


def difference(ours: Any, theirs: Any) -> float:
    """Measure max |a − b| / max |b| of the worst tensor; NaN where any number is."""
    found = []
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        found.append(np.max(np.abs(np.asarray(a) - np.asarray(b))) / (np.max(np.abs(b)) or 1.0))
    return float(np.max(found))


# --- reading a benchmark's result ---


def peer(case: Result, name: str) -> Result | None:
    """Find a peer that a case has figures of."""
    return next((one for one in measured(case) if one["name"] == name), None)


def measured(case: Result) -> list[Result]:
    """List the peers that a case has figures of."""
    return [one for one in case["peers"] if "failure" not in one]


def floor_seconds(case: Result) -> float:
    """Give an epoch's matmul floor: each product by the library and the number of cores that took least."""
    by_cores = [ceiling["products"] for ceiling in case["ceilings"].values()]
    step = sum(min(product["best_seconds"] for product in same) for same in zip(*by_cores, strict=True))
    return case["examples"] / case["batch_size"] * step


def is_accurate(program: Result) -> bool:
    """Tell whether the median of a program's seeds reached the accuracy."""
    return statistics.median(program["accuracies"]) >= ACCURACY
