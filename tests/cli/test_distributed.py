"""Runs of several devices and processes: the same as one process's, refused in one line, ended by a death."""

import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from command_runs import contents, run_experiment, train_ok, write_pets
from comparisons import largest_difference, refused
from fault_runs import TRAIN, Running, end_of, rows_in, running

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
        (("--devices", 0), "--devices must be a whole number from 1 to 1024, given 0"),
        (("--devices", 1025), "--devices must be a whole number from 1 to 1024, given 1025"),
        # JAX has begun, and does not begin again with more.
        (("--devices", 999), r"--devices 999: this process has (\d+) of platform cpu: give at most \1"),
        (("--devices", 2, "--device", "cpu:0"), "--device cpu:0 names one device"),
        (("--coordinator", "a:1"), "give --num-processes and --process-id too"),
        (("--num-processes", 2, "--process-id", 0), "give --coordinator too"),
        (("--coordinator", "a:1", "--num-processes", 1, "--process-id", 0), "at least 2, given 1"),
        (
            ("--coordinator", "a:1", "--num-processes", 2, "--process-id", 2),
            "a whole number from 0 to 1, given 2",
        ),
        (("--coordinator", "a:1", "--num-processes", 2, "--process-id", -1), "given -1"),
        (("--coordinator", "a", "--num-processes", 2, "--process-id", 0), "takes HOST:PORT"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(arguments: Any, words: str, tmp_path: Path) -> None:
    jax.devices()  # begun, whichever test is the first: JAX makes no more of them
    outcome = run_experiment("train", *SMALL, *arguments, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert re.search(words, outcome.error_line)
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
    message = f"process 1 of 2 has another {differs} than process 0: start all of them alike"
    assert refused(message, group.agree, items) == message
    assert group.has_parted


def test_processes_of_unequal_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [SimpleNamespace(process_index=index) for index in (0, 0, 0, 1, 1)]
    monkeypatch.setattr(jax, "devices", lambda platform: there)
    line = refused("process 1 of 2 has 2 devices and process 0 has 3", two(monkeypatch).devices, "cpu")
    assert line.endswith("--devices 2")


class Exit(Exception):
    """What a test does instead of ending its process."""


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "train.py: interrupted\n"),
        (ArgumentError("no"), 2, "train.py: no\n"),
        (
            ValueError("Gloo"),
            1,
            "train.py: another process is gone, or this one has failed: Gloo\n",
        ),
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
    refused("takes HOST:PORT with a port from 1 to 65535", split_address, address)


# --- real processes ---


@contextlib.contextmanager
def started(folder: Path, *arguments: object, own: Sequence[Any] = ((), ())) -> Iterator[list[Running]]:
    """Start the two processes of a run inside a `with`, each with arguments of its own; what is left is ended."""
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(running(folder, [*map(str, (*arguments, *given, *flags))]))
            for index, given in enumerate(own)
            for flags in [("--coordinator", address, "--num-processes", 2, "--process-id", index)]
        ]


def end(run: Running, seconds: float = LONG) -> tuple[int, str, str]:
    """Wait for a process's end; returns its status and what it printed."""
    out, err = run.process.communicate(timeout=seconds)
    return run.process.returncode, out, err


def apart(*runs: Path) -> float:
    """Measure how far the parameters and the histories of two runs are from each other, relative to the largest."""
    ends = [(load_model(at / "model.safetensors")[1], np.array(end_of(at).table[1:], float)) for at in runs]
    return largest_difference(*ends, relative=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "epochs", "bound"), [("float32", 1, 1e-5), ("float64", 6, 1e-12)], ids=["32", "64"]
)
def test_two_processes_end_as_one(precision: str, epochs: int, bound: float, tmp_path: Path) -> None:
    what = (*SMALL, "--precision", precision, "--epochs", epochs, "--optimizer", "adam", "--l2", "1e-4")
    run, alone, other = (tmp_path / name for name in ("run", "alone", "other"))
    with started(run, *what, "--devices", 2, "--out", run) as both:
        first, second = map(end, both)
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "test accuracy" in first[1]
    assert "accuracy" not in second[1] + second[2]
    train_ok(alone, *what)
    assert apart(run, alone) <= bound
    train_ok(other, *what, "--seed", 1)  # another seed's run is seen to be another
    assert apart(run, other) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "how"), [(1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_the_others_end_where_one_dies_and_the_run_goes_on_in_one_process(
    victim: int, how: signal.Signals, tmp_path: Path
) -> None:
    run, alone = tmp_path / "run", tmp_path / "alone"
    what = (*SMALL, "--precision", "float64")
    with started(run, *what, "--checkpoint-every", 1, "--epochs", 100_000, "--out", run) as both:
        both[0].wait_for(lambda: rows_in(run) >= 3)
        both[victim].process.send_signal(how)
        assert end(both[1 - victim], BOUND)[0] not in (0, 2)
        both[victim].process.kill()
        assert f"then go on with: python {TRAIN} --resume {run}" in end(both[0])[2]
    epochs = rows_in(run) + 2
    resumed = run_experiment("train", "--resume", run, "--epochs", epochs)
    assert resumed.status == 0, resumed.err
    train_ok(alone, *what, "--epochs", epochs)
    assert apart(run, alone) <= 1e-12


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(tmp_path: Path) -> None:
    run, alone = tmp_path / "run", tmp_path / "alone"
    what = (*SMALL, "--precision", "float64")
    train_ok(run, *what, "--epochs", 2)
    with started(run, "--resume", run, "--epochs", 5) as both:
        assert [end(each)[0] for each in both] == [0, 0]
    train_ok(alone, *what, "--epochs", 5)
    assert apart(run, alone) <= 1e-12


ALIKE = "than process 0: start all of them alike"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "rate", "devices", "said"),
    [
        (41, 0.1, 1, f"has another data set {ALIKE}"),
        (40, 0.2, 1, f"has another --learning-rate {ALIKE}"),
        (
            40,
            0.1,
            2,
            "has 2 devices and process 0 has 1, but all must have as many: start each with --devices 1",
        ),
    ],
    ids=["data", "option", "devices"],
)
def test_processes_that_differ_are_refused_by_all(
    rows: int, rate: float, devices: int, said: str, tmp_path: Path
) -> None:
    own = []
    for name, count, *numbers in (("a", 40, 0.1, 1), ("b", rows, rate, devices)):
        (tmp_path / name).mkdir()
        pets = write_pets(tmp_path / name / "pets.csv", rows=count)
        own.append(("--dataset", pets, "--learning-rate", numbers[0], "--devices", numbers[1]))
    run = tmp_path / "run"
    with started(run, *SMALL, "--target", "pet", "--out", run, own=own) as both:
        for status, _, err in map(end, both):
            assert status == 2
            lines = [line for line in err.splitlines() if line.startswith("train.py:")]
            assert lines == [f"train.py: process 1 of 2 {said}"]
            assert "Traceback" not in err
    assert not run.exists()


@pytest.mark.slow
def test_what_one_process_is_refused_ends_all(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with started(tmp_path, *SMALL, "--out", tmp_path) as both:
        first, second = (end(each, BOUND + LONG) for each in both)
    assert first[0] == 2
    assert "holds a run already" in first[2]
    assert second[0] not in (0, 2)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_an_epoch(tmp_path: Path) -> None:
    with started(tmp_path, *SMALL, "--epochs", 100_000, "--out", tmp_path) as both:
        both[0].wait_for(lambda: rows_in(tmp_path) >= 2)
        both[1].process.send_signal(signal.SIGTERM)
        first, second = map(end, both)
    assert (first[0], second[0]) == (1, 128 + signal.SIGTERM)
    assert "stopped by another process after epoch" in first[2]
    assert f"--resume {tmp_path}" in first[2]
