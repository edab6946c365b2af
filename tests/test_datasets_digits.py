"""The bundled digits: the right images, split as promised."""

import numpy as np
from sklearn import datasets

from jaxmlp.datasets import load


def test_the_images_and_labels_are_scikit_learns_each_once():
    digits = load("digits")
    bundled = datasets.load_digits()
    joined = np.column_stack(
        [
            np.concatenate([digits.train.inputs, digits.test.inputs]),
            np.concatenate([digits.train.targets, digits.test.targets]),
        ]
    )
    wanted = np.column_stack([bundled.data, bundled.target])
    assert sorted(map(tuple, joined)) == sorted(map(tuple, wanted))


def test_shapes_types_and_range():
    digits = load("digits")
    assert digits.train.inputs.shape == (1437, 64)
    assert digits.test.inputs.shape == (360, 64)
    assert digits.train.inputs.dtype == np.float32
    assert digits.train.targets.dtype == np.int32
    assert (digits.train.inputs.min(), digits.train.inputs.max()) == (0.0, 16.0)
    assert digits.feature_shape == (8, 8)
    assert digits.class_names == tuple("0123456789")


def test_both_parts_hold_the_classes_in_the_same_proportion():
    digits = load("digits")
    shares = [np.bincount(part.targets) / len(part.targets) for part in (digits.train, digits.test)]
    assert np.abs(shares[0] - shares[1]).max() < 0.003


def test_the_seed_fixes_the_split_and_is_in_the_identity():
    first, again, other = (load("digits", seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.test.inputs, again.test.inputs)
    assert not np.array_equal(first.test.inputs, other.test.inputs)
    assert first.identity == again.identity
    assert first.identity != other.identity
