"""The bundled digits: the right images, split as promised."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from jaxmlp.datasets import load
from jaxmlp.datasets.dataset import Options
from jaxmlp.datasets.digits import ARRAYS, _split


def test_the_images_and_labels_are_scikit_learns_each_once_in_proportion():
    digits, bundled = load("digits"), datasets.load_digits()
    joined = np.concatenate([np.column_stack(part) for part in (digits.train, digits.test)])
    wanted = np.column_stack([bundled.data, bundled.target])
    assert sorted(map(tuple, joined)) == sorted(map(tuple, wanted))
    assert (digits.train.inputs.shape, digits.test.inputs.shape) == ((1437, 64), (360, 64))
    assert (digits.train.inputs.dtype, digits.train.targets.dtype) == (np.float32, np.int32)
    assert (digits.train.inputs.min(), digits.train.inputs.max()) == (0.0, 16.0)
    assert digits.feature_shape == (8, 8)
    assert digits.class_names == tuple("0123456789")
    shares = [np.bincount(part.targets) / len(part.targets) for part in (digits.train, digits.test)]
    assert np.abs(shares[0] - shares[1]).max() < 0.003


def test_they_are_prepared_once_and_then_read_without_scikit_learn(tmp_path: Path):
    first = load("digits", data_dir=tmp_path)
    program = (
        "import sys; from jaxmlp.datasets import load;"
        f"digits = load('digits', data_dir={str(tmp_path)!r});"
        "print(digits.test.inputs.sum(), digits.test.targets.sum(),"
        "{'sklearn', 'pandas', 'tensorflow_datasets', 'pooch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(first.test.inputs.sum()), str(first.test.targets.sum()), "set()"]


def test_prepared_digits_are_those_of_the_split_that_was_asked_for(tmp_path: Path):
    identities = []
    for seed, test_fraction in ((0, 0.2), (1, 0.2), (1, 0.5), (np.int64(0), 0.2), (0, 0.2)):
        wanted = _split(Options(tmp_path, seed=seed, test_fraction=test_fraction))
        for _ in range(2):  # prepared, then read
            digits = load("digits", data_dir=tmp_path, seed=seed, test_fraction=test_fraction)
            for name, array in zip(ARRAYS, (*digits.train, *digits.test), strict=True):
                assert np.array_equal(array, wanted[name])
            digits.train.inputs[0] = 0.0  # the caller's own
        identities.append(digits.identity)
    first, other, larger, *again = identities
    assert again == [first, first]
    assert len({str(identity) for identity in (first, other, larger)}) == 3


def test_what_another_scikit_learn_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    record = tmp_path / "digits" / "prepared.json"
    load("digits", data_dir=tmp_path)
    assert '"0.0"' not in record.read_text()
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "0.0")
    load("digits", data_dir=tmp_path)
    assert '"0.0"' in record.read_text()


def test_a_folder_that_cannot_be_written_is_no_hindrance(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    assert load("digits", data_dir=tmp_path / "file").test.inputs.shape == (360, 64)
