"""Training: a step, and an epoch that is one compiled scan of steps; both are pure functions of a `TrainState`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from jaxmlp.backprop import L2, Trace, kinds, objective_and_grads, training_keywords
from jaxmlp.checks import as_batch, check_key, check_lengths, traced_l2
from jaxmlp.losses import Loss
from jaxmlp.network import Network, check_head, check_network, init
from jaxmlp.training.batching import gather, minibatch_indices
from jaxmlp.training.metrics import (
    BatchSums,
    batch_sums,
    resolve_metric,
    summarise,
    variance_for,
    weighted_mean,
)
from jaxmlp.training.optimizers import Optimizer, resolve_optimizer, telling
from jaxmlp.training.parallel import keep_whole, share_rows
from jaxmlp.types import ArgumentError, Batch, Key, Metrics, Params, Scalar, check_whole

Data: TypeAlias = Batch | tuple[Any, Any]
Weight: TypeAlias = Float[Array, "N"]
Transform: TypeAlias = Callable[[Key, Float[Array, "B I"]], Float[Array, "B I"]]

# The gradient's norm is averaged over so many steps or a few more, evenly spread, and not over every one of a
# longer epoch: to read each gradient once more takes 7 % of the time of 784-300-10 with minibatches of 32 on
# 2 CPU cores, 10 % with Adam.
NORMS = 64


@dataclass(frozen=True)
class Recipe:
    """What is trained how; all of it is static, and recipes described alike are equal and compile once.

    Attributes:
        net: the network.
        optimizer: a name, `make_optimizer(...)` or any optax transformation.
        loss: a loss's name or pair.
        metric: a metric's name; None takes the one that fits the loss.
        batch_size: B; anything above the number of examples is taken as all of them.
        shuffle: a fresh order every epoch, or the given one.
        transform: a pure function (key, inputs [B, I]) -> inputs, applied to each minibatch.
        mesh: devices that share each minibatch, see `parallel.batch_mesh`; None for one device.
        horizon: the steps of the whole run, by which layers with a schedule are told how far it is; None tells
            them nothing.
    """

    net: Network
    optimizer: Any = "sgd"  # the transformation, once a recipe is made
    loss: str | Loss = "softmax_cross_entropy"
    metric: Any = None  # a name, once a recipe is made
    batch_size: int = 32
    shuffle: bool = True
    transform: Transform | None = None
    mesh: Mesh | None = None
    horizon: int | None = None

    def __post_init__(self) -> None:
        check_whole("batch size", self.batch_size)
        if self.horizon is not None:
            check_whole("horizon, the steps of the whole run,", self.horizon)
        check_network(self.net)
        if self.transform is not None and not callable(self.transform):
            raise ArgumentError(f"transform must be a function of key and inputs, given {self.transform!r}")
        object.__setattr__(self, "optimizer", resolve_optimizer(self.optimizer))
        object.__setattr__(self, "metric", resolve_metric(self.metric, self.loss, self.net))


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
    check_key(key)
    init_key, run_key = jax.random.split(key)
    params = init(net, init_key)
    with telling():
        opt_state = resolve_optimizer(optimizer).init(params)
    return TrainState(params, opt_state, run_key, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def all_finite(params: Params) -> Bool[Array, ""]:
    """Tell whether no parameter is NaN or infinite: what a run that diverged has not."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))


def measured_params(state: TrainState) -> Params:
    """Give the parameters to measure and to keep: the moving average where the optimiser has one."""
    return optax.tree.get(state.opt_state, "averaged", state.params)


def shuffle_key(state: TrainState) -> Key:
    """Derive the key that the order of the next epoch's examples is drawn from."""
    return jax.random.fold_in(jax.random.fold_in(state.key, 0), state.epoch)


def _step_keys(state: TrainState) -> tuple[Key, Key]:
    """Draw the keys of the next step: for the transform and for the layers."""
    transform_key, layer_key = jax.random.split(
        jax.random.fold_in(jax.random.fold_in(state.key, 1), state.step)
    )
    return transform_key, layer_key


def step(
    recipe: Recipe, state: TrainState, batch: Batch, l2: L2, total: Scalar | None = None
) -> tuple[TrainState, Trace]:
    """Take one step; plain, as all down to `epoch_of_steps`, to be shared by a step, an epoch and a sweep."""
    check_head(recipe.net, recipe.loss)
    transform_key, layer_key = _step_keys(state)
    if recipe.transform is not None:
        batch = batch._replace(inputs=recipe.transform(transform_key, batch.inputs))
    progress = None if recipe.horizon is None else jnp.minimum(state.step / recipe.horizon, 1)
    how = training_keywords(True, layer_key, progress)
    found = objective_and_grads(recipe.net, state.params, batch, loss=recipe.loss, l2=l2, total=total, **how)
    with telling():
        update = optax.with_extra_args_support(recipe.optimizer).update
        known = {"value": found.value, "kinds": kinds(recipe.net, state.params)}
        updates, opt_state = update(found.grads, state.opt_state, state.params, **known)
    params = optax.apply_updates(state.params, updates)
    return state._replace(params=params, opt_state=opt_state, step=state.step + 1), found


def measured_step(recipe: Recipe, state: TrainState, batch: Batch, l2: L2) -> tuple[TrainState, Metrics]:
    """Take one step and measure its batch before it; the plain function beneath `train_step`."""
    state, found = step(recipe, state, batch, l2)
    sums = batch_sums(found.value, found.outputs, batch, recipe.metric)
    variance = variance_for(recipe.metric, batch)
    return state, summarise(sums, recipe.metric, variance, optax.tree.norm(found.grads))


def scan_steps(
    recipe: Recipe, state: TrainState, data: Batch, key: Key | None, l2: L2, mean_weight: Scalar | None
) -> tuple[TrainState, BatchSums, Scalar]:
    """Scan over the minibatches of some examples: an epoch's or a window's, shuffled where a key is given."""
    blocks = minibatch_indices(key, data.inputs.shape[0], recipe.batch_size)
    indices, held = share_rows(recipe.mesh, *blocks)
    steps = indices.shape[0]
    interval = max(1, steps // NORMS)
    measured = jnp.arange(steps) % interval == 0

    def body(carried: TrainState, block: tuple[Any, Any, Any]) -> tuple[TrainState, tuple[Any, ...]]:
        chosen, there, is_measured = block
        # Gathering here, and not the whole epoch before, is faster on a CPU and is not copied by vmap.
        batch = gather(data, chosen, there)
        # Weights count as multiples of their mean over the data set, a minibatch as its number of examples.
        total = None if mean_weight is None else jnp.sum(there).astype(mean_weight.dtype) * mean_weight
        carried, found = step(recipe, carried, batch, l2, total)
        norm = jax.lax.cond(
            is_measured, optax.tree.norm, lambda grads: jnp.zeros_like(found.value), found.grads
        )
        return keep_whole(recipe.mesh, carried), (found.value, found.outputs, batch.weight, norm, total)

    state, (values, outputs, weight, norms, totals) = jax.lax.scan(body, state, (indices, held, measured))
    # Measured once over the epoch, not in every step: a small step is mostly the starting of its parts.
    seen = Batch(data.inputs, data.targets[indices.ravel()], weight.ravel())
    # Each step's objective counts by what it was divided by: the last minibatch may be shorter.
    divided = (jnp.sum(weight, axis=1) if totals is None else totals).astype(values.dtype)
    value = weighted_mean(values, divided)
    sums = batch_sums(value, outputs.reshape(-1, outputs.shape[-1]), seen, recipe.metric)
    if totals is not None:
        sums = sums._replace(loss=jnp.sum(divided) * value)
    return state, sums, jnp.sum(norms) / -(-steps // interval)


def epoch_of_steps(
    recipe: Recipe, state: TrainState, data: Batch, l2: L2 = None
) -> tuple[TrainState, Metrics]:
    """Scan one epoch; the plain function beneath `train_epoch`, for `vmap` and `shard_map`.

    Where the caller does not use the metrics, the compiler drops what they would cost.
    """
    recipe = replace(recipe, batch_size=min(recipe.batch_size, data.inputs.shape[0]))
    key = shuffle_key(state) if recipe.shuffle else None
    mean_weight = None if data.weight is None else jnp.mean(data.weight)
    state, sums, norm = scan_steps(recipe, state, data, key, l2, mean_weight)
    metrics = summarise(sums, recipe.metric, variance_for(recipe.metric, data), norm)
    return state._replace(epoch=state.epoch + 1), metrics


jitted_step = partial(jax.jit, static_argnums=0)(measured_step)
jitted_epoch = partial(jax.jit, static_argnums=0)(epoch_of_steps)


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
    horizon: int | None = None,
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
        horizon: the steps of the whole run, for layers with a schedule; None for none (static).

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
    recipe = Recipe(net, optimizer, loss, metric, transform=transform, horizon=horizon)
    return jitted_step(recipe, state, as_batch(batch, sample_weight), traced_l2(l2))


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
    horizon: int | None = None,
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
        sample_weight: [N], as multiples of their mean; a minibatch divides by its number of examples. None for none.
        transform: a pure function (key, inputs [B, I]) -> inputs, applied to each minibatch (static).
        mesh: devices that share each minibatch, see `parallel.batch_mesh`; None for one device (static).
        horizon: the steps of the whole run, for layers with a schedule; None for none (static).

    Returns:
        The next state, and the epoch's metrics as the steps were taken: loss and score over all examples,
        the gradient's norm over steps spread evenly (all of them up to 127). A label outside
        0..K−1 makes the loss NaN: only `fit` and `evaluate` read the values first. The outputs of the epoch
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
    recipe = Recipe(net, optimizer, loss, metric, batch_size, shuffle, transform, mesh, horizon)
    batch = as_batch(data, sample_weight)
    check_lengths(batch)
    return jitted_epoch(recipe, state, batch, traced_l2(l2))
