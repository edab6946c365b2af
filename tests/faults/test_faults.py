"""Every fault happens for real to a run of the train command; what is said and what is kept is as promised."""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from command_runs import contents
from fault_runs import RUN, End, Ended, end_of, flags, goes_on, rows_in, run_to_end, running, saved_in

from jaxmlp import load_model
from jaxmlp.cli.records import METRICS
from jaxmlp.cli.run import CHECKPOINTS, CONFIG, MODEL
from jaxmlp.saving.checkpoint import checkpoints_in, latest_checkpoint, read_checkpoint, write_checkpoint

GOING_ON = "going on after epoch"
# A row of the table and a checkpoint, in either order, and the result.
UNWRITTEN = ("could not be written", "could not be written", "the result could not be written")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run left alone."""
    run = tmp_path_factory.mktemp("runs") / "alone"
    run_to_end(run, flags(run)).said(0)
    return run


@pytest.fixture(scope="module")
def alone(left: Path) -> End:
    """How the run left alone ended."""
    return end_of(left)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run to begin."""
    return tmp_path / "run"


@pytest.fixture
def copied(left: Path, run: Path) -> Path:
    """A copy of the run left alone, as it was after its last checkpoint."""
    shutil.copytree(left, run)
    (run / MODEL).unlink()
    return run


# --- the process ---


@pytest.mark.slow
def test_killed_after_a_checkpoint_it_goes_on_from_there(run: Path, alone: End) -> None:
    with running(run, flags(run)) as begun:
        begun.wait_for_checkpoint()
        begun.process.kill()
        begun.end().said(-signal.SIGKILL)
    goes_on(run, alone, f"{GOING_ON} {saved_in(run)},")


@pytest.mark.slow
def test_killed_before_the_first_checkpoint_it_begins_again(run: Path, alone: End) -> None:
    with running(run, flags(run, {"checkpoint-every": RUN["epochs"]})) as begun:
        begun.wait_for(lambda: rows_in(run) >= 1)
        begun.process.kill()
        begun.end().said(-signal.SIGKILL)
    goes_on(run, alone, "holds no checkpoint yet")


@pytest.mark.slow
def test_killed_at_random_and_resumed_each_time_it_ends_as_if_left_alone(run: Path, alone: End) -> None:
    kills, seed = int(os.environ.get("JAXMLP_KILLS", "4")), random.randrange(10**6)
    print(f"seed {seed}, {kills} kills")  # pytest shows it where the test fails, or with -s
    draws, begun_at = random.Random(seed), time.monotonic()
    with running(run, flags(run)) as begun:
        begun.wait_for(lambda: rows_in(run) >= 1)
        start = time.monotonic() - begun_at
        begun.end().said(0)
    training = time.monotonic() - begun_at - start
    shutil.rmtree(run)
    for number in range(kills):
        can_go_on = (run / CONFIG).exists()  # killed before it had a folder it can only be begun again
        with running(run, ["--resume", str(run)] if can_go_on else flags(run)) as begun:
            moment = draws.uniform(start / 2, start + training / kills)
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert begun.process.wait(moment) == 0
            begun.process.kill()
        print(f"kill {number + 1} after {moment:.2f} s: {rows_in(run)} epochs in the table")
    ended = run_to_end(run, ["--resume", str(run)] if (run / CONFIG).exists() else flags(run))
    assert ended.status == 0, ended
    assert not any("damaged" in line for line in ended.err)
    assert end_of(run) == alone


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_an_epoch_that_is_saved(number: signal.Signals, run: Path, alone: End) -> None:
    with running(run, flags(run)) as begun:
        begun.wait_for_checkpoint()
        begun.process.send_signal(number)
        ended = begun.end()
    rows = rows_in(run)
    stopped = f"stopped by {number.name} after epoch {rows} of"
    ended.said(128 + number, f"{number.name}: ending after this epoch", stopped)
    assert saved_in(run) == rows
    goes_on(run, alone, f"{GOING_ON} {rows},")


@pytest.mark.slow
def test_a_second_sigint_ends_it_at_once(run: Path) -> None:
    # Epochs of about a second, so that the second one comes within the same.
    with running(run, flags(run, {"examples": 300_000, "checkpoint-every": 1})) as begun:
        begun.wait_for_checkpoint()
        begun.process.send_signal(signal.SIGINT)
        assert begun.process.stderr is not None
        assert "SIGINT: ending after this epoch" in begun.process.stderr.readline()
        begun.process.send_signal(signal.SIGINT)
        begun.end().said(130, "SIGINT once more: ended at once; go on with")
    assert saved_in(run) >= 1


@pytest.mark.slow
def test_two_more_runs_in_its_folder_are_refused_and_do_not_disturb_it(run: Path, alone: End) -> None:
    with running(run, flags(run)) as begun:
        begun.wait_for_checkpoint()
        begun.process.send_signal(signal.SIGSTOP)  # it is there as long as the others take
        run_to_end(run, ["--resume", str(run)]).said(2, "is in use by a run that has not ended: wait for it")
        run_to_end(run, flags(run)).said(2, "holds a run already: choose another folder with --out")
        begun.process.send_signal(signal.SIGCONT)
        begun.end().said(0)
    assert end_of(run) == alone


@pytest.mark.slow
def test_a_reader_that_closes_the_pipe_does_not_end_it(run: Path, alone: End) -> None:
    with running(run, flags(run)) as begun:
        begun.wait_for_checkpoint()
        assert begun.process.stdout is not None
        begun.process.stdout.close()
        assert begun.process.wait(600) == 0
        assert begun.process.stderr is not None
        assert begun.process.stderr.read() == ""
    assert end_of(run) == alone


@pytest.mark.slow
def test_a_loss_that_is_not_finite_keeps_the_epoch_before(run: Path) -> None:
    ended = run_to_end(run, flags(run, {"learning-rate": 1, "schedule": "exponential:1e5"}))
    ended.said(1, "the loss or a parameter became NaN or infinite; the parameters before it are kept")
    assert saved_in(run) == rows_in(run) - 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(load_model(run / MODEL)[1]))


JUMPS = """
import itertools, time
jumps = itertools.cycle([0, 86400, -31536000, 3600, -5])  # seconds
clock, clock_ns = time.time, time.time_ns
time.time = lambda: clock() + next(jumps)
time.time_ns = lambda: clock_ns() + next(jumps) * 10**9
"""


@pytest.mark.slow
def test_a_clock_that_jumps_does_not_matter(run: Path, tmp_path: Path, alone: End) -> None:
    (tmp_path / "sitecustomize.py").write_text(JUMPS, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    shown = [flag for flag in flags(run, {"time-limit": 3000}) if flag != "--quiet"]
    ended = run_to_end(run, [*shown, "--tensorboard"], environment={"PYTHONPATH": path})
    assert ended.status == 0
    assert not any("Traceback" in line or "Error" in line for line in ended.err)
    assert end_of(run) == alone
    header, *rows = (line.split(",") for line in (run / METRICS).read_text(encoding="utf-8").splitlines())
    seconds = [float(row[header.index("seconds")]) for row in rows]
    assert min(seconds) > 0
    assert sum(seconds) < 3000


# --- what it goes on from ---


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(copied: Path, alone: End) -> None:
    checkpoints = copied / CHECKPOINTS
    before, newest = list(checkpoints_in(checkpoints).values())[-2:]
    content = newest.read_bytes()
    draws = random.Random(0)
    places = {0, 1, len(content) - 1, *(draws.randrange(len(content)) for _ in range(40))}
    for place in sorted(places):
        flipped = content[:place] + bytes([content[place] ^ 1 << draws.randrange(8)]) + content[place + 1 :]
        for damaged in (content[:place], flipped):
            newest.write_bytes(damaged)
            found, notes = latest_checkpoint(checkpoints)
            assert (checkpoints_in(checkpoints)[found.epoch], len(notes)) == (before, 1), place
            assert "is damaged" in notes[0]
    goes_on(copied, alone, f"{newest.name} is damaged", GOING_ON)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def cut_all(run: Path) -> None:
    for path in checkpoints_in(run / CHECKPOINTS).values():
        os.truncate(path, 10)


def of_another_version(run: Path) -> None:
    for path in checkpoints_in(run / CHECKPOINTS).values():
        found = read_checkpoint(path)
        write_checkpoint(path.parent, found.epoch, found.arrays, found.description | {"version": "9"})


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "every checkpoint cut off": (cut_all, "is whole, the newest as"),
    "another network": (
        lambda run: edit(run / CONFIG, f'"hidden": [\n      {RUN["hidden"]}\n    ]', '"hidden": [9]'),
        "the checkpoint is of another run: network",
    ),
    "other data": (
        lambda run: edit(run / CONFIG, '"dataset": "moons"', '"dataset": "circles"'),
        "the checkpoint is of another run: data set",
    ),
    "another option": (
        lambda run: edit(run / CONFIG, '"learning_rate": 0.01', '"learning_rate": 0.02'),
        "the checkpoint is of another run: options.learning_rate is 0.01 there and 0.02 here",
    ),
    "another version": (of_another_version, "the checkpoint is of another run: version"),
    "config.json cut off": (
        lambda run: os.truncate(run / CONFIG, (run / CONFIG).stat().st_size // 2),
        "does not describe a training run",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_it_cannot_go_on_from_is_refused_and_stays_as_it_is(damage: str, copied: Path) -> None:
    make, said = DAMAGES[damage]
    make(copied)
    before = contents(copied)
    run_to_end(copied, ["--resume", str(copied)]).said(2, said)
    assert contents(copied) == before


# --- the disk ---


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a file system of 2 MiB inside a `with`; yields whether this system lets us."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_is_told_and_with_room_again_it_goes_on(tmp_path: Path, alone: End) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk) as mounted:
        run, ballast = disk / "run", disk / "ballast"
        with running(run, flags(run)) as begun:
            begun.wait_for_checkpoint()
            if mounted:
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                    for size in (65536, 4096, 1):
                        with contextlib.suppress(OSError):
                            while file.write(bytes(size)):
                                pass
            else:  # no file may grow any more
                resource.prlimit(begun.process.pid, resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
            ended = begun.end()
        ended.said(2, *UNWRITTEN)
        reason = "No space left on device" if mounted else "File too large"
        assert all(reason in line for line in ended.err)
        ballast.unlink(missing_ok=True)
        goes_on(run, alone, GOING_ON)


@pytest.mark.slow
def test_a_folder_that_is_deleted_is_told_and_the_result_is_there(run: Path, alone: End) -> None:
    with running(run, flags(run)) as begun:
        begun.wait_for_checkpoint()
        while run.exists():  # the run may just be writing into it
            shutil.rmtree(run, ignore_errors=True)
        begun.end().said(0, "is gone: nothing is saved until the training has ended")
    assert end_of(run) == alone


def bound_by_rights() -> dict[str, Sequence[str]]:
    """Say to `running` to run as somebody whom rights bind; root may write everywhere."""
    if os.geteuid() != 0:
        return {}
    prefix = ["setpriv", "--bounding-set=-dac_override"]
    try:
        subprocess.run([*prefix, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root may write everywhere, and setpriv cannot take that right from it here")
    return {"prefix": prefix}


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    user: Any = bound_by_rights()
    tmp_path.chmod(0o555)
    ended = run_to_end(tmp_path / "run", flags(tmp_path / "run"), **user)
    tmp_path.chmod(0o755)
    ended.said(2, "cannot be written (Permission denied): choose another with --out")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_is_told_and_writable_again_it_goes_on(run: Path, alone: End) -> None:
    user: Any = bound_by_rights()
    closed = {run / METRICS: (0o444, 0o644), run / CHECKPOINTS: (0o555, 0o755), run: (0o555, 0o755)}
    with running(run, flags(run), **user) as begun:
        begun.wait_for_checkpoint()
        for path, (mode, _) in closed.items():
            path.chmod(mode)
        ended = begun.end()
    for path, (_, mode) in reversed(closed.items()):
        path.chmod(mode)
    ended.said(2, *UNWRITTEN)
    goes_on(run, alone, GOING_ON, **user)


# --- what the tests stand on ---

TABLE = "epoch,train_loss,seconds,examples_per_second\n1,0.5,{seconds},9\n2,{loss},0.1,9\n"


def test_two_ends_are_the_same_but_for_times(tmp_path: Path) -> None:
    def end(loss: float = 0.25, seconds: float = 0.2, model: bytes = b"weights") -> End:
        (tmp_path / METRICS).write_text(TABLE.format(loss=loss, seconds=seconds), encoding="utf-8")
        (tmp_path / MODEL).write_bytes(model)
        return end_of(tmp_path)

    assert end().table == [["epoch", "train_loss"], ["1", "0.5"], ["2", "0.25"]]
    assert end(seconds=9.0) == end()
    assert end(loss=0.2500001) != end()
    assert end(model=b"weighty") != end()


@pytest.mark.parametrize(
    "ended",
    [
        Ended(0, ("the disk is full: make room",)),
        Ended(2, ()),
        Ended(2, ("the disk is full: make room", "Traceback (most recent call last):")),
        Ended(2, ("something else",)),
    ],
)
def test_what_is_not_as_promised_is_caught(ended: Ended) -> None:
    Ended(2, ("the disk is full: make room",)).said(2, "the disk is full")
    with pytest.raises(AssertionError):
        ended.said(2, "the disk is full")


def test_a_run_that_ends_too_early_is_said_so_and_none_is_left(run: Path) -> None:
    said = r"ended too early, 2: .*--epochs must be at least 1"
    with running(run, ["--epochs", "0"]) as begun, pytest.raises(AssertionError, match=said):
        begun.wait_for_checkpoint()
    with running(run, flags(run)) as begun:
        assert begun.process.poll() is None
    assert begun.process.returncode == -signal.SIGKILL
