import random
from pathlib import Path
from typing import Any

import pytest
import survival
from command_runs import run_experiment
from survival import End, SurvivalOptions, begin, end_of, resume

from jaxmlp.cli.records import METRICS
from jaxmlp.cli.run import CONFIG, MODEL

TABLE = "epoch,train_loss,seconds,examples_per_second\n1,0.5,{seconds},9\n2,{loss},0.1,9\n"


def left(folder: Path, loss: float = 0.25, seconds: float = 0.2, model: bytes = b"weights") -> Path:
    """Write what a run leaves."""
    folder.mkdir()
    (folder / METRICS).write_text(TABLE.format(loss=loss, seconds=seconds), encoding="utf-8")
    (folder / MODEL).write_bytes(model)
    return folder


def test_two_ends_are_the_same_but_for_times(tmp_path: Path) -> None:
    end = end_of(left(tmp_path / "one"))
    assert end.table == [["epoch", "train_loss"], ["1", "0.5"], ["2", "0.25"]]
    assert end_of(left(tmp_path / "slow", seconds=9.0)) == end
    assert end_of(left(tmp_path / "loss", loss=0.2500001)) != end
    assert end_of(left(tmp_path / "model", model=b"weighty")) != end


def test_a_run_without_a_folder_is_begun_again_and_any_other_resumed(tmp_path: Path) -> None:
    options = SurvivalOptions(epochs=7)
    assert resume(tmp_path, options) == begin(tmp_path, options)
    (tmp_path / CONFIG).touch()
    assert resume(tmp_path, options)[2:] == ["--resume", str(tmp_path)]


@pytest.mark.parametrize("name", ["kills", "epochs", "checkpoint-every"])
def test_wrong_options_are_refused(name: str) -> None:
    outcome = run_experiment("survival", f"--{name}", "0")
    assert outcome.status == 2
    assert outcome.error_line == f"survival.py: --{name} must be at least 1, given 0"


@pytest.mark.parametrize(
    ("model", "status", "same"), [(b"weights", 0, True), (b"other", 0, False), (b"weights", 1, False)]
)
def test_a_resumed_run_must_end_well_and_alike(
    model: bytes, status: int, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finished:
        returncode, stderr = status, "train.py: going on after epoch 1"

    class Process:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            left(tmp_path / "run", model=model)

        def wait(self, moment: float | None = None) -> None: ...

    monkeypatch.setattr(survival.subprocess, "Popen", Process)
    monkeypatch.setattr(survival.subprocess, "run", lambda *arguments, **options: Finished)
    alone: End = end_of(left(tmp_path / "alone"))
    trial = survival.kill_and_resume(tmp_path / "run", SurvivalOptions(), alone, random.Random(0), 1.0)
    assert (trial.same, trial.began_anew, trial.rows) == (same, False, 2)


@pytest.mark.slow
def test_killed_runs_end_as_one_left_alone() -> None:
    outcome = run_experiment("survival", "--kills", 2, "--epochs", 40)
    assert outcome.status == 0, outcome.err
    assert "2 of 2 ended bit-identical to the run left alone" in outcome.out
