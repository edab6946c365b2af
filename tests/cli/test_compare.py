import contextlib
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
from jaxmlp.cli.run import LOCK, MODEL, is_locked, locked, write_config

DIGITS = {"name": "digits", "test_fraction": 0.2, "seed": 0}
SINE = {"name": "sine", "examples": 400, "test_fraction": 0.2, "seed": 0}
OPTIONS = {"dataset": "digits", "hidden": [32], "learning_rate": 0.1, "epochs": 3}
MACHINE = {"processor": "one", "devices": ["cpu:0"], "versions": {"jax": "1"}}


def report(epoch: int, loss: float, score: float = 0.5, weight: float = 0.1) -> EpochReport:
    return EpochReport(epoch, loss, score, 2 * loss, score / 2, 1.0, (weight,), 0.01 * epoch, 100.0)


def write_run(
    folder: Path,
    losses: Sequence[float] = (3.0, 1.0, 2.0),
    *,
    scores: Sequence[float] = (0.25, 0.75, 0.5, 0.5),
    told: dict[str, Any] | None = None,
    model: bool = True,
    **options: Any,
) -> Path:
    """Write the folder of a run of those training losses, as train.py leaves it; `told` changes its config."""
    folder.mkdir(parents=True)
    config = {"loss": "softmax_cross_entropy", "metric": "accuracy", "dataset": DIGITS, "machine": MACHINE}
    config |= {"options": OPTIONS | {"validation": 0.2, "seed": 0} | options} | (told or {})
    write_config(folder, config)
    pairs = enumerate(zip(losses, scores, strict=False), start=1)
    write_metrics(folder, [report(epoch, *pair) for epoch, pair in pairs], config["metric"])
    if model:
        (folder / MODEL).write_bytes(b"model")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(*arguments: object) -> list[str]:
    """The lines that compare prints, with single spaces."""
    outcome = run_experiment("compare", *arguments)
    assert (outcome.status, outcome.err) == (0, "")
    return [" ".join(line.split()) for line in outcome.out.splitlines()]


def cells(lines: Sequence[str], name: str) -> list[str]:
    """The lines of a run, without its name, in their order."""
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


def test_runs_are_told_by_their_options_their_progress_and_what_they_reached(here: Path) -> None:
    write_run(here / "runs/slow", learning_rate=None, batch_size=None)
    write_run(here / "runs/wide", (2.0, 1e-4), hidden=[64, 64], batch_size=32)
    aligned = run_experiment("compare", "runs/slow", "runs/wide").out.splitlines()
    assert [len({len(line) for line in table}) for table in (aligned[:3], aligned[5:8])] == [1, 1]
    assert [" ".join(line.split()) for line in aligned] == [
        "run hidden learning rate batch size state epochs median epoch all epochs",
        "slow 32 default full ended 3 20 ms 60 ms",
        "wide 64x64 0.1 32 ended early 2 of 3 15 ms 30 ms",
        "",
        "digits, accuracy: the last epoch's values, with the best and its epoch",
        "run train loss validation loss train accuracy validation accuracy",
        "slow 2.0000 (1.0000 at 2) 4.0000 (2.0000 at 2) 50.00 % (75.00 % at 2) 25.00 % (37.50 % at 2)",
        "wide 1.0e-04 (1.0e-04 at 2) 2.0e-04 (2.0e-04 at 2) 75.00 % (75.00 % at 2) 37.50 % (37.50 % at 2)",
        "",
        "alike: dataset digits, validation 0.2, epochs 3; else the defaults of jaxmlp train",
        f"picture {here / 'comparison.png'}",
    ]
    assert imread(here / "comparison.png").shape[2] == 4


def test_what_changes_nothing_is_not_shown_as_a_difference(here: Path) -> None:
    write_run(here / "a", out="a", quiet=True, data_dir="x", added_later=1)
    write_run(here / "b", out="b", quiet=False, data_dir="y")
    assert compared("a", "b")[0] == "run state epochs median epoch all epochs"
    write_run(here / "c", added_later=2)
    lines = compared("a", "b", "c")
    assert lines[0].startswith("run added later state")
    assert [cells(lines, name)[0].split()[0] for name in "abc"] == ["1", "-", "2"]


STATES = [
    ((3.0, 2.0, 1.0), "", "ended 3"),
    ((3.0, 2.0), "", "ended early 2 of 3"),
    ((3.0, 2.0), "no model", "interrupted 2 of 3"),
    ((3.0, 2.0), "older model", "interrupted 2 of 3"),
    ((3.0, 2.0, 1.0, 0.5), "older model", "interrupted 4"),
    ((3.0, 2.0, 1.0), "older model", "ended 3"),
    ((3.0, 2.0, 1.0, 0.5), "", "ended 4"),
    ((3.0, math.nan), "", "diverged 2 of 3"),
    ((3.0, math.inf), "no model", "diverged 2 of 3"),
    ((3.0,), "weights", "diverged 2 of 3"),
    ((), "no model", "not begun 0 of 3"),
    ((), "no table", "not begun 0 of 3"),
    ((3.0, 2.0), "lock", "going on 2 of 3"),
    ((), "lock", "going on 0 of 3"),
    ((3.0, 2.0), "lock left", "interrupted 2 of 3"),
]


def test_a_run_is_taken_in_whatever_state_it_is(here: Path) -> None:
    with contextlib.ExitStack() as locks:
        for place, (losses, change, _) in enumerate(STATES):
            run = write_run(here / f"run{place}", losses, model=change in ("", "older model", "weights"))
            if change == "older model":
                os.utime(run / MODEL, ns=(0, 0))
            if change == "weights":
                add_row(run, report(2, 2.0, weight=math.inf), "accuracy")
            if change == "no table":
                (run / METRICS).unlink()
            if change == "lock left":
                (run / LOCK).touch()
            if change == "lock":
                locks.enter_context(locked(run))
        lines = compared(*(f"run{place}" for place in range(len(STATES))))
    for place, case in enumerate(STATES):
        assert cells(lines, f"run{place}")[0].startswith(f"{case[2]} "), case


def test_the_values_of_runs_that_diverged_or_have_no_epoch(here: Path) -> None:
    write_run(here / "none", ())
    lines = compared("none")
    assert lines[-1] == "no picture: no run has an epoch yet"
    assert cells(lines, "none") == ["not begun 0 of 3 - -", "- - - -"]
    assert not (here / "comparison.png").exists()
    write_run(here / "mine", (3.0, math.nan), scores=(0.5, math.nan))
    write_run(here / "never", (math.nan,), scores=(math.nan,))
    write_run(here / "error", scores=(0.75, 0.25, 0.5), told={"metric": "zero_one_loss"})  # best where least
    lines = compared("mine", "never", "error")
    had = "nan (3.0000 at 1) nan (6.0000 at 1) nan % (50.00 % at 1) nan % (25.00 % at 1)"
    assert (cells(lines, "mine")[1], cells(lines, "never")[1]) == (had, "nan nan nan % nan %")
    assert cells(lines, "error")[1].endswith("50.00 % (25.00 % at 2) 25.00 % (12.50 % at 2)")


def test_nothing_in_a_run_folder_is_changed_nor_its_lock(here: Path) -> None:
    run = write_run(here / "mine", model=False)

    def seen() -> tuple[Any, ...]:
        return contents(run), {path: path.stat().st_mtime_ns for path in [run, *run.iterdir()]}

    assert not is_locked(run)
    (run / LOCK).touch(exist_ok=False)  # the look has made none
    before = seen()
    compared("mine")
    assert not is_locked(run)
    with locked(run):
        assert is_locked(run)
        compared("mine")
        assert is_locked(run), "the look itself took the lock away"
        with pytest.raises(ArgumentError, match="in use"), locked(run):
            pass
        assert seen() == before


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
    write_run(here / "b", told={"dataset": DIGITS | {"test_fraction": 0.5}})
    sine = {"dataset": SINE, "loss": "mean_squared_error", "metric": "r2"}
    write_run(here / "c", told=sine, scores=(-1e6, 0.5, 0.25))
    lines = compared("a", "b", "c", "--out", "c.svg")
    titles = ["digits, test_fraction 0.2, accuracy", "digits, test_fraction 0.5, accuracy", "sine, R²"]
    headings = [line for line in lines if "the last epoch's" in line]
    assert [line.partition(":")[0] for line in headings] == titles
    assert [lines[lines.index(line) + 2].split()[0] for line in headings] == ["a", "b", "c"]
    assert cells(lines, "c")[1].endswith("0.2500 (0.5000 at 2) 0.1250 (0.2500 at 2)")
    assert "different data or scores: compare within a table, not across them" in lines
    assert "<svg" in (here / "c.svg").read_text(encoding="utf-8")


def test_runs_on_files_with_other_tests_are_in_tables_of_their_own(here: Path) -> None:
    for name, hashes in (("a", ["1" * 64]), ("b", ["1" * 64, "2" * 64]), ("c", ["1" * 64, "3" * 64])):
        write_run(here / name, told={"dataset": {"name": "own.csv", "sha256": hashes}})
    lines = compared("a", "b", "c")
    titles = [line.partition(": ")[0] for line in lines if "the last epoch's" in line]
    ones, twos, threes = ("1" * 12, "2" * 12, "3" * 12)
    wanted = [ones, f"{ones} and {twos}", f"{ones} and {threes}"]
    assert titles == [f"own.csv, sha256 {hashes}, accuracy" for hashes in wanted]


KINDS = "digits, accuracy: the losses are of different kinds: compare only the scores"
ELSEWHERE = {"told": {"machine": MACHINE | {"processor": "two"}}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"told": {"loss": "multiclass_hinge"}}, KINDS),
        ({"l2": 0.1}, KINDS),
        ({"seed": 1}, "runs of another seed or --validation hold out other examples"),
        ({"validation": 0.0}, "held-out: the test part for b, the validation part for the others"),
        ({"validation": 0.0}, "run train loss held-out loss train accuracy held-out accuracy"),
        (ELSEWHERE, "the times are of different machines or versions of jax"),
    ],
)
def test_what_cannot_be_compared_is_said(changes: dict[str, Any], said: str, here: Path) -> None:
    write_run(here / "a")
    write_run(here / "b", **changes)
    assert said not in compared("a")
    assert said in compared("a", "b")


def test_folders_of_one_name_are_told_by_their_paths_and_scores_by_their_part(here: Path) -> None:
    for place, validation in (("x/run", 0.2), ("y/run", 0.2), ("z", 0.0)):
        write_run(here / place, validation=validation)
    assert [past.name for past in read_runs(["x/run", "y/run/", "z"])] == ["x/run", "y/run", "z"]
    with inside(here / "z"):
        assert [past.name for past in read_runs(["."])] == ["z"]
    assert "run train loss test loss train accuracy test accuracy" in compared("z")


@pytest.mark.slow
def test_runs_of_train_are_compared_one_of_them_resumed(here: Path) -> None:
    data = ("--dataset", write_pets(here / "pets.csv"), "--target", "pet", "--validation", "0.25")
    train_ok(here / "whole", *BRIEF, *data, "--epochs", "3")
    train_ok(here / "parts", *BRIEF, *data, "--epochs", "2")
    assert run_experiment("train", "--resume", "parts", "--epochs", "3", "--quiet").status == 0
    outcome = run_program("compare", "whole", "parts", folder=here)
    assert (outcome.status, outcome.err) == (0, "")
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert lines[0] == "run state epochs median epoch all epochs"
    whole, parts = cells(lines, "whole"), cells(lines, "parts")
    assert (whole[0][:8], parts[0][:8], whole[1]) == ("ended 3 ", "ended 3 ", parts[1])
    assert (here / "comparison.png").stat().st_size > 10_000
