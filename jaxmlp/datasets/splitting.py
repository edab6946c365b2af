"""How a data set that brings no test part is divided, the same way for every loader."""

import math
from collections.abc import Sequence

import numpy as np

from jaxmlp.datasets.table import quoted
from jaxmlp.types import ArgumentError


def check_test_fraction(test_fraction: float) -> None:
    """Refuse a fraction that leaves nothing to train on."""
    if isinstance(test_fraction, bool) or not isinstance(test_fraction, int | float):
        raise ArgumentError(f"test fraction {test_fraction!r} is not a number: give one between 0 and 1")
    if not 0.0 <= test_fraction < 1.0:
        raise ArgumentError(
            f"test fraction {test_fraction} is outside [0, 1): give a share such as 0.2, or 0 for none"
        )


def unstratified_split(labels: np.ndarray, names: Sequence[str], share: float) -> list[str]:
    """Say in a sentence which classes cannot stand by their share in a part held out and in what is left."""
    held_out = math.ceil(len(labels) * share)
    return unstratified(
        labels, names, math.ceil(1 / min(share, 1 - share)), min(held_out, len(labels) - held_out)
    )


def unstratified(labels: np.ndarray, names: Sequence[str], least: int, most: int) -> list[str]:
    """Say in a sentence which classes are too rare to stratify: fewer than `least`, or beyond `most` classes."""
    rare = [names[each] for each in _rarest(labels, least, most)]
    return [f"too few examples to stand in all parts by their share: class {quoted(rare)}"] if rare else []


def _rarest(labels: np.ndarray, least: int, most: int) -> np.ndarray:
    """Choose the classes with fewer than `least` examples, and of more than `most` classes the rarest."""
    classes, counts = np.unique(labels, return_counts=True)
    order = np.argsort(counts, kind="stable")
    return classes[order[: max(int((counts < least).sum()), len(classes) - most)]]


def _strata(labels: np.ndarray, least: int, most: int) -> np.ndarray | None:
    """Give classes to stratify by: the rare ones count to the most frequent one; None where one is left."""
    rare = np.isin(labels, _rarest(labels, least, most))
    if rare.all():
        return None
    classes, counts = np.unique(labels[~rare], return_counts=True)
    return None if len(classes) < 2 else np.where(rare, classes[counts.argmax()], labels)


def split_indices(
    examples: int,
    *,
    test_fraction: float,
    seed: int,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    is_ordered: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose which examples train and which test: shuffled, and stratified where there are classes.

    Stratified means that both parts hold each class in the same proportion. It is left out for a class with
    a single example, and for the rarest where a part has fewer examples than there are classes.

    Args:
        examples: N, the number of examples.
        test_fraction: share held out, rounded up to whole examples or groups.
        seed: fixes the shuffle.
        labels: [N] classes to stratify by, or None.
        groups: [N] groups, each wholly in one part, or None; classes are not stratified then.
        is_ordered: whether the last examples are held out, without a shuffle.

    Returns:
        The indices of the training part and those of the test part.

    Raises:
        ArgumentError: a part that would be empty.

    Example:
        >>> train, test = split_indices(10, test_fraction=0.2, seed=0)
        >>> len(train), len(test), sorted([*train, *test]) == list(range(10))
        (8, 2, True)
    """
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    check_test_fraction(test_fraction)
    held_out = math.ceil(examples * test_fraction)
    if held_out >= examples:
        raise ArgumentError(
            f"{examples} example(s) with test fraction {test_fraction} leave none to train on: "
            f"give more examples or a smaller fraction"
        )
    if is_ordered:
        return np.arange(examples - held_out), np.arange(examples - held_out, examples)
    if groups is not None:
        count = len(np.unique(groups))
        if math.ceil(count * test_fraction) >= count:
            raise ArgumentError(f"{count} group(s) leave none to train on: give more, or a smaller fraction")
        splitter = GroupShuffleSplit(1, test_size=test_fraction, random_state=seed)
        train, test = next(splitter.split(groups, groups=groups))
        return train, test
    strata = None if labels is None else _strata(labels, 2, min(held_out, examples - held_out))
    train, test = train_test_split(
        np.arange(examples), test_size=held_out, random_state=seed, stratify=strata
    )
    return train, test


def fold_indices(
    examples: int,
    folds: int,
    *,
    seed: int,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide examples into folds for cross-validation: each is held out once, while the others train.

    Shuffled, and stratified by the classes with as many examples as folds at least, or with each group in one fold.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= examples:
        raise ArgumentError(f"folds must number from 2 to the {examples} examples, given {folds!r}: try 5")
    if groups is not None:
        if len(np.unique(groups)) < folds:
            raise ArgumentError(f"{folds} folds need as many groups, there are {len(np.unique(groups))}")
        return list(GroupKFold(folds, shuffle=True, random_state=seed).split(groups, groups=groups))
    strata = None if labels is None else _strata(labels, folds, examples)
    splitter = (KFold if strata is None else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(examples), strata))
