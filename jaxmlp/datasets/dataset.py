"""What every loader takes and returns, and the checks that stand between a user's data and a training run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxmlp.datasets.splitting import check_test_fraction, split_indices
from jaxmlp.datasets.targets import Targets, check_task
from jaxmlp.registry import unknown_name
from jaxmlp.types import LARGEST_SEED, ArgumentError, check_whole

MISSING = ("refuse", "impute")
# Rows looked at together: a large set is never copied whole to be checked or measured.
CHUNK_ROWS = 8192

Arrays: TypeAlias = dict[str, np.ndarray]
Rows: TypeAlias = np.ndarray | slice


class Part(NamedTuple):
    """One part of a data set: the examples to train on, or those to test on.

    Attributes:
        inputs: [N, I] features as stored: uint8 where the file holds bytes, float32 otherwise.
        targets: [N] int32 classes in 0..K-1 (classification), [N, K] float32 of 0 and 1
            (multilabel), or [N, K] float32 values (regression).

    Example:
        >>> Part(np.zeros((4, 2), np.float32), np.zeros(4, np.int32)).inputs.shape
        (4, 2)
    """

    inputs: np.ndarray
    targets: np.ndarray


class Dataset(NamedTuple):
    """A data set in two parts, with the names that its figures and tables need.

    Attributes:
        name: the name it was loaded by; a file's own name without its folder.
        task: "classification", "multilabel" or "regression".
        train: the examples to fit.
        test: the examples held out.
        feature_shape: shape of one example before it was flattened to [I], as (28, 28).
        identity: what makes this the same data again, JSON-able: name, seed, options, hashes.
        feature_names: I names, or () where there are none.
        class_names: K names, one a class or a label; () for regression.
        target_names: names of the K regressed values; () otherwise.
        table: how the columns of a csv were encoded, JSON-able; None for everything else.

    Example:
        >>> from jaxmlp.datasets import load
        >>> digits = load("digits")
        >>> digits.task, digits.feature_shape, len(digits.class_names)
        ('classification', (8, 8), 10)
    """

    name: str
    task: str
    train: Part
    test: Part
    feature_shape: tuple[int, ...]
    identity: dict[str, Any]
    feature_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    table: dict[str, Any] | None = None


@dataclass(frozen=True)
class Options:
    """The options of `load` by their names there, checked; each loader reads what concerns it."""

    data_dir: Path
    manual_dir: Path | None = None
    test_fraction: float = 0.2
    seed: int = 0
    target: str | None = None
    task: str | None = None
    missing: str = "refuse"
    examples: int | None = None
    noise: float | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        check_test_fraction(self.test_fraction)
        check_task(self.task)
        check_missing(self.missing)
        check_whole("seed", self.seed, 0, LARGEST_SEED)
        if self.examples is not None:
            check_whole("examples", self.examples)
        if self.noise is not None and not (np.isfinite(self.noise) and self.noise >= 0):
            raise ArgumentError(f"noise {self.noise} is not allowed: give a finite number, 0 or more")

    @property
    def split(self) -> dict[str, Any]:
        """What decides the division into a training and a test part."""
        return {"test_fraction": self.test_fraction, "seed": self.seed}

    def refuse(self, name: str, given: tuple[str, ...]) -> None:
        """Refuse options that the data set of this name would silently ignore."""
        for option in given:
            if getattr(self, option) not in (None, "refuse"):
                raise ArgumentError(
                    f"option '{option}' does not apply to data set '{name}': leave it out "
                    f"('target' and 'missing' are for csv files, 'task' for files, "
                    f"'examples' and 'noise' for generated sets)"
                )


def check_missing(missing: str) -> None:
    """Refuse a way to treat missing values that does not exist."""
    if missing not in MISSING:
        raise unknown_name("treatment of missing values", str(missing), MISSING)


def row_chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Go through the rows of an array in blocks that fit in the processor's cache and in memory."""
    for start in range(0, len(array), CHUNK_ROWS):
        yield array[start : start + CHUNK_ROWS]


def flatten_inputs(inputs: np.ndarray, origin: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Bring features of any number of axes to [N, I], as bytes or float32."""
    if inputs.ndim < 2:
        raise ArgumentError(
            f"{origin} has features of shape {inputs.shape}: give [N, I], one row an example "
            f"(for one feature reshape to [N, 1])"
        )
    if inputs.dtype.kind not in "buif":
        raise ArgumentError(
            f"{origin} has features of type '{inputs.dtype}': give numbers "
            f"(integers or floats), or a csv file if there are text columns"
        )
    shape = tuple(int(size) for size in inputs.shape[1:])
    if 0 in shape:
        raise ArgumentError(f"{origin} has features of shape {inputs.shape}: give at least one feature")
    flat = inputs.reshape(len(inputs), int(np.prod(shape)))
    if flat.dtype == np.uint8:
        return flat, shape
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and check_inputs says so
        return flat.astype(np.float32), shape


def check_inputs(inputs: np.ndarray, origin: str, feature_names: tuple[str, ...] = ()) -> None:
    """Refuse features that are empty, NaN or infinite."""
    if len(inputs) == 0:
        raise ArgumentError(f"{origin} is empty (0 examples): give at least one example")
    if inputs.dtype.kind != "f":
        return
    for number, block in enumerate(row_chunks(inputs)):
        finite = np.isfinite(block)
        if not finite.all():
            row, column = (int(index) for index in np.argwhere(~finite)[0])
            feature = f"'{feature_names[column]}'" if feature_names else str(column)
            raise ArgumentError(
                f"{origin} has a feature that is NaN or infinite (example {number * CHUNK_ROWS + row}, "
                f"feature {feature}): remove or replace such values"
            )


def split_rows(targets: Targets, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Choose the rows that train and those that test, as the options say."""
    labels = targets.values if targets.task == "classification" else None
    return split_indices(len(targets.values), labels=labels, **options.split)


def divide(inputs: np.ndarray, targets: Targets, rows: Sequence[Rows], **described: Any) -> Dataset:
    """Make a data set of examples, the rows that train and test, and the other fields."""
    if targets.task == "classification" and len(targets.class_names) < 2:
        raise ArgumentError(
            f"'{described['name']}' has {len(targets.class_names)} class: classification needs at least 2; "
            f"check the target, or choose task 'regression' (--task)"
        )
    train, test = (Part(inputs[chosen], targets.values[chosen]) for chosen in rows)
    return Dataset(
        task=targets.task,
        train=train,
        test=test,
        class_names=targets.class_names,
        target_names=targets.target_names,
        **described,
    )


def from_arrays(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    options: Options,
    encode: Callable[[np.ndarray], Targets],
    *,
    origin: str,
    identity: dict[str, Any],
) -> Dataset:
    """Make a data set of raw features and targets: a single pair is split, of two the second tests."""
    titles = [origin] if len(parts) == 1 else [f"the training part of {origin}", f"the test part of {origin}"]
    features, raw_targets = [], [targets for _, targets in parts]
    for title, (inputs, targets) in zip(titles, parts, strict=True):
        if inputs.ndim == 0 or targets.ndim == 0:
            raise ArgumentError(f"{title} has a single number for an array: give one row an example")
        if len(inputs) != len(targets):
            raise ArgumentError(
                f"{title} has {len(inputs)} rows of features and {len(targets)} targets: "
                f"give one target an example"
            )
        flat, feature_shape = flatten_inputs(inputs, title)
        check_inputs(flat, title)
        features.append(flat)
    _check_alike([inputs for inputs, _ in parts], "features", origin)
    _check_alike(raw_targets, "targets", origin)
    targets_of_all = encode(np.concatenate(raw_targets))
    if len(parts) == 1:
        rows: Sequence[Rows] = split_rows(targets_of_all, options)
        identity = identity | options.split
    else:
        rows = (slice(len(features[0])), slice(len(features[0]), None))
    return divide(
        np.concatenate(features),
        targets_of_all,
        rows,
        name=identity["name"],
        feature_shape=feature_shape,
        identity=identity,
    )


def _check_alike(arrays: Sequence[np.ndarray], what: str, origin: str) -> None:
    train, test = arrays[0], arrays[-1]
    if train.shape[1:] != test.shape[1:] or (train.dtype.kind == "U") != (test.dtype.kind == "U"):
        raise ArgumentError(
            f"{origin} has {what} of shape {train.shape} and type {train.dtype} to train on, of shape "
            f"{test.shape} and type {test.dtype} to test on: give both parts alike"
        )
