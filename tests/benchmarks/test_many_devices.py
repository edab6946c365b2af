"""The comparison of devices and processes tells what differs."""

import json
from pathlib import Path
from typing import Any

import devices
import numpy as np
import pytest
from command_runs import run_experiment
from devices import SHARINGS, Sharing, is_sound

RESULT = Path(devices.__file__).parents[1] / "results" / "devices.json"
TINY = ("--sizes", 4, 3, 2, "--examples", 20, "--batch-size", 8, "--epochs", 3)


def fake_trainings(monkeypatch: pytest.MonkeyPatch, off: float) -> None:
    """Let trainings end at once, the one in two processes off by a share."""

    def train(sharing: Sharing, options: Any, optimizer: str) -> Any:
        share = off if sharing.processes > 1 else 1e-9 * sharing.nudged
        params = np.array([1.0, -2.0]) * (1 + share)
        return {"float32": [params], "float64": [params]}, [9.0, 2.0 * sharing.devices, 2.0, 2.0]

    monkeypatch.setattr(devices, "train", train)


@pytest.mark.parametrize(("off", "status"), [(0.0, 0), (1e-13, 0), (5e-9, 0), (1e-7, 1), (float("nan"), 1)])
def test_a_difference_over_its_bound_is_told(
    off: float, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_trainings(monkeypatch, off)
    outcome = run_experiment("devices", *TINY, "--out", tmp_path / "many.json")
    assert outcome.status == status
    assert ("sgd, 2 processes of 1 device: off by more" in outcome.err) == (status == 1)
    lines = [line for line in outcome.out.splitlines() if " device" in line]
    line = next(line for line in lines if "2 processes" in line)
    assert ("over" not in line) == (off <= 1e-12)
    # The first epoch, of 9 seconds, is not timed.
    assert " ".join(lines[1].split()).endswith("2.000 s (2.000 s to 2.000 s) 1.00 ×")
    assert any("2.000 s (2.000 s to 16.0 s)" in line for line in lines)
    result = json.loads((tmp_path / "many.json").read_text(encoding="utf-8"))
    assert [row["title"] for row in result["rows"]] == [each.title for each in SHARINGS] * 2
    assert {"command", "machine", "bounds", "options"} <= set(result)


def test_a_training_that_fails_is_one_line() -> None:
    outcome = run_experiment("devices", *TINY, "--activation", "rleu")
    assert outcome.status == 2
    assert "a training on 1 device failed: " in outcome.err
    assert "did you mean 'relu'?" in outcome.err


@pytest.mark.slow
def test_real_trainings_are_equal(tmp_path: Path) -> None:
    outcome = run_experiment("devices", *TINY, "--device", "cpu", "--out", tmp_path / "many.json")
    assert outcome.status == 0, outcome.err
    rows = json.loads((tmp_path / "many.json").read_text(encoding="utf-8"))["rows"]
    shared = [row for row in rows if row["title"] != SHARINGS[0].title]
    assert all(row["differences"]["float64"] <= 1e-12 for row in shared)
    assert any(row["differences"]["float32"] > 0 for row in shared), "it is not one run compared with itself"


def test_the_committed_result_is_sound() -> None:
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    assert all(is_sound(row, rows) for row in rows)
