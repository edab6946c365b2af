"""Options, checks and divisions of every data set: nothing lost, nothing twice, the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest
from refusals import refused

from jaxmlp.datasets.dataset import CHUNK_ROWS, Options, check_inputs, flatten_inputs, row_chunks
from jaxmlp.datasets.splitting import fold_indices, split_indices

LABELS = np.arange(50) % 3
ONE_IN_TEN = np.repeat([0, 1], [90, 10])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("names", "feature"), [(("left", "right"), "'right'"), ((), "1")])
@pytest.mark.parametrize("row", [1, CHUNK_ROWS + 3])
def test_features_that_are_not_finite_are_refused_by_row_and_name(value, names, feature, row):
    inputs = np.zeros((CHUNK_ROWS + 5, 2), np.float32)
    check_inputs(inputs, "it")
    inputs[row, 1] = value
    refused(rf"it has .* infinite \(example {row}, feature {feature}\)", check_inputs, inputs, "it", names)


def test_chunks_cover_every_row_once():
    rows = np.arange(2 * CHUNK_ROWS + 1)
    assert np.concatenate(list(row_chunks(rows))).tolist() == rows.tolist()


@pytest.mark.parametrize(("dtype", "kept"), [("u1", "u1"), ("f8", "f4"), ("i8", "f4"), ("?", "f4")])
def test_inputs_are_flattened_and_only_bytes_keep_their_type(dtype, kept):
    inputs = np.arange(24).reshape(2, 3, 4).astype(dtype)
    flat, shape = flatten_inputs(inputs, "it")
    assert flat.dtype == np.dtype(kept)
    assert shape == (3, 4)
    assert flat.tolist() == inputs.reshape(2, 12).astype(kept).tolist()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("task", "clasification", "did you mean 'classification'"),
        ("seed", -1, "seed -1"),
        ("seed", 2**32, "too large"),
        ("seed", 0.5, "whole number"),
        ("examples", 0, "examples 0"),
        ("examples", 10.0, "whole number"),
        ("noise", float("nan"), "noise nan"),
        ("noise", float("inf"), "noise inf"),
        *(("test_fraction", share, r"outside \(0, 1\)") for share in (0.0, 1.0, -0.1, 1.5, np.nan, np.inf)),
        *(("test_fraction", given, "not a number") for given in ("0.2", None, True)),
    ],
)
def test_a_wrong_option_is_refused(option, value, message):
    refused(message, Options, Path("data"), **{option: value})


@pytest.mark.parametrize("labels", [None, LABELS])
def test_every_example_is_in_exactly_one_part_as_the_seed_says(labels):
    parts = [split_indices(50, test_fraction=0.3, seed=seed, labels=labels) for seed in (3, 3, 4)]
    for train, test in parts:
        assert len(test) == 15
        assert sorted([*train, *test]) == list(range(50))
    first, again, other = (test.tolist() for _, test in parts)
    assert first == again
    assert first not in (other, sorted(first))  # shuffled


@pytest.mark.parametrize("labels", [None, LABELS])
def test_every_example_is_held_out_of_exactly_one_fold(labels):
    folds, other = (fold_indices(50, 4, seed=seed, labels=labels) for seed in (1, 2))
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(50))
    for kept, held_out in folds:
        assert sorted([*kept, *held_out]) == list(range(50))
        assert len(held_out) in (12, 13)
    assert [held_out.tolist() for _, held_out in folds] != [held_out.tolist() for _, held_out in other]


def test_classes_keep_their_proportions():
    train, test = split_indices(100, test_fraction=0.2, seed=0, labels=ONE_IN_TEN)
    assert np.bincount(ONE_IN_TEN[train]).tolist() == [72, 8]
    assert np.bincount(ONE_IN_TEN[test]).tolist() == [18, 2]
    folds = fold_indices(100, 5, seed=0, labels=ONE_IN_TEN)
    assert [int(ONE_IN_TEN[held_out].sum()) for _, held_out in folds] == [2] * 5


@pytest.mark.parametrize("labels", [np.array([0] * 9 + [1]), np.arange(10) % 5])
def test_classes_too_rare_to_stratify_are_divided_at_random(labels):
    train, test = split_indices(10, test_fraction=0.2, seed=0, labels=labels)
    assert (len(train), len(test)) == (8, 2)
    assert len(fold_indices(10, 5, seed=0, labels=labels)) == 5


@pytest.mark.parametrize(("examples", "fraction"), [(1, 0.2), (0, 0.5), (3, 0.9)])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(examples, fraction):
    refused("leave none to train on", split_indices, examples, test_fraction=fraction, seed=0)


@pytest.mark.parametrize("folds", [1, 0, 51, True, 2.0])
def test_folds_that_cannot_be_are_refused(folds):
    refused("from 2 to the 50 examples", fold_indices, 50, folds, seed=0)
