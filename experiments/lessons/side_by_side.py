"""Networks that differ only in their seed, trained side by side as a sweep trains its members."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import Batch, make_optimizer
from jaxmlp.sweep.members import Members, evaluate_members, start_members, train_members
from jaxmlp.training.steps import Recipe

LOSS = "softmax_cross_entropy"
SGD = make_optimizer("sgd", 0.1)  # members hold the rates that are used, so one program serves all rates
MEASURES = ("train accuracy", "train cross-entropy", "test accuracy", "test cross-entropy")


class Standing(NamedTuple):
    """How M networks stand after an epoch."""

    params: Any  # the parameters, each array with a leading axis of M
    measures: dict[str, np.ndarray]  # an array [M] for each of MEASURES; NaN for a network that diverged
    seconds: float  # of training that epoch, measurements left out


def train_by_epoch(
    recipe: Recipe, seeds: int, learning_rate: float, train: Batch, test: Batch, epochs: int
) -> Iterator[Standing]:
    """Tell how the networks of seeds 0 to M − 1 stand at the start and after every epoch."""
    devices = tuple(train.inputs.devices())
    members = Members(jnp.arange(seeds, dtype=jnp.uint32), {"learning_rate": jnp.full(seeds, learning_rate)})
    states = start_members(recipe, devices, members)
    for epoch in range(epochs + 1):
        started = time.perf_counter()
        count = jnp.int32(epoch > 0)  # no epoch at the start, which compiles
        states = jax.block_until_ready(train_members(recipe, devices, members, states, train, count))
        seconds = time.perf_counter() - started
        measured = [evaluate_members(recipe, devices, members, states.params, part) for part in (train, test)]
        is_finite = np.logical_and(*(scores.finite for scores in measured))
        values = [value for scores in measured for value in (scores.score, scores.loss)]
        shown = (np.where(is_finite, value, np.nan) for value in values)
        yield Standing(states.params, dict(zip(MEASURES, shown, strict=True)), seconds if epoch else 0.0)


# --- results over seeds ---


def spread(values: Any, write: Callable[[float], str], middle: Callable[[Any], Any] = np.median) -> str:
    """Write the middle of M values with their least and largest."""
    numbers = np.asarray(values, float)
    if not np.isfinite(numbers).all():
        return f"not finite in {np.sum(~np.isfinite(numbers))} of {len(numbers)} seeds"
    centre = write(float(middle(numbers)))
    return centre if len(numbers) == 1 else f"{centre} ({write(numbers.min())} to {write(numbers.max())})"


def percent(value: Any) -> str:
    return f"{100 * value:.2f} %"
