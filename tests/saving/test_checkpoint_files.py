"""A checkpoint comes back bit for bit, is there whole or not at all, and where it is damaged the one before is used."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from checkpoint_cases import ARRAYS, Bomb, bits, refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmlp.saving import checkpoint as checkpoint_module
from jaxmlp.saving import checkpoints_in, latest_checkpoint, read_checkpoint, write_checkpoint
from jaxmlp.saving.model_file import read_tensors, write_tensors
from jaxmlp.types import ArgumentError

DESCRIPTION = {"network": {"layers": ["Dense", 3]}, "data": "digits", "note": "a\nb ü"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("whole"), 12, ARRAYS, DESCRIPTION, 0.25)


@pytest.fixture
def copied(original: Path, tmp_path: Path) -> Path:
    """One of checkpoints 10 and 12, to be damaged."""
    write_checkpoint(tmp_path, 10, {"w": np.ones(2)}, None)
    return Path(shutil.copy(original, tmp_path))


# --- round trips ---


def test_all_comes_back(original: Path) -> None:
    assert original.name == "epoch-00000012.safetensors"
    found = read_checkpoint(original)
    assert (found.epoch, found.description, found.value) == (12, DESCRIPTION, 0.25)
    assert list(found.arrays) == list(ARRAYS)
    assert bits(list(found.arrays.values())) == bits(list(ARRAYS.values()))
    assert all(type(array) is np.ndarray for array in found.arrays.values())
    assert os.listdir(original.parent) == [original.name]


def test_other_programs_read_it_too(original: Path) -> None:
    with safetensors.safe_open(original, framework="numpy") as file:
        assert bits(file.get_tensor("params[0].w")) == bits(ARRAYS["params[0].w"])
        assert json.loads(file.metadata()["jaxmlp"])["description"] == DESCRIPTION


def test_another_order_of_bytes_comes_back_as_this_machine_s(tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path, 1, {"w": np.array([1.5, -0.0], ">f4")}, None))
    assert bits(found.arrays) == bits({"w": np.array([1.5, -0.0], np.float32)})


@pytest.mark.parametrize("arrays", [{}, {"none": np.zeros((2, 0), np.float16)}])
def test_nothing_comes_back_as_nothing(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path, 0, arrays, None))
    assert (found.epoch, found.description, found.value) == (0, None, None)
    assert bits(found.arrays) == bits(arrays)
    assert found.arrays.keys() == arrays.keys()


def test_arrays_of_jax_and_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_checkpoint(".", 3, {"w": jnp.arange(3.0)}, {}, np.float32(0.1))
    assert path == tmp_path / "epoch-00000003.safetensors"
    found = read_checkpoint(path.name)
    assert found.arrays["w"].tolist() == [0, 1, 2]
    assert found.value == float(np.float32(0.1))


def test_one_of_the_same_epoch_is_replaced(tmp_path: Path) -> None:
    for number in range(3):
        path = write_checkpoint(tmp_path, 5, {"w": np.full(3, number)}, number, float("nan"))
        assert read_checkpoint(path).description == number
        assert np.isnan(read_checkpoint(path).value or 0)
        assert os.listdir(tmp_path) == [path.name]


def test_large_epochs_sort_as_numbers_and_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    for epoch in (10**8, 99_999_999, 7):
        write_checkpoint(tmp_path, epoch, {}, None)
    for name in ("epoch-12", "epoch-0000001x", "best", ".epoch-00000099.0123456789abcdef"):
        (tmp_path / f"{name}.safetensors").touch()
    (tmp_path / "epoch-00000099.safetensors").mkdir()
    assert list(checkpoints_in(tmp_path)) == [7, 99_999_999, 10**8]
    assert latest_checkpoint(tmp_path)[0].epoch == 10**8


# --- damage ---


def test_the_newest_whole_one_is_used_and_the_damaged_named(copied: Path) -> None:
    folder = copied.parent
    checkpoint, notes = latest_checkpoint(folder)
    assert (checkpoint.epoch, notes) == (12, ())
    write_checkpoint(folder, 20, {}, None).write_bytes(b"")
    content = bytearray(copied.read_bytes())
    content[-1] ^= 1
    copied.write_bytes(content)
    checkpoint, notes = latest_checkpoint(folder)
    assert checkpoint.epoch == 10
    assert notes == (
        "checkpoint epoch-00000020.safetensors is damaged (Error while deserializing header: header too small): "
        "using epoch-00000010.safetensors",
        "checkpoint epoch-00000012.safetensors is damaged (it does not have the SHA-256 sum that was written): "
        "using epoch-00000010.safetensors",
    )


def test_none_at_all_and_none_whole_are_told_apart(copied: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", copied):
        with pytest.raises(ArgumentError, match=r"can be used \(there is none\): begin a new run"):
            latest_checkpoint(folder)
    for path in checkpoints_in(tmp_path).values():
        path.write_text("something else")
    with pytest.raises(
        ArgumentError, match=r"none of 2 is whole, the newest as checkpoint epoch-00000012\.safe"
    ):
        latest_checkpoint(tmp_path)


@given(st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncation_at_any_byte_and_a_flip_of_any_bit_are_noticed(copied: Path, data: Any) -> None:
    content = copied.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    altered = content[:place]
    if data.draw(st.booleans()):
        altered += bytes([content[place] ^ (1 << data.draw(st.integers(0, 7)))]) + content[place + 1 :]
    copied.write_bytes(altered)
    try:
        assert "is damaged" in refusal(copied)
    finally:
        copied.write_bytes(content)


def test_the_sum_is_what_notices(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = copied.read_bytes()
    assert content.count(b"digits") == 1
    copied.write_bytes(content.replace(b"digits", b"DIGITS"))
    assert "does not have the SHA-256 sum" in refusal(copied)
    written = read_tensors(copied)[1]["sha256"]
    monkeypatch.setattr(checkpoint_module, "_sum_of", lambda text, arrays: written)
    assert read_checkpoint(copied).description["data"] == "DIGITS"


def test_nothing_is_used_before_it_is_verified(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any) -> None:
        raise AssertionError("used before it was verified")

    monkeypatch.setattr(checkpoint_module, "_held_as", never)
    with pytest.raises(AssertionError, match="before it was verified"):
        read_checkpoint(copied)  # shows that it would be seen
    copied.write_bytes(copied.read_bytes()[:-8] + bytes(8))
    assert "does not have the SHA-256 sum" in refusal(copied)


@pytest.mark.parametrize(
    ("shape", "end"), [([10**13], 4 * 10**13), ([10**9], 8), ([-1], 8), ([2**62, 4], 8), ([3], 8), ([2], -8)]
)
def test_sizes_are_held_against_the_file_before_memory_is_taken(
    copied: Path, shape: list[int], end: int
) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    copied.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert "is damaged (Error while deserializing header" in refusal(copied)
    copied.write_bytes((2**62).to_bytes(8, "little") + header)
    assert "header too large" in refusal(copied)


def test_a_disk_that_fails_is_damage_and_the_one_before_is_used(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = safetensors.safe_open

    def failing(path: Any, **options: Any) -> Any:
        if Path(path) == copied:
            raise OSError(5, "Input/output error")
        return real(path, **options)

    monkeypatch.setattr(safetensors, "safe_open", failing)
    assert refusal(copied) == f"checkpoint {copied.name} is damaged (it cannot be read: Input/output error)"
    assert latest_checkpoint(copied.parent)[0].epoch == 10


# --- what a kill or a failure leaves ---


class Killed(BaseException):
    """Stands for the moment of a kill: nothing is tidied up."""


@pytest.mark.parametrize("name", ["write_bytes", "fsync", "replace"])
@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt(), Killed()])
def test_a_replacement_that_is_cut_off_keeps_the_one_that_was_there(
    tmp_path: Path, name: str, raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_checkpoint(tmp_path, 4, {"w": np.ones(2)}, "old")

    def fail(*arguments: Any) -> None:
        raise raised

    with monkeypatch.context() as patched:
        patched.setattr(Path if name == "write_bytes" else os, name, fail)
        if isinstance(raised, Killed):
            patched.setattr(Path, "unlink", lambda *arguments, **options: None)
        with pytest.raises(type(raised)):
            write_checkpoint(tmp_path, 4, {"w": np.ones(2)}, "new")
    checkpoint, notes = latest_checkpoint(tmp_path)
    assert (checkpoint.description, notes) == ("old", ())
    assert (os.listdir(tmp_path) == [path.name]) == (not isinstance(raised, Killed))


def test_a_folder_deleted_meanwhile_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, folder = os.replace, tmp_path / "run"
    folder.mkdir()

    def deleting(*paths: Any) -> None:
        shutil.rmtree(folder)
        real(*paths)

    monkeypatch.setattr(os, "replace", deleting)
    with pytest.raises(FileNotFoundError):
        write_checkpoint(folder, 1, {"a": np.ones(2)}, None)
    assert os.listdir(tmp_path) == []


# --- refusals ---


def forge(path: Path, **changed: Any) -> str:
    """Alter the header of a checkpoint, with a right sum, and read it."""
    arrays, texts = read_tensors(path)
    text = json.dumps(json.loads(texts["jaxmlp"]) | changed)
    write_tensors(path, arrays, {"jaxmlp": text, "sha256": checkpoint_module._sum_of(text, arrays)})
    return refusal(path)


def test_another_format_is_refused(copied: Path) -> None:
    assert forge(copied, format="jaxmlp-checkpoint-99") == (
        "checkpoint epoch-00000012.safetensors has format 'jaxmlp-checkpoint-99', not 'jaxmlp-checkpoint-2': "
        "use the version that saved it"
    )


@pytest.mark.parametrize(
    "types",
    [
        3,
        {"w": "float32"},
        {"bfloat16": "float99"},
        {"bfloat16": "object"},
        {"bfloat16": 3},
        {"flags": "float64"},
    ],
)
def test_what_was_written_by_something_else_is_one_line(copied: Path, types: Any) -> None:
    assert "is damaged" in forge(copied, types=types)


def test_nothing_is_ever_unpickled(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        pickle.loads(pickle.dumps(Bomb()))

    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("unpickled")

    for function in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        monkeypatch.setattr(pickle, function, never)
    assert bits(read_checkpoint(copied).arrays) == bits(ARRAYS)
    copied.write_bytes(pickle.dumps(Bomb()))
    assert "is damaged" in refusal(copied)


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
    assert "there is no such file" in refusal(tmp_path / "nothing")
    assert "there is no such file" in refusal(tmp_path)
