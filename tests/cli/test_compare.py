import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command_runs import BRIEF, contents, inside, run_experiment, run_program, train_ok, write_pets
from matplotlib.image import imread

from jaxmlp import ArgumentError, EpochReport
from jaxmlp.cli.compare import read_runs
from jaxmlp.cli.records import METRICS, add_row, write_metrics
from jaxmlp.cli.run import CONFIG, LOCK, MODEL, is_locked, locked, write_config

DIGITS = {"name": "digits", "test_fraction": 0.2, "seed": 0}
SINE = {"name": "sine", "examples": 400, "test_fraction": 0.2, "seed": 0}
OPTIONS = {
    "dataset": "digits",
    "hidden": [32],
    "learning_rate": 0.1,
    "epochs": 3,
    "validation": 0.2,
    "seed": 0,
}
MACHINE = {"processor": "one", "devices": ["cpu:0"], "versions": {"jax": "1"}}


def report(epoch: int, loss: float, score: float = 0.5, weight: float = 0.1) -> EpochReport:
    return EpochReport(epoch, loss, score, 2 * loss, score / 2, 1.0, (weight,), 0.01 * epoch, 100.0)


def write_run(
    folder: Path,
    losses: Sequence[float] = (3.0, 1.0, 2.0),
    *,
    scores: Sequence[float] = (0.25, 0.75, 0.5, 0.5),
    data: dict[str, Any] = DIGITS,
    loss: str = "softmax_cross_entropy",
    metric: str = "accuracy",
    machine: dict[str, Any] = MACHINE,
    model: bool = True,
    **options: Any,
) -> Path:
    """Write the folder of a run of those training losses, as train.py leaves it."""
    folder.mkdir(parents=True)
    config = {"options": OPTIONS | options, "loss": loss, "metric": metric, "dataset": data}
    write_config(folder, config | {"machine": machine})
    pairs = enumerate(zip(losses, scores, strict=False), start=1)
    write_metrics(folder, [report(epoch, *pair) for epoch, pair in pairs], metric)
    if model:
        (folder / MODEL).write_bytes(b"model")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(*arguments: object) -> list[str]:
    """The lines that compare.py prints, with single spaces."""
    outcome = run_experiment("compare", *arguments)
    assert (outcome.status, outcome.err) == (0, "")
    return [" ".join(line.split()) for line in outcome.out.splitlines()]


def cells(lines: Sequence[str], name: str) -> list[str]:
    """The lines of a run, without its name, in their order."""
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


def test_runs_are_told_by_their_options_their_progress_and_what_they_reached(here: Path) -> None:
    write_run(here / "runs/slow", learning_rate=None, batch_size=None)
    write_run(here / "runs/wide", (2.0, 1e-4), hidden=[64, 64], batch_size=32)
    lines = compared("runs/slow", "runs/wide")
    assert lines == [
        "run hidden learning rate batch size state epochs median epoch all epochs",
        "slow 32 default full ended 3 20 ms 60 ms",
        "wide 64x64 0.1 32 ended early 2 of 3 15 ms 30 ms",
        "",
        "digits, accuracy: the last epoch's values, with the best and its epoch",
        "run train loss validation loss train accuracy validation accuracy",
        "slow 2.0000 (1.0000 at 2) 4.0000 (2.0000 at 2) 50.00 % (75.00 % at 2) 25.00 % (37.50 % at 2)",
        "wide 1.00e-04 (1.00e-04 at 2) 2.00e-04 (2.00e-04 at 2) 75.00 % (75.00 % at 2) 37.50 % (37.50 % at 2)",
        "",
        "alike: dataset digits, validation 0.2, epochs 3; else the defaults of jaxmlp train",
        "picture comparison.png",
    ]
    assert imread(here / "comparison.png").shape[2] == 4
    aligned = run_experiment("compare", "runs/slow", "runs/wide").out.splitlines()
    assert [len({len(line) for line in table}) for table in (aligned[:3], aligned[5:8])] == [1, 1]


def test_what_changes_nothing_is_not_shown_as_a_difference(here: Path) -> None:
    write_run(here / "a", out="a", quiet=True, data_dir="x", added_later=1)
    write_run(here / "b", out="b", quiet=False, data_dir="y")
    assert compared("a", "b")[0] == "run state epochs median epoch all epochs"
    write_run(here / "c", added_later=2)
    lines = compared("a", "b", "c")
    assert lines[0].startswith("run added later state")
    assert [cells(lines, name)[0].split()[0] for name in "abc"] == ["1", "-", "2"]


@pytest.mark.parametrize(
    ("losses", "change", "state", "epochs"),
    [
        ((3.0, 2.0, 1.0), "", "ended", "3"),
        ((3.0, 2.0), "", "ended early", "2 of 3"),
        ((3.0, 2.0), "no model", "interrupted", "2 of 3"),
        ((3.0, 2.0), "older model", "interrupted", "2 of 3"),
        ((3.0, 2.0, 1.0, 0.5), "older model", "interrupted", "4"),
        ((3.0, 2.0, 1.0), "older model", "ended", "3"),
        ((3.0, 2.0, 1.0, 0.5), "", "ended", "4"),
        ((3.0, math.nan), "", "diverged", "2 of 3"),
        ((3.0, math.inf), "no model", "diverged", "2 of 3"),
        ((3.0,), "weights", "diverged", "2 of 3"),
        ((), "no model", "not begun", "0 of 3"),
        ((), "no table", "not begun", "0 of 3"),
        ((3.0, 2.0), "lock", "going on", "2 of 3"),
        ((), "lock", "going on", "0 of 3"),
        ((3.0, 2.0), "lock left", "interrupted", "2 of 3"),
    ],
)
def test_a_run_is_taken_in_whatever_state_it_is(
    losses: tuple[float, ...], change: str, state: str, epochs: str, here: Path
) -> None:
    run = write_run(here / "mine", losses, model=change in ("", "older model", "weights"))
    if change == "older model":
        os.utime(run / MODEL, ns=(0, 0))
    if change == "weights":
        add_row(run, report(2, 2.0, weight=math.inf), "accuracy")
    if change == "no table":
        (run / METRICS).unlink()
    if change == "lock left":
        (run / LOCK).touch()
    write_run(here / "other")
    if change == "lock":
        with locked(run):
            lines = compared("mine", "other")
    else:
        lines = compared("mine", "other")
    assert cells(lines, "mine")[0].startswith(f"{state} {epochs} ")


def test_a_diverged_run_shows_what_it_had(here: Path) -> None:
    write_run(here / "mine", (3.0, math.nan), scores=(0.5, math.nan))
    write_run(here / "never", (math.nan,), scores=(math.nan,))
    lines = compared("mine", "never")
    assert cells(lines, "mine")[1] == (
        "nan (3.0000 at 1) nan (6.0000 at 1) nan (50.00 % at 1) nan (25.00 % at 1)"
    )
    assert cells(lines, "never")[1] == "nan nan nan nan"


def test_without_an_epoch_there_is_a_table_and_no_picture(here: Path) -> None:
    write_run(here / "a", ())
    lines = compared("a")
    assert lines[-1] == "no picture: no run has an epoch yet"
    assert cells(lines, "a") == ["not begun 0 of 3 - -", "- - - -"]
    assert not (here / "comparison.png").exists()


def test_nothing_in_a_run_folder_is_changed(here: Path) -> None:
    run = write_run(here / "mine", model=False)
    (run / LOCK).touch()

    def times() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in [run, *run.iterdir()]}

    before = contents(run), times()
    compared("mine")
    with locked(run):
        compared("mine")
        during = contents(run), times()
    assert during == before


def test_looking_at_a_lock_leaves_it_as_it_is(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert contents(tmp_path) == {}
    with locked(tmp_path):
        assert is_locked(tmp_path)
        assert is_locked(tmp_path), "the look itself took the lock away"
        with pytest.raises(ArgumentError, match="in use"), locked(tmp_path):
            pass
    (tmp_path / LOCK).touch()
    assert not is_locked(tmp_path)


def test_a_row_that_was_cut_off_is_left_out_and_a_damaged_one_is_told(here: Path) -> None:
    run = write_run(here / "mine", model=False)
    whole = (run / METRICS).read_bytes()
    (run / METRICS).write_bytes(whole + b"4,0.0,0.9")
    assert cells(compared("mine"), "mine")[0].startswith("interrupted 3 ")

    lines = whole.splitlines(keepends=True)
    (run / METRICS).write_bytes(b"".join([*lines[:2], b"2,0.1,0.\xff\r\n", b"x" + lines[2], lines[3]]))
    outcome = run_experiment("compare", "mine")
    assert outcome.status == 0
    assert outcome.error_line == "jaxmlp compare: mine: damaged lines of metrics.csv left out: 3, 4"
    assert "2.0000 (2.0000 at 3)" in outcome.out


def test_other_data_and_scores_are_told_apart(here: Path) -> None:
    write_run(here / "a")
    write_run(here / "b", data=DIGITS | {"test_fraction": 0.5})
    write_run(here / "c", data=SINE, loss="mean_squared_error", metric="r2", scores=(-1e6, 0.5, 0.25))
    lines = compared("a", "b", "c", "--out", "c.svg")
    headings = [line for line in lines if "the last epoch's" in line]
    assert [line.partition(":")[0] for line in headings] == [
        "digits, test_fraction 0.2, accuracy",
        "digits, test_fraction 0.5, accuracy",
        "sine, R²",
    ]
    assert [lines[lines.index(line) + 2].split()[0] for line in headings] == ["a", "b", "c"]
    assert cells(lines, "c")[1].endswith("0.2500 (0.5000 at 2) 0.1250 (0.2500 at 2)")
    assert "different data or scores: compare within a table, not across them" in lines
    assert "<svg" in (here / "c.svg").read_text(encoding="utf-8")


def test_an_error_is_best_where_it_is_least(here: Path) -> None:
    write_run(here / "a", metric="zero_one_loss", scores=(0.75, 0.25, 0.5))
    assert cells(compared("a"), "a")[1].endswith("50.00 % (25.00 % at 2) 25.00 % (12.50 % at 2)")


def test_what_cannot_be_compared_is_said(here: Path) -> None:
    write_run(here / "a")
    alike = compared("a")
    assert len([line for line in alike if line]) == len(alike) - 2
    write_run(here / "hinge", loss="multiclass_hinge")
    write_run(here / "penalty", l2=0.1)
    write_run(here / "seed", seed=1)
    write_run(here / "test", validation=0.0)
    write_run(here / "elsewhere", machine=MACHINE | {"processor": "two"})
    for name, said in {
        "hinge": "digits, accuracy: the losses are of different kinds: compare only the scores",
        "penalty": "digits, accuracy: the losses are of different kinds: compare only the scores",
        "seed": "runs of another seed or --validation hold out other examples",
        "test": "held-out: the test part for test, the validation part for the others",
        "elsewhere": "the times are of different machines or versions of jax",
    }.items():
        assert said not in alike
        assert said in compared("a", name), name
    assert "run train loss held-out loss train accuracy held-out accuracy" in compared("a", "test")
    assert "run train loss test loss train accuracy test accuracy" in compared("test")


def test_folders_of_one_name_are_told_by_their_paths(here: Path) -> None:
    write_run(here / "x/run", seed=1)
    write_run(here / "y/run", seed=2)
    write_run(here / "z")
    assert [past.name for past in read_runs(["x/run", "y/run/", "z"])] == ["x/run", "y/run", "z"]
    with inside(here / "z"):
        assert [past.name for past in read_runs(["."])] == ["z"]


def test_an_unknown_score_is_refused(here: Path) -> None:
    write_run(here / "a")
    config = json.loads((here / "a" / CONFIG).read_text(encoding="utf-8"))
    write_config(here / "a", config | {"metric": "acuracy"})
    outcome = run_experiment("compare", "a")
    assert (outcome.status, outcome.out) == (2, "")
    assert "unknown metric 'acuracy': did you mean 'accuracy'?" in outcome.error_line


@pytest.mark.slow
def test_runs_of_train_are_compared_one_of_them_resumed(here: Path) -> None:
    write_pets(here / "pets.csv")
    data = ("--dataset", "pets.csv", "--target", "pet", "--validation", "0.25")
    train_ok(here / "whole", *BRIEF, *data, "--epochs", "3")
    train_ok(here / "parts", *BRIEF, *data, "--epochs", "2")
    assert run_experiment("train", "--resume", "parts", "--epochs", "3", "--quiet").status == 0
    outcome = run_program("compare", "whole", "parts", folder=here)
    assert (outcome.status, outcome.err) == (0, "")
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert lines[0] == "run state epochs median epoch all epochs"
    assert [cells(lines, name)[0].startswith("ended 3 ") for name in ("whole", "parts")] == [True, True]
    assert cells(lines, "whole")[1] == cells(lines, "parts")[1]
    assert (here / "comparison.png").stat().st_size > 10_000
