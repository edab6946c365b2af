"""The generated sets: each of them sound, seeded, and of the form that its name promises."""

import json

import numpy as np
import pytest
from refusals import refused
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from jaxmlp.datasets import load
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
    refused(r"noise 1\.5 is too large for 'classification'", load, "classification", noise=1.5)
