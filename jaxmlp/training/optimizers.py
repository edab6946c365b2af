"""Optimisers and schedules by name, each description built once, to compile no program twice.

Two calls of `optax.adam(1e-3)` are unequal, and a function compiled for one compiles again for
the other; `make_optimizer` gives the same object for the same description. The rates stand in the
optimiser's state (`opt_state`), where they can be traced; a schedule multiplies the updates.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxmlp.layers.elementwise import flat_cos
from jaxmlp.registry import Registry, unknown_name
from jaxmlp.types import ArgumentError, Params

Optimizer: TypeAlias = str | optax.GradientTransformation


KINDS = (
    "weight",
    "bias",
    "scale",
    "activation",
    "embedding",
)  # of what is learnt, as a layer's `kinds` names it


def guessed_kinds(params: Params) -> Params:
    """Name leaves of two or more axes weights and the others biases, where no network says what they are."""
    return jax.tree.map(lambda leaf: "weight" if leaf.ndim > 1 else "bias", params)


def _by_kind(change: Callable[[Array, Array, str], Array]) -> optax.GradientTransformationExtraArgs:
    """Make a transformation of (update, parameter, kind) -> update; a training step tells it the kinds."""

    def update(updates: Params, state: Any, params: Params = None, *, kinds: Any = None, **_: Any) -> Any:
        named = guessed_kinds(updates) if kinds is None else kinds
        return jax.tree.map(change, updates, params, named), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


class OptimizerRule(NamedTuple):
    """How an optimiser finds its direction, which is then decayed and multiplied by the learning rate."""

    direction: Callable[..., optax.GradientTransformation]  # of its momentum, where that is among its rates
    learning_rate: float  # the default
    rates: dict[str, float] = {}  # noqa: RUF012 - momentum or weight decay: never altered; traced as the learning rate is
    last: tuple[optax.GradientTransformation, ...] = ()  # after the decay


def _require(name: str, given: float, words: str, *, allowed: bool) -> None:
    if not allowed:
        raise ArgumentError(f"{name} must be {words}, given {given:g}")


def _plain(direction: optax.GradientTransformation, learning_rate: float) -> OptimizerRule:
    return OptimizerRule(lambda: direction, learning_rate)


def _momentum(nesterov: bool, momentum: float = 0.9) -> OptimizerRule:
    _require("momentum", momentum, "at least 0 and below 1", allowed=0 <= momentum < 1)
    return OptimizerRule(
        lambda momentum: optax.trace(momentum, nesterov=nesterov), 0.05, {"momentum": momentum}
    )


def _adam(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> OptimizerRule:
    for beta in (beta_1, beta_2):
        _require("adam's beta", beta, "at least 0 and below 1", allowed=0 <= beta < 1)
    _require("adam's epsilon", epsilon, "above 0", allowed=epsilon > 0)
    return _plain(optax.scale_by_adam(beta_1, beta_2, epsilon), 1e-3)


def _decoupled(rule: OptimizerRule, weight_decay: float) -> OptimizerRule:
    _require("weight decay", weight_decay, "at least 0", allowed=weight_decay >= 0)
    return rule._replace(rates={"weight_decay": weight_decay})


_LION = _plain(optax.scale_by_lion(), 1e-4)
_LAMB = _plain(optax.scale_by_adam(eps=1e-6), 1e-3)._replace(last=(optax.scale_by_trust_ratio(),))

OPTIMIZERS: Registry[OptimizerRule] = Registry(
    "optimiser",
    {
        "sgd": _plain(optax.identity(), 0.2),
        "nadam": _plain(optax.scale_by_adam(nesterov=True), 1e-3),
        "rmsprop": _plain(optax.scale_by_rms(), 1e-3),
        "adagrad": _plain(optax.scale_by_rss(), 1e-2),
    },
    {
        "adam": _adam,
        "momentum": lambda momentum=0.9: _momentum(False, momentum),
        "nesterov": lambda momentum=0.9: _momentum(True, momentum),
        "adamw": lambda weight_decay=1e-2: _decoupled(_adam(), weight_decay),
        "lion": lambda weight_decay=1e-2: _decoupled(_LION, weight_decay),
        "lamb": lambda weight_decay=1e-2: _decoupled(_LAMB, weight_decay),
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


def _coslog(cycles: float = 4) -> Schedule:
    # ½ (1 − cos(2π·log₂(1 + (2^c − 1)·t))): up and down c times, each time for twice as long (RealMLP)
    _require("a coslog schedule's cycles", cycles, "above 0", allowed=cycles > 0)

    def build(steps: int, _: int) -> Callable[[Any], Float[Array, ""]]:
        return lambda step: 0.5 - 0.5 * jnp.cos(2 * jnp.pi * jnp.log2(1 + (2**cycles - 1) * step / steps))

    return build


SCHEDULES: Registry[Schedule | None] = Registry(
    "schedule",
    {"constant": None, "flat_cos": lambda steps, _: lambda step: flat_cos(step / steps)},
    {
        "cosine": _cosine,
        "linear": _linear,
        "exponential": _exponential,
        "step": _step,
        "warmup_cosine": _warmup_cosine,
        "coslog": _coslog,
    },
)


def _clipping(what: str, build: Callable[[float], optax.GradientTransformation]) -> Callable[[float], Any]:
    def make(most: float) -> optax.GradientTransformation:
        _require(f"the {what} to clip gradients to", most, "above 0", allowed=most > 0)
        return build(most)

    return make


# What holds a gradient: the norm of all of it, or each number.
CLIPPINGS: Registry[optax.GradientTransformation] = Registry(
    "clipping",
    {},
    {"norm": _clipping("norm", optax.clip_by_global_norm), "value": _clipping("value", optax.clip)},
)


class _Description(NamedTuple):
    """All that makes an optimiser: what `make_optimizer` takes, checked and hashable."""

    name: str
    rate: float
    schedule: str
    horizon: tuple[int, int] | None
    clip: str | None
    factors: tuple[tuple[str, float], ...]
    decay: tuple[tuple[str, float], ...]
    decay_schedule: str
    max_norm: float | None
    average: float | None


def make_optimizer(
    name: str = "sgd",
    learning_rate: float | None = None,
    *,
    schedule: str = "constant",
    horizon: tuple[int, int] | None = None,
    clip_norm: float | None = None,
    clip: str | None = None,
    factors: Mapping[str, float] | None = None,
    decay: Mapping[str, float] | None = None,
    decay_schedule: str = "constant",
    max_norm: float | None = None,
    average: float | None = None,
) -> optax.GradientTransformation:
    """Build an optimiser from its description; the same description gives the same object.

        w ← w − rate · schedule(t) · factor_kind · (direction + decay_schedule(t) · decay_kind · w)

    The kind of each leaf of parameters is what its layer's `kinds` names it.

    Args:
        name: an optimiser's name, with its parameters where it takes them ("momentum:0.9", "adam:0.9,0.95").
        learning_rate: above 0; None takes the optimiser's own default.
        schedule: a schedule's name, with its parameters; it multiplies every update by a factor.
        horizon: (steps of the whole run, steps an epoch), which every schedule but "constant" needs.
        clip_norm: the gradient's norm is held to this; None leaves it. The same as clip="norm:…".
        clip: a clipping's name with its parameter, "norm:1" or "value:0.5"; None leaves the gradient.
        factors: of the learning rate, by kind ({"scale": 6.0, "bias": 0.1}); 1 where none is given, 0 freezes.
        decay: decoupled weight decay by kind; 0 where none is given, but for what adamw, lion and lamb take themselves
            for weights.
        decay_schedule: a schedule's name; it multiplies the decay, and `schedule` does too.
        max_norm: each unit's incoming weights are scaled down to this norm after every step; None leaves them.
        average: the share that a moving average of the parameters keeps at each step, as 0.999. `fit` then measures
            and returns that average. None keeps none.

    Returns:
        An optax transformation; its learning rate stands in its state under `hyperparams`.

    Raises:
        ArgumentError: an unknown name or kind, a number out of its range, a schedule without a horizon, or a
            horizon of no steps.

    Example:
        >>> make_optimizer("adam", 1e-3) is make_optimizer("adam", 1e-3)
        True
        >>> optimizer = make_optimizer("adam:0.9,0.95", 0.04, factors={"bias": 0.1}, decay={"weight": 0.02})
    """
    rule = OPTIMIZERS[name]
    rate = rule.learning_rate if learning_rate is None else learning_rate
    if isinstance(rate, str) or not (math.isfinite(rate) and rate > 0):
        raise ArgumentError(f"the learning rate must be a finite number above 0, given {rate!r}")
    if clip_norm is not None and clip is not None:
        raise ArgumentError("clip_norm and clip are both given: leave one of them out")
    clip = clip if clip_norm is None else f"norm:{float(clip_norm)}"
    if clip is not None:
        CLIPPINGS[clip]  # raises for an unknown name and for a number out of its range
    if max_norm is not None:
        _require("the largest norm of a unit's weights", max_norm, "above 0", allowed=max_norm > 0)
    if average is not None:
        _require("the moving average's share", average, "at least 0 and below 1", allowed=0 <= average < 1)
    scheduled = [each for each in (schedule, decay_schedule) if SCHEDULES[each] is not None]
    if scheduled and horizon is None:
        raise ArgumentError(
            f"schedule '{scheduled[0]}' needs the run's length: give horizon=(steps, steps an epoch)"
        )
    if horizon is not None and min(horizon) < 1:
        raise ArgumentError(
            f"a run has at least 1 step and 1 step an epoch, given horizon={horizon}: count both from 1"
        )
    # A constant rate does not depend on the run's length, so it must not make the optimiser another one.
    length = (int(horizon[0]), int(horizon[1])) if scheduled and horizon else None
    by_kind = _by_kind_of("factor", factors), _by_kind_of("decay", decay)
    described = name, float(rate), schedule, length, clip, *by_kind, decay_schedule, max_norm, average
    return _build(_Description(*described))


def _by_kind_of(what: str, given: Mapping[str, float] | None) -> tuple[tuple[str, float], ...]:
    for kind, number in (given or {}).items():
        if kind not in KINDS:
            raise unknown_name("kind of parameter", str(kind), KINDS)
        _require(f"the {what} of '{kind}'", number, "at least 0", allowed=0 <= number < math.inf)
    return tuple(sorted((given or {}).items()))


@cache
def _build(described: _Description) -> optax.GradientTransformation:
    rule, factors, decay = OPTIMIZERS[described.name], dict(described.factors), dict(described.decay)

    def factor_at(schedule: str) -> Any:
        make = SCHEDULES[schedule]
        return None if make is None or described.horizon is None else make(*described.horizon)

    # Only what stands among these arguments is traced.
    def direction(
        learning_rate: Any, momentum: Any = None, weight_decay: Any = None, strength: Any = None
    ) -> Any:
        by_kind = decay if weight_decay is None else {"weight": weight_decay, **decay}
        pull = {kind: each if strength is None else each * strength for kind, each in by_kind.items()}
        parts = [rule.direction() if momentum is None else rule.direction(momentum)]
        if pull:
            parts.append(
                _by_kind(lambda update, w, kind: update + pull[kind] * w if kind in pull else update)
            )
        parts += rule.last
        if factors:
            parts.append(_by_kind(lambda update, _, kind: factors.get(kind, 1.0) * update))
        return optax.chain(*parts, optax.scale_by_learning_rate(learning_rate))

    traced = {**rule.rates, "strength": factor_at(described.decay_schedule)}
    parts = [optax.inject_hyperparams(direction)(learning_rate=described.rate, **traced)]
    if described.clip is not None:
        parts.insert(0, CLIPPINGS[described.clip])
    factor = factor_at(described.schedule)
    if factor is not None:
        parts.append(optax.scale_by_schedule(factor))
    if described.max_norm is not None:
        parts.append(_by_kind(partial(_hold_units, most=described.max_norm)))
    if described.average is not None:
        parts.append(_averaging(described.average))
    return parts[0] if len(parts) == 1 else optax.chain(*parts)


def _hold_units(update: Array, w: Array, kind: str, *, most: float) -> Array:
    """Shorten an update to leave each column of a weight, a unit's incoming weights, no longer than `most`."""
    if kind != "weight":
        return update
    length = jnp.linalg.norm(w + update, axis=-2, keepdims=True)  # of [I, O], or of members' [M, I, O]
    return (w + update) * (most / jnp.maximum(length, most)) - w


class AverageState(NamedTuple):
    """A moving average of the parameters."""

    steps: Int[Array, ""]
    averaged: Params


def _averaging(share: float) -> optax.GradientTransformation:
    def init(params: Params) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), params)

    def update(updates: Params, state: AverageState, params: Params = None) -> Any:
        # The plain mean of the first steps, which have nothing to forget.
        new = jnp.maximum(1 - share, 1 / (state.steps + 1))
        averaged = optax.incremental_update(optax.apply_updates(params, updates), state.averaged, new)
        return updates, AverageState(state.steps + 1, averaged)

    return optax.GradientTransformation(init, update)


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
