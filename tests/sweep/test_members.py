"""Members side by side: what they may differ in, and that their data are not copied."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweep_cases import examples

from jaxmlp import fit, init_state, make_optimizer, mlp, train_epoch
from jaxmlp.sweep.members import (
    Members,
    Watched,
    evaluate_members,
    in_calls,
    rates_of,
    scale_weights,
    start_members,
    train_members,
    watch,
    watch_members,
)
from jaxmlp.training.steps import Recipe
from jaxmlp.training.stopping import Stopping

NET = mlp([6, 5, 3], bias_init="normal:1")
RECIPE = Recipe(NET, batch_size=4)
ONE = tuple(jax.devices()[:1])
SEEDS = jnp.array([0, 3, 7], jnp.uint32)
RATES = {"learning_rate": jnp.array([0.1, 0.2, 0.3])}


def assert_close(found: Any, expected: Any, *, relative: float = 1e-6, absolute: float = 0.0) -> None:
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=relative, atol=absolute)


def test_a_member_begins_as_its_seed_alone_and_a_nan_is_seen_in_its_scores() -> None:
    members = Members(SEEDS, RATES)
    states = start_members(RECIPE, ONE, members)
    for place, seed in enumerate(SEEDS):
        alone = init_state(NET, "sgd", jax.random.key(seed))
        assert_close(jax.tree.map(lambda leaf, at=place: leaf[at], states.params), alone.params)
        assert jax.random.key_data(states.key[place]).tolist() == jax.random.key_data(alone.key).tolist()
    np.testing.assert_allclose(states.opt_state.hyperparams["learning_rate"], [0.1, 0.2, 0.3])
    first, *others = states.params
    broken = (first._replace(b=first.b.at[1, 0].set(jnp.nan)), *others)
    scores = evaluate_members(RECIPE, ONE, members, broken, examples(9))
    assert scores.finite.tolist() == [True, False, True]


def test_weights_are_scaled_and_biases_are_not() -> None:
    params = init_state(NET, "sgd", jax.random.key(0)).params
    scaled = scale_weights(NET, params, 3.0)
    for before, after in zip(params, scaled, strict=True):
        if before:
            np.testing.assert_allclose(after.w, 3 * before.w)
            np.testing.assert_array_equal(after.b, before.b)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("sgd", {"learning_rate": 0.2}),
        ("momentum:0.5", {"learning_rate": 0.05, "momentum": 0.5}),
        ("adamw:0.3", {"learning_rate": 1e-3, "weight_decay": 0.3}),
    ],
)
def test_rates_are_read_out_of_the_state(name: str, rates: dict[str, float]) -> None:
    assert rates_of(name) == rates
    clipped = make_optimizer(name, schedule="cosine", horizon=(4, 2), clip_norm=1.0)
    assert rates_of(clipped) == rates


@pytest.mark.slow
def test_the_data_are_not_copied_for_each_member() -> None:
    rows = np.stack([np.arange(2000)] * 16)
    members = Members(jnp.arange(16, dtype=jnp.uint32), {})
    wide = examples(3000)._replace(inputs=np.ones((3000, 512), np.float32))
    recipe = Recipe(mlp([512, 3]), batch_size=4)
    states = start_members(recipe, ONE, members)
    lowered = train_members.lower(recipe, ONE, members, states, wide, 1, jnp.asarray(rows))
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 16 * 2000 * 512 * 4 / 10


@pytest.mark.slow
def test_a_transform_meets_the_rows_of_its_member() -> None:
    data, rows = examples(20), np.array([[1, 5, 7, 8, 11], [0, 2, 3, 12, 19]])
    recipe = Recipe(NET, batch_size=2, transform=lambda key, x: x + jax.random.normal(key, x.shape))
    members = Members(SEEDS[1:], {})
    states = start_members(recipe, ONE, members)
    states = train_members(recipe, ONE, members, states, data, 1, rows)
    for place, seed in enumerate(SEEDS[1:]):
        alone = init_state(NET, "sgd", jax.random.key(seed))
        part = (data.inputs[rows[place]], data.targets[rows[place]])
        alone, _ = train_epoch(NET, "sgd", alone, part, batch_size=2, transform=recipe.transform)
        found = jax.tree.map(lambda leaf, at=place: leaf[at], states.params)
        assert_close(found, alone.params, relative=1e-5, absolute=1e-6)


def watched_to_the_end(
    recipe: Recipe, members: Members, valid: Any, epochs: int, rows: Any = None
) -> Watched:
    data, states = examples(20), start_members(recipe, ONE, members)
    told: list[int] = []

    def advance(watched: Watched, count: int) -> Watched:
        return watch_members(recipe, ONE, members, watched, data, valid, count, rows)

    found = in_calls(advance, watch(states, epochs), epochs, told.append)
    assert sum(told) == epochs
    return found


def fitted_alone(seed: int, rate: float, train: Any, valid: Any, epochs: int) -> Any:
    optimizer = make_optimizer("sgd", float(rate))
    state = init_state(NET, optimizer, jax.random.key(seed))
    stopping = Stopping(keep_best=True, monitor="score", ties="last")
    options: dict[str, Any] = {"batch_size": 4, "epochs": epochs, "state": state, "stopping": stopping}
    return fit(NET, train, valid, optimizer=optimizer, **options)


@pytest.mark.slow
@pytest.mark.parametrize("in_rows", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_each_member_keeps_its_best_epoch_as_a_fit_does(in_rows: bool) -> None:
    epochs, data = 7, examples(20)
    pairs = [np.split(np.random.default_rng(seed).permutation(20), [15]) for seed in range(3)]
    rows = tuple(map(np.stack, zip(*pairs, strict=True))) if in_rows else None
    found = watched_to_the_end(RECIPE, Members(SEEDS, RATES), None if in_rows else examples(9), epochs, rows)
    for place, (seed, rate) in enumerate(zip(SEEDS, RATES["learning_rate"], strict=True)):
        parts = [(data.inputs[each], data.targets[each]) for each in pairs[place]]
        train, valid = parts if in_rows else (data, examples(9))
        result = fitted_alone(seed, rate, train, valid, epochs)
        assert result.best is not None
        assert int(found.epoch[place]) == result.best.epoch
        np.testing.assert_allclose(found.score[place], [row.valid_score for row in result.history], rtol=1e-6)
        np.testing.assert_allclose(found.loss[place], [row.valid_loss for row in result.history], rtol=1e-5)
        ours = jax.tree.map(lambda leaf, at=place: leaf[at], found.params)
        assert_close(ours, result.state.params, relative=1e-4, absolute=1e-5)
    # Scores of a few examples tie, so that to keep the first of equals would be seen.
    scores = np.asarray(found.score)
    assert np.any(np.argmax(scores, axis=1) + 1 != np.asarray(found.epoch))
    assert in_rows or len({int(each) for each in found.epoch}) > 1


@pytest.mark.slow
def test_of_an_error_the_least_is_the_best_and_what_diverges_keeps_its_start() -> None:
    recipe = Recipe(NET, batch_size=4, metric="zero_one_loss")
    members = Members(SEEDS, {"learning_rate": jnp.array([0.1, 0.3, jnp.nan])})
    found = watched_to_the_end(recipe, members, examples(9), 4)
    scores = np.asarray(found.score)
    assert [scores[place, epoch - 1] for place, epoch in enumerate(found.epoch[:2])] == scores[:2].min(
        axis=1
    ).tolist()
    assert int(found.epoch[2]) == 0
    begun = start_members(recipe, ONE, members).params
    assert_close(*(jax.tree.map(lambda leaf: leaf[2], params) for params in (found.params, begun)))
