import json
from pathlib import Path
from typing import Any

import pytest
import startup
from command_runs import run_experiment
from startup import Run, table, time_process

from jaxmlp import ArgumentError

TINY = ("--epochs", "1", "--hidden", "4", "--no-pictures")
FIRST = Run(wall=9.0, cpu=8.0, compiled=12, accuracy=0.97)


def fake_runs(monkeypatch: pytest.MonkeyPatch, *seconds: Run) -> list[tuple[str, ...]]:
    """Let runs take what is said, without running them; returns the flags they are given."""
    given: list[tuple[str, ...]] = []
    left = [FIRST, *seconds]

    def take(flags: Any, folder: Path, name: str) -> Run:
        given.append(tuple(flags))
        return left.pop(0)

    monkeypatch.setattr(startup, "time_process", take)
    return given


@pytest.mark.slow
def test_a_process_is_timed_and_the_next_one_compiles_nothing(tmp_path: Path) -> None:
    first = time_process(TINY, tmp_path, "first")
    assert first.compiled > 0
    assert first.wall > 0
    assert first.cpu > 0
    assert 0 < first.accuracy <= 1
    second = time_process((*TINY, "--seed", "1"), tmp_path, "second")
    assert second.compiled == 0
    assert second.accuracy != first.accuracy


def test_a_run_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"status 2: train.py: --epochs must be at least 1, given 0"):
        time_process(("--epochs", "0"), tmp_path, "run")


def test_a_target_is_judged_by_the_median_of_second_runs() -> None:
    fast, slow, wrong = Run(3.0, 3.0, 0, 0.981), Run(5.0, 5.0, 1, 0.982), Run(3.5, 3.0, 0, 0.97)
    lines = table({"digits": [FIRST, fast, fast, slow], "mnist": [FIRST, slow, slow, fast]}).splitlines()
    assert [line.split("target ")[1] for line in lines if "target" in line] == [
        "≤ 4 s: reached",
        "≤ 4 s: NOT reached; accuracy ≥ 98 %: reached",
    ]
    assert "NOT reached" in table({"mnist": [FIRST, wrong, wrong, fast]}).rpartition("accuracy ≥")[2]
    assert " ".join(lines[2].split()) == "digits, second 3.00 3.00 to 5.00 3.00 1 98.10 % (98.10 to 98.20)"


def test_the_default_is_measured_without_flags_and_the_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Run(wall=3.0, cpu=2.5, compiled=0, accuracy=0.96)
    given = fake_runs(monkeypatch, second, second)
    out = tmp_path / "startup.json"
    outcome = run_experiment("startup", "--no-mnist", "--repeats", 2, "--out", out)
    assert outcome.status == 0, outcome.err
    assert given == [()] * 3
    assert "digits, second" in outcome.out
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["cases"]["digits"]["first"] == FIRST._asdict()
    assert result["cases"]["digits"]["second"] == [second._asdict()] * 2
    assert {"machine", "command", "targets"} <= set(result)


def test_mnist_is_measured_from_several_seeds_by_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = fake_runs(monkeypatch, *[FIRST] * 5)
    loaded: list[str] = []
    monkeypatch.setattr(startup, "load", lambda name, **_: loaded.append(name))
    outcome = run_experiment(
        "startup", "--repeats", 2, "--data-dir", "folder", "--out", tmp_path / "startup.json"
    )
    assert outcome.status == 0, outcome.err
    assert loaded == ["mnist"]
    recipe = (*startup.RECIPE, "--data-dir", "folder", "--seed")
    assert given[3:] == [(*recipe, "0"), (*recipe, "0"), (*recipe, "1")]


def test_nothing_is_written_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_runs(monkeypatch, FIRST)
    committed = startup.HERE / "results" / "startup.json"
    before = committed.read_bytes()
    assert run_experiment("startup", "--no-mnist", "--repeats", 1).status == 0
    assert committed.read_bytes() == before
