"""A user's own files: a table in a .csv with a named target column, or arrays in an .npz, never unpickled."""

import csv
import functools
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.datasets.archives import file_sha256
from jaxmlp.datasets.dataset import (
    Arrays,
    Dataset,
    Options,
    check_inputs,
    check_missing,
    divide,
    flatten_inputs,
    from_arrays,
    split_rows,
)
from jaxmlp.datasets.table import encode_table, fit_table, is_number, numeric_column, table_feature_names
from jaxmlp.datasets.targets import Targets, encode_targets
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

# Spellings that are understood: training features and targets, test features and targets (the second is
# Keras's); features and targets that are yet to be split; features for prediction.
SPLIT_KEYS = (
    ("train_inputs", "train_targets", "test_inputs", "test_targets"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
)
WHOLE_KEYS = (("inputs", "targets"), ("x", "y"), ("X", "y"))
INPUT_KEYS = ("inputs", "x", "X", "x_test", "X_test", "test_inputs")


def load_file(path: Path, options: Options) -> Dataset:
    """Load a data set from a file, which its ending tells how to read."""
    _check_data_file(path)
    if path.suffix.lower() == ".csv":
        options.refuse(path.name, ("examples", "noise"))
        return _load_csv(path, options)
    options.refuse(path.name, ("target", "missing", "examples", "noise"))
    return _load_npz(path, options)


def read_inputs(
    path: str | os.PathLike[str],
    *,
    features: int,
    feature_names: Sequence[str] = (),
    table: Mapping[str, Any] | None = None,
    missing: str | None = None,
) -> np.ndarray:
    """Read the features of a file for prediction.

    A csv is read by its column names, in any order; the target may be there or not. Where no names are
    known, all its numeric columns are taken as they stand. An .npz gives its array `inputs`, `x`, `X`,
    `x_test` or `test_inputs`, or the only one it has.

    Args:
        path: a file ending in .csv or .npz.
        features: I, how many features the network takes.
        feature_names: I names as the data set gave them, or ().
        table: how the columns of a csv were encoded in training, or None.
        missing: "refuse" or "impute"; None does as in training.

    Returns:
        [N, I] raw features, to be given to `Preprocessing.inputs`.

    Raises:
        ArgumentError: the file cannot be read or has another ending, columns are not there, categories are
            unknown, values are missing, or the number of features is another.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new.npz"
        >>> np.savez(path, inputs=np.ones((3, 2, 2)))
        >>> read_inputs(path, features=4).shape
        (3, 4)
    """
    path = Path(path).expanduser()
    _check_data_file(path)
    origin = f"file '{path}'"
    if missing is not None:
        check_missing(missing)
    names = tuple(feature_names)
    if path.suffix.lower() == ".npz":
        inputs, _ = flatten_inputs(_input_array(read_arrays(path), origin), origin)
    elif table is not None:
        inputs = encode_table(read_frame(path), table, origin=origin, missing=missing)
    elif missing == "impute":
        raise ArgumentError(
            f"{origin} cannot be imputed: the model's training data were no csv; fill its gaps"
        )
    elif names:
        # Named features without a table are numbers: they are encoded as a table of numbers.
        columns = [{"name": name, "kind": "number", "fill": 0.0} for name in names]
        inputs = encode_table(read_frame(path), {"columns": columns, "missing": "refuse"}, origin=origin)
    else:
        inputs = _numeric_columns(read_frame(path, names_wanted=False), origin)
    if inputs.shape[1] != features:
        raise ArgumentError(
            f"{origin} has {inputs.shape[1]} features, the network takes {features}: "
            f"give the features that it was trained with"
        )
    check_inputs(inputs, origin, names)
    return inputs


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


def read_arrays(path: Path) -> Arrays:
    """Read every array of an .npz file without unpickling anything."""
    try:
        with open(path, "rb") as file:  # NumPy leaves a damaged file open when it opens it itself
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ArgumentError(f"file '{path}' is a single array, not an .npz: save it with numpy.savez")
            return {key: _read_array(loaded, key, path) for key in loaded.files}
    except ArgumentError:
        raise
    except OSError as error:
        raise ArgumentError(f"file '{path}' cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ArgumentError(
            f"file '{path}' is not a whole .npz file: save it again with numpy.savez"
        ) from None


def _check_data_file(path: Path) -> None:
    if path.is_dir():
        raise ArgumentError(f"'{path}' is a folder: give a file that ends in .csv or .npz")
    if path.suffix.lower() not in (".csv", ".npz"):
        raise ArgumentError(f"file '{path}' ends in '{path.suffix}': give one that ends in .csv or .npz")
    if not path.exists():
        raise ArgumentError(
            f"file '{path}' does not exist: check its name and folder ('{Path.cwd()}' is here)"
        )


def _load_csv(path: Path, options: Options) -> Dataset:
    """Load a csv: how features are encoded is learned from the training part.

    A category that only the test part has is encoded as zeros.
    """
    origin = f"file '{path}'"
    frame = read_frame(path)
    target_columns = _target_columns(options.target, list(frame.columns), origin)
    feature_columns = [name for name in frame.columns if name not in target_columns]
    if not feature_columns:
        raise ArgumentError(f"{origin} has no column besides the target: give at least one feature")
    targets = _read_targets(frame, target_columns, options.task, origin)
    rows = split_rows(targets, options)
    table = fit_table(frame, feature_columns, rows[0], options.missing, origin) | {"targets": target_columns}
    inputs = encode_table(frame, table, origin=origin, allow_unknown=True)
    names = table_feature_names(table)
    check_inputs(inputs, origin, names)
    identity = {
        "name": path.name,
        "sha256": file_sha256(path),
        "target": options.target,
        "task": options.task,
        "missing": options.missing,
        **options.split,
    }
    return divide(
        inputs,
        targets,
        rows,
        name=path.name,
        feature_shape=(len(names),),
        feature_names=names,
        table=table,
        identity=identity,
    )


def _check_rows(path: Path) -> tuple[str, list[str]]:
    """Read a csv once for its shape: pandas would fill a short row with missing values."""
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


def _numeric_columns(frame: "pd.DataFrame", origin: str) -> np.ndarray:
    columns = [numbers for name in frame if (numbers := numeric_column(frame[name])) is not None]
    if not columns:
        raise ArgumentError(f"{origin} has no column of numbers: give one column a feature")
    with np.errstate(over="ignore"):  # refused as infinite by check_inputs
        return np.column_stack(columns).astype(np.float32)


def _load_npz(path: Path, options: Options) -> Dataset:
    """Load the arrays of SPLIT_KEYS or of WHOLE_KEYS; features of more than two axes are flattened."""
    arrays, origin = read_arrays(path), f"file '{path}'"
    keys = next((keys for keys in (*SPLIT_KEYS, *WHOLE_KEYS) if set(keys) <= set(arrays)), None)
    if keys is None:
        raise ArgumentError(
            f"{origin} has the arrays {', '.join(sorted(arrays)) or '(none)'}: give 'inputs' and 'targets', "
            f"or 'train_inputs', 'train_targets', 'test_inputs' and 'test_targets'"
        )
    parts = [(arrays[inputs], arrays[targets]) for inputs, targets in zip(keys[::2], keys[1::2], strict=True)]
    encode = functools.partial(encode_targets, origin=origin, task=options.task)
    identity = {"name": path.name, "sha256": file_sha256(path), "task": options.task}
    return from_arrays(parts, options, encode, origin=origin, identity=identity)


def _read_array(loaded: Mapping[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    try:
        return loaded[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ArgumentError(
            f"file '{path}' holds pickled Python objects under '{key}', which are never loaded: "
            f"save plain arrays of numbers or text"
        ) from None


def _input_array(arrays: Arrays, origin: str) -> np.ndarray:
    for key in INPUT_KEYS:
        if key in arrays:
            return arrays[key]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise ArgumentError(
        f"{origin} has the arrays {', '.join(sorted(arrays)) or '(none)'}: name the features 'inputs'"
    )
