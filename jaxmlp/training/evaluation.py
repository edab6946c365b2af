"""Evaluation: how good a network is on a data set, by sums that add up however the set is cut into chunks."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxmlp.backprop import L2, l2_term, mean_loss
from jaxmlp.checks import as_batch, check_data, check_key, check_lengths, traced_l2
from jaxmlp.losses import Loss, resolve_loss
from jaxmlp.network import Network, check_fit, check_head, count_outputs, forward
from jaxmlp.training.batching import gather, minibatch_indices
from jaxmlp.training.metrics import METRICS, BatchSums, batch_sums, summarise, variance_for
from jaxmlp.training.parallel import share_rows
from jaxmlp.training.steps import Data, Recipe, Transform, Weight
from jaxmlp.types import Batch, Key, Metrics, Params

CHUNK = 1024  # examples that are measured at a time


@partial(jax.jit, static_argnums=0)
def jitted_evaluation(recipe: Recipe, params: Params, data: Batch, l2: L2, key: Key | None) -> Metrics:
    """Measure a network in chunks of the recipe's batch size; its transform applies where a key is given."""
    pair, examples = resolve_loss(recipe.loss), data.inputs.shape[0]
    pair = pair.measured or pair  # what is measured stays hard where training softens the labels
    chunk = examples if METRICS[recipe.metric].over_all else min(recipe.batch_size, examples)
    blocks = minibatch_indices(None, examples, chunk)
    indices, held = share_rows(recipe.mesh, *blocks)

    def sums_of(block: tuple[Any, Any, Any]) -> BatchSums:
        step, chosen, there = block
        batch = gather(data, chosen, there)
        inputs = batch.inputs
        if recipe.transform is not None and key is not None:
            inputs = recipe.transform(jax.random.fold_in(key, step), inputs)
        outputs = forward(recipe.net, params, inputs)
        value = mean_loss(pair.value(outputs, batch.targets), batch.weight) + l2_term(recipe.net, params, l2)
        return batch_sums(value, outputs, batch, recipe.metric)

    chunks = jax.lax.map(sums_of, (jnp.arange(len(indices)), indices, held))
    sums = jax.tree.map(partial(jnp.sum, axis=0), chunks)
    return summarise(sums, recipe.metric, variance_for(recipe.metric, data))


def evaluate_recipe(recipe: Recipe, params: Params, data: Batch, l2: L2 = None) -> Metrics:
    """Measure a network on data that are checked already, as they are: without the recipe's transform."""
    # What concerns training alone must not make it another program.
    alike = replace(recipe, optimizer="sgd", batch_size=CHUNK, shuffle=True, transform=None, horizon=None)
    return jitted_evaluation(alike, params, data, traced_l2(l2), None)


def evaluate(
    net: Network,
    params: Params,
    data: Data,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    batch_size: int = CHUNK,
    metric: str | None = None,
    l2: L2 = 0.0,
    sample_weight: Weight | None = None,
    transform: Transform | None = None,
    key: Key | None = None,
    mesh: Mesh | None = None,
) -> Metrics:
    """Measure a network on a data set, in chunks, to let a large set fit.

    Args:
        net: the network (static).
        params: its parameters.
        data: Batch or (inputs [N, I], targets).
        loss: a loss's name or pair, without its label smoothing (static).
        batch_size: examples a chunk (static).
        metric: a metric's name; None takes the one that fits the loss (static).
        l2: strength of the penalty on weights, part of the reported loss.
        sample_weight: [N], or None.
        transform: a pure function (key, inputs) -> inputs, applied to each chunk (static).
        key: random key for the transform, needed where there is one.
        mesh: devices that share each chunk, see `parallel.batch_mesh`; None for one device (static).

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
    recipe = Recipe(net, "sgd", loss, metric, batch_size, transform=transform, mesh=mesh)
    if not (transform is None and key is None):
        check_key(key)
    check_head(net, loss, trains=False)
    batch = as_batch(data, sample_weight)
    if any(isinstance(part, jax.core.Tracer) for part in batch):
        check_lengths(batch)
    else:
        check_data(batch, in_features=net.in_features, outputs=count_outputs(net), loss=loss)
    check_fit(net, params, batch.inputs)
    return jitted_evaluation(recipe, params, batch, traced_l2(l2), key)
