"""Fitting: a loop of epochs with a clock, a history and a callback, all of which training itself is free of."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxmlp.backprop import L2, kinds
from jaxmlp.checks import as_batch, check_data, traced_l2
from jaxmlp.losses import Loss
from jaxmlp.network import Network, calibrate, count_outputs
from jaxmlp.training.batching import steps_per_epoch
from jaxmlp.training.evaluation import evaluate_recipe
from jaxmlp.training.optimizers import Optimizer
from jaxmlp.training.parallel import Devices, batch_mesh, largest_of_processes, place_whole
from jaxmlp.training.steps import (
    Data,
    Recipe,
    TrainState,
    Transform,
    Weight,
    all_finite,
    init_state,
    jitted_epoch,
    measured_params,
)
from jaxmlp.training.stopping import NEVER, Best, Stopping, better, reason_to_stop
from jaxmlp.training.stream import Position, Stream, train_stream
from jaxmlp.types import ArgumentError, Batch, EpochReport, Key, Params, check_whole


class FitState(NamedTuple):
    """All that a fit carries from epoch to epoch, and so all that a checkpoint has to hold.

    Attributes:
        train: where training stands.
        best: the best epoch until now; None where it is not kept.
        history: one EpochReport an epoch, those before a resumption included.
        position: where in the next epoch of a stream; None between two epochs.

    Example:
        >>> from jaxmlp.network import mlp
        >>> FitState(init_state(mlp([2, 3]), "sgd", jax.random.key(0))).history
        ()
    """

    train: TrainState
    best: Best | None = None
    history: tuple[EpochReport, ...] = ()
    position: Position | None = None


class FitResult(NamedTuple):
    """What a fit leaves.

    Attributes:
        state: the last state whose loss and parameters were finite; where the best epoch was kept, with its
            parameters, and with the optimiser's moving average of them where there is one.
        history: one EpochReport an epoch; the last one is not finite where the run diverged.
        metric: the name of the score.
        stopped: None after all epochs, or "callback", "diverged", "target", "patience" or "time".
        best: the best epoch, where it was kept.
    """

    state: TrainState
    history: tuple[EpochReport, ...]
    metric: str
    stopped: str | None
    best: Best | None = None


Callback: TypeAlias = Callable[[EpochReport, TrainState], bool | None]
Save: TypeAlias = Callable[[FitState], None]


class Hooks(NamedTuple):
    """What a fit calls on its way: `save`, then `callback` after every epoch, `save` after every window of a stream."""

    callback: Callback | None = None  # of the report and the state; returning True stops
    save: Save | None = None  # of all that a resumption needs


# In the order of who wins where processes stop for different reasons in one epoch.
REASONS = (None, "time", "patience", "target", "callback")


@partial(jax.jit, static_argnums=0)
def _survey(net: Network, params: Params) -> tuple[Bool[Array, ""], list[Float[Array, ""]]]:
    """Tell whether all parameters are finite, and each layer's largest |w|."""
    largest = []
    for layer_params, named in zip(params, kinds(net, params), strict=True):
        leaves = zip(jax.tree.leaves(layer_params), jax.tree.leaves(named), strict=True)
        weights = [jnp.max(jnp.abs(leaf)) for leaf, kind in leaves if kind == "weight"]
        if weights:
            largest.append(jnp.max(jnp.stack(weights)))
    return all_finite(params), largest


def fit_recipe(
    recipe: Recipe,
    train: Batch | Stream,
    valid: Batch | None,
    before: FitState,
    *,
    epochs: int,
    l2: L2 = 0.0,
    stopping: Stopping = NEVER,
    hooks: Hooks = Hooks(),  # noqa: B008 - it cannot be altered
) -> FitResult:
    """Train on data that are checked and on the device already; the loop beneath `fit`."""
    metric, l2, carried = recipe.metric, traced_l2(l2), before
    recipe = _with_horizon(recipe, train, before, epochs)
    measured_on = partial(_calibrated, recipe.net, train)
    began = time.perf_counter()
    if carried.history and carried.position is None:
        last = carried.history[-1]
        if carried.best is None:  # patience that is asked for only now begins to count here
            carried = carried._replace(best=better(stopping, metric, None, last, measured_on(carried.train)))
        # A fit that had come to its end before it was interrupted has nothing left to do.
        reason = reason_to_stop(stopping, metric, carried.best, last, 0.0)
        if reason is not None:
            return _result(measured_on, carried, metric, reason)

    def keep(new: FitState) -> None:
        nonlocal carried
        carried = new
        if hooks.save is not None:
            hooks.save(new)

    for _ in range(epochs):
        # The state is not donated: that before an epoch or a window must outlive it in case it diverges.
        if isinstance(train, Stream):
            state, metrics, position = train_stream(
                recipe, carried.train, train, carried.position, l2,
                lambda state, position: keep(carried._replace(train=state, position=position)),
            )  # fmt: skip
            rows, started = position.rows, time.perf_counter() - position.seconds
        else:
            rows, started = len(train.inputs), time.perf_counter()
            state, metrics = jitted_epoch(recipe, carried.train, train, l2)
        # This waits for the device.
        (is_finite, max_weight), metrics = jax.device_get((_survey(recipe.net, state.params), metrics))
        seconds = time.perf_counter() - started
        params = measured_on(state)
        measured = None if valid is None else evaluate_recipe(recipe, params, valid, l2)
        report = EpochReport(
            epoch=int(state.epoch),
            train_loss=float(metrics.loss),
            train_score=float(metrics.score),
            valid_loss=None if measured is None else float(measured.loss),
            valid_score=None if measured is None else float(measured.score),
            gradient_norm=float(metrics.gradient_norm),
            max_weight=tuple(map(float, max_weight)),
            seconds=seconds,
            examples_per_second=rows / seconds,
        )
        history = (*carried.history, report)
        if not (is_finite and math.isfinite(report.train_loss)):
            return _result(measured_on, carried._replace(history=history), metric, "diverged")
        keep(FitState(state, better(stopping, metric, carried.best, report, params), history))
        reason = reason_to_stop(stopping, metric, carried.best, report, time.perf_counter() - began)
        if hooks.callback is not None and hooks.callback(report, state):
            reason = "callback"
        reason = REASONS[largest_of_processes(REASONS.index(reason), recipe.mesh)]
        if reason is not None:
            return _result(measured_on, carried, metric, reason)
    return _result(measured_on, carried, metric, None)


def _with_horizon(recipe: Recipe, train: Batch | Stream, before: FitState, epochs: int) -> Recipe:
    """Count the steps of the whole run where a layer asks how far it is; another count is another program."""
    if not recipe.net.scheduled or recipe.horizon is not None:
        return recipe
    if isinstance(train, Stream):
        raise ArgumentError(
            "a layer of this network has a schedule, and the length of a stream is not known: leave the schedule out"
        )
    steps = steps_per_epoch(len(train.inputs), min(recipe.batch_size, len(train.inputs)))
    return replace(recipe, horizon=max(1, steps * (int(before.train.epoch) + epochs)))


def _calibrated(net: Network, train: Batch | Stream, state: TrainState) -> Params:
    """Take the parameters that are measured; what a `BatchNorm` takes at inference is found in the training data."""
    params = measured_params(state)
    if isinstance(train, Stream) or "statistic" not in jax.tree.leaves(kinds(net, params)):
        return params
    return calibrate(net, params, train.inputs, train.weight)


def _result(
    measured_on: Callable[[TrainState], Params], carried: FitState, metric: str, stopped: str | None
) -> FitResult:
    state, best = carried.train, carried.best
    state = state._replace(params=measured_on(state) if best is None else best.params)
    return FitResult(state, carried.history, metric, stopped, best)


def fit(
    net: Network,
    train: Data | Stream,
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
    stopping: Stopping = NEVER,
    resume: FitState | None = None,
    save: Save | None = None,
    devices: Devices = None,
) -> FitResult:
    """Train a network for some epochs and keep a history.

    A loss or parameter that becomes NaN or infinite ends the run. The state before that epoch, or before that window
    of a stream, is returned.

    Args:
        net: the network.
        train: Batch or (inputs [N, I], targets), or a Stream of what need not fit in memory.
        valid: Batch or (inputs [N, I], targets) for validation, measured after every epoch; None for none.
        loss: a loss's name or pair.
        optimizer: an optimiser's name, `make_optimizer(...)` or any optax transformation.
        batch_size: B; N for full-batch training, and anything above N is taken as N.
        epochs: how many epochs to train now; with `resume` how many more, perhaps 0. An epoch that was
            interrupted counts as one.
        key: random key; not needed where `state` is given.
        state: where to go on from, with the learning rate that it holds; None begins a new run. It is not altered.
        callback: called after every epoch with its report and the state; returning True stops.
        shuffle: a fresh permutation every epoch, of a stream within each window, or the given order.
        metric: a metric's name; None takes the one that fits the loss.
        l2: strength of the penalty on weights.
        sample_weight: [N] for the training examples, or None; a stream brings its own. They count as multiples of
            their mean, and a minibatch divides by its number of examples: scaling all of them changes nothing.
        transform: a pure function (key, inputs [B, I]) -> inputs, applied to each training minibatch.
        stopping: when to end before the last epoch, and whether to return the best parameters.
        resume: where an interrupted fit stood, in place of key and state; its history goes on. Patience that it
            did not have counts from there.
        save: called after every epoch with all that `resume` needs, before the callback, and after every window
            of a stream. Its arrays are never altered: another thread may write them.
        devices: to share each minibatch, of all processes; None computes on the default one.

    Returns:
        The last finite state, the history, the metric's name, and why it stopped early, if so.

    Raises:
        ArgumentError: data that do not fit the network or the loss (see `check_data`), sizes below 1,
            an unknown name, none of key, state and resume, the last two at once, a resume of another network
            or optimiser, or patience without validation data.

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
    recipe = Recipe(net, optimizer, loss, metric, batch_size, shuffle, transform, batch_mesh(devices))
    for name, given, of in (("save", save, "the FitState"), ("callback", callback, "report and state")):
        if given is not None and not callable(given):
            raise ArgumentError(f"{name} takes a function of {of}, and here it is {given!r}")
    if not isinstance(stopping, Stopping):
        raise ArgumentError(f"stopping must be a Stopping, as Stopping(patience=5), given {stopping!r}")
    if resume is None or epochs != 0:
        check_whole("number of epochs", epochs)
    if isinstance(train, Stream):
        examples: Stream | Batch = train
        if sample_weight is not None:
            raise ArgumentError(
                "a stream brings its own weights: give (inputs, targets, weight) in its chunks"
            )
        if train.once and epochs > 1:
            raise ArgumentError(
                f"an iterator of chunks can be gone through once, and {epochs} epochs are asked for: "
                "give a function of the epoch that returns a new one"
            )
    else:
        examples = _on_devices(recipe, train, sample_weight, "training data")
    valid_data = None if valid is None else _on_devices(recipe, valid, None, "validation data")
    if stopping.keeps_best and valid is None:
        raise ArgumentError(
            "patience watches validation data, and there are none: give valid=(inputs, targets)"
        )
    before = _start(recipe, key, state, resume)
    if before.position is not None and not isinstance(train, Stream):
        raise ArgumentError(
            "the fit was interrupted within an epoch of a stream: give the stream, not arrays"
        )
    hooks = Hooks(callback, save)
    return fit_recipe(
        recipe, examples, valid_data, before, epochs=epochs, l2=l2, stopping=stopping, hooks=hooks
    )


def _start(recipe: Recipe, key: Key | None, state: TrainState | None, resume: FitState | None) -> FitState:
    if resume is not None and not isinstance(resume, FitState):
        raise ArgumentError(
            f"resume takes the FitState that save was given, and here it is a {type(resume).__name__}"
        )
    if resume is not None and state is not None:
        raise ArgumentError("fit goes on from a state or resumes a fit: give state= or resume=, not both")
    given = "fit to resume" if state is None else "state to go on from"
    if state is not None:
        if not isinstance(state, TrainState):
            raise ArgumentError(f"state takes what init_state makes, and here it is a {type(state).__name__}")
        resume = FitState(state)
    if resume is None:
        fresh = init_state(recipe.net, recipe.optimizer, key)  # type: ignore[arg-type]  # it refuses None
        return FitState(place_whole(fresh, recipe.mesh))
    wanted = jax.eval_shape(lambda: init_state(recipe.net, recipe.optimizer, jax.random.key(0)))
    for part, what in (("params", "network"), ("opt_state", "optimiser")):
        ours, theirs = (
            jax.tree.flatten(jax.tree.map(np.shape, getattr(each, part))) for each in (resume.train, wanted)
        )
        if ours != theirs:
            raise ArgumentError(
                f"the {given} is of another {what}: give the {what} that it was begun with, or a new fit"
            )
    return resume._replace(train=place_whole(resume.train, recipe.mesh))


def _on_devices(recipe: Recipe, given: Data, sample_weight: Weight | None, name: str) -> Batch:
    """Check a data set and bring it to the devices, both once."""
    data, net = as_batch(given, sample_weight, name), recipe.net
    check_data(data, in_features=net.in_features, outputs=count_outputs(net), loss=recipe.loss, name=name)
    return place_whole(data, recipe.mesh)
