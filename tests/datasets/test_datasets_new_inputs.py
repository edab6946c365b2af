"""New files for prediction: encoded exactly as in training, or refused."""

import json

import numpy as np
import pytest

from jaxmlp.datasets import load, read_inputs
from jaxmlp.types import ArgumentError

HEADER = "size,hue,tasty"
ROWS = [f"{row},{'red' if row % 3 else 'blue'},{row % 2}" for row in range(20)]


@pytest.fixture
def save(tmp_path):
    def save_text(text):
        path = tmp_path / "new.csv"
        path.write_text(text)
        return path

    return save_text


@pytest.fixture
def trained(tmp_path):
    """What a run keeps of a csv: the table and names, after a way through JSON."""
    path = tmp_path / "train.csv"
    path.write_text("\n".join([HEADER, *ROWS]))
    dataset = load(path, target="tasty")
    kept = {"features": 3, "feature_names": dataset.feature_names, "table": dataset.table}
    return json.loads(json.dumps(kept))


def refused(path, message, **keywords):
    with pytest.raises(ArgumentError, match=message) as caught:
        read_inputs(path, **keywords)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "size,hue,tasty\n7,red,1\n8,blue,0\n",
        "size,hue\n7,red\n8,blue\n",
        "other,hue,size\nx,red,7\ny,blue,8\n",
        "hue;size\nred;7\nblue;8\n",
    ],
)
def test_a_csv_is_read_by_name_with_or_without_the_target(save, trained, text):
    assert read_inputs(save(text), **trained).tolist() == [[7, 0, 1], [8, 1, 0]]


def test_a_training_file_reads_back_as_it_was_trained_on(save, trained):
    path = save("\n".join([HEADER, *ROWS]))
    rows = read_inputs(path, **trained)
    dataset = load(path, target="tasty")
    trained_on = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, trained_on))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size\n7\n", "lacks the columns 'hue'"),
        ("size,hue\n7,green\n", "has 'green' in column 'hue'"),
        ("size,hue\nbig,red\n", "has 'big' in column 'size'"),
        ("size,hue\n7,\n", r"missing values in 'hue' \(1\)"),
        ("size,hue\ninf,red\n", "NaN or infinite .* feature 'size'"),
        ("size,hue\n", "is empty"),
        ("size,hue\n7\n", "cut off"),
    ],
)
def test_a_csv_that_does_not_fit_the_table_is_refused(save, trained, text, message):
    refused(save(text), message, **trained)


def test_gaps_are_filled_when_asked(save, trained):
    filled = read_inputs(save("size,hue\n,\n"), **trained, missing="impute")
    assert filled[0, 1:].tolist() == [0.0, 1.0]
    assert filled[0, 0] == pytest.approx(trained["table"]["columns"][0]["fill"])


def test_named_numbers_are_found_without_a_table(save):
    path = save("y,x2,x1\n0,2,1\n")
    assert read_inputs(path, features=2, feature_names=("x1", "x2")).tolist() == [[1.0, 2.0]]
    refused(path, "lacks the columns 'x3'", features=2, feature_names=("x1", "x3"))


def test_without_names_all_numeric_columns_are_taken(save):
    assert read_inputs(save("name,a,b\nx,1,2\ny,3,4\n"), features=2).tolist() == [[1, 2], [3, 4]]
    assert read_inputs(save("1,2\n3,4\n"), features=2).tolist() == [[1, 2], [3, 4]]
    refused(save("name\nx\n"), "no column of numbers", features=1)
    refused(save("a,b\n1,\n"), "NaN or infinite|has 1 features", features=2)
    refused(save("a,b\n1,2\n"), "cannot be imputed", features=2, missing="impute")


PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)


@pytest.mark.parametrize("key", ["inputs", "x", "X", "x_test", "X_test", "test_inputs", "whatever"])
def test_an_npz_is_read_by_any_known_key_or_the_only_one(tmp_path, key):
    path = tmp_path / "new.npz"
    np.savez(path, **{key: PIXELS})
    assert np.array_equal(read_inputs(path, features=4), PIXELS.reshape(3, 4))


def test_known_keys_win_over_others(tmp_path):
    path = tmp_path / "new.npz"
    np.savez(path, targets=np.zeros(3), x=PIXELS)
    assert np.array_equal(read_inputs(str(path), features=4), PIXELS.reshape(3, 4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": PIXELS[:, :1]}, "has 2 features, the network takes 4"),
        ({"x": PIXELS[:0]}, "is empty"),
        ({"x": PIXELS.astype(float) * np.nan}, "NaN or infinite"),
        ({"x": PIXELS.astype(str)}, "type '<U"),
        ({"x": PIXELS[:, 0, 0]}, r"shape \(3,\)"),
        ({"a": PIXELS, "b": PIXELS}, "has the arrays a, b: name the features 'inputs'"),
        ({"x": np.array([[{}]])}, "pickled Python objects"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, arrays, message):
    path = tmp_path / "new.npz"
    np.savez(path, **arrays)
    refused(path, message, features=4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.csv", "does not exist"),
        ("absent.npz", "does not exist"),
        ("new.txt", r"ends in '\.txt'"),
        ("new", "ends in no|ends in ''"),
        ("", "is a folder"),
    ],
)
def test_a_path_that_is_no_file_of_data_is_refused(tmp_path, name, message):
    (tmp_path / "new.txt").write_text("1")
    (tmp_path / "new").write_text("1")
    refused(tmp_path / name, message, features=1)


def test_a_wrong_treatment_of_gaps_is_refused(save):
    refused(save("a\n1\n"), "unknown treatment of missing values 'drop'", features=1, missing="drop")
