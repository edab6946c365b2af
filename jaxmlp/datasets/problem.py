"""The learning problem: a data set scaled, encoded, split and checked once, for a network and a loss."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np

from jaxmlp.checks import check_data
from jaxmlp.datasets.dataset import Dataset, Part, Rows
from jaxmlp.datasets.preprocessing import Preprocessing, fit_preprocessing
from jaxmlp.datasets.splitting import split_indices
from jaxmlp.datasets.table import codes
from jaxmlp.losses import HEADS, LOSSES
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError, Batch

DEFAULT_LOSS = {
    "classification": "softmax_cross_entropy",
    "multilabel": "sigmoid_cross_entropy",
    "regression": "mean_squared_error",
}
METRIC = {"classification": "accuracy", "multilabel": "label_accuracy", "regression": "r2"}
FITTED_TO_0_AND_1 = "label_accuracy:0.5"  # labels whose outputs are no logits, under a loss for values


class Problem(NamedTuple):
    """A data set made ready for a network.

    Attributes:
        train: scaled inputs [N, I] and encoded targets of the training part, less what is held out.
        valid: the same of what is held out of the training part; None where nothing is.
        test: the same of the test part.
        in_features: I.
        outputs: K, the outputs that the network needs.
        output_activation: what the network must end in, as "softmax" before a likelihood; None for nothing.
        loss: the loss's name.
        metric: the name of the metric that fits the task.
        preprocessing: the features' (and a regression's targets') shift and scale.
    """

    train: Batch
    valid: Batch | None
    test: Batch
    in_features: int
    outputs: int
    output_activation: str | None
    loss: str
    metric: str
    preprocessing: Preprocessing


def make_problem(
    dataset: Dataset,
    *,
    loss: str | None = None,
    scaling: str = "auto",
    validation: float = 0.0,
    seed: int = 0,
    dtype: Any = np.float32,
    class_weight: Mapping[str, float] | str | None = None,
) -> Problem:
    """Scale the features, encode the targets as the loss takes them, and hold out a validation part.

    Args:
        dataset: what `jaxmlp.datasets.load` returned.
        loss: a loss's name; None takes the usual one of the task.
        scaling: of the features, see `fit_preprocessing`; measured on nothing but the training examples.
        validation: share of the training part to hold out, from 0 to below 1; stratified for classes.
        seed: of what is held out.
        dtype: of inputs and of values to fit; the scaling is done in float64.
        class_weight: what a training example counts by its class, times its own weight: "balanced" for N / (K · its
            class's examples), or weights by class name, 1 where none is given. None for no difference.

    Returns:
        The problem.

    Raises:
        ArgumentError: a loss that does not fit the task, a validation share out of range, an unknown class, or
            data that cannot be trained on (see `check_data`).

    Example:
        >>> from jaxmlp.datasets import load
        >>> problem = make_problem(load("digits"), validation=0.1)
        >>> problem.train.inputs.shape, problem.valid.inputs.shape, problem.outputs
        ((1293, 64), (144, 64), 10)
    """
    loss = DEFAULT_LOSS[dataset.task] if loss is None else loss
    kept, held_out = _hold_out(dataset, validation, seed)
    first = dataset.train if held_out is None else Part(*(each[kept] for each in dataset.train))
    preprocessing = fit_preprocessing(
        first,
        method=scaling,
        feature_shape=dataset.feature_shape,
        task=dataset.task,
        codes=[*codes(dataset.table["columns"])] if dataset.table else (),
    )
    if LOSSES[loss].takes == "rates":  # counts stay counts
        preprocessing = replace(preprocessing, target_shift=None, target_scale=None)
    outputs = count_outputs(dataset, loss)
    are_values = dataset.task == "multilabel" and LOSSES[loss].targets == "values"
    in_features, classifies = dataset.train.inputs.shape[1], dataset.task == "classification"
    # Classes are checked as labels: encoded for another loss, a wrong one could not be told.
    plain = DEFAULT_LOSS["classification"] if classifies else loss
    counted = len(dataset.class_names) if classifies else outputs

    def ready(part: Part, weight: np.ndarray | None, name: str) -> Batch:
        inputs: Any = preprocessing.inputs(part.inputs, dtype)
        targets: Any = preprocessing.targets(part.targets, dtype)
        weights: Any = None if weight is None else weight.astype(dtype)
        batch = Batch(inputs, targets, weights)
        check_data(batch, in_features=in_features, outputs=counted, loss=plain, name=name)
        return batch._replace(targets=_encode_classes(targets, outputs, loss)) if classifies else batch

    weight, test_weight = dataset.weight or (None, None)
    own = weight if weight is None else weight[kept]
    if class_weight is not None:
        by_class = _weigh_classes(dataset, first.targets, class_weight)
        own = by_class if own is None else own * by_class
    train = ready(first, own, "training part")
    valid = None
    if held_out is not None:
        part = Part(*(each[held_out] for each in dataset.train))
        valid = ready(part, weight if weight is None else weight[held_out], "validation part")
    is_whole = dataset.test is dataset.train and valid is None
    return Problem(
        train=train,
        valid=valid,
        test=train if is_whole else ready(dataset.test, test_weight, "test part"),
        in_features=in_features,
        outputs=outputs,
        output_activation=HEADS.get(LOSSES[loss].takes or ""),
        loss=loss,
        metric=FITTED_TO_0_AND_1 if are_values else METRIC[dataset.task],
        preprocessing=preprocessing,
    )


def _weigh_classes(
    dataset: Dataset, labels: np.ndarray, class_weight: Mapping[str, float] | str
) -> np.ndarray:
    """Give each example the weight of its class."""
    from sklearn.utils.class_weight import compute_sample_weight

    names, given = dataset.class_names, cast(Any, class_weight)
    if dataset.task != "classification":
        raise ArgumentError(
            f"class weights are for a classification, and '{dataset.name}' is a {dataset.task}"
        )
    if isinstance(given, str) and given != "balanced":
        raise ArgumentError(f"class weights are 'balanced' or weights by class name, given {given!r}")
    if not isinstance(given, str):
        for name in given:
            if name not in names:
                raise unknown_name("class", str(name), names)
        given = {place: given.get(name, 1.0) for place, name in enumerate(names)}
    return compute_sample_weight(given, labels)


def count_outputs(dataset: Dataset, loss: str) -> int:
    """Count the outputs K that a network needs for a data set and a loss."""
    kind = LOSSES[loss].targets
    fitting = {
        "classification": ("labels", "soft_labels", "binary", "values"),
        "multilabel": ("binary", "values"),
        "regression": ("values",),
    }[dataset.task]
    if kind not in fitting:
        names = ", ".join(sorted(name for name in LOSSES if LOSSES[name].targets in fitting))
        raise ArgumentError(
            f"loss '{loss}' does not fit a {dataset.task} such as '{dataset.name}': choose one of {names}"
        )
    if dataset.task == "regression":
        return dataset.train.targets.shape[1]
    classes = len(dataset.class_names)
    return 1 if dataset.task == "classification" and kind == "binary" and classes == 2 else classes


def _encode_classes(labels: np.ndarray, outputs: int, loss: str) -> Any:
    if LOSSES[loss].targets in ("labels", "soft_labels"):
        return labels
    if outputs == 1:
        return labels[:, None].astype(np.float32)
    return np.eye(outputs, dtype=np.float32)[labels]  # one-hot: fitted as 0 and 1


def _hold_out(dataset: Dataset, share: float, seed: int) -> tuple[Rows, Rows | None]:
    """Choose the rows that train and those that are held out of the training part."""
    inputs, _ = dataset.train
    if share == 0:
        return slice(None), None
    if not 0 < share < 1:
        raise ArgumentError(f"the validation share must be at least 0 and below 1, given {share:g}: try 0.1")
    if math.ceil(len(inputs) * share) >= len(inputs):
        raise ArgumentError(
            f"the validation share {share:g} leaves none of {len(inputs)} example(s) to train on: "
            "give a smaller one, such as 0.1"
        )
    return split_indices(
        len(inputs),
        test_fraction=share,
        seed=seed,
        labels=dataset.strata,
        groups=dataset.groups,
        is_ordered=dataset.is_ordered,
    )
