"""Sweeps are timed on every core, beside scikit-learn, and what fails leaves what finished."""

from typing import Any

import pytest
import sweeps
from processes import ProcessFailed, in_process

from jaxmlp.cli.session import available_cores


@pytest.mark.slow
def test_a_sweep_is_timed_on_every_core_as_the_command_does() -> None:
    point = in_process("a sweep", sweeps.measure, "cpu", 3, "cpu", "float32", 1)
    assert (point["count"], point["devices"]) == (3, available_cores())
    assert len(point["seconds"]) == sweeps.RUNS
    assert point["networks_a_second"] == pytest.approx(3 / point["median_seconds"])
    assert point["first_seconds"] > 0
    assert 0.1 < point["best_score"] <= 1  # it learns more than chance


def test_scikit_learn_trains_networks_of_the_sweep() -> None:
    told = sweeps.measure_sklearn(networks=2, epochs=3)
    assert len(told["seconds"]) == told["networks"] == 2
    assert 0.5 < told["best_score"] <= 1


@pytest.mark.parametrize(
    ("device", "fails_at", "asked"),
    [("cpu:0", 0, [1, 64, "sklearn"]), ("gpu:0", 0, [1, 64]), ("cpu:0", 64, [1, 64])],
)
def test_what_is_measured_where_and_what_finished_is_kept(
    device: str, fails_at: int, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def in_process(what: str, function: Any, where: str, *given: Any) -> dict[str, Any]:
        assert where == device
        calls.append(given[0] if function is sweeps.measure else "sklearn")
        if calls[-1] == fails_at:
            raise ProcessFailed("no memory")
        return {"count": calls[-1]}

    monkeypatch.setattr(sweeps, "in_process", in_process)
    result = sweeps.measure_rates(device, "tensorfloat32", (1, 64))
    assert calls == asked
    assert [point["count"] for point in result["points"]] == [1, 64][: 1 if fails_at else 2]
    assert ("sklearn" in result) == ("sklearn" in asked)
    assert result.get("failure") == ("no memory" if fails_at else None)
