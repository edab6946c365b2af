"""Optimisers and schedules by name, each description built once, to compile no program twice.

Two calls of `optax.adam(1e-3)` are unequal, and a function compiled for one compiles again for
the other; `make_optimizer` gives the same object for the same description. The rates stand in the
optimiser's state (`opt_state`), where they can be traced; a schedule multiplies the updates.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import jax
import optax
from jaxtyping import Array, Float

from jaxmlp.registry import Registry
from jaxmlp.types import ArgumentError, Params

Optimizer: TypeAlias = str | optax.GradientTransformation


def matrices(params: Params) -> Params:
    """Mark the leaves that weight decay acts on: those of two or more axes, which are a network's weights."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


class OptimizerRule(NamedTuple):
    """How an optimiser is built, and the learning rate it is usually begun with."""

    build: Callable[[float], optax.GradientTransformation]  # of the learning rate, which stands in its state
    learning_rate: float  # the default


def _require(name: str, given: float, words: str, *, allowed: bool) -> None:
    if not allowed:
        raise ArgumentError(f"{name} must be {words}, given {given:g}")


def _rule(factory: Callable[..., Any], learning_rate: float, **settings: Any) -> OptimizerRule:
    # Everything but the rates stays a constant of the compiled program.
    traced = ("learning_rate", "momentum", "weight_decay")
    fixed = tuple(name for name in inspect.signature(factory).parameters if name not in traced)
    injected = optax.inject_hyperparams(factory, static_args=fixed)
    return OptimizerRule(lambda rate: injected(learning_rate=rate, **settings), learning_rate)


def _momentum(nesterov: bool, momentum: float = 0.9) -> OptimizerRule:
    _require("momentum", momentum, "at least 0 and below 1", allowed=0 <= momentum < 1)
    return _rule(optax.sgd, 0.05, momentum=momentum, nesterov=nesterov)


def _decoupled(factory: Callable[..., Any], learning_rate: float, weight_decay: float) -> OptimizerRule:
    _require("weight decay", weight_decay, "at least 0", allowed=weight_decay >= 0)
    return _rule(factory, learning_rate, weight_decay=weight_decay, mask=matrices)


OPTIMIZERS: Registry[OptimizerRule] = Registry(
    "optimiser",
    {
        "sgd": _rule(optax.sgd, 0.2),
        "adam": _rule(optax.adam, 1e-3),
        "nadam": _rule(optax.nadam, 1e-3),
        "rmsprop": _rule(optax.rmsprop, 1e-3),
        "adagrad": _rule(optax.adagrad, 1e-2),
    },
    {
        "momentum": lambda momentum=0.9: _momentum(False, momentum),
        "nesterov": lambda momentum=0.9: _momentum(True, momentum),
        "adamw": lambda weight_decay=1e-2: _decoupled(optax.adamw, 1e-3, weight_decay),
        "lion": lambda weight_decay=1e-2: _decoupled(optax.lion, 1e-4, weight_decay),
        "lamb": lambda weight_decay=1e-2: _decoupled(optax.lamb, 1e-3, weight_decay),
    },
)

# A schedule's builder: (steps of the whole run, steps an epoch) -> step -> the factor on its update.
Schedule: TypeAlias = Callable[[int, int], Callable[[Any], Float[Array, ""]]]


def _cosine(end: float = 0.0) -> Schedule:
    # From 1 to `end` along half a cosine (Loshchilov and Hutter 2017)
    _require("a schedule's end", end, "at least 0", allowed=end >= 0)
    return lambda steps, _: optax.cosine_decay_schedule(1.0, steps, end)


def _linear(end: float = 0.0) -> Schedule:
    # From 1 to `end` in a straight line
    _require("a schedule's end", end, "at least 0", allowed=end >= 0)
    return lambda steps, _: optax.linear_schedule(1.0, end, steps)


def _exponential(factor: float) -> Schedule:
    # `factor` to the power of the epochs done
    return _step(factor, 1)


def _step(factor: float, epochs: float) -> Schedule:
    # Times `factor` every so many epochs
    _require("a schedule's factor", factor, "above 0", allowed=factor > 0)
    _require("a step schedule's epochs", epochs, "above 0", allowed=epochs > 0)
    return lambda _, each: optax.exponential_decay(1.0, max(1, round(epochs * each)), factor, staircase=True)


def _warmup_cosine(share: float = 0.1) -> Schedule:
    # Up from 0 in a straight line over a share of the run, then down along half a cosine
    _require("warm-up", share, "a share of the run between 0 and 1", allowed=0 < share < 1)

    def build(steps: int, _: int) -> Callable[[Any], Float[Array, ""]]:
        warmup = max(1, round(share * steps))
        return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, max(steps, warmup + 1))

    return build


SCHEDULES: Registry[Schedule | None] = Registry(
    "schedule",
    {"constant": None},
    {
        "cosine": _cosine,
        "linear": _linear,
        "exponential": _exponential,
        "step": _step,
        "warmup_cosine": _warmup_cosine,
    },
)


def make_optimizer(
    name: str = "sgd",
    learning_rate: float | None = None,
    *,
    schedule: str = "constant",
    horizon: tuple[int, int] | None = None,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """Build an optimiser from its description; the same description gives the same object.

    Args:
        name: an optimiser's name, with its parameter where it takes one ("momentum:0.9").
        learning_rate: above 0; None takes the optimiser's own default.
        schedule: a schedule's name, with its parameters; it multiplies every update by a factor.
        horizon: (steps of the whole run, steps an epoch), which every schedule but "constant" needs.
        clip_norm: the gradient's norm is held to this; None leaves it.

    Returns:
        An optax transformation; its learning rate stands in its state under `hyperparams`.

    Raises:
        ArgumentError: an unknown name, a learning rate that is not positive and finite, a
            schedule without a horizon, or a horizon of no steps.

    Example:
        >>> make_optimizer("adam", 1e-3) is make_optimizer("adam", 1e-3)
        True
    """
    rule = OPTIMIZERS[name]
    rate = rule.learning_rate if learning_rate is None else learning_rate
    if isinstance(rate, str) or not (math.isfinite(rate) and rate > 0):
        raise ArgumentError(f"the learning rate must be a finite number above 0, given {rate!r}")
    if clip_norm is not None and not clip_norm > 0:
        raise ArgumentError(f"the norm to clip gradients to must be above 0, given {clip_norm:g}")
    if SCHEDULES[schedule] is not None and horizon is None:
        raise ArgumentError(
            f"schedule '{schedule}' needs the run's length: give horizon=(steps, steps an epoch)"
        )
    if horizon is not None and min(horizon) < 1:
        raise ArgumentError(
            f"a run has at least 1 step and 1 step an epoch, given horizon={horizon}: count both from 1"
        )
    # A constant rate does not depend on the run's length, so it must not make the optimiser another one.
    length = None if horizon is None or SCHEDULES[schedule] is None else (int(horizon[0]), int(horizon[1]))
    return _build(name, float(rate), schedule, length, clip_norm)


@cache
def _build(
    name: str, rate: float, schedule: str, horizon: tuple[int, int] | None, clip_norm: float | None
) -> optax.GradientTransformation:
    parts = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    parts.append(OPTIMIZERS[name].build(rate))
    make_factor = SCHEDULES[schedule]
    if make_factor is not None and horizon is not None:
        parts.append(optax.scale_by_schedule(make_factor(*horizon)))
    return parts[0] if len(parts) == 1 else optax.chain(*parts)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Let optax work on a state, and tell in a line what a transformation lacks here."""
    try:
        # Optax mixes integers and floats inside, which a program may have forbidden for its own code.
        with jax.numpy_dtype_promotion("standard"):
            yield
    except (TypeError, ValueError, AttributeError) as error:
        raise ArgumentError(
            f"this optax transformation cannot train here ({str(error).splitlines()[0]}): it is given gradients, "
            "parameters and value=, the objective. What asks for value_fn, as optax.lbfgs with its line search, "
            "or for parameters of another kind, as optax.lookahead, is not served"
        ) from error


def resolve_optimizer(optimizer: Optimizer) -> optax.GradientTransformation:
    """Take an optimiser's name, built with its default learning rate, or a bare optax transformation."""
    if isinstance(optimizer, str):
        return make_optimizer(optimizer)
    if not isinstance(optimizer, optax.GradientTransformation):
        raise ArgumentError(
            f"not an optimiser: {optimizer!r}; give a name such as 'adam', make_optimizer(…) or optax's own"
        )
    return optimizer
