"""A fit's state comes back bit for bit, its history to the last None and NaN, and a resumed fit is the same fit."""

import math
from typing import Any

import jax
import numpy as np
import pytest
from checkpoint_cases import bits, odd_like

from jaxmlp import OPTIMIZERS, EpochReport, fit, init_state, mlp
from jaxmlp.saving import fit_arrays, read_checkpoint, restore_fit, write_checkpoint
from jaxmlp.training.fit import FitState
from jaxmlp.training.stopping import Best, Stopping
from jaxmlp.types import ArgumentError

NET = mlp([3, 4, 2])
DATA = (np.linspace(-1, 1, 18, dtype=np.float32).reshape(6, 3), np.array([0, 1] * 3))
ROWS = (
    EpochReport(1, 0.1, 1 / 3, None, None, 5e-324, (0.1, 0.2), 1e300, -0.0),
    EpochReport(2, math.nan, math.inf, math.nan, 0.5, -math.inf, (math.nan, 0.0), 1.0, 2.0),
    EpochReport(3, 0.1, 0.2, 0.3, None, 0.4, (0.5, 0.6), 0.7, 0.8),
)


def state_of(optimizer: str = "adam", net: Any = NET, **parts: Any) -> FitState:
    return FitState(odd_like(jax.eval_shape(lambda: init_state(net, optimizer, jax.random.key(0)))), **parts)


def through_a_file(state: FitState, folder: Any) -> dict[str, np.ndarray]:
    return read_checkpoint(write_checkpoint(folder, 1, fit_arrays(state), None)).arrays


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_fit_of_every_optimiser_comes_back(optimizer: str, tmp_path: Any) -> None:
    train = state_of(optimizer).train
    state = FitState(train, Best(train.params, 2, 0.1), ROWS)
    like = FitState(jax.eval_shape(lambda: train))
    restored = restore_fit(through_a_file(state, tmp_path), like)
    structure: Any = jax.tree.structure(state)
    assert jax.tree.structure(restored) == structure
    assert bits(restored[:2]) == bits(state[:2])
    assert repr(restored.history) == repr(ROWS)  # tells None, NaN, -0.0 and the types of numbers apart
    assert [type(value) for value in restored.best or ()][1:] == [int, float]


@pytest.mark.parametrize("best", [None, Best(state_of().train.params, 1, math.nan)])
@pytest.mark.parametrize("history", [(), ROWS[:1], tuple(row._replace(max_weight=()) for row in ROWS)])
def test_best_and_history_are_the_checkpoint_s(best: Best | None, history: Any, tmp_path: Any) -> None:
    state = state_of(best=best, history=history)
    for like in (state_of(), state_of(best=Best(state.train.params, 9, 9.0), history=ROWS)):
        restored = restore_fit(through_a_file(state, tmp_path), like)
        assert repr(restored.history) == repr(history)
        assert repr(restored.best) == repr(best)


def test_a_resumed_fit_is_the_same_fit(tmp_path: Any) -> None:
    saved: list[FitState] = []
    options: dict[str, Any] = {"optimizer": "adam", "batch_size": 4, "stopping": Stopping(patience=9)}
    whole = fit(NET, DATA, DATA, epochs=3, key=jax.random.key(3), save=saved.append, **options)
    restored = restore_fit(through_a_file(saved[0], tmp_path), state_of())
    resumed = fit(NET, DATA, DATA, epochs=2, resume=restored, **options)
    assert bits(resumed.state) == bits(whole.state)
    assert bits(resumed.best) == bits(whole.best)
    assert bits(resumed.state) != bits(saved[0].train), "it went on"
    untimed = [
        [row._replace(seconds=0, examples_per_second=0) for row in run.history] for run in (resumed, whole)
    ]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize(
    ("saved", "like", "message"),
    [
        (state_of("adam"), state_of("sgd"), "holds train.opt_state"),
        (state_of("sgd"), state_of("adam"), "lacks train.opt_state"),
        (
            state_of(net=mlp([3, 5, 2])),
            state_of(),
            "train.params[0].w is float32[3, 5]",
        ),
        (state_of(net=mlp([3, 4, 4, 2])), state_of(), "holds train.params[4].w, which does not belong here"),
    ],
)
def test_a_fit_of_something_else_is_refused(saved: FitState, like: FitState, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        restore_fit(fit_arrays(saved), like)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("history['numbers']", np.ones((2, 10))),
        ("history['numbers']", np.ones((3, 7))),
        ("history['numbers']", np.ones(3)),
        ("history['numbers']", np.ones((3, 10), np.float32)),
        ("history['missing']", np.ones((3, 10), np.int32)),
        ("history['new']", np.ones(3)),
        ("history['missing']", None),
    ],
)
def test_a_history_that_no_fit_wrote_is_refused(name: str, value: Any) -> None:
    arrays = fit_arrays(state_of(history=ROWS))
    restore_fit(arrays, state_of())
    altered = arrays | {name: value} if value is not None else {n: a for n, a in arrays.items() if n != name}
    with pytest.raises(ArgumentError, match="history"):
        restore_fit(altered, state_of())
