"""Measure training against its peers and against the machine, in one command."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cases import CASES, OPTIMIZERS
from epochs import QUICK_CASES, BenchmarkOptions, measure
from measurement import check, describe, finish
from peers import AUTODIFF, OURS, missing_packages, peers_on
from sweeps import COUNTS, measure_rates
from tables import parts
from time_to_accuracy import measure_time_to_accuracy

from jaxmlp import ArgumentError
from jaxmlp.cli.parser import parse_options
from jaxmlp.cli.session import find_device, run
from jaxmlp.registry import unknown_name

DESCRIPTION = """Measure an epoch of training against scikit-learn, PyTorch (eager, compiled), NumPy by hand,
flax.nnx and a jitted JAX step in a Python loop. All go from the same parameters over the same batches. The time of
the matrix products only is measured too. Each peer lives in its own process; they train in turn. The figures
to look at are the ratios of the medians. Takes some 20 minutes on 2 cores; --quick some 3."""

PRECISIONS = ("float32", "tensorfloat32")


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
    measured = [*more.get("time_to_accuracy", {}).get("programs", ()), more.get("sweep", {})]
    failures += [one["failure"] for one in measured if "failure" in one]
    result |= {
        "device": str(find_device(plan.device).platform),
        "precision": plan.precision,
        "repeats": plan.repeats,
        "cases": cases,
        "failures": failures,
    }
    return finish(result | more, parts(result | more), options.out, failures)


def make_plan(options: BenchmarkOptions) -> BenchmarkOptions:
    """Check the options, and say outright what they leave open."""
    _check(options)
    device = find_device(options.device)
    there = peers_on(device.platform)
    chosen = there if options.peers == ("all",) else options.peers
    for name in chosen:
        if name not in there:
            raise unknown_name(f"peer on a {device.platform}", name, there)
    _check_packages(chosen)
    plan = replace(options, peers=(OURS, AUTODIFF, *chosen), device=f"{device.platform}:{device.id}")
    return replace(plan, cases=QUICK_CASES, optimizers=("sgd",), repeats=2) if options.quick else plan


def _check(options: BenchmarkOptions) -> None:
    plain, set_by_quick = BenchmarkOptions(), ("cases", "optimizers", "repeats")
    chosen = [name for name in set_by_quick if getattr(options, name) != getattr(plain, name)]
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
    lacking = [name for name in peers if missing_packages(name)]
    if lacking:
        packages = sorted({package for name in lacking for package in missing_packages(name)})
        rest = " ".join(name for name in peers if name not in lacking)
        raise ArgumentError(
            f"{', '.join(lacking)} need {' and '.join(packages)}, not installed here: "
            f'pip install -e ".[bench]", or measure those that are there with --peers {rest}'.rstrip()
        )


if __name__ == "__main__":
    run(main)
