"""Sets that need no file, bundled or generated: sound, seeded, and of the form that the name promises."""

import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pytest
from comparisons import refused
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from jaxmlp.datasets import load
from jaxmlp.datasets.dataset import Options
from jaxmlp.datasets.digits import ARRAYS, _split
from jaxmlp.datasets.toys import TOYS

CLASSIFIED = [name for name, toy in TOYS.items() if toy.task == "classification"]


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_is_sound_and_fixed_by_its_seed(name):
    first, again, other = (load(name, examples=200, seed=seed) for seed in (5, 5, 6))
    assert first.task == TOYS[name].task
    assert (len(first.train.inputs), len(first.test.inputs)) == (160, 40)
    assert first.train.inputs.dtype == np.float32
    assert first.train.targets.shape == ((160,) if name in CLASSIFIED else (160, 1))
    assert first.target_names == (() if name in CLASSIFIED else ("y",))
    assert len(first.feature_names) == first.train.inputs.shape[1]
    assert np.array_equal(first.train.inputs, again.train.inputs)
    assert np.array_equal(first.train.targets, again.train.targets)
    assert not np.array_equal(first.train.inputs, other.train.inputs)
    assert json.loads(json.dumps(first.identity)) == again.identity


@pytest.mark.parametrize("name", CLASSIFIED)
def test_classes_can_be_told_apart_by_near_neighbours_and_keep_their_proportion(name):
    toy = load(name, examples=990)
    score = KNeighborsClassifier(5).fit(*toy.train).score(*toy.test)
    assert toy.train.targets.dtype == np.int32
    assert score > 0.9, score
    if name in ("circles", "xor", "spirals"):  # a straight line cannot tell these apart
        assert LogisticRegression().fit(*toy.train).score(*toy.test) < 0.75
    counts = [np.bincount(part.targets) for part in (toy.train, toy.test)]
    expected = (counts[0] + counts[1]) * toy.test.targets.size / 990
    assert np.abs(counts[1] - expected).max() < 1


@pytest.mark.parametrize("name", sorted(set(TOYS) - {"classification"}))
def test_points_of_classes_or_regressed_values_are_scattered_by_the_noise_asked_for(name):
    still, noisy = (TOYS[name].generate(4000, noise, 0) for noise in (0.0, 0.25))
    fixed, scattered = (1, 0) if name in CLASSIFIED else (0, 1)
    assert np.array_equal(still[fixed], noisy[fixed])
    assert np.std(noisy[scattered] - still[scattered]) == pytest.approx(0.25, rel=0.05)


def test_labels_of_classification_are_drawn_at_random_in_the_share_asked_for():
    score = {}
    for noise in (0.0, 0.5):
        points, labels = TOYS["classification"].generate(4000, noise, 0)
        score[noise] = LogisticRegression().fit(points, labels).score(points, labels)
    assert 0.15 < score[0.0] - score[0.5] < 0.3  # half of those drawn at random are wrong


def test_without_noise_sine_is_the_sine_xor_follows_the_signs_and_spirals_are_half_a_turn_apart():
    sine, xor, spirals = (load(name, noise=0.0).train for name in ("sine", "xor", "spirals"))
    assert np.allclose(sine.targets, np.sin(sine.inputs), atol=1e-6)
    assert np.array_equal(xor.targets, (xor.inputs > 0).sum(axis=1) == 1)
    radius = np.hypot(*spirals.inputs.T)
    angle = radius + np.pi * spirals.targets
    expected = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    assert np.allclose(spirals.inputs, expected, atol=1e-4)


def test_too_few_examples_and_too_much_noise_are_refused():
    refused("9 example", load, "moons", examples=9)
    refused("noise 1.5 is too large for 'classification'", load, "classification", noise=1.5)


def test_digits_are_scikit_learns_each_once_in_proportion_where_nothing_can_be_written_too(tmp_path):
    (tmp_path / "file").write_text("in the way")
    digits, bundled = load("digits", data_dir=tmp_path / "file"), datasets.load_digits()
    joined = np.concatenate([np.column_stack(part) for part in (digits.train, digits.test)])
    wanted = np.column_stack([bundled.data, bundled.target])
    assert sorted(map(tuple, joined)) == sorted(map(tuple, wanted))
    assert (digits.train.inputs.shape, digits.test.inputs.shape) == ((1437, 64), (360, 64))
    assert (digits.train.inputs.dtype, digits.train.targets.dtype) == (np.float32, np.int32)
    assert (digits.train.inputs.min(), digits.train.inputs.max()) == (0.0, 16.0)
    assert (digits.feature_shape, digits.class_names) == ((8, 8), tuple("0123456789"))
    shares = [np.bincount(part.targets) / len(part.targets) for part in (digits.train, digits.test)]
    assert np.abs(shares[0] - shares[1]).max() < 0.003


def test_digits_are_read_without_scikit_learn_once_prepared_and_made_again_for_another(tmp_path, monkeypatch):
    first = load("digits", data_dir=tmp_path)
    program = (
        "import sys; from jaxmlp.datasets import load;"
        f"digits = load('digits', data_dir={str(tmp_path)!r});"
        "print(digits.test.inputs.sum(), digits.test.targets.sum(),"
        "{'sklearn', 'pandas', 'tensorflow_datasets', 'pooch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(first.test.inputs.sum()), str(first.test.targets.sum()), "set()"]
    record = tmp_path / "digits" / "prepared.json"
    assert '"0.0"' not in record.read_text()
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "0.0")
    load("digits", data_dir=tmp_path)
    assert '"0.0"' in record.read_text()


def test_prepared_digits_are_those_of_the_split_that_was_asked_for(tmp_path):
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
