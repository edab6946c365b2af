"""What every data set goes through: options, checks, the division into parts, and targets of its task."""

from pathlib import Path

import numpy as np
import pytest
from comparisons import refused

from jaxmlp.datasets.dataset import CHUNK_ROWS, Options, check_inputs, flatten_inputs, row_chunks
from jaxmlp.datasets.splitting import fold_indices, split_indices, unstratified, unstratified_split
from jaxmlp.datasets.targets import encode_targets, infer_task


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("names", "feature"), [(("left", "right"), "'right'"), ((), "1")])
@pytest.mark.parametrize("row", [1, CHUNK_ROWS + 3])
def test_features_that_are_not_finite_are_refused_by_row_and_name(value, names, feature, row):
    inputs = np.zeros((CHUNK_ROWS + 5, 2), np.float32)
    check_inputs(inputs, "it")
    inputs[row, 1] = value
    refused(f"it has ... infinite (example {row}, feature {feature})", check_inputs, inputs, "it", names)


def test_chunks_cover_every_row_once():
    rows = np.arange(2 * CHUNK_ROWS + 1)
    assert np.concatenate(list(row_chunks(rows))).tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("dtype", "kept"), [("u1", "u1"), ("f4", "f4"), ("f8", "f8"), ("i8", "f8"), ("?", "f8")]
)
def test_inputs_are_flattened_and_keep_their_numbers(dtype, kept):
    inputs = np.arange(24).reshape(2, 3, 4).astype(dtype)
    flat, shape = flatten_inputs(inputs, "it")
    assert flat.dtype == np.dtype(kept)
    assert shape == (3, 4)
    assert flat.tolist() == inputs.reshape(2, 12).astype(kept).tolist()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("task", "clasification", "did you mean 'classification'"),
        ("seed", -1, "seed must be a whole number from 0 to 4294967295, given -1"),
        ("seed", 2**32, "from 0 to 4294967295, given 4294967296"),
        ("seed", 0.5, "whole number"),
        ("examples", 0, "examples must be a whole number of at least 1, given 0"),
        ("examples", 10.0, "whole number"),
        ("noise", float("nan"), "noise nan"),
        ("noise", float("inf"), "noise inf"),
        *(("test_fraction", share, "outside [0, 1)") for share in (1.0, -0.1, 1.5, np.nan, np.inf)),
        *(("test_fraction", given, "not a number") for given in ("0.2", None, True)),
    ],
)
def test_a_wrong_option_is_refused(option, value, message):
    refused(message, Options, Path("data"), **{option: value})


LABELS, ONE_IN_TEN = np.arange(50) % 3, np.repeat([0, 1], [90, 10])


@pytest.mark.parametrize("labels", [None, LABELS])
def test_every_example_is_in_exactly_one_part_and_held_out_of_one_fold_as_the_seed_says(labels):
    parts = [split_indices(50, test_fraction=0.3, seed=seed, labels=labels) for seed in (3, 3, 4)]
    for train, test in parts:
        assert len(test) == 15
        assert sorted([*train, *test]) == list(range(50))
    first, again, other = (test.tolist() for _, test in parts)
    assert first == again
    assert first not in (other, sorted(first))  # shuffled

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


INFERRED = {
    "classification": (["a", "b"], [True, False], [np.uint8(0), np.uint8(1)], [[3], [4]], np.eye(3)),
    "regression": ([0.0, 1.0], [[0.5], [1.0]], [[0.5, 1.0], [2.0, 1.0]], [[0, 2], [1, 1]]),
    "multilabel": ([[0, 1], [1, 1]], [[0.0, 1.0], [1.0, 1.0]], [[True, False]]),
}


@pytest.mark.parametrize(("task", "raw"), [(task, raw) for task, raws in INFERRED.items() for raw in raws])
def test_the_task_follows_from_the_targets(task, raw):
    assert infer_task(np.array(raw))[0] == task
    assert encode_targets(np.array(raw), origin="it").task == task


@pytest.mark.parametrize(
    ("raw", "values", "names"),
    [
        (np.array(["dog", "cat", "dog"]), [1, 0, 1], ("cat", "dog")),
        (np.array([10, 30, 20]), [0, 2, 1], ("10", "20", "30")),
        (np.array([-1, 1, -1]), [0, 1, 0], ("-1", "1")),
        (np.array([[2], [1], [2]]), [1, 0, 1], ("1", "2")),
        (np.array([True, False, True]), [1, 0, 1], ("False", "True")),
        (np.array([1.0, 0.0, 1.0]), [1, 0, 1], ("0", "1")),
        (np.array([[0, 1], [1, 0], [0, 1]]), [1, 0, 1], ("0", "1")),
    ],
)
def test_classes_are_numbered_from_zero_and_keep_their_names(raw, values, names):
    encoded = encode_targets(raw, origin="it", task="classification")
    assert encoded.values.dtype == np.int32
    assert encoded.values.tolist() == values
    assert encoded.class_names == names


def test_labels_and_values_are_columns_with_names_and_a_task_that_is_asked_for_wins():
    labels = encode_targets(np.array([[0, 1], [1, 1]]), origin="it")
    assert labels.values.dtype == np.float32
    assert labels.class_names == ("label1", "label2")
    values = encode_targets(np.array([1.5, 2.5]), origin="it", names=("price",))
    assert values.values.dtype == np.float64
    assert values.values.tolist() == [[1.5], [2.5]]
    assert values.target_names == ("price",)
    assert values.class_names == ()
    assert encode_targets(np.array([1, 2, 3]), origin="it", task="regression").values.shape == (3, 1)
    assert encode_targets(np.array([0, 1]), origin="it", task="multilabel").values.tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize(
    ("raw", "task", "message"),
    [
        (np.array([0.5, 1.0]), "classification", "not whole numbers (0.5)"),
        (np.array([[0, 1], [1, 1]]), "classification", "one class an example"),
        (np.array([[0.2, 0.8]]), "classification", "one class an example"),
        (np.array([["a", "b"]]), "classification", "one class an example"),
        (np.array(["a"]), "multilabel", "wants numbers"),
        (np.array([1.0, np.nan]), None, "NaN or infinite (example 1)"),
        (np.array([[1.0, np.inf]]), None, "NaN or infinite (example 0)"),
        (np.zeros((2, 0)), None, "shape (2, 0)"),
        (np.zeros(2, complex), None, "type 'complex128'"),
        (np.array([1.0, 1e199]), None, "NaN or infinite (example 1)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(raw, task, message):
    refused(message, encode_targets, raw, origin="it", task=task)


# One of 100 values a class, of 101 a quantity, and of a fifth of the rows too; what was decided is said.
@pytest.mark.parametrize(
    ("raw", "task"),
    [
        (np.arange(1000) % 100, "classification"),
        (np.arange(1000) % 101, "regression"),
        (np.arange(100) % 20, "classification"),
        (np.arange(100) % 21, "regression"),
        (np.array([3, 4]), "classification"),
        (np.arange(100) % 2 + 1.0, "regression"),
    ],
)
def test_many_different_whole_numbers_are_quantities(raw, task):
    encoded = encode_targets(raw, origin="it")
    assert encoded.task == task
    (note,) = encoded.notes
    assert f"{len(set(raw))} different whole numbers" in note
    for asked in ("regression", "classification"):
        assert encode_targets(raw, origin="it", task=asked).task == asked
        assert (f"--task {asked}" in note) == (asked != task)


def test_values_between_whole_numbers_or_of_many_kinds_need_no_word():
    for raw in (np.arange(100) % 2 + 0.5, np.arange(100.0)):
        assert encode_targets(raw, origin="it").notes == ()


# 900 of A, 100 of B and a C; and a class of 2 in five folds: those that can be stratified are.
def test_rare_classes_do_not_keep_the_others_from_their_proportions():
    labels = np.repeat([0, 1, 2], [900, 100, 1])
    assert unstratified(labels, "ABC", 2, 201) == [
        "too few examples to stand in all parts by their share: class 'C'"
    ]
    assert unstratified(labels, "ABC", 1, 1001) == []
    # Of four examples a fifth is none, of five one.
    for rare, told in ((4, 1), (5, 0)):
        assert len(unstratified_split(np.repeat([0, 1], [100, rare]), "AB", 0.2)) == told
    _, test = split_indices(1001, test_fraction=0.2, seed=0, labels=labels)
    assert np.bincount(labels[test])[1] == 20
    folded = np.repeat([0, 1, 2], [60, 30, 2])
    for _, held_out in fold_indices(92, 5, seed=0, labels=folded):
        assert np.bincount(folded[held_out], minlength=3)[1] == 6


@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_together_and_time_splits_at_the_end(seed):
    groups = np.arange(60) // 5
    train, test = split_indices(60, test_fraction=0.25, seed=seed, groups=groups)
    assert not set(groups[train]) & set(groups[test])
    assert sorted([*train, *test]) == list(range(60))
    train, test = split_indices(60, test_fraction=0.25, seed=seed, is_ordered=True)
    assert (train.tolist(), test.tolist()) == (list(range(45)), list(range(45, 60)))
    refused(
        "1 group(s) leave none to train on", split_indices, 60, test_fraction=0.2, seed=0, groups=groups * 0
    )
