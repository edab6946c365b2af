"""Optimisers are optax's own by name, built once a description, with their rates where a sweep can reach them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparisons import refused
from slow_cases import others_slow

from jaxmlp.backprop import value_and_grad
from jaxmlp.layers import Committee, Dense, DenseParams, Scale
from jaxmlp.network import Network
from jaxmlp.training.optimizers import OPTIMIZERS, SCHEDULES, make_optimizer, resolve_optimizer
from jaxmlp.training.steps import init_state, measured_params, train_step

# Schedules whose parameters have no default need an example; any other is tested by its bare name.
SCHEDULE_EXAMPLES = {"exponential": "exponential:0.5", "step": "step:0.5,2"}
SCHEDULE_NAMES = [SCHEDULE_EXAMPLES.get(name, name) for name in SCHEDULES]
PAIRS = [*((name, "cosine") for name in OPTIMIZERS), *(("adam", schedule) for schedule in SCHEDULE_NAMES)]
STEPS, STEPS_PER_EPOCH = 12, 3
HORIZON = (STEPS, STEPS_PER_EPOCH)


def of_two_axes(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


# The plain optax optimiser that each description stands for.
PLAIN: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "adam": optax.adam,
    "adam:0.8": lambda rate: optax.adam(rate, 0.8),
    "adam:0.8,0.9,0.01": lambda rate: optax.adam(rate, 0.8, 0.9, 0.01),
    "nadam": optax.nadam,
    "rmsprop": optax.rmsprop,
    "adagrad": optax.adagrad,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "momentum:0.5": lambda rate: optax.sgd(rate, momentum=0.5),
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "nesterov:0.5": lambda rate: optax.sgd(rate, momentum=0.5, nesterov=True),
    "adamw": lambda rate: optax.adamw(rate, weight_decay=1e-2, mask=of_two_axes),
    "adamw:0.3": lambda rate: optax.adamw(rate, weight_decay=0.3, mask=of_two_axes),
    "lion": lambda rate: optax.lion(rate, weight_decay=1e-2, mask=of_two_axes),
    "lion:0.3": lambda rate: optax.lion(rate, weight_decay=0.3, mask=of_two_axes),
    "lamb": lambda rate: optax.lamb(rate, weight_decay=1e-2, mask=of_two_axes),
    "lamb:0.3": lambda rate: optax.lamb(rate, weight_decay=0.3, mask=of_two_axes),
}


def start() -> Any:
    random = np.random.default_rng(0)
    return {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}


SHAPES = {"w": (3, 2), "b": (2,)}


def descend(
    optimizer: optax.GradientTransformation,
    count: int,
    gradient: Callable[[Any], Any] = lambda params: params,
    rate: float | None = None,
) -> list[Any]:
    """Take steps and return the parameters before, between and after them; ½‖p‖² has the gradient p."""
    params = start()
    seen = [params]
    # Optax mixes types inside; `train_step` does the same.
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)
        if rate is not None:
            state.hyperparams["learning_rate"] = jnp.asarray(rate)
        for _ in range(count):
            updates, state = optimizer.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
            seen.append(params)
    return seen


def factors(schedule: str, horizon: tuple[int, int] = HORIZON, count: int = STEPS + 2) -> np.ndarray:
    """Read a schedule's factors [count] off the updates of plain descent along a gradient of 1."""
    optimizer = make_optimizer("sgd", 1.0, schedule=schedule, horizon=horizon)
    seen = descend(optimizer, count, lambda params: jax.tree.map(jnp.ones_like, params))
    return -np.diff([params["b"][0] for params in seen])


def assert_first_two_alike(found: Any, expected: Any, other: Any) -> None:
    for leaf in SHAPES:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-6, atol=1e-7)
        assert not np.allclose(found[leaf], other[leaf], rtol=1e-4)


# --- each name ---


@pytest.mark.parametrize(("name", "schedule"), others_slow((pytest.param(*pair) for pair in PAIRS), kept=4))
def test_every_optimizer_and_every_schedule_go_downhill(name: str, schedule: str) -> None:
    seen = descend(make_optimizer(name, schedule=schedule, horizon=HORIZON), 4)
    norms = [float(optax.tree.norm(params)) for params in seen]
    assert np.all(np.isfinite(norms))
    assert norms[-1] < norms[0]
    assert {leaf: seen[-1][leaf].shape for leaf in seen[-1]} == SHAPES


@pytest.mark.parametrize("name", {**OPTIMIZERS, **PLAIN})  # one without its plain counterpart fails
def test_three_steps_equal_plain_optax(name: str) -> None:
    optimizers = (make_optimizer(name, 0.02), PLAIN[name](0.02), PLAIN[name](0.03))
    assert_first_two_alike(*(descend(optimizer, 3)[-1] for optimizer in optimizers))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_default_rate_is_the_registered_one(name: str) -> None:
    assert make_optimizer(name) is make_optimizer(name, OPTIMIZERS[name].learning_rate)


# --- schedules ---


# Factors at the first step, after half of the run and after the whole of it.
DOCUMENTED: list[tuple[str, float, float, float]] = [
    ("constant", 1, 1, 1),
    ("cosine", 1, 0.5, 0),
    ("cosine:0.2", 1, 0.6, 0.2),
    ("linear", 1, 0.5, 0),
    ("linear:0.2", 1, 0.6, 0.2),
    ("exponential:0.5", 1, 0.5**2, 0.5**4),
    ("step:0.5,2", 1, 0.5, 0.25),
    ("step:0.1,4", 1, 1, 0.1),
    # Up over 3 of 12 steps, then half a cosine over the other 9, of which 3 are done at the middle.
    ("warmup_cosine:0.25", 0, (1 + math.cos(math.pi / 3)) / 2, 0),
    ("coslog", 0, (1 - math.cos(2 * math.pi * math.log2(8.5))) / 2, 0),
    ("coslog:2", 0, (1 - math.cos(2 * math.pi * math.log2(2.5))) / 2, 0),
    ("flat_cos", 1, 1, 0),
]


@pytest.mark.parametrize(("schedule", "expected"), [(row[0], row[1:]) for row in DOCUMENTED])
def test_schedule_begins_and_ends_as_documented(schedule: str, expected: tuple[float, ...]) -> None:
    assert {row[0].partition(":")[0] for row in DOCUMENTED} == set(SCHEDULES)
    found = factors(schedule)
    np.testing.assert_allclose(found[[0, STEPS // 2, STEPS]], expected, atol=1e-5)
    assert np.all((found >= -1e-6) & (found <= 1 + 1e-5)), "no schedule raises the rate above the given one"


def test_exponential_and_step_change_between_epochs_alone() -> None:
    for schedule, epochs in (("exponential:0.5", 1), ("step:0.5,2", 2)):
        expected = [0.5 ** (step // (epochs * STEPS_PER_EPOCH)) for step in range(STEPS)]
        np.testing.assert_allclose(factors(schedule, count=STEPS), expected, atol=1e-5)


def test_the_schedules_of_tables_turn_where_they_should() -> None:
    # Cycles of 1, 2, 4 and 8 fifteenths of the run; then flat for half of it and halfway down after three quarters.
    found = factors("coslog:4", (15, 1), count=16)
    np.testing.assert_allclose(found[[0, 1, 3, 7, 15]], 0, atol=1e-5)
    assert found.max() > 0.95
    np.testing.assert_allclose(factors("flat_cos")[[0, 3, 6, 9, 12]], [1, 1, 1, 0.5, 0], atol=1e-5)


def test_warm_up_climbs_in_a_straight_line() -> None:
    np.testing.assert_allclose(factors("warmup_cosine:0.5")[:7], np.arange(7) / 6, atol=1e-5)
    np.testing.assert_allclose(factors("warmup_cosine", (1, 1), count=2), [0, 1], atol=1e-5)


# --- descriptions, and the rates in the state ---


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_one_description_is_one_object(name: str, schedule: str) -> None:
    description: dict[str, Any] = {"schedule": schedule, "horizon": HORIZON, "clip_norm": 1.0}
    first = make_optimizer(name, 0.1, **description)
    assert make_optimizer(name, 0.1, **description) is first
    assert make_optimizer(name, 0.2, **description) is not first
    assert make_optimizer(name, 0.1, **description | {"clip_norm": 2.0}) is not first
    assert hash(make_optimizer(name, 0.1, **description)) == hash(first)
    # A constant rate does not depend on the run's length.
    assert make_optimizer(name, 0.1, horizon=(10, 5)) is make_optimizer(name, 0.1)


def test_a_name_resolves_to_its_object_and_a_bare_transformation_to_itself() -> None:
    bare = optax.chain(optax.clip(1.0), optax.adam(1e-3))
    assert resolve_optimizer(bare) is bare
    assert resolve_optimizer("momentum:0.5") is make_optimizer("momentum:0.5")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_stands_in_the_state_and_rules_from_there(name: str) -> None:
    optimizer = make_optimizer(name, 0.01)
    assert float(optimizer.init(start()).hyperparams["learning_rate"]) == pytest.approx(0.01)
    found, expected = descend(optimizer, 2, rate=0.03)[-1], descend(make_optimizer(name, 0.03), 2)[-1]
    assert_first_two_alike(found, expected, descend(optimizer, 2)[-1])


# --- weight decay and clipping ---


@pytest.mark.parametrize("name", ["adamw", "lion", "lamb"])
def test_weight_decay_shrinks_matrices_and_leaves_biases(name: str) -> None:
    no_gradient = partial(jax.tree.map, jnp.zeros_like)
    before, after = descend(make_optimizer(f"{name}:0.5", 0.1), 1, no_gradient)
    np.testing.assert_array_equal(after["b"], before["b"])
    assert float(jnp.linalg.norm(after["w"])) < 0.99 * float(jnp.linalg.norm(before["w"]))
    if name == "adamw":
        np.testing.assert_allclose(after["w"], before["w"] * (1 - 0.1 * 0.5), rtol=1e-6)
    _, undecayed = descend(make_optimizer(f"{name}:0", 0.1), 1, no_gradient)
    np.testing.assert_array_equal(undecayed["w"], before["w"])


def test_clipping_holds_the_norm_of_the_whole_gradient() -> None:
    for clip_norm, expected in ((0.5, 0.5), (1e6, 100 * math.sqrt(8))):  # of eight partial derivatives
        optimizer = make_optimizer("sgd", 1.0, clip_norm=clip_norm)
        before, after = descend(optimizer, 1, partial(jax.tree.map, lambda leaf: 100 * jnp.ones_like(leaf)))
        assert float(optax.tree.norm(optax.tree.sub(after, before))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("clip", "expected"), [("norm:0.5", 0.5 / 8**0.5), ("value:0.25", 0.25)])
def test_a_gradient_is_clipped_by_name(clip: str, expected: float) -> None:
    optimizer = make_optimizer("sgd", 1.0, clip=clip)
    before, after = descend(optimizer, 1, partial(jax.tree.map, lambda leaf: 100 * jnp.ones_like(leaf)))
    np.testing.assert_allclose(before["w"] - after["w"], expected, rtol=1e-4)
    assert make_optimizer("sgd", clip="norm:1.0") is make_optimizer("sgd", clip_norm=1)


# --- by kind of parameter, as the layers name it ---


class Table(Dense):
    """A layer whose parameter of two axes is no weight."""

    def kinds(self, params: Any) -> Any:
        return DenseParams("embedding", "bias")


MIXED = Network(3, [Scale(), Table(4, bias_init="normal:1"), Dense(2, bias_init="normal:1")])
DATA = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32), np.array([0, 1, 1, 0, 1])
NAMED = ("scale", "embedding", "bias", "weight", "bias")


def stepped(optimizer: Any, count: int = 1) -> list[Any]:
    """Take steps on one batch and return the states before, between and after them."""
    states = [init_state(MIXED, optimizer, jax.random.key(0))]
    for _ in range(count):
        states.append(train_step(MIXED, optimizer, states[-1], DATA)[0])
    return states


@pytest.mark.parametrize("step", [0, 3])
def test_rate_and_decay_go_by_kind_and_by_schedule(step: int) -> None:
    factor, decay = {"scale": 6.0, "bias": 0.1, "embedding": 0.0}, {"weight": 0.5, "scale": 2.0}
    schedules = {"schedule": "linear", "decay_schedule": "flat_cos", "horizon": (4, 1)}
    before, after = stepped(make_optimizer("sgd", 0.1, factors=factor, decay=decay, **schedules), 4)[
        step : step + 2
    ]
    _, grads = value_and_grad(MIXED, before.params, *DATA)
    rate, strength = 0.1 * (1 - step / 4), 1.0 if step < 2 else 0.5
    leaves = zip(NAMED, *map(jax.tree.leaves, (before.params, grads, after.params)), strict=True)
    for kind, w, grad, found in leaves:
        expected = w - rate * factor.get(kind, 1) * (grad + strength * decay.get(kind, 0) * w)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert not np.allclose(before.params[2].w, after.params[2].w, atol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "lion", "lamb"])
def test_weight_decay_knows_a_weight_by_its_kind_and_not_by_its_axes(name: str) -> None:
    decayed, plain = (stepped(make_optimizer(f"{name}:{decay}", 0.1))[-1].params for decay in (9, 0))
    moved = [not np.allclose(*pair) for pair in zip(*map(jax.tree.leaves, (decayed, plain)), strict=True)]
    assert dict(zip(NAMED, moved, strict=True)) == {
        "scale": False,
        "embedding": False,
        "bias": False,
        "weight": True,
    }


def test_decay_by_kind_stands_in_place_of_the_optimisers_own() -> None:
    found, expected = (
        stepped(make_optimizer(name, 0.1, decay=decay))[-1].params
        for name, decay in (("adamw:9", {"weight": 0.2}), ("adamw:0.2", None))
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, expected)


def test_a_units_weights_are_held_to_a_norm() -> None:
    states = stepped(make_optimizer("sgd", 0.1, max_norm=0.5), 2)
    free = stepped(make_optimizer("sgd", 0.1))
    norms = np.linalg.norm(states[1].params[2].w, axis=0)
    assert np.all(norms <= 0.5 + 1e-6)
    unheld = np.asarray(free[1].params[2].w)
    length = np.linalg.norm(unheld, axis=0)
    assert np.any(length > 0.5)
    np.testing.assert_allclose(states[1].params[2].w, unheld * np.minimum(1, 0.5 / length), rtol=1e-5)
    np.testing.assert_array_equal(states[1].params[1].w, free[1].params[1].w)  # no weight, and not held


def test_the_units_of_each_member_of_a_committee_are_held_by_themselves() -> None:
    net, optimizer = Network(3, [Committee([Dense(2)], members=2)]), make_optimizer("sgd", 0.1, max_norm=0.5)
    state = init_state(net, optimizer, jax.random.key(0))
    (w,) = [
        leaf for leaf in jax.tree.leaves(train_step(net, optimizer, state, DATA)[0].params) if leaf.ndim == 3
    ]
    norms = np.linalg.norm(w, axis=1)
    assert norms.shape == (2, 2)
    assert np.all(norms <= 0.5 + 1e-6)
    assert np.any(norms > 0.49)


def test_a_moving_average_of_the_parameters_is_what_is_measured() -> None:
    states = stepped(make_optimizer("sgd", 0.5, average=0.6), 4)
    expected = states[1].params
    assert measured_params(stepped("sgd")[1]) is not None
    for number, state in enumerate(states[1:], start=1):
        new = max(0.4, 1 / number)
        expected = jax.tree.map(lambda old, now, new=new: (1 - new) * old + new * now, expected, state.params)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), measured_params(state), expected
        )
    assert not np.allclose(expected[2].w, states[-1].params[2].w, rtol=1e-3)


# --- refusals ---


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adm", {}, "unknown optimiser 'adm': did you mean 'adam'"),
        ("sgd:0.9", {}, "takes no parameter"),
        ("sgd", {"learning_rate": 0.0}, "finite number above 0, given 0"),
        ("sgd", {"learning_rate": -0.1}, "finite number above 0, given -0.1"),
        ("sgd", {"learning_rate": math.nan}, "finite number above 0, given nan"),
        ("sgd", {"learning_rate": math.inf}, "finite number above 0, given inf"),
        ("momentum:1.5", {}, "momentum must be at least 0 and below 1, given 1.5"),
        ("nesterov:-0.1", {}, "momentum must be at least 0 and below 1, given -0.1"),
        ("momentum:nan", {}, "not finite numbers"),
        ("momentum:0.9,0.9", {}, "2 parameter(s)"),
        ("adamw:-1", {}, "weight decay must be at least 0, given -1"),
        ("lion:-1", {}, "weight decay must be at least 0, given -1"),
        ("lamb:-1", {}, "weight decay must be at least 0, given -1"),
        ("sgd", {"learning_rate": "0.1"}, "a finite number above 0, given '0.1'"),
        ("sgd", {"clip_norm": 0.0}, "must be above 0, given 0"),
        ("sgd", {"clip_norm": -1.0}, "must be above 0, given -1"),
        ("sgd", {"clip_norm": math.nan}, "not finite numbers"),
        ("sgd", {"clip_norm": 1.0, "clip": "value:1"}, "clip_norm and clip are both given"),
        ("sgd", {"clip": "values:1"}, "unknown clipping 'values:1': did you mean 'value'"),
        ("sgd", {"clip": "value:0"}, "value to clip gradients to must be above 0, given 0"),
        ("sgd", {"factors": {"scales": 6}}, "unknown kind of parameter 'scales': did you mean 'scale'"),
        ("sgd", {"factors": {"scale": -6}}, "factor of 'scale' must be at least 0, given -6"),
        ("sgd", {"decay": {"weight": math.nan}}, "decay of 'weight' must be at least 0, given nan"),
        ("sgd", {"decay_schedule": "flat_cos"}, "schedule 'flat_cos' needs the run's length"),
        ("sgd", {"max_norm": 0.0}, "largest norm of a unit's weights must be above 0, given 0"),
        ("sgd", {"average": 1.0}, "average's share must be at least 0 and below 1, given 1"),
        ("adam:1", {}, "adam's beta must be at least 0 and below 1, given 1"),
        ("adam:0.9,-1", {}, "adam's beta must be at least 0 and below 1, given -1"),
        ("adam:0.9,0.9,0", {}, "adam's epsilon must be above 0, given 0"),
        (
            "sgd",
            {"schedule": "coslog:0", "horizon": HORIZON},
            "coslog schedule's cycles must be above 0, given 0",
        ),
        ("sgd", {"schedule": "cosin", "horizon": HORIZON}, "did you mean 'cosine'"),
        ("sgd", {"schedule": "constant:1"}, "takes no parameter"),
        ("sgd", {"schedule": "exponential", "horizon": HORIZON}, "takes factor"),
        ("sgd", {"schedule": "exponential:-1", "horizon": HORIZON}, "factor must be above 0, given -1"),
        ("sgd", {"schedule": "step:0,2", "horizon": HORIZON}, "factor must be above 0, given 0"),
        ("sgd", {"schedule": "step:0.5,0", "horizon": HORIZON}, "epochs must be above 0, given 0"),
        ("sgd", {"schedule": "linear:-1", "horizon": HORIZON}, "end must be at least 0, given -1"),
        ("sgd", {"schedule": "cosine:-1", "horizon": HORIZON}, "end must be at least 0, given -1"),
        ("sgd", {"schedule": "warmup_cosine:0", "horizon": HORIZON}, "share of the run"),
        ("sgd", {"schedule": "warmup_cosine:1", "horizon": HORIZON}, "share of the run"),
        ("sgd", {"schedule": "cosine", "horizon": (0, 3)}, "at least 1 step"),
        ("sgd", {"schedule": "exponential:0.5", "horizon": (12, 0)}, "at least 1 step"),
    ],
)
def test_refuses_in_one_line(name: str, options: dict[str, Any], words: str) -> None:
    refused(words, make_optimizer, name, **options)


@pytest.mark.parametrize("schedule", [name for name in SCHEDULE_NAMES if name != "constant"])
def test_refuses_a_schedule_without_the_runs_length(schedule: str) -> None:
    refused("give horizon=(steps, steps an epoch)", make_optimizer, "sgd", schedule=schedule)


@pytest.mark.parametrize("given", [3, None, optax.adam])
def test_refuses_what_is_no_optimizer(given: Any) -> None:
    refused("not an optimiser", resolve_optimizer, given)
