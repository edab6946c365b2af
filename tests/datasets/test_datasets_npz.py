"""The user's .npz files: every spelling that is understood, and every fault refused in one line."""

import pickle

import numpy as np
import pytest

from jaxmlp.datasets import load
from jaxmlp.datasets.npz import SPLIT_KEYS, WHOLE_KEYS, read_arrays
from jaxmlp.types import ArgumentError

INPUTS = np.arange(60, dtype=np.float64).reshape(20, 3)
TARGETS = np.arange(20) % 2


@pytest.fixture
def save(tmp_path):
    def save_arrays(**arrays):
        path = tmp_path / "own.npz"
        np.savez(path, **arrays)
        return path

    return save_arrays


def refused(path, message, **options):
    with pytest.raises(ArgumentError, match=message) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keys", WHOLE_KEYS)
def test_whole_arrays_are_split(save, keys):
    dataset = load(save(**dict(zip(keys, (INPUTS, TARGETS), strict=True))), test_fraction=0.25, seed=3)
    assert (len(dataset.train.inputs), len(dataset.test.inputs)) == (15, 5)
    for part in (dataset.train, dataset.test):
        rows = part.inputs[:, 0].astype(int) // 3
        assert np.array_equal(part.targets, TARGETS[rows])  # features and targets stay together
    rows = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    assert sorted(rows[:, 0].tolist()) == INPUTS[:, 0].tolist()
    assert dataset.train.inputs.dtype == np.float32
    assert dataset.identity["seed"] == 3


@pytest.mark.parametrize("keys", SPLIT_KEYS)
def test_a_test_part_of_its_own_is_kept(save, keys):
    arrays = (INPUTS[:12], TARGETS[:12], INPUTS[12:], TARGETS[12:])
    dataset = load(save(**dict(zip(keys, arrays, strict=True))))
    assert np.array_equal(dataset.train.inputs, INPUTS[:12])
    assert np.array_equal(dataset.test.inputs, INPUTS[12:])
    assert np.array_equal(dataset.test.targets, TARGETS[12:])
    assert "seed" not in dataset.identity


def test_images_stay_bytes_and_keep_their_shape(save):
    pictures = np.arange(20 * 12, dtype=np.uint8).reshape(20, 2, 2, 3)
    dataset = load(save(x=pictures, y=TARGETS))
    assert dataset.train.inputs.dtype == np.uint8
    assert dataset.train.inputs.shape == (16, 12)
    assert dataset.feature_shape == (2, 2, 3)


def test_text_labels_are_encoded_the_same_in_both_parts(save):
    path = save(
        x_train=INPUTS[:3],
        y_train=np.array(["b", "a", "b"]),
        x_test=INPUTS[3:5],
        y_test=np.array(["elephant", "a"]),
    )
    dataset = load(path)
    assert dataset.class_names == ("a", "b", "elephant")
    assert dataset.test.targets.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (np.arange(20) / 3, "regression"),
        (np.stack([TARGETS, 1 - TARGETS], axis=1), "multilabel"),
        (TARGETS[:, None], "classification"),
    ],
)
def test_the_task_is_inferred(save, targets, task):
    assert load(save(inputs=INPUTS, targets=targets)).task == task


def test_the_task_can_be_chosen(save):
    dataset = load(save(inputs=INPUTS, targets=TARGETS), task="regression")
    assert dataset.train.targets.shape == (16, 1)


def test_the_identity_changes_with_the_file(save):
    first = load(save(inputs=INPUTS, targets=TARGETS)).identity
    assert load(save(inputs=INPUTS, targets=TARGETS)).identity == first
    assert load(save(inputs=INPUTS + 1, targets=TARGETS)).identity["sha256"] != first["sha256"]


def changed(value):
    inputs = INPUTS.copy()
    inputs[4, 1] = value
    return inputs


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": INPUTS[:7], "targets": TARGETS}, "7 rows of features and 20 targets"),
        ({"inputs": INPUTS[:0], "targets": TARGETS[:0]}, "is empty"),
        ({"inputs": changed(np.nan), "targets": TARGETS}, "feature that is NaN or infinite"),
        ({"inputs": changed(1e300), "targets": TARGETS}, "feature that is NaN or infinite"),
        ({"inputs": INPUTS, "targets": changed(np.inf)[:, 1]}, "target that is NaN or infinite"),
        ({"inputs": INPUTS, "targets": np.zeros(20, int)}, "has 1 class"),
        ({"inputs": INPUTS.astype(str), "targets": TARGETS}, "features of type '<U"),
        ({"inputs": INPUTS[:, 0], "targets": TARGETS}, r"features of shape \(20,\)"),
        ({"inputs": np.float64(1), "targets": TARGETS}, "single number"),
        ({"inputs": INPUTS, "labels": TARGETS}, "has the arrays inputs, labels: give 'inputs' and 'targets'"),
        ({}, r"has the arrays \(none\)"),
        (
            {"x_train": INPUTS, "y_train": TARGETS, "x_test": INPUTS[:, :2], "y_test": TARGETS},
            "give both parts alike",
        ),
        (
            {"x_train": INPUTS, "y_train": TARGETS, "x_test": INPUTS, "y_test": TARGETS.astype(str)},
            "give both parts alike",
        ),
        (
            {"x_train": INPUTS, "y_train": TARGETS, "x_test": INPUTS[:5], "y_test": TARGETS},
            "test part of .* 5 rows of features and 20 targets",
        ),
        (
            {"x_train": INPUTS, "y_train": TARGETS, "x_test": INPUTS[:0], "y_test": TARGETS[:0]},
            "test part of .* is empty",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(save, arrays, message):
    refused(save(**arrays), message)


def test_float_classes_that_are_not_whole_are_refused(save):
    refused(save(inputs=INPUTS, targets=TARGETS + 0.5), "not whole numbers", task="classification")


class Trap:
    """Ends the program if it is ever unpickled."""

    def __reduce__(self):
        return (SystemExit, ("unpickled",))


def test_a_pickle_inside_is_never_loaded(save):
    refused(
        save(inputs=INPUTS, targets=np.array([Trap()] * 20, object)), "pickled Python objects under 'targets'"
    )


def test_a_pickle_in_place_of_the_file_is_never_loaded(tmp_path):
    path = tmp_path / "own.npz"
    path.write_bytes(pickle.dumps(Trap()))
    refused(path, "not a whole .npz file")


@pytest.mark.parametrize("kept", [0, 3, 100, -1, -30, -400])
def test_a_truncated_file_is_refused(save, kept):
    path = save(inputs=INPUTS, targets=TARGETS)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "not a whole .npz file")


def test_an_altered_file_is_refused(save):
    path = save(inputs=INPUTS, targets=TARGETS)
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(bytes(content))
    refused(path, "not a whole .npz file")


def test_a_single_array_is_refused(tmp_path):
    with open(tmp_path / "own.npz", "wb") as file:
        np.save(file, INPUTS)
    refused(tmp_path / "own.npz", "single array")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_arrays(tmp_path / "absent.npz")
