"""What every loader takes and returns, and the checks that stand between a user's data and a training run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxmlp.datasets.reading import Reading
from jaxmlp.datasets.splitting import check_test_fraction, split_indices, unstratified_split
from jaxmlp.datasets.table import quoted
from jaxmlp.datasets.targets import LARGEST, Targets, check_task
from jaxmlp.registry import unknown_name
from jaxmlp.types import LARGEST_SEED, ArgumentError, check_whole

MISSING = ("impute", "refuse")
# Rows looked at together: a large set is never copied whole to be checked or measured.
CHUNK_ROWS = 8192

# What `load` may be told of a table, and of nothing else.
OF_TABLES = (
    *("target", "missing", "ignore", "text", "weight_column", "group_column", "time_column", "test"),
    *("drop_missing_target", "separator", "header", "decimal", "thousands", "na_values"),
    "max_one_hot",
)

Arrays: TypeAlias = dict[str, np.ndarray]
Rows: TypeAlias = np.ndarray | slice


class Part(NamedTuple):
    """One part of a data set: the examples to train on, or those to test on.

    Attributes:
        inputs: [N, I] features as read: uint8 where the file holds bytes, float32 or float64.
        targets: [N] int32 classes in 0..K-1 (classification), [N, K] float32 of 0 and 1
            (multilabel), or [N, K] float64 values (regression).

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
        table: how the columns of a table were encoded, JSON-able; None for everything else.
        notes: what was decided that the user did not say, a sentence each.
        weight: [N] weights of the training part and of the test part; None where all count 1.
        groups: [N] groups of the training part, which a further split keeps together; None where there are none.
        is_ordered: whether rows stand in the order of time, and a further split holds out the last.

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
    notes: tuple[str, ...] = ()
    weight: tuple[np.ndarray, np.ndarray] | None = None
    groups: np.ndarray | None = None
    is_ordered: bool = False

    @property
    def strata(self) -> np.ndarray | None:
        """The classes that a further split keeps in their shares; None where groups or time decide."""
        is_free = self.task == "classification" and self.groups is None and not self.is_ordered
        return self.train.targets if is_free else None


@dataclass(frozen=True)
class Options:
    """The options of `load` by their names there, checked; each loader reads what concerns it."""

    data_dir: Path
    manual_dir: Path | None = None
    test_fraction: float = 0.2
    seed: int = 0
    target: str | None = None
    task: str | None = None
    missing: str = "impute"
    examples: int | None = None
    noise: float | None = None
    quiet: bool = False
    test: str | None = None
    ignore: str | None = None
    text: str | None = None
    weight_column: str | None = None
    group_column: str | None = None
    time_column: str | None = None
    drop_missing_target: bool = False
    separator: str | None = None
    header: bool | None = None
    decimal: str | None = None
    thousands: str | None = None
    na_values: str | None = None
    max_one_hot: int | None = None

    def __post_init__(self) -> None:
        check_test_fraction(self.test_fraction)
        check_task(self.task)
        check_missing(self.missing)
        check_whole("seed", self.seed, 0, LARGEST_SEED)
        if self.examples is not None:
            check_whole("examples", self.examples)
        _ = self.reading  # raises for a mark that cannot be one
        if sum(each is not None for each in (self.test, self.group_column, self.time_column)) > 1:
            raise ArgumentError("test, group_column and time_column all decide the split: give one of them")
        if self.noise is not None and not (np.isfinite(self.noise) and self.noise >= 0):
            raise ArgumentError(f"noise {self.noise} is not allowed: give a finite number, 0 or more")

    @property
    def split(self) -> dict[str, Any]:
        """What decides the division into a training and a test part."""
        return {"test_fraction": self.test_fraction, "seed": self.seed}

    @property
    def reading(self) -> Reading:
        """How a table is read."""
        gaps = () if self.na_values is None else tuple(each.strip() for each in self.na_values.split(","))
        separator = None if self.separator is None else self.separator.replace("\\t", "\t")
        return Reading(separator, self.header, self.decimal, self.thousands, gaps)

    def refuse(self, name: str, given: tuple[str, ...]) -> None:
        """Refuse options that the data set of this name would silently ignore."""
        for option in given:
            if getattr(self, option) != getattr(type(self), option):
                raise ArgumentError(
                    f"option '{option}' does not apply to data set '{name}': leave it out ('task' is for files, "
                    f"'examples' and 'noise' for generated sets, 'target' and the like for tables)"
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
    """Bring features of any number of axes to [N, I], as bytes, float32 or float64."""
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
    # Kept as read: a number is brought to float32 once it is scaled.
    return (flat if flat.dtype in (np.uint8, np.float32) else flat.astype(np.float64)), shape


def check_inputs(inputs: np.ndarray, origin: str, feature_names: tuple[str, ...] = ()) -> None:
    """Refuse features that are empty, NaN or infinite."""
    if len(inputs) == 0:
        raise ArgumentError(f"{origin} is empty (0 examples): give at least one example")
    if inputs.dtype.kind != "f":
        return
    for number, block in enumerate(row_chunks(inputs)):
        finite = np.abs(block) <= LARGEST
        if not finite.all():
            row, column = (int(index) for index in np.argwhere(~finite)[0])
            feature = f"'{feature_names[column]}'" if feature_names else str(column)
            raise ArgumentError(
                f"{origin} has a feature that is NaN or infinite (example {number * CHUNK_ROWS + row}, "
                f"feature {feature}): remove or replace such values"
            )


def split_rows(targets: Targets, options: Options, groups: np.ndarray | None = None) -> Sequence[np.ndarray]:
    """Choose the rows that train and those that test, as the options say."""
    examples = len(targets.values)
    if options.test_fraction == 0:
        every = np.arange(examples)
        return every, every
    labels = targets.values if targets.task == "classification" else None
    is_ordered = options.time_column is not None
    return split_indices(examples, labels=labels, groups=groups, is_ordered=is_ordered, **options.split)


def split_notes(targets: Targets, options: Options) -> tuple[str, ...]:
    """Say what is to be said of such a split."""
    if options.test_fraction == 0:
        return ("no part is held out: what is said of the test part is measured on the training rows",)
    if targets.task != "classification" or options.group_column or options.time_column:
        return ()
    return tuple(unstratified_split(targets.values, targets.class_names, options.test_fraction))


def divide(inputs: Sequence[np.ndarray], targets: Targets, rows: Sequence[Rows], **described: Any) -> Dataset:
    """Make a data set of the inputs of both parts, all targets, the rows that train and test, and the other fields."""
    if targets.task == "classification" and len(targets.class_names) < 2:
        raise ArgumentError(
            f"'{described['name']}' has {len(targets.class_names)} class: classification needs at least 2; "
            f"check the target, or choose task 'regression' (--task)"
        )
    train, test = (Part(part, targets.values[chosen]) for part, chosen in zip(inputs, rows, strict=True))
    notes = [*described.pop("notes", ()), *targets.notes]
    if targets.task == "classification":
        there = {*np.unique(train.targets).tolist()}
        absent = [name for number, name in enumerate(targets.class_names) if number not in there]
        notes += [f"no example of class {quoted(absent)} is in the training part"] if absent else []
    return Dataset(
        task=targets.task,
        train=train,
        test=train if rows[0] is rows[1] else test,
        class_names=targets.class_names,
        target_names=targets.target_names,
        notes=tuple(notes),
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
    notes: tuple[str, ...] = ()
    if len(parts) == 1:
        rows: Sequence[Rows] = split_rows(targets_of_all, options)
        notes = split_notes(targets_of_all, options)
        features = [features[0][chosen] for chosen in rows]
        identity = identity | options.split
    else:
        rows = (slice(len(features[0])), slice(len(features[0]), None))
    return divide(
        features,
        targets_of_all,
        rows,
        name=identity["name"],
        feature_shape=feature_shape,
        identity=identity,
        notes=notes,
    )


def _check_alike(arrays: Sequence[np.ndarray], what: str, origin: str) -> None:
    train, test = arrays[0], arrays[-1]
    if train.shape[1:] != test.shape[1:] or (train.dtype.kind == "U") != (test.dtype.kind == "U"):
        raise ArgumentError(
            f"{origin} has {what} of shape {train.shape} and type {train.dtype} to train on, of shape "
            f"{test.shape} and type {test.dtype} to test on: give both parts alike"
        )
