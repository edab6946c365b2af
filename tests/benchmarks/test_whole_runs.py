"""Whole processes are timed: `jaxmlp train` first and second, and the programs that bring MNIST to 98 %."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import startup
import time_to_accuracy
from command_runs import EXPERIMENTS, run_experiment
from measurement import PlaceOptions
from peers import missing_packages
from processes import ProcessFailed
from startup import parts, time_process
from time_to_accuracy import FLAGS, Program, measure_time_to_accuracy, printed_accuracy, programs, run_once

from jaxmlp.cli.resume import read_options

TINY = ("--epochs", "1", "--hidden", "4", "--no-pictures")
FIRST = {"wall": 9.0, "cpu": 8.0, "compiled": 12, "accuracy": 0.97}

# --- first and second runs ---


@pytest.mark.slow
def test_a_process_is_timed_and_the_next_one_compiles_nothing(tmp_path: Path) -> None:
    first = time_process(TINY, tmp_path, "first")
    assert first["compiled"] > 0
    assert first["wall"] > 0
    assert first["cpu"] > 0
    assert 0 < first["accuracy"] <= 1
    second = time_process((*TINY, "--seed", "1"), tmp_path, "second")
    assert second["compiled"] == 0
    assert second["accuracy"] != first["accuracy"]


def test_a_run_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"status 2: .*--epochs must be at least 1, given 0"):
        time_process(("--epochs", "0"), tmp_path, "run")


def test_second_runs_stand_by_their_median_beside_the_first() -> None:
    second = [FIRST | {"wall": time, "compiled": 0, "accuracy": 0.981} for time in (2.4, 2.5, 5.0)]
    case = {"flags": ["--epochs", "3"], "first": FIRST, "second": second}
    ((_, row),) = parts({"cases": {"digits": case}})
    assert row[:4] == ["`jaxmlp train --epochs 3`", "9.000 s", "2.500 s", "2.400 s to 5.000 s"]
    assert row[4:] == ["8.00", "12, then 0", "98.10 %"]


def test_the_default_is_measured_without_flags_and_mnist_from_several_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, ...]] = []
    loaded: list[str] = []
    monkeypatch.setattr(startup, "time_process", lambda flags, *where: given.append(tuple(flags)) or FIRST)
    monkeypatch.setattr(startup, "load", lambda name, **_: loaded.append(name))
    committed = (EXPERIMENTS / "results" / "startup.json").read_bytes()
    assert run_experiment("startup", "--no-mnist", "--repeats", 1).status == 0
    assert (given, loaded) == ([(), ()], [])
    assert (EXPERIMENTS / "results" / "startup.json").read_bytes() == committed  # unless asked for
    out = tmp_path / "startup.json"
    outcome = run_experiment("startup", "--repeats", 2, "--data-dir", "folder", "--out", out)
    assert outcome.status == 0, outcome.err
    assert loaded == ["mnist"]
    seeded = (*FLAGS, "--data-dir", "folder", "--seed")
    assert given[2:] == [(), (), (), (*seeded, "0"), (*seeded, "0"), (*seeded, "1")]
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["cases"]["digits"] == {"flags": [], "first": FIRST, "second": [FIRST] * 2}
    assert {"machine", "command"} <= set(result)


# --- time to 98 % ---


def test_a_run_is_timed_and_its_accuracy_read(tmp_path: Path) -> None:
    def program(code: str) -> Program:
        return Program("one", "One", lambda folder, seed: ["-c", code, str(seed)])

    seconds, accuracy = run_once(
        program("import sys; print('test accuracy  ', 25 * int(sys.argv[1]), '%')"), tmp_path, 3
    )
    assert accuracy == 0.75
    assert 0 < seconds < 60
    with pytest.raises(ProcessFailed, match=r"One ended with status 1: ValueError: no data"):
        run_once(program("raise ValueError('no data')"), tmp_path, 0)


def test_ours_is_the_command_with_flags_that_it_takes(tmp_path: Path) -> None:
    ours = programs(PlaceOptions(manual_dir="archives"), "cpu:0", "float32")[0]
    *command, out = ours.command(tmp_path, 4)
    assert command[:3] == ["-m", "jaxmlp", "train"]
    options = read_options([*command[3:], out])
    assert (options.seed, options.manual_dir, options.dataset) == (4, "archives", "mnist")
    assert (options.device, options.precision) == ("cpu:0", "float32")
    assert ours.command(tmp_path, 4)[-1] != out  # a run folder of its own each time
    with pytest.raises(ProcessFailed, match="no test accuracy"):
        printed_accuracy("nothing of the kind")


def test_each_seed_is_run_in_turn_and_one_that_fails_leaves_the_others_their_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def run_once(program: Program, folder: Path, seed: int, device: str) -> tuple[float, float]:
        calls.append((program.name, seed))
        if program.name == "torch" and seed == 6:
            raise ProcessFailed("torch ended with status 1")
        return float(sum(name == program.name for name, _ in calls)), 0.98

    loaded, fakes = (
        mock.MagicMock(),
        [Program(name, name, lambda folder, seed: []) for name in ("torch", "jaxmlp")],
    )
    monkeypatch.setattr(time_to_accuracy, "run_once", run_once)
    monkeypatch.setattr(time_to_accuracy, "load", lambda *given, **more: loaded)
    monkeypatch.setattr(time_to_accuracy, "programs", lambda *given: fakes)
    result = measure_time_to_accuracy(PlaceOptions(), "cpu", "float32", (5, 6, 7))
    assert result is not None
    assert [seed for name, seed in calls if name == "jaxmlp"] == [5, 5, 6, 7]
    assert [seed for name, seed in calls if name == "torch"] == [5, 5, 6]  # not asked again
    failed, ours = result["programs"]
    assert failed["failure"] == "torch ended with status 1"
    assert "median_seconds" not in failed
    assert ours["seconds"] == [2.0, 3.0, 4.0]  # the first run is not counted
    assert ours["median_seconds"] == 3.0
    assert ours["accuracies"] == [0.98] * 3
    monkeypatch.setattr(time_to_accuracy, "load", mock.Mock(side_effect=ProcessFailed("not at hand")))
    assert measure_time_to_accuracy(PlaceOptions(), "cpu", "float32", (0,)) is None


@pytest.mark.parametrize("name", ["sklearn", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_peers_program_trains_and_prints_its_accuracy(name: str, tmp_path: Path) -> None:
    if missing_packages(name):
        pytest.skip(f"{name} is not installed")
    # 200 images of MNIST's shape whose label is where they are bright.
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 200).astype(np.uint8)
    images = random.integers(0, 50, (200, 784)).astype(np.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[78 * label : 78 * label + 78] += 200
    few: dict[str, Any] = {"train_inputs": images[:150], "train_targets": labels[:150]}
    np.savez(tmp_path / "mnist.npz", test_inputs=images[150:], test_targets=labels[150:], **few)
    chosen = {program.name: program for program in programs(PlaceOptions(), "cpu:0", "float32")}[name]
    seconds, accuracy = run_once(chosen, tmp_path, 0)
    assert seconds > 0
    assert 0.5 < accuracy <= 1  # chance would be a tenth
