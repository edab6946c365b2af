"""Answers of a trained network, and their scores by scikit-learn, each beside that of the best constant guess."""

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmlp import Network, predict
from jaxmlp.types import ArgumentError

CHUNK = 4096

# One program: plain, every operation inside would be compiled for itself.
_predict = partial(jax.jit, static_argnums=0, static_argnames=("task", "loss", "probabilities"))(predict)


class Answers(NamedTuple):
    """What a network says of examples: classes, labels or scaled values, and probabilities where its loss has them."""

    predicted: np.ndarray
    probabilities: np.ndarray | None


def predict_in_chunks(
    net: Network, params: Any, inputs: Any, *, task: str, loss: str, probabilities: bool = False
) -> np.ndarray:
    """Predict a large set chunk by chunk."""
    predicted = [
        _predict(
            net, params, inputs[start : start + CHUNK], task=task, loss=loss, probabilities=probabilities
        )
        for start in range(0, len(inputs), CHUNK)
    ]
    return np.concatenate([np.asarray(part) for part in predicted])


def answers_of(net: Network, params: Any, inputs: Any, *, task: str, loss: str) -> Answers:
    """Ask a network for its answers; those that are no numbers are refused."""
    ask = partial(predict_in_chunks, net, params, inputs, task=task, loss=loss)
    predicted, probabilities = ask(), None
    if task != "regression":
        with contextlib.suppress(ArgumentError):  # a loss such as the hinge or a squared error gives none
            probabilities = ask(probabilities=True)
    if not np.isfinite(predicted if probabilities is None else probabilities).all():
        raise ArgumentError(
            "predictions are NaN or infinite: the parameters or the inputs are too; train again"
        )
    return Answers(predicted, probabilities)


def scores(
    task: str, truth: np.ndarray, answers: Answers, classes: Sequence[str], weight: np.ndarray | None = None
) -> dict[str, tuple[float, float]]:
    """Measure predictions of weighted examples; returns a value a name, and that of guessing the mean or a class.

    A score that the examples cannot give, as ROC AUC of one class, is left out.
    """
    from sklearn import metrics as of

    predicted, probabilities = answers

    def both(measure: Callable[..., float], ours: Any, theirs: Any, **how: Any) -> tuple[float, float]:
        ours, theirs = (measure(truth, said, sample_weight=weight, **how) for said in (ours, theirs))
        return float(ours), float(theirs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the examples cannot give
        if task == "regression":
            guess = np.broadcast_to(np.average(truth, axis=0, weights=weight), truth.shape)
            measures = {"R²": of.r2_score, "MAE": of.mean_absolute_error, "RMSE": of.root_mean_squared_error}
            found = {name: both(measure, predicted, guess) for name, measure in measures.items()}
        elif task == "multilabel":
            shares = np.average(truth, axis=0, weights=weight)
            guess = np.broadcast_to(shares >= 0.5, truth.shape).astype(int)
            right = [
                np.average(np.mean(truth == said, axis=1), weights=weight) for said in (predicted, guess)
            ]
            found = {"label accuracy": (float(right[0]), float(right[1]))}
            for kind in ("micro", "macro"):
                found[f"F1 {kind}"] = both(of.f1_score, predicted, guess, average=kind, zero_division=0)
        else:
            counts = np.bincount(truth, weight, minlength=len(classes))
            guess = np.full(len(truth), counts.argmax())
            found = {
                "accuracy": both(of.accuracy_score, predicted, guess),
                "balanced accuracy": both(of.balanced_accuracy_score, predicted, guess),
                "F1 macro": both(of.f1_score, predicted, guess, average="macro", zero_division=0),
            }
            if probabilities is not None:
                shares = np.tile(counts / counts.sum(), (len(truth), 1))
                found["log loss"] = both(of.log_loss, probabilities, shares, labels=range(len(classes)))
            if probabilities is not None and len(classes) == 2:
                for name, measure in {
                    "ROC AUC": of.roc_auc_score,
                    "average precision": of.average_precision_score,
                    "Brier score": of.brier_score_loss,
                }.items():
                    found[name] = both(measure, probabilities[:, 1], shares[:, 1])
    return {name: values for name, values in found.items() if np.isfinite(values).all()}


def score_rows(found: Mapping[str, tuple[float, float]], title: str, task: str) -> list[list[str]]:
    """Lay out scores for a table."""
    guess = "guessing the mean" if task == "regression" else "guessing the most frequent"
    return [
        [title, "model", guess],
        *([name, f"{ours:.4g}", f"{theirs:.4g}"] for name, (ours, theirs) in found.items()),
    ]


def class_rows(
    truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str], weight: np.ndarray | None = None
) -> list[list[str]]:
    """Lay out precision, recall and F1 by class."""
    from sklearn.metrics import precision_recall_fscore_support

    how = {"labels": range(len(classes)), "zero_division": 0, "sample_weight": weight}
    found = precision_recall_fscore_support(truth, predicted, **how)
    examples = np.bincount(truth, minlength=len(classes))
    rows = [
        [name, *(f"{each[number]:.4f}" for each in found[:3]), f"{examples[number]:,}"]
        for number, name in enumerate(classes)
    ]
    return [["class", "precision", "recall", "F1", "examples"], *rows]
