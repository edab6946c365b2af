"""Training: a step, and an epoch that is one compiled scan of steps; both are pure functions of a `TrainState`."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxmlp.backprop import L2, Gradient, Objective, objective_and_grads, traced_l2
from jaxmlp.checks import as_batch, check_lengths, check_size
from jaxmlp.losses import Loss
from jaxmlp.network import Network, init, layer_shapes
from jaxmlp.training.batching import minibatch_indices
from jaxmlp.training.evaluation import (
    BatchSums,
    Data,
    Transform,
    Weight,
    batch_sums,
    check_metric,
    gather,
    resolve_metric,
    summarise,
)
from jaxmlp.training.metrics import weighted_mean
from jaxmlp.training.optimizers import Optimizer, resolve_optimizer
from jaxmlp.training.parallel import keep_whole, share_rows
from jaxmlp.types import Batch, Key, Metrics, Params, Scalar

# The gradient's norm is averaged over so many steps or a few more, evenly spread, and not over every one of a
# longer epoch: to read each gradient once more takes 7 % of the time of 784-300-10 with minibatches of 32 on
# 2 CPU cores, 10 % with Adam.
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


def shuffle_key(state: TrainState) -> Key:
    """Derive the key that the order of the next epoch's examples is drawn from."""
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


def scan_steps(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    key: Key | None,
    *,
    loss: str | Loss,
    metric: str,
    batch_size: int,
    l2: L2,
    transform: Transform | None,
    gradient: Gradient = objective_and_grads,
    mesh: Mesh | None = None,
) -> tuple[TrainState, BatchSums, Scalar]:
    """Scan over the minibatches of some examples: an epoch's or a window's; plain, as `epoch_of_steps` is."""
    check_metric(metric, data.targets, layer_shapes(net)[-1].out_features)
    blocks = minibatch_indices(key, data.inputs.shape[0], batch_size)
    indices, held = share_rows(mesh, *blocks)
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
        carried = keep_whole(mesh, carried)
        norm = jax.lax.cond(
            is_measured, optax.tree.norm, lambda grads: jnp.zeros_like(found.value), found.grads
        )
        return carried, StepRecord(found.value, found.outputs, batch.weight, norm)

    state, record = jax.lax.scan(body, state, (indices, held, measured))
    # Measured once over the epoch, not in every step: a small step is mostly the starting of its parts.
    outputs = record.outputs.reshape(-1, record.outputs.shape[-1])
    targets, weight = data.targets[indices.ravel()], record.weight.ravel()
    # Each step's objective counts by the weight of its examples: the last minibatch may be shorter.
    value = weighted_mean(record.value, jnp.sum(record.weight, axis=1).astype(record.value.dtype))
    sums = batch_sums(value, outputs, targets, weight, metric)
    norm = jnp.sum(record.norm) / -(-steps // interval)
    return state, sums, norm


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
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """Scan one epoch; the plain function beneath `train_epoch`, for `vmap` and `shard_map`.

    Where the caller does not use the metrics, the compiler drops what they would cost.
    """
    key = shuffle_key(state) if shuffle else None
    state, sums, norm = scan_steps(
        net,
        optimizer,
        state,
        data,
        key,
        loss=loss,
        metric=metric,
        batch_size=batch_size,
        l2=l2,
        transform=transform,
        gradient=gradient,
        mesh=mesh,
    )
    return state._replace(epoch=state.epoch + 1), summarise(sums, data, metric, norm)


_jitted_epoch = partial(
    jax.jit,
    static_argnums=(0, 1),
    static_argnames=("loss", "metric", "batch_size", "shuffle", "transform", "mesh"),
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
    mesh: Mesh | None = None,
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
        mesh: devices that share each minibatch, see `data_parallel.batch_mesh`; None for one device (static).

    Returns:
        The next state, and the epoch's metrics as the steps were taken: loss and score over all examples,
        the gradient's norm over steps spread evenly (all of them up to 127). The outputs of the epoch
        are kept until it is over, which takes the memory of N·K numbers.

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
        mesh=mesh,
    )
