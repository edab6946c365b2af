"""Windows: an epoch over a stream, window by window, and where in it a fit stands between two of them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmlp.backprop import L2
from jaxmlp.losses import Loss
from jaxmlp.network import Network, layer_shapes
from jaxmlp.training.batching import steps_per_epoch
from jaxmlp.training.metrics import METRICS, BatchSums, means, target_variance, weighted_mean
from jaxmlp.training.parallel import keep_whole, place_whole
from jaxmlp.training.steps import Recipe, TrainState, all_finite, scan_steps, shuffle_key
from jaxmlp.training.stream import Stream, Window, checked, read_ahead
from jaxmlp.types import ArgumentError, Batch, Key, Metrics, Scalar


class WindowSums(NamedTuple):
    """What the steps over one window come to.

    Attributes:
        sums: of objective and metric over its examples.
        gradient_norm: ‖∂E/∂params‖₂, averaged over steps spread evenly, a scalar.
        target_mean: of the targets, [K]; [0] where the metric is not relative to their variance.
        target_variance: of the targets about that mean, [K] or [0].
        is_finite: whether the loss and the parameters afterwards are finite, a scalar.
    """

    sums: BatchSums
    gradient_norm: Scalar
    target_mean: Float[Array, "K"]
    target_variance: Float[Array, "K"]
    is_finite: Bool[Array, ""]


class Position(NamedTuple):
    """Where in an epoch over a stream a fit stands, and what the epoch has come to; numbers of Python and NumPy.

    Attributes:
        windows: how many are done.
        rows: how many examples.
        steps: how many steps.
        seconds: wall-clock time until there.
        weight: Σ of the examples' weights.
        loss: Σ weight·objective.
        statistic: Σ weight·statistic of the metric, [] or [K], in float64.
        gradient_norm: averaged over the steps.
        target_mean: of the targets, [K], or [0] where the metric is not relative to their variance; in float64.
        target_variance: of the targets, [K] or [0]; in float64.
        place: what the stream needs to go on from there, bytes in an array of uint8.
    """

    windows: int
    rows: int
    steps: int
    seconds: float
    weight: float
    loss: float
    statistic: np.ndarray
    gradient_norm: float
    target_mean: np.ndarray
    target_variance: np.ndarray
    place: np.ndarray


AtWindow: TypeAlias = Callable[[TrainState, Position], None]


def _window_key(state: TrainState, window: Int[Array, ""]) -> Key:
    # The first window's is the epoch's own, so that a stream of one window is trained on as arrays are.
    later = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.key, 2), state.epoch), window)
    return jnp.where(window == 0, shuffle_key(state), later)


@partial(jax.jit, static_argnums=0)
def train_window(
    recipe: Recipe, state: TrainState, data: Batch, window: Int[Array, ""], l2: L2
) -> tuple[TrainState, WindowSums]:
    """Train on one window: the very steps of `train_epoch`, with sums that can be added to other windows'."""
    metric = recipe.metric
    key = _window_key(state, jnp.asarray(window)) if recipe.shuffle else None
    state, sums, norm = scan_steps(recipe, state, data, key, l2)
    mean = variance = jnp.zeros(0)
    if METRICS[metric].needs_variance:
        mean, variance = weighted_mean(data.targets, data.weight), target_variance(data.targets, data.weight)
    is_finite = all_finite(state.params) & jnp.isfinite(sums.loss)
    return state, keep_whole(recipe.mesh, WindowSums(sums, norm, mean, variance, is_finite))


def train_stream(
    recipe: Recipe,
    state: TrainState,
    stream: Stream,
    position: Position | None,
    l2: L2,
    at_window: AtWindow,
) -> tuple[TrainState, Metrics, Position]:
    """Train one epoch over a stream, or what is left of one, reading on while the device computes."""
    began = time.perf_counter() - (0.0 if position is None else position.seconds)
    batch_size = recipe.batch_size
    rows = batch_size * steps_per_epoch(stream.window, batch_size)
    running: _Running | None = None
    with read_ahead(_windows(recipe.net, recipe.loss, stream, rows, int(state.epoch), position)) as windows:
        for window in windows:
            number = running.number + 1 if running else (position.windows if position else 0)
            # The size of a whole set that is smaller, as of arrays.
            size = min(batch_size, len(window.data.inputs)) if number == 0 else batch_size
            data = (
                jax.device_put(window.data) if recipe.mesh is None else place_whole(window.data, recipe.mesh)
            )
            state, sums = train_window(replace(recipe, batch_size=size), state, data, number, l2)
            new = _Running(number, state, sums, len(window.data.inputs), size, window.place)
            # Computed while what comes before is looked at and the next is read; to hold it would be one too many.
            del window, data
            if running is not None:
                position, is_finite = _settle(running, position, began)
                if not is_finite:
                    return _ended(running, position, recipe.metric)
                at_window(running.state, position)
            running = new
    if running is None:
        raise ArgumentError(_too_short(position))
    position, is_finite = _settle(running, position, began)
    if position.weight == 0:
        raise ArgumentError("training data: all sample weights are 0; give at least one example a weight")
    return _ended(running, position, recipe.metric)


class _Running(NamedTuple):
    number: int
    state: TrainState
    sums: WindowSums
    rows: int
    batch_size: int
    place: bytes


def _windows(
    net: Network, loss: str | Loss, stream: Stream, rows: int, epoch: int, position: Position | None
) -> Iterator[Window]:
    done = 0 if position is None else position.rows
    if position is not None and done != position.windows * rows:
        raise ArgumentError(
            f"the fit stood after {position.windows} windows of {done // position.windows} rows, and the stream's "
            f"have {rows} here: give the window and the batch size that it began with"
        )
    return checked(
        stream.read(epoch, rows, None if position is None else position.place.tobytes()),
        in_features=net.in_features,
        outputs=layer_shapes(net)[-1].out_features,
        loss=loss,
        epoch=epoch + 1,
        row=done,
    )


def _too_short(position: Position | None) -> str:
    if position is None:
        return (
            "training data: the stream has no rows; an iterator can be gone through once, a function "
            "that returns a new one always"
        )
    return (
        f"training data: the stream ends before row {position.rows}, where the fit was interrupted: "
        "give the stream that it began with"
    )


def _settle(running: _Running, before: Position | None, began: float) -> tuple[Position, bool]:
    """Wait for a window and add what it came to."""
    found: WindowSums = jax.device_get(running.sums)
    steps = steps_per_epoch(running.rows, running.batch_size)
    weight, loss = float(found.sums.weight), float(found.sums.loss)
    statistic, mean, variance = (
        np.asarray(part, np.float64)
        for part in (found.sums.statistic, found.target_mean, found.target_variance)
    )
    norm, rows, seconds = float(found.gradient_norm), running.rows, time.perf_counter() - began
    if before is not None:
        # Shares of what is new, 1 where nothing was before; by Chan's rule the variances of two parts and the
        # distance of their means give that of the whole, with nothing large to cancel.
        total = before.weight + weight
        share = weight / total if total else 0.0
        apart = mean - before.target_mean
        variance = (1 - share) * before.target_variance + share * variance + share * (1 - share) * apart**2
        mean = before.target_mean + share * apart
        norm = before.gradient_norm + (norm - before.gradient_norm) * steps / (before.steps + steps)
        rows, steps = before.rows + rows, before.steps + steps
        weight, loss, statistic = total, before.loss + loss, before.statistic + statistic
    place = np.frombuffer(running.place, np.uint8)
    position = Position(
        running.number + 1, rows, steps, seconds, weight, loss, statistic, norm, mean, variance, place
    )
    return position, bool(found.is_finite)


def _ended(running: _Running, position: Position, metric: str) -> tuple[TrainState, Metrics, Position]:
    state = running.state._replace(epoch=running.state.epoch + 1)
    sums = BatchSums(*map(jnp.asarray, (position.weight, position.loss, position.statistic)))
    variance = jnp.asarray(position.target_variance) if METRICS[metric].needs_variance else None
    return state, means(sums, variance, metric, jnp.asarray(position.gradient_norm)), position
