"""A network trained beside others is what it would be when trained by itself."""

from typing import Any

import jax
import jax.numpy as jnp
import lesson_studies
import numpy as np
import pytest
from lesson_program import draw_examples
from side_by_side import MEASURES, SGD, spread, train_by_epoch
from slow_cases import others_slow

from jaxmlp import Batch, evaluate, fit, init_state, make_optimizer, mlp, train_epoch
from jaxmlp.training.steps import Recipe

NET = mlp([6, 5, 3], activation="tanh")
RATE = 0.4


def data(examples: int = 22) -> Batch:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(examples, 6)).astype(np.float32)
    return Batch(jnp.asarray(inputs), jnp.asarray(random.integers(0, 3, examples)))


def member(states: Any, place: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[place], states)


def assert_close(ours: Any, theirs: Any, rtol: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), ours, theirs)


@pytest.mark.parametrize("shuffle", others_slow([True, False]))
@pytest.mark.slow
def test_a_member_is_what_its_seed_gives(shuffle: bool) -> None:
    recipe, test = Recipe(NET, SGD, batch_size=4, shuffle=shuffle), data(9)
    for number, standing in enumerate(train_by_epoch(recipe, 3, RATE, data(), test, 2)):
        assert (standing.seconds > 0) == (number > 0)
        for seed in range(3):
            one = init_state(NET, make_optimizer("sgd", RATE), jax.random.key(seed))
            for _ in range(number):
                one, _ = train_epoch(
                    NET, make_optimizer("sgd", RATE), one, data(), batch_size=4, shuffle=shuffle
                )
            assert_close(member(standing.params, seed), one.params)
            parts = [evaluate(NET, one.params, part) for part in (data(), test)]
            expected = [float(value) for found in parts for value in (found.score, found.loss)]
            assert_close([standing.measures[name][seed] for name in MEASURES], expected)


def test_one_that_diverges_is_not_measured() -> None:
    *_, last = train_by_epoch(Recipe(NET, SGD), 2, np.inf, data(), data(), 2)
    assert all(np.isnan(values).all() for values in last.measures.values())


@pytest.mark.slow
def test_a_network_with_its_own_data_trains_as_by_itself() -> None:
    net, random, steps = mlp([2, 3, 2], activation="tanh"), np.random.default_rng(0), 20
    pairs = [(random.normal(size=(6, 2)).astype(np.float32), np.arange(6, dtype=np.int32) % 2) for _ in "ab"]
    parts, others = lesson_studies.stack(pairs), lesson_studies.stack(pairs[::-1])
    params = lesson_studies.draw_params(net, 2)
    trained = lesson_studies.train_each(net, params, parts, others, steps=steps, learning_rate=0.02)
    optimizer = make_optimizer("adam", 0.02)
    for place, own in enumerate(pairs):
        state = init_state(net, optimizer, jax.random.key(5))._replace(params=member(params, place))
        settings: Any = {"batch_size": 6, "epochs": steps, "shuffle": False}
        state = fit(net, own, optimizer=optimizer, state=state, **settings).state
        assert_close(member(trained.params, place), state.params)
        for metrics, part in ((trained.train, own), (trained.valid, pairs[1 - place])):
            expected = float(evaluate(net, state.params, part).loss)
            assert float(metrics.loss[place]) == pytest.approx(expected, rel=1e-4)


def test_repeat_keeps_the_networks_of_a_setting_together() -> None:
    repeated = lesson_studies.repeat(Batch(jnp.arange(4).reshape(2, 2), jnp.array([7, 8])), 3)
    assert repeated.targets.tolist() == [7, 8, 7, 8, 7, 8]
    assert repeated.inputs.shape == (6, 2)


def test_a_spread_is_a_middle_and_a_range() -> None:
    assert spread([1.0, 5.0, 2.0], "{:.1f}".format) == "2.0 (1.0 to 5.0)"
    assert spread([1.0, 2.0, 6.0], str, np.mean) == "3.0 (1.0 to 6.0)"
    assert spread([1.0], str) == "1.0"
    assert spread([1.0, np.nan], str) == "not finite in 1 of 2 seeds"


def test_examples_are_drawn_once_each_with_their_labels() -> None:
    numbered = Batch(np.arange(20.0, dtype=np.float32)[:, None], np.arange(20))
    drawn = draw_examples(numbered, 8)
    labels = np.asarray(drawn.targets).tolist()
    assert len(set(labels)) == 8
    assert sorted(labels) != list(range(8))
    assert drawn.inputs[:, 0].tolist() == labels == draw_examples(numbered, 8).targets.tolist()
    for count in (None, 20, 99):
        assert draw_examples(numbered, count).targets.tolist() == list(range(20))
    with jax.enable_x64(True):
        assert draw_examples(numbered, 8).inputs.dtype == jnp.float64
