"""The user's .csv files: targets by name, every kind of column, and every fault refused in one line."""

import numpy as np
import pytest

from jaxmlp.datasets import load
from jaxmlp.datasets.csv_file import read_frame
from jaxmlp.types import ArgumentError

ROWS = [
    f"{row},{'red' if row % 3 else 'blue'},{row / 2},{'yes' if row % 2 else 'no'},{row % 2}"
    for row in range(20)
]
TEXT = "\n".join(["size,hue,weight,tasty,ripe", *ROWS]) + "\n"


@pytest.fixture
def save(tmp_path):
    def save_text(text=TEXT, **keywords):
        path = tmp_path / "own.csv"
        path.write_text(text, **({"encoding": "utf-8"} | keywords))
        return path

    return save_text


def refused(path, message, **options):
    with pytest.raises(ArgumentError, match=message) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)


def test_text_targets_are_classes_and_text_features_columns(save):
    dataset = load(save(), target="tasty")
    assert dataset.task == "classification"
    assert dataset.class_names == ("no", "yes")
    assert dataset.feature_names == ("size", "hue=blue", "hue=red", "weight", "ripe")
    assert dataset.feature_shape == (5,)
    assert dataset.train.inputs.shape == (16, 5)
    for part in (dataset.train, dataset.test):
        size, blue, red, weight, ripe = part.inputs.T
        assert np.array_equal(blue, size % 3 == 0)
        assert np.array_equal(red, 1 - blue)
        assert np.array_equal(weight, size / 2)
        assert np.array_equal(part.targets, ripe)
    assert dataset.table["targets"] == ["tasty"]


@pytest.mark.parametrize(
    ("target", "task", "columns"),
    [("ripe", "classification", None), ("weight", "regression", 1), ("size,weight", "regression", 2)],
)
def test_the_task_follows_from_the_target(save, target, task, columns):
    dataset = load(save(), target=target)
    assert dataset.task == task
    assert dataset.target_names == (tuple(target.split(",")) if columns else ())
    assert columns is None or dataset.train.targets.shape == (16, columns)


def test_several_targets_of_zero_and_one_are_labels(save):
    text = "x,a,b\n" + "".join(f"{row},{row % 2},{row // 5 % 2}\n" for row in range(10))
    dataset = load(save(text), target="a, b")
    assert dataset.task == "multilabel"
    assert dataset.class_names == ("a", "b")
    assert dataset.train.targets.shape == (8, 2)


def test_a_target_may_have_a_comma_in_its_name(save):
    dataset = load(save('x,"a,b"\n' + "".join(f"{row},{row % 2}\n" for row in range(10))), target="a,b")
    assert dataset.feature_names == ("x",)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_byte_order_mark_are_understood(save, separator):
    expected = load(save(), target="tasty")
    other = load(save(TEXT.replace(",", separator), encoding="utf-8-sig"), target="tasty")
    assert other.feature_names == expected.feature_names
    assert np.array_equal(other.train.inputs, expected.train.inputs)


GAPS = TEXT.replace("\n4,", "\n,").replace("\n5,red", "\n5,?")


def test_missing_values_are_refused_with_their_columns(save):
    refused(save(GAPS), r"missing values in 'size' \(1\), 'hue' \(1\)", target="tasty")


def test_missing_values_are_imputed_from_the_training_part(save):
    dataset = load(save(GAPS), target="tasty", missing="impute")
    whole = load(save(), target="tasty")  # the same seed gives the same split
    sizes = np.concatenate([dataset.train.inputs, dataset.test.inputs])[:, 0]
    known = np.concatenate([whole.train.inputs, whole.test.inputs])[:, 0]
    changed = np.flatnonzero(sizes != known)
    assert known[changed].tolist() == [4.0]
    training = whole.train.inputs[:, 0]
    assert sizes[changed] == pytest.approx(training[training != 4].mean())
    fills = {column["name"]: column["fill"] for column in dataset.table["columns"]}
    assert fills["hue"] == "red"


def test_a_category_that_only_the_test_part_has_is_zeros(save):
    test_size = int(load(save(), target="ripe").test.inputs[0, 0])
    lines = TEXT.split("\n")
    lines[test_size + 1] = lines[test_size + 1].replace("red", "violet").replace("blue", "violet")
    dataset = load(save("\n".join(lines)), target="ripe")
    assert dataset.feature_names[1:3] == ("hue=blue", "hue=red")
    assert dataset.test.inputs[0, 1:3].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TEXT, {}, "none was named: choose one .* of size, hue, weight, tasty, ripe"),
        (TEXT, {"target": "tast"}, "did you mean 'tasty'"),
        (TEXT, {"target": "ripe,siz"}, "did you mean 'size'"),
        (TEXT, {"target": "ripe,ripe"}, "names a column twice"),
        (TEXT, {"target": "ripe,tasty"}, "text in target 'tasty'"),
        (TEXT, {"target": "weight", "task": "classification"}, "not whole numbers"),
        (TEXT, {"target": "tasty", "task": "regression"}, "text targets"),
        (TEXT, {"target": "size", "task": "multilabel"}, "other than 0 and 1"),
        (TEXT.replace(",no,", ",,"), {"target": "tasty"}, r"missing values in target 'tasty' \(10\)"),
        (TEXT.replace(",no,", ",,"), {"target": "tasty", "missing": "impute"}, "missing values in target"),
        (TEXT.replace(",no,", ",yes,"), {"target": "tasty"}, "has 1 class"),
        (TEXT.replace("\n4,", "\ninf,"), {"target": "tasty"}, "NaN or infinite .* feature 'size'"),
        (TEXT.replace("\n4,", "\n1e99,"), {"target": "tasty"}, "NaN or infinite .* feature 'size'"),
        (TEXT.replace(",2.0,", ",inf,"), {"target": "weight"}, "target that is NaN or infinite"),
        ("size,ripe\n", {"target": "ripe"}, "is empty"),
        ("", {"target": "ripe"}, "is empty"),
        ("\n\n", {"target": "ripe"}, "is empty"),
        ("ripe\n0\n1\n", {"target": "ripe"}, "no column besides the target"),
        ("1,2\n3,4\n", {"target": "1"}, "only numbers in its first line"),
        ("a,a,b\n1,2,3\n", {"target": "b"}, "names column 'a' twice"),
        (TEXT[:-5], {"target": "tasty"}, "fields in line 21 and 5 in its first: is it cut off"),
        (TEXT + "1,2,3,4,5,6\n", {"target": "tasty"}, "6 fields in line 22"),
        (TEXT + '20,"re', {"target": "tasty"}, "not a whole csv"),
    ],
)
def test_a_faulty_file_or_target_is_refused(save, text, options, message):
    refused(save(text), message, **options)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes(b"a,b\n1,\xff\xfe\n")
    refused(path, "not UTF-8 text", target="a")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_frame(tmp_path / "absent.csv")


def test_blank_lines_and_quotes_do_no_harm(save):
    frame = read_frame(save('a, b\n\n1,"x, y"\n\n2,"two\nlines"\n'))
    assert list(frame.columns) == ["a", "b"]
    assert frame["b"].tolist() == ["x, y", "two\nlines"]


def test_the_identity_changes_with_file_target_and_seed(save):
    first = load(save(), target="tasty").identity
    assert load(save(), target="tasty").identity == first
    assert load(save(), target="tasty", seed=1).identity != first
    assert load(save(), target="ripe").identity != first
    assert load(save(TEXT + "\n"), target="tasty").identity != first
