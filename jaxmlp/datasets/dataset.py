"""What every loader returns, and the checks that stand between a user's data and a training run."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

TASKS = ("classification", "multilabel", "regression")
# Rows looked at together, so that a large set is never copied whole to be checked or measured.
CHUNK_ROWS = 8192


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
        feature_names: I names, or () where there are none.
        class_names: K names, one a class or a label; () for regression.
        target_names: names of the K regressed values; () otherwise.
        table: how the columns of a csv were encoded, JSON-able; None for everything else.
        identity: what makes this the same data again, JSON-able: name, seed, options, checksums.

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
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    target_names: tuple[str, ...]
    table: dict[str, Any] | None
    identity: dict[str, Any]


def check_task(task: str | None) -> None:
    """Refuse a task that does not exist; None means that it is inferred."""
    if task is not None and task not in TASKS:
        raise unknown_name("task", str(task), TASKS)


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


def check_dataset(dataset: Dataset) -> Dataset:
    """Refuse a data set that cannot be trained on, so that the run does not fail or mislead later."""
    check_task(dataset.task)
    for title, part in (("training", dataset.train), ("test", dataset.test)):
        origin = f"the {title} part of '{dataset.name}'"
        if len(part.inputs) != len(part.targets):
            raise ArgumentError(
                f"{origin} has {len(part.inputs)} rows of features and {len(part.targets)} targets: "
                f"give one target an example"
            )
        check_inputs(part.inputs, origin, dataset.feature_names)
        _check_targets(part.targets, dataset, origin)
    if dataset.train.inputs.shape[1] != dataset.test.inputs.shape[1]:
        raise ArgumentError(
            f"'{dataset.name}' has {dataset.train.inputs.shape[1]} features to train on and "
            f"{dataset.test.inputs.shape[1]} to test on: give both parts the same features"
        )
    return dataset


def _check_targets(targets: np.ndarray, dataset: Dataset, origin: str) -> None:
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        row = int(np.argwhere(~np.isfinite(targets))[0][0])
        raise ArgumentError(
            f"{origin} has a target that is NaN or infinite (example {row}): remove or replace such values"
        )
    if dataset.task != "classification":
        return
    classes = len(dataset.class_names)
    if classes < 2:
        raise ArgumentError(
            f"'{dataset.name}' has {classes} class: classification needs at least 2; "
            f"check the target, or choose task 'regression' (--task)"
        )
    if targets.min() < 0 or targets.max() >= classes:
        raise ArgumentError(
            f"{origin} has labels from {targets.min()} to {targets.max()}: give integers in 0..{classes - 1}"
        )
