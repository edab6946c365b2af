"""Sweeps are timed on every core, beside scikit-learn, and what fails leaves what finished."""

from typing import Any

import pytest
import sweeps
from processes import ProcessFailed, in_process

from jaxmlp.cli.session import available_cores


@pytest.mark.slow
def test_a_sweep_is_timed_on_every_core_as_the_command_does() -> None:
    given = {"count": 3, "device": "cpu", "precision": "float32", "epochs": 1}
    point = in_process("a sweep", "sweeps.measure", "cpu", given)
    assert (point["count"], point["devices"]) == (3, available_cores())
    assert len(point["seconds"]) == sweeps.RUNS
    assert point["networks_a_second"] == pytest.approx(3 / point["median_seconds"])
    assert point["first_seconds"] > 0
    assert 0.1 < point["best_score"] <= 1  # it learns more than chance


def test_scikit_learn_trains_networks_of_the_sweep() -> None:
    told = sweeps.measure_sklearn(networks=2, epochs=3)
    assert len(told["seconds"]) == told["networks"] == 2
    assert 0.5 < told["best_score"] <= 1


@pytest.mark.parametrize(("device", "asked"), [("cpu:0", [1, 2, "sklearn"]), ("gpu:0", [1, 2])])
def test_what_is_measured_where(device: str, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def in_process(what: str, function: str, where: str, given: dict[str, Any]) -> dict[str, Any]:
        assert where == device
        calls.append(given.get("count", "sklearn"))
        return {}

    monkeypatch.setattr(sweeps, "in_process", in_process)
    result = sweeps.measure_rates(device, "tensorfloat32", (1, 2))
    assert calls == asked
    assert ("sklearn" in result) == (len(asked) == 3)
    assert "failure" not in result


def test_a_sweep_that_fails_is_told_and_what_finished_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_process(what: str, function: str, device: str, given: dict[str, Any]) -> dict[str, Any]:
        if given["count"] == 64:
            raise ProcessFailed("no memory")
        return {"count": given["count"]}

    monkeypatch.setattr(sweeps, "in_process", in_process)
    result = sweeps.measure_rates("cpu", "float32", (1, 64, 256))
    assert result["points"] == [{"count": 1}]
    assert result["failure"] == "no memory"
