"""The pictures of a training run, each drawn from arrays by `jaxmlp.plots`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import ArgumentError, DenseParams, Network, confusion_matrix, plots, predict
from jaxmlp.datasets import Dataset
from jaxmlp.datasets.problem import Problem

CHUNK = 4096

# One program each: plain, every operation inside would be compiled for itself.
_predict = partial(jax.jit, static_argnums=0, static_argnames=("task", "loss", "probabilities"))(predict)
_confusion_matrix = partial(jax.jit, static_argnums=2)(confusion_matrix)


def draw_pictures(
    folder: Path,
    net: Network,
    params: Any,
    problem: Problem,
    dataset: Dataset,
    columns: Mapping[str, np.ndarray],
) -> None:
    """Draw every picture that fits the task into the run folder."""
    finite = {name: column[np.isfinite(columns["train_loss"])] for name, column in columns.items()}
    if len(finite["epoch"]):
        label = "test" if problem.valid is None else "validation"
        plots.save(plots.learning_curves(finite, valid_label=label), folder / "curves.png")
        plots.save(plots.gradient_curves(finite), folder / "gradients.png")
    _draw_weights(folder, params, dataset)
    draw = {"classification": _draw_classes, "multilabel": _draw_labels, "regression": _draw_values}
    draw[dataset.task](folder, net, params, problem, dataset)


def predict_in_chunks(
    net: Network, params: Any, inputs: Any, *, task: str, loss: str, probabilities: bool = False
) -> np.ndarray:
    """Predict a large set chunk by chunk."""
    inputs = np.asarray(inputs)  # a part of a JAX array would be a program to compile
    starts = range(0, len(inputs), CHUNK)
    parts = [
        _predict(
            net,
            params,
            inputs[start : start + CHUNK],
            task=task,
            loss=loss,
            probabilities=probabilities,
        )
        for start in starts
    ]
    return np.concatenate([np.asarray(part) for part in parts])


def _draw_weights(folder: Path, params: Any, dataset: Dataset) -> None:
    first = next(layer for layer in params if isinstance(layer, DenseParams))
    figure = plots.first_layer_weights(
        np.asarray(first.w), dataset.feature_shape, feature_names=dataset.feature_names or None
    )
    plots.save(figure, folder / "weights.png")


def _draw_classes(folder: Path, net: Network, params: Any, problem: Problem, dataset: Dataset) -> None:
    names, labels, inputs = dataset.class_names, dataset.test.targets, problem.test.inputs
    ask: dict[str, Any] = {"task": "classification", "loss": problem.loss}
    predicted = predict_in_chunks(net, params, inputs, **ask)
    counts = _confusion_matrix(predicted, labels, len(names))
    plots.save(plots.confusion_matrix(np.asarray(counts), names), folder / "confusion.png")
    if len(dataset.feature_shape) > 1:
        certainty = _certainty(net, params, inputs, predicted, ask)
        figure = plots.confident_mistakes(
            dataset.test.inputs, dataset.feature_shape, labels, predicted, certainty, names
        )
        plots.save(figure, folder / "mistakes.png")
    if problem.in_features == 2:
        raw = np.asarray(dataset.test.inputs)
        grid_x, grid_y, points = plots.boundary_grid(raw)
        scaled = problem.preprocessing.inputs(points).astype(np.asarray(problem.test.inputs).dtype)
        regions = predict_in_chunks(net, params, scaled, **ask).reshape(len(grid_y), len(grid_x))
        axis_names = dataset.feature_names or ("x1", "x2")
        figure = plots.decision_boundary(grid_x, grid_y, regions, raw, labels, names, axis_names=axis_names)
        plots.save(figure, folder / "boundary.png")


def _certainty(
    net: Network, params: Any, inputs: Any, predicted: np.ndarray, ask: dict[str, Any]
) -> np.ndarray:
    """Tell how sure each prediction is; scores that are no probabilities are brought through a softmax."""
    try:
        chances = predict_in_chunks(net, params, inputs, probabilities=True, **ask)
    except ArgumentError:
        scores = predict_in_chunks(net, params, inputs, task="regression", loss=ask["loss"])
        chances = np.asarray(jax.nn.softmax(jnp.asarray(scores), axis=1))
    return chances[np.arange(len(predicted)), predicted]


def _draw_labels(folder: Path, net: Network, params: Any, problem: Problem, dataset: Dataset) -> None:
    predicted = predict_in_chunks(net, params, problem.test.inputs, task="multilabel", loss=problem.loss)
    right = np.mean(predicted == dataset.test.targets, axis=0)
    plots.save(plots.label_scores(right, dataset.class_names), folder / "labels.png")


def _draw_values(folder: Path, net: Network, params: Any, problem: Problem, dataset: Dataset) -> None:
    outputs = predict_in_chunks(net, params, problem.test.inputs, task="regression", loss=problem.loss)
    values = problem.preprocessing.restore_targets(outputs)
    figure = plots.predicted_against_true(values, dataset.test.targets, dataset.target_names)
    plots.save(figure, folder / "predicted.png")
