"""The pictures of a training run, each drawn from arrays by `jaxmlp.plots`."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import DenseParams, Network, confusion_matrix, plots
from jaxmlp.cli.scores import Answers, predict_in_chunks
from jaxmlp.cli.text import score_name
from jaxmlp.datasets import Dataset, Problem
from jaxmlp.datasets.table import feature_names
from jaxmlp.training.evaluation import evaluate_recipe
from jaxmlp.training.steps import Recipe
from jaxmlp.types import Batch

IMPORTANCE_ROWS, IMPORTANCE_REPEATS = 2000, 5

# One program: plain, every operation inside would be compiled for itself.
_confusion_matrix = partial(jax.jit, static_argnums=2)(confusion_matrix)


def draw_pictures(
    folder: Path,
    net: Network,
    params: Any,
    problem: Problem,
    dataset: Dataset,
    columns: Mapping[str, np.ndarray],
    answers: Answers,
) -> None:
    """Draw every picture that fits the task into the run folder."""
    finite = {name: column[np.isfinite(columns["train_loss"])] for name, column in columns.items()}
    figures: dict[str, Any] = {}
    if len(finite["epoch"]):
        label = "test" if problem.valid is None else "validation"
        losses = finite["valid_loss"]
        best = int(finite["epoch"][np.nanargmin(losses)]) if np.isfinite(losses).any() else None
        figures["curves"] = plots.learning_curves(finite, valid_label=label, best=best)
        figures["gradients"] = plots.gradient_curves(finite)
    if len(dataset.feature_shape) > 1:
        first = next(layer for layer in params if isinstance(layer, DenseParams))
        figures["weights"] = plots.first_layer_weights(np.asarray(first.w), dataset.feature_shape)
    else:
        figures["importances"] = _importances(net, params, problem, dataset)
    predicted, truth = answers.predicted, dataset.test.targets
    if dataset.task == "regression":
        values = problem.preprocessing.restore_targets(predicted)
        figures["predicted"] = plots.predicted_against_true(values, truth, dataset.target_names)
        figures["residuals"] = plots.residuals(values, truth, dataset.target_names)
    elif dataset.task == "multilabel":
        figures["labels"] = plots.label_scores(np.mean(predicted == truth, axis=0), dataset.class_names)
    else:
        ask = partial(predict_in_chunks, net, params, task=dataset.task, loss=problem.loss)
        figures |= _of_classes(problem, dataset, answers, ask)
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")


def _of_classes(
    problem: Problem, dataset: Dataset, answers: Answers, ask: Callable[..., np.ndarray]
) -> dict[str, Any]:
    predicted, probabilities = answers
    names, labels, raw = dataset.class_names, dataset.test.targets, np.asarray(dataset.test.inputs)
    counts = _confusion_matrix(predicted, labels, len(names))
    figures = {"confusion": plots.confusion_matrix(np.asarray(counts), names)}
    if len(dataset.feature_shape) > 1:
        if probabilities is None:  # scores that are no probabilities are brought through a softmax
            scores = jnp.asarray(ask(problem.test.inputs, task="regression"))
            probabilities = np.asarray(jax.nn.softmax(scores, axis=1))
        certainty = probabilities[np.arange(len(predicted)), predicted]
        figures["mistakes"] = plots.confident_mistakes(
            raw, dataset.feature_shape, labels, predicted, certainty, names
        )
    if len(names) == 2 and answers.probabilities is not None and len(np.unique(labels)) == 2:
        figures["ranking"] = _ranking(labels, answers.probabilities[:, 1], names[1])
    if problem.in_features == 2:
        grid_x, grid_y, points = plots.boundary_grid(raw)
        scaled = problem.preprocessing.inputs(points, problem.test.inputs.dtype)
        figures["boundary"] = plots.decision_boundary(
            grid_x,
            grid_y,
            ask(scaled).reshape(len(grid_y), len(grid_x)),
            raw,
            labels,
            names,
            axis_names=dataset.feature_names or ("x1", "x2"),
        )
    return figures


def _ranking(labels: np.ndarray, probabilities: np.ndarray, name: str) -> Any:
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import roc_auc_score, roc_curve

    share, predicted = calibration_curve(labels, probabilities, n_bins=10, strategy="quantile")
    roc = roc_curve(labels, probabilities)[:2]
    return plots.two_class_curves(roc, roc_auc_score(labels, probabilities), (predicted, share), name)


def _importances(net: Network, params: Any, problem: Problem, dataset: Dataset) -> Any:
    """Shuffle each column in turn, all inputs made of it together, and measure by how much the score falls."""
    random = np.random.default_rng(0)
    rows = random.permutation(len(problem.test.inputs))[:IMPORTANCE_ROWS]
    inputs, targets = np.asarray(problem.test.inputs)[rows], np.asarray(problem.test.targets)[rows]
    weight = None if problem.test.weight is None else jnp.asarray(problem.test.weight)[rows]
    columns = (dataset.table or {}).get("columns")
    widths = [len(feature_names([column])) for column in columns] if columns else [1] * inputs.shape[1]
    names = [column["name"] for column in columns] if columns else dataset.feature_names
    names = names or [f"x{number + 1}" for number in range(len(widths))]
    recipe = Recipe(net, loss=problem.loss, metric=problem.metric)

    def score(changed: np.ndarray) -> float:
        batch = Batch(jnp.asarray(changed), jnp.asarray(targets), weight)
        return float(evaluate_recipe(recipe, params, batch).score)

    whole, drops, start = score(inputs), [], 0
    for width in widths:
        falls = []
        for _ in range(IMPORTANCE_REPEATS):
            changed = inputs.copy()
            changed[:, start : start + width] = inputs[random.permutation(len(inputs)), start : start + width]
            falls.append(whole - score(changed))
        drops.append(falls)
        start += width
    return plots.importances(drops, names, score_name(problem.metric))
