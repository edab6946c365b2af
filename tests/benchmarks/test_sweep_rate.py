import json
import os
import subprocess
import sys
from typing import Any

import pytest
import sweep_rate
from worker_process import WorkerFailed

from jaxmlp.cli.session import available_cores


def test_a_sweep_is_timed() -> None:
    point = sweep_rate.measure(3, "cpu", epochs=1)
    assert point["count"] == 3
    assert len(point["seconds"]) == sweep_rate.RUNS
    assert point["networks_a_second"] == pytest.approx(3 / point["median_seconds"])
    assert point["first_seconds"] > 0
    assert 0.1 < point["best_score"] <= 1  # it learns more than chance


def test_it_measures_on_every_core_as_sweep_py_does() -> None:
    program = (
        "import sys, json, sweep_rate; sweep_rate.measure = "
        "lambda *given: {'devices': [str(one) for one in sweep_rate.jax.devices()], 'given': given}; "
        "sweep_rate.main('3', 'cpu', 'float32')"
    )
    environment = dict(os.environ) | {"PYTHONPATH": os.path.dirname(sweep_rate.__file__)}
    environment |= {"JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    told = json.loads(done.stdout)
    assert told["given"] == [3, "cpu", "float32"]
    assert len(told["devices"]) == available_cores()


def test_scikit_learn_trains_networks_of_the_sweep() -> None:
    told = sweep_rate.measure_sklearn(networks=2, epochs=3)
    assert len(told["seconds"]) == told["networks"] == 2
    assert 0.5 < told["best_score"] <= 1


@pytest.mark.parametrize(("device", "asked"), [("cpu:0", ["1", "2", "scikit-learn"]), ("gpu:0", ["1", "2"])])
def test_what_is_measured_where(device: str, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def in_a_process(*given: str) -> dict[str, Any]:
        calls.append(given)
        return {}

    monkeypatch.setattr(sweep_rate, "_in_a_process", in_a_process)
    result = sweep_rate.measure_rates(device, "tensorfloat32", (1, 2), lambda line: None)
    assert calls == [(what, device, "tensorfloat32") for what in asked]
    assert ("sklearn" in result) == (len(asked) == 3)
    assert "failure" not in result


def test_a_sweep_that_fails_is_told_and_what_finished_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    result = sweep_rate.measure_rates("gup", "float32", (1,), lambda line: None)
    assert result["points"] == []
    assert result["failure"].startswith("the sweep of 1 networks ended with status 1: ")
    assert "'gup'" in result["failure"]

    def in_a_process(what: str, *given: str) -> dict[str, Any]:
        if what == "64":
            raise WorkerFailed("no memory")
        return {"count": int(what)}

    monkeypatch.setattr(sweep_rate, "_in_a_process", in_a_process)
    result = sweep_rate.measure_rates("cpu", "float32", (1, 64, 256), lambda line: None)
    assert result["points"] == [{"count": 1}]
    assert result["failure"] == "no memory"
