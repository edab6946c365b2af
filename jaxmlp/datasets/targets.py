"""Labels and values as a user's file holds them, turned into the targets of a task."""

from typing import NamedTuple

import numpy as np

from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

TASKS = ("classification", "multilabel", "regression")
# Whole numbers of more different values, or more to an example, are quantities: prices, counts, years.
MOST_INFERRED_CLASSES, MOST_INFERRED_SHARE = 100, 0.2
LARGEST = np.float64(1e150)  # squares of larger numbers are infinite


class Targets(NamedTuple):
    """Encoded targets.

    Attributes:
        task: "classification", "multilabel" or "regression".
        values: [N] int32 classes, [N, K] float32 labels, or [N, K] float64 values.
        class_names: K names of classes or labels; () for regression.
        target_names: K names of regressed values; () otherwise.
        notes: what was decided that the user did not say.
    """

    task: str
    values: np.ndarray
    class_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_task(task: str | None) -> None:
    """Refuse a task that does not exist; None means that it is inferred."""
    if task is not None and task not in TASKS:
        raise unknown_name("task", str(task), TASKS)


def infer_task(raw: np.ndarray) -> tuple[str, tuple[str, ...]]:
    """Tell the task from nothing but the targets, and say so where it could be another.

    Text, truth values and few different whole numbers are classes. Several columns of 0 and 1 are labels that
    do not exclude each other, unless each row of more than two has a single 1. All other numbers are values.
    """
    if raw.ndim == 2 and raw.shape[1] > 1:
        if not _only_zeros_and_ones(raw):
            return "regression", ()
        if raw.shape[1] > 2 and np.all(raw.sum(axis=1) == 1):
            return "classification", (
                "each row of the targets has a single 1: they are classes (--task multilabel if not)",
            )
        return "multilabel", ()
    if raw.dtype.kind not in "iuf":
        return "classification", ()
    different = len(np.unique(raw))
    are_few = different <= MOST_INFERRED_CLASSES and different <= max(2, MOST_INFERRED_SHARE * len(raw))
    are_whole, are_classes = bool(np.all(raw == np.round(raw))), are_few and raw.dtype.kind != "f"
    what, other = ("classes", "regression") if are_classes else ("quantities: a regression", "classification")
    note = f"the target's {different:,} different whole numbers are taken as {what} (--task {other} if not)"
    # Those with a decimal point, 1.0 and 2.0, are worth a line where they could be classes.
    is_told = are_whole and (are_few or raw.dtype.kind != "f")
    return ("classification" if are_classes else "regression"), (note,) * is_told


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
        finite = np.abs(raw) <= LARGEST
        if not finite.all():
            row = int(np.argwhere(~finite)[0][0])
            raise ArgumentError(
                f"{origin} has a target that is NaN or infinite (example {row}): remove or replace such values"
            )
    notes: tuple[str, ...] = ()
    if task is None:
        task, notes = infer_task(raw)
    if task == "classification":
        encoded = _encode_classes(raw, origin)
        if raw.ndim == 2 and raw.shape[1] > 1 and names:  # one-hot columns name the classes
            encoded = encoded._replace(class_names=tuple(names[int(each)] for each in encoded.class_names))
        return encoded._replace(notes=notes)
    columns = raw[:, None] if raw.ndim == 1 else raw
    if columns.dtype.kind == "U":
        raise ArgumentError(
            f"{origin} has text targets, task '{task}' wants numbers: choose 'classification'"
        )
    if task == "multilabel" and not _only_zeros_and_ones(columns):
        raise ArgumentError(f"{origin} has targets other than 0 and 1: task 'multilabel' wants only these")
    stem = "label" if task == "multilabel" else "y"
    names = names or tuple(f"{stem}{number + 1}" for number in range(columns.shape[1]))
    if task == "multilabel":
        return Targets(task, columns.astype(np.float32), names)
    return Targets(task, columns.astype(np.float64), (), names, notes)


def _encode_classes(raw: np.ndarray, origin: str) -> Targets:
    labels = _one_column(raw, origin)
    if labels.dtype.kind == "f":
        fractions = labels[labels != np.round(labels)]
        if len(fractions):
            raise ArgumentError(
                f"{origin} has targets that are not whole numbers ({fractions[0]}): "
                f"choose task 'regression', or give whole numbers or text as classes (--task)"
            )
        if np.abs(labels).max() > 2**53:
            raise ArgumentError(
                f"{origin} has targets beyond 2**53 with a decimal point, where whole numbers run together: "
                f"choose task 'regression', or give the classes as text (--task)"
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
