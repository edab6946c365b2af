"""Stopping a run of train.py early and going on with it, by the command line."""

import contextlib
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from command_runs import BRIEF, Outcome, contents, inside, run_experiment, train_ok, write_pets
from fault_runs import end_of, rows_in

from jaxmlp.cli import train
from jaxmlp.cli.run import CHECKPOINTS, CONFIG, MODEL
from jaxmlp.saving import checkpoints_in

SMALL = ("--dataset", "moons", "--examples", "120", "--hidden", "4", "--quiet", "--no-pictures")


def resume(run: Path, *arguments: object) -> Outcome:
    return run_experiment("train", "--resume", run, *arguments)


SIX = (*SMALL, "--validation", "0.25", "--epochs", "6", "--optimizer", "adam")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 6 epochs that nothing happened to."""
    run = tmp_path_factory.mktemp("runs") / "alone"
    train_ok(run, *SIX)
    return run


def test_more_epochs_than_before_are_as_if_asked_for_at_once(alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_ok(run, *SIX, "--epochs", "4")
    outcome = resume(run, "--epochs", 6)
    assert outcome.status == 0
    going_on = f"going on after epoch 4, from the checkpoint in {run / CHECKPOINTS}"
    assert outcome.error_line == f"train.py: {going_on}"
    assert outcome.out.startswith("trained 2 epochs after the 4 before in")
    assert end_of(run) == end_of(alone)
    again = resume(run)  # remembers that it is 6 now, all of which are done
    assert again.out.startswith("trained 0 epochs after the 6 before in")
    assert end_of(run) == end_of(alone)


def test_fewer_epochs_than_are_done_are_refused(alone: Path) -> None:
    before = contents(alone)
    outcome = resume(alone, "--epochs", 5)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.error_line == (
        f"train.py: --epochs 5 lies below the 6 that the run in {alone} has done: give more, or begin a new run"
    )
    assert contents(alone) == before


def test_a_run_of_a_file_goes_on_from_any_folder_and_after_the_file_has_moved(tmp_path: Path) -> None:
    run, pets = tmp_path / "run", write_pets(tmp_path / "pets.csv")
    with inside(tmp_path):
        train_ok(run, "--dataset", "pets.csv", "--target", "pet", *BRIEF)
    assert resume(run, "--epochs", 2).status == 0
    moved = tmp_path / "elsewhere" / "pets.csv"
    moved.parent.mkdir()
    pets.rename(moved)
    assert "pets.csv' does not exist" in resume(run).error_line
    assert resume(run, "--dataset", moved, "--epochs", 3).status == 0
    assert resume(run).status == 0, "where it is now was remembered"
    moved.write_text(moved.read_text().replace("red", "pink"))
    before = contents(run)
    changed = resume(run)
    assert changed.status == 2
    assert "the contents of pets.csv have changed since the run began" in changed.error_line
    assert contents(run) == before


@pytest.mark.parametrize("name", ["metrics.csv", "model.safetensors", "curves.png", "checkpoints"])
def test_a_run_folder_with_links_is_not_gone_on_with(alone: Path, tmp_path: Path, name: str) -> None:
    run, victim = tmp_path / "run", tmp_path / "victim"
    shutil.copytree(alone, run)
    (shutil.rmtree if (run / name).is_dir() else Path.unlink)(run / name) if (run / name).exists() else None
    victim.mkdir() if name == "checkpoints" else victim.write_text("mine")
    (run / name).symlink_to(victim)
    before = contents(tmp_path)
    outcome = resume(run, "--epochs", 9)
    assert (outcome.status, f"holds links ({name})" in outcome.error_line) == (2, True)
    assert contents(tmp_path) == before


class AskedAfter:
    """A signal that comes within an epoch; looked at once an epoch, and when all is over."""

    status = 143

    def __init__(self, epochs: int) -> None:
        self._left = epochs

    @property
    def signal(self) -> signal.Signals | None:
        self._left -= 1
        return signal.SIGTERM if self._left <= 0 else None


@pytest.mark.parametrize("every", [10, 0])
def test_a_run_that_is_stopped_says_what_is_saved(
    every: int, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "a run"
    with monkeypatch.context() as patched:
        patched.setattr(train, "interruption", lambda advice: contextlib.nullcontext(AskedAfter(3)))
        outcome = run_experiment("train", *SIX, "--checkpoint-every", every, "--devices", 1, "--out", run)
    assert outcome.status == 143
    assert not (run / MODEL).exists()
    end = (
        f"go on with: python train.py --resume '{run}' --devices 1"
        if every
        else "nothing of it is saved: begin it again"
    )
    assert outcome.error_line == f"train.py: stopped by SIGTERM after epoch 3 of 6; {end}"
    if every:
        assert list(checkpoints_in(run / CHECKPOINTS)) == [3]
        assert resume(run).status == 0
        assert end_of(run) == end_of(alone)


def test_patience_stops_a_run_and_saves_the_best_parameters(tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = ("--validation", "0.25", "--epochs", "60", "--patience", "2", "--min-improvement", "0.2")
    outcome = train_ok(run, *SMALL, *flags, "--checkpoint-every", "1")
    epochs = rows_in(run)
    assert epochs < 60
    best = f"without an improvement, the parameters are those of epoch {epochs - 2}"
    assert f"stopped after 2 epochs {best}" in outcome.out
    model = (run / MODEL).read_bytes()
    again = resume(run)
    assert again.status == 0
    assert again.out.startswith(f"trained 0 epochs after the {epochs} before in")
    assert (run / MODEL).read_bytes() == model
    assert resume(run, "--patience", 4).out.startswith("trained ")
    assert json.loads((run / CONFIG).read_text())["options"]["patience"] == 4


def test_a_time_limit_ends_a_run_after_the_epoch_in_progress(tmp_path: Path) -> None:
    outcome = train_ok(tmp_path / "run", *SMALL, "--epochs", "50", "--time-limit", "1e-9")
    assert rows_in(tmp_path / "run") == 1
    assert outcome.out.splitlines()[0].endswith("stopped at the limit of 1e-09 s")


def test_a_folder_that_another_run_took_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def replaced(*arguments: Any) -> Any:
        result = fitted(*arguments)
        shutil.rmtree(run)
        run.mkdir()
        (run / "of another").touch()
        return result

    fitted = train.fit
    monkeypatch.setattr(train, "fit", replaced)
    outcome = run_experiment("train", *SMALL, "--epochs", "2", "--out", run)
    assert outcome.status == 0
    assert contents(run) == {"of another": b""}
    assert {CONFIG, MODEL, "metrics.csv"} <= {path.name for path in (tmp_path / "run-2").iterdir()}
    assert f"run folder {tmp_path / 'run-2'}\n" in outcome.out
