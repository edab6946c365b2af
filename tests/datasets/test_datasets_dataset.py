"""The types of a data set and the options of load: what cannot be trained on does not get past them."""

from pathlib import Path

import numpy as np
import pytest

from jaxmlp.datasets.dataset import (
    CHUNK_ROWS,
    Options,
    check_inputs,
    divide,
    flatten_inputs,
    row_chunks,
)
from jaxmlp.datasets.targets import Targets
from jaxmlp.types import ArgumentError


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("names", "feature"), [(("left", "right"), "'right'"), ((), "1")])
@pytest.mark.parametrize("row", [1, CHUNK_ROWS + 3])
def test_features_that_are_not_finite_are_refused_by_row_and_name(value, names, feature, row):
    inputs = np.zeros((CHUNK_ROWS + 5, 2), np.float32)
    inputs[row, 1] = value
    with pytest.raises(ArgumentError, match=rf"it has .* infinite \(example {row}, feature {feature}\)"):
        check_inputs(inputs, "it", names)


def test_an_empty_part_is_refused_and_a_sound_one_passes():
    with pytest.raises(ArgumentError, match=r"it is empty \(0 examples\)"):
        check_inputs(np.zeros((0, 2)), "it")
    check_inputs(np.zeros((1, 2)), "it")


def test_a_single_class_is_refused():
    targets = Targets("classification", np.zeros(4, np.int32), ("only",))
    with pytest.raises(ArgumentError, match=r"'toy' has 1 class: .* or choose task 'regression'"):
        divide(
            np.zeros((4, 2)), targets, (slice(3), slice(3, 4)), name="toy", feature_shape=(2,), identity={}
        )


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
        ("test_fraction", 1.0, "test fraction 1.0 is outside"),
        ("task", "clasification", "did you mean 'classification'"),
        ("missing", "imput", "did you mean 'impute'"),
        ("seed", -1, "seed -1"),
        ("seed", 2**32, "too large"),
        ("seed", 0.5, "whole number"),
        ("examples", 0, "examples 0"),
        ("examples", 10.0, "whole number"),
        ("noise", -0.1, "noise -0.1"),
        ("noise", float("nan"), "noise nan"),
        ("noise", float("inf"), "noise inf"),
    ],
)
def test_a_wrong_option_is_refused(option, value, message):
    with pytest.raises(ArgumentError, match=message):
        Options(Path("data"), **{option: value})
