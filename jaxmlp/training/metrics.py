"""Metrics: how good predictions are, in the terms people speak of, and summable over minibatches.

A metric is the weighted mean of a statistic of each example, brought to its final form by a
summary. So an epoch's or a large set's metric is exact, whatever its minibatches. One that ranks examples,
as the area under the ROC curve, is taken over all outputs of an epoch or of a data set at once.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from jaxmlp.losses import LOSSES, Loss, resolve_loss
from jaxmlp.network import Network, class_threshold, count_outputs
from jaxmlp.registry import Registry
from jaxmlp.types import ArgumentError, Batch, Metrics, Scalar

Outputs: TypeAlias = Float[Array, "B K"]
Targets: TypeAlias = Num[Array, "B ..."]


class Metric(NamedTuple):
    """A statistic of each example and what its mean comes to.

    Attributes:
        statistic: (outputs [B, K], targets) -> [B] or [B, …]; with `over_all`
            (outputs [N, K], targets, weight [N]) -> scalar.
        summary: (the statistic's weighted mean [] or […], the targets' weighted variance [K]) -> scalar.
        needs_variance: whether the summary uses the variance; where not, it is given None.
        more_is_better: whether a larger score is the better one, as of an accuracy and not of an error.
        over_all: whether the statistic compares examples with each other. An evaluation then takes a data set
            whole, an epoch all its outputs; of a stream the training score is the mean over its windows.

    Example:
        >>> METRICS["accuracy"].statistic(jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([1, 1])).tolist()
        [1.0, 0.0]
    """

    statistic: Callable[..., Float[Array, "..."]]
    summary: Callable[[Float[Array, "..."], Float[Array, "K"] | None], Scalar]
    needs_variance: bool = False
    more_is_better: bool = True
    over_all: bool = False


def _require_same_shape(outputs: Outputs, targets: Targets) -> None:
    if targets.shape != outputs.shape:
        raise ArgumentError(
            f"this metric takes targets of shape {list(outputs.shape)} here, given {list(targets.shape)}"
        )


def _require_classes(outputs: Outputs, targets: Targets) -> None:
    if targets.shape != outputs.shape[:1]:
        _require_same_shape(outputs, targets)


def _right_class(outputs: Outputs, targets: Targets, threshold: float) -> Float[Array, "B"]:
    _require_classes(outputs, targets)
    if outputs.shape[1] == 1:
        # A single output stands for class 1 against class 0.
        classes = targets if targets.ndim == 1 else targets[:, 0]
        return ((outputs[:, 0] > threshold) == (classes.astype(outputs.dtype) > 0.5)).astype(outputs.dtype)
    # Soft or one-hot labels [B, K] name their largest class.
    labels = targets if targets.ndim == 1 else jnp.argmax(targets, axis=1)
    chosen = jnp.argmax(outputs, axis=1)
    return (chosen == labels.astype(chosen.dtype)).astype(outputs.dtype)


def _right_labels(outputs: Outputs, targets: Targets, threshold: float) -> Float[Array, "B"]:
    _require_same_shape(outputs, targets)
    right = (outputs > threshold) == (targets.astype(outputs.dtype) > 0.5)
    return jnp.mean(right.astype(outputs.dtype), axis=1)


def _classes_hit(outputs: Outputs, targets: Targets) -> Float[Array, "B C"]:
    """Mark each example's class among C, which are 2 for a single output; of targets [B, K], what exceeds ½."""
    _require_classes(outputs, targets)
    if targets.ndim == 2 and outputs.shape[1] > 1:
        return (targets.astype(outputs.dtype) > 0.5).astype(outputs.dtype)
    labels = targets.ravel().astype(jnp.int32)
    return jax.nn.one_hot(labels, max(2, outputs.shape[1]), dtype=outputs.dtype)


def _hits_by_class(outputs: Outputs, targets: Targets, threshold: float) -> Float[Array, "B 2C"]:
    is_right = _right_class(outputs, targets, threshold)
    one_hot = _classes_hit(
        outputs, targets if outputs.shape[1] == 1 or targets.ndim == 1 else targets.argmax(axis=1)
    )
    return jnp.concatenate([is_right[:, None] * one_hot, one_hot], axis=1)


def _mean_recall(mean: Float[Array, "2C"], variance: Float[Array, "K"] | None) -> Scalar:
    # Over the classes that occur
    hit, there = jnp.split(mean, 2)
    recall = jnp.where(there > 0, hit / jnp.where(there > 0, there, 1), 0)
    return jnp.sum(recall) / jnp.maximum(jnp.sum((there > 0).astype(mean.dtype)), 1)


def _log_loss(outputs: Outputs, targets: Targets, threshold: float) -> Float[Array, "B"]:
    _require_classes(outputs, targets)
    single = outputs.shape[1] == 1
    if threshold:  # probabilities: their logits are ln p, and ln p/(1 − p) of a single one
        tiny = jnp.finfo(outputs.dtype).tiny
        logs = jnp.log(jnp.maximum(outputs, tiny))
        outputs = logs - jnp.log(jnp.maximum(1 - outputs, tiny)) if single else logs
    if single and targets.ndim == 1:
        targets = targets[:, None]
    name = "sigmoid_cross_entropy" if single else "softmax_cross_entropy"
    return LOSSES[name].value(outputs, targets.astype(outputs.dtype) if targets.ndim == 2 else targets)


def _roc_auc(
    outputs: Outputs, targets: Targets, weight: Float[Array, "N"], threshold: float
) -> Float[Array, ""]:
    hits, classes = _classes_hit(outputs, targets), outputs.shape[1]
    if targets.ndim == 2 and classes > 1:  # label by label
        scores = outputs
    elif classes < 3:
        hits, scores = hits[:, 1:], outputs[:, -1:] - (0 if classes == 1 else outputs[:, :1])
    else:  # each class against the rest
        scores = outputs if threshold else jax.nn.softmax(outputs, axis=1)
    return jnp.nanmean(jax.vmap(_area, in_axes=(1, 1, None))(scores, hits, weight))


def _area(scores: Float[Array, "N"], hits: Float[Array, "N"], weight: Float[Array, "N"]) -> Float[Array, ""]:
    # Σ over pairs of one that is of the class and one that is not: 1 where it scores higher, ½ where both score alike
    order = jnp.argsort(scores)
    ranked, misses = scores[order], (weight * (1 - hits))[order]
    below = jnp.concatenate([jnp.zeros(1, misses.dtype), jnp.cumsum(misses)])
    sides = (below[jnp.searchsorted(ranked, scores, side=side)] for side in ("left", "right"))
    pairs = jnp.sum(weight * hits) * below[-1]
    return jnp.where(
        pairs > 0, 0.5 * jnp.sum(weight * hits * sum(sides)) / jnp.where(pairs > 0, pairs, 1), jnp.nan
    )


def _absolute_residual(outputs: Outputs, targets: Targets) -> Float[Array, "B"]:
    _require_same_shape(outputs, targets)
    return jnp.mean(jnp.abs(outputs - targets), axis=1)


def _root(mean: Float[Array, "K"], variance: Float[Array, "K"] | None) -> Scalar:
    return jnp.mean(jnp.sqrt(mean))


def _squared_residual(outputs: Outputs, targets: Targets) -> Float[Array, "B K"]:
    _require_same_shape(outputs, targets)
    return jnp.square(outputs - targets)


def _mean(mean: Float[Array, "..."], variance: Float[Array, "K"] | None) -> Scalar:
    return mean


def _share_explained(mean: Float[Array, "K"], variance: Float[Array, "K"] | None) -> Scalar:
    # R²_k = 1 − Σ r_k² / Σ (t_k − t̄_k)²; targets that do not vary give 1 if met exactly, else 0
    assert variance is not None  # Metric.needs_variance
    explained = 1 - mean / jnp.where(variance > 0, variance, 1)
    return jnp.mean(jnp.where(variance > 0, explained, (mean == 0).astype(mean.dtype)))


# Outputs are logits, which are split at 0, unless a threshold says otherwise: "label_accuracy:0.5" is for
# probabilities, and for outputs fitted to 0 and 1 themselves. Among several classes the largest output wins.
METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "r2": Metric(_squared_residual, _share_explained, needs_variance=True),
        "mae": Metric(_absolute_residual, _mean, more_is_better=False),
        "rmse": Metric(_squared_residual, _root, more_is_better=False),
    },
    {
        "accuracy": lambda threshold=0.0: Metric(partial(_right_class, threshold=threshold), _mean),
        "zero_one_loss": lambda threshold=0.0: Metric(
            lambda outputs, targets: 1 - _right_class(outputs, targets, threshold),
            _mean,
            more_is_better=False,
        ),
        "label_accuracy": lambda threshold=0.0: Metric(partial(_right_labels, threshold=threshold), _mean),
        "balanced_accuracy": lambda threshold=0.0: Metric(
            partial(_hits_by_class, threshold=threshold), _mean_recall
        ),
        "log_loss": lambda threshold=0.0: Metric(
            partial(_log_loss, threshold=threshold), _mean, more_is_better=False
        ),
        "roc_auc": lambda threshold=0.0: Metric(partial(_roc_auc, threshold=threshold), _mean, over_all=True),
    },
)


def resolve_metric(metric: str | None, loss: str | Loss, net: Network | None = None) -> str:
    """Name the metric to report: the given one, or the one that fits the loss; of a network, with its threshold."""
    fitting = {"values": "r2", "binary": "label_accuracy"}.get(resolve_loss(loss).targets, "accuracy")
    name = fitting if metric is None else metric
    METRICS[name]  # raises for an unknown name
    splits = name in ("label_accuracy", "log_loss", "roc_auc") or (
        name in ("accuracy", "zero_one_loss", "balanced_accuracy") and net and count_outputs(net) == 1
    )
    return f"{name}:0.5" if splits and net and class_threshold(net, loss) else name


def weighted_mean(values: Float[Array, "B ..."], weight: Float[Array, "B"] | None) -> Float[Array, "..."]:
    """Average over examples: Σ_b weight_b·values_b / Σ_b weight_b."""
    if weight is None:
        return jnp.mean(values, axis=0)
    total = jnp.sum(weight)
    # In full precision: a product that a GPU rounds to fewer bits would miscount.
    return jnp.tensordot(weight, values, axes=1, precision="highest") / jnp.where(total == 0, 1, total)


def target_variance(targets: Targets, weight: Float[Array, "N"] | None) -> Float[Array, "K"]:
    """Measure how much each target varies: the weighted mean of (t − t̄)²."""
    mean = weighted_mean(targets, weight)
    return weighted_mean(jnp.square(targets - mean[None, :]), weight)


def variance_for(metric: str, data: Batch) -> Float[Array, "K"] | None:
    """Measure the targets' variance where a metric's summary uses it."""
    return target_variance(data.targets, data.weight) if METRICS[metric].needs_variance else None


def score(name: str, outputs: Outputs, targets: Targets, weight: Float[Array, "B"] | None = None) -> Scalar:
    """Compute a metric of a batch."""
    batch = Batch(outputs, targets, weight)
    sums = batch_sums(jnp.zeros((), outputs.dtype), outputs, batch, name)
    return summarise(sums, name, variance_for(name, batch)).score


class BatchSums(NamedTuple):
    """Weighted sums over a batch, which add up over an epoch however it was cut into batches."""

    weight: Scalar  # Σ_b weight_b
    loss: Scalar  # Σ_b weight_b times the batch's objective
    statistic: Float[Array, "..."]  # Σ_b weight_b·statistic_b of the metric, [] or [K]


def batch_sums(value: Scalar, outputs: Outputs, batch: Batch, metric: str) -> BatchSums:
    """Sum a batch's objective and metric, weighted by its examples."""
    weight = jnp.ones(outputs.shape[0], outputs.dtype) if batch.weight is None else batch.weight
    total = jnp.sum(weight).astype(outputs.dtype)
    if METRICS[metric].over_all:
        found = METRICS[metric].statistic(outputs, batch.targets, weight.astype(outputs.dtype))
        return BatchSums(total, total * value, total * found)
    statistic = METRICS[metric].statistic(outputs, batch.targets)
    # In full precision: a product that a GPU rounds to fewer bits would miscount.
    statistics = jnp.tensordot(weight.astype(statistic.dtype), statistic, axes=1, precision="highest")
    return BatchSums(total, total * value, statistics)


def summarise(
    sums: BatchSums, metric: str, variance: Float[Array, "K"] | None, gradient_norm: Scalar | None = None
) -> Metrics:
    """Bring sums over a data set, and its targets' variance, to means over its examples."""
    divisor = jnp.where(sums.weight == 0, 1, sums.weight)
    score = METRICS[metric].summary(sums.statistic / divisor, variance)
    return Metrics(sums.loss / divisor, score, sums.weight, gradient_norm)


def accuracy(outputs: Outputs, targets: Targets, weight: Float[Array, "B"] | None = None) -> Scalar:
    """Compute the share of examples whose largest output is the right class.

    Args:
        outputs: logits or probabilities, [B, K]; a single output is a logit, split at 0.
        targets: labels [B], or one-hot [B, K].
        weight: [B], or None.

    Returns:
        A scalar in [0, 1].

    Raises:
        ArgumentError: the targets' shape is not one of these.

    Example:
        >>> float(accuracy(jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([1, 1])))
        0.5
    """
    return score("accuracy", outputs, targets, weight)


def zero_one_loss(outputs: Outputs, targets: Targets, weight: Float[Array, "B"] | None = None) -> Scalar:
    """Compute the share of examples whose largest output is a wrong class: 1 − accuracy.

    Args:
        outputs: logits or probabilities, [B, K]; a single output is a logit, split at 0.
        targets: labels [B], or one-hot [B, K].
        weight: [B], or None.

    Returns:
        A scalar in [0, 1].

    Raises:
        ArgumentError: the targets' shape is not one of these.

    Example:
        >>> float(zero_one_loss(jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([1, 1])))
        0.5
    """
    return score("zero_one_loss", outputs, targets, weight)


def r_squared(outputs: Outputs, targets: Outputs, weight: Float[Array, "B"] | None = None) -> Scalar:
    """Compute the coefficient of determination, 1 − Σ(f − t)² / Σ(t − t̄)², averaged over the outputs.

    Args:
        outputs: predictions, [B, K].
        targets: [B, K].
        weight: [B], or None.

    Returns:
        A scalar, at most 1.

    Raises:
        ArgumentError: the shapes differ.

    Example:
        >>> float(r_squared(jnp.array([[2.0], [2.0]]), jnp.array([[1.0], [3.0]])))
        0.0
    """
    return score("r2", outputs, targets, weight)


def confusion_matrix(predicted: Int[Array, "N"], labels: Int[Array, "N"], classes: int) -> Int[Array, "K K"]:
    """Count how often each class was taken for each other.

    Args:
        predicted: predicted classes, [N], in 0..K−1.
        labels: right classes, [N], in 0..K−1.
        classes: K.

    Returns:
        Counts [K, K]; rows are the right classes, columns the predicted ones.

    Raises:
        ArgumentError: predicted and labels differ in length.

    Example:
        >>> confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    if predicted.shape != labels.shape:
        raise ArgumentError(
            f"predictions and labels must have one shape, given {list(predicted.shape)} and {list(labels.shape)}"
        )
    return jnp.zeros((classes, classes), jnp.int32).at[labels, predicted].add(1)
