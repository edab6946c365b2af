"""Targets: the task is inferred as documented, and what does not fit the task is refused."""

import numpy as np
import pytest
from refusals import refused

from jaxmlp.datasets.targets import encode_targets, infer_task


@pytest.mark.parametrize(
    ("raw", "task"),
    [
        (np.array(["a", "b"]), "classification"),
        (np.array([True, False]), "classification"),
        (np.array([0, 1], np.uint8), "classification"),
        (np.array([[3], [4]]), "classification"),
        (np.array([0.0, 1.0]), "regression"),
        (np.array([[0.5], [1.0]]), "regression"),
        (np.array([[0, 1], [1, 1]]), "multilabel"),
        (np.array([[0.0, 1.0], [1.0, 1.0]]), "multilabel"),
        (np.array([[True, False]]), "multilabel"),
        (np.array([[0.5, 1.0], [2.0, 1.0]]), "regression"),
        (np.array([[0, 2], [1, 1]]), "regression"),
    ],
)
def test_the_task_follows_from_the_targets(raw, task):
    assert infer_task(raw) == task
    assert encode_targets(raw, origin="it").task == task


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


def test_labels_and_values_are_float32_columns_with_names_and_a_task_that_is_asked_for_wins():
    labels = encode_targets(np.array([[0, 1], [1, 1]]), origin="it")
    assert labels.values.dtype == np.float32
    assert labels.class_names == ("label1", "label2")
    values = encode_targets(np.array([1.5, 2.5]), origin="it", names=("price",))
    assert values.values.dtype == np.float32
    assert values.values.tolist() == [[1.5], [2.5]]
    assert values.target_names == ("price",)
    assert values.class_names == ()
    assert encode_targets(np.array([1, 2, 3]), origin="it", task="regression").values.shape == (3, 1)
    assert encode_targets(np.array([0, 1]), origin="it", task="multilabel").values.tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize(
    ("raw", "task", "message"),
    [
        (np.array([0.5, 1.0]), "classification", r"not whole numbers \(0\.5\)"),
        (np.array([[0, 1], [1, 1]]), "classification", "one class an example"),
        (np.array([[0.2, 0.8]]), "classification", "one class an example"),
        (np.array([["a", "b"]]), "classification", "one class an example"),
        (np.array(["a"]), "multilabel", "wants numbers"),
        (np.array([1.0, np.nan]), None, r"NaN or infinite \(example 1\)"),
        (np.array([[1.0, np.inf]]), None, r"NaN or infinite \(example 0\)"),
        (np.zeros((2, 0)), None, r"shape \(2, 0\)"),
        (np.zeros(2, complex), None, "type 'complex128'"),
        (np.array([1.0, 1e99]), None, r"NaN or infinite \(example 1\)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(raw, task, message):
    refused(message, encode_targets, raw, origin="it", task=task)


def test_whole_numbers_that_look_like_quantities_must_be_named():
    prices = np.arange(300)
    refused("choose task 'regression' if they are quantities", encode_targets, prices, origin="houses")
    for task in ("regression", "classification"):
        assert encode_targets(prices, origin="houses", task=task).task == task
    assert encode_targets(np.repeat(prices, 2), origin="houses").task == "classification"
