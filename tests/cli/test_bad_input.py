import builtins
import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from bad_inputs import BAD_INPUTS, BadInput, write_bad_files
from command_runs import BRIEF, Outcome, contents, inside, run_experiment, run_program, train_ok, typed

from jaxmlp.cli import job
from jaxmlp.datasets import Part, load


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of damaged files around a finished run, which every refusal has to leave as it is."""
    folder = tmp_path_factory.mktemp("bad")
    write_bad_files(folder)
    return folder


def check_refusal(outcome: Outcome, bad: BadInput) -> None:
    """Insist on status 2 and on one line that says what was given and what to do."""
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.error_line.removeprefix("python -m ").startswith(f"{typed(bad.script)}: ")
    for said in bad.said:
        assert said in outcome.error_line


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_one_line_with_status_2_and_nothing_is_lost(name: str, bad_files: Path) -> None:
    bad, before = BAD_INPUTS[name], contents(bad_files)
    with inside(bad_files):
        check_refusal(run_experiment(bad.script, *bad.arguments), bad)
    assert contents(bad_files) == before


@pytest.mark.parametrize("name", ["train --dataset pickle.npz", "predict cut.safetensors pets.csv"])
def test_the_program_itself_refuses_likewise(name: str, bad_files: Path) -> None:
    bad, before = BAD_INPUTS[name], contents(bad_files)
    check_refusal(run_program(bad.script, *bad.arguments, folder=bad_files), bad)
    assert contents(bad_files) == before


def test_the_same_files_undamaged_are_taken(bad_files: Path, tmp_path: Path) -> None:
    # A refusal above is then for what the file's name says; the run beside them has been trained on pets.csv.
    with inside(bad_files):
        train_ok(tmp_path / "npz", *BRIEF, "--dataset", "good.npz")
        assert run_experiment("predict", "run", "pets.csv").status == 0


def test_the_check_of_a_refusal_can_fail() -> None:
    bad, line = BAD_INPUTS["train --epochs 0"], "train.py: --epochs must be at least 1, given 0\n"
    check_refusal(Outcome(2, "", line), bad)
    two_lines, other = "Traceback\n" + line, "train.py: something went wrong\n"
    for wrong in ((1, "", line), (2, "training\n", line), (2, "", two_lines), (2, "", other), (2, "", "")):
        with pytest.raises(AssertionError):
            check_refusal(Outcome(*wrong), bad)


@pytest.mark.parametrize("name", ["pets.csv", "good.npz"])
@pytest.mark.parametrize("script", ["train", "predict"])
def test_a_file_that_may_not_be_read_is_one_line(
    script: str, name: str, bad_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By hand, as the rights of a file do not bind the administrator who may run this.
    right = builtins.open

    def refuse(file: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(file, str | os.PathLike) and Path(file).name == name:
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return right(file, *arguments, **keywords)

    for module in (builtins, io):  # the second is that of paths
        monkeypatch.setattr(module, "open", refuse)
    target = ("--target", "pet") if name == "pets.csv" else ()
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
    digits = load("digits")
    labels = digits.train.targets.copy()
    labels[0] = wrong
    changed = digits._replace(train=Part(digits.train.inputs, labels))
    monkeypatch.setattr(job, "load", lambda *_, **__: changed)
    outcome = run_experiment("train", *BRIEF, "--loss", loss, "--out", tmp_path / "run")
    told = ["labels must lie in 0 to 9", f"given {min(wrong, 0)} to {max(wrong, 9)}"]
    check_refusal(outcome, BadInput("train", [], told))
    assert list(tmp_path.iterdir()) == []
