"""Measure training against its peers and against the machine, in one command."""

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmark_cases import CASES, OPTIMIZERS, Place
from benchmark_run import Plan, measure
from benchmark_tables import case_heading, case_notes, case_rows, race_rows, sweep_rows, target_rows
from benchmark_targets import targets
from contestants import AUTODIFF, CONTESTANTS, OURS, missing_packages, peers_on
from machine_load import tell_load
from race import measure_race
from sweep_rate import COUNTS, measure_rates

from jaxmlp import ArgumentError
from jaxmlp.cli.options import DeviceOptions, option, parse_options
from jaxmlp.cli.run import describe_machine
from jaxmlp.cli.session import available_cores, find_device, run
from jaxmlp.cli.text import aligned, check_out, machine_line, write_result
from jaxmlp.registry import unknown_name

DESCRIPTION = """Measure an epoch of training against scikit-learn, PyTorch (eager, compiled), NumPy by hand,
flax.nnx and a jitted JAX step in a Python loop, all from the same parameters on the same batches, and against the
time of its matrix products alone. Each contestant lives in a process of its own; they train in turn. The figures
to look at are the ratios of the medians. Takes some 20 minutes on 2 cores; --quick some 3."""

# Variables that change how the contestants' libraries use the cores, and so their times.
THREAD_SETTINGS = ("OMP_", "OPENBLAS_", "MKL_", "KMP_", "XLA_FLAGS")
PRECISIONS = ("float32", "tensorfloat32")
QUICK_CASES = ("mnist_300", "digits")

_option = partial(option, group="options")


@dataclass(frozen=True)
class BenchmarkOptions(DeviceOptions):
    """The options of a benchmark."""

    cases: tuple[str, ...] = _option(tuple(CASES), f"of {', '.join(CASES)}", metavar="NAME")
    optimizers: tuple[str, ...] = _option(OPTIMIZERS, f"of {', '.join(OPTIMIZERS)}", metavar="NAME")
    peers: tuple[str, ...] = _option(
        ("all",), f"of {', '.join(peers_on('cpu'))}; on a GPU {', '.join(peers_on('gpu'))}", metavar="NAME"
    )
    repeats: int = _option(5, "timed turns of each contestant", metavar="N")
    sweep: bool = _option(True, "networks a second of sweeps on digits too")
    race: bool = _option(True, "whole processes to 98 % on MNIST too, where MNIST is at hand")
    quick: bool = _option(False, f"only {' and '.join(QUICK_CASES)} with SGD, 2 turns, the race over 1 seed")
    data_dir: str | None = _option(
        None, "where prepared data sets are kept (default: ~/.cache/jaxmlp)", metavar="FOLDER"
    )
    manual_dir: str | None = _option(
        None,
        "folder of archives downloaded by hand (default: the variable JAXMLP_MANUAL_DIR)",
        metavar="FOLDER",
    )
    out: str | None = _option(None, "json file for the result (default: none)", metavar="FILE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(BenchmarkOptions, DESCRIPTION, arguments)
    # On a GPU this process would otherwise take most of the memory that the contestants are to share.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    plan = make_plan(options)
    load = tell_load()
    cases, failures = measure(plan, tell)
    race = rates = None
    if options.race:
        seeds = range(1 if options.quick else 5)
        race = measure_race(plan.place, plan.device, plan.precision, seeds, tell)
    if options.sweep:
        counts = COUNTS[:-1] if options.quick else COUNTS
        rates = measure_rates(plan.device, plan.precision, counts, tell)
    failures += [runner["failure"] for runner in (race or {}).get("runners", ()) if "failure" in runner]
    failures += [rates["failure"]] if rates and "failure" in rates else []
    result = {
        "command": [
            "python",
            "experiments/benchmark.py",
            *(sys.argv[1:] if arguments is None else arguments),
        ],
        "machine": describe_machine_and_peers(load),
        "device": str(find_device(plan.device).platform),
        "precision": plan.precision,
        "repeats": plan.repeats,
        "cases": cases,
        "failures": failures,
    }
    result |= {} if race is None else {"race": race}
    result |= {} if rates is None else {"sweep": rates}
    print(text(result))
    write_result(options.out, result)
    for failure in failures:
        print(f"benchmark.py: {failure}", file=sys.stderr)
    return 1 if failures else 0


def make_plan(options: BenchmarkOptions) -> Plan:
    """Check the options and say what to measure."""
    _check(options)
    device = find_device(options.device)
    there = peers_on(device.platform)
    chosen = there if options.peers == ("all",) else options.peers
    for name in chosen:
        if name not in there:
            raise unknown_name(f"peer on a {device.platform}", name, there)
    _check_packages(chosen)
    quick = options.quick
    return Plan(
        cases=QUICK_CASES if quick else options.cases,
        optimizers=("sgd",) if quick else options.optimizers,
        contestants=(OURS, AUTODIFF, *chosen),
        repeats=2 if quick else options.repeats,
        device=f"{device.platform}:{device.id}",
        precision=options.precision,
        place=Place(options.data_dir, options.manual_dir),
    )


def _check(options: BenchmarkOptions) -> None:
    plain = BenchmarkOptions()
    chosen = [
        name for name in ("cases", "optimizers", "repeats") if getattr(options, name) != getattr(plain, name)
    ]
    if options.quick and chosen:
        flags = " and ".join(f"--{name}" for name in chosen)
        raise ArgumentError(f"--quick sets {flags} itself: leave out the one or the other")
    if options.repeats < 1:
        raise ArgumentError(f"--repeats must be at least 1, given {options.repeats}")
    for name in options.cases:
        CASES[name]
    for name in options.optimizers:
        if name not in OPTIMIZERS:
            raise unknown_name("optimiser of the benchmark", name, OPTIMIZERS)
    if not (options.cases and options.optimizers):
        raise ArgumentError("--cases and --optimizers need at least one name each: leave them out for all")
    if options.precision not in PRECISIONS:
        raise unknown_name("precision of the benchmark", options.precision, PRECISIONS)
    check_out(options.out)


def _check_packages(peers: Sequence[str]) -> None:
    lacking = {name: missing_packages(name) for name in peers if missing_packages(name)}
    if lacking:
        packages = sorted({package for missing in lacking.values() for package in missing})
        rest = " ".join(name for name in peers if name not in lacking)
        raise ArgumentError(
            f"{', '.join(lacking)} need {' and '.join(packages)}, not installed here: "
            f'pip install -e ".[bench]", or measure those that are there with --peers {rest}'.rstrip()
        )


def tell(line: str) -> None:
    """Show what is being done, on a terminal alone."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def describe_machine_and_peers(load: float | None) -> dict[str, Any]:
    """Name the machine, its load and all versions."""
    machine = describe_machine()
    for package in ("flax", "torch", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            machine["versions"][package] = importlib.metadata.version(package)
    threads = {name: value for name, value in os.environ.items() if name.startswith(THREAD_SETTINGS)}
    return machine | {"cores": available_cores(), "load_average": load, "thread_settings": threads}


def text(result: dict[str, Any]) -> str:
    """Write the whole result for a terminal."""
    parts = [machine_line(result["machine"])]
    parts += [
        "\n".join([case_heading(case), aligned(case_rows(case)), *case_notes(case)])
        for case in result["cases"]
    ]
    if "race" in result:
        parts.append("\n".join([result["race"]["what"], aligned(race_rows(result["race"]))]))
    if "sweep" in result:
        parts.append(aligned(sweep_rows(result["sweep"])))
    parts.append(aligned(target_rows(targets(result))))
    parts.append(f"{CONTESTANTS[AUTODIFF].title} is a reference, not a peer")
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(main)
