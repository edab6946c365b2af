"""The benchmark's figures as tables, for a terminal and for the README alike."""

import statistics
from collections.abc import Sequence

from measurement import Result
from peers import OURS
from targets import ACCURACY, Target, floor_seconds, is_accurate, measured, peer

from jaxmlp.cli.text import amount, seconds

OPTIMIZER_NAMES = {"sgd": "SGD", "momentum": "momentum 0.9", "adam": "Adam"}
# A difference of losses is far when it is so many times what roundings grew to, and above what sums in another
# order come to.
FAR, LEAST_DIFFERENCE = 10, 1e-6
SCORE_NAMES = {"classification": "test accuracy", "regression": "test R²"}


def rate(value: float) -> str:
    """Write floating-point operations a second."""
    return f"{value / 1e9:.0f} Gflop/s" if value < 1e12 else f"{value / 1e12:.1f} Tflop/s"


def case_heading(case: Result) -> str:
    """Name a case: network, batch, optimiser, data."""
    return (
        f"{case['title']}, {OPTIMIZER_NAMES[case['optimizer']]} (learning rate {case['learning_rate']:g}), "
        f"an epoch of {case['examples']:,} examples ({case['data']})"
    )


def case_rows(case: Result) -> list[list[str]]:
    """Lay out a case: a heading row, and a row a peer, ours first, then by time."""
    turns = max((len(one.get("seconds", ())) for one in case["peers"]), default=0)
    rows = [
        [
            "",
            f"median of {turns}",
            "least to largest",
            "against ours",
            f"{SCORE_NAMES[case['task']]} after {case['epochs']}",
            "loss of epoch 1 differs by",
            "temporaries",
        ]
    ]
    order = ("ours", "reference", "peer")
    ranked = sorted(measured(case), key=lambda one: (order.index(one["kind"]), one["median_seconds"]))
    return rows + [_row(one, case["task"]) for one in ranked]


def _row(one: Result, task: str) -> list[str]:
    ours = one["name"] == OURS
    return [
        one["title"],
        seconds(one["median_seconds"]),
        spread(one),
        "1" if ours else f"{one['time_relative_to_ours']:.2f} × as long",
        score_text(one["score"], task),
        "" if ours else f"{one['loss_difference']:.1e}",
        amount(one["temporaries_bytes"]),
    ]


def score_text(score: float, task: str) -> str:
    """Write an accuracy in per cent, an R² as it is."""
    return f"{100 * score:.2f} %" if task == "classification" else f"{score:.4f}"


def case_notes(case: Result) -> list[str]:
    """Say what the machine could do at best, and who could not be measured."""
    ours = peer(case, OURS)
    assert ours is not None
    notes = []
    for cores, ceiling in sorted(case["ceilings"].items(), key=lambda pair: int(pair[0])):
        counted = "1 core" if cores == "1" else f"{cores} cores"
        notes.append(
            f"matrix products alone on {counted}: {seconds(ceiling['epoch_seconds'])} "
            f"({rate(ceiling['operations_a_second'])}; a large product {rate(ceiling['large_operations_a_second'])})"
        )
    floor = floor_seconds(case)
    share = floor / ours["median_seconds"]
    notes.append(
        f"matmul floor, each product where it is fastest: {seconds(floor)}; "
        f"jaxmlp takes {1 / share:.2f} × as long, {100 * share:.0f} % of that rate"
    )
    notes.append(
        f"one rounding of the initial weights changes jaxmlp's loss of epoch 1 by {case['rounding_grows_to']:.1e}: "
        "differences of that order are no other updates"
    )
    far = FAR * max(case["rounding_grows_to"], LEAST_DIFFERENCE)
    notes += [
        f"{one['title']}'s loss of epoch 1 differs by {one['loss_difference']:.1e}, "
        "far above what that rounding grew to: its arithmetic is another, or its updates are"
        for one in measured(case)
        if not one["loss_difference"] <= far
    ]
    operations = next(iter(case["ceilings"].values()))["epoch_operations"]
    notes.append(
        f"jaxmlp: {operations / 1e9:.3g} Gflop an epoch, {rate(operations / ours['median_seconds'])}"
    )
    notes += [
        f"{one['title']} was not measured: {one['failure']}" for one in case["peers"] if "failure" in one
    ]
    return notes


def target_rows(found: Sequence[Target]) -> list[list[str]]:
    """Lay out the targets beside the figures."""
    said = {True: "reached", False: "not reached", None: ""}
    rows = [["target", "wanted", "figure", ""]]
    return rows + [[target.what, target.wanted, target.figure, said[target.reached]] for target in found]


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
    what = f"a sweep of {rates['case']}, {rates['epochs']} epochs"
    rows = [[what, f"median of {runs}", "least to largest", "with compilation", "networks a second"]]
    for point in rates["points"]:
        count = "1 network" if point["count"] == 1 else f"{point['count']:,} networks"
        compiling, rate_of = seconds(point["first_seconds"]), f"{point['networks_a_second']:,.1f}"
        rows.append([count, seconds(point["median_seconds"]), spread(point), compiling, rate_of])
    if "sklearn" in rates:
        one = rates["sklearn"]
        median, name = one["median_seconds"], f"scikit-learn, one of {one['networks']} networks"
        rows.append([name, seconds(median), spread(one), "", f"{1 / median:,.1f}"])
    return rows


def spread(summary: Result) -> str:
    """Write the least and the largest of some times."""
    return f"{seconds(summary['least_seconds'])} to {seconds(summary['largest_seconds'])}"
