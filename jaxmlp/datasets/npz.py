"""A user's own arrays in an .npz file, never unpickled."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmlp.datasets.archives import file_sha256
from jaxmlp.datasets.dataset import Dataset, Part, check_dataset, flatten_inputs
from jaxmlp.datasets.options import Options
from jaxmlp.datasets.splitting import split_indices
from jaxmlp.datasets.targets import encode_targets
from jaxmlp.types import ArgumentError

# Spellings that are understood: features, targets.
WHOLE_KEYS = (("inputs", "targets"), ("x", "y"), ("X", "y"))
# Training features and targets, test features and targets; the second is Keras's.
SPLIT_KEYS = (
    ("train_inputs", "train_targets", "test_inputs", "test_targets"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
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


def load_npz(path: Path, options: Options) -> Dataset:
    """Load a data set from an .npz file.

    It holds `inputs` and `targets` (or `x`, `y`; `X`, `y`), which are split, or with a test part of its own
    `train_inputs`, `train_targets`, `test_inputs` and `test_targets` (or Keras's `x_train`, `y_train`,
    `x_test`, `y_test`). Features of more than two axes are flattened.
    """
    arrays = read_arrays(path)
    origin = f"file '{path}'"
    identity: dict[str, Any] = {"name": path.name, "sha256": file_sha256(path), "task": options.task}
    split_keys = next((keys for keys in SPLIT_KEYS if set(keys) <= set(arrays)), None)
    if split_keys is not None:
        train_inputs, train_targets, test_inputs, test_targets = (arrays[key] for key in split_keys)
        _check_pair(train_inputs, train_targets, f"the training part of {origin}")
        _check_pair(test_inputs, test_targets, f"the test part of {origin}")
        raw_inputs = _join(train_inputs, test_inputs, "features", origin)
        raw_targets = _join(train_targets, test_targets, "targets", origin)
    else:
        raw_inputs, raw_targets = _whole_arrays(arrays, origin)
        _check_pair(raw_inputs, raw_targets, origin)
        identity |= {"test_fraction": options.test_fraction, "seed": options.seed}
    inputs, feature_shape = flatten_inputs(raw_inputs, origin)
    targets = encode_targets(raw_targets, origin=origin, task=options.task)
    if split_keys is not None:
        train, test = np.split(np.arange(len(inputs)), [len(train_inputs)])
    else:
        labels = targets.values if targets.task == "classification" else None
        train, test = split_indices(
            len(inputs), test_fraction=options.test_fraction, seed=options.seed, labels=labels
        )
    return check_dataset(
        Dataset(
            name=path.name,
            task=targets.task,
            train=Part(inputs[train], targets.values[train]),
            test=Part(inputs[test], targets.values[test]),
            feature_shape=feature_shape,
            feature_names=(),
            class_names=targets.class_names,
            target_names=targets.target_names,
            table=None,
            identity=identity,
        )
    )


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


def _whole_arrays(arrays: Mapping[str, np.ndarray], origin: str) -> tuple[np.ndarray, np.ndarray]:
    for inputs_key, targets_key in WHOLE_KEYS:
        if inputs_key in arrays and targets_key in arrays:
            return arrays[inputs_key], arrays[targets_key]
    raise ArgumentError(
        f"{origin} has the arrays {', '.join(sorted(arrays)) or '(none)'}: give 'inputs' and 'targets', "
        f"or 'train_inputs', 'train_targets', 'test_inputs' and 'test_targets'"
    )


def _check_pair(inputs: np.ndarray, targets: np.ndarray, origin: str) -> None:
    if inputs.ndim == 0 or targets.ndim == 0:
        raise ArgumentError(f"{origin} has a single number for an array: give one row an example")
    if len(inputs) != len(targets):
        raise ArgumentError(
            f"{origin} has {len(inputs)} rows of features and {len(targets)} targets: "
            f"give one target an example"
        )
    if len(inputs) == 0:
        raise ArgumentError(f"{origin} is empty (0 examples): give at least one example")


def _join(train: np.ndarray, test: np.ndarray, what: str, origin: str) -> np.ndarray:
    is_text = {train.dtype.kind == "U", test.dtype.kind == "U"}
    if train.shape[1:] != test.shape[1:] or len(is_text) > 1:
        raise ArgumentError(
            f"{origin} has {what} of shape {train.shape} and type {train.dtype} to train on, of shape "
            f"{test.shape} and type {test.dtype} to test on: give both parts alike"
        )
    return np.concatenate([train, test])
