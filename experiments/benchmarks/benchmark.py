"""Measure training against its peers and against the machine, in one command."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from cases import CASES, OPTIMIZERS
from epochs import QUICK_CASES, BenchmarkOptions, measure
from measurement import (
    ACCURACY,
    Part,
    Result,
    check,
    describe,
    finish,
    floor_seconds,
    is_accurate,
    measured,
    peer,
    spread,
)
from peers import AUTODIFF, OURS, PEERS, missing_packages, peers_on
from sweeps import COUNTS, measure_rates
from time_to_accuracy import measure_time_to_accuracy

from jaxmlp import ArgumentError
from jaxmlp.cli.parser import parse_options
from jaxmlp.cli.session import find_device, run
from jaxmlp.cli.text import amount, counted, seconds
from jaxmlp.registry import unknown_name

DESCRIPTION = """Measure an epoch of training against scikit-learn, PyTorch (eager, compiled), NumPy by hand,
flax.nnx and a jitted JAX step in a Python loop. All go from the same parameters over the same batches. The time of
the matrix products only is measured too. Each peer lives in its own process; they train in turn. The figures
to look at are the ratios of the medians. Takes some 20 minutes on 2 cores; --quick some 3."""

PRECISIONS = ("float32", "tensorfloat32")
OPTIMIZER_NAMES = {"sgd": "SGD", "momentum": "momentum 0.9", "adam": "Adam"}
# A difference of losses is far when it is so many times what roundings grew to, and above what sums in another
# order come to.
FAR, LEAST_DIFFERENCE = 10, 1e-6


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
    others = [*more.get("time_to_accuracy", {}).get("programs", ()), more.get("sweep", {})]
    failures += [one["failure"] for one in others if "failure" in one]
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


# --- the tables, on a terminal and in experiments/README.md alike ---


def parts(result: Result) -> list[Part]:
    """Lay out a whole benchmark."""
    cases = result["cases"]
    failed = {
        f"{one['title']} was not measured for {name_of(case)}: {one['failure']}."
        for case in cases
        for one in case["peers"]
        if "failure" in one
    }
    found: list[Part] = [ratio_rows(cases), floor_rows(cases), *far_notes(cases), *sorted(failed)]
    found += [f"Not finished: {failure}." for failure in result.get("failures", ())]
    if "time_to_accuracy" in result:
        found.append(time_to_accuracy_rows(result["time_to_accuracy"]))
    if "sweep" in result:
        found.append(sweep_rows(result["sweep"]))
    return found


def name_of(case: Result) -> str:
    """Name a case: network, batch, optimiser, data."""
    return f"{case['title']}, {OPTIMIZER_NAMES[case['optimizer']]} ({case['data']})"


def score_text(score: float, task: str) -> str:
    """Write an accuracy in per cent, an R² as it is."""
    return f"{100 * score:.2f} %" if task == "classification" else f"{score:.4f}"


def rate(value: float) -> str:
    """Write floating-point operations a second."""
    return f"{value / 1e9:.0f} Gflop/s" if value < 1e12 else f"{value / 1e12:.1f} Tflop/s"


def ratio_rows(cases: Sequence[Result]) -> list[list[str]]:
    """Lay out times: a row a case and optimiser, a column a peer."""
    names = [name for name in PEERS if name != OURS and any(peer(case, name) for case in cases)]
    rows = [["an epoch of", OURS, *(PEERS[name].short for name in names), "score (farthest)", "floor"]]
    for case in cases:
        ours = peer(case, OURS)
        assert ours is not None
        farthest = max((one["score"] for one in measured(case)), key=lambda score: abs(score - ours["score"]))
        others = [peer(case, name) for name in names]
        scores = f"{score_text(ours['score'], case['task'])} ({score_text(farthest, case['task'])})"
        ratios = ["" if one is None else f"{one['time_relative_to_ours']:.2f} ×" for one in others]
        floor = f"{ours['median_seconds'] / floor_seconds(case):.2f} ×"
        own = f"{seconds(ours['median_seconds'])} ({spread(ours)})"
        rows.append([name_of(case), own, *ratios, scores, floor])
    return rows


def floor_rows(cases: Sequence[Result]) -> list[list[str]]:
    """Lay out what the machine could do at best, what differs, and what memory an epoch needs."""
    counts = sorted({count for case in cases for count in case["ceilings"]}, key=int)
    products = (f"products, {counted(int(count), 'core')}" for count in counts)
    rows = [["an epoch of", "operations", "jaxmlp", *products]]
    rows[0] += ["a rounding moves the loss by", "farthest loss", "temporaries"]
    for case in cases:
        ours, ceilings = peer(case, OURS), case["ceilings"]
        assert ours is not None
        operations = next(iter(ceilings.values()))["epoch_operations"]
        row = [name_of(case), f"{operations / 1e9:.3g} Gflop", rate(operations / ours["median_seconds"])]
        for count in counts:
            of_step, of_large = (
                rate(ceilings[count][f"{what}operations_a_second"]) for what in ("", "large_")
            )
            row.append(f"{seconds(ceilings[count]['epoch_seconds'])}, {of_step} of {of_large}")
        farthest = np.max([one["loss_difference"] for one in measured(case)])
        losses = [f"{case['rounding_grows_to']:.1e}", f"{farthest:.1e}"]
        rows.append([*row, *losses, amount(ours["temporaries_bytes"])])
    return rows


def far_notes(cases: Sequence[Result]) -> list[str]:
    """Name whose updates are others than ours."""
    return [
        f"{one['title']}'s loss of epoch 1 differs by {one['loss_difference']:.1e} for {name_of(case)}, far above what "
        "a rounding grew to: its arithmetic is another, or its updates are."
        for case in cases
        for one in measured(case)
        if not one["loss_difference"] <= FAR * max(case["rounding_grows_to"], LEAST_DIFFERENCE)
    ]


def time_to_accuracy_rows(result: Result) -> list[list[str]]:
    """Lay out whole processes from prepared data to a trained network."""
    rows = [["whole process", f"median of {len(result['seeds'])} seeds", "least to largest", "test accuracy"]]
    for program in result["programs"]:
        if "failure" in program:
            rows.append([program["title"], "failed", "", ""])
            continue
        accuracies = sorted(program["accuracies"])
        median = f"{100 * statistics.median(accuracies):.2f} %"
        short = "" if is_accurate(program) else f", short of {100 * ACCURACY:.1f} %"
        accuracy = f"{median} ({100 * accuracies[0]:.2f} to {100 * accuracies[-1]:.2f} %){short}"
        rows.append([program["title"], seconds(program["median_seconds"]), spread(program), accuracy])
    return rows


def sweep_rows(rates: Result) -> list[list[str]]:
    """Lay out how fast sweeps are by how many networks they train at a time."""
    runs = max((len(point["seconds"]) for point in rates["points"]), default=0)
    what = f"a sweep of {rates['case']}, {counted(rates['epochs'], 'epoch')}"
    rows = [[what, f"median of {runs}", "least to largest", "with compilation", "networks a second"]]
    for point in rates["points"]:
        count = counted(point["count"], "network")
        compiling, rate_of = seconds(point["first_seconds"]), f"{point['networks_a_second']:,.1f}"
        rows.append([count, seconds(point["median_seconds"]), spread(point), compiling, rate_of])
    if "sklearn" in rates:
        one = rates["sklearn"]
        median, name = one["median_seconds"], f"scikit-learn, one of {one['networks']} networks"
        rows.append([name, seconds(median), spread(one), "", f"{1 / median:,.1f}"])
    return rows


if __name__ == "__main__":
    run(main)
