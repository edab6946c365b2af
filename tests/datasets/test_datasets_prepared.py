"""Prepared folders: whole or not used, whatever happens to them or to the program that makes them."""

import concurrent.futures
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from comparisons import refused

from jaxmlp.datasets import prepared
from jaxmlp.datasets.prepared import RECORD, prepare, read_prepared

IDENTITY = {"name": "tiny", "archives": {"a.gz": "1234"}}
ARRAYS = {"inputs": np.arange(6, dtype=np.uint8).reshape(3, 2), "targets": np.arange(3, dtype=np.int32)}


@pytest.fixture
def folder(tmp_path):
    prepare(tmp_path / "tiny", IDENTITY, lambda _: ARRAYS)
    return tmp_path / "tiny"


def test_arrays_come_back_mapped_and_read_only_and_outlive_their_folder(folder):
    arrays = read_prepared(folder, IDENTITY)
    assert set(arrays) == set(ARRAYS)
    assert os.stat(folder).st_mode & 0o777 == 0o755  # others may read it
    for name, array in arrays.items():
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert array.dtype == ARRAYS[name].dtype
        assert np.array_equal(array, ARRAYS[name])
    prepare(folder, IDENTITY, lambda _: {"inputs": np.zeros(1)})  # replaces it
    assert np.array_equal(arrays["inputs"], ARRAYS["inputs"])


def changed(**changes):
    return lambda content: json.dumps(json.loads(content) | changes).encode()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("inputs.npy", lambda content: content[:-1]),
        ("inputs.npy", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("targets.npy", None),
        (RECORD, lambda content: content[:-1]),
        (RECORD, None),
        (RECORD, lambda content: b"[]"),
        (RECORD, changed(format=0)),
        (RECORD, changed(arrays=None)),
        (RECORD, changed(identity={**IDENTITY, "name": "other"})),
        (RECORD, lambda content: content.replace(b"3,\n    2\n", b"2,\n    3\n")),
        (RECORD, lambda content: content.replace(b"|u1", b"<i4")),
    ],
)
def test_a_damaged_folder_is_not_used_but_made_again(folder, name, damage):
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage is not None:
        assert damage(content) != content
        (folder / name).write_bytes(damage(content))
    assert read_prepared(folder, IDENTITY) is None
    again = prepare(folder, IDENTITY, lambda _: ARRAYS)
    assert np.array_equal(again["inputs"], ARRAYS["inputs"])
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]  # nothing is left beside it


def test_a_failed_preparation_leaves_nothing_and_keeps_what_was_there(folder):
    def fail(unfinished):
        (unfinished / "half").write_text("half")
        raise KeyboardInterrupt

    for name in ("other", "tiny"):
        with pytest.raises(KeyboardInterrupt):
            prepare(folder.parent / name, IDENTITY, fail)
    assert list(folder.parent.iterdir()) == [folder]
    assert read_prepared(folder, IDENTITY) is not None


SLOW_PROGRAM = """
import sys, time, pathlib, numpy as np
from jaxmlp.datasets.prepared import prepare
def make(unfinished):
    np.save(unfinished / "inputs.npy", np.zeros(3))
    (unfinished.parent / "started").touch()
    time.sleep(60)
prepare(pathlib.Path(sys.argv[1]) / "tiny", {"name": "tiny"}, make)
"""


def test_a_killed_preparation_leaves_nothing_that_is_taken_for_whole(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SLOW_PROGRAM, str(tmp_path)])
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert any("unfinished" in path.name for path in tmp_path.iterdir())  # it was killed in the middle
    assert not (tmp_path / "tiny").exists()
    assert read_prepared(tmp_path / "tiny", {"name": "tiny"}) is None
    assert prepare(tmp_path / "tiny", {"name": "tiny"}, lambda _: ARRAYS)["targets"].tolist() == [0, 1, 2]


def test_many_can_prepare_the_same_folder_at_once(tmp_path):
    barrier = threading.Barrier(8)

    def make(_):
        barrier.wait()  # all finish together
        return ARRAYS

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: prepare(tmp_path / "tiny", IDENTITY, make), range(8)))
    assert all(np.array_equal(arrays["inputs"], ARRAYS["inputs"]) for arrays in made)
    assert read_prepared(tmp_path / "tiny", IDENTITY) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_what_cannot_be_written_is_one_line_and_objects_are_never_pickled(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        prepare(tmp_path / "tiny", IDENTITY, lambda _: {"inputs": np.array([{}], object)})
    monkeypatch.setattr(prepared, "read_prepared", lambda *_: None)  # as on a disk that loses what is written
    refused("does not read back the same", prepare, tmp_path / "tiny", IDENTITY, lambda _: ARRAYS)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("no folder")
    message = "cannot be written ... choose another as data_dir"
    refused(message, prepare, tmp_path / "file" / "tiny", IDENTITY, lambda _: ARRAYS)


@pytest.mark.parametrize("name", ["", "inputs.npy"])
def test_what_others_may_change_is_not_mapped(folder, name):
    (folder / name).chmod(0o777)
    refused("others may change the prepared data in", read_prepared, folder, IDENTITY)


def test_the_umask_does_not_let_others_write(tmp_path):
    before = os.umask(0)
    try:
        prepare(tmp_path / "tiny", IDENTITY, lambda _: ARRAYS)
    finally:
        os.umask(before)
    assert read_prepared(tmp_path / "tiny", IDENTITY) is not None
