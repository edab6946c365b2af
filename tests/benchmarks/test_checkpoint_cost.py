"""The cost of checkpoints is measured in pairs of runs, and says how many checkpoints there were."""

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoint_cost import Cost
from command_runs import run_experiment

from jaxmlp.saving import CheckpointWriter


@pytest.mark.parametrize(("busy", "written"), [(False, 3), (True, 1)])
def test_pairs_of_runs_are_measured_and_their_checkpoints_counted(
    busy: bool, written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointWriter, "is_busy", busy)
    out = tmp_path / "cost.json"
    outcome = run_experiment("checkpoint_cost", "--no-mnist", "--epochs", 3, "--repeats", 2, "--out", out)
    assert outcome.status == 0, outcome.err
    assert f"2 pairs of runs); {written} to {written} checkpoints in 3 epochs" in outcome.out
    (cost,) = json.loads(out.read_text(encoding="utf-8"))["cases"].values()
    assert cost["written"] == [written] * 2
    assert len(cost["without"]) == len(cost["every_epoch"]) == len(cost["ratios"]) == 2
    assert all(seconds > 0 for seconds in (*cost["without"], *cost["every_epoch"]))


def test_each_run_is_compared_with_the_one_beside_it() -> None:
    assert Cost([1.0, 2.0], [1.5, 2.0], [5, 5]).ratios == [1.5, 1.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--epochs", 1), "--epochs must be at least 2"),
        (("--repeats", 0), "--repeats at least 1"),
        (("--out", "no/such/folder/a.json"), "is not there"),
    ],
)
def test_wrong_options_are_refused(given: Any, words: str) -> None:
    outcome = run_experiment("checkpoint_cost", *given)
    assert outcome.status == 2
    assert words in outcome.error_line
