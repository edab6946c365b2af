"""Measure training against its peers and against the machine, in one command."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cases import CASES, OPTIMIZERS
from epochs import Plan, measure
from measurement import OutOptions, PlaceOptions, Result, check, describe, finish
from peers import AUTODIFF, OURS, PEERS, missing_packages, peers_on
from sweeps import COUNTS, measure_rates
from tables import case_heading, case_notes, case_rows, sweep_rows, target_rows, time_to_accuracy_rows
from targets import targets
from time_to_accuracy import measure_time_to_accuracy

from jaxmlp import ArgumentError
from jaxmlp.cli.options import DeviceOptions, option, parse_options
from jaxmlp.cli.session import find_device, run
from jaxmlp.cli.text import aligned, machine_line
from jaxmlp.registry import unknown_name

DESCRIPTION = """Measure an epoch of training against scikit-learn, PyTorch (eager, compiled), NumPy by hand,
flax.nnx and a jitted JAX step in a Python loop, all from the same parameters on the same batches, and against the
time of its matrix products by themselves. Each peer lives in a process of its own; they train in turn. The figures
to look at are the ratios of the medians. Takes some 20 minutes on 2 cores; --quick some 3."""

PRECISIONS = ("float32", "tensorfloat32")
QUICK_CASES = ("mnist_300", "digits")

_option = partial(option, group="options")


@dataclass(frozen=True)
class BenchmarkOptions(DeviceOptions, PlaceOptions, OutOptions):
    """The options of a benchmark."""

    cases: tuple[str, ...] = _option(tuple(CASES), f"of {', '.join(CASES)}", metavar="NAME")
    optimizers: tuple[str, ...] = _option(OPTIMIZERS, f"of {', '.join(OPTIMIZERS)}", metavar="NAME")
    peers: tuple[str, ...] = _option(
        ("all",), f"of {', '.join(peers_on('cpu'))}; on a GPU {', '.join(peers_on('gpu'))}", metavar="NAME"
    )
    repeats: int = _option(5, "timed turns of each peer", metavar="N")
    sweep: bool = _option(True, "networks a second of sweeps on digits too")
    time_to_accuracy: bool = _option(True, "whole processes to 98 % on MNIST too, where MNIST is at hand")
    quick: bool = _option(
        False, f"only {' and '.join(QUICK_CASES)} with SGD, 2 turns, the time to 98 % over 1 seed"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(BenchmarkOptions, DESCRIPTION, arguments)
    # On a GPU this process would otherwise take most of the memory that the peers are to share.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    plan = make_plan(options)
    result = describe("training against its peers", "flax", "torch", "scikit-learn")
    cases, failures = measure(plan)
    more: dict[str, Any] = {}
    if options.time_to_accuracy:
        seeds = range(1 if options.quick else 5)
        more["time_to_accuracy"] = measure_time_to_accuracy(options, plan.device, plan.precision, seeds)
    if options.sweep:
        counts = COUNTS[:-1] if options.quick else COUNTS
        more["sweep"] = measure_rates(plan.device, plan.precision, counts)
    more = {name: part for name, part in more.items() if part is not None}
    parts = [*more.get("time_to_accuracy", {}).get("programs", ()), more.get("sweep", {})]
    failures += [part["failure"] for part in parts if "failure" in part]
    result |= {
        "device": str(find_device(plan.device).platform),
        "precision": plan.precision,
        "repeats": plan.repeats,
        "cases": cases,
        "failures": failures,
    }
    return finish(result | more, text(result | more), options.out, failures)


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
        peers=(OURS, AUTODIFF, *chosen),
        repeats=2 if quick else options.repeats,
        device=f"{device.platform}:{device.id}",
        precision=options.precision,
        place=options,
    )


def _check(options: BenchmarkOptions) -> None:
    plain = BenchmarkOptions()
    chosen = [
        name for name in ("cases", "optimizers", "repeats") if getattr(options, name) != getattr(plain, name)
    ]
    if options.quick and chosen:
        flags = " and ".join(f"--{name}" for name in chosen)
        raise ArgumentError(f"--quick sets {flags} itself: leave out the one or the other")
    check(options, repeats=1)
    for name in options.cases:
        CASES[name]
    for name in options.optimizers:
        if name not in OPTIMIZERS:
            raise unknown_name("optimiser of the benchmark", name, OPTIMIZERS)
    if not (options.cases and options.optimizers):
        raise ArgumentError("--cases and --optimizers need at least one name each: leave them out for all")
    if options.precision not in PRECISIONS:
        raise unknown_name("precision of the benchmark", options.precision, PRECISIONS)


def _check_packages(peers: Sequence[str]) -> None:
    lacking = {name: missing_packages(name) for name in peers if missing_packages(name)}
    if lacking:
        packages = sorted({package for missing in lacking.values() for package in missing})
        rest = " ".join(name for name in peers if name not in lacking)
        raise ArgumentError(
            f"{', '.join(lacking)} need {' and '.join(packages)}, not installed here: "
            f'pip install -e ".[bench]", or measure those that are there with --peers {rest}'.rstrip()
        )


def text(result: Result) -> str:
    """Write the whole result for a terminal."""
    parts = [machine_line(result["machine"])]
    parts += [
        "\n".join([case_heading(case), aligned(case_rows(case)), *case_notes(case)])
        for case in result["cases"]
    ]
    if "time_to_accuracy" in result:
        found = result["time_to_accuracy"]
        parts.append(f"{found['what']}\n{aligned(time_to_accuracy_rows(found))}")
    if "sweep" in result:
        parts.append(aligned(sweep_rows(result["sweep"])))
    parts.append(aligned(target_rows(targets(result))))
    parts.append(f"{PEERS[AUTODIFF].title} is a reference, not a peer")
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(main)
