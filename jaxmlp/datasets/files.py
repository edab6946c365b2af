"""A user's own files by their endings, and how a table with a named target becomes a data set."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmlp.datasets.arrays import ARRAY_ENDINGS, input_array, load_arrays, load_images, read_arrays
from jaxmlp.datasets.dataset import (
    OF_TABLES,
    Dataset,
    Options,
    check_inputs,
    check_missing,
    divide,
    flatten_inputs,
    split_notes,
    split_rows,
)
from jaxmlp.datasets.reading import Reading, Table, numbers, read_table
from jaxmlp.datasets.table import (
    check_gaps,
    convert,
    encode,
    feature_names,
    fit_columns,
    gap_notes,
    gap_texts,
    is_of_names,
    quoted,
)
from jaxmlp.datasets.targets import Targets, encode_targets
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

UNSEEN = ("ignore", "refuse")
COPIES = 0.99999  # a correlation above this is a copy of the target


def load_file(path: Path, options: Options) -> Dataset:
    """Load a data set from a file or a folder of images; the ending tells how to read it."""
    options.refuse(path.name, ("examples", "noise"))
    if path.is_dir():
        return load_images(path, options)
    if path.suffix.lower() in ARRAY_ENDINGS:
        options.refuse(path.name, OF_TABLES)
        return load_arrays(path, options)
    return _load_table(path, options)


class NewExamples(NamedTuple):
    """Examples to predict.

    Attributes:
        inputs: [N, I] raw features, to be given to `Preprocessing.inputs`.
        table: the table that they stand in; None for arrays.
        notes: what was decided that the user did not say, a sentence each.
    """

    inputs: np.ndarray
    table: Table | None
    notes: tuple[str, ...]


def read_inputs(
    path: str | os.PathLike[str],
    *,
    features: int,
    feature_names: Sequence[str] = (),
    table: Mapping[str, Any] | None = None,
    missing: str | None = None,
    unseen: str = "ignore",
) -> NewExamples:
    """Read the features of a file for prediction.

    A table is read by its column names, in any order; the target may be there or not. Where no names are
    known, all its numeric columns are taken as they stand. Of arrays `inputs`, `x`, `X`, `x_test` or
    `test_inputs` is taken, or the only one there is.

    Args:
        path: a file that `load` takes.
        features: I, how many features the network takes.
        feature_names: I names as the data set gave them, or ().
        table: how the columns of a table were encoded in training, or None.
        missing: "refuse" or "impute"; None does as in training.
        unseen: "ignore" texts that training did not have, or "refuse" them.

    Returns:
        The examples.

    Raises:
        ArgumentError: the file cannot be read, columns are not there, cells are no numbers where training had
            numbers, the number of features is another, gaps or unseen texts are to be refused, or a name of
            `missing` or `unseen` is unknown.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new.npz"
        >>> np.savez(path, inputs=np.ones((3, 2, 2)))
        >>> read_inputs(path, features=4).inputs.shape
        (3, 4)
    """
    path, notes = Path(os.path.expanduser(path)), []
    if missing is not None:
        check_missing(missing)
    if unseen not in UNSEEN:
        raise unknown_name("treatment of unseen texts", unseen, UNSEEN)
    found = None
    if path.suffix.lower() in ARRAY_ENDINGS:
        origin = f"file '{path}'"
        inputs, _ = flatten_inputs(input_array(read_arrays(path), origin), origin)
        check_inputs(inputs, origin, tuple(feature_names))
    else:
        found = read_table(path, Reading(**table["reading"]) if table else Reading())
        origin, notes = found.name, list(found.notes)
        if table:
            columns = table["columns"]
        elif missing == "impute":
            raise ArgumentError(
                f"{origin} cannot be imputed: the model was trained on no table; fill its gaps"
            )
        else:  # a data set that was no table: its named numbers, or all numbers that there are
            chosen = feature_names or _numeric_columns(found)
            columns = [{"name": name, "kind": "number", "fill": 0.0, "missing": False} for name in chosen]
        wanted = [column["name"] for column in columns]
        absent = [name for name in wanted if name not in found.names]
        if absent:
            raise ArgumentError(
                f"{origin} lacks the columns {quoted(absent)} that the model was trained with: "
                f"its columns are {quoted(found.names)}"
            )
        read = found._replace(cells=found.cells.copy(deep=False))
        for column in columns:
            convert(read, column["name"], column["kind"], column.get("format"))
        if (missing or (table or {}).get("missing", "refuse")) == "refuse":
            check_gaps(read, columns)
        inputs, strange = encode(read, columns, unseen=unseen)
        notes += gap_notes(read, columns) + strange
    if inputs.shape[1] != features:
        raise ArgumentError(
            f"{origin} has {inputs.shape[1]} features, the network takes {features}: "
            f"give the features that it was trained with"
        )
    return NewExamples(inputs, found, tuple(notes))


def _load_table(path: Path, options: Options) -> Dataset:
    """Load a table: how its columns are encoded is learned from the training part."""
    table = read_table(path, options.reading)
    notes, first = list(table.notes), len(table.cells)
    if options.test is not None:
        table = _with_test(table, Path(os.path.expanduser(options.test)), options)
    if options.target is None:
        raise ArgumentError(
            f"{table.name} needs a target column, none was named: choose one or several (with commas) of "
            f"{quoted(table.names, 20)}, or -1 for the last"
        )
    target_names = named(table, "target", options.target)
    text, ignored = (named(table, what, getattr(options, what)) for what in ("text", "ignore"))
    weighs, groups_by, orders = (
        named(table, what, getattr(options, f"{what}_column"), several=False)
        for what in ("weight", "group", "time")
    )
    used = [*target_names, *weighs, *groups_by, *orders]
    if len(set(used)) < len(used):
        raise ArgumentError(
            f"target '{options.target}' or the weight, group or time column names a column twice: name each once"
        )
    features = [name for name in table.names if name not in (*used, *ignored)]
    if not features:
        raise ArgumentError(f"{table.name} has no column besides the target: give at least one feature")
    for name in orders:
        if convert(table, name)[0] == "category":
            raise ArgumentError(f"time column '{name}' of {table.name} has neither numbers nor dates")
        check_gaps(table, [{"name": name}], "")
        table = table._replace(cells=table.cells.sort_values(name, kind="stable"))
    check_gaps(table, [{"name": name} for name in groups_by], "")
    lacking = table.cells[target_names].isna()
    for name in target_names:
        copy = table._replace(cells=table.cells[[name]].copy())
        if name not in text and convert(copy, name)[0] == "number":  # NA is a gap there
            lacking[name] = copy.cells[name].isna()
    kept = np.flatnonzero(~lacking.any(axis=1))
    if len(kept) < len(lacking):
        if not options.drop_missing_target:
            counts = ", ".join(f"'{name}' ({count})" for name, count in lacking.sum().items() if count)
            place = table.place(int(np.flatnonzero(lacking.any(axis=1))[0]))
            raise ArgumentError(
                f"{table.name} has missing values in target {counts}, the first in {place}: fill them, "
                f"or leave those rows out (--drop-missing-target)"
            )
        notes.append(f"{len(lacking) - len(kept):,} rows without a target are left out")
    # What is learned of columns holds for all rows: prediction takes those without a target, too.
    labelled, first = table._replace(cells=table.cells[used].iloc[kept]), int((kept < first).sum())
    targets, more = _read_targets(labelled, target_names, options, text, first)
    notes += more
    groups = labelled.cells[groups_by[0]].cat.codes.to_numpy() if groups_by else None
    if options.test is None:
        rows = split_rows(targets, options, groups)
        notes += split_notes(targets, options)
    else:
        rows = (np.arange(first), np.arange(first, len(kept)))
    described, more = fit_columns(table, features, kept[rows[0]], text, options.max_one_hot)
    notes += more
    if not described:
        raise ArgumentError(f"{table.name} has no column left to learn from: {'; '.join(more)}")
    if options.missing == "refuse":
        check_gaps(table, described)
    learned, names = [column["name"] for column in described], feature_names(described)
    notes += gap_notes(table, described) + _copies_of_the_target(table, learned, kept, targets)
    weights = _read_weights(labelled, weighs[0]) if weighs else None
    given = {name: getattr(options, name) for name in (*OF_TABLES, "task") if name != "test"}
    return divide(
        [encode(table, described, kept[part])[0] for part in rows],
        targets,
        rows,
        name=path.name,
        feature_shape=(len(names),),
        feature_names=names,
        table={
            "columns": described,
            "missing": options.missing,
            "targets": target_names,
            "reading": dataclasses.asdict(
                dataclasses.replace(table.reading, separator=options.reading.separator)
            ),
        },
        identity={
            **{name: value for name, value in given.items() if value not in (None, (), False)},
            "name": path.name,
            "sha256": list(table.sha256),
            **options.split,
        },
        notes=tuple(notes),
        weight=None if weights is None else (weights[rows[0]], weights[rows[1]]),
        groups=None if groups is None else groups[rows[0]],
        is_ordered=bool(orders),
    )


def _with_test(table: Table, path: Path, options: Options) -> Table:
    """Put the rows of a test file behind those to train on."""
    import pandas as pd

    test = read_table(
        path, dataclasses.replace(options.reading, header=table.reading.header, decimal=table.reading.decimal)
    )
    absent = [name for name in table.names if name not in test.names]
    if absent:
        raise ArgumentError(
            f"{test.name} lacks the columns {quoted(absent)} of {table.name}: give both alike"
        )
    more = test.cells[table.names].set_axis(
        [f"line {line} of {test.name}" for line in test.cells.index], axis=0
    )
    cells = pd.concat([table.cells, more]).astype("category")
    return table._replace(cells=cells, sha256=table.sha256 + test.sha256)


def named(table: Table, what: str, given: str | None, *, several: bool = True) -> list[str]:
    """Find columns by name or by number, with commas between them; a column's name may hold a comma itself."""
    columns, found = table.names, []
    if given is None:
        return []
    are_several = several and given not in columns
    for name in [each.strip() for each in given.split(",")] if are_several else [given]:
        if name in columns:
            found.append(name)
        elif re.fullmatch(r"-?\d+", name, re.A) and -len(columns) <= int(name) <= len(columns) and int(name):
            found.append(columns[int(name) - (int(name) > 0)])
        else:
            told = "" if table.reading.header else " (its first line is taken as data; --header if not)"
            raise unknown_name(f"{what} column of {table.name}{told}", name, columns)
    return found


def _read_targets(
    table: Table, columns: list[str], options: Options, text: Sequence[str], first: int
) -> tuple[Targets, list[str]]:
    read, notes = [], []
    for name in columns:
        cells = table.cells[name]
        # 01 is not 1 where both are names, and a date is no number to regress.
        is_code = cells.str.fullmatch(r"\d+").all() and cells.str.match(r"0\d").any()
        as_text = name in text or (is_code and options.task != "regression")
        kind = "category" if as_text else convert(table, name)[0]
        if kind != "number" and len(columns) > 1:
            raise ArgumentError(
                f"{table.name} has text in target '{name}': several targets have to be numbers "
                f"(0 and 1 for labels); name a single target for classes"
            )
        if kind != "number":
            counts = cells.value_counts()
            if name not in text and options.task is None and is_of_names(counts):
                raise ArgumentError(
                    f"{table.name}: most of the {len(cells):,} texts of target '{name}' occur once, as names do: name "
                    f"another target, or say --text '{name}' for classes"
                )
            notes += gap_texts(name, counts[counts > 0])
            classes = cells.to_numpy(str)
            if options.test is not None:
                classes, more = _as_in_training(classes, first, table)
                notes += more
            read.append(classes)
        elif cells.str.fullmatch(r"[-+]?\d{1,18}").all():
            read.append(cells.astype(object).map(int).to_numpy(np.int64))
        else:
            read.append(table.cells[name].to_numpy(np.float64))
    raw = read[0] if len(read) == 1 else np.column_stack(read)
    return encode_targets(raw, origin=table.name, task=options.task, names=tuple(columns)), notes


def _read_weights(table: Table, name: str) -> np.ndarray:
    convert(table, name, "number")
    weights = table.cells[name].to_numpy(np.float64)
    if not (weights >= 0).all():
        place = table.place(int(np.argmin(weights >= 0)))
        raise ArgumentError(f"{place}, column '{name}': a weight must be a number of at least 0: mend it")
    return weights


def _as_in_training(classes: np.ndarray, first: int, table: Table) -> tuple[np.ndarray, list[str]]:
    """Hold the classes of a test file against those of the training file."""
    known, notes = set(classes[:first]), []
    if not set(classes[first:]) & known and {each.rstrip(".") for each in classes[first:]} <= known:
        classes = np.array([*classes[:first], *(each.rstrip(".") for each in classes[first:])])
        notes = ["the full stop behind the classes of the test file is left out"]
    strange = [row for row in range(first, len(classes)) if classes[row] not in known]
    if strange:
        raise ArgumentError(
            f"{table.place(strange[0])} has the class '{classes[strange[0]]}', which the training file does not "
            f"have: its classes are {quoted(sorted(known))}"
        )
    return classes, notes


def _copies_of_the_target(
    table: Table, names: Sequence[str], rows: np.ndarray, targets: Targets
) -> list[str]:
    """Warn of columns that determine the target: they are mostly copies, which new rows will not have."""
    import pandas as pd

    notes = []
    for name in names:
        cells = table.cells[name].iloc[rows]
        if targets.task == "classification":
            codes, values = pd.factorize(cells, use_na_sentinel=False)
            few = 2 <= len(values) <= max(2, len(cells) // 10)
            pairs = codes * len(targets.class_names) + targets.values
            is_copy = bool(few and len(np.unique(pairs)) == len(values))
        else:
            is_number = cells.dtype == np.float64 and cells.notna().all() and np.ptp(cells) > 0
            is_copy = bool(is_number) and any(
                np.ptp(column) > 0 and abs(np.corrcoef(cells, column)[0, 1]) > COPIES
                for column in targets.values.T
            )
        if is_copy:
            notes.append(
                f"column '{name}' determines the target: if it is a copy of it, leave it out (--ignore '{name}')"
            )
    return notes


def _numeric_columns(table: Table) -> list[str]:
    names = [name for name in table.names if not numbers(table.cells[name], table.reading)[1].any()]
    if not names:
        raise ArgumentError(f"{table.name} has no column of numbers: give one column a feature")
    return names
