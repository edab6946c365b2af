"""A checkpoint comes back bit for bit, is there whole or not at all, and where it is damaged the one before is used."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from checkpoint_cases import ARRAYS, Bomb
from comparisons import bits, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmlp.saving import checkpoint as checkpoint_module
from jaxmlp.saving.checkpoint import checkpoints_in, latest_checkpoint, read_checkpoint, write_checkpoint
from jaxmlp.saving.model_file import read_tensors, write_tensors

DESCRIPTION = {"network": {"layers": ["Dense", 3]}, "data": "digits", "note": "a\nb ü"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """One of checkpoints 10 and 12, to be damaged."""
    write_checkpoint(tmp_path, 10, {"w": np.ones(2)}, None)
    return write_checkpoint(tmp_path, 12, ARRAYS, DESCRIPTION, 0.25)


def test_all_comes_back_and_other_programs_read_it_too(saved: Path) -> None:
    assert sorted(os.listdir(saved.parent)) == ["epoch-00000010.safetensors", saved.name]
    found = read_checkpoint(saved)
    assert (saved.name, found.epoch) == ("epoch-00000012.safetensors", 12)
    assert (list(found.arrays), found.description, found.value) == (list(ARRAYS), DESCRIPTION, 0.25)
    assert bits(found.arrays) == bits(ARRAYS)
    assert all(type(array) is np.ndarray for array in found.arrays.values())
    with safetensors.safe_open(saved, framework="numpy") as file:
        assert bits(file.get_tensor("params[0].w")) == bits(ARRAYS["params[0].w"])
        assert json.loads(file.metadata()["jaxmlp"])["description"] == DESCRIPTION


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (
            np.array([1.5, -0.0], ">f4"),
            np.array([1.5, -0.0], np.float32),
        ),  # comes back in this machine's order
        (jnp.arange(3.0), np.arange(3, dtype=np.float32)),
        (np.zeros((2, 0), np.float16), np.zeros((2, 0), np.float16)),
        (None, None),
    ],
)
def test_other_arrays_and_none_at_all_come_back(array: Any, wanted: Any, tmp_path: Path) -> None:
    arrays = {} if array is None else {"w": array}
    found = read_checkpoint(write_checkpoint(tmp_path, 0, arrays, None))
    assert (found.epoch, found.description, found.value) == (0, None, None)
    assert (found.arrays.keys(), bits(found.arrays)) == (arrays.keys(), bits(wanted))


def test_one_of_the_same_epoch_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, value in enumerate((np.float32(0.1), float("nan"), float("nan"))):
        path = write_checkpoint(".", 5, {"w": np.full(3, number)}, number, value)
        assert path == tmp_path / "epoch-00000005.safetensors"
        found = read_checkpoint(path.name)
        assert (found.description, found.arrays["w"].tolist()) == (number, [number] * 3)
        np.testing.assert_equal(found.value, float(value))
        assert os.listdir(tmp_path) == [path.name]


def test_large_epochs_sort_as_numbers_and_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    for epoch in (10**8, 99_999_999, 7):
        write_checkpoint(tmp_path, epoch, {}, None)
    for name in ("epoch-12", "epoch-0000001x", "best", ".epoch-00000099.0123456789abcdef"):
        (tmp_path / f"{name}.safetensors").touch()
    (tmp_path / "epoch-00000099.safetensors").mkdir()
    assert list(checkpoints_in(tmp_path)) == [7, 99_999_999, 10**8]
    assert latest_checkpoint(tmp_path)[0].epoch == 10**8


def test_the_newest_whole_one_is_used_and_the_damaged_named(saved: Path) -> None:
    folder = saved.parent
    checkpoint, notes = latest_checkpoint(folder)
    assert (checkpoint.epoch, notes) == (12, ())
    write_checkpoint(folder, 20, {}, None).write_bytes(b"")
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    checkpoint, notes = latest_checkpoint(folder)
    assert checkpoint.epoch == 10
    reasons = (
        "Error while deserializing header: header too small",
        "it does not have the SHA-256 hash that was written",
    )
    assert notes == tuple(
        f"checkpoint epoch-000000{epoch}.safetensors is damaged ({reason}): using epoch-00000010.safetensors"
        for epoch, reason in zip((20, 12), reasons, strict=True)
    )


def test_none_at_all_and_none_whole_are_told_apart(saved: Path) -> None:
    for folder in (saved.parent / "nowhere", saved):
        refused("can be used (there is none): begin a new run", latest_checkpoint, str(folder))
    for path in checkpoints_in(saved.parent).values():
        path.write_text("something else")
    told = refused("", latest_checkpoint, str(saved.parent))
    assert "none of 2 is whole, the newest as checkpoint epoch-00000012.safe" in told


@given(st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncation_at_any_byte_and_a_flip_of_any_bit_are_noticed(saved: Path, data: Any) -> None:
    content = saved.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    altered = content[:place]
    if data.draw(st.booleans()):
        altered += bytes([content[place] ^ (1 << data.draw(st.integers(0, 7)))]) + content[place + 1 :]
    saved.write_bytes(altered)
    try:
        refused("is damaged", read_checkpoint, saved)
    finally:
        saved.write_bytes(content)


def test_the_sum_notices_before_anything_is_used(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved.read_bytes()
    assert content.count(b"digits") == 1
    saved.write_bytes(content.replace(b"digits", b"DIGITS"))
    using = Mock(wraps=checkpoint_module._held_as)
    monkeypatch.setattr(checkpoint_module, "_held_as", using)
    refused("does not have the SHA-256 hash", read_checkpoint, saved)
    assert not using.called
    written = read_tensors(saved)[1]["sha256"]
    monkeypatch.setattr(checkpoint_module, "_hash_of", lambda text, arrays: written)
    assert read_checkpoint(saved).description["data"] == "DIGITS"
    assert using.called


@pytest.mark.parametrize(
    ("shape", "end"), [([10**13], 4 * 10**13), ([10**9], 8), ([-1], 8), ([2**62, 4], 8), ([3], 8), ([2], -8)]
)
def test_sizes_are_checked_before_memory_is_taken(saved: Path, shape: list[int], end: int) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    saved.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    refused("is damaged (Error while deserializing header", read_checkpoint, saved)
    saved.write_bytes((2**62).to_bytes(8, "little") + header)
    refused("header too large", read_checkpoint, saved)


def test_a_disk_that_fails_is_damage(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = safetensors.safe_open

    def failing(path: Any, **options: Any) -> Any:
        if Path(path) == saved:
            raise OSError(5, "Input/output error")
        return real(path, **options)

    monkeypatch.setattr(safetensors, "safe_open", failing)
    wanted = f"checkpoint {saved.name} is damaged (it cannot be read: Input/output error)"
    assert refused("", read_checkpoint, saved) == wanted
    assert latest_checkpoint(saved.parent)[0].epoch == 10


class Killed(BaseException):
    """Stands for the moment of a kill: nothing is tidied up."""


@pytest.mark.parametrize("name", ["write_bytes", "fsync", "replace"])
@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt(), Killed()])
def test_a_save_cut_off_keeps_the_old(
    name: str, raised: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_checkpoint(tmp_path, 4, {"w": np.ones(2)}, "old")
    with monkeypatch.context() as patched:
        patched.setattr(Path if name == "write_bytes" else os, name, Mock(side_effect=raised))
        if isinstance(raised, Killed):
            patched.setattr(Path, "unlink", lambda *arguments, **options: None)
        with pytest.raises(type(raised)):
            write_checkpoint(tmp_path, 4, {"w": np.ones(2)}, "new")
    checkpoint, notes = latest_checkpoint(tmp_path)
    assert (checkpoint.description, notes) == ("old", ())
    assert (os.listdir(tmp_path) == [path.name]) == (not isinstance(raised, Killed))


def test_a_deleted_folder_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, folder = os.replace, tmp_path / "run"
    folder.mkdir()

    def deleting(*paths: Any) -> None:
        shutil.rmtree(folder)
        real(*paths)

    monkeypatch.setattr(os, "replace", deleting)
    with pytest.raises(FileNotFoundError):
        write_checkpoint(folder, 1, {"a": np.ones(2)}, None)
    assert os.listdir(tmp_path) == []


TYPES: list[Any] = [{"w": "float32"}, {"flags": "float64"}]
TYPES += [3, *({"bfloat16": name} for name in ("float99", "object", 3))]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"format": "other"}, "has format 'other', not 'jaxmlp-checkpoint-2': use the version that saved it"),
        *(({"types": types}, "is damaged") for types in TYPES),
    ],
)
def test_another_header_is_refused(saved: Path, changed: dict[str, Any], told: str) -> None:
    arrays, texts = read_tensors(saved)
    text = json.dumps(json.loads(texts["jaxmlp"]) | changed)
    write_tensors(saved, arrays, {"jaxmlp": text, "sha256": checkpoint_module._hash_of(text, arrays)})
    refused(told, read_checkpoint, saved)


def test_nothing_is_ever_unpickled(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = pickle.dumps(Bomb())
    with pytest.raises(SystemExit):
        pickle.loads(bomb)
    for function in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        monkeypatch.setattr(pickle, function, Mock(side_effect=AssertionError("unpickled")))
    assert bits(read_checkpoint(saved).arrays) == bits(ARRAYS)
    saved.write_bytes(bomb)
    refused("is damaged", read_checkpoint, saved)


@pytest.mark.parametrize(
    ("process", "description", "told"),
    [
        (0, {1, 2}, "plain JSON data"),
        (0, np.ones(1), "plain JSON data"),
        (1, None, "process 0 writes the checkpoints"),
    ],
)
def test_wrong_arguments_and_another_process_leave_nothing(
    process: int, description: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "process_index", lambda: process)
    refused(told, write_checkpoint, tmp_path, 1, {}, description)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, error in (("nowhere", FileNotFoundError), ("file", NotADirectoryError)):
        with pytest.raises(error):
            write_checkpoint(tmp_path / name, 1, {}, None)
    for path in (tmp_path / "nothing", tmp_path):
        refused("there is no such file", read_checkpoint, path)
