"""The benchmark measures every peer, compares with ours, and keeps what finished where something fails."""

import json
from pathlib import Path
from typing import Any, cast

import benchmark
import cases
import epochs
import peers
import pytest
from cases import Case
from command_runs import run_experiment
from comparisons import refused
from epochs import BenchmarkOptions, Run
from peers import OURS, PEERS
from processes import ProcessFailed, Worker

RATES = {"sgd": 0.1, "momentum": 0.02, "adam": 1e-3}
SMALL = {
    "images": Case((6, 5, 3), 16, lambda _: cases.generated_images(70, 40, 6, 3), "classification", RATES),
    "table": Case((5, 4, 1), 16, lambda place: cases.tabular(place, 70, 40, 5), "regression", RATES, 3),
}


@pytest.fixture
def small_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, case in SMALL.items():
        monkeypatch.setitem(cases.CASES._things, name, case)


@pytest.mark.slow
def test_it_measures_prints_and_writes(small_cases: None, tmp_path: Path) -> None:
    outcome = run_experiment(
        "benchmark",
        *("--cases", "images", "table", "--optimizers", "sgd", "--peers", "numpy"),
        *("--repeats", "2", "--no-time-to-accuracy", "--no-sweep", "--out", tmp_path / "result.json"),
    )
    assert outcome.status == 0, outcome.err
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["repeats"] == 2
    assert {"jax", "jaxlib", "numpy", "scikit-learn"} <= set(result["machine"]["versions"])
    assert [(case["case"], case["epochs"]) for case in result["cases"]] == [("images", 3), ("table", 7)]
    for case in result["cases"]:
        assert case["title"] in outcome.out
        assert [one["name"] for one in case["peers"]] == ["jaxmlp", "jax_grad", "numpy"]
        for one in case["peers"]:
            check_peer(one, case["peers"][0])
        assert 0 <= case["rounding_grows_to"] < 1e-5
        for ceiling in case["ceilings"].values():
            assert ceiling["epoch_seconds"] > 0
            each = sum(product["operations"] for product in ceiling["products"])
            assert ceiling["epoch_operations"] == pytest.approx(each * case["examples"] / case["batch_size"])


def check_peer(one: dict[str, Any], ours: dict[str, Any]) -> None:
    """The same parameters, the same batches, the same arithmetic."""
    assert len(one["seconds"]) == 2
    assert 0 < one["least_seconds"] <= one["median_seconds"] <= one["largest_seconds"]
    assert one["time_relative_to_ours"] == pytest.approx(one["median_seconds"] / ours["median_seconds"])
    assert one["loss_difference"] < 1e-5
    assert one["score"] == pytest.approx(ours["score"], abs=1e-3)
    assert (one["temporaries_bytes"] is not None) == (one["name"] in ("jaxmlp", "jax_grad"))


class FakeWorker:
    """Answers as a worker does, until it is to fail at something."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at, self.asked = fails_at, list[str]()

    def ask(self, do: Any, *given: Any) -> Any:
        self.asked.append(do.__name__)
        if do.__name__ == self.fails_at:
            raise ProcessFailed("ValueError: it has had enough")
        return {
            "set_up": None,
            "train": {"seconds": [2.0] * 3, "losses": [0.5] * 3},
            "measure": 0.75,
        }[do.__name__]


def run_of(worker: FakeWorker, name: str = "numpy") -> Run:
    run = Run(name, cast(Worker, worker))
    run.attempt(run.begin, None)
    run.attempt(run.train, [1, 2, 3])
    run.attempt(run.finish)
    return run


@pytest.mark.parametrize("fails_at", ["set_up", "train", "measure"])
def test_a_peer_that_fails_is_named_and_asked_no_more(fails_at: str) -> None:
    ours, worker = run_of(FakeWorker(), OURS), FakeWorker(fails_at)
    summary = run_of(worker).summary(ours)
    assert summary["failure"] == "ValueError: it has had enough"
    assert "median_seconds" not in summary
    assert worker.asked[-1] == fails_at


def test_a_summary_compares_with_ours() -> None:
    ours, other = (run_of(FakeWorker(), name) for name in (OURS, "numpy"))
    other.seconds, other.found["first_epoch_loss"] = [3.0, 9.0, 4.0], 0.6
    summary = other.summary(ours)
    assert (summary["least_seconds"], summary["median_seconds"], summary["largest_seconds"]) == (3, 4, 9)
    assert ours.seconds == [2.0]  # of an epoch, where a turn has three
    assert summary["time_relative_to_ours"] == 2
    assert summary["loss_difference"] == pytest.approx(0.2)
    assert summary["score"] == 0.75
    assert [list(epochs.epochs_of_turn(turn, 3)) for turn in range(2)] == [[1, 2, 3], [4, 5, 6]]


def test_what_finished_is_kept_where_something_fails(
    small_cases: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_case(plan: Any, case: Any, data: Any, optimizer: str, *more: Any) -> dict[str, Any]:
        if optimizer == "adam":
            raise ProcessFailed("the products' process ended")
        return {"optimizer": optimizer}

    programs = [{"name": OURS, "failure": "jaxmlp ended with status 1: it broke"}]
    rates = {"points": [], "failure": "the sweep of 1 networks failed"}
    monkeypatch.setattr(benchmark, "measure_time_to_accuracy", lambda *given: {"programs": programs})
    monkeypatch.setattr(benchmark, "measure_rates", lambda *given: rates)
    monkeypatch.setattr(epochs, "measure_case", measure_case)
    monkeypatch.setattr(epochs, "_start", lambda plan: epochs.Field({}, {}))
    monkeypatch.setattr(benchmark, "parts", lambda result: [f"{len(result['cases'])} cases"])
    given = ("--cases", "images", "--optimizers", "sgd", "adam", "--peers", "numpy")
    outcome = run_experiment("benchmark", *given, "--out", tmp_path / "result.json")
    assert outcome.status == 1
    assert outcome.out.endswith("\n1 cases\n")
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["cases"] == [{"case": "images", "optimizer": "sgd"}]
    assert outcome.err.splitlines()[-3:] == [
        "benchmark.py: images, adam was not measured: the products' process ended",
        "benchmark.py: jaxmlp ended with status 1: it broke",
        "benchmark.py: the sweep of 1 networks failed",
    ]
    assert len(result["failures"]) == 3


def test_the_floor_is_the_steps_times_the_faster_products() -> None:
    def turn(first: float, second: float, large: float) -> list[dict[str, Any]]:
        return [
            {"operations": 10, "seconds": {"XLA": first, "BLAS": 2 * first}},
            {"operations": 10, "seconds": {"XLA": 3 * second, "BLAS": second}},
            {"operations": 100, "seconds": {"XLA": large, "BLAS": large}},
        ]

    rounds = [turn(1.0, 2.0, 4.0), turn(1.0, 2.0, 4.0), turn(50.0, 2.0, 4.0)]
    summary = epochs.ceiling_summary(rounds, steps=2.5)
    assert summary["epoch_seconds"] == 2.5 * (1 + 2)
    assert summary["epoch_operations"] == 50
    assert summary["operations_a_second"] == pytest.approx(20 / 3)
    assert summary["large_operations_a_second"] == 25


@pytest.mark.parametrize("name", [name for name in PEERS if PEERS[name].packages])
def test_what_is_missing_is_said_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda package: None)
    (package,) = peers.missing_packages(name)
    words = f'{name} need {package}, not installed here: pip install -e ".[bench]"'
    assert refused(words, benchmark._check_packages, (name, "numpy")).endswith("--peers numpy")


def test_peers_are_those_of_the_device_and_quick_is_short() -> None:
    assert {"numpy", "sklearn"} <= set(peers.peers_on("cpu"))
    assert not {"numpy", "sklearn"} & set(peers.peers_on("gpu"))
    plan = benchmark.make_plan(BenchmarkOptions(quick=True, peers=("numpy",)))
    assert (plan.cases, plan.optimizers, plan.repeats) == (("mnist_300", "digits"), ("sgd",), 2)
