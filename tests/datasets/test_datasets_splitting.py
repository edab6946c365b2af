"""The division into a training and a test part: nothing lost, nothing twice, the same for the same seed."""

import numpy as np
import pytest

from jaxmlp.datasets.splitting import check_test_fraction, fold_indices, split_indices
from jaxmlp.types import ArgumentError


@pytest.mark.parametrize("labels", [None, np.arange(50) % 3])
def test_every_example_is_in_exactly_one_part_as_the_seed_says(labels):
    parts = [split_indices(50, test_fraction=0.3, seed=seed, labels=labels) for seed in (3, 3, 4)]
    for train, test in parts:
        assert len(test) == 15
        assert sorted([*train, *test]) == list(range(50))
    first, again, other = (test.tolist() for _, test in parts)
    assert first == again
    assert first != other
    assert first != sorted(first)  # shuffled


def test_classes_keep_their_proportions():
    labels = np.repeat([0, 1], [90, 10])
    train, test = split_indices(100, test_fraction=0.2, seed=0, labels=labels)
    assert np.bincount(labels[train]).tolist() == [72, 8]
    assert np.bincount(labels[test]).tolist() == [18, 2]


@pytest.mark.parametrize("labels", [np.array([0] * 9 + [1]), np.arange(10) % 5])
def test_classes_too_rare_to_stratify_are_split_at_random(labels):
    train, test = split_indices(10, test_fraction=0.2, seed=0, labels=labels)
    assert (len(train), len(test)) == (8, 2)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, np.nan, np.inf, "0.2", None, True])
def test_a_fraction_that_is_no_share_is_refused(fraction):
    is_number = isinstance(fraction, float)
    with pytest.raises(ArgumentError, match=r"outside \(0, 1\)" if is_number else "not a number"):
        check_test_fraction(fraction)


@pytest.mark.parametrize(("examples", "fraction"), [(1, 0.2), (0, 0.5), (3, 0.9)])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(examples, fraction):
    with pytest.raises(ArgumentError, match="leave none to train on"):
        split_indices(examples, test_fraction=fraction, seed=0)


@pytest.mark.parametrize("labels", [None, np.arange(50) % 3])
def test_every_example_is_held_out_of_exactly_one_fold(labels):
    folds = fold_indices(50, 4, seed=1, labels=labels)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(50))
    for kept, held_out in folds:
        assert sorted([*kept, *held_out]) == list(range(50))
        assert len(held_out) in (12, 13)
    other = fold_indices(50, 4, seed=2, labels=labels)
    assert [held_out.tolist() for _, held_out in folds] != [held_out.tolist() for _, held_out in other]


def test_folds_keep_the_classes_in_proportion_where_they_can():
    labels = np.repeat([0, 1], [90, 10])
    folds = fold_indices(100, 5, seed=0, labels=labels)
    assert [int(labels[held_out].sum()) for _, held_out in folds] == [2] * 5
    rare = np.repeat([0, 1], [98, 2])
    assert len(fold_indices(100, 5, seed=0, labels=rare)) == 5


@pytest.mark.parametrize("folds", [1, 0, 51, True, 2.0])
def test_refuses_folds_that_cannot_be(folds):
    with pytest.raises(ArgumentError, match="from 2 to the 50 examples"):
        fold_indices(50, folds, seed=0)
