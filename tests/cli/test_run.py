"""A run in its folder: what it writes as its epochs end, what cannot be written, its folder and its lock."""

import contextlib
import csv
import dataclasses
import datetime
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from command_runs import contents

from jaxmlp import ArgumentError, EpochReport, FitState, init_state, mlp
from jaxmlp.cli import run
from jaxmlp.cli.options import RunOptions
from jaxmlp.cli.records import METRICS
from jaxmlp.cli.resume import read_progress
from jaxmlp.cli.run import (
    CHECKPOINTS,
    CONFIG,
    LOCK,
    MODEL,
    Run,
    describe_machine,
    locked,
    make_run_folder,
    write_config,
)
from jaxmlp.saving import CheckpointWriter, checkpoints_in

NET = mlp([2, 3])
START = FitState(init_state(NET, "sgd", jax.random.key(0)))
ABOUT = {"network": "a small one", "version": "0"}


def state(epoch: int, loss: float = 0.5) -> FitState:
    """A fit's state after some epochs; the loss is that of the last."""
    rows = [
        EpochReport(number, loss, 0.5, loss, 0.5, 1.0, (0.1,), 0.01, 9.0) for number in range(1, epoch + 1)
    ]
    return START._replace(history=tuple(rows))


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


def rows(folder: Path) -> list[str]:
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        return [row["epoch"] for row in csv.DictReader(file)]


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def long_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be train.py, whose epochs take longer than the writing of a checkpoint."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(CheckpointWriter, "is_busy", False)


def test_what_is_due_while_one_is_written_waits_for_an_epoch_that_finds_the_writer_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(tmp_path, checkpoint_every=3, keep=9) as kept:
        for epoch in range(1, 9):
            monkeypatch.setattr(CheckpointWriter, "is_busy", epoch == 3)
            kept.save(state(epoch))
    assert list(checkpoints_in(tmp_path / CHECKPOINTS)) == [4, 6, 8]


def test_rows_and_checkpoints_are_written_when_they_are_due(tmp_path: Path) -> None:
    with recorded(tmp_path, checkpoint_every=2, keep=9) as kept:
        for epoch in range(1, 6):
            kept.save(state(epoch))
            assert rows(tmp_path) == [str(number) for number in range(1, epoch + 1)]
    assert list(checkpoints_in(tmp_path / CHECKPOINTS)) == [2, 4, 5], "and one after the last epoch"
    assert kept.last_saved == 5


def test_without_checkpoints_none_is_written(tmp_path: Path) -> None:
    with recorded(tmp_path, checkpoint_every=0) as kept:
        kept.save(state(1))
    assert not (tmp_path / CHECKPOINTS).exists()
    assert kept.last_saved == 0
    assert rows(tmp_path) == ["1"]


@pytest.mark.parametrize(("validation", "kept_epochs"), [(0.2, [1, 3, 4]), (0.0, [1, 3, 4])])
def test_the_last_and_the_best_are_kept(tmp_path: Path, validation: float, kept_epochs: list[int]) -> None:
    with recorded(tmp_path, checkpoint_every=1, keep=2, validation=validation) as kept:
        for epoch, loss in enumerate([0.1, 0.4, 0.3, 0.2], 1):
            kept.save(state(epoch, loss))
    assert list(checkpoints_in(tmp_path / CHECKPOINTS)) == kept_epochs


def test_the_test_part_chooses_no_checkpoint(tmp_path: Path) -> None:
    # Without a validation part the columns valid_… are of the test part; the training loss chooses.
    with recorded(tmp_path, checkpoint_every=1, keep=1, validation=0.0) as kept:
        for epoch, (train_loss, test_loss) in enumerate([(0.3, 0.1), (0.1, 0.3), (0.2, 0.2)], 1):
            after = state(epoch)
            last = after.history[-1]._replace(train_loss=train_loss, valid_loss=test_loss)
            kept.save(after._replace(history=(*after.history[:-1], last)))
    assert list(checkpoints_in(tmp_path / CHECKPOINTS)) == [2, 3]


def test_a_run_goes_on_from_its_last_checkpoint_and_loses_the_rows_after_it(tmp_path: Path) -> None:
    with recorded(tmp_path, checkpoint_every=2) as kept:
        for epoch in (1, 2, 3):
            kept.save(state(epoch))
    checkpoints_in(tmp_path / CHECKPOINTS)[3].unlink()
    before, notes = read_progress(job(resume=str(tmp_path)), START)
    assert len(before.history) == 2
    assert notes == [f"going on after epoch 2, from the checkpoint in {tmp_path / CHECKPOINTS}"]
    with recorded(tmp_path, before):
        assert rows(tmp_path) == ["1", "2"]


def test_without_a_checkpoint_a_run_begins_anew_and_says_so(tmp_path: Path) -> None:
    before, notes = read_progress(job(resume=str(tmp_path)), START)
    assert before is START
    assert notes == [f"{tmp_path} holds no checkpoint yet: the run begins from its start"]


def test_a_checkpoint_of_another_run_is_refused_and_a_damaged_one_told(tmp_path: Path) -> None:
    with recorded(tmp_path, checkpoint_every=1) as kept:
        kept.save(state(1))
        kept.save(state(2))
    with pytest.raises(ArgumentError, match='network is "a small one" there and "a large one" here'):
        read_progress(job(ABOUT | {"network": "a large one"}, resume=str(tmp_path)), START)
    checkpoints_in(tmp_path / CHECKPOINTS)[2].write_bytes(b"")
    before, notes = read_progress(job(resume=str(tmp_path)), START)
    assert len(before.history) == 1
    assert len(notes) == 2
    assert "epoch-00000002.safetensors is damaged" in notes[0]
    assert notes[0].endswith("using epoch-00000001.safetensors")


def test_a_run_that_has_ended_without_a_checkpoint_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / MODEL).touch()
    with pytest.raises(ArgumentError) as refusal:
        read_progress(job(resume=str(tmp_path)), START)
    assert str(refusal.value) == (
        f"{tmp_path} has ended and holds no checkpoint to go on from: begin a new run"
    )


def test_contents_of_the_data_that_have_changed_are_said_so(tmp_path: Path) -> None:
    about = ABOUT | {"data set": {"name": "pets.csv", "sha256": "aa", "seed": 0}}
    with recorded(tmp_path, about=about) as kept:
        kept.save(state(1))
    changed = about | {"data set": {"name": "pets.csv", "sha256": "bb", "seed": 0}}
    with pytest.raises(ArgumentError, match=r"the contents of pets\.csv have changed since the run began"):
        read_progress(job(changed, resume=str(tmp_path)), START)
    another = about | {"data set": {"name": "cats.csv", "sha256": "bb", "seed": 0}}
    with pytest.raises(ArgumentError, match=r'data set\.name is "pets\.csv" there and "cats\.csv" here'):
        read_progress(job(another, resume=str(tmp_path)), START)


# --- what cannot be written ---


def test_what_cannot_be_written_is_told_once_and_the_table_is_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with recorded(tmp_path, checkpoint_every=9) as kept:
        kept.save(state(1))
        with monkeypatch.context() as patched:
            patched.setattr(run, "add_row", full)
            patched.setattr(run, "write_metrics", full)
            for epoch in (2, 3, 4):
                kept.save(state(epoch))
        assert rows(tmp_path) == ["1"]
        kept.save(state(5))
        assert rows(tmp_path) == ["1", "2", "3", "4", "5"]
    assert capfd.readouterr().err == (
        "train.py: the table's row could not be written (No space left on device): "
        "training goes on, and the next is tried\n"
    )


def test_a_checkpoint_that_cannot_be_written_is_told_once_and_those_before_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with recorded(tmp_path, checkpoint_every=1) as kept:
        kept.save(state(1))
        kept._writer._pool.submit(int).result()  # type: ignore[union-attr]  # wait until it is written
        with monkeypatch.context() as patched:
            patched.setattr("jaxmlp.saving.checkpoint.write_tensors", full)
            for epoch in (2, 3, 4):
                kept.save(state(epoch))
            kept._writer._pool.submit(int).result()  # type: ignore[union-attr]
        kept.save(state(5))
    assert list(checkpoints_in(tmp_path / CHECKPOINTS)) == [1, 5]
    assert capfd.readouterr().err == (
        "train.py: a checkpoint could not be written (No space left on device): "
        "training goes on, and the next is tried\n"
    )


def test_the_last_checkpoint_that_fails_is_not_said_to_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jaxmlp.saving.checkpoint.write_tensors", full)
    with recorded(tmp_path, checkpoint_every=9) as kept:
        kept.save(state(1))
    assert capfd.readouterr().err == (
        "train.py: a checkpoint could not be written (No space left on device): those before it are kept\n"
    )


def test_the_last_checkpoint_is_tried_again_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(tmp_path, checkpoint_every=1) as kept:
        with monkeypatch.context() as patched:
            patched.setattr(CheckpointWriter, "save", full)
            kept.save(state(1))
        assert checkpoints_in(tmp_path / CHECKPOINTS) == {}
    assert list(checkpoints_in(tmp_path / CHECKPOINTS)) == [1]


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_that_is_gone_is_told_once_and_one_in_its_place_left_alone(
    anew: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with recorded(run, checkpoint_every=1) as kept:
        kept.save(state(1))
        kept._writer._pool.submit(int).result()  # type: ignore[union-attr]
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


def test_a_folder_is_made_with_those_above_it_and_nothing_in_it(here: Path) -> None:
    folder = make_run_folder("a b/☃/run", "digits")
    assert folder == Path("a b/☃/run")
    assert contents(here) == {"a b": None, "a b/☃": None, "a b/☃/run": None}


def test_an_empty_folder_and_one_of_other_things_are_taken(here: Path) -> None:
    (here / "notes").mkdir()
    (here / "notes/todo.txt").write_text("buy milk")
    make_run_folder("notes", "digits")
    assert (here / "notes/todo.txt").read_text() == "buy milk"


@pytest.mark.parametrize("kept", [CONFIG, MODEL])
def test_a_folder_that_holds_a_run_is_refused_and_left_alone(kept: str, here: Path) -> None:
    (here / "old").mkdir()
    (here / "old" / kept).write_bytes(b"precious")
    before = contents(here)
    with pytest.raises(ArgumentError, match=r"old holds a run already: choose another folder with --out$"):
        make_run_folder("old", "digits")
    assert contents(here) == before


def test_a_run_that_has_a_checkpoint_can_be_gone_on_with(here: Path) -> None:
    (here / "old" / CHECKPOINTS).mkdir(parents=True)
    (here / "old" / CHECKPOINTS / "epoch-00000003.safetensors").touch()
    (here / "old" / CONFIG).touch()
    with pytest.raises(ArgumentError) as refusal:
        make_run_folder("old", "digits")
    assert str(refusal.value) == (
        "old holds a run already: choose another folder with --out, or go on with it by --resume old"
    )


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_way_is_refused_and_left_alone(out: str, here: Path) -> None:
    (here / "file").write_bytes(b"precious")
    with pytest.raises(ArgumentError, match=f"the run folder {out} cannot be written"):
        make_run_folder(out, "digits")
    assert contents(here) == {"file": b"precious"}


def test_a_folder_that_cannot_be_written_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By hand, as the rights of a folder do not bind the administrator who may run this.
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(
        ArgumentError, match=r"locked cannot be written \(Permission denied\): choose another"
    ):
        make_run_folder("locked", "digits")


def test_without_a_name_every_run_gets_a_folder_of_its_own(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    write_config(here, config)
    read = json.loads((here / CONFIG).read_text(encoding="utf-8"))
    assert read == {"rate": 0.5, "sizes": [1, 2], "codes": [0, 1], "path": "a", "no": None}


def test_the_machine_is_described_in_plain_data() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert machine["versions"]["jax"] == jax.__version__
    assert len(machine["devices"]) == len(jax.devices())
    assert {"python", "platform", "processor"} <= set(machine)


# --- the lock ---


HOLD = """
import sys
from pathlib import Path
from jaxmlp.cli.run import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


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


def test_a_lock_is_gone_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(ArgumentError, match="in use"), locked(tmp_path):
                pass
        finally:
            process.kill()
            process.wait(30)
    assert (tmp_path / LOCK).exists()  # what is left holds nobody
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with locked(tmp_path):
                return
        except ArgumentError:
            time.sleep(0.01)
    pytest.fail("the folder of a killed run stays locked")


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_that_is_deleted_is_not_held_and_that_of_another_run_is_left_alone(
    tmp_path: Path, anew: bool
) -> None:
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


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied", str(tmp_path / LOCK))

    with monkeypatch.context() as patched:
        patched.setattr("jaxmlp.cli.run.filelock.FileLock.acquire", refuse)
        with pytest.raises(ArgumentError, match=r"cannot be written \(Permission denied\)"), locked(tmp_path):
            pass
    assert os.listdir(tmp_path) == []
