"""The user's own files: every spelling that is understood, and every fault refused in one line."""

import json
import pickle

import numpy as np
import pytest
from comparisons import refused

from jaxmlp.datasets import load, read_inputs
from jaxmlp.datasets.arrays import INPUT_KEYS, SPLIT_KEYS, WHOLE_KEYS, read_arrays
from jaxmlp.datasets.reading import Reading, read_table

TEXT = "size,hue,weight,tasty,ripe\n" + "".join(
    f"{row},{'red' if row % 3 else 'blue'},{row / 2},{'yes' if row % 2 else 'no'},{row % 2}\n"
    for row in range(20)
)
GAPS = TEXT.replace("\n4,", "\n,").replace("\n5,red", "\n5,?")
UNTASTED = TEXT.replace(",no,", ",,")


@pytest.fixture
def save(tmp_path):
    """Write text as a csv, and arrays by name as an .npz."""

    def write(content=TEXT, encoding="utf-8"):
        if isinstance(content, str):
            (tmp_path / "own.csv").write_text(content, encoding=encoding)
            return tmp_path / "own.csv"
        np.savez(tmp_path / "own.npz", **content)
        return tmp_path / "own.npz"

    return write


# --- csv ---


def test_text_targets_are_classes_and_text_features_columns(save):
    dataset = load(save(), target="tasty")
    assert (dataset.task, dataset.class_names) == ("classification", ("no", "yes"))
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


@pytest.mark.parametrize("target", ["weight", "size,weight"])
def test_numbers_are_regressed_and_keep_their_names(save, target):
    dataset, names = load(save(), target=target), tuple(target.split(","))
    assert (dataset.task, dataset.target_names) == ("regression", names)
    assert dataset.train.targets.shape == (16, len(names))


def test_several_targets_of_zero_and_one_are_labels_and_a_name_may_hold_a_comma(save):
    rows = "".join(f"{row},{row % 2},{row // 5 % 2}\n" for row in range(10))
    dataset = load(save("x,a,b\n" + rows), target="a, b")
    assert (dataset.task, dataset.class_names) == ("multilabel", ("a", "b"))
    assert dataset.train.targets.shape == (8, 2)
    assert load(save('x,"a,b",c\n' + rows), target="a,b").feature_names == ("x", "c")


@pytest.mark.parametrize("separator", [";", "\t", "|", " ", "   "])
def test_other_separators_and_a_byte_order_mark_are_understood(save, separator):
    expected = load(save(), target="tasty")
    other = load(save(TEXT.replace(",", separator), encoding="utf-8-sig"), target="tasty")
    assert other.feature_names == expected.feature_names
    assert np.array_equal(other.train.inputs, expected.train.inputs)


def test_gaps_are_filled_from_the_training_part_and_said_to_have_been_gaps(save):
    dataset = load(save(GAPS), target="tasty")
    whole = load(save(), target="tasty")  # the same seed gives the same split
    assert dataset.feature_names[:5] == ("size", "size (missing)", "hue=blue", "hue=red", "hue (missing)")
    rows, known = (np.concatenate([each.train.inputs, each.test.inputs]) for each in (dataset, whole))
    changed = np.flatnonzero(rows[:, 0] != known[:, 0])
    assert known[changed, 0].tolist() == [4.0]
    assert rows[:, 1].nonzero() == changed
    training = whole.train.inputs[:, 0]
    assert rows[changed, 0] == np.median(training[training != 4])
    assert rows[known[:, 0] == 5, 2:5].tolist() == [[0, 0, 1]]
    assert {"gaps become the median: 'size' (1)", "gaps become a category: 'hue' (1)"} <= {*dataset.notes}


def test_a_category_that_only_the_test_part_has_is_zeros(save):
    test_size = int(load(save(), target="ripe").test.inputs[0, 0])
    lines = TEXT.split("\n")
    lines[test_size + 1] = lines[test_size + 1].replace("red", "violet").replace("blue", "violet")
    dataset = load(save("\n".join(lines)), target="ripe")
    assert dataset.feature_names[1:3] == ("hue=blue", "hue=red")
    assert dataset.test.inputs[0, 1:3].tolist() == [0.0, 0.0]


# The other faults of a csv are in tests/cli/bad_inputs.py.
@pytest.mark.parametrize(
    ("text", "target", "options", "message"),
    [
        (TEXT, "ripe,siz", {}, "did you mean 'size'"),
        (TEXT, "ripe,ripe", {}, "names a column twice"),
        (TEXT, "ripe,tasty", {}, "text in target 'tasty'"),
        (UNTASTED, "tasty", {}, "missing values in target 'tasty' (10)"),
        (TEXT.replace("\n4,", "\ninf,"), "tasty", {}, "line 6 of file ... column 'size': 'inf' is too large"),
        (TEXT.replace("\n4,", "\n1e199,"), "tasty", {}, "column 'size': '1e199' is too large or infinite"),
        (TEXT.replace(",2.0,", ",inf,"), "weight", {}, "column 'weight': 'inf' is too large"),
        ("\n\n", "ripe", {}, "is empty"),
        ("ripe\n0\n1\n", "ripe", {}, "no column besides the target"),
        ("a,a,b\n1,2,3\n", "b", {}, "names column 'a' twice"),
        (TEXT + "1,2,3,4,5,6\n", "tasty", {}, "6 fields in line 22 and 5 in its first: is it cut off"),
        (TEXT + '20,"re', "tasty", {}, "not a whole csv"),
    ],
)
def test_a_faulty_csv_or_target_is_refused(save, text, target, options, message):
    refused(message, load, save(text), target=target, **options)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    refused("does not exist", read_table, tmp_path / "absent", Reading())
    refused("does not exist", read_arrays, tmp_path / "absent")


def test_blank_lines_and_quotes_do_no_harm_and_lines_are_the_files(save):
    table = read_table(save('a, b\n\n1,"x, y"\n  \n2,"two\nlines"\n3,z\n\n'), Reading())
    assert table.names == ["a", "b"]
    assert table.cells["b"].tolist() == ["x, y", "two\nlines", "z"]
    assert table.cells.index.tolist() == [3, 5, 7]


def test_the_identity_changes_with_file_target_and_seed(save):
    first = load(save(), target="tasty").identity
    assert load(save(), target="tasty").identity == first
    assert load(save(), target="tasty", seed=1).identity != first
    assert load(save(), target="ripe").identity != first
    assert load(save(TEXT + "\n"), target="tasty").identity != first


# --- npz ---

INPUTS = np.arange(60, dtype=np.float64).reshape(20, 3)
TARGETS = np.arange(20) % 2


@pytest.mark.parametrize("keys", WHOLE_KEYS)
def test_whole_arrays_are_split(save, keys):
    dataset = load(save(dict(zip(keys, (INPUTS, TARGETS), strict=True))), test_fraction=0.25, seed=3)
    assert (len(dataset.train.inputs), len(dataset.test.inputs)) == (15, 5)
    for part in (dataset.train, dataset.test):
        rows = part.inputs[:, 0].astype(int) // 3
        assert np.array_equal(part.targets, TARGETS[rows])  # features and targets stay together
    rows = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    assert sorted(rows[:, 0].tolist()) == INPUTS[:, 0].tolist()
    assert dataset.train.inputs.dtype == np.float64  # until they are scaled
    assert dataset.identity["seed"] == 3


@pytest.mark.parametrize("keys", SPLIT_KEYS)
def test_a_test_part_of_its_own_is_kept(save, keys):
    arrays = (INPUTS[:12], TARGETS[:12], INPUTS[12:], TARGETS[12:])
    dataset = load(save(dict(zip(keys, arrays, strict=True))))
    for read, saved in zip((*dataset.train, *dataset.test), arrays, strict=True):
        assert np.array_equal(read, saved)
    assert "seed" not in dataset.identity


def test_images_stay_bytes_and_keep_their_shape(save):
    dataset = load(save({"x": np.arange(20 * 12, dtype=np.uint8).reshape(20, 2, 2, 3), "y": TARGETS}))
    assert dataset.train.inputs.dtype == np.uint8
    assert dataset.train.inputs.shape == (16, 12)
    assert dataset.feature_shape == (2, 2, 3)


def test_text_labels_are_encoded_the_same_in_both_parts(save):
    labels = {"y_train": np.array(["b", "a", "b"]), "y_test": np.array(["elephant", "a"])}
    dataset = load(save({"x_train": INPUTS[:3], "x_test": INPUTS[3:5], **labels}))
    assert dataset.class_names == ("a", "b", "elephant")
    assert dataset.test.targets.tolist() == [2, 0]


def whole(inputs=INPUTS, targets=TARGETS):
    return {"inputs": inputs, "targets": targets}


def test_the_task_can_be_chosen_and_the_identity_changes_with_the_arrays(save):
    first = load(save(whole()))
    assert first.task == "classification"
    other = load(save(whole()), task="regression")
    assert other.train.targets.shape == (16, 1)
    assert other.identity == first.identity | {"task": "regression"}
    assert load(save(whole(INPUTS + 1))).identity["sha256"] != first.identity["sha256"]


def with_test(inputs=INPUTS, targets=TARGETS):
    return {"x_train": INPUTS, "y_train": TARGETS, "x_test": inputs, "y_test": targets}


class Trap:
    """Ends the program if it is ever unpickled."""

    def __reduce__(self):
        return (SystemExit, ("unpickled",))


NAN = INPUTS.copy()
NAN[4, 1] = np.nan


# The other faults of arrays are in tests/cli/bad_inputs.py.
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (whole(NAN), "feature that is NaN or infinite (example 4, feature 1)"),
        (whole(targets=INPUTS[:, 1] * 1e300), "target that is NaN or infinite"),
        (whole(targets=np.zeros(20, int)), "'own.npz' has 1 class: ... or choose task 'regression'"),
        (whole(INPUTS.astype(str)), "features of type '<U"),
        (whole(INPUTS.astype(complex)), "features of type 'complex128'"),
        (whole(INPUTS[:, :0]), "at least one feature"),
        (whole(np.float64(1)), "single number"),
        (whole(targets=np.array([Trap()] * 20, object)), "pickled Python objects under 'targets'"),
        ({}, "has the arrays (none): give 'inputs' and 'targets'"),
        (with_test(targets=TARGETS.astype(str)), "targets of shape ... give both parts alike"),
        (with_test(INPUTS[:5]), "test part of ... 5 rows of features and 20 targets"),
        (with_test(INPUTS[:0], TARGETS[:0]), "test part of ... is empty"),
        (with_test(NAN), "test part of ... infinite (example 4, feature 1)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(save, arrays, message):
    refused(message, load, save(arrays))


CONTENT = {
    **{f"cut at {kept}": (lambda content, kept=kept: content[:kept]) for kept in (0, 3, 100, -1, -30, -400)},
    "altered": lambda content: content[:200] + bytes([content[200] ^ 255]) + content[201:],
    "pickled": lambda content: pickle.dumps(Trap()),
}


@pytest.mark.parametrize("damage", CONTENT.values(), ids=CONTENT)
def test_a_damaged_npz_is_refused_and_a_pickle_never_loaded(save, damage):
    path = save(whole())
    path.write_bytes(damage(path.read_bytes()))
    refused("not a whole .npz file", load, path)


def test_a_single_array_is_refused(tmp_path):
    with open(tmp_path / "own.npz", "wb") as file:
        np.save(file, INPUTS)
    refused("single array", load, tmp_path / "own.npz")


# --- new inputs for prediction ---


@pytest.fixture
def trained(save):
    """What a run keeps of a csv: the table and names, after a way through JSON."""
    lines = [",".join(row.split(",")[index] for index in (0, 1, 4)) for row in TEXT.splitlines()]
    dataset = load(save("\n".join(lines)), target="ripe")
    kept = {"features": 3, "feature_names": dataset.feature_names, "table": dataset.table}
    return json.loads(json.dumps(kept))


@pytest.mark.parametrize(
    "text",
    [
        "size,hue,ripe\n7,red,1\n8,blue,0\n",
        "size,hue\n7,red\n8,blue\n",
        "other,hue,size\nx,red,7\ny,blue,8\n",
        "hue;size\nred;7\nblue;8\n",
    ],
)
def test_a_csv_is_read_by_name_with_or_without_the_target(save, trained, text):
    assert read_inputs(save(text), **trained).inputs.tolist() == [[7, 0, 1], [8, 1, 0]]


def test_a_training_file_reads_back_as_it_was_trained_on(save):
    dataset = load(save(), target="tasty")
    rows = read_inputs(save(), features=5, feature_names=dataset.feature_names, table=dataset.table).inputs
    trained_on = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, trained_on))


def test_gaps_are_filled_as_in_training_or_refused_and_infinite_values_refused(save, trained):
    filled = read_inputs(save("size,hue\n,\n"), **trained).inputs
    assert filled.tolist() == [[trained["table"]["columns"][0]["fill"], 0.0, 0.0]]
    refused(
        "missing values in 'size' (1), 'hue' (1)",
        read_inputs,
        save("size,hue\n,\n"),
        **trained,
        missing="refuse",
    )
    refused(
        "line 2 ... column 'size': 'inf' is too large", read_inputs, save("size,hue\ninf,red\n"), **trained
    )


NAMED = "y,x2,x1\n0,2,1\n"


def test_without_a_table_named_numbers_are_found_and_without_names_all_numeric_columns_taken(save):
    assert read_inputs(save(NAMED), features=2, feature_names=("x1", "x2")).inputs.tolist() == [[1.0, 2.0]]
    for text in ("name,a,b\nx,1,2\ny,3,4\n", "1,2\n3,4\n"):
        assert read_inputs(save(text), features=2).inputs.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (NAMED, {"feature_names": ("x1", "x3")}, "lacks the columns 'x3'"),
        ("name\nx\n", {}, "no column of numbers"),
        ("a,b\n1,\n", {}, "missing values in 'b' (1)"),
        ("a,b\n1,x\n", {}, "has 1 features"),
        ("a,b\n1,2\n", {"missing": "impute"}, "cannot be imputed"),
        ("a,b\n1,2\n", {"missing": "drop"}, "unknown treatment of missing values 'drop'"),
    ],
)
def test_a_csv_that_does_not_fit_names_or_network_is_refused(save, text, options, message):
    refused(message, read_inputs, save(text), features=2, **options)


PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)


@pytest.mark.parametrize("key", [*INPUT_KEYS, "whatever"])
def test_an_npz_is_read_by_any_known_key_or_the_only_one(save, key):
    others = {"targets": np.zeros(3)} if key in INPUT_KEYS else {}
    path = save({**others, key: PIXELS})
    assert np.array_equal(read_inputs(str(path), features=4).inputs, PIXELS.reshape(3, 4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": PIXELS.astype(float) * np.nan}, "NaN or infinite"),
        ({"x": PIXELS.astype(str)}, "type '<U"),
        ({"x": PIXELS[:, 0, 0]}, "shape (3,)"),
        ({"a": PIXELS, "b": PIXELS}, "has the arrays a, b: name the features 'inputs'"),
    ],
)
def test_an_npz_that_does_not_fit_the_network_is_refused(save, arrays, message):
    refused(message, read_inputs, save(arrays), features=4)
