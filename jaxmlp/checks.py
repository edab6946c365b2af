"""Checks of a data set's values before a run: a wrong label stops it, not a strange loss."""

from typing import Any

import numpy as np

from jaxmlp.losses import Loss, resolve_loss
from jaxmlp.types import ArgumentError, Batch

COUNTED_LABELS = ("labels", "soft_labels")


def as_batch(data: Any, sample_weight: Any = None) -> Batch:
    """Take a data set as a `Batch` or a pair of inputs and targets."""
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise ArgumentError(f"data must be a pair (inputs, targets) or a Batch, given {type(data).__name__}")
    batch = Batch(*map(_as_array, data))
    if sample_weight is None:
        return batch
    weight = _as_array(sample_weight)
    return batch._replace(weight=weight if batch.weight is None else batch.weight * weight)


def _as_array(given: Any) -> Any:
    # Lists become arrays; whatever has a shape already, a traced array too, stays as it is.
    return given if given is None or hasattr(given, "shape") else np.asarray(given)


def check_lengths(data: Batch, name: str = "data") -> None:
    """Raise an ArgumentError unless a data set has examples, and as many targets and weights as inputs.

    It reads only shapes, and so serves traced arrays too. Picking minibatches would not notice:
    JAX reads the last element in place of one that is not there.
    """
    examples, targets = len(data.inputs), np.shape(data.targets)[:1]
    if examples == 0:
        raise ArgumentError(f"{name}: the set is empty; give at least one example")
    if targets != (examples,):
        found = targets[0] if targets else "a single number"
        raise ArgumentError(
            f"{name}: as many targets as inputs are needed, given {found} for {examples} inputs"
        )
    if data.weight is not None and np.shape(data.weight) != (examples,):
        raise ArgumentError(
            f"{name}: sample weights must have shape [{examples}], given {list(np.shape(data.weight))}"
        )


def check_data(data: Batch, *, in_features: int, outputs: int, loss: str | Loss, name: str = "data") -> None:
    """Raise an ArgumentError unless a data set fits a network and a loss, in shape and in value."""
    inputs, targets = np.asarray(data.inputs), np.asarray(data.targets)
    if inputs.ndim != 2 or inputs.shape[1] != in_features:
        raise ArgumentError(
            f"{name}: inputs must have shape [N, {in_features}] for this network, given {list(inputs.shape)}"
        )
    check_lengths(data, name)
    if inputs.dtype.kind in "OSU":
        raise ArgumentError(f"{name}: features must be numbers, given type {inputs.dtype}; encode them first")
    if not np.all(np.isfinite(inputs)):
        count = int(np.sum(~np.isfinite(inputs)))
        raise ArgumentError(f"{name}: {count} feature(s) are NaN or infinite; remove or fill them first")
    _check_targets(targets, outputs, resolve_loss(loss), name)
    if data.weight is not None:
        _check_weight(np.asarray(data.weight), name)


def _check_targets(targets: np.ndarray, outputs: int, loss: Loss, name: str) -> None:
    soft = loss.targets == "soft_labels" and targets.ndim == 2
    if loss.targets in COUNTED_LABELS and not soft:
        _check_labels(targets, outputs, name)
        return
    if targets.shape[1:] != (outputs,):
        raise ArgumentError(
            f"{name}: this loss takes targets of shape [N, {outputs}], as the network's outputs, "
            f"given {list(targets.shape)}"
        )
    if not np.all(np.isfinite(targets)):
        raise ArgumentError(f"{name}: some targets are NaN or infinite; remove or fill them first")
    if loss.targets == "binary" and not np.all((targets >= 0) & (targets <= 1)):
        raise ArgumentError(
            f"{name}: this loss takes targets from 0 to 1, given {targets.min():g} to {targets.max():g}"
        )


def _check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    if labels.ndim != 1:
        raise ArgumentError(
            f"{name}: this loss takes integer labels of shape [N], given {list(labels.shape)}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ArgumentError(
            f"{name}: this loss takes integer labels 0 to {classes - 1}, given type {labels.dtype}; "
            "make them integers, or choose a loss for values such as squared_error"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ArgumentError(
            f"{name}: labels must lie in 0 to {classes - 1} for {classes} outputs, "
            f"given {labels.min()} to {labels.max()}"
        )


def _check_weight(weight: np.ndarray, name: str) -> None:
    if not np.all(np.isfinite(weight)) or np.any(weight < 0):
        raise ArgumentError(f"{name}: sample weights must be finite and at least 0")
    if not np.any(weight > 0):
        raise ArgumentError(f"{name}: all sample weights are 0; give at least one example a weight")
