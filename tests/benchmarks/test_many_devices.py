"""The comparison of devices and processes tells what differs, and README quotes what was measured."""

import json
from pathlib import Path
from typing import Any

import many_devices
import numpy as np
import pytest
from command_runs import run_experiment
from many_devices import SHARINGS, Sharing, difference, is_sound, table

ROOT = Path(many_devices.__file__).parents[2]
RESULT = ROOT / "experiments" / "results" / "many_devices.json"
TINY = ("--sizes", 4, 3, 2, "--examples", 20, "--batch-size", 8, "--epochs", 3)


def fake_trainings(monkeypatch: pytest.MonkeyPatch, off: float) -> None:
    """Let trainings end at once, the one in two processes off by a share, but in microbatches."""

    def train(sharing: Sharing, options: Any, optimizer: str, microbatches: int, folder: Path) -> Any:
        share = off if sharing.processes > 1 and microbatches == 1 else 1e-9 * sharing.nudged
        params = np.array([1.0, -2.0]) * (1 + share)
        return {"float32": [params], "float64": [params]}, [9.0, 2.0 * sharing.devices, 2.0, 2.0]

    monkeypatch.setattr(many_devices, "train", train)


@pytest.mark.parametrize(("off", "status"), [(0.0, 0), (1e-13, 0), (5e-9, 0), (1e-7, 1), (float("nan"), 1)])
def test_a_difference_over_its_bound_is_told(
    off: float, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_trainings(monkeypatch, off)
    outcome = run_experiment("many_devices", *TINY, "--out", tmp_path / "many.json")
    assert outcome.status == status
    line = next(line for line in outcome.out.splitlines() if "| whole | 2 processes" in line)
    assert ("over" not in line) == (off <= 1e-12)
    result = json.loads((tmp_path / "many.json").read_text(encoding="utf-8"))
    assert [row["title"] for row in result["rows"]] == [each.title for each in SHARINGS] * 4
    assert {"command", "machine", "bounds", "options"} <= set(result)


def test_the_first_epoch_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_trainings(monkeypatch, 0.0)
    lines = run_experiment("many_devices", *TINY).out.splitlines()
    assert "2.000 s (2.000 s to 2.000 s) | 1.00 ×" in lines[2]
    assert "2.000 s (2.000 s to 16.0 s) | 1.00 ×" in lines[5]


def test_in_microbatches_any_difference_is_too_much() -> None:
    nudged = {
        "optimizer": "sgd",
        "microbatches": 8,
        "nudged": True,
        "differences": {"float32": 1, "float64": 1},
    }
    for off in (0.0, 1e-17, float("nan")):
        row = nudged | {"nudged": False, "differences": {"float32": 0.0, "float64": off}}
        assert is_sound(row, [row, nudged]) == (off == 0)


def test_differences_are_relative_to_the_largest() -> None:
    assert difference([np.array([1.0, 4.0])], [np.array([1.0, 5.0])]) == pytest.approx(0.2)
    assert difference([np.zeros(2)], [np.zeros(2)]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--epochs", 1), "--epochs must be at least 2"),
        (("--sizes", 3), "--sizes takes two sizes or more"),
        (("--microbatches", 1, 4), "multiples of the 8 devices up to --batch-size, as 1 8, given 1 4"),
        (("--microbatches", 8), "takes 1, which the others are compared with"),
        (("--microbatches", 1, 256), "given 1 256"),
        (("--microbatches", 1, 8, 8), "--microbatches takes each once, given 1 8 8"),
        (("--optimizers", "sgd", "sgd"), "--optimizers takes each once"),
        (("--out", "no/such/folder/a.json"), "is not there"),
    ],
)
def test_wrong_options_are_refused(arguments: Any, words: str) -> None:
    outcome = run_experiment("many_devices", *arguments)
    assert outcome.status == 2
    assert words in outcome.error_line


@pytest.mark.slow
def test_real_trainings_are_equal(tmp_path: Path) -> None:
    outcome = run_experiment("many_devices", *TINY, "--device", "cpu", "--out", tmp_path / "many.json")
    assert outcome.status == 0, outcome.err
    rows = json.loads((tmp_path / "many.json").read_text(encoding="utf-8"))["rows"]
    assert all(is_sound(row, rows) for row in rows)
    shared = [row for row in rows if row["title"] != SHARINGS[0].title]
    assert all(row["differences"]["float64"] <= 1e-12 for row in shared)
    whole = [row for row in shared if row["microbatches"] == 1]
    assert any(row["differences"]["float32"] > 0 for row in whole), "it is not one run compared with itself"
    assert_same_bits(rows)


def assert_same_bits(rows: list[dict[str, Any]]) -> None:
    """Assert that in microbatches nothing differs on any number of devices, but where a rounding was put in."""
    in_parts = [row for row in rows if row["microbatches"] > 1]
    assert {row["title"] for row in in_parts} == {sharing.title for sharing in SHARINGS}
    assert all(off == 0 for row in in_parts if not row["nudged"] for off in row["differences"].values())
    assert all(off > 0 for row in in_parts if row["nudged"] for off in row["differences"].values())


def test_the_readme_quotes_the_result() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table(result) in readme
    assert " ".join(result["command"]) in readme
    assert_same_bits(result["rows"])
    assert all(is_sound(row, result["rows"]) for row in result["rows"])
