"""A run in its folder: what it writes as its epochs end, what cannot be written, its folder and its lock."""

import contextlib
import csv
import dataclasses
import datetime
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from command_runs import contents, no_room
from comparisons import refused

from jaxmlp import ArgumentError, EpochReport, FitState, init_state, mlp
from jaxmlp.cli import run
from jaxmlp.cli.options import RunOptions
from jaxmlp.cli.records import METRICS
from jaxmlp.cli.resume import read_progress
from jaxmlp.cli.run import CHECKPOINTS, CONFIG, LOCK, MODEL, Run, locked, make_run_folder
from jaxmlp.saving import CheckpointWriter, checkpoints_in

NET = mlp([2, 3])
START = FitState(init_state(NET, "sgd", jax.random.key(0)))
ABOUT = {"network": "a small one", "version": "0"}


def state(epoch: int, train_loss: float = 0.5, valid_loss: float = 0.5) -> FitState:
    """A fit's state after some epochs; the losses are those of the last."""
    row = EpochReport(1, train_loss, 0.5, valid_loss, 0.5, 1.0, (0.1,), 0.01, 9.0)
    return START._replace(history=tuple(row._replace(epoch=number) for number in range(1, epoch + 1)))


def job(about: Any = ABOUT, **options: Any) -> Any:
    """What a run needs to know of its job."""
    given = dataclasses.replace(RunOptions(), **options)
    return SimpleNamespace(options=given, problem=SimpleNamespace(metric="accuracy"), description=about)


@contextlib.contextmanager
def recorded(folder: Path, before: FitState = START, about: Any = ABOUT, **options: Any) -> Iterator[Run]:
    with locked(folder) as lock:
        kept = Run(folder, lock, job(about, **options))
        with kept.recording(before):
            yield kept


def rows(folder: Path) -> list[int]:
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def checkpoints(folder: Path) -> list[int]:
    return list(checkpoints_in(folder / CHECKPOINTS))


def resumed(folder: Path, about: Any = ABOUT) -> tuple[FitState, list[str]]:
    """What a run in a folder goes on from, and what is said of it."""
    return read_progress(job(about, resume=str(folder)), START)


@pytest.fixture(autouse=True)
def long_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be train.py, whose epochs take longer than the writing of a checkpoint."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(CheckpointWriter, "is_busy", False)


@pytest.mark.parametrize(
    ("every", "epochs", "busy", "saved"),
    [
        (2, 5, None, [2, 4, 5]),  # and one after the last epoch
        (3, 8, 3, [4, 6, 8]),  # one that is due while another is written waits for an idle writer
        (0, 1, None, []),
    ],
)
def test_rows_and_checkpoints_are_written_when_they_are_due(
    every: int,
    epochs: int,
    busy: int | None,
    saved: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with recorded(tmp_path, checkpoint_every=every, keep=9) as kept:
        for epoch in range(1, epochs + 1):
            monkeypatch.setattr(CheckpointWriter, "is_busy", epoch == busy)
            kept.save(state(epoch))
            assert rows(tmp_path) == list(range(1, epoch + 1))
    assert kept.last_saved == (saved or [0])[-1]
    assert checkpoints(tmp_path) == saved
    assert (tmp_path / CHECKPOINTS).exists() == bool(saved)


@pytest.mark.parametrize(
    ("validation", "keep", "train_losses", "valid_losses", "kept_epochs"),
    [
        (0.2, 2, [0.1, 0.4, 0.3, 0.2], [0.1, 0.4, 0.3, 0.2], [1, 3, 4]),
        (0.2, 1, [0.3, 0.1, 0.2], [0.1, 0.3, 0.2], [1, 3]),
        # Without a validation part the columns valid_… are of the test part, which chooses no checkpoint.
        (0.0, 1, [0.3, 0.1, 0.2], [0.1, 0.3, 0.2], [2, 3]),
    ],
)
def test_the_last_and_the_best_are_kept(
    validation: float,
    keep: int,
    train_losses: list[float],
    valid_losses: list[float],
    kept_epochs: list[int],
    tmp_path: Path,
) -> None:
    with recorded(tmp_path, checkpoint_every=1, keep=keep, validation=validation) as kept:
        for epoch, losses in enumerate(zip(train_losses, valid_losses, strict=True), 1):
            kept.save(state(epoch, *losses))
    assert checkpoints(tmp_path) == kept_epochs


def test_a_run_goes_on_from_its_last_checkpoint_and_loses_the_rows_after_it(tmp_path: Path) -> None:
    with recorded(tmp_path, checkpoint_every=2) as kept:
        for epoch in (1, 2, 3):
            kept.save(state(epoch))
    checkpoints_in(tmp_path / CHECKPOINTS)[3].unlink()
    before, notes = resumed(tmp_path)
    assert len(before.history) == 2
    assert notes == [f"going on after epoch 2, from the checkpoint in {tmp_path / CHECKPOINTS}"]
    with recorded(tmp_path, before):
        assert rows(tmp_path) == [1, 2]


def test_without_a_checkpoint_a_run_begins_again_unless_it_has_ended(tmp_path: Path) -> None:
    before, notes = resumed(tmp_path)
    assert before is START
    assert notes == [f"{tmp_path} holds no checkpoint yet: the run begins from its start"]
    (tmp_path / MODEL).touch()
    ended = "has ended and holds no checkpoint to go on from: begin a new run"
    assert refused(ended, resumed, tmp_path) == f"{tmp_path} {ended}"
    assert contents(tmp_path) == {MODEL: b""}


def test_a_checkpoint_of_another_run_is_refused_and_a_damaged_one_told(tmp_path: Path) -> None:
    about = ABOUT | {"data set": {"name": "pets.csv", "sha256": "aa", "seed": 0}}
    with recorded(tmp_path, about=about, checkpoint_every=1) as kept:
        kept.save(state(1))
        kept.save(state(2))
    changed_data = {"name": "pets.csv", "sha256": "bb", "seed": 0}
    for changed, words in (
        ({"network": "a large one"}, 'network is "a small one" there and "a large one" here'),
        ({"data set": changed_data}, "the contents of pets.csv have changed since the run began"),
        ({"data set": changed_data | {"name": "cats.csv"}}, 'name is "pets.csv" there and "cats.csv" here'),
    ):
        refused(words, resumed, tmp_path, about | changed)
    checkpoints_in(tmp_path / CHECKPOINTS)[2].write_bytes(b"")
    before, (damaged, _) = resumed(tmp_path, about)
    assert len(before.history) == 1
    assert "epoch-00000002.safetensors is damaged" in damaged
    assert damaged.endswith("using epoch-00000001.safetensors")


# --- what cannot be written ---


NO_ROOM = "could not be written (No space left on device)"
TRIED = "training goes on, and the next is tried"


def written(kept: Run) -> None:
    """Wait until the checkpoints that were saved are written."""
    kept._writer._pool.submit(int).result()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("parts", "every", "during", "said"),
    [
        (("jaxmlp.cli.run.add_row", "jaxmlp.cli.run.write_metrics"), 9, [1], "the table's row"),
        (("jaxmlp.saving.checkpoint.write_tensors",), 1, [1, 2, 3, 4], "a checkpoint"),
    ],
)
def test_what_cannot_be_written_is_told_once_and_is_whole_again_with_room(
    parts: tuple[str, ...],
    every: int,
    during: list[int],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with recorded(tmp_path, checkpoint_every=every) as kept:
        kept.save(state(1))
        written(kept)
        with monkeypatch.context() as patched:
            for part in parts:
                patched.setattr(part, no_room)
            for epoch in (2, 3, 4):
                kept.save(state(epoch))
            written(kept)
        assert rows(tmp_path) == during
        kept.save(state(5))
        assert rows(tmp_path) == [1, 2, 3, 4, 5]
    assert checkpoints(tmp_path) == ([1, 5] if every == 1 else [5])
    assert capfd.readouterr().err == f"train.py: {said} {NO_ROOM}: {TRIED}\n"


def test_the_last_checkpoint_is_tried_again_at_the_end_and_then_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with recorded(tmp_path, checkpoint_every=1) as kept:
        with monkeypatch.context() as patched:
            patched.setattr(CheckpointWriter, "save", no_room)
            kept.save(state(1))
        assert checkpoints(tmp_path) == []
    assert checkpoints(tmp_path) == [1]
    capfd.readouterr()
    monkeypatch.setattr("jaxmlp.saving.checkpoint.write_tensors", no_room)
    with recorded(tmp_path, checkpoint_every=9) as kept:
        kept.save(state(2))
    assert capfd.readouterr().err == f"train.py: a checkpoint {NO_ROOM}: those before it are kept\n"


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_that_is_gone_is_told_once_and_one_in_its_place_left_alone(
    anew: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with recorded(run, checkpoint_every=1) as kept:
        kept.save(state(1))
        written(kept)
        shutil.rmtree(run)
        if anew:
            run.mkdir()
        for epoch in (2, 3):
            kept.save(state(epoch))
    assert not run.exists() or list(run.iterdir()) == []
    assert capfd.readouterr().err == (
        f"train.py: the run folder {run} is gone: nothing is saved until the training has ended\n"
    )


# --- the folder ---


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_made_with_those_above_it_or_taken_with_what_is_there(here: Path) -> None:
    assert make_run_folder("a b/☃/run", "digits") == Path("a b/☃/run")
    assert contents(here) == {"a b": None, "a b/☃": None, "a b/☃/run": None}
    (here / "a b/todo.txt").write_text("buy milk")
    make_run_folder("a b", "digits")
    assert (here / "a b/todo.txt").read_text() == "buy milk"


@pytest.mark.parametrize(
    ("kept", "advice"),
    [
        (CONFIG, ""),
        (MODEL, ""),
        (f"{CHECKPOINTS}/epoch-00000003.safetensors", ", or go on with it by --resume old"),
    ],
)
def test_a_folder_that_holds_a_run_is_refused_and_left_alone(kept: str, advice: str, here: Path) -> None:
    (here / "old" / kept).parent.mkdir(parents=True)
    (here / "old" / CONFIG).touch()
    if kept == MODEL:
        (here / "old" / CONFIG).unlink()
    (here / "old" / kept).write_bytes(b"precious")
    before = contents(here)
    told = f"old holds a run already: choose another folder with --out{advice}"
    assert refused(told, make_run_folder, "old", "digits") == told
    assert contents(here) == before


def test_a_folder_that_cannot_be_written_is_refused_and_what_is_there_left_alone(here: Path) -> None:
    (here / "file").write_bytes(b"precious")
    for out in ("file", "file/below"):
        refused(f"the run folder {out} cannot be written", make_run_folder, out, "digits")
    assert contents(here) == {"file": b"precious"}


def test_without_a_name_every_run_gets_its_own_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Stopped":
            return cls(2030, 1, 2, 3, 4, 5)

    monkeypatch.setattr(run.datetime, "datetime", Stopped)
    made = [make_run_folder(None, "digits") for _ in range(3)]
    stamp = "runs/digits-20300102-030405"
    assert [path.as_posix() for path in made] == [stamp, f"{stamp}-2", f"{stamp}-3"]


@pytest.mark.parametrize("name", ["../../up.csv", "/etc/x.csv", "ünï ☃.csv", "..", "a/b", "-", "c:\\d.npz"])
def test_the_name_of_a_data_set_never_leads_out_of_runs(name: str, here: Path) -> None:
    folder = make_run_folder(None, name)
    assert folder.resolve().parent == here.resolve() / "runs"
    assert folder.is_dir()


def test_the_configuration_is_read_back_as_it_was(here: Path) -> None:
    config = {"rate": np.float32(0.5), "sizes": (1, 2), "codes": np.arange(2), "path": Path("a"), "no": None}
    run.write_config(here, config)
    read = json.loads((here / CONFIG).read_text(encoding="utf-8"))
    assert read == {"rate": 0.5, "sizes": [1, 2], "codes": [0, 1], "path": "a", "no": None}


def test_the_machine_is_described_in_plain_data() -> None:
    machine = run.describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert machine["versions"]["jax"] == jax.__version__
    assert len(machine["devices"]) == len(jax.devices())
    assert {"python", "platform", "processor"} <= set(machine)


# --- the lock ---


def test_a_folder_that_is_held_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    with locked(tmp_path) as lock:
        assert lock.is_held
        with pytest.raises(ArgumentError, match="is in use by a run that has not ended"), locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists(), "the refused one leaves the lock alone"
        assert lock.is_held
    assert not lock.is_held
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("anew", [False, True])
def test_a_deleted_folder_is_not_held_and_that_of_another_run_stays(tmp_path: Path, anew: bool) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with locked(run) as lock:
        (run / LOCK).unlink()
        run.rmdir()
        assert not lock.is_held
        if anew:
            run.mkdir()
            with locked(run) as other:
                assert (lock.is_held, other.is_held) == (False, True)
            (run / LOCK).touch()
    assert (run / LOCK).exists() == anew
