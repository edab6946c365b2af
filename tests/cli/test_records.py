import contextlib
import csv
import dataclasses
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxmlp import ArgumentError, EpochReport, FitState, init_state, mlp
from jaxmlp.cli import records
from jaxmlp.cli.options import RunOptions
from jaxmlp.cli.records import Records, last_saved, read_progress, recording, why
from jaxmlp.cli.run import CHECKPOINTS, METRICS, MODEL, locked
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


@contextlib.contextmanager
def recorded(folder: Path, before: FitState = START, **options: Any) -> Iterator[Records]:
    given = dataclasses.replace(RunOptions(), **options)
    with locked(folder) as lock, recording(folder, lock, given, "accuracy", ABOUT, before) as kept:
        yield kept


def rows(folder: Path) -> list[str]:
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        return [row["epoch"] for row in csv.DictReader(file)]


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def long_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as if each epoch took longer than the writing of a checkpoint."""
    monkeypatch.setattr(CheckpointWriter, "is_busy", False)


def test_what_is_due_while_one_is_written_waits_for_an_epoch_that_finds_the_writer_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(tmp_path, checkpoint_every=3, keep=9) as kept:
        for epoch in range(1, 9):
            monkeypatch.setattr(CheckpointWriter, "is_busy", epoch == 3)
            kept.save(state(epoch))
    assert list(checkpoints_in(tmp_path / CHECKPOINTS)) == [4, 6, 8]
    assert kept.begun == 3


def test_rows_and_checkpoints_are_written_when_they_are_due(tmp_path: Path) -> None:
    with recorded(tmp_path, checkpoint_every=2, keep=9) as kept:
        for epoch in range(1, 6):
            kept.save(state(epoch))
            assert rows(tmp_path) == [str(number) for number in range(1, epoch + 1)]
    assert list(checkpoints_in(tmp_path / CHECKPOINTS)) == [2, 4, 5], "and one after the last epoch"
    assert last_saved(tmp_path) == 5


def test_without_checkpoints_none_is_written(tmp_path: Path) -> None:
    with recorded(tmp_path, checkpoint_every=0) as kept:
        kept.save(state(1))
    assert not (tmp_path / CHECKPOINTS).exists()
    assert last_saved(tmp_path) == 0
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
    before, notes = read_progress(tmp_path, START, ABOUT)
    assert len(before.history) == 2
    assert notes == [f"going on after epoch 2, from the checkpoint in {tmp_path / CHECKPOINTS}"]
    with recorded(tmp_path, before):
        assert rows(tmp_path) == ["1", "2"]


def test_without_a_checkpoint_a_run_begins_anew_and_says_so(tmp_path: Path) -> None:
    before, notes = read_progress(tmp_path, START, ABOUT)
    assert before is START
    assert notes == [f"{tmp_path} holds no checkpoint yet: the run begins anew"]


def test_a_checkpoint_of_another_run_is_refused_and_a_damaged_one_told(tmp_path: Path) -> None:
    with recorded(tmp_path, checkpoint_every=1) as kept:
        kept.save(state(1))
        kept.save(state(2))
    with pytest.raises(ArgumentError, match='network is "a small one" there and "a large one" here'):
        read_progress(tmp_path, START, ABOUT | {"network": "a large one"})
    checkpoints_in(tmp_path / CHECKPOINTS)[2].write_bytes(b"")
    before, notes = read_progress(tmp_path, START, ABOUT)
    assert len(before.history) == 1
    assert len(notes) == 2
    assert "epoch-00000002.safetensors is damaged" in notes[0]
    assert notes[0].endswith("using epoch-00000001.safetensors")


def test_a_run_that_has_ended_without_a_checkpoint_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / MODEL).touch()
    with pytest.raises(ArgumentError) as refusal:
        read_progress(tmp_path, START, ABOUT)
    assert str(refusal.value) == (
        f"{tmp_path} has ended and holds no checkpoint to go on from: begin a new run"
    )


def test_contents_of_the_data_that_have_changed_are_said_so(tmp_path: Path) -> None:
    about = ABOUT | {"data set": {"name": "pets.csv", "sha256": "aa", "seed": 0}}
    with locked(tmp_path) as lock, recording(tmp_path, lock, RunOptions(), "accuracy", about, START) as kept:
        kept.save(state(1))
    changed = about | {"data set": {"name": "pets.csv", "sha256": "bb", "seed": 0}}
    with pytest.raises(ArgumentError, match=r"the contents of pets\.csv have changed since the run began"):
        read_progress(tmp_path, START, changed)
    another = about | {"data set": {"name": "cats.csv", "sha256": "bb", "seed": 0}}
    with pytest.raises(ArgumentError, match=r'data set\.name is "pets\.csv" there and "cats\.csv" here'):
        read_progress(tmp_path, START, another)


# --- what cannot be written ---


def test_what_cannot_be_written_is_told_once_and_the_table_is_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with recorded(tmp_path, checkpoint_every=9) as kept:
        kept.save(state(1))
        with monkeypatch.context() as patched:
            patched.setattr(records, "add_row", full)
            patched.setattr(records, "write_metrics", full)
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
        assert kept.begun == 0
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


def test_what_is_wrong_is_said_in_a_few_words() -> None:
    assert why(OSError(28, "No space left on device")) == "No space left on device"
    assert why(OSError(13, "Permission denied", "a.csv")) == "a.csv: Permission denied"
    assert why(OSError("odd")) == "odd"
    assert why(ArgumentError("two\nlines")) == "two lines"
