"""Networks trained side by side are the networks that the same seeds give alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from members import (
    LOSS,
    compile_epoch,
    draw_examples,
    evaluate_members,
    keep_members,
    start_members,
    survey_members,
)
from slow_cases import others_slow

from jaxmlp import Batch, evaluate, init_state, make_optimizer, mlp, trace, train_epoch

NET = mlp([6, 5, 3], activation="tanh")
OPTIMIZER = make_optimizer("sgd", 0.1)
SEEDS = (0, 3, 7)
RATE = 0.4


def data(examples: int = 22) -> Batch:
    random = np.random.default_rng(0)
    return Batch(
        jnp.asarray(random.normal(size=(examples, 6)).astype(np.float32)),
        jnp.asarray(random.integers(0, 3, examples)),
    )


def member(states: object, place: int) -> object:
    return jax.tree.map(lambda leaf: leaf[place], states)


def assert_close(ours: object, theirs: object, rtol: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), ours, theirs)


@pytest.mark.parametrize("shuffle", others_slow([True, False]))
def test_a_member_is_what_its_seed_gives_alone(shuffle: bool) -> None:
    states = start_members(NET, OPTIMIZER, SEEDS, RATE)
    epoch = compile_epoch(NET, OPTIMIZER, states, data(), batch_size=4, shuffle=shuffle)
    for _ in range(2):
        states, metrics = epoch(states)
    alone_optimizer = make_optimizer("sgd", RATE)
    measured = evaluate_members(NET, states.params, data())
    for place, seed in enumerate(SEEDS):
        alone = init_state(NET, alone_optimizer, jax.random.key(seed))
        for _ in range(2):
            alone, alone_metrics = train_epoch(
                NET, alone_optimizer, alone, data(), batch_size=4, shuffle=shuffle
            )
        assert_close(member(states.params, place), alone.params)
        assert_close(member(metrics, place), alone_metrics)
        assert_close(member(measured, place), evaluate(NET, alone.params, data()))


def test_one_compiled_epoch_serves_every_rate() -> None:
    slow, fast = (start_members(NET, OPTIMIZER, SEEDS, rate) for rate in (0.01, 0.5))
    epoch = compile_epoch(NET, OPTIMIZER, slow, data(), batch_size=22, shuffle=False)
    moved = [
        np.asarray(epoch(states)[0].params[0].w - states.params[0].w, np.float64) for states in (slow, fast)
    ]
    np.testing.assert_allclose(moved[1], 50 * moved[0], rtol=1e-3, atol=1e-5)
    assert np.abs(moved[1]).max() > 1e-2


def test_a_survey_is_what_a_trace_holds() -> None:
    states = start_members(NET, OPTIMIZER, SEEDS, RATE)
    survey = survey_members(NET, states.params, data())
    assert survey.gradient_norm.shape == survey.max_weight.shape == (3, 2)
    for place in range(len(SEEDS)):
        params = member(states.params, place)
        traced = trace(NET, params, *data()[:2], loss=LOSS)
        dense = [layer for layer in traced.layers if layer.params]
        norms = [np.linalg.norm(layer.param_grads.w) for layer in dense]
        np.testing.assert_allclose(survey.gradient_norm[place], norms, rtol=1e-5)
        np.testing.assert_allclose(
            survey.max_weight[place], [np.abs(layer.params.w).max() for layer in dense]
        )


def test_kept_members_stay_while_the_others_go_on() -> None:
    states = start_members(NET, OPTIMIZER, SEEDS, RATE)
    after, _ = compile_epoch(NET, OPTIMIZER, states, data(), batch_size=4)(states)
    mixed = keep_members([False, True, False], states, after)
    for place, source in enumerate((after, states, after)):
        ours, theirs = member(mixed, place), member(source, place)
        assert_close(ours.params, theirs.params, rtol=0)
        assert int(ours.epoch) == int(theirs.epoch)


def test_examples_are_drawn_once_each_with_their_labels() -> None:
    numbered = Batch(np.arange(20.0, dtype=np.float32)[:, None], np.arange(20))
    drawn = draw_examples(numbered, 8)
    labels = np.asarray(drawn.targets)
    assert len(set(labels.tolist())) == 8
    assert sorted(labels.tolist()) != list(range(8))
    assert drawn.inputs[:, 0].tolist() == labels.tolist()
    assert draw_examples(numbered, 8).targets.tolist() == labels.tolist()
    for count in (None, 20, 99):
        assert draw_examples(numbered, count).targets.tolist() == list(range(20))
