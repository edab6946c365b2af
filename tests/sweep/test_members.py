"""Members side by side: what they may differ in, what is refused, and that their data are not copied."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweep_cases import examples

from jaxmlp import init_state, make_optimizer, mlp, train_epoch
from jaxmlp.sweep.members import (
    Members,
    _train,
    evaluate_members,
    rates_of,
    scale_weights,
    start_members,
    take_members,
    train_members,
)
from jaxmlp.training.steps import Recipe
from jaxmlp.types import ArgumentError

NET = mlp([6, 5, 3], bias_init="normal:1")
RECIPE = Recipe(NET, batch_size=4)
SEEDS = np.array([0, 3, 7])


def test_a_member_begins_as_its_seed_alone() -> None:
    states = start_members(RECIPE, Members(SEEDS, {"learning_rate": np.array([0.1, 0.2, 0.3])}))
    for place, seed in enumerate(SEEDS):
        alone = init_state(NET, "sgd", jax.random.key(seed))
        for ours, theirs in zip(jax.tree.leaves(states.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(ours[place], theirs, rtol=1e-6)
        assert jax.random.key_data(states.key[place]).tolist() == jax.random.key_data(alone.key).tolist()
    np.testing.assert_allclose(states.opt_state.hyperparams["learning_rate"], [0.1, 0.2, 0.3])


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
    members = Members(np.arange(16))
    devices = tuple(jax.devices()[:1])
    wide = examples(3000)._replace(inputs=np.ones((3000, 512), np.float32))
    recipe = Recipe(mlp([512, 3]), batch_size=4)
    states = start_members(recipe, members)
    lowered = _train.lower(recipe, devices, (None, states, jnp.asarray(rows)), wide, 1)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 16 * 2000 * 512 * 4 / 10


def test_a_transform_meets_the_rows_of_its_member() -> None:
    data, rows = examples(20), np.array([[1, 5, 7, 8, 11], [0, 2, 3, 12, 19]])
    recipe = Recipe(
        NET, batch_size=2, transform=lambda key, inputs: inputs + jax.random.normal(key, inputs.shape)
    )
    members = Members(np.array([1, 2]))
    states = train_members(recipe, members, start_members(recipe, members), data, epochs=1, rows=rows)
    for place in range(2):
        alone = init_state(NET, "sgd", jax.random.key(1 + place))
        part = (data.inputs[rows[place]], data.targets[rows[place]])
        alone, _ = train_epoch(NET, "sgd", alone, part, batch_size=2, transform=recipe.transform)
        for ours, theirs in zip(jax.tree.leaves(states.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(ours[place], theirs, rtol=1e-5, atol=1e-6)


def test_members_are_taken_with_their_keys() -> None:
    states = start_members(RECIPE, Members(SEEDS))
    taken = take_members(states, [2, 0])
    assert taken.params[0].w.shape == (2, 6, 5)
    expected = jax.random.key_data(states.key)[np.array([2, 0])]
    assert jax.random.key_data(taken.key).tolist() == expected.tolist()


def test_a_nan_is_seen_in_the_scores() -> None:
    members = Members(SEEDS)
    params = start_members(RECIPE, members).params
    broken = params[0]._replace(b=params[0].b.at[1, 0].set(jnp.nan))
    scores = evaluate_members(RECIPE, members, (broken, *params[1:]), examples(9))
    assert scores.finite.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (Members(np.array([], int)), "and shape [0]: give one for each member, as np.arange(M)"),
        (Members(np.array([3, -1])), "lie in 0 to 4294967295, given -1 to 3: choose others there"),
        (Members(np.array([0, 2**32])), "seeds must lie in 0 to 4294967295, given 0 to 4294967296"),
        (Members(np.arange(1000) / 2), "seeds must be whole numbers [M]"),
        (Members(np.array([0.5])), "seeds must be whole numbers"),
        (Members(SEEDS, {"momentum": np.ones(3)}), "holds no rate 'momentum'"),
        (
            Members(SEEDS, {"learning_rate": np.ones(2)}),
            "one 'learning_rate' each, shape [3] as the seeds, given shape [2]",
        ),
        (Members(SEEDS, l2=np.ones(4)), "one 'l2' each"),
    ],
)
def test_refuses_in_one_line(members: Members, words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        start_members(RECIPE, members)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


ROWS = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": Members(SEEDS[:2])}, "states must have a leading axis of 2"),
        ({"rows": ROWS[:2]}, "rows must be whole numbers [3, R]"),
        ({"rows": ROWS[0]}, "given type int64 and shape [3]"),
        ({"rows": ROWS[:, :0]}, "R at least 1"),
        ({"rows": ROWS > 1}, "given type bool"),
        ({"rows": ROWS / 1}, "given type float64"),
        ({"rows": ROWS + 1}, "rows must lie in 0 to 8 for 9 examples, given 1 to 9"),
        ({"rows": ROWS - 1}, "rows must lie in 0 to 8 for 9 examples, given -1 to 7"),
        ({"data": examples(9)._replace(targets=np.zeros(8, int))}, "as many targets as inputs"),
        ({"data": examples(9)._replace(weight=np.ones(8))}, "sample weights must have shape [9]"),
    ],
)
def test_training_refuses_differing_lengths(changes: dict[str, Any], words: str) -> None:
    states = start_members(RECIPE, Members(SEEDS))
    right: dict[str, Any] = {"members": Members(SEEDS), "states": states, "data": examples(9), "rows": ROWS}
    with pytest.raises(ArgumentError) as caught:
        train_members(RECIPE, epochs=1, **(right | changes))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": Members(SEEDS[:2])}, "parameters must have a leading axis of 2"),
        ({"weight": np.ones((3, 8), np.float32)}, "9 examples, given [3, 8]: give that, or None"),
        ({"weight": np.ones(9, np.float32)}, "weight must have shape [3, 9], a number for each of 3 members"),
        ({"data": examples(9)._replace(targets=np.zeros(8, int))}, "as many targets as inputs"),
    ],
)
def test_evaluation_refuses_differing_lengths(changes: dict[str, Any], words: str) -> None:
    params = start_members(RECIPE, Members(SEEDS)).params
    right: dict[str, Any] = {"members": Members(SEEDS), "params": params, "data": examples(9)}
    with pytest.raises(ArgumentError) as caught:
        evaluate_members(RECIPE, **(right | changes))
    assert words in str(caught.value)


def test_what_members_are_given_by_default_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Members(SEEDS).rates["learning_rate"] = np.ones(3)  # type: ignore[index]
