"""Runs of several devices and processes: the same as one process's, refused in one line, ended in order by a death."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from command_runs import EXPERIMENTS, contents, run_experiment, write_pets

from jaxmlp import ArgumentError, load_model
from jaxmlp.cli import distributed
from jaxmlp.cli.distributed import GRACE, LOST, Group, find_difference
from jaxmlp.cli.meeting import SILENCE, Meeting, free_port

LONG = 300.0  # seconds that a process of a test may take on a busy machine
BOUND = SILENCE + GRACE + 5
SMALL = ("--hidden", "12", "--no-pictures", "--quiet")

# --- options that do not fit ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--devices", 0), "--devices must lie in 1 to 1024, given 0"),
        (("--devices", 1025), "--devices must lie in 1 to 1024, given 1025"),
        (("--devices", 2, "--device", "cpu:0"), "--device cpu:0 names one device"),
        (("--coordinator", "a:1"), "--num-processes and --process-id are missing"),
        (("--num-processes", 2, "--process-id", 0), "--coordinator is missing"),
        (("--coordinator", "a:1", "--num-processes", 1, "--process-id", 0), "at least 2, given 1"),
        (("--coordinator", "a:1", "--num-processes", 2, "--process-id", 2), "lie in 0 to 1, as there are 2"),
        (("--coordinator", "a:1", "--num-processes", 2, "--process-id", -1), "given -1"),
        (("--coordinator", "a", "--num-processes", 2, "--process-id", 0), "takes HOST:PORT"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(arguments: Any, words: str, tmp_path: Path) -> None:
    outcome = run_experiment("train", *arguments, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert words in outcome.error_line
    assert contents(tmp_path) == {}


def test_more_devices_than_there_are_are_refused(tmp_path: Path) -> None:
    there = len(jax.devices())  # JAX has begun, and does not begin again with more
    outcome = run_experiment("train", "--devices", 999, "--out", tmp_path / "run", *SMALL)
    assert outcome.status == 2
    assert (
        f"--devices 999: this process has {there} of platform cpu: give at most {there}" in outcome.error_line
    )
    assert contents(tmp_path) == {}


def test_one_process_alone_has_nobody_to_ask() -> None:
    alone = Group(None, None)
    alone.agree({"data set": "any"})
    alone.advise("go on")
    alone.part()
    assert alone.is_first
    assert alone.devices("cpu") is None
    assert len(Group(None, 1).devices("cpu") or ()) == 1


# --- what processes have alike ---

SAID = {"platform": "gpu", "devices": 4, "sums": {"data set": "aa", "--seed": "bb"}}


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({}, None),
        ({"sums": {"data set": "aa", "--seed": "cc"}}, "process 1 of 3 has another --seed than process 0"),
        ({"sums": {"data set": "aa"}}, "process 1 of 3 has another --seed than process 0"),
        ({"platform": "cpu", "devices": 1}, "process 1 of 3 has another --device than process 0"),
        (
            {"devices": 8},
            "process 1 of 3 takes part with 8 of its devices and process 0 with 4, but all must with as many: "
            "start each with --devices 2",
        ),
    ],
)
def test_the_first_difference_is_named(other: dict[str, Any], line: str | None) -> None:
    third = SAID | ({"devices": 2} if "devices" in other else {})
    found = find_difference({0: SAID, 1: SAID | other, 2: third})
    assert found is None if line is None else line in str(found)


def test_the_devices_that_were_chosen_are_compared() -> None:
    class Heard(Meeting):
        def settle(self, said: Any, judge: Any) -> str | None:
            return judge({0: said, 1: said | {"devices": 2}})

    group = Group(Heard(0, 2, {}, ("localhost", 1)), 1)
    group.devices("cpu")
    with pytest.raises(ArgumentError, match=r"process 1 of 2 takes part with 2 .* --devices 1$"):
        group.agree({"data set": "any"})


class Exit(Exception):
    """What a test does instead of ending its process."""


def leave(status: int) -> None:
    raise Exit(status)


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), 130), (ArgumentError("no"), 2), (jax.errors.JaxRuntimeError("no"), 1)],
)
def test_a_process_ends_with_the_status_of_its_error(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(distributed, "SILENCE", -5.0)
    with pytest.raises(Exit, match=f"^{status}$"):
        distributed._end_early(Meeting(0, 2, {}, ("localhost", 1)), "train.py", error)


def test_a_process_ends_after_the_line_that_says_who_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    def say(line: str) -> None:
        time.sleep(0.3)
        said.append(line)

    meeting = Meeting(0, 2, {}, ("localhost", 1))
    meeting.watch(say)
    losing = threading.Thread(target=meeting._lose, args=("process 1 is gone",))
    losing.start()
    while meeting.lost is None:
        time.sleep(0.01)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(Exit, match=f"^{LOST}$"):
        distributed._end_early(meeting, "train.py", ConnectionError("gone"))
    assert said == ["process 1 is gone"]
    losing.join(LONG)
    meeting.part()


# --- real processes ---


class Ended(NamedTuple):
    """What a process left."""

    status: int
    out: str
    err: str
    seconds: float


class Started:
    """A process of train.py in a folder."""

    def __init__(self, folder: Path, name: str, *arguments: object) -> None:
        self.began = time.monotonic()
        self._files = [folder / f"{name}.{kind}" for kind in ("out", "err")]
        with contextlib.ExitStack() as stack:
            out, err = (stack.enter_context(path.open("w")) for path in self._files)
            self.process = subprocess.Popen(
                [sys.executable, str(EXPERIMENTS / "train.py"), *map(str, arguments)],
                stdout=out,
                stderr=err,
                cwd=folder,
                env=os.environ | {"JAX_PLATFORMS": "cpu"},
            )

    def end(self, seconds: float = LONG) -> Ended:
        """Wait for its end."""
        began = time.monotonic()
        status = self.process.wait(seconds)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in self._files)
        return Ended(status, out, err, time.monotonic() - began)


@contextlib.contextmanager
def started(folder: Path, count: int, *arguments: object, own: Any = None) -> Iterator[list[Started]]:
    """Start the processes of a run, and end whatever is left of them."""
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    running = []
    try:
        for index in range(count):
            flags = ("--coordinator", address, "--num-processes", count, "--process-id", index)
            given = arguments if own is None else (*arguments, *own[index])
            running.append(Started(folder, str(index), *flags, *given))
        yield running
    finally:
        for each in running:
            each.process.kill()
            each.process.wait(LONG)


def rows(run: Path) -> list[list[float]]:
    """A history's columns but for its timings."""
    if not (run / "metrics.csv").is_file():
        return []
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return [[float(cell) for cell in row[:-2]] for row in list(csv.reader(file))[1:]]


def parameters(run: Path) -> list[bytes]:
    """Read a run's parameters, to be compared bit by bit."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(load_model(run / "model.safetensors")[1])]


def largest_difference(run: Path, other: Path) -> float:
    """Measure max |a − b| / max |b| over the parameters and the history of two runs."""
    pairs = [
        (np.asarray(a), np.asarray(b))
        for layer, like in zip(
            load_model(run / "model.safetensors")[1],
            load_model(other / "model.safetensors")[1],
            strict=True,
        )
        for a, b in zip(layer, like, strict=True)
    ]
    pairs.append((np.array(rows(run)), np.array(rows(other))))
    return max(float(np.max(np.abs(a - b)) / (np.max(np.abs(b)) or 1)) for a, b in pairs)


def wait_for_epochs(run: Path, epochs: int) -> None:
    """Wait until a run has done so many."""
    deadline = time.monotonic() + LONG
    while len(rows(run)) < epochs:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alone(folder: Path, *arguments: object) -> Path:
    """Train in one process of one device."""
    ended = Started(folder, "alone", *arguments, "--out", folder / "alone").end()
    assert ended.status == 0, ended.err
    return folder / "alone"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "epochs", "bound"), [("float32", 1, 1e-5), ("float64", 6, 1e-12)], ids=["32", "64"]
)
def test_two_processes_end_with_the_parameters_of_one(
    precision: str, epochs: int, bound: float, tmp_path: Path
) -> None:
    what = (*SMALL, "--precision", precision, "--epochs", epochs, "--optimizer", "adam", "--l2", "1e-4")
    run = tmp_path / "run"
    with started(tmp_path, 2, *what, "--devices", 2, "--out", run) as running:
        first, second = (each.end() for each in running)
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "test accuracy" in first.out
    assert "accuracy" not in second.out + second.err
    assert largest_difference(run, alone(tmp_path, *what)) <= bound
    # Another seed's run is seen to be another.
    other = Started(tmp_path, "other", *what, "--seed", 1, "--out", tmp_path / "other").end()
    assert other.status == 0
    assert largest_difference(run, tmp_path / "other") > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "how"), [(1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_the_others_end_in_order_where_one_is_gone_and_the_run_goes_on_in_one_process(
    victim: int, how: signal.Signals, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    what = (*SMALL, "--precision", "float64", "--checkpoint-every", 1)
    with started(tmp_path, 2, *what, "--epochs", 100_000, "--out", run) as running:
        wait_for_epochs(run, 3)
        running[victim].process.send_signal(how)
        ended = running[1 - victim].end(BOUND)
    assert ended.status == LOST
    lines = [line for line in ended.err.splitlines() if line.startswith("train.py:")]
    assert lines == [
        f"train.py: process {victim} of 2 is gone: go on with: python experiments/train.py --resume {run}"
    ]
    assert "Traceback" not in ended.err
    assert "Check failure" not in ended.err  # JAX's own abort
    epochs = len(rows(run)) + 2
    done = Started(tmp_path, "resumed", "--resume", run, "--epochs", epochs).end()
    assert done.status == 0, done.err
    assert largest_difference(run, alone(tmp_path, *what, "--epochs", epochs)) <= 1e-12


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(tmp_path: Path) -> None:
    run = tmp_path / "run"
    what = (*SMALL, "--precision", "float64")
    begun = Started(tmp_path, "begun", *what, "--epochs", 2, "--out", run).end()
    assert begun.status == 0, begun.err
    with started(tmp_path, 2, "--resume", run, "--epochs", 5) as running:
        ended = [each.end() for each in running]
    assert [each.status for each in ended] == [0, 0], ended[0].err + ended[1].err
    assert largest_difference(run, alone(tmp_path, *what, "--epochs", 5)) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(4))  # which process ends first is a matter of chance
@pytest.mark.parametrize("kind", ["data", "option", "devices"])
def test_processes_that_differ_are_refused_by_all(kind: str, trial: int, tmp_path: Path) -> None:
    pets = []
    for name, rows in (("a", 40), ("b", 41 if kind == "data" else 40)):
        (tmp_path / name).mkdir()
        pets.append(write_pets(tmp_path / name / "pets.csv", rows=rows))
    rates = ("0.1", "0.2" if kind == "option" else "0.1")
    devices = (1, 2 if kind == "devices" else 1)
    own = [
        ("--dataset", path, "--target", "pet", "--learning-rate", rate, "--devices", number)
        for path, rate, number in zip(pets, rates, devices, strict=True)
    ]
    with started(tmp_path, 2, *SMALL, "--out", tmp_path / "run", own=own) as running:
        ended = [each.end() for each in running]
    name = "data set" if kind == "data" else "--learning-rate"
    said = f"train.py: process 1 of 2 has another {name} than process 0: start all of them alike"
    if kind == "devices":
        said = (
            "train.py: process 1 of 2 takes part with 2 of its devices and process 0 with 1, but all must with "
            "as many: start each with --devices 1"
        )
    for each in ended:
        assert each.status == 2
        assert [line for line in each.err.splitlines() if line.startswith("train.py:")] == [said]
        assert "Traceback" not in each.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_one_process_is_refused_ends_all(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    with started(tmp_path, 2, *SMALL, "--out", tmp_path / "run") as running:
        first, second = (each.end() for each in running)
    assert first.status == 2
    assert "holds a run already" in first.err
    assert second.status == LOST
    assert "process 0 of 2 ended with an error" in second.err
    assert "holds a run already" in second.err


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_an_epoch(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with started(tmp_path, 2, *SMALL, "--epochs", 100_000, "--out", run) as running:
        wait_for_epochs(run, 2)
        running[1].process.send_signal(signal.SIGTERM)
        first, second = (each.end() for each in running)
    assert second.status == 128 + signal.SIGTERM
    assert first.status == 1
    assert "stopped by another process after epoch" in first.err
    assert f"--resume {run}" in first.err


@pytest.mark.slow
def test_the_bound_on_the_end_is_kept_while_a_process_computes(tmp_path: Path) -> None:
    # An epoch without an end in sight, in which process 0 waits for nobody: no collective fails meanwhile.
    program = (
        "import sys, time\nfrom jaxmlp.cli import distributed\n"
        "from jaxmlp.cli.distributed import ProcessOptions, together\n"
        "distributed.GRACE = 2.0\n"
        "with together(ProcessOptions(None, sys.argv[1], 2, int(sys.argv[2])), 'train.py'):\n"
        "    print('there', flush=True)\n"
        "    while True: sum(range(10**6))\n"
    )
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, address, str(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=EXPERIMENTS,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for index in range(2)
    ]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == "there\n"
        running[1].kill()
        _, err = running[0].communicate(timeout=BOUND)
        assert running[0].returncode == distributed.LOST
        assert err.splitlines()[-1] == "train.py: process 1 of 2 is gone"
    finally:
        for each in running:
            each.kill()
            each.communicate(timeout=LONG)
