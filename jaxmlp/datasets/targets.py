"""Labels and values as a user's file holds them, turned into the targets of a task."""

from typing import NamedTuple

import numpy as np

from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

TASKS = ("classification", "multilabel", "regression")
MOST_INFERRED_CLASSES = 100  # whole numbers of more different values than this may well be quantities


class Targets(NamedTuple):
    """Encoded targets.

    Attributes:
        task: "classification", "multilabel" or "regression".
        values: [N] int32 classes, or [N, K] float32.
        class_names: K names of classes or labels; () for regression.
        target_names: K names of regressed values; () otherwise.
    """

    task: str
    values: np.ndarray
    class_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()


def check_task(task: str | None) -> None:
    """Refuse a task that does not exist; None means that it is inferred."""
    if task is not None and task not in TASKS:
        raise unknown_name("task", str(task), TASKS)


def infer_task(raw: np.ndarray) -> str:
    """Tell the task from nothing but the targets.

    Text, truth values and whole numbers are classes. Several columns of 0 and 1 are labels that do not
    exclude each other. All other numbers are values.
    """
    if raw.ndim == 2 and raw.shape[1] > 1:
        return "multilabel" if _only_zeros_and_ones(raw) else "regression"
    return "regression" if raw.dtype.kind == "f" else "classification"


def encode_targets(
    raw: np.ndarray, *, origin: str, task: str | None = None, names: tuple[str, ...] = ()
) -> Targets:
    """Encode the targets of all examples together: both parts share their classes.

    Classes are numbered in the order of their sorted names or numbers, so 1..K serves as well as 0..K-1.
    """
    if raw.dtype.kind not in "biufU":
        raise ArgumentError(f"{origin} has targets of type '{raw.dtype}': give numbers or text")
    if raw.ndim not in (1, 2) or (raw.ndim == 2 and raw.shape[1] == 0):
        raise ArgumentError(f"{origin} has targets of shape {raw.shape}: give [N] classes or [N, K] values")
    if raw.dtype.kind == "f":
        with np.errstate(over="ignore"):
            finite = np.isfinite(raw.astype(np.float32))  # what is too large for float32 becomes infinite
        if not finite.all():
            row = int(np.argwhere(~finite)[0][0])
            raise ArgumentError(
                f"{origin} has a target that is NaN or infinite (example {row}): remove or replace such values"
            )
    if task is None:
        task = infer_task(raw)
        # Whole numbers may be quantities, as prices are: with so many of them it should be said which is meant.
        classes = len(np.unique(raw)) if task == "classification" and raw.dtype.kind in "iu" else 0
        if classes > MOST_INFERRED_CLASSES and 2 * classes > len(raw):
            raise ArgumentError(
                f"{origin} has whole numbers of {classes} different values among {len(raw)} targets: choose task "
                f"'regression' if they are quantities, 'classification' if they are classes (--task)"
            )
    if task == "classification":
        return _encode_classes(raw, origin)
    columns = raw[:, None] if raw.ndim == 1 else raw
    if columns.dtype.kind == "U":
        raise ArgumentError(
            f"{origin} has text targets, task '{task}' wants numbers: choose 'classification'"
        )
    if task == "multilabel" and not _only_zeros_and_ones(columns):
        raise ArgumentError(f"{origin} has targets other than 0 and 1: task 'multilabel' wants only these")
    stem = "label" if task == "multilabel" else "y"
    names = names or tuple(f"{stem}{number + 1}" for number in range(columns.shape[1]))
    values = columns.astype(np.float32)
    return Targets(task, values, names) if task == "multilabel" else Targets(task, values, (), names)


def _encode_classes(raw: np.ndarray, origin: str) -> Targets:
    labels = _one_column(raw, origin)
    if labels.dtype.kind == "f":
        fractions = labels[labels != np.round(labels)]
        if len(fractions):
            raise ArgumentError(
                f"{origin} has targets that are not whole numbers ({fractions[0]}): "
                f"choose task 'regression', or give whole numbers or text as classes (--task)"
            )
        labels = labels.astype(np.int64)
    classes, numbers = np.unique(labels, return_inverse=True)
    return Targets("classification", numbers.astype(np.int32), tuple(str(name) for name in classes))


def _one_column(raw: np.ndarray, origin: str) -> np.ndarray:
    if raw.ndim == 1:
        return raw
    if raw.shape[1] == 1:
        return raw[:, 0]
    if _only_zeros_and_ones(raw) and np.all(raw.sum(axis=1) == 1):
        return raw.argmax(axis=1)  # one-hot rows
    raise ArgumentError(
        f"{origin} has targets of shape {raw.shape}, task 'classification' wants one class an example: "
        f"give [N] classes or one-hot rows, or choose 'multilabel' or 'regression'"
    )


def _only_zeros_and_ones(raw: np.ndarray) -> bool:
    return raw.dtype.kind != "U" and bool(np.isin(raw, (0, 1)).all())
