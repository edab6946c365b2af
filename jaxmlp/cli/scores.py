"""Scores of predictions, computed by scikit-learn, each beside that of the best constant guess."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from jaxmlp.types import ArgumentError


def scores(
    task: str, truth: np.ndarray, predicted: np.ndarray, chances: np.ndarray | None, classes: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Measure predictions; returns a value a name, and that of the most frequent class or the mean.

    A score that the examples cannot give, as ROC AUC of one class, is left out.
    """
    from sklearn import metrics as of

    if not np.isfinite(predicted if chances is None else chances).all():
        raise ArgumentError(
            "some predictions are NaN or infinite: the network's parameters or its inputs are; train again"
        )
    if task == "regression":
        guess = np.broadcast_to(truth.mean(axis=0), truth.shape)
        measures = {"R²": of.r2_score, "MAE": of.mean_absolute_error, "RMSE": of.root_mean_squared_error}
        least = 2 if len(truth) < 2 else 0
        return {
            name: (measure(truth, predicted), measure(truth, guess))
            for name, measure in list(measures.items())[least // 2 :]
        }
    if task == "multilabel":
        guess = np.broadcast_to(truth.mean(axis=0) >= 0.5, truth.shape).astype(int)
        found = {"label accuracy": (np.mean(truth == predicted), np.mean(truth == guess))}
        for kind in ("micro", "macro"):
            found[f"F1 {kind}"] = tuple(
                of.f1_score(truth, each, average=kind, zero_division=0) for each in (predicted, guess)
            )
        return found
    known = np.arange(len(classes))
    counts = np.bincount(truth, minlength=len(classes))
    guess = np.full(len(truth), counts.argmax())
    with warnings.catch_warnings():  # of classes that are predicted but not there
        warnings.simplefilter("ignore", UserWarning)
        found = {
            "accuracy": (of.accuracy_score(truth, predicted), of.accuracy_score(truth, guess)),
            "balanced accuracy": tuple(
                of.balanced_accuracy_score(truth, each) for each in (predicted, guess)
            ),
            "F1 macro": tuple(
                of.f1_score(truth, each, average="macro", zero_division=0) for each in (predicted, guess)
            ),
        }
    if chances is None:
        return found
    shares = np.broadcast_to(counts / counts.sum(), chances.shape)
    sums = chances.sum(axis=1, keepdims=True)
    found["log loss"] = tuple(of.log_loss(truth, each, labels=known) for each in (chances / sums, shares))
    if len(classes) == 2 and (counts > 0).all():
        found["ROC AUC"] = (of.roc_auc_score(truth, chances[:, 1]), 0.5)
        found["average precision"] = (
            of.average_precision_score(truth, chances[:, 1]),
            counts[1] / len(truth),
        )
        found["Brier score"] = tuple(of.brier_score_loss(truth, each[:, 1]) for each in (chances, shares))
    return found


def score_rows(found: Mapping[str, tuple[float, float]], title: str, task: str) -> list[list[str]]:
    """Lay out scores for a table."""
    guess = "guessing the mean" if task == "regression" else "guessing the most frequent"
    return [
        [title, "model", guess],
        *([name, f"{ours:.4g}", f"{theirs:.4g}"] for name, (ours, theirs) in found.items()),
    ]
