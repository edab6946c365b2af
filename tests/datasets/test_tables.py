"""Tables as they stand: what a file means is said, kept for prediction, and never guessed in silence."""

import gzip
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from comparisons import refused
from PIL import Image

from jaxmlp.datasets import Dataset, load, make_problem, read_inputs
from jaxmlp.datasets.reading import Reading, read_table
from jaxmlp.datasets.table import codes

ROWS = range(100)


def column(name, texts):
    """Write a csv of a column and of a target that is a regression."""
    return f"{name};y\n" + "".join(f"{text};{row}\n" for row, text in enumerate(texts))


def numbered(odd, row=50):
    """Write 100 numbers of which one is another text."""
    return column("x", [odd if number == row else str(number) for number in ROWS])


@pytest.fixture
def save(tmp_path):
    """Write bytes or text as a file."""

    def write(content, name="own.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def both(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of both parts, in the order of the first input."""
    inputs, targets = (np.concatenate(pair) for pair in zip(dataset.train, dataset.test, strict=True))
    order = np.argsort(inputs[:, 0], kind="stable")
    return inputs[order], targets[order]


def predicted_inputs(path, dataset, **options):
    """Read a file as prediction does, by what a run keeps of a data set in JSON."""
    table = json.loads(json.dumps(dataset.table))
    features = dataset.train.inputs.shape[1]
    return read_inputs(
        path, features=features, feature_names=dataset.feature_names, table=table, **options
    ).inputs


# --- numbers ---


@pytest.mark.parametrize("step", ["1", "0.25"])
def test_large_numbers_keep_their_differences_until_they_are_scaled(save, step):
    times = [1_700_000_000 + row * float(step) for row in ROWS]
    text = "t,y\n" + "".join(f"{time!r},{time - 1.7e9 + 2e7!r}\n" for time in times)
    dataset = load(save(text), target="y")
    inputs, targets = both(dataset)
    assert inputs[:, 0].tolist() == times
    assert targets[:, 0].tolist() == [time - 1.7e9 + 2e7 for time in times]
    problem = make_problem(dataset)
    assert len(np.unique(np.concatenate([problem.train.inputs, problem.test.inputs]))) == 100
    again = problem.preprocessing.restore_targets(problem.train.targets)
    np.testing.assert_allclose(again, dataset.train.targets, rtol=0, atol=1e-4)
    assert make_problem(dataset, dtype=np.float64).train.inputs.dtype == np.float64


@pytest.mark.parametrize(
    "odd", ["-", "1.5 kg", "n.a.", "$9", "3%", "1,234", "1_000", "\N{ARABIC-INDIC DIGIT TWO}", "0x1A"]
)
def test_one_cell_that_is_no_number_is_refused_by_line_column_and_text_in_both_commands(save, odd):
    said = f"line 52 of file ... column 'x': '{odd}' is no number"
    advice = ", and most of the column are numbers...--na-values, --decimal, --thousands, --ignore 'x', or --text 'x'"
    refused(said + advice, load, save(numbered(odd)), target="y", decimal=".")
    trained = load(save(numbered("50")), target="y")
    refused(f"{said}: mend it", predicted_inputs, save(numbered(odd)), trained)
    as_text = load(save(numbered(odd)), target="y", text="x")  # each text occurs once
    assert as_text.table["columns"][0]["kind"] == "category"


@pytest.mark.parametrize(
    ("texts", "options", "values"),
    [
        (["1,5", "2,5", "-3", "4e2"], {}, [1.5, 2.5, -3, 400]),
        (["1,5", "2.5", "3", "4"], {"decimal": ","}, None),
        (["1,234", "2,000,001", "3.5", "12"], {"thousands": ",", "decimal": "."}, [1234, 2000001, 3.5, 12]),
        (["1.234,5", "2.000.001", "3", "1"], {"thousands": ".", "decimal": ","}, [1234.5, 2000001, 3, 1]),
        (["1.5", "2", "3", "4"], {"thousands": ".", "decimal": ","}, None),
        (["1 234", "2", "3", "4"], {"thousands": " "}, [1234, 2, 3, 4]),
        (["1 234", "22 222", "3 333", "4 444"], {}, None),
        (["1\N{NO-BREAK SPACE}234", "2", "3\N{NARROW NO-BREAK SPACE}333", "4"], {}, None),
        (["\N{MINUS SIGN}5", "+2", "3.", ".5"], {}, [-5, 2, 3, 0.5]),
        (["nan ", "2", "none", "4"], {}, [np.nan, 2, np.nan, 4]),
        (["1,234", "2", "3", "4"], {}, None),
        (["1,234", "2", "3", "4"], {"thousands": ","}, [1234, 2, 3, 4]),
        (["$9", "$8", "$7", "$6"], {}, None),
        (["9 %", "8 %", "7.5%", "6%"], {}, None),
        (["1.5 kg", "2 kg", "1 kg", "3 kg"], {}, None),
        (["-", "2", "-", "4"], {"na_values": "-,x"}, [np.nan, 2, np.nan, 4]),
    ],
)
def test_numbers_in_other_dress_are_read_as_said_or_refused(save, texts, options, values):
    path = save(column("x", texts * 10))
    if values is None:
        refused("is no number, and most of the column are numbers", load, path, target="y", **options)
        return
    dataset = load(path, target="y", **options)
    (described,) = dataset.table["columns"]
    assert described["kind"] == "number"
    values = np.where(np.isnan(values), described["fill"], values)
    assert predicted_inputs(path, dataset)[:4, 0].tolist() == values.tolist()
    commas = any("decimal marks" in note for note in dataset.notes)
    assert commas == (options == {} and "1,5" in texts)


def test_the_same_cells_are_numbers_in_training_and_prediction(save):
    dataset = load(save(numbered("50")), target="y")
    strange = save("x\n 7 \nnan \nNA\n8e1\n")
    fill = dataset.table["columns"][0]["fill"]
    assert predicted_inputs(strange, dataset)[:, 0].tolist() == [7, fill, fill, 80]
    refused("line 2 ... '1_000' is no number", predicted_inputs, save("x\n1_000\n"), dataset)


# --- gaps and rows ---


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x\n1\n\n3\n", 3),
        ("x\n\n\n3", 3),
        ('x\n1\n""\n', 2),
        ("x\n1\nNaN\n", 2),
        ("\n\nx\n1\n2\n\n\n", 2),
        ("x\r\n1\r\n\r\n3\r\n", 3),
    ],
)
def test_no_row_vanishes_where_there_is_one_column(save, text, rows):
    dataset = load(save(numbered("50")), target="y")
    assert len(predicted_inputs(save(text), dataset)) == rows
    gaps = "\n\n" in text.strip() or "\r\n\r\n" in text or '"' in text or "NaN" in text
    if gaps:
        refused("missing values in 'x' (", predicted_inputs, save(text), dataset, missing="refuse")


CODES = ["no", "no ", "yes", " yes", "'no'", "no", "yes", "no"] * 5


def test_blanks_around_texts_do_not_count_and_texts_are_kept_as_written(save):
    text = "a,b\n" + "".join(f"{row},{code}\n" for row, code in enumerate(CODES))
    assert load(save(text), target="b").class_names == ("'no'", "no", "yes")
    numbers = "a,b\n" + "".join(f"{row},{code}\n" for row, code in enumerate(["01", "1", "1", "01"] * 9))
    assert load(save(numbers), target="b").class_names == ("01", "1")
    inputs = load(save(text), target="a").feature_names
    assert inputs == ("b='no'", "b=no", "b=yes")


def test_na_is_a_text_among_texts_and_a_gap_among_numbers_and_said(save):
    countries = ["NA", "DE", "FR", "NA", "?", "null"] * 12
    text = "x,land,y\n" + "".join(
        f"{'NA' if row == 3 else row},{land},{row / 7}\n" for row, land in enumerate(countries)
    )
    dataset = load(save(text), target="y")
    assert dataset.feature_names == ("x", "land=DE", "land=FR", "land=NA", "land (missing)")
    assert "column 'land': NA (" in " ".join(dataset.notes)
    assert {"gaps become the median: 'x' (1)", "gaps become a category: 'land' (24)"} <= {*dataset.notes}
    other = load(save(text), target="y", na_values="NA")
    assert other.feature_names == ("x", "land=DE", "land=FR", "land (missing)")
    assert "gaps become a category: 'land' (48)" in other.notes


def test_rows_without_a_target_are_refused_or_left_out_aloud_and_predicted_all_the_same(save):
    path = save(column("x", ROWS).replace(";7\n", ";\n").replace("\n9;9\n", "\nx;?\n"))
    refused(
        "missing values in target 'y' (2), the first in line 9 of ...--drop-missing-target",
        load,
        path,
        target="y",
    )
    refused("line 11 of", load, path, target="y", drop_missing_target=True)  # which predict would refuse
    path = save(column("x", ROWS).replace(";7\n", ";\n").replace(";9\n", ";?\n"))
    dataset = load(path, target="y", drop_missing_target=True)
    assert len(both(dataset)[0]) == 98
    assert "2 rows without a target are left out" in dataset.notes
    assert len(predicted_inputs(path, dataset)) == 100


# --- texts ---


def people(**columns):
    return pd.DataFrame({name: list(texts) for name, texts in columns.items()}).to_csv(index=False)


def test_names_are_left_out_aloud_and_rare_texts_are_others(save):
    text = people(
        x=ROWS,
        who=(f"n{row}" for row in ROWS),
        hue=["red", "blue", "h0", "red"] * 24 + ["red", "h1", "h2", "h3"],
        y=(row / 7 for row in ROWS),
    )
    dataset = load(save(text.replace("h0", "violet", 1)), target="y")
    assert "who" not in " ".join(dataset.feature_names)
    assert any(
        note.startswith("column 'who' is left out:") and "--text 'who'" in note for note in dataset.notes
    )
    kept = load(save(text), target="y", text="who")
    assert sum(name.startswith("who=n") for name in kept.feature_names) == 80  # of the training part
    unseen = save("x,hue,who\n1,green,new\n2,red,n1\n")
    described = {"features": len(dataset.feature_names), "table": dataset.table}
    inputs, _, notes = read_inputs(unseen, **described)
    assert inputs.shape == (2, len(dataset.feature_names))
    assert "column 'hue': 1 unseen texts count as other" in notes
    refused(
        "line 2 of file ... column 'hue': 'green' was not in the training data, which had 'blue'",
        read_inputs,
        unseen,
        **described,
        unseen="refuse",
    )


def test_texts_become_signs_inputs_or_numbers_by_how_many_there_are(save):
    def texts(count):
        return [f"t{row % count:02}" for row in ROWS]

    text = people(
        two=texts(2), few=texts(4), many=texts(12), gaps=[*texts(2)[:-9], *[""] * 9], y=np.arange(100) / 7
    )
    dataset = load(save(text), target="y", max_one_hot=5)
    few, gaps = (f"few=t{number:02}" for number in range(4)), ("gaps=t00", "gaps=t01", "gaps (missing)")
    assert dataset.feature_names == ("two=t01", *few, "many (code)", *gaps)
    assert codes(dataset.table["columns"]) == {5: 12}
    new = save("two,few,many,gaps\nt01,t00,t11,t00\nnew,new,new,new\n,,,\n", "new.csv")
    expected = [[1, 1, 0, 0, 0, 12, 1, 0, 0], [0] * 9, [0, 0, 0, 0, 0, 0, 0, 0, 1]]
    assert predicted_inputs(new, dataset).tolist() == expected
    coded = load(save(text), target="y", max_one_hot=2)
    assert codes(coded.table["columns"]) == {1: 4, 2: 12, 3: 3}
    assert predicted_inputs(new, coded).tolist() == [[1, 1, 12, 1], [0] * 4, [0, 0, 0, 3]]


@pytest.mark.parametrize(("gap", "targets"), [("NA", (0, 1)), ("None", (0.5, 1.5)), ("", ("u", "v"))])
def test_rows_without_a_target_are_refused_by_their_line_or_left_out(save, gap, targets):
    path = save(people(x=ROWS, y=[gap if row == 7 else targets[row % 2] for row in ROWS]))
    refused("missing values in target 'y' (1), the first in line 9 of file", load, path, target="y")
    dataset = load(path, target="y", drop_missing_target=True)
    assert len(dataset.train.inputs) + len(dataset.test.inputs) == 99
    assert "1 rows without a target are left out" in dataset.notes


def test_a_class_that_only_the_test_part_has_is_named_and_gaps_in_groups_are_refused(save):
    text = people(x=ROWS, t=ROWS, y=["u", "v"] * 45 + ["w"] * 10)
    assert (
        "no example of class 'w' is in the training part"
        in load(save(text), target="y", time_column="t").notes
    )
    text = people(x=ROWS, t=["", *ROWS[1:]], y=["u", "v"] * 50)
    for by in ("time_column", "group_column"):
        line = refused(
            "missing values in 't' (1), the first in line 2 of", load, save(text), target="y", **{by: "t"}
        )
        assert line.endswith("fill them")


def test_years_as_names_and_numbers_of_columns_are_told(save):
    text = "2019,2020,2021\n" + "1,2,3\n" * 30
    refused(
        "unknown target column of file ... (its first line is taken as data; --header if not)",
        load,
        save(text),
        target="2021",
    )
    refused("unknown target column", load, save(PLAIN), target="--1")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_whole_numbers_with_a_gap_are_whole_in_every_kind_of_file(tmp_path, kind):
    pytest.importorskip("pyarrow") if kind == "parquet" else None
    frame = pd.DataFrame({"x": ROWS, "y": [None, *(row % 3 for row in ROWS[1:])]})
    path = tmp_path / f"own.{kind}"
    frame.convert_dtypes().to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    assert load(path, target="y", drop_missing_target=True).class_names == ("0", "1", "2")


def test_grey_images_of_more_than_a_byte_keep_their_values(tmp_path):
    for name, value in (("dark", 256), ("light", 60000)):
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.fromarray(np.full((2, 2), value + number, np.uint16)).save(
                tmp_path / name / f"{number}.png"
            )
    assert sorted({*load(tmp_path).train.inputs.max(axis=1)} | {*load(tmp_path).test.inputs.max(axis=1)}) == [
        *range(256, 261),
        *range(60000, 60005),
    ]
    os.mkfifo(tmp_path / "dark" / "9.png")
    refused("is no regular file", load, tmp_path)


def test_a_target_of_names_is_refused_and_na_among_classes_is_told(save):
    path = save(people(x=ROWS, y=(f"name {row}" for row in ROWS)))
    refused("most of the 100 texts of target 'y' occur once, as names do", load, path, target="y")
    for told in ({"text": "y"}, {"task": "classification"}):
        assert len(load(path, target="y", **told).class_names) == 100
    path = save(people(x=ROWS, y=["a", "b", "None", "NA"] * 25))
    notes = " ".join(load(path, target="y").notes)
    for text in ("NA", "None"):
        assert (
            f"column 'y': {text} (25) is a text there and no gap (--na-values {text} if it is one)" in notes
        )
    assert load(path, target="y", na_values="NA,None", drop_missing_target=True).class_names == ("a", "b")


def test_excels_hint_named_numbers_as_gaps_and_lines_of_texts_are_understood(save):
    dataset = load(save("sep=;\nx;y\n" + "1,5;u\n2,5;v\n" * 10), target="y")
    assert dataset.feature_names == ("x",)
    refused("line 23 of file", load, save("sep=;\nx;y\n" + "1;u\n2;v\n" * 10 + "oh;u\n"), target="y")
    dataset = load(
        save(column("x", [-999 if row % 5 else row for row in ROWS])), target="y", na_values="-999.0"
    )
    assert "gaps become the median: 'x' (80)" in dataset.notes
    for first, rows in (("e,x,s", 60), ("e,q,s", 59)):  # q is no text of the second column
        text = f"{first}\n" + "p,x,s\ne,y,t\n" * 30
        notes = load(save(text[: -len("e,y,t\n")]), target="-1").notes
        assert any("the first line" in note for note in notes) is (rows == 60)


DAYS = pd.date_range("2023-12-25 06:30", periods=40, freq="27h")


@pytest.mark.parametrize(
    "format",
    [
        "%Y-%m-%d",
        "%d.%m.%Y",
        "%m/%d/%y",
        "%m/%d/%Y %I:%M %p",
        "%m/%d/%Y",
        "%d/%m/%Y",
        "%Y/%m/%d",
        "%Y-%m-%dT%H:%M:%S",
        "%d.%m.%Y %H:%M",
        "%Y-%m-%d %H:%M:%S%z",
    ],
)
def test_dates_become_days_year_month_and_weekday(save, format):
    path = save(people(day=DAYS.tz_localize("UTC").strftime(format), y=(row / 7 for row in range(40))))
    dataset = load(path, target="y")
    assert dataset.feature_names == ("day (days)", "day (year)", "day (month)", "day (weekday)")
    has_time = "%M" in format
    days = DAYS if has_time else DAYS.normalize()
    found = predicted_inputs(path, dataset)
    seconds = days.to_numpy("datetime64[s]").astype(float)
    if "%S" not in format and has_time:
        seconds -= seconds % 60
    np.testing.assert_allclose(found[:, 0], seconds / 86400, rtol=1e-12)
    assert found[:, 1:].tolist() == np.stack([days.year, days.month, days.day_of_week], axis=1).tolist()
    refused("line 2 ... 'soon' is no date", predicted_inputs, save("day\nsoon\n"), dataset)


def test_dates_that_could_be_read_in_two_ways_are_said(save):
    days = [f"{1 + row % 12:02}/{1 + row % 9:02}/2024" for row in range(40)]
    dataset = load(save(people(day=days, y=(row / 7 for row in range(40)))), target="y")
    assert (
        "the dates of column 'day' are read as month/day/year, and could be day/month/year" in dataset.notes
    )


# --- files ---

PLAIN = people(a=range(30), b=["p", "q", "r"] * 10, y=["u", "v"] * 15)


@pytest.mark.parametrize(
    "ending", [".csv", ".tsv", ".txt", ".data", ".csv.gz", ".parquet", ".feather", "", "-"]
)
def test_every_ending_gives_the_same_table(save, tmp_path, monkeypatch, ending):
    expected = load(save(PLAIN), target="y")
    frame, path = pd.read_csv(io.StringIO(PLAIN)), tmp_path / f"other{ending}"
    if ending in (".parquet", ".feather"):
        getattr(frame, f"to_{ending[1:]}")(path)
    elif ending == "-":
        path = Path("-")
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(PLAIN.encode())))
    else:
        data = (PLAIN.replace(",", "\t") if ending == ".tsv" else PLAIN).encode()
        path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    found = load(path, target="y")
    assert found.feature_names == expected.feature_names
    assert found.class_names == expected.class_names
    assert np.array_equal(found.train.inputs, expected.train.inputs)


@pytest.mark.parametrize(
    ("ending", "package"), [(".xlsx", "openpyxl"), (".h5", "h5py"), (".parquet", "pyarrow")]
)
def test_a_package_that_is_not_there_is_named(tmp_path, monkeypatch, ending, package):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f"own{ending}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    told = {} if ending == ".h5" else {"target": "y"}
    refused(f"needs the package {package}: pip install {package}", load, path, **told)


@pytest.mark.parametrize(
    ("text", "names", "separator"),
    [
        ('"a, b";y\n1;p\n', ["a, b", "y"], ";"),
        ("a|y\n1,5|p\n2,5|q\n", ["a", "y"], "|"),
        ('a;"b;c";y\n1,5;2;p\n2,5;"3";q\n', ["a", "b;c", "y"], ";"),
        ("1,5;2,5\n2,5;3,5\n", ["x1", "x2"], ";"),
        ("a  b   y\n 1 2.5 p\n3   4 q \n", ["a", "b", "y"], " "),
        ('a\ty\n"1, 2; 3"\tp\n', ["a", "y"], "\t"),
        ('a,y\n"1; 2",p\n"x\ny; z",q\n', ["a", "y"], ","),
        ("name\nNew York\nLos Angeles\n", ["name"], ","),
    ],
)
def test_the_separator_is_found_outside_quotes(save, text, names, separator):
    table = read_table(save(text), Reading())
    assert (table.names, table.reading.separator) == (names, separator)


@pytest.mark.parametrize(
    ("text", "header", "count"),
    [
        ("1,2\n3,4\n", False, 2),
        ("5.1,a\n4.9,a\n6,b\n", False, 3),
        ("5.1,?\n4.9,a\n", False, 2),
        ("5.1,c\n4.9,a\n6,b\n", True, 2),
        ("2024-01-05,3 kg\n2024-01-06,4 kg\n", False, 2),
        ("2019,y\n1,2\n", True, 1),
        ("x,y\n1,2\n", True, 1),
    ],
)
def test_a_first_line_that_is_data_is_kept_and_said(save, text, header, count):
    table = read_table(save(text), Reading())
    assert (len(table.cells), table.reading.header) == (count, header)
    assert len(table.notes) == (not header)
    assert header or ("the first line of" in table.notes[0] and "x1 to x2" in table.notes[0])
    for said in (True, False):
        forced = read_table(save(text), Reading(header=said))
        assert (len(forced.cells), forced.notes) == (count + header - said, ())


FIRST = "a,y\n" + "1,u\n2,v\n" * 20


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            ",x,y\n" + "0,1,u\n1,2,v\n" * 9,
            {},
            "no name for column 1: if it is a DataFrame's index...index=False",
        ),
        ("Unnamed: 0,x,y\n" + "0,1,u\n1,2,v\n" * 9, {}, "no name for column 1: if it is"),
        ("x,y,\n" + "0,u,\n1,v,\n" * 9, {}, "no name for column 3"),
        (FIRST, {"separator": ";;"}, "';;' cannot be one: give one character"),
        (FIRST, {"decimal": ";"}, "decimal ';' is not allowed"),
        (FIRST, {"thousands": "."}, "thousands '.' is not one character other than the decimal mark"),
        (FIRST, {"ignore": "b"}, "unknown ignore column ... 'b'"),
        (FIRST, {"ignore": "a"}, "no column besides the target"),
        (FIRST, {"group_column": "g"}, "unknown group column"),
        (FIRST, {"group_column": "a", "time_column": "a"}, "all decide the split"),
        (FIRST, {"test": "b.csv", "time_column": "a"}, "all decide the split"),
        (FIRST, {"weight_column": "y"}, "names a column twice"),
        (
            "a,b,y\n" + "1,2,u\n" * 9,
            {"time_column": "3", "target": "a"},
            "'y' of ... has neither numbers nor dates",
        ),
        (FIRST.replace("u", "\xe9").encode("latin-1"), {}, "is not UTF-8 text"),
        (FIRST.encode("utf-16"), {}, "is not UTF-8 text"),
        (b"\x1f\x8b\x08" + bytes(40), {}, "is not UTF-8 text"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(save, text, options, message):
    refused(message, load, save(text), **{"target": "y"} | options)


@pytest.mark.parametrize(
    "name", ["pipe.csv", "pipe.npz", "zero.csv", "folder.csv", "folder.npz", "cut.csv.gz"]
)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, name):
    path = tmp_path / name
    if name.startswith("pipe"):
        os.mkfifo(path)
    elif name.startswith("zero"):
        path.symlink_to("/dev/zero")
    elif name.startswith("cut"):
        path.write_bytes(gzip.compress(FIRST.encode())[:-9])
    else:
        path.mkdir()
    said = {"pipe": "is no regular file", "zero": "is no regular file", "cut": "cannot be read"}
    message = said.get(name.partition(".")[0], "is a folder")
    refused(message, load, path)
    refused(message, read_inputs, path, features=1)


def test_a_folder_of_images_by_class(tmp_path):
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(5):
            pixels = random.integers(0, 255, (4, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{number}.png")
    dataset = load(tmp_path / "pets")
    assert (dataset.class_names, dataset.feature_shape) == (("cat", "dog"), (4, 3))
    assert dataset.train.inputs.dtype == np.uint8
    refused("'target' does not apply", load, tmp_path / "pets", target="y")
    (tmp_path / "pets/dog/x.png").write_bytes(b"no image")
    refused("x.png' is not a whole image", load, tmp_path / "pets")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "pets/dog/x.png")
    refused("x.png' has the shape (5, 5)", load, tmp_path / "pets")


# --- splits, weights, and columns with a part of their own ---


def big(rows=200):
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "x": random.normal(size=rows),
            "g": [f"g{row // 8}" for row in range(rows)],
            "t": random.permutation(rows),
            "w": np.where(np.arange(rows) % 2, 1, 1000),
            "y": ["u", "v"] * (rows // 2),
        }
    )


def test_columns_group_order_weigh_and_are_left_out(save):
    path = save(big().to_csv(index=False))
    grouped = load(path, target="y", group_column="g", weight_column="w", ignore="t")
    assert grouped.feature_names == ("x",)
    frame = big().set_index("x")
    groups = [set(frame.loc[part.inputs[:, 0], "g"]) for part in (grouped.train, grouped.test)]
    assert groups[0] | groups[1] == set(frame["g"])
    assert not groups[0] & groups[1]
    assert grouped.weight[0].tolist() == frame.loc[grouped.train.inputs[:, 0], "w"].tolist()
    problem = make_problem(grouped, validation=0.2)
    assert set(np.asarray(problem.train.weight)) == {1, 1000}
    ordered = load(path, target="y", time_column="t", ignore="g,w")
    times = [frame.loc[part.inputs[:, 0], "t"] for part in (ordered.train, ordered.test)]
    assert times[0].tolist() == list(range(160))
    assert times[1].tolist() == list(range(160, 200))
    numbered = load(path, target="-1", ignore="2,3,-2")
    assert numbered.feature_names == ("x",)
    for options in ({"weight_column": "w"}, {"group_column": "g"}, {"time_column": "t"}):
        dataset = load(path, target="y", **options)
        assert len(predicted_inputs(path, dataset)) == 200
    refused(
        "line 2 ... a weight must be",
        load,
        save(big().assign(w=-1).to_csv(index=False)),
        target="y",
        weight_column="w",
    )


def test_a_test_file_is_the_test_part_and_a_full_stop_behind_its_classes_is_left_out(save):
    train = save(PLAIN)
    test = save(PLAIN.replace("u\n", "u.\n").replace("v\n", "v.\n").replace(",p,", ",new,"), "test.csv")
    dataset = load(train, target="y", test=test)
    assert (len(dataset.train.inputs), len(dataset.test.inputs)) == (30, 30)
    assert dataset.class_names == ("u", "v")
    assert np.array_equal(dataset.train.targets, dataset.test.targets)
    assert not dataset.test.inputs[0, 1:].any()  # a text that training did not have
    assert "the full stop behind the classes of the test file is left out" in dataset.notes
    assert len(predicted_inputs(test, dataset)) == 30
    refused(
        "line 2 of file ... has the class 'w'",
        load,
        train,
        target="y",
        test=save(PLAIN.replace("u\n", "w\n"), "t.csv"),
    )
    refused("lacks the columns 'b'", load, train, target="y", test=save("a,y\n1,u\n", "t.csv"))
    refused(
        "line 2 of file ... column 'a': 'x'", load, train, target="y", test=save("a,b,y\nx,p,u\n", "t.csv")
    )


@pytest.mark.parametrize(("name", "rows"), [(None, 30), ("digits", 1797), ("iris", 150), ("moons", 1000)])
def test_a_fraction_of_0_trains_on_all_and_says_so(save, tmp_path, name, rows):
    own = {"target": "y"} if name is None else {"data_dir": tmp_path}
    for _ in range(2):  # digits are kept after the first time
        dataset = load(name or save(PLAIN), test_fraction=0, **own)
        assert dataset.train is dataset.test
        assert len(dataset.train.inputs) == rows
    assert any("no part is held out" in note for note in dataset.notes)


def test_a_column_that_determines_the_target_is_warned_of(save):
    frame = big().assign(alive=["yes", "no"] * 100, copy=lambda each: each["t"] * 3.5 + 2)
    notes = load(save(frame.to_csv(index=False)), target="y", ignore="w").notes
    assert [note for note in notes if "determines" in note] == [
        "column 'alive' determines the target: if it is a copy of it, leave it out (--ignore 'alive')"
    ]
    notes = load(save(frame.assign(id=range(200)).to_csv(index=False)), target="t", task="regression").notes
    assert "column 'id' counts the rows: if it says no more, leave it out (--ignore 'id')" in notes
    assert any(note.startswith("column 'copy' determines the target") for note in notes)


@pytest.mark.parametrize(("rows", "classes"), [(40, 3), (40, 10)])
def test_one_hot_rows_are_classes_and_said_so(tmp_path, rows, classes):
    labels = np.arange(rows) % classes
    np.savez(
        tmp_path / "own.npz", x=np.random.default_rng(0).normal(size=(rows, 2)), y=np.eye(classes)[labels]
    )
    dataset = load(tmp_path / "own.npz")
    assert (dataset.task, len(dataset.class_names)) == ("classification", classes)
    assert any("each row of the targets has a single 1" in note for note in dataset.notes)
    assert load(tmp_path / "own.npz", task="multilabel").task == "multilabel"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000000,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': 3, 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (9" + "9" * 40 + ",)}",
        "(" * 200,
    ],
)
def test_a_header_that_declares_more_than_its_file_holds_is_refused(tmp_path, header):
    text = header.encode() + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8)
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "own.npz", "w", compression) as archive:
            archive.writestr("inputs.npy", member)
        refused("is not a whole .npz file", load, tmp_path / "own.npz")
