"""A network trained beside others is what it would be when trained by itself."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import side_by_side
from lesson_program import draw_examples
from side_by_side import compile_epoch, evaluate_members, keep_members, spread, start_members
from slow_cases import others_slow

from jaxmlp import Batch, evaluate, fit, init_state, make_optimizer, mlp, train_epoch

NET = mlp([6, 5, 3], activation="tanh")
SEEDS = np.array([0, 3, 7], np.uint32)
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
    states = start_members(NET, SEEDS, RATE)
    epoch = compile_epoch(NET, states, data(), batch_size=4, shuffle=shuffle)
    for _ in range(2):
        before, (states, metrics) = states, epoch(states)
    measured, optimizer = evaluate_members(NET, states.params, data()), make_optimizer("sgd", RATE)
    for place, seed in enumerate(SEEDS):
        one = init_state(NET, optimizer, jax.random.key(seed))
        for _ in range(2):
            one, one_metrics = train_epoch(NET, optimizer, one, data(), batch_size=4, shuffle=shuffle)
        expected = (one.params, one_metrics, evaluate(NET, one.params, data()))
        assert_close(member((states.params, metrics, measured), place), expected)
    mixed = keep_members([False, True, False], before, states)
    for place, source in enumerate((states, before, states)):
        assert_close(member(mixed.params, place), member(source.params, place), rtol=0)
        assert int(mixed.epoch[place]) == int(source.epoch[place])


def test_one_compiled_epoch_serves_every_rate() -> None:
    slow, fast = (start_members(NET, SEEDS, rate) for rate in (0.01, 0.5))
    epoch = compile_epoch(NET, slow, data(), batch_size=22, shuffle=False)
    moved = [np.asarray(epoch(each)[0].params[0].w - each.params[0].w, np.float64) for each in (slow, fast)]
    np.testing.assert_allclose(moved[1], 50 * moved[0], rtol=1e-3, atol=1e-5)
    assert np.abs(moved[1]).max() > 1e-2


@pytest.mark.slow
def test_a_network_with_its_own_data_trains_as_by_itself() -> None:
    net, random, steps = mlp([2, 3, 2], activation="tanh"), np.random.default_rng(0), 20
    pairs = [(random.normal(size=(6, 2)).astype(np.float32), np.arange(6, dtype=np.int32) % 2) for _ in "ab"]
    parts, others = side_by_side.stack(pairs), side_by_side.stack(pairs[::-1])
    params = side_by_side.draw_params(net, 2)
    trained = side_by_side.train_each(net, params, parts, others, steps=steps, learning_rate=0.02)
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
    repeated = side_by_side.repeat(Batch(jnp.arange(4).reshape(2, 2), jnp.array([7, 8])), 3)
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
