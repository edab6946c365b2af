"""Growth is measured point by point in fresh processes, and its slopes are those of the upper half."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import growth
import measurement
import pytest
from command_runs import run_experiment
from growth import GrowthOptions, Point
from processes import ProcessFailed

LEAST = growth.LEAST["memory_bytes"]
SMALL = Point(examples=50, features=4, width=8, depth=2, batch_size=16, epochs=2)


def curve(seconds: Any, values: tuple[float, ...] = (1, 10, 100, 1000)) -> list[dict[str, Any]]:
    """Points of a quantity by what is varied."""
    return [{"value": value, "seconds": seconds(value), "memory_bytes": seconds(value)} for value in values]


@pytest.mark.parametrize(
    ("points", "quantity", "overall", "upper"),
    [
        *((curve(lambda x, k=k: 3.0 * x**k), "seconds", k, k) for k in (-1.0, 0.0, 2.0)),
        (curve(lambda x: max(3.0 * x, 300.0)), "seconds", 0.3, 1.0),  # the overhead is left behind
        (curve(lambda x: None), "memory_bytes", None, None),  # not measured
        (curve(lambda x: x)[:1], "seconds", None, None),
        # What is noise has no part in it.
        (curve(lambda x: max(LEAST - 1, LEAST * x), (0.1, 1, 2, 4)), "memory_bytes", 1.0, 1.0),
        (curve(lambda x: max(LEAST - 1, LEAST * x), (0.1, 1)), "memory_bytes", None, None),
    ],
)
def test_slopes(points: Any, quantity: str, overall: float | None, upper: float | None) -> None:
    fitted = growth.slopes(points, quantity)
    wanted = {"all": overall, "upper": upper}
    assert fitted == (wanted if upper is None else pytest.approx(wanted, abs=1e-9))


def test_how_far_times_of_the_same_point_differ_is_told() -> None:
    def series(*pairs: tuple[int, float]) -> dict[str, Any]:
        return {"points": [{"value": value, "seconds": seconds} for value, seconds in pairs]}

    base = {"width": 8, "depth": 2}
    both = {"width": series((4, 1.0), (8, 2.0)), "depth": series((2, 3.0), (8, 9.0))}
    (note,) = growth.base_note({"base": base, "series": both})
    assert "measured in each of 2 series, is 2.000 s to 3.000 s" in note
    assert growth.base_note({"base": base, "series": {"width": both["width"]}}) == []


def test_quick_leaves_out_what_is_above_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"seconds": 1.0, "memory_bytes": 1, "temporaries_bytes": 1}
    monkeypatch.setattr(growth, "measure_point", lambda point, options: told)
    quick = growth.measure_series("width", GrowthOptions(quick=True))
    assert [point["value"] for point in quick["points"]] == [16, 64, 256]


@pytest.mark.slow
def test_a_point_trains_and_tells_time_and_memory() -> None:
    told = growth.measure(SMALL, "cpu", "float32")
    assert told["seconds"] > 0
    assert (told["peak_bytes"] is None) == (told["memory_bytes"] is None)
    assert told["temporaries_bytes"] > 0
    assert 1 <= told["runs"] <= growth.MOST_RUNS
    wider = growth.measure(SMALL._replace(width=64), "cpu", "float32")
    assert wider["temporaries_bytes"] > told["temporaries_bytes"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a peak")
@pytest.mark.slow
def test_the_memory_of_a_point_is_its_own_and_not_the_process_s() -> None:
    point = Point(examples=200_000, features=64, width=8, depth=1, batch_size=10_000, epochs=1)
    told = growth.measure(point, "cpu", "float32")
    data = 4 * point.examples * (point.features + 1)
    assert data <= told["memory_bytes"] < 2 * data < told["peak_bytes"]


def test_every_quantity_has_an_expected_slope_for_every_law() -> None:
    assert set(growth.QUANTITIES) == set(growth.Law._fields[1:])
    assert all(list(law.values) == sorted(law.values) for law in growth.LAWS.values())
    assert set(growth.LAWS) <= set(Point._fields)


def test_a_point_that_fails_is_one_line() -> None:
    options = dataclasses.replace(GrowthOptions(), device="no such device")
    with pytest.raises(ProcessFailed, match=r"the point .* failed: .*no such device"):
        growth.measure_point(Point(1, 1, 1, 1, 1, 1), options)


def test_points_around_one_that_fails_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure_point(point: Point, options: GrowthOptions) -> dict[str, Any]:
        if point.epochs == 4:
            raise ProcessFailed("no memory")
        return {"seconds": 0.001 * point.epochs, "peak_bytes": 1, "memory_bytes": 1, "temporaries_bytes": 1}

    monkeypatch.setattr(growth, "measure_point", measure_point)
    monkeypatch.setattr(measurement, "tell_load", lambda: 0.25)
    outcome = run_experiment("growth", "--vary", "epochs", "--out", tmp_path / "growth.json")
    assert outcome.status == 1
    for said in ("; load average at the start 0.25", "expected above", "4.00 MiB and more", "failed: 4"):
        assert said in outcome.out
    assert outcome.err == "growth.py: no memory\n"
    series = json.loads((tmp_path / "growth.json").read_text(encoding="utf-8"))["series"]["epochs"]
    assert [point["value"] for point in series["points"]] == [1, 2, 8, 16, 32]
    assert series["failed"] == [{"value": 4, "failure": "no memory"}]
