"""Features of new examples from a user's file, encoded as the training data were."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmlp.datasets.csv_file import read_frame
from jaxmlp.datasets.dataset import check_inputs, flatten_inputs
from jaxmlp.datasets.npz import read_arrays
from jaxmlp.datasets.options import check_missing
from jaxmlp.datasets.table import encode_table, numeric_column
from jaxmlp.types import ArgumentError

INPUT_KEYS = ("inputs", "x", "X", "x_test", "X_test", "test_inputs")


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
    check_data_file(path)
    origin = f"file '{path}'"
    if missing is not None:
        check_missing(missing)
    names = tuple(feature_names)
    if path.suffix.lower() == ".npz":
        inputs, _ = flatten_inputs(_input_array(read_arrays(path), origin), origin)
    elif table is not None:
        inputs = encode_table(read_frame(path), table, origin=origin, missing=missing)
    else:
        inputs = _numeric_columns(path, names, missing, origin)
    if inputs.shape[1] != features:
        raise ArgumentError(
            f"{origin} has {inputs.shape[1]} features, the network takes {features}: "
            f"give the features that it was trained with"
        )
    check_inputs(inputs, origin, names)
    return inputs


def check_data_file(path: Path) -> None:
    """Refuse a path that cannot be a file of data, before anything is read."""
    if path.is_dir():
        raise ArgumentError(f"'{path}' is a folder: give a file that ends in .csv or .npz")
    if path.suffix.lower() not in (".csv", ".npz"):
        raise ArgumentError(f"file '{path}' ends in '{path.suffix}': give one that ends in .csv or .npz")
    if not path.exists():
        raise ArgumentError(
            f"file '{path}' does not exist: check its name and folder ('{Path.cwd()}' is here)"
        )


def _input_array(arrays: Mapping[str, np.ndarray], origin: str) -> np.ndarray:
    for key in INPUT_KEYS:
        if key in arrays:
            return arrays[key]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise ArgumentError(
        f"{origin} has the arrays {', '.join(sorted(arrays)) or '(none)'}: name the features 'inputs'"
    )


def _numeric_columns(path: Path, names: tuple[str, ...], missing: str | None, origin: str) -> np.ndarray:
    if missing == "impute":
        raise ArgumentError(
            f"{origin} cannot be imputed: the model's training data were no csv; fill its gaps"
        )
    frame = read_frame(path, names_wanted=bool(names))
    if names:
        # Named features without a table are numbers, so that they are encoded as a table of numbers.
        columns = [{"name": name, "kind": "number", "fill": 0.0} for name in names]
        return encode_table(frame, {"columns": columns, "missing": "refuse"}, origin=origin)
    columns_of_numbers = [numbers for name in frame if (numbers := numeric_column(frame[name])) is not None]
    if not columns_of_numbers:
        raise ArgumentError(f"{origin} has no column of numbers: give one column a feature")
    with np.errstate(over="ignore"):  # refused as infinite by check_inputs
        return np.column_stack(columns_of_numbers).astype(np.float32)
