"""Fitting: a loop of epochs with a clock, a history and a callback, all of which training itself is free of."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxmlp.backprop import L2, decayed
from jaxmlp.checks import as_batch, check_data, check_size
from jaxmlp.errors import ArgumentError
from jaxmlp.evaluation import Data, Transform, Weight, all_finite, evaluate, resolve_metric
from jaxmlp.losses import Loss
from jaxmlp.network import Network, layer_shapes
from jaxmlp.optimizers import Optimizer
from jaxmlp.reports import EpochReport
from jaxmlp.training import TrainState, init_state, train_epoch
from jaxmlp.types import Batch, Key, Params


class FitResult(NamedTuple):
    """What a fit leaves.

    Attributes:
        state: the last state whose loss and parameters were finite.
        history: one EpochReport an epoch; the last one is not finite where the run diverged.
        metric: the name of the score.
        stopped: None after all epochs, "callback" or "diverged".
    """

    state: TrainState
    history: tuple[EpochReport, ...]
    metric: str
    stopped: str | None


Callback: TypeAlias = Callable[[EpochReport, TrainState], bool | None]


@partial(jax.jit, static_argnums=0)
def _survey(net: Network, params: Params) -> tuple[Bool[Array, ""], list[Float[Array, ""]]]:
    """Tell whether all parameters are finite, and each layer's largest |w|."""
    largest = []
    for layer_params, marks in zip(params, decayed(net, params), strict=True):
        leaves = zip(jax.tree.leaves(layer_params), jax.tree.leaves(marks), strict=True)
        weights = [jnp.max(jnp.abs(leaf)) for leaf, marked in leaves if marked]
        if weights:
            largest.append(jnp.max(jnp.stack(weights)))
    return all_finite(params), largest


def fit(
    net: Network,
    train: Data,
    valid: Data | None = None,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    optimizer: Optimizer,
    batch_size: int,
    epochs: int,
    key: Key | None = None,
    state: TrainState | None = None,
    callback: Callback | None = None,
    shuffle: bool = True,
    metric: str | None = None,
    l2: L2 = 0.0,
    sample_weight: Weight | None = None,
    transform: Transform | None = None,
) -> FitResult:
    """Train a network for some epochs and keep a history.

    A loss or parameter that becomes NaN or infinite ends the run; the state before that epoch is returned.

    Args:
        net: the network.
        train: Batch or (inputs [N, I], targets).
        valid: the same for validation, measured after every epoch; None for none.
        loss: a loss's name or pair.
        optimizer: an optimiser's name, `make_optimizer(...)` or any optax transformation.
        batch_size: B; N for full-batch training, and anything above N is taken as N.
        epochs: how many epochs to train now.
        key: random key; not needed where `state` is given.
        state: where to go on from, with the learning rate that it holds; None starts anew. It is not altered.
        callback: called after every epoch with its report and the state; returning True stops.
        shuffle: a fresh permutation every epoch, or the given order.
        metric: a metric's name; None takes the one that fits the loss.
        l2: strength of the penalty on weights.
        sample_weight: [N] for the training examples, or None.
        transform: a pure function (key, inputs [B, I]) -> inputs, applied to each training minibatch.

    Returns:
        The last finite state, the history, the metric's name, and why it stopped early, if so.

    Raises:
        ArgumentError: data that do not fit the network or the loss (see `check_data`), sizes below 1,
            an unknown name, or neither key nor state.

    Example:
        >>> from jaxmlp.network import mlp
        >>> import numpy as np
        >>> inputs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32)
        >>> labels = np.array([0, 1, 1, 0])
        >>> result = fit(mlp([2, 8, 2], activation="tanh"), (inputs, labels), optimizer="adam",
        ...              batch_size=4, epochs=2, key=jax.random.key(0))
        >>> len(result.history), result.metric
        (2, 'accuracy')
    """
    check_size("batch size", batch_size)
    check_size("number of epochs", epochs)
    if state is None:
        if key is None:
            raise ArgumentError(
                "fit needs a random key to start from, or a state to go on from: give key=jax.random.key(0)"
            )
        state = init_state(net, optimizer, key)
    train_data = _on_device(net, as_batch(train, sample_weight), loss, "training data")
    valid_data = None if valid is None else _on_device(net, as_batch(valid), loss, "validation data")
    metric = resolve_metric(metric, loss)
    examples = len(train_data.inputs)
    history: list[EpochReport] = []
    for _ in range(epochs):
        started = time.perf_counter()
        # Not donated: the state before the epoch must outlive it in case the epoch diverges.
        next_state, metrics = train_epoch(
            net,
            optimizer,
            state,
            train_data,
            loss=loss,
            batch_size=min(batch_size, examples),
            shuffle=shuffle,
            metric=metric,
            l2=l2,
            transform=transform,
        )
        finite, max_weight = _survey(net, next_state.params)
        finite = bool(finite) and math.isfinite(metrics.loss)
        seconds = time.perf_counter() - started
        measured = None
        if valid_data is not None:
            measured = evaluate(net, next_state.params, valid_data, loss=loss, metric=metric, l2=l2)
        report = EpochReport(
            epoch=int(next_state.epoch),
            train_loss=float(metrics.loss),
            train_score=float(metrics.score),
            valid_loss=None if measured is None else float(measured.loss),
            valid_score=None if measured is None else float(measured.score),
            gradient_norm=float(np.asarray(metrics.gradient_norm)),
            max_weight=tuple(float(largest) for largest in max_weight),
            seconds=seconds,
            examples_per_second=examples / seconds,
        )
        history.append(report)
        if not finite:
            return FitResult(state, tuple(history), metric, "diverged")
        state = next_state
        if callback is not None and callback(report, state):
            return FitResult(state, tuple(history), metric, "callback")
    return FitResult(state, tuple(history), metric, None)


def _on_device(net: Network, data: Batch, loss: str | Loss, name: str) -> Batch:
    # Checked once here, and brought to the device once, not every epoch.
    check_data(
        data, in_features=net.in_features, outputs=layer_shapes(net)[-1].out_features, loss=loss, name=name
    )
    return jax.device_put(data)
