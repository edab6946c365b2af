"""Training: a step, an epoch that is one compiled scan of steps, and a fit that is a loop of epochs.

A step and an epoch are pure functions of a `TrainState`; the clock and the callback are in `fit` alone.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxmlp.backprop import L2, Objective, decayed, objective_and_grads, traced_l2
from jaxmlp.batching import minibatch_indices
from jaxmlp.checks import as_batch, check_data, check_lengths, check_size
from jaxmlp.errors import ArgumentError
from jaxmlp.evaluation import (
    Data,
    Transform,
    Weight,
    batch_sums,
    check_metric,
    evaluate,
    gather,
    resolve_metric,
    summarise,
)
from jaxmlp.losses import Loss
from jaxmlp.network import Network, init, layer_shapes
from jaxmlp.optimizers import Optimizer, resolve_optimizer
from jaxmlp.reports import EpochReport, Metrics
from jaxmlp.types import Batch, Key, Params, Scalar

# The gradient's norm is averaged over at least this many steps, evenly spread, and not over every one:
# reading a gradient once more took 7 % of an epoch of 784-300-10, 10 % with Adam.
NORMS = 64


class TrainState(NamedTuple):
    """All that training carries from step to step.

    Attributes:
        params: the network's parameters.
        opt_state: the optimiser's state, its rates among it.
        key: the random key of the run; it stays, and what is drawn follows from it, the step and the epoch.
        step: steps done.
        epoch: epochs done.
    """

    params: Params
    opt_state: Any
    key: Key
    step: Int[Array, ""]
    epoch: Int[Array, ""]


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


class StepRecord(NamedTuple):
    """What an epoch keeps of each of its steps, to be measured when it is over.

    Attributes:
        value: the minibatch's objective, [S].
        outputs: the network's outputs before the step, [S, B, K].
        weight: the examples' weights, 0 where a place holds none, [S, B].
        norm: ‖∂E/∂params‖₂, 0 in steps where it was not taken, [S].
    """

    value: Float[Array, "S"]
    outputs: Float[Array, "S B K"]
    weight: Float[Array, "S B"]
    norm: Float[Array, "S"]


Gradient: TypeAlias = Callable[..., Objective]
Callback: TypeAlias = Callable[[EpochReport, TrainState], bool | None]


def init_state(net: Network, optimizer: Optimizer, key: Key) -> TrainState:
    """Draw parameters and set up the optimiser's state.

    Args:
        net: the network.
        optimizer: an optimiser's name, `make_optimizer(...)` or any optax transformation.
        key: random key; parameters and everything drawn later follow from it.

    Returns:
        The state before the first step.

    Raises:
        ArgumentError: the optimiser is not known.

    Example:
        >>> from jaxmlp.network import mlp
        >>> int(init_state(mlp([2, 3, 2]), "adam", jax.random.key(0)).step)
        0
    """
    init_key, run_key = jax.random.split(key)
    params = init(net, init_key)
    opt_state = resolve_optimizer(optimizer).init(params)
    return TrainState(params, opt_state, run_key, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def _shuffle_key(state: TrainState) -> Key:
    return jax.random.fold_in(jax.random.fold_in(state.key, 0), state.epoch)


def _step_keys(state: TrainState) -> tuple[Key, Key]:
    """Draw the keys of the next step: for the transform and for the layers."""
    transform_key, layer_key = jax.random.split(
        jax.random.fold_in(jax.random.fold_in(state.key, 1), state.step)
    )
    return transform_key, layer_key


def _step(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    loss: str | Loss,
    l2: L2,
    transform: Transform | None,
    gradient: Gradient = objective_and_grads,
) -> tuple[TrainState, Objective]:
    """Take one step; plain, so that a step, an epoch and a sweep of many share it."""
    transform_key, layer_key = _step_keys(state)
    inputs = batch.inputs if transform is None else transform(transform_key, batch.inputs)
    found = gradient(
        net,
        state.params,
        inputs,
        batch.targets,
        loss=loss,
        sample_weight=batch.weight,
        l2=l2,
        train=True,
        key=layer_key,
    )
    # Optax mixes integers and floats inside, which a program may have forbidden for its own code.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = optimizer.update(found.grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state._replace(params=params, opt_state=opt_state, step=state.step + 1), found


@partial(jax.jit, static_argnums=(0, 1), static_argnames=("loss", "metric", "transform"))
def _jitted_step(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    loss: str | Loss,
    metric: str,
    l2: L2,
    transform: Transform | None,
) -> tuple[TrainState, Metrics]:
    state, found = _step(net, optimizer, state, batch, loss=loss, l2=l2, transform=transform)
    sums = batch_sums(found.value, found.outputs, batch.targets, batch.weight, metric)
    return state, summarise(sums, batch, metric, optax.tree.norm(found.grads))


def train_step(
    net: Network,
    optimizer: Optimizer,
    state: TrainState,
    batch: Data,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    metric: str | None = None,
    l2: L2 = 0.0,
    sample_weight: Weight | None = None,
    transform: Transform | None = None,
) -> tuple[TrainState, Metrics]:
    """Take one step of the optimiser along the hand-written gradient of one batch.

    Args:
        net: the network (static).
        optimizer: an optimiser's name, `make_optimizer(...)` or any optax transformation (static).
        state: where training stands.
        batch: Batch or (inputs [B, I], targets).
        loss: a loss's name or pair (static).
        metric: a metric's name; None takes the one that fits the loss (static).
        l2: strength of the penalty on weights.
        sample_weight: [B], or None.
        transform: a pure function (key, inputs [B, I]) -> inputs, applied to the batch (static).

    Returns:
        The next state, and the metrics of this batch before the step.

    Raises:
        ArgumentError: shapes that do not fit, or an unknown name.

    Example:
        >>> from jaxmlp.network import mlp
        >>> net = mlp([2, 3, 2])
        >>> state = init_state(net, "sgd", jax.random.key(0))
        >>> state, metrics = train_step(net, "sgd", state, (jnp.ones((4, 2)), jnp.array([0, 1, 1, 0])))
        >>> int(state.step)
        1
    """
    return _jitted_step(
        net,
        resolve_optimizer(optimizer),
        state,
        as_batch(batch, sample_weight),
        loss=loss,
        metric=resolve_metric(metric, loss),
        l2=traced_l2(l2),
        transform=transform,
    )


def epoch_of_steps(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    *,
    loss: str | Loss,
    metric: str,
    batch_size: int,
    shuffle: bool,
    l2: L2,
    transform: Transform | None,
    gradient: Gradient = objective_and_grads,
) -> tuple[TrainState, Metrics]:
    """Scan one epoch; the plain function beneath `train_epoch`, for `vmap` and `shard_map`.

    `gradient` stands for the hand-written one where another is to be compared with it.
    """
    check_metric(metric, data.targets, layer_shapes(net)[-1].out_features)
    key = _shuffle_key(state) if shuffle else None
    indices, held = minibatch_indices(key, data.inputs.shape[0], batch_size)
    steps = indices.shape[0]
    interval = max(1, steps // NORMS)
    measured = jnp.arange(steps) % interval == 0

    def body(carried: TrainState, block: tuple[Any, Any, Any]) -> tuple[TrainState, StepRecord]:
        chosen, there, is_measured = block
        # Gathering here, and not the whole epoch before, is faster on a CPU and is not copied by vmap.
        batch = gather(data, chosen, there)
        assert batch.weight is not None  # gather gives one
        carried, found = _step(
            net, optimizer, carried, batch, loss=loss, l2=l2, transform=transform, gradient=gradient
        )
        norm = jax.lax.cond(
            is_measured, optax.tree.norm, lambda grads: jnp.zeros_like(found.value), found.grads
        )
        return carried, StepRecord(found.value, found.outputs, batch.weight, norm)

    state, record = jax.lax.scan(body, state, (indices, held, measured))
    # Measured once over the epoch, not in every step: a small step is mostly the starting of its parts.
    outputs = record.outputs.reshape(-1, record.outputs.shape[-1])
    targets, weight = data.targets[indices.ravel()], record.weight.ravel()
    sums = batch_sums(_mean_value(record), outputs, targets, weight, metric)
    norm = jnp.sum(record.norm) / -(-steps // interval)
    return state._replace(epoch=state.epoch + 1), summarise(sums, data, metric, norm)


def _mean_value(record: StepRecord) -> Scalar:
    # Each step's objective counts by the weight of its examples: the last minibatch may be shorter.
    weight = jnp.sum(record.weight, axis=1).astype(record.value.dtype)
    total = jnp.sum(weight)
    return jnp.sum(weight * record.value) / jnp.where(total == 0, 1, total)


_jitted_epoch = partial(
    jax.jit,
    static_argnums=(0, 1),
    static_argnames=("loss", "metric", "batch_size", "shuffle", "transform"),
)(epoch_of_steps)


def train_epoch(
    net: Network,
    optimizer: Optimizer,
    state: TrainState,
    data: Data,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    batch_size: int,
    shuffle: bool = True,
    metric: str | None = None,
    l2: L2 = 0.0,
    sample_weight: Weight | None = None,
    transform: Transform | None = None,
) -> tuple[TrainState, Metrics]:
    """Train one epoch: one compiled `lax.scan` over minibatches, every example seen exactly once.

    Args:
        net: the network (static).
        optimizer: an optimiser's name, `make_optimizer(...)` or any optax transformation (static).
        state: where training stands.
        data: Batch or (inputs [N, I], targets); the last, shorter minibatch is filled with rows of weight 0.
        loss: a loss's name or pair (static).
        batch_size: B, at least 1; N for full-batch training (static).
        shuffle: a fresh permutation every epoch, or the given order (static).
        metric: a metric's name; None takes the one that fits the loss (static).
        l2: strength of the penalty on weights.
        sample_weight: [N], or None.
        transform: a pure function (key, inputs [B, I]) -> inputs, applied to each minibatch (static).

    Returns:
        The next state, and the epoch's metrics, averaged over the steps as they were taken.

    Raises:
        ArgumentError: shapes or lengths that do not fit, an empty set, a batch size below 1, or an
            unknown name.

    Example:
        >>> from jaxmlp.network import mlp
        >>> net = mlp([2, 3, 2])
        >>> data = (jnp.ones((5, 2)), jnp.array([0, 1, 1, 0, 1]))
        >>> state = init_state(net, "sgd", jax.random.key(0))
        >>> state, metrics = train_epoch(net, "sgd", state, data, batch_size=2)
        >>> int(state.step), float(metrics.weight)
        (3, 5.0)
    """
    check_size("batch size", batch_size)
    batch = as_batch(data, sample_weight)
    check_lengths(batch)
    return _jitted_epoch(
        net,
        resolve_optimizer(optimizer),
        state,
        batch,
        loss=loss,
        metric=resolve_metric(metric, loss),
        batch_size=int(batch_size),
        shuffle=shuffle,
        l2=traced_l2(l2),
        transform=transform,
    )


@partial(jax.jit, static_argnums=0)
def _survey(net: Network, params: Params) -> tuple[Bool[Array, ""], list[Float[Array, ""]]]:
    """Tell whether all parameters are finite, and each layer's largest |w|."""
    finite = jnp.array(True)
    for leaf in jax.tree.leaves(params):
        finite &= jnp.all(jnp.isfinite(leaf))
    largest = []
    for layer_params, marks in zip(params, decayed(net, params), strict=True):
        leaves = zip(jax.tree.leaves(layer_params), jax.tree.leaves(marks), strict=True)
        weights = [jnp.max(jnp.abs(leaf)) for leaf, marked in leaves if marked]
        if weights:
            largest.append(jnp.max(jnp.stack(weights)))
    return finite, largest


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
