"""A checkpoint comes back bit for bit, is there whole or not at all, and where it is damaged the one before is used."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_cases import ARRAYS, bits, files_of, refusal

from jaxmlp.saving import (
    Checkpoint,
    latest_checkpoint,
    orbax_arrays,
    read_checkpoint,
    write_checkpoint,
)
from jaxmlp.saving import files as files_module
from jaxmlp.saving.files import checkpoints_in, discard, value_of
from jaxmlp.saving.manifests import write_manifest
from jaxmlp.types import ArgumentError

DESCRIPTION = {"network": {"layers": ["Dense", 3]}, "data": "digits", "note": "a\nb ü"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("whole"), 12, ARRAYS, DESCRIPTION, 0.25)


@pytest.fixture
def copied(original: Path, tmp_path: Path) -> Path:
    """A folder of checkpoints 10 and 12, to be damaged."""
    write_checkpoint(tmp_path, 10, {"w": np.ones(2)}, None)
    return Path(shutil.copytree(original, tmp_path / original.name))


def forge(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Alter a description and make the sums right again."""
    header = json.loads((path / "description.json").read_text())
    (path / "description.json").write_text(json.dumps(change(header)))
    (path / "manifest.json").unlink()
    write_manifest(path)


# --- round trips ---


def test_all_comes_back(original: Path) -> None:
    assert original.name == "epoch-00000012"
    found = read_checkpoint(original)
    assert (found.epoch, found.description, found.value) == (12, DESCRIPTION, 0.25)
    assert list(found.arrays) == list(ARRAYS)
    assert bits(list(found.arrays.values())) == bits(list(ARRAYS.values()))
    assert all(type(array) is np.ndarray for array in found.arrays.values())
    assert [path.name for path in sorted(original.iterdir())] == [
        "arrays",
        "description.json",
        "manifest.json",
    ]


def test_another_place_and_further_files_do_not_matter(copied: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    moved = copied.rename(copied.parent.parent / f"moved-{copied.parent.name}")
    assert bits(read_checkpoint(moved).arrays) == bits(ARRAYS)


@pytest.mark.parametrize("arrays", [{}, {"none": np.zeros((2, 0), np.float16)}])
def test_nothing_comes_back_as_nothing(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path, 0, arrays, None))
    assert (found.epoch, found.description, found.value) == (0, None, None)
    assert bits(found.arrays) == bits(arrays)
    assert found.arrays.keys() == arrays.keys()


def test_arrays_of_jax_and_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_checkpoint(".", 3, {"w": jnp.arange(3.0)}, {}, np.float32(0.1))
    assert path == tmp_path / "epoch-00000003"
    found = read_checkpoint("epoch-00000003")
    assert found.arrays["w"].tolist() == [0, 1, 2]
    assert found.value == float(np.float32(0.1))


def test_one_of_the_same_epoch_is_replaced(tmp_path: Path) -> None:
    for number in range(3):
        path = write_checkpoint(tmp_path, 5, {"w": np.full(3, number)}, number)
        assert read_checkpoint(path).description == number
        assert os.listdir(tmp_path) == [path.name]


def test_large_epochs_sort_as_numbers(tmp_path: Path) -> None:
    for epoch in (10**8, 99_999_999, 7):
        write_checkpoint(tmp_path, epoch, {}, None)
    assert list(checkpoints_in(tmp_path)) == [7, 99_999_999, 10**8]
    assert latest_checkpoint(tmp_path)[0].epoch == 10**8


def test_values_are_told_without_arrays(copied: Path) -> None:
    assert value_of(copied) == 0.25
    shutil.rmtree(copied / "arrays")
    assert value_of(copied) == 0.25
    (copied / "description.json").write_text("{")
    assert value_of(copied) is None
    nan = write_checkpoint(copied.parent, 13, {}, None, float("nan"))
    assert value_of(nan) is None
    assert np.isnan(read_checkpoint(nan).value or 0)


# --- the newest whole one ---


def test_the_newest_whole_one_is_used_and_the_damaged_named(copied: Path) -> None:
    folder = copied.parent
    checkpoint, notes = latest_checkpoint(folder)
    assert (checkpoint.epoch, notes) == (12, ())
    newer = write_checkpoint(folder, 20, {}, None)
    (newer / "manifest.json").unlink()
    size = (copied / "description.json").stat().st_size
    (copied / "description.json").write_text("")
    checkpoint, notes = latest_checkpoint(folder)
    assert checkpoint.epoch == 10
    assert notes == (
        "checkpoint epoch-00000020 is damaged (manifest.json is missing): using epoch-00000010",
        "checkpoint epoch-00000012 is damaged (description.json has 0 bytes where "
        f"{size:,} were written): "
        "using epoch-00000010",
    )


def test_none_at_all_and_none_whole_are_told_apart(copied: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", copied / "manifest.json", copied):
        with pytest.raises(ArgumentError, match=r"there is no checkpoint in .*: start the run anew"):
            latest_checkpoint(folder)
    (copied / "manifest.json").unlink()
    (copied.parent / "epoch-00000010" / "manifest.json").write_text("[]")
    with pytest.raises(ArgumentError) as caught:
        latest_checkpoint(copied.parent)
    assert "none of 2 checkpoints" in str(caught.value)
    assert "the newest as checkpoint epoch-00000012 is damaged (manifest.json is missing); start" in str(
        caught.value
    )
    shutil.rmtree(copied)
    with pytest.raises(
        ArgumentError, match=r"no checkpoint in .* can be used: checkpoint epoch-00000010 is damaged"
    ):
        latest_checkpoint(copied.parent)


@pytest.mark.parametrize(
    "name", ["epoch-12", "epoch-00000012.unfinished", "epoch-0000001x", "best", "epoch-00000099x"]
)
def test_other_folders_are_no_checkpoints(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert checkpoints_in(tmp_path) == {}


# --- what a kill leaves ---


def test_what_is_unfinished_is_cleared_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    for name in ("epoch-00000003.unfinished", "epoch-00000001.replaced.unfinished", "mine.unfinished"):
        (tmp_path / name / "arrays").mkdir(parents=True)
        (tmp_path / name / "arrays" / "half").write_text("half")
    write_checkpoint(tmp_path, 3, {}, None)
    assert sorted(os.listdir(tmp_path)) == ["epoch-00000003", "mine.unfinished"]


class Killed(BaseException):
    """Stands for the moment of a kill: nothing is tidied up."""


def test_a_replacement_killed_at_any_rename_keeps_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename
    for survived in range(3):
        write_checkpoint(tmp_path, 4, {"w": np.zeros(3)}, "old")
        done: list[str] = []

        def rename(source: Any, target: Any, survived: int = survived, done: list[str] = done) -> None:
            if Path(source).suffix == ".orbax-checkpoint-tmp" or Path(target).name == "arrays":
                return real(source, target)
            if len(done) == survived:
                raise Killed
            done.append(str(target))
            return real(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", rename)
            patched.setattr(shutil, "rmtree", lambda *arguments, **options: None)
            with pytest.raises(Killed):
                write_checkpoint(tmp_path, 4, {"w": np.zeros(3)}, "new")
        checkpoint, notes = latest_checkpoint(tmp_path)
        assert (checkpoint.epoch, notes) == (4, ())
        assert checkpoint.description == ("new" if survived == 2 else "old")
        write_checkpoint(tmp_path, 5, {}, None)
        assert sorted(os.listdir(tmp_path)) == ["epoch-00000004", "epoch-00000005"]
        assert latest_checkpoint(tmp_path)[0].epoch == 5
        shutil.rmtree(tmp_path / "epoch-00000005")


def test_a_deletion_killed_leaves_no_part_that_looks_whole(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> None:
        (path / "manifest.json").unlink()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            discard(copied)
    assert list(checkpoints_in(copied.parent)) == [10]
    assert latest_checkpoint(copied.parent)[1] == ()


@pytest.mark.parametrize("name", ["save_arrays", "write_manifest", "sync"])
@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, name: str, raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, 1, {"w": np.ones(2)}, None)

    def fail(folder: Path, *arguments: Any) -> None:
        folder.parent.joinpath("half").write_text("half")
        raise raised

    with monkeypatch.context() as patched:
        patched.setattr(files_module, name, fail)
        with pytest.raises(type(raised)):
            write_checkpoint(tmp_path, 2, {"w": np.ones(2)}, None)
    (tmp_path / "half").unlink(missing_ok=True)
    assert os.listdir(tmp_path) == ["epoch-00000001"]
    assert latest_checkpoint(tmp_path)[0].epoch == 1


def test_a_folder_deleted_meanwhile_does_not_come_back_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = orbax_arrays.save_arrays

    def deleting(path: Path, arrays: Any) -> None:
        real(path, arrays[:1])
        shutil.rmtree(path.parent)
        real(path, arrays[1:])

    monkeypatch.setattr(files_module, "save_arrays", deleting)
    with pytest.raises(FileNotFoundError, match="deleted while a run writes its checkpoints"):
        write_checkpoint(tmp_path, 1, {"a": np.ones(2), "b": np.ones(2)}, None)
    assert os.listdir(tmp_path) == []


# --- refusals ---


def test_another_format_is_refused(copied: Path) -> None:
    forge(copied, lambda header: header | {"format": "jaxmlp-checkpoint-99"})
    assert refusal(copied) == (
        "checkpoint epoch-00000012 has format 'jaxmlp-checkpoint-99', this version reads 'jaxmlp-checkpoint-1': "
        "use the version of jaxmlp that saved it"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda header: [],
        lambda header: {},
        lambda header: header | {"arrays": 3},
        lambda header: header | {"arrays": [{"name": "w"}]},
        lambda header: header | {"arrays": [each | {"shape": [9, 9]} for each in header["arrays"]]},
        lambda header: header | {"arrays": [each | {"type": "float99"} for each in header["arrays"]]},
        lambda header: header | {"arrays": [each | {"type": "object"} for each in header["arrays"]]},
        lambda header: {name: value for name, value in header.items() if name != "epoch"},
    ],
)
def test_what_was_written_by_something_else_is_one_line(copied: Path, change: Any) -> None:
    forge(copied, change)
    refusal(copied)


class Bomb:
    """Raises where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_nothing_is_ever_unpickled(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        pickle.loads(pickle.dumps(Bomb()))
    refused = {}
    for name in [path.relative_to(copied) for path in files_of(copied)]:
        target = copied.with_name("epoch-00000013")
        shutil.copytree(copied, target)
        (target / name).write_bytes(pickle.dumps(Bomb()))
        if name.name != "manifest.json":
            (target / "manifest.json").unlink()
            write_manifest(target)  # even with the right sums
        try:
            # What orbax has no need of, its intermediate indices among it, is not read at all.
            assert bits(read_checkpoint(target).arrays) == bits(ARRAYS)
        except ArgumentError as error:
            refused[name.as_posix()] = str(error)
        shutil.rmtree(target)

    assert refused.keys() >= {
        "manifest.json",
        "description.json",
        "arrays/_METADATA",
        "arrays/manifest.ocdbt",
        *(path.relative_to(copied).as_posix() for path in (copied / "arrays" / "d").iterdir()),
    }
    assert not any("\n" in line for line in refused.values())

    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("unpickled")

    for function in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        monkeypatch.setattr(pickle, function, never)
    assert bits(read_checkpoint(copied).arrays) == bits(ARRAYS)


@pytest.mark.parametrize(
    ("epoch", "description", "told"),
    [(-1, None, "at least 0, given -1"), (1, {1, 2}, "plain JSON data"), (1, np.ones(1), "plain JSON data")],
)
def test_wrong_arguments_leave_nothing(tmp_path: Path, epoch: int, description: Any, told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        write_checkpoint(tmp_path, epoch, {}, description)
    assert os.listdir(tmp_path) == []


def test_another_process_than_the_first_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with pytest.raises(ArgumentError, match="process 0 writes the checkpoints"):
        write_checkpoint(tmp_path, 1, {}, None)


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_checkpoint(tmp_path / "nowhere", 1, {}, None)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_checkpoint(tmp_path / "file", 1, {}, None)
    assert "there is no such folder" in refusal(tmp_path / "file")


def test_a_read_only_folder_is_an_os_error(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, {}, None)
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(PermissionError):
        write_checkpoint(tmp_path, 2, {}, None)
    assert latest_checkpoint(tmp_path)[0].epoch == 1


def test_a_checkpoint_is_a_plain_tuple() -> None:
    assert Checkpoint(1, {}, None).value is None
