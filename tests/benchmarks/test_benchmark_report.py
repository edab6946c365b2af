"""Results are written as tables, and the README says what the committed results say."""

import json
from pathlib import Path
from typing import Any

import pytest
import report
from benchmark import far_notes, floor_rows, parts, ratio_rows, sweep_rows, time_to_accuracy_rows
from command_runs import EXPERIMENTS, run_experiment
from measurement import comments, floor_seconds

from jaxmlp.cli.text import aligned, markdown, seconds

RESULTS, README = EXPERIMENTS / "results", EXPERIMENTS / "README.md"


def times(median: float, **more: Any) -> dict[str, Any]:
    named = dict.fromkeys(("median_seconds", "least_seconds", "largest_seconds"), median)
    return {"seconds": [median] * 3} | named | more


def a_peer(name: str, kind: str, median: float, **more: Any) -> dict[str, Any]:
    shown = {"name": name, "title": name, "kind": kind, "time_relative_to_ours": median}
    return (
        shown | {"score": 0.975, "loss_difference": 1e-7, "temporaries_bytes": None} | times(median, **more)
    )


def a_case(name: str, floor: float = 0.8) -> dict[str, Any]:
    def ceiling(seconds: float) -> dict[str, Any]:
        rates = {"epoch_operations": 8e10, "operations_a_second": 1e11, "large_operations_a_second": 2e11}
        return rates | {"epoch_seconds": seconds, "products": [{"best_seconds": seconds / 2 / 1875}] * 2}

    return {
        "case": name,
        "title": "784-300-10, batch 32",
        "optimizer": "sgd",
        "task": "classification",
        "data": "MNIST",
        "examples": 60_000,
        "batch_size": 32,
        "rounding_grows_to": 3e-6,
        "peers": [
            a_peer("jaxmlp", "ours", 1.0, temporaries_bytes=2**20),
            a_peer("jax_grad", "reference", 1.1, temporaries_bytes=2**20),
            a_peer("torch", "peer", 2.0, score=0.96),
            a_peer("sklearn", "peer", 2.5),
            {"name": "flax", "title": "flax", "kind": "peer", "failure": "it broke"},
        ],
        "ceilings": {"1": ceiling(3 * floor), "2": ceiling(floor)},
    }


def a_result(**more: Any) -> dict[str, Any]:
    programs = [
        {"name": "jaxmlp", "title": "jaxmlp", "accuracies": [0.981]} | times(2.5),
        {"name": "torch", "title": "PyTorch", "accuracies": [0.981]} | times(4.0),
        {"name": "sklearn", "title": "sk", "accuracies": [0.98]} | times(10.0),
    ]
    return {
        "command": ["python", "experiments/benchmarks/benchmark.py"],
        "machine": {"processor": "a processor", "python": "3.11", "cores": 2, "versions": {"jax": "0.10"}},
        "device": "cpu",
        "repeats": 3,
        "cases": [a_case("mnist_300")],
        "time_to_accuracy": {"what": "whole", "seeds": [0], "programs": programs},
    } | more


def rates(*points: tuple[int, float]) -> dict[str, Any]:
    measured = [
        times(taken, count=count, first_seconds=taken + 2, networks_a_second=count / taken)
        for count, taken in points
    ]
    alone = {"networks": 5, "median_seconds": 2.5, "least_seconds": 2.0, "largest_seconds": 3.0}
    return {"case": "digits", "epochs": 50, "points": measured, "sklearn": alone}


def test_the_floor_takes_each_product_where_it_is_fastest() -> None:
    case = a_case("mnist_300")
    case["ceilings"]["1"]["products"] = [{"best_seconds": 0.1 / 1875}, {"best_seconds": 9.0}]
    assert floor_seconds(case) == pytest.approx(0.1 + 0.4)


def test_each_network_of_a_sweep_stands_beside_sklearns() -> None:
    assert "2.000 s to 3.000 s" in aligned(sweep_rows(rates((256, 29.0))))


def test_a_program_short_of_the_accuracy_is_marked() -> None:
    result = a_result()
    whole = result["time_to_accuracy"]
    whole["programs"][2]["accuracies"] = [0.9799]
    told = aligned(time_to_accuracy_rows(whole)).splitlines()
    assert [line.endswith("short of 98.0 %") for line in told] == [False, False, False, True]
    whole["programs"][1] = {"name": "torch", "title": "PyTorch", "failure": "it broke"}
    assert "failed" in aligned(time_to_accuracy_rows(whole))


@pytest.mark.parametrize(
    ("difference", "named"), [(1e-7, False), (2e-5, False), (4e-5, True), (float("nan"), True)]
)
def test_a_difference_far_above_a_rounding_is_named(difference: float, named: bool) -> None:
    case = a_case("mnist_300")  # in which a rounding grows to 3e-6
    case["peers"][2]["loss_difference"] = difference
    assert any("torch's loss of epoch 1" in note for note in far_notes([case])) is named
    assert f"{difference:.1e}" in floor_rows([case])[1]


def test_the_tables_of_a_case_say_who_is_how_fast_and_what_the_machine_can_do() -> None:
    cases = [a_case("mnist_300")]
    _, row = ratio_rows(cases)
    name = "784-300-10, batch 32, SGD (MNIST)"
    assert row[:5] == [name, "1.000 s (1.000 s to 1.000 s)", "1.10 ×", "2.00 ×", "2.50 ×"]
    assert row[5:] == ["97.50 % (96.00 %)", "1.25 ×"]
    _, row = floor_rows(cases)
    assert row[:3] == [name, "80 Gflop", "80 Gflop/s"]
    assert row[3] == "2.400 s, 100 Gflop/s of 200 Gflop/s"
    assert row[5:] == ["3.0e-06", "1.0e-07", "1.00 MiB"]
    assert f"flax was not measured for {name}: it broke." in parts(a_result())
    assert "Not finished: a case." in parts(a_result(failures=["a case"]))


def test_tables_are_set_in_columns() -> None:
    assert aligned([["", "b"], ["long", "1"]]) == "      b\nlong  1"
    assert markdown([["a", "b"], ["1|2", "3"]]) == "| a | b |\n| --- | --- |\n| 1/2 | 3 |"
    assert [seconds(value) for value in (0.6401, 12.34, 0.00371)] == ["0.640 s", "12.3 s", "3.71 ms"]


def test_the_report_rewrites_its_block_and_nothing_else(tmp_path: Path) -> None:
    results, readme = tmp_path / "results", tmp_path / "README.md"
    results.mkdir()
    (results / "benchmark.json").write_text(json.dumps(a_result()), encoding="utf-8")
    begin, end = comments("benchmark")
    readme.write_text(f"# Above\n\n{begin}\nold\n{end}\n\nbelow\n", encoding="utf-8")
    arguments = ("--results", results, "--readme", readme, "--figures", tmp_path)
    outcome = run_experiment("report", *arguments)
    assert outcome.status == 0, outcome.err
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# Above\n\n{begin}\n`python experiments/benchmarks/benchmark.py`: a processor")
    assert text.endswith(f"{end}\n\nbelow\n")
    assert "old" not in text
    assert "| 784-300-10, batch 32, SGD (MNIST) | 1.000 s (1.000 s to 1.000 s) | 1.10 ×" in text
    assert (tmp_path / "benchmark.png").stat().st_size > 0
    run_experiment("report", *arguments)
    assert readme.read_text(encoding="utf-8") == text


# What is altered in each result file for its block to say something else.
ALTERED: dict[str, Any] = {
    "benchmark": lambda result: result["cases"][0]["peers"][0].update(median_seconds=9.0),
    "startup": lambda result: result["cases"]["digits"]["first"].update(wall=99.0),
    "growth": lambda result: result["series"]["width"]["slopes"]["seconds"].update(all=9.0),
    "stream": lambda result: result["points"][0].update(rows_per_second=9.0),
    "devices": lambda result: result["rows"][0].update(seconds=[9.0, 9.0]),
    "checkpoints": lambda result: next(iter(result["cases"].values())).update(ratios=[9.0]),
}


@pytest.mark.parametrize("block", list(report.BLOCKS))
def test_the_readme_says_what_the_committed_results_say(block: str) -> None:
    text = README.read_text(encoding="utf-8")
    results = {block: report.read_results(RESULTS)[block]}
    assert report.rewritten(text, results, README.name) == text
    assert " ".join(results[block]["command"]) in text
    ALTERED[block](results[block])
    assert report.rewritten(text, results, README.name) != text
