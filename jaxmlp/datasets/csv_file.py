"""A user's own table in a .csv file, with a named target column."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.datasets.archives import file_sha256
from jaxmlp.datasets.dataset import Dataset, Part, check_dataset
from jaxmlp.datasets.options import Options
from jaxmlp.datasets.splitting import split_indices
from jaxmlp.datasets.table import encode_table, fit_table, is_number, numeric_column, table_feature_names
from jaxmlp.datasets.targets import Targets, encode_targets
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    import pandas as pd


def read_frame(path: Path, *, names_wanted: bool = True) -> "pd.DataFrame":
    """Read a csv with every column as text; columns are separated by commas, semicolons or tabs.

    Empty fields, and the usual spellings of a missing value such as NA and ?, become NaN.
    """
    import pandas as pd

    separator, header = _check_rows(path)
    is_nameless = all(is_number(name) for name in header)
    if is_nameless and names_wanted:
        raise ArgumentError(f"file '{path}' has only numbers in its first line: name the columns there")
    repeated = [name for name in header if header.count(name) > 1]
    if repeated and not is_nameless:
        raise ArgumentError(
            f"file '{path}' names column '{repeated[0]}' twice: give every column its own name"
        )
    frame = pd.read_csv(
        path,
        sep=separator,
        dtype=str,
        header=None if is_nameless else 0,
        index_col=False,
        skipinitialspace=True,
        na_values=["?"],
        encoding="utf-8-sig",
    )
    frame.columns = [str(number) for number in range(len(header))] if is_nameless else header
    if len(frame) == 0:
        raise ArgumentError(f"file '{path}' is empty (0 rows below its first line): give at least one row")
    return frame


def load_csv(path: Path, options: Options) -> Dataset:
    """Load a data set from a csv file.

    Text columns become one feature a category; which categories there are, and what fills a gap, is
    learned from the training part alone. A category that only the test part has is encoded as zeros.
    """
    origin = f"file '{path}'"
    frame = read_frame(path)
    target_columns = _target_columns(options.target, list(frame.columns), origin)
    feature_columns = [name for name in frame.columns if name not in target_columns]
    if not feature_columns:
        raise ArgumentError(f"{origin} has no column besides the target: give at least one feature")
    targets = _read_targets(frame, target_columns, options.task, origin)
    train, test = split_indices(
        len(frame),
        test_fraction=options.test_fraction,
        seed=options.seed,
        labels=targets.values if targets.task == "classification" else None,
    )
    table = fit_table(frame, feature_columns, train, options.missing, origin) | {"targets": target_columns}
    inputs = encode_table(frame, table, origin=origin, allow_unknown=True)
    names = table_feature_names(table)
    identity: dict[str, Any] = {
        "name": path.name,
        "sha256": file_sha256(path),
        "target": options.target,
        "task": options.task,
        "missing": options.missing,
        "test_fraction": options.test_fraction,
        "seed": options.seed,
    }
    return check_dataset(
        Dataset(
            name=path.name,
            task=targets.task,
            train=Part(inputs[train], targets.values[train]),
            test=Part(inputs[test], targets.values[test]),
            feature_shape=(len(names),),
            feature_names=names,
            class_names=targets.class_names,
            target_names=targets.target_names,
            table=table,
            identity=identity,
        )
    )


def _check_rows(path: Path) -> tuple[str, list[str]]:
    """Read the file once for its shape alone: pandas would fill a short row with missing values."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            separator = next((mark for mark in ",;\t" if mark in first), ",")
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, strict=True, skipinitialspace=True)
            header = [name.strip() for name in next(reader, [])]
            if not any(header):
                raise ArgumentError(
                    f"file '{path}' is empty: the first line names the columns, one row an example"
                )
            for row in reader:
                if row and len(row) != len(header):
                    raise ArgumentError(
                        f"file '{path}' has {len(row)} fields in line {reader.line_num} and {len(header)} "
                        f"in its first: is it cut off? Give every row as many fields"
                    )
    except OSError as error:
        raise ArgumentError(f"file '{path}' cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ArgumentError(f"file '{path}' is not UTF-8 text: save it as csv in UTF-8") from None
    except csv.Error as error:
        raise ArgumentError(f"file '{path}' is not a whole csv ({error}): save it again") from None
    return separator, header


def _target_columns(target: str | None, columns: list[str], origin: str) -> list[str]:
    if target is None:
        raise ArgumentError(
            f"{origin} needs a target column, none was named: choose one or several (with commas) of "
            f"{', '.join(columns)}"
        )
    # A column's own name may hold a comma.
    names = [target] if target in columns else [name.strip() for name in target.split(",")]
    for name in names:
        if name not in columns:
            raise unknown_name(f"target column of {origin}", name, columns)
    if len(set(names)) < len(names):
        raise ArgumentError(f"target '{target}' names a column twice: name each once")
    return names


def _read_targets(frame: "pd.DataFrame", columns: list[str], task: str | None, origin: str) -> Targets:
    lacking = {name: int(frame[name].isna().sum()) for name in columns}
    if any(lacking.values()):
        counts = ", ".join(f"'{name}' ({count})" for name, count in lacking.items() if count)
        raise ArgumentError(f"{origin} has missing values in target {counts}: remove those rows or fill them")
    read = []
    for name in columns:
        numbers = numeric_column(frame[name])
        if numbers is None and len(columns) > 1:
            raise ArgumentError(
                f"{origin} has text in target '{name}': several targets have to be numbers "
                f"(0 and 1 for labels); name a single target for classes"
            )
        read.append(frame[name].to_numpy(str) if numbers is None else numbers)
    raw = read[0] if len(read) == 1 else np.column_stack(read)
    return encode_targets(raw, origin=origin, task=task, names=tuple(columns))
