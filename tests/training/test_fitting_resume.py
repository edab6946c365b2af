"""A fit that was interrupted goes on to the last bit, and ends early when it should."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest
from training_cases import BATCH, DATA, INPUTS, KEY, LABELS, NET, add_noise, same_bits

from jaxmlp.network import Network, mlp
from jaxmlp.training import fit as fitting
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.fit import FitResult, FitState, fit
from jaxmlp.training.optimizers import make_optimizer
from jaxmlp.training.steps import init_state
from jaxmlp.training.stopping import Stopping
from jaxmlp.types import ArgumentError, EpochReport

VALID = (INPUTS[:5], 1 - LABELS[:5])  # wrong labels: what is learnt makes them worse
EPOCHS = 6


def fitted(optimizer: Any = "sgd", epochs: int = EPOCHS, **options: Any) -> FitResult:
    given: dict[str, Any] = {"batch_size": BATCH, "transform": add_noise} | options
    if given.get("resume") is None:
        given["key"] = KEY
    return fit(NET, DATA, VALID, optimizer=optimizer, epochs=epochs, **given)


def without_times(history: tuple[EpochReport, ...]) -> list[EpochReport]:
    return [row._replace(seconds=0.0, examples_per_second=0.0) for row in history]


def same_end(one: FitResult, other: FitResult) -> bool:
    """Tell whether two fits ended alike, but for their times."""
    if (one.best is None) != (other.best is None):
        return False
    if one.best is not None and other.best is not None:
        alike = same_bits(one.best.params, other.best.params) and one.best[1:] == other.best[1:]
    else:
        alike = True
    return (
        alike
        and same_bits(one.state, other.state)
        and without_times(one.history) == without_times(other.history)
        and (one.stopped, one.metric) == (other.stopped, other.metric)
    )


OPTIMIZERS = {
    "sgd": "sgd",
    "momentum": "momentum",
    "adam": "adam",
    "cosine": make_optimizer("adamw", schedule="cosine", horizon=(18, 3), clip_norm=1.0),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("stopping", [Stopping(), Stopping(patience=EPOCHS, monitor="score")])
def test_a_fit_resumed_at_any_epoch_is_the_same_fit(name: str, stopping: Stopping) -> None:
    saved: list[FitState] = []
    whole = fitted(OPTIMIZERS[name], save=saved.append, stopping=stopping)
    assert [len(state.history) for state in saved] == list(range(1, EPOCHS + 1))
    for state in saved:
        left = EPOCHS - len(state.history)
        again = fitted(OPTIMIZERS[name], left, resume=state, stopping=stopping)
        assert same_end(again, whole)


@pytest.mark.parametrize("part", ["epoch", "step", "key", "params", "opt_state", "best", "history"])
def test_a_state_that_is_resumed_wrongly_is_noticed(part: str) -> None:
    stopping = Stopping(patience=EPOCHS)
    saved: list[FitState] = []
    whole = fitted("adam", save=saved.append, stopping=stopping)
    start, right = init_state(NET, "adam", jax.random.key(8)), saved[2]
    if part == "best":
        wrong = right._replace(best=None)
    elif part == "history":
        wrong = right._replace(history=right.history[:-1])
    else:
        wrong = right._replace(train=right.train._replace(**{part: getattr(start, part)}))
    assert not same_end(fitted("adam", EPOCHS - 3, resume=wrong, stopping=stopping), whole)


def test_saving_comes_before_the_callback_and_never_for_a_diverged_epoch() -> None:
    seen: list[str] = []
    fitted(epochs=2, save=lambda state: seen.append("save"), callback=lambda *given: seen.append("call"))
    assert seen == ["save", "call"] * 2
    saved: list[FitState] = []
    result = fit(
        mlp([3, 2]),
        (INPUTS, np.zeros((len(INPUTS), 2), np.float32)),
        loss="squared_error",
        optimizer=make_optimizer("sgd", 1e30),
        batch_size=BATCH,
        epochs=3,
        key=KEY,
        save=saved.append,
    )
    assert (result.stopped, len(result.history), saved) == ("diverged", 1, [])


# --- patience ---


def test_patience_returns_the_parameters_of_the_best_epoch() -> None:
    states: list[Any] = []
    result = fitted(
        "adam", 50, stopping=Stopping(patience=3), callback=lambda report, state: states.append(state)
    )
    assert result.best is not None
    losses = [report.valid_loss for report in result.history]
    assert result.stopped == "patience"
    assert result.best.epoch == 1 + losses.index(min(losses)) == len(losses) - 3  # type: ignore[type-var]
    assert same_bits(result.state.params, states[result.best.epoch - 1].params)
    assert not same_bits(result.state.params, states[-1].params)
    assert float(evaluate(NET, result.state.params, VALID).loss) == result.best.value == min(losses)  # type: ignore[type-var]


def test_a_fit_that_ended_by_patience_has_nothing_left_to_do() -> None:
    saved: list[FitState] = []
    ended = fitted("adam", 50, stopping=Stopping(patience=3), save=saved.append)
    more: list[FitState] = []
    again = fitted("adam", 50, resume=saved[-1], stopping=Stopping(patience=3), save=more.append)
    assert same_end(again, ended)
    assert more == []
    longer = fitted("adam", 50, resume=saved[-1], stopping=Stopping(patience=5))
    assert len(longer.history) == len(ended.history) + 2  # more patience goes on


@pytest.mark.parametrize("watched", [True, False])
def test_patience_that_only_a_resumption_asks_for_counts_from_there(watched: bool) -> None:
    saved: list[FitState] = []
    valid = VALID if watched else None
    fit(NET, DATA, valid, optimizer="adam", batch_size=BATCH, epochs=EPOCHS, key=KEY, save=saved.append)
    again = fitted("adam", 50, resume=saved[-1], stopping=Stopping(patience=3), transform=None)
    assert again.stopped == "patience"
    assert again.best is not None
    assert again.best.epoch >= EPOCHS + (not watched)
    assert len(again.history) == again.best.epoch + 3
    if again.best.epoch == EPOCHS:
        assert same_bits(again.state.params, saved[-1].train.params)


def test_an_improvement_too_small_to_count_ends_a_fit_sooner() -> None:
    lengths = [
        len(fitted("sgd", 40, stopping=Stopping(patience=4, min_improvement=least)).history)
        for least in (0.0, 10.0)
    ]
    assert lengths[1] == 5  # the first epoch is the best
    assert lengths[0] >= lengths[1]


# --- targets and time ---


def test_a_target_ends_a_fit_at_the_epoch_that_reaches_it() -> None:
    whole = fitted("adam", 30, transform=None)
    scores = [report.train_score for report in whole.history]
    target = sorted(set(scores))[-1]
    result = fit(
        NET, DATA, optimizer="adam", batch_size=BATCH, epochs=30, key=KEY,
        stopping=Stopping(target_score=target),
    )  # fmt: skip
    assert result.stopped == "target"
    assert len(result.history) == 1 + scores.index(target)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at the clock find it a second later."""
    ticks = itertools.count()
    monkeypatch.setattr(fitting.time, "perf_counter", lambda: float(next(ticks)))


@pytest.mark.usefixtures("clock")
def test_a_time_limit_begins_no_further_epoch_and_counts_anew_when_resumed() -> None:
    saved: list[FitState] = []
    result = fitted("sgd", 50, stopping=Stopping(seconds=10.0), save=saved.append)
    assert result.stopped == "time"
    assert 1 < len(result.history) < 10
    again = fitted("sgd", 50, resume=saved[-1], stopping=Stopping(seconds=10.0))
    assert again.stopped == "time"
    assert len(again.history) == 2 * len(result.history)


# --- what cannot be ---


def test_state_and_resume_exclude_each_other() -> None:
    state = init_state(NET, "sgd", KEY)
    with pytest.raises(ArgumentError, match="give state= or resume=, not both"):
        fitted(state=state, resume=FitState(state))


def test_no_epochs_are_for_a_resumption_alone() -> None:
    state = FitState(init_state(NET, "sgd", KEY))
    result = fitted(epochs=0, resume=state)
    assert (result.history, result.stopped) == ((), None)
    assert same_bits(result.state, state.train)
    with pytest.raises(ArgumentError, match="number of epochs"):
        fitted(epochs=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resume": {}}, "resume takes the FitState that save was given, and here it is a dict"),
        ({"save": "a/path"}, "save takes a function of the FitState, and here it is 'a/path'"),
    ],
)
def test_what_is_no_state_and_no_function_is_refused_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError) as refusal:
        fitted(**options)
    assert str(refusal.value) == words


@pytest.mark.parametrize(
    ("net", "optimizer", "what"),
    [(NET, "adam", "optimiser"), (mlp([3, 7, 2]), "sgd", "network"), (mlp([3, 2]), "sgd", "network")],
)
def test_a_fit_of_another_network_or_optimiser_is_not_resumed(
    net: Network, optimizer: str, what: str
) -> None:
    saved: list[FitState] = []
    fitted("sgd", 1, save=saved.append)
    words = f"the fit to resume is of another {what}: give the {what} that it was begun with"
    with pytest.raises(ArgumentError, match=words):
        fit(net, DATA, optimizer=optimizer, batch_size=BATCH, epochs=1, resume=saved[0])
