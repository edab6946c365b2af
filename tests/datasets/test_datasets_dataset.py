"""The types of a data set, and that nothing which cannot be trained on gets past their checks."""

import subprocess
import sys

import numpy as np
import pytest

from jaxmlp.datasets.dataset import (
    CHUNK_ROWS,
    Dataset,
    Part,
    check_dataset,
    check_inputs,
    check_task,
    flatten_inputs,
    row_chunks,
)
from jaxmlp.types import ArgumentError


def make(task="classification", train=None, test=None, class_names=("a", "b")):
    part = Part(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1], np.int32))
    return Dataset(
        "toy", task, train or part, test or part, (2,), ("left", "right"), class_names, (), None, {}
    )


def with_inputs(value, row=1, column=1):
    inputs = np.zeros((4, 2), np.float32)
    inputs[row, column] = value
    return Part(inputs, np.array([0, 1, 0, 1], np.int32))


def test_a_sound_data_set_passes_unchanged():
    dataset = make()
    assert check_dataset(dataset) is dataset


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["train", "test"])
def test_features_that_are_not_finite_are_refused_by_name(part, value):
    with pytest.raises(ArgumentError, match=r"NaN or infinite \(example 1, feature 'right'\)"):
        check_dataset(make(**{part: with_inputs(value)}))


def test_the_row_that_is_not_finite_is_counted_across_chunks():
    inputs = np.zeros((CHUNK_ROWS + 5, 1), np.float32)
    inputs[CHUNK_ROWS + 3] = np.nan
    with pytest.raises(ArgumentError, match=f"example {CHUNK_ROWS + 3}, feature 0"):
        check_inputs(inputs, "it")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": Part(np.zeros((3, 2)), np.zeros(4, np.int32))}, "3 rows of features and 4 targets"),
        ({"test": Part(np.zeros((0, 2)), np.zeros(0, np.int32))}, "test part .* is empty"),
        ({"test": Part(np.zeros((2, 3)), np.zeros(2, np.int32))}, "2 features to train on and 3 to test on"),
        ({"class_names": ("only",)}, "has 1 class"),
        ({"train": Part(np.zeros((1, 2)), np.array([2], np.int32))}, r"labels from 2 to 2: .* 0\.\.1"),
        ({"train": Part(np.zeros((1, 2)), np.array([-1], np.int32))}, "labels from -1 to -1"),
        ({"task": "regression", "train": Part(np.zeros((1, 2)), np.array([[np.nan]]))}, "target that is NaN"),
        ({"task": "clustering"}, "unknown task 'clustering'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(changes, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        check_dataset(make(**changes))
    assert "\n" not in str(caught.value)


def test_a_misspelt_task_gets_the_nearest_name():
    with pytest.raises(ArgumentError, match="did you mean 'regression'"):
        check_task("regresion")


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
    ("inputs", "message"),
    [
        (np.zeros(3), r"shape \(3,\): give \[N, I\]"),
        (np.array([["a"]]), "type '<U1'"),
        (np.zeros((3, 0)), "at least one feature"),
        (np.zeros((3, 1), complex), "type 'complex128'"),
    ],
)
def test_inputs_of_another_kind_are_refused(inputs, message):
    with pytest.raises(ArgumentError, match=message):
        flatten_inputs(inputs, "it")


def test_importing_the_package_imports_no_heavy_library():
    program = (
        "import sys, jaxmlp.datasets\n"
        "heavy = {'sklearn', 'pandas', 'tensorflow_datasets', 'tensorflow', 'matplotlib', 'pooch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
