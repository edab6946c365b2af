"""The sweep from the command line: what is tried, the ranking, resuming after a kill, and the network it saves."""

import csv
import errno
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from command_runs import Outcome, program, run_experiment, train_ok, write_houses
from comparisons import refused

from jaxmlp import load_model, mlp
from jaxmlp.cli import sweep_options
from jaxmlp.cli.options import TrainOptions
from jaxmlp.cli.resume import read_options
from jaxmlp.cli.sweep import _hash_of, append_reports, read_reports
from jaxmlp.cli.sweep_options import read_sweep, train_command
from jaxmlp.cli.sweep_report import scores_of
from jaxmlp.cli.text import spell
from jaxmlp.sweep.trials import Standing, Trial, TrialReport

MOONS = ("--dataset", "moons", "--examples", "120", "--hidden", "4")
GRID = ("--grid", "learning_rate=0.02,0.2,2", "seed=0..1")
HOUSES = "--target price --hidden 4 --epochs 8 --folds 3 --halving 2 --first-rung 2 --init-scale 0.5"


def settings(text: str) -> list[TrainOptions]:
    return read_sweep(shlex.split(text)).settings()


def sweep_ok(*arguments: object) -> Outcome:
    outcome = run_experiment("sweep", *arguments)
    assert outcome.status == 0, outcome.err
    return outcome


# --- what is tried ---


def test_a_grid_is_every_combination() -> None:
    found = settings("--grid learning_rate=0.01,0.1 hidden=64,64x64,none activation=relu,tanh seed=0..7")
    every = itertools.product((0.01, 0.1), ((64,), (64, 64), ()), ("relu", "tanh"), range(8))
    assert [(each.learning_rate, each.hidden, each.activation, each.seed) for each in found] == list(every)


def test_random_draws_lie_in_their_ranges_and_follow_the_seed() -> None:
    text = "--random 200 learning_rate=log:1e-3..1 l2=0.1..0.3 batch_size=8..64 activation=relu,tanh"
    found = settings(text)
    assert len(found) == 200
    rates = np.log10([setting.learning_rate for setting in found])
    assert -3 <= rates.min() < -2.8 < -0.2 < rates.max() <= 0
    assert abs(np.median(rates) + 1.5) < 0.3  # even on a logarithmic scale
    assert all(0.1 <= setting.l2 <= 0.3 for setting in found)
    assert {setting.batch_size for setting in found} <= set(range(8, 65))
    assert {setting.activation for setting in found} == {"relu", "tanh"}
    assert settings(text) == found
    assert settings(text + " --seed 1") != found
    each_with_each = settings("--random 3 learning_rate=log:1e-3..1 --grid seed=0..3")
    assert (len(each_with_each), len({each.learning_rate for each in each_with_each})) == (12, 3)


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("--optimizer nesterov --grid momentum=0.5,0.9", "optimizer", "nesterov:0.5 nesterov:0.9"),
        # Written in full, so that near values stay apart.
        ("--optimizer momentum --grid momentum=0.9999991,1e-07", "optimizer", "momentum:0.9999991 momentum:1e-07"),
        ("--grid optimizer=adamw,lion weight_decay=0.1", "optimizer", "adamw:0.1 lion:0.1"),
        ("--grid 'schedule=step:0.1,10;cosine'", "schedule", "step:0.1,10 cosine"),
    ],
)  # fmt: skip
def test_values_go_to_the_options_of_a_run(text: str, field: str, values: str) -> None:
    assert [getattr(setting, field) for setting in settings(text)] == values.split()


def test_what_can_be_varied_is_an_option_of_a_run_and_help_tells_of_commas() -> None:
    fields = set(TrainOptions.__dataclass_fields__)
    assert set(sweep_options.READERS) - fields == {"momentum", "weight_decay"}
    assert '"schedule=step:0.1,10;cosine"' in run_experiment("sweep", "--help").out


def test_the_command_of_a_setting_is_read_back_as_it() -> None:
    for setting in settings(
        "--grid hidden=3x4,none activation=tanh optimizer=adamw:0.1 schedule=step:0.1,2;cosine batch_size=full,8 "
        "init_scale=0.5 l2=0.01 seed=3 clip_norm=1 --no-bias --no-shuffle --epochs 7"
    ):
        words = shlex.split(train_command(setting))
        assert words[:2] == ["jaxmlp", "train"]
        read = read_options(words[2:])
        assert {name: getattr(read, name) for name in vars(setting)} == vars(setting)


def test_values_and_losses_are_spelt_short() -> None:
    assert [spell(value) for value in ((64, 32), (), 0.1, None)] == ["64x32", "none", "0.1", "default"]
    for loss, cell in ((0.15, "0.1500"), (9999.0, "9999.0000"), (1.6e18, "1.6e+18")):
        standing = Standing(Trial(mlp([2, 2])), (0,), 1, (0.5,), loss, 0)
        assert scores_of(standing, "accuracy", several=False) == ["50.00 %", cell]


# --- a sweep ---


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("sweep") / "run"
    return folder, sweep_ok(*MOONS, *GRID, "--epochs", "8", "--out", folder).out


def test_the_ranking_is_printed_and_written(swept: tuple[Path, str]) -> None:
    folder, out = swept
    rows = list(csv.DictReader((folder / "ranking.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["place"], row["networks"]) for row in rows] == [("1", "2"), ("2", "2"), ("3", "2")]
    means = [float(row["valid_accuracy_mean"]) for row in rows]
    assert means == sorted(means, reverse=True)
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert sorted(trial["number"] for trial in trials) == list(range(6))
    for row, mean in zip(rows, means, strict=True):
        scores = [trial["score"] for trial in trials if spell(trial["learning_rate"]) == row["learning_rate"]]
        assert mean == pytest.approx(np.mean(scores))
    assert (folder / "scores.png").stat().st_size > 5000
    assert out.count("test accuracy") == 1  # only the chosen network is tested
    for told in (
        "moons: 6 networks of 3 settings, 8 epochs, ranked on",
        f"learning rate {rows[0]['learning_rate']}, seed",
        "6 networks trained in",
        "ms a network, compilation included",
    ):
        assert told in out


def test_the_printed_command_trains_the_saved_network(swept: tuple[Path, str], tmp_path: Path) -> None:
    folder, out = swept
    command, told = (
        next(line for line in out.splitlines() if line.startswith(start))
        for start in ("the same network: jaxmlp train", "test accuracy")
    )
    assert told in train_ok(tmp_path, *shlex.split(command)[5:], "--quiet", "--no-pictures").out
    ours, theirs = (load_model(run / "model.safetensors")[1] for run in (folder, tmp_path))
    for layer, other in zip(ours, theirs, strict=True):
        if layer:
            np.testing.assert_allclose(layer.w, other.w, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_folds_keep_groups_together_and_time_has_none(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = (f"{row},{row // 9},{'uv'[row % 2]}\n" for row in range(90))
    path.write_text("x,g,y\n" + "".join(rows))
    words = "--dataset", str(path), "--target", "y", "--folds", "3"
    job = sweep_options.prepare(read_sweep([*words, "--group-column", "g"]), "float32", jax.devices()[0])
    groups = job.dataset.groups
    assert groups is not None
    for train, held_out in job.folds or ():
        assert not {*groups[train]} & {*groups[held_out]}
    assert sum(len(held_out) for _, held_out in job.folds or ()) == len(groups)
    outcome = run_experiment("sweep", *words, "--time-column", "x")
    assert "leave out --time-column" in outcome.error_line


@pytest.mark.slow
def test_lengths_of_training_are_tried(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    out = sweep_ok("--dataset", "iris", "--grid", "epochs=1,3", "--no-pictures", "--out", folder).out
    assert "iris: 2 networks of 2 settings, 1 or 3 epochs, ranked on" in out
    assert "the same network: jaxmlp train --dataset iris --epochs" in out
    assert sorted(report.epochs for report in read_reports(folder)) == [1, 3]
    assert sweep_ok("--resume", folder).out.count("2 reports are there already") == 1


@pytest.mark.slow
def test_folds_and_halving_of_a_regression(tmp_path: Path) -> None:
    data = ("--dataset", write_houses(tmp_path / "houses.csv"), *HOUSES.split())
    rates = ("--grid", "learning_rate=0.001,0.005,0.01,1e30")
    outcome = sweep_ok(*data, *rates, "--quiet", "--no-pictures", "--out", tmp_path / "run")
    assert "validation R²" in outcome.out
    assert "3 of 12 networks diverged; their settings are ranked last" in outcome.out
    assert {report.epochs for report in read_reports(tmp_path / "run")} == {2, 4, 8}


def test_all_diverged_is_said_and_status_is_1(tmp_path: Path) -> None:
    wild = ("--epochs", "2", "--grid", "learning_rate=1e38", "--loss", "squared_error")
    outcome = run_experiment("sweep", *MOONS, *wild, "--quiet", "--no-pictures", "--out", tmp_path / "run")
    assert outcome.status == 1
    assert "every network diverged" in outcome.error_line


# --- resuming ---

WHOLE = '{"number": 0, "epochs": 2, "loss": null, "score": null, "diverged": true, "hash": "HASH"}\n'
WHOLE = WHOLE.replace(
    "HASH", _hash_of({name: each for name, each in json.loads(WHOLE).items() if name != "hash"})
)


@mock.patch.object(
    Path, "write_bytes", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
)
def test_a_line_that_was_cut_off_is_left_out_where_the_disk_is_full_too(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text(WHOLE + WHOLE + WHOLE[:30])
    assert [(report.diverged, str(report.score)) for report in read_reports(tmp_path)] == [(True, "nan")] * 2
    assert (tmp_path / "trials.jsonl").read_text() == WHOLE + WHOLE


@pytest.mark.parametrize(
    "damaged",
    [b"[]", b"", b"{", b'{"number": 0}', b"\xff", WHOLE[:-1].replace("0", '"zero"').encode(),
     WHOLE[:-1].replace(": 2,", ": 3,").encode(), b"[" * 10_000],
)  # fmt: skip
def test_a_damaged_line_is_named(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_bytes(WHOLE.encode() + damaged + b"\n" + WHOLE.encode())
    refused("line 2 is damaged: delete that line; its network is then", read_reports, tmp_path)


HERE = [{"learning_rate": 0.1, "seed": 0, "fold": None}, {"learning_rate": 0.2, "seed": 0, "fold": None}]


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    [
        (1, {"learning_rate": 0.3}, "learning_rate is 0.3 there and 0.2 here"),
        (1, {"seed": 1}, "another network 1: seed is 1 there"),
        (0, {"fold": 0}, "begin a new run"),
        (2, {}, "network 2 of 2, from 0: begin a new sweep"),
        (-1, {}, "network -1 of 2"),
    ],
)
def test_networks_that_are_not_the_sweeps_are_refused(
    number: int, changes: dict[str, float], words: str, tmp_path: Path
) -> None:
    first, other = TrialReport(0, 2, 0.5, 0.9, False), TrialReport(number, 2, 0.5, 0.9, False)
    append_reports(tmp_path, [first], HERE.__getitem__)
    assert read_reports(tmp_path, HERE) == [first]
    append_reports(tmp_path, [other], lambda number: HERE[number % 2] | changes)
    assert read_reports(tmp_path) == [first, other]
    refused(f"line 2 ...{words}", read_reports, tmp_path, HERE)


def test_a_sweep_that_had_all_is_not_timed(swept: tuple[Path, str], tmp_path: Path) -> None:
    folder = shutil.copytree(swept[0], tmp_path / "run")
    outcome = sweep_ok("--resume", folder)
    assert "48/48" in outcome.err  # the bar begins at what is finished
    assert "0 networks trained in" in outcome.out
    assert "ms a network, compilation included" not in outcome.out
    log = folder / "trials.jsonl"
    log.write_text(log.read_text().replace('"seed": 1', '"seed": 2'))
    assert "line 2 is damaged" in run_experiment("sweep", "--resume", folder, "--quiet").error_line


@mock.patch("jaxmlp.cli.sweep.sweep_plan", mock.Mock(side_effect=KeyboardInterrupt))
def test_an_interrupted_sweep_says_how_to_go_on(tmp_path: Path) -> None:
    outcome = run_experiment("sweep", *MOONS, *GRID, "--epochs", "1", "--quiet", "--out", tmp_path / "run")
    assert outcome.status == 130
    assert f"go on with: jaxmlp sweep --resume {tmp_path / 'run'}" in outcome.err


@pytest.mark.slow
def test_a_killed_sweep_trains_only_what_is_missing(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "run/trials.jsonl"
    slow = (
        "--epochs 400 --block 1 --cores 1 --quiet --no-pictures --grid learning_rate=0.05,0.1,0.2 seed=0..11"
    )
    with subprocess.Popen(
        [sys.executable, *program("sweep"), *MOONS, *slow.split(), "--out", str(folder)],
        cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = {report.number: report for report in read_reports(folder)}
    assert 2 <= len(before) < 36
    assert f"{36 - len(before)} networks trained in" in sweep_ok("--resume", folder, "--quiet").out
    after = read_reports(folder)
    assert sorted(report.number for report in after) == list(range(36))
    assert [report for report in after if report.number in before] == list(before.values())
    assert (folder / "model.safetensors").exists()
