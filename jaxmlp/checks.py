"""Checks of a data set's values before a run: a wrong label stops it, not a strange loss."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp.losses import Loss, resolve_loss
from jaxmlp.types import L2, ArgumentError, Batch

COUNTED_LABELS = ("labels", "soft_labels")


def as_batch(data: Any, sample_weight: Any = None, name: str = "data") -> Batch:
    """Take a data set as a `Batch` or a pair of inputs and targets, of whatever NumPy takes for an array."""
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        kind = type(data).__name__
        raise ArgumentError(f"{name} must be a pair (inputs, targets) or a Batch, given {kind}")
    features, targets = as_array(data[0], f"{name}: features"), as_array(data[1], f"{name}: targets")
    given = [each for each in (*data[2:], sample_weight) if each is not None]
    weights = [as_array(each, f"{name}: sample weights") for each in given]
    if len({np.shape(each) for each in weights}) > 1:
        raise ArgumentError(f"{name}: sample weights of Batch and call differ in shape: give N each")
    weights = [each if each.dtype.kind == "f" else each.astype(float) for each in weights]
    return Batch(features, targets, math.prod(weights[1:], start=weights[0]) if weights else None)


def as_array(given: Any, name: str) -> Any:
    """Take what NumPy takes for an array of numbers; whole numbers that JAX would wrap around become floats."""
    if isinstance(given, jax.Array):
        return given
    if hasattr(given, "toarray"):
        raise ArgumentError(f"{name} must be dense, given {type(given).__name__}: give its .toarray()")
    try:
        array = np.asarray(given)
        array = np.asarray(array.tolist()) if array.dtype == object else array
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentError(f"{name} must be an array of numbers: {str(error).splitlines()[0]}") from None
    if not (array.dtype.kind in "biuf" or jnp.issubdtype(array.dtype, jnp.floating)):
        found = f"type {array.dtype}; encode them first" if array.ndim else type(given).__name__
        raise ArgumentError(f"{name} must be numbers, given {found}")
    if array.dtype.kind in "iu" and array.size:
        held = np.iinfo(jax.dtypes.canonicalize_dtype(array.dtype))
        if array.dtype != held.dtype and not held.min <= array.min() <= array.max() <= held.max:
            return array.astype(float)
    return array


def check_key(key: Any) -> None:
    """Raise an ArgumentError unless what is given is one random key, of JAX's new kind or its old one."""
    kind, axes = getattr(key, "dtype", None), np.ndim(key)
    fits = kind == np.uint32 and axes == 1
    if not fits and (kind is None or axes or not jnp.issubdtype(kind, jax.dtypes.prng_key)):
        raise ArgumentError(f"key must be one random key, given {type(key).__name__}: give jax.random.key(0)")


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
    check_finite(inputs, "feature(s)", name)
    _check_targets(targets, outputs, resolve_loss(loss), name)
    if data.weight is not None:
        _check_weight(np.asarray(data.weight), name)


def check_finite(array: np.ndarray, what: str, name: str) -> None:
    """Refuse what is NaN or infinite, or becomes so in the type in which JAX computes."""
    if array.dtype.kind in "biu":
        return
    held = jnp.finfo(jax.dtypes.canonicalize_dtype(array.dtype))
    if not (-float(held.max) <= array.min() and array.max() <= float(held.max)):
        count = int(np.sum(~(np.abs(array) <= float(held.max))))
        raise ArgumentError(
            f"{name}: {count} {what} are NaN or infinite in {held.dtype}: remove or fill them"
        )


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
    check_finite(targets, "target(s)", name)
    sums = np.sum(targets, axis=1, dtype=float)
    if soft and (targets.min() < 0 or np.max(np.abs(sums - 1)) > 1e-3):
        raise ArgumentError(
            f"{name}: this loss takes labels, or probabilities of at least 0 whose rows sum to 1, given "
            f"{targets.min():g} to {targets.max():g}, sums {sums.min():g} to {sums.max():g}: divide by the sums"
        )
    if loss.takes == "rates" and targets.min() < 0:
        raise ArgumentError(f"{name}: this loss takes counts of at least 0, given {targets.min():g}")
    if loss.targets == "binary" and not np.all((targets >= 0) & (targets <= 1)):
        raise ArgumentError(
            f"{name}: this loss takes targets from 0 to 1, given {targets.min():g} to {targets.max():g}"
        )


def _check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    if labels.ndim != 1:
        raise ArgumentError(
            f"{name}: this loss takes integer labels of shape [N], given {list(labels.shape)}"
        )
    # Whole numbers beyond int32 have become floats, and are refused by their range below.
    if labels.dtype.kind not in "iu" and not (labels.dtype.kind == "f" and np.max(np.abs(labels)) >= 2**31):
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
    held, total = jnp.finfo(jax.dtypes.canonicalize_dtype(float)), np.sum(weight, dtype=float)
    if not total <= held.max or np.any(weight < 0):
        raise ArgumentError(f"{name}: sample weights must be finite and at least 0, and so must their sum")
    if total < held.tiny:
        raise ArgumentError(f"{name}: all sample weights are 0; give at least one example a weight")


def traced_l2(l2: L2) -> L2:
    """Turn a plain 0 into None, to leave L2 out of the program."""
    if not (isinstance(l2, jax.Array | None) or (isinstance(l2, float | int | np.number) and l2 >= 0)):
        raise ArgumentError(f"l2 must be a number of at least 0, given {l2!r}")
    return None if isinstance(l2, int | float) and l2 == 0 else l2
