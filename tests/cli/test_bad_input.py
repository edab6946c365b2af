import builtins
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from bad_inputs import BAD_INPUTS, BadInput, write_bad_files
from command_runs import (
    BRIEF,
    Outcome,
    contents,
    inside,
    run_experiment,
    run_program,
    train_ok,
    typed,
    write_pets,
)

from jaxmlp.cli import job
from jaxmlp.datasets import Part, load


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of damaged files around a finished run, which every refusal has to leave as it is."""
    folder = tmp_path_factory.mktemp("bad")
    pets = write_pets(folder / "pets.csv")
    train_ok(folder / "first", *BRIEF, "--dataset", pets, "--target", "pet")
    (folder / "files").mkdir()
    write_bad_files(folder / "files", folder / "first")
    return folder / "files"


def brief(bad: BadInput) -> tuple[str, ...]:
    """The arguments of a bad input; a run that wrongly begins is short, and in a folder of its own."""
    return (*BRIEF, "--out", "new run", *bad.arguments) if bad.script == "train" else bad.arguments


def check_refusal(outcome: Outcome, bad: BadInput) -> None:
    """Insist on status 2 and on one line that says what was given and what to do."""
    assert outcome.status == 2
    assert outcome.out == ""
    line = outcome.error_line
    assert line.removeprefix("python -m ").startswith(f"{typed(bad.script)}: ")
    for said in bad.said:
        assert said in line


@pytest.mark.parametrize("name", list(BAD_INPUTS))
def test_bad_input_is_one_line_with_status_2_and_nothing_is_lost(name: str, bad_files: Path) -> None:
    bad, before = BAD_INPUTS[name], contents(bad_files)
    with inside(bad_files):
        outcome = run_experiment(bad.script, *brief(bad))
    check_refusal(outcome, bad)
    assert contents(bad_files) == before


def test_the_same_files_undamaged_are_taken(bad_files: Path, tmp_path: Path) -> None:
    # So that a refusal above is for what the file's name says, and for nothing else.
    with inside(bad_files):
        train_ok(tmp_path / "csv", *BRIEF, "--dataset", "pets.csv", "--target", "pet")
        train_ok(tmp_path / "npz", *BRIEF, "--dataset", "good.npz")
        train_ok(tmp_path / "gap", *BRIEF, "--dataset", "gap.csv", "--target", "pet", "--missing", "impute")
        assert run_experiment("predict", "run", "pets.csv").status == 0


@pytest.mark.parametrize("name", ["train --dataset pickle.npz", "predict cut.safetensors pets.csv"])
def test_the_program_itself_refuses_likewise(name: str, bad_files: Path) -> None:
    bad, before = BAD_INPUTS[name], contents(bad_files)
    check_refusal(run_program(bad.script, *brief(bad), folder=bad_files), bad)
    assert contents(bad_files) == before


def test_the_check_of_a_refusal_can_fail() -> None:
    bad = BAD_INPUTS["train --epochs 0"]
    line = "train.py: --epochs must be at least 1, given 0\n"
    check_refusal(Outcome(2, "", line), bad)
    for wrong in (
        Outcome(1, "", line),
        Outcome(2, "training\n", line),
        Outcome(2, "", "Traceback\n" + line),
        Outcome(2, "", "train.py: something went wrong\n"),
        Outcome(2, "", ""),
    ):
        with pytest.raises(AssertionError):
            check_refusal(wrong, bad)


@pytest.mark.parametrize("name", ["pets.csv", "good.npz"])
@pytest.mark.parametrize("script", ["train", "predict"])
def test_a_file_that_may_not_be_read_is_one_line(
    script: str, name: str, bad_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By hand, as the rights of a file do not bind the administrator who may run this.
    right = builtins.open

    def refuse(file: Any, *arguments: Any, **keywords: Any) -> Any:
        if Path(os.fspath(file) if isinstance(file, str | os.PathLike) else "").name == name:
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return right(file, *arguments, **keywords)

    monkeypatch.setattr(builtins, "open", refuse)
    target = ("--target", "pet") if name.endswith("csv") else ()
    arguments = (*BRIEF, "--dataset", name, *target) if script == "train" else ("run", name)
    with inside(bad_files):
        outcome = run_experiment(script, *arguments)
    assert outcome.status == 2
    assert outcome.error_line == f"{typed(script)}: file '{name}' cannot be read (Permission denied)"


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
@pytest.mark.parametrize("wrong", [-1, 10])
def test_labels_outside_the_classes_are_refused(
    wrong: int, loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No file can hold them, as its classes are those that it holds; a loader of another set could give them.
    def load_wrong(*arguments: Any, **keywords: Any) -> Any:
        digits = load("digits")
        labels = digits.train.targets.copy()
        labels[0] = wrong
        return digits._replace(train=Part(digits.train.inputs, labels))

    monkeypatch.setattr(job, "load", load_wrong)
    outcome = run_experiment("train", *BRIEF, "--loss", loss, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert "labels must lie in 0 to 9" in outcome.error_line
    assert f"given {min(wrong, 0)} to {max(wrong, 9)}" in outcome.error_line
    assert list(tmp_path.iterdir()) == []
