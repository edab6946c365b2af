"""Evaluation: how good a network is on a data set, by sums that add up however the set is cut into chunks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Num

from jaxmlp.backprop import L2, l2_term, mean_loss, traced_l2
from jaxmlp.checks import as_batch, check_lengths, check_size
from jaxmlp.losses import Loss, resolve_loss
from jaxmlp.network import Network, propagate
from jaxmlp.training.batching import minibatch_indices
from jaxmlp.training.metrics import METRICS, default_metric, target_variance
from jaxmlp.training.parallel import share_rows
from jaxmlp.types import ArgumentError, Batch, Key, Metrics, Params, Scalar

Data: TypeAlias = Batch | tuple[Any, Any]
Weight: TypeAlias = Float[Array, "N"]
Transform: TypeAlias = Callable[[Key, Float[Array, "B I"]], Float[Array, "B I"]]


class BatchSums(NamedTuple):
    """Weighted sums over a batch, which add up over an epoch however it was cut into batches.

    Attributes:
        weight: Σ_b weight_b, a scalar.
        loss: Σ_b weight_b times the batch's objective, a scalar.
        statistic: Σ_b weight_b·statistic_b of the metric, a scalar or [K].
    """

    weight: Scalar
    loss: Scalar
    statistic: Float[Array, "..."]


def resolve_metric(metric: str | None, loss: str | Loss) -> str:
    """Name the metric to report: the given one, or the one that fits the loss."""
    pair = resolve_loss(loss)
    name = default_metric(pair.targets) if metric is None else metric
    METRICS[name]  # raises for an unknown name
    return name


def check_metric(metric: str, targets: Num[Array, "N ..."], outputs: int) -> None:
    """Refuse targets that a metric cannot be taken of, before anything is computed."""
    is_float = jnp.issubdtype(targets.dtype, jnp.floating)
    shape = jax.ShapeDtypeStruct((len(targets), outputs), targets.dtype if is_float else float)
    jax.eval_shape(METRICS[metric].statistic, shape, targets)


def all_finite(params: Params) -> Bool[Array, ""]:
    """Tell whether no parameter is NaN or infinite: what a run that diverged has not."""
    finite = jnp.array(True)
    for leaf in jax.tree.leaves(params):
        finite &= jnp.all(jnp.isfinite(leaf))
    return finite


def gather(data: Batch, indices: Int[Array, "B"], held: Bool[Array, "B"]) -> Batch:
    """Pick a minibatch out of a data set; places that hold no example get weight 0."""
    inputs = data.inputs[indices]
    # Inputs may be integers, as pixels are; weights of 0.5 must not become 0 with them.
    is_float = jnp.issubdtype(inputs.dtype, jnp.floating)
    weight = held.astype(inputs.dtype if is_float else jnp.result_type(float))
    if data.weight is not None:
        weight = weight * data.weight[indices].astype(weight.dtype)
    return Batch(inputs, data.targets[indices], weight)


def batch_sums(
    value: Scalar,
    outputs: Float[Array, "B K"],
    targets: Num[Array, "B ..."],
    weight: Float[Array, "B"] | None,
    metric: str,
) -> BatchSums:
    """Sum a batch's objective and metric, weighted by its examples."""
    statistic = METRICS[metric].statistic(outputs, targets)
    weight = jnp.ones(outputs.shape[0], outputs.dtype) if weight is None else weight
    total = jnp.sum(weight).astype(outputs.dtype)
    # In full precision: a product that a GPU rounds to fewer bits would miscount.
    statistics = jnp.tensordot(weight.astype(statistic.dtype), statistic, axes=1, precision="highest")
    return BatchSums(total, total * value, statistics)


def summarise(sums: BatchSums, data: Batch, metric: str, gradient_norm: Scalar | None = None) -> Metrics:
    """Bring sums over a data set to means over its examples."""
    is_relative = METRICS[metric].needs_variance
    variance = target_variance(data.targets, data.weight) if is_relative else None
    return means(sums, variance, metric, gradient_norm)


def means(
    sums: BatchSums, variance: Float[Array, "K"] | None, metric: str, gradient_norm: Scalar | None = None
) -> Metrics:
    """Bring sums to means, where the targets' variance is known beforehand."""
    divisor = jnp.where(sums.weight == 0, 1, sums.weight)
    score = METRICS[metric].summary(sums.statistic / divisor, variance)
    return Metrics(sums.loss / divisor, score, sums.weight, gradient_norm)


@partial(jax.jit, static_argnums=0, static_argnames=("loss", "metric", "batch_size", "transform", "mesh"))
def _jitted_evaluate(
    net: Network,
    params: Params,
    data: Batch,
    *,
    loss: str | Loss,
    metric: str,
    batch_size: int,
    l2: L2,
    transform: Transform | None,
    key: Key | None,
    mesh: Mesh | None,
) -> Metrics:
    pair = resolve_loss(loss)
    indices, held = share_rows(mesh, *minibatch_indices(None, data.inputs.shape[0], batch_size))

    def sums_of(block: tuple[Any, Any, Any]) -> BatchSums:
        step, chosen, there = block
        batch = gather(data, chosen, there)
        inputs = batch.inputs
        if transform is not None and key is not None:
            inputs = transform(jax.random.fold_in(key, step), inputs)
        outputs, _ = propagate(net, params, inputs)
        value = mean_loss(pair, outputs, batch.targets, batch.weight) + l2_term(net, params, l2)
        return batch_sums(value, outputs, batch.targets, batch.weight, metric)

    chunks = jax.lax.map(sums_of, (jnp.arange(len(indices)), indices, held))
    return summarise(jax.tree.map(partial(jnp.sum, axis=0), chunks), data, metric)


def evaluate(
    net: Network,
    params: Params,
    data: Data,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    batch_size: int = 1024,
    metric: str | None = None,
    l2: L2 = 0.0,
    sample_weight: Weight | None = None,
    transform: Transform | None = None,
    key: Key | None = None,
    mesh: Mesh | None = None,
) -> Metrics:
    """Measure a network on a data set, in chunks, so that a large set fits.

    Args:
        net: the network (static).
        params: its parameters.
        data: Batch or (inputs [N, I], targets).
        loss: a loss's name or pair (static).
        batch_size: examples a chunk (static).
        metric: a metric's name; None takes the one that fits the loss (static).
        l2: strength of the penalty on weights, part of the reported loss.
        sample_weight: [N], or None.
        transform: a pure function (key, inputs) -> inputs, applied to each chunk (static).
        key: random key for the transform, needed where there is one.
        mesh: devices that share each chunk, see `data_parallel.batch_mesh`; None for one device (static).

    Returns:
        The metrics over the whole set; `gradient_norm` is None.

    Raises:
        ArgumentError: shapes or lengths that do not fit, an empty set, a batch size below 1, an
            unknown name, or a transform without a key.

    Example:
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([2, 2], init="zeros")
        >>> metrics = evaluate(net, init(net, jax.random.key(0)), (jnp.ones((5, 2)), jnp.zeros(5, int)))
        >>> round(float(metrics.loss), 4), float(metrics.score)
        (0.6931, 1.0)
    """
    check_size("batch size", batch_size)
    if transform is not None and key is None:
        raise ArgumentError("a transform draws from a key: give key=jax.random.key(0) along with it")
    batch = as_batch(data, sample_weight)
    check_lengths(batch)
    return _jitted_evaluate(
        net,
        params,
        batch,
        loss=loss,
        metric=resolve_metric(metric, loss),
        batch_size=min(int(batch_size), len(batch.inputs)),
        l2=traced_l2(l2),
        transform=transform,
        key=key,
        mesh=mesh,
    )
