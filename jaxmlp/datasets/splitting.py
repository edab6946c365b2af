"""How a data set that brings no test part is divided, the same way for every loader."""

import math

import numpy as np

from jaxmlp.types import ArgumentError


def check_test_fraction(test_fraction: float) -> None:
    """Refuse a fraction that leaves nothing to train or nothing to test on."""
    if isinstance(test_fraction, bool) or not isinstance(test_fraction, int | float):
        raise ArgumentError(f"test fraction {test_fraction!r} is not a number: give one between 0 and 1")
    if not 0.0 < test_fraction < 1.0:
        raise ArgumentError(f"test fraction {test_fraction} is outside (0, 1): give a share such as 0.2")


def split_indices(
    examples: int, *, test_fraction: float, seed: int, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose which examples train and which test: shuffled, and stratified where there are classes.

    Stratified means that both parts hold each class in the same proportion. It is left out where it
    cannot be had: a class with a single example, or a part with fewer examples than classes.

    Args:
        examples: N, the number of examples.
        test_fraction: share held out, rounded up to whole examples.
        seed: fixes the shuffle.
        labels: [N] classes to stratify by, or None.

    Returns:
        The indices of the training part and those of the test part.

    Raises:
        ArgumentError: fewer than two examples, or a part that would be empty.

    Example:
        >>> train, test = split_indices(10, test_fraction=0.2, seed=0)
        >>> len(train), len(test), sorted([*train, *test]) == list(range(10))
        (8, 2, True)
    """
    from sklearn.model_selection import train_test_split

    check_test_fraction(test_fraction)
    held_out = math.ceil(examples * test_fraction)
    if held_out >= examples:
        raise ArgumentError(
            f"{examples} example(s) with test fraction {test_fraction} leave none to train on: "
            f"give more examples or a smaller fraction"
        )
    if labels is not None:
        _, counts = np.unique(labels, return_counts=True)
        if counts.min() < 2 or len(counts) > min(held_out, examples - held_out):
            labels = None
    train, test = train_test_split(
        np.arange(examples), test_size=held_out, random_state=seed, stratify=labels
    )
    return train, test


def fold_indices(
    examples: int, folds: int, *, seed: int, labels: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide examples into folds for cross-validation: each is held out once, while the others train.

    Shuffled, and stratified where there are classes, each with as many examples as folds at least. The
    sizes of two folds differ by one example at most.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= examples:
        raise ArgumentError(f"folds must number from 2 to the {examples} examples, given {folds!r}: try 5")
    by_class = labels is not None and np.unique(labels, return_counts=True)[1].min() >= folds
    splitter = (StratifiedKFold if by_class else KFold)(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(examples), labels if by_class else None))
