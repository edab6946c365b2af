"""The cost of checkpoints is measured in pairs of runs, and says how many checkpoints there were."""

import json
from pathlib import Path

import pytest
from checkpoints import parts
from command_runs import run_experiment

from jaxmlp.saving import CheckpointWriter


@pytest.mark.parametrize(("busy", "written"), [(True, 1), pytest.param(False, 3, marks=pytest.mark.slow)])
def test_pairs_of_runs_are_measured_and_their_checkpoints_counted(
    busy: bool, written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointWriter, "is_busy", busy)
    out = tmp_path / "cost.json"
    outcome = run_experiment("checkpoints", "--no-mnist", "--epochs", 3, "--repeats", 2, "--out", out)
    assert outcome.status == 0, outcome.err
    assert f"{written} to {written} in 3 epochs" in outcome.out
    (cost,) = json.loads(out.read_text(encoding="utf-8"))["cases"].values()
    assert cost["written"] == [written] * 2
    assert len(cost["without"]) == len(cost["every_epoch"]) == 2
    assert all(seconds > 0 for seconds in (*cost["without"], *cost["every_epoch"]))
    # Each run is compared with the one beside it.
    for ratio, much, little in zip(cost["ratios"], cost["every_epoch"], cost["without"], strict=True):
        assert ratio == pytest.approx(much / little)


def test_the_median_of_the_pairs_is_told() -> None:
    case = {"without": [1.0, 2.0, 1.0], "every_epoch": [1.5, 2.0, 1.2]}
    case |= {"ratios": [1.5, 1.0, 1.2], "written": [5, 5, 4]}
    ((_, row),) = parts({"epochs": 5, "cases": {"a case": case}})
    assert row == ["a case", "1.000 s", "1.500 s", "1.200 (1.000 to 1.500, 3 pairs)", "4 to 5 in 5 epochs"]
