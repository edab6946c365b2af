"""Runs of several devices and processes: the same as one process's, refused in one line, ended by a death."""

import contextlib
import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from command_runs import EXPERIMENTS, contents, run_experiment, write_pets

from jaxmlp import ArgumentError, load_model
from jaxmlp.cli import distributed
from jaxmlp.cli.distributed import HEARTBEAT, Group, free_port, together
from jaxmlp.cli.options import ProcessOptions, split_address

LONG = 300.0  # seconds that a process of a test may take on a busy machine
BOUND = HEARTBEAT + 10  # seconds until the others have ended
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


def test_one_process_has_nobody_to_ask() -> None:
    group = Group(ProcessOptions())
    group.agree({"data set": "any"})
    group.part()
    assert (group.is_first, group.devices("cpu")) == (True, None)
    assert len(Group(ProcessOptions(devices=1)).devices("cpu") or ()) == 1


# --- what processes have alike ---


def two(monkeypatch: pytest.MonkeyPatch, **patched: Any) -> Group:
    """Be process 0 of two, of which the other is not there; it must part before it refuses anything."""
    for name, value in patched.items():
        monkeypatch.setattr(f"jaxmlp.cli.distributed.{name}", value)
    group = Group(ProcessOptions(None, "localhost:1", 2, 0))
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: None)
    return group


@pytest.mark.parametrize("differs", [None, "--seed", "data set"])
def test_what_differs_is_named(differs: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    items = {"--epochs": 40, "--seed": 1, "data set": {"name": "pets"}}

    def gather(hashes: np.ndarray) -> np.ndarray:
        other = hashes.copy()
        if differs is not None:
            other[list(items).index(differs), 7] ^= 1
        return np.stack([hashes, other])

    group = two(monkeypatch, **{"multihost_utils.process_allgather": gather})
    if differs is None:
        group.agree(items)
        assert not group.has_parted
        return
    with pytest.raises(ArgumentError) as refusal:
        group.agree(items)
    assert str(refusal.value) == (
        f"process 1 of 2 has another {differs} than process 0: start all of them alike"
    )
    assert group.has_parted


def test_processes_of_unequal_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [SimpleNamespace(process_index=index) for index in (0, 0, 0, 1, 1)]
    monkeypatch.setattr(jax, "devices", lambda platform: there)
    with pytest.raises(
        ArgumentError, match=r"process 1 of 2 has 2 devices and process 0 has 3.*--devices 2$"
    ):
        two(monkeypatch).devices("cpu")


class Exit(Exception):
    """What a test does instead of ending its process."""


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "train.py: interrupted\n"),
        (ArgumentError("no"), 2, "train.py: no\n"),
        (ValueError("Gloo"), 1, "ValueError: Gloo\n"),
    ],
)
def test_a_process_ends_with_the_status_of_its_error_and_waits_for_nobody(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def leave(status: int) -> None:
        raise Exit(status)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(distributed, "_start", lambda *given: None)
    with pytest.raises(Exit, match=f"^{status}$"), together(ProcessOptions(None, "localhost:1", 2, 0)):
        raise error
    assert capsys.readouterr().err.endswith(said)


# --- how they find each other ---


def test_an_address_that_is_taken_or_foreign_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host, why in (("127.0.0.1", "Address already in use"), ("192.0.2.1", "Cannot assign")):
            given = ("--coordinator", f"{host}:{port}", "--num-processes", 2, "--process-id", 0)
            outcome = run_experiment("train", *given, "--out", tmp_path / "run")
            assert outcome.status == 2
            assert f"process 0 cannot listen at {host}:{port} ({why}" in outcome.error_line
    assert contents(tmp_path) == {}


def test_a_process_0_that_never_comes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "START", 0.5)
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    given = ("--coordinator", address, "--num-processes", 2, "--process-id", 1)
    outcome = run_experiment("train", *given, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert f"process 0 at {address} was not reached within 0.5 s (Connection refused)" in outcome.error_line


@pytest.mark.parametrize("address", ["10.0.0.1", ":1", "a:0", "a:65536", "a:x", "a:-1", "a:１"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    assert split_address("[::1]:29500") == ("::1", 29500)
    with pytest.raises(ArgumentError, match=r"takes HOST:PORT with a port from 1 to 65535"):
        split_address(address)


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
def test_the_others_end_where_one_dies_and_the_run_goes_on_in_one_process(
    victim: int, how: signal.Signals, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    what = (*SMALL, "--precision", "float64", "--checkpoint-every", 1)
    with started(tmp_path, 2, *what, "--epochs", 100_000, "--out", run) as running:
        wait_for_epochs(run, 3)
        running[victim].process.send_signal(how)
        ended = [each.end(BOUND) for each in running if each is not running[victim]]
    assert ended[0].status not in (0, 2)
    first = (tmp_path / "0.err").read_text(encoding="utf-8", errors="replace")
    assert f"then go on with: python {EXPERIMENTS / 'train.py'} --resume {run}\n" in first
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
@pytest.mark.parametrize("kind", ["data", "option", "devices"])
def test_processes_that_differ_are_refused_by_all(kind: str, tmp_path: Path) -> None:
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
    said = {
        "data": "has another data set than process 0: start all of them alike",
        "option": "has another --learning-rate than process 0: start all of them alike",
        "devices": "has 2 devices and process 0 has 1, but all must have as many: start each with --devices 1",
    }
    for each in ended:
        assert each.status == 2
        assert [line for line in each.err.splitlines() if line.startswith("train.py:")] == [
            f"train.py: process 1 of 2 {said[kind]}"
        ]
        assert "Traceback" not in each.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_one_process_is_refused_ends_all(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    with started(tmp_path, 2, *SMALL, "--out", tmp_path / "run") as running:
        first, second = (each.end(BOUND + LONG) for each in running)
    assert first.status == 2
    assert "holds a run already" in first.err
    assert second.status not in (0, 2)


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
