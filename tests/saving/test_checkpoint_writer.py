"""The writer works beside the training, keeps what it should, and tells every failure."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused

from jaxmlp.saving import checkpoint
from jaxmlp.saving.checkpoint import (
    CheckpointWriter,
    checkpoints_in,
    latest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from jaxmlp.types import ArgumentError

ARRAYS = {"w": jnp.arange(3.0)}


def epochs(folder: Path) -> list[int]:
    assert all(read_checkpoint(path) for path in checkpoints_in(folder).values())
    assert len(os.listdir(folder)) == len(checkpoints_in(folder)), "nothing else is left"
    return list(checkpoints_in(folder))


class Gate:
    """Stands before `write_checkpoint`: opens when told, counts, and fails where told."""

    def __init__(self) -> None:
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.failures: dict[int, Exception] = {}

    def write(self, folder: Path, epoch: int, *arguments: Any) -> Path:
        self.entered.release()
        assert self.open.wait(30)
        if epoch in self.failures:
            raise self.failures[epoch]
        return write_checkpoint(folder, epoch, *arguments)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(checkpoint, "write_checkpoint", gate.write)
    return gate


def test_saving_waits_only_where_two_wait_and_is_busy_till_then(tmp_path: Path, gate: Gate) -> None:
    with CheckpointWriter(tmp_path, keep=9) as writer:
        assert not writer.is_busy
        writer.save(1, ARRAYS, None)
        assert gate.entered.acquire(timeout=30)  # the first is being written
        writer.save(2, ARRAYS, None)
        third = threading.Thread(target=writer.save, args=(3, ARRAYS, None))
        third.start()
        third.join(0.2)
        assert third.is_alive(), "a third one waits for room"
        assert writer.is_busy
        assert epochs(tmp_path) == []
        gate.open.set()
        third.join(30)
        assert not third.is_alive()
        until = time.monotonic() + 30
        while writer.is_busy:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert epochs(tmp_path) == [1, 2, 3]


def test_what_is_altered_later_does_not_matter_and_no_thread_is_left(tmp_path: Path, gate: Gate) -> None:
    before, mine, description = threading.active_count(), np.zeros(3), {"list": [1]}
    arrays: dict[str, Any] = {"w": mine, "x": jnp.ones(2)}
    with CheckpointWriter(tmp_path) as writer:
        writer.save(1, arrays, description)
        mine[:] = 9
        description["list"].append(2)
        del arrays["x"]
        gate.open.set()
    found, _ = latest_checkpoint(tmp_path)
    assert (list(found.arrays), found.description) == (["w", "x"], {"list": [1]})
    assert found.arrays["w"].tolist() == [0, 0, 0]
    writer.close()  # once more does no harm
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="after shutdown"):
        writer.save(2, ARRAYS, None)


def save_all(folder: Path, values: dict[int, Any], description: Any = None, **options: Any) -> list[int]:
    """Save an epoch for each value and return the epochs that are kept."""
    with CheckpointWriter(folder, **options) as writer:
        for epoch, value in values.items():
            writer.save(epoch, ARRAYS, description, value)
    return epochs(folder)


@pytest.mark.parametrize(
    ("keep", "better", "values", "kept"),
    [
        (2, None, [1, 2, 3, 4], [3, 4]),
        (1, None, [1, 2], [2]),
        (9, None, [1, 2], [1, 2]),
        (2, "smaller", [0.5, 0.1, 0.3, 0.4], [2, 3, 4]),
        (2, "larger", [0.5, 0.1, 0.3, 0.4], [1, 3, 4]),
        (1, "smaller", [0.5, 0.4, 0.3], [3]),
        (1, "smaller", [0.5, 0.5, 0.5], [1, 3]),
        (1, "smaller", [0.5, float("nan"), None], [1, 3]),
        (1, "larger", [float("nan"), 0.1, None, 0.0], [2, 4]),
        (1, "smaller", [None, None], [2]),
        (1, None, [0.1, 0.5], [2]),
        (1, "larger", [float("-inf"), None], [1, 2]),
    ],
)
def test_the_last_and_the_best_are_kept(
    tmp_path: Path, keep: int, better: str | None, values: list[Any], kept: list[int]
) -> None:
    assert save_all(tmp_path, dict(enumerate(values, 1)), keep=keep, better=better) == kept


def test_the_best_is_known_when_a_run_goes_on_unless_it_is_damaged(tmp_path: Path) -> None:
    smaller: dict[str, Any] = {"keep": 1, "better": "smaller"}
    assert save_all(tmp_path, {1: 0.5, 2: 0.1, 3: 0.3}, **smaller) == [2, 3]
    assert save_all(tmp_path, {4: 0.4}, **smaller) == [2, 4]
    assert save_all(tmp_path, {5: 0.05}, **smaller) == [5]
    assert save_all(tmp_path, {6: 0.1}, **smaller) == [5, 6]
    write_checkpoint(tmp_path, 7, ARRAYS, None, -0.1).write_bytes(b"")
    assert save_all(tmp_path, {8: 0.4}, **smaller) == [5, 8]


def test_what_a_kill_left_is_cleared_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    others = [".mine.safetensors", "epoch-3.safetensors"]
    for name in (".epoch-00000003.0123456789abcdef.safetensors", *others):
        (tmp_path / name).write_text("half")
    CheckpointWriter(tmp_path).close()
    assert sorted(os.listdir(tmp_path)) == others


def test_a_run_that_goes_back_supersedes_what_came_later(tmp_path: Path) -> None:
    options: dict[str, Any] = {"keep": 9, "better": "smaller"}
    save_all(tmp_path, {epoch: 1 / epoch for epoch in (1, 2, 3, 4)}, "old", **options)
    checkpoints_in(tmp_path)[4].write_bytes(b"")
    assert latest_checkpoint(tmp_path)[0].epoch == 3
    assert save_all(tmp_path, {3: 1.0}, "new", **options) == [1, 2, 3]
    assert latest_checkpoint(tmp_path)[0].description == "new"


def test_a_failure_is_raised_by_the_next_save_and_the_one_after_goes_on(tmp_path: Path, gate: Gate) -> None:
    gate.failures = {2: OSError(28, "No space left on device")}
    gate.open.set()
    with CheckpointWriter(tmp_path) as writer:
        writer.save(1, ARRAYS, None)
        writer.save(2, ARRAYS, None)
        with pytest.raises(OSError, match="No space left on device"):  # noqa: PT012
            for _ in range(3):
                writer.save(3, ARRAYS, None)
        writer.save(4, ARRAYS, None)
    assert epochs(tmp_path) in ([1, 4], [1, 3, 4])  # the failure may be seen only by the third save


def test_two_failures_are_told_and_the_one_before_stays(tmp_path: Path, gate: Gate) -> None:
    write_checkpoint(tmp_path, 1, ARRAYS, None)
    gate.failures = {epoch: OSError(5, f"failure {epoch}") for epoch in (2, 3)}
    writer = CheckpointWriter(tmp_path, keep=1)
    writer.save(2, ARRAYS, None)
    writer.save(3, ARRAYS, None)
    gate.open.set()
    for told in ("failure 2", "failure 3"):
        with pytest.raises(OSError, match=told):
            writer.close()
    writer.close()
    assert epochs(tmp_path) == [1]


@pytest.mark.parametrize("failures", [{}, {1: OSError(28, "No space left on device")}])
@pytest.mark.parametrize("ending", [KeyboardInterrupt(), ZeroDivisionError("the run's own")])
def test_what_ended_the_run_waits_and_is_not_hidden(
    tmp_path: Path, gate: Gate, ending: BaseException, failures: dict[int, Exception]
) -> None:
    gate.failures, ending.__notes__ = failures, []
    threading.Timer(0.1, gate.open.set).start()
    with pytest.raises(type(ending)) as caught, CheckpointWriter(tmp_path) as writer:  # noqa: PT012
        writer.save(1, ARRAYS, None)
        raise ending
    assert epochs(tmp_path) == ([] if failures else [1])
    assert ["No space left on device" in note for note in caught.value.__notes__] == [True] * len(failures)


@pytest.mark.parametrize("made_again", [False, True])
def test_a_folder_that_is_gone_is_told_and_no_other_used(made_again: bool, tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path / "run" / "checkpoints")
    shutil.rmtree(tmp_path / "run")
    if made_again:
        (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    writer.save(1, ARRAYS, None)
    with pytest.raises(FileNotFoundError, match="deleted while a run writes its checkpoints"):
        writer.close()
    assert list(tmp_path.rglob("epoch-*")) == []


def test_wrong_arguments_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with CheckpointWriter(tmp_path) as writer:
        refused("plain JSON data", writer.save, 1, ARRAYS, {1, 2})
    for options in ({"keep": 0}, {"keep": 1.5}, {"better": "smallest"}):
        with pytest.raises(ArgumentError):
            CheckpointWriter(tmp_path, **options)  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists"):
        CheckpointWriter(tmp_path / "file")
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):  # this user may write anywhere
        monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(PermissionError):
        CheckpointWriter(tmp_path)


FULL = """
import sys
import numpy as np
from jaxmlp.saving import CheckpointWriter, latest_checkpoint
folder = sys.argv[1]
numbers = np.random.default_rng(0).normal(size=(12, 50_000))
small, large = {"w": numbers[0, :100]}, {f"w{place}": row for place, row in enumerate(numbers)}
writer = CheckpointWriter(folder)
writer.save(1, small, None)
writer.save(2, large, None)
try:
    writer.close()
except OSError as error:
    print(error.errno)
with CheckpointWriter(folder) as writer:
    writer.save(3, small, None)
print(latest_checkpoint(folder)[0].epoch)
"""
# A file system of 1 MiB, or files of at most 1,000 blocks, and what then goes wrong.
DISKS = {
    errno.ENOSPC: (["unshare", "-Urm", "sh", "-c"], 'mount -t tmpfs -o size=1m none "$1" && '),
    errno.EFBIG: (["sh", "-c"], "ulimit -f 1000 && "),
}


@pytest.mark.parametrize("number", DISKS)
def test_a_full_disk_is_told_by_its_number_and_keeps_what_was_there(number: int, tmp_path: Path) -> None:
    shell, limit = DISKS[number]
    command = [*shell, f'{limit}exec "$2" -c "$3" "$1"', "sh", str(tmp_path), sys.executable]
    try:
        allowed = subprocess.run([*command, ""], capture_output=True, timeout=30).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("no small file system can be mounted here")
    run = subprocess.run([*command, FULL], capture_output=True, text=True, timeout=120)
    assert (run.stdout.split(), run.stderr) == ([str(number), "3"], "")
