import json
from pathlib import Path
from typing import Any, cast

import benchmark
import benchmark_cases
import benchmark_run
import contestants
import numpy as np
import pytest
from benchmark import BenchmarkOptions
from benchmark_cases import Case, Data, Place
from benchmark_run import Run
from command_runs import run_experiment
from contestants import CONTESTANTS, OURS
from contestants.job import write_layers
from worker_process import WorkerFailed, WorkerProcess, process_environment

from jaxmlp import ArgumentError
from jaxmlp.cli.text import machine_line


def small_images(place: Place) -> Data:
    return benchmark_cases.generated_images(70, 40, 6, 3)


def small_table(place: Place) -> Data:
    return benchmark_cases.tabular(place, 70, 40, 5)


RATES = {"sgd": 0.1, "momentum": 0.02, "adam": 1e-3}
SMALL = {
    "images": Case((6, 5, 3), 16, small_images, "classification", RATES),
    "table": Case((5, 4, 1), 16, small_table, "regression", RATES, epochs_a_turn=3),
}


@pytest.fixture
def small_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, case in SMALL.items():
        monkeypatch.setitem(benchmark_cases.CASES._things, name, case)


@pytest.mark.slow
def test_it_measures_prints_and_writes(small_cases: None, tmp_path: Path) -> None:
    outcome = run_experiment(
        "benchmark",
        *("--cases", "images", "table", "--optimizers", "sgd", "--peers", "numpy"),
        *("--repeats", "2", "--no-race", "--no-sweep", "--out", tmp_path / "result.json"),
    )
    assert outcome.status == 0, outcome.err
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["repeats"] == 2
    assert {"jax", "jaxlib", "numpy", "scikit-learn"} <= set(result["machine"]["versions"])
    assert [(case["case"], case["epochs"]) for case in result["cases"]] == [("images", 3), ("table", 7)]
    for case in result["cases"]:
        check_case(case, outcome.out)


def check_case(case: dict[str, Any], printed: str) -> None:
    assert case["title"] in printed
    assert [one["name"] for one in case["contestants"]] == ["jaxmlp", "jax_grad", "numpy"]
    ours = case["contestants"][0]
    for one in case["contestants"]:
        assert "failure" not in one
        assert one["title"] in printed
        assert len(one["seconds"]) == 2
        assert 0 < one["least_seconds"] <= one["median_seconds"] <= one["largest_seconds"]
        ratio = one["median_seconds"] / ours["median_seconds"]
        assert one["time_relative_to_ours"] == pytest.approx(ratio)
        # The same parameters, the same batches, the same arithmetic.
        assert one["loss_difference"] < 1e-5
        assert one["largest_parameter_difference"] < 1e-5
        assert one["score"] == pytest.approx(ours["score"], abs=1e-3)
        assert (one["temporaries_bytes"] is not None) == (one["name"] in ("jaxmlp", "jax_grad"))
    assert 0 <= case["rounding_grows_to"] < 1e-5
    for ceiling in case["ceilings"].values():
        assert ceiling["epoch_seconds"] > 0
        each = sum(product["operations"] for product in ceiling["products"])
        assert ceiling["epoch_operations"] == pytest.approx(each * case["examples"] / case["batch_size"])


class FakeWorker:
    """Answers as a worker does, until it is to fail at something."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.asked: list[str] = []

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.asked.append(do)
        if do == self.fails_at:
            raise WorkerFailed("ValueError: it has had enough")
        if do == "write":
            write_layers(Path(arguments["path"]), [(np.ones((1, 1)), np.ones(1))])
        return {
            "set_up": {"seconds": 1.0, "temporaries": None},
            "train": {"seconds": [2.0] * 3, "losses": [0.5] * 3},
            "measure": {"score": 0.75},
        }.get(do, {})


def run_of(worker: FakeWorker, folder: Path, name: str = "numpy") -> Run:
    run = Run(name, cast(WorkerProcess, worker))
    run.attempt(run.begin, folder)
    run.attempt(run.train, [1, 2, 3])
    run.attempt(run.finish)
    return run


@pytest.mark.parametrize("fails_at", ["set_up", "train", "measure"])
def test_a_contestant_that_fails_is_named_and_asked_no_more(fails_at: str, tmp_path: Path) -> None:
    ours, worker = run_of(FakeWorker(), tmp_path, OURS), FakeWorker(fails_at)
    summary = run_of(worker, tmp_path).summary(ours, tmp_path)
    assert summary["failure"] == "ValueError: it has had enough"
    assert "median_seconds" not in summary
    assert worker.asked[-1] == fails_at


def test_a_summary_compares_with_ours(tmp_path: Path) -> None:
    ours = run_of(FakeWorker(), tmp_path, OURS)
    other = run_of(FakeWorker(), tmp_path)
    other.seconds, other.first["first_epoch_loss"] = [3.0, 9.0, 4.0], 0.6
    summary = other.summary(ours, tmp_path)
    assert (summary["least_seconds"], summary["median_seconds"], summary["largest_seconds"]) == (3, 4, 9)
    assert ours.seconds == [2.0]  # of an epoch, where a turn has three
    assert summary["time_relative_to_ours"] == 2
    assert summary["loss_difference"] == pytest.approx(0.2)
    assert summary["largest_parameter_difference"] == 0
    assert summary["score"] == 0.75


def test_a_process_that_ends_leaves_its_last_words() -> None:
    with WorkerProcess("no such contestant", "cpu") as worker:
        with pytest.raises(WorkerFailed, match="unknown contestant"):
            worker.ask("set_up", job="nowhere")
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(WorkerFailed, match="its process ended with status -9"):
            worker.ask("set_up", job="nowhere")


def test_each_turn_has_an_order_of_its_own_and_all_epochs_are_trained() -> None:
    runs = cast(list[Run], list("abcdef"))
    orders = ["".join(map(str, benchmark_run._shuffled(runs, turn))) for turn in range(6)]
    assert all(sorted(order) == list("abcdef") for order in orders)
    assert orders[0] == "".join(map(str, benchmark_run._shuffled(runs, 0)))  # seeded
    before_a = {order[order.index("a") - 1] for order in orders if order[0] != "a"}
    assert len(before_a) > 1  # a rotation would keep the same one before each
    assert list(benchmark_run._turns(2, 3)) == [[1, 2, 3], [4, 5, 6]]


def test_a_difference_that_is_not_a_number_shows() -> None:
    sound, broken = (np.zeros((2, 2)), np.zeros(2)), (np.full((2, 2), np.nan), np.zeros(2))
    # Python's own max would keep the number that came first.
    assert np.isnan(benchmark_run.largest_difference([sound, broken], [sound, sound]))


@pytest.fixture
def fake_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark whose parts fail in part, without measuring."""
    race = {
        "what": "whole processes",
        "seeds": [0],
        "runners": [{"name": OURS, "title": "jaxmlp", "failure": "jaxmlp ended with status 1: it broke"}],
    }
    rates = {"case": "digits", "epochs": 50, "points": [], "failure": "the sweep of 1 networks failed"}
    monkeypatch.setattr(benchmark, "measure_race", lambda *arguments: race)
    monkeypatch.setattr(benchmark, "measure_rates", lambda *arguments: rates)


def test_what_finished_is_kept_where_something_fails(
    small_cases: None, fake_parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_case(plan: Any, case: Any, data: Any, optimizer: str, *more: Any) -> dict[str, Any]:
        if optimizer == "adam":
            raise WorkerFailed("the ceiling's process ended")
        return {"optimizer": optimizer}

    class NoWorker:
        def close(self) -> None:
            pass

    monkeypatch.setattr(benchmark_run, "measure_case", measure_case)
    monkeypatch.setattr(benchmark_run, "_start", lambda plan: benchmark_run.Field({OURS: NoWorker()}, {}))  # type: ignore[dict-item]
    monkeypatch.setattr(benchmark, "text", lambda result: f"{len(result['cases'])} cases")
    out = tmp_path / "result.json"
    outcome = run_experiment(
        "benchmark", "--cases", "images", "--optimizers", "sgd", "adam", "--peers", "numpy", "--out", out
    )
    assert outcome.status == 1
    assert outcome.out == "1 cases\n"
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["cases"] == [{"case": "images", "optimizer": "sgd"}]
    assert outcome.err.splitlines()[-3:] == [
        "benchmark.py: images, adam was not measured: the ceiling's process ended",
        "benchmark.py: jaxmlp ended with status 1: it broke",
        "benchmark.py: the sweep of 1 networks failed",
    ]
    assert len(result["failures"]) == 3


@pytest.mark.parametrize(("device", "hidden"), [("cpu:0", True), ("gpu:0", False), ("", False)])
def test_on_a_cpu_a_process_finds_no_gpu(device: str, hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    environment = process_environment(device)
    assert environment["CUDA_VISIBLE_DEVICES"] == ("" if hidden else "0")
    assert environment.get("JAX_PLATFORMS") == ("cpu" if hidden else None)


def test_the_floor_is_the_steps_times_the_faster_products() -> None:
    def turn(first: float, second: float, large: float) -> list[dict[str, Any]]:
        product = {"operations": 10}
        return [
            product | {"seconds": {"XLA": first, "BLAS": 2 * first}},
            product | {"seconds": {"XLA": 3 * second, "BLAS": second}},
            {"operations": 100, "seconds": {"XLA": large, "BLAS": large}},
        ]

    rounds = [turn(1.0, 2.0, 4.0), turn(1.0, 2.0, 4.0), turn(50.0, 2.0, 4.0)]
    summary = benchmark_run.ceiling_summary(rounds, steps=2.5)
    assert summary["epoch_seconds"] == 2.5 * (1 + 2)
    assert summary["epoch_operations"] == 50
    assert summary["operations_a_second"] == pytest.approx(20 / 3)
    assert summary["large_operations_a_second"] == 25


@pytest.mark.parametrize("name", [name for name in CONTESTANTS if CONTESTANTS[name].packages])
def test_what_is_missing_is_said_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contestants.importlib.util, "find_spec", lambda package: None)
    packages = CONTESTANTS[name].packages
    assert contestants.missing_packages(name) == packages
    with pytest.raises(ArgumentError) as refused:
        benchmark._check_packages((name, "numpy"))
    line = str(refused.value)
    assert f"{name} need {' and '.join(packages)}, not installed here" in line
    assert 'pip install -e ".[bench]"' in line
    assert line.endswith("--peers numpy")


def test_peers_are_those_of_the_device() -> None:
    assert "torch_cuda_graph" not in contestants.peers_on("cpu")
    assert {"numpy", "sklearn"} <= set(contestants.peers_on("cpu"))
    assert not {"numpy", "sklearn"} & set(contestants.peers_on("gpu"))


def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(benchmark.os, "getloadavg", lambda: (1.7, 0, 0))
    assert benchmark.tell_load() == 1.7
    assert "the machine is busy (load average 1.70" in capsys.readouterr().err
    monkeypatch.setattr(benchmark.os, "getloadavg", lambda: (0.1, 0, 0))
    assert benchmark.tell_load() == 0.1
    assert capsys.readouterr().err == ""


def test_settings_that_change_times_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    machine = benchmark.describe_machine_and_peers(None)
    assert machine["thread_settings"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "; OMP_WAIT_POLICY=PASSIVE" in machine_line(machine)


def test_quick_is_short() -> None:
    plan = benchmark.make_plan(BenchmarkOptions(quick=True, peers=("numpy",)))
    assert (plan.cases, plan.optimizers, plan.repeats) == (("mnist_300", "digits"), ("sgd",), 2)
