"""The lab's answers follow the numbers, whichever they are."""

from collections.abc import Callable
from math import comb
from pathlib import Path

import numpy as np
import pytest
from lab_answers import (
    ABOVE,
    BELOW,
    LINEAR,
    OVERLAP,
    UNKNOWN,
    Setup,
    answer_activation,
    answer_depth,
    answer_layers,
    answer_weights,
    chance,
    compare,
    write_report,
)
from lab_runs import IDENTITY, SINGLE, Kind, Measured, Plan, Runs, initializer_for, kinds_of_lab

SEEDS, EPOCHS = 3, 4
PLAN = Plan(8, EPOCHS, batch_size=4, learning_rate=0.1, seeds=SEEDS, init=None, precision="float32")
SETUP = Setup("digits", 100, 50, 0.12, PLAN, "a machine")


def made_up(
    depth: int, accuracy: float, *, seeds: int = SEEDS, ratio: float = 1.0, growth: float = 0.0
) -> Measured:
    """Results around an accuracy, ± 0.01 over the seeds."""
    scores = np.tile((accuracy + np.linspace(-0.01, 0.01, seeds))[:, None], (1, EPOCHS))
    norms = np.tile(np.geomspace(ratio, 1.0, depth), (seeds, EPOCHS + 1, 1))
    grown = np.linspace(0, growth, EPOCHS + 1) ** 0.5 if growth > 0 else np.zeros(EPOCHS + 1)
    weights = np.tile(0.5 + grown[:, None] + 0.1 * np.arange(depth), (seeds, 1, 1))
    return Measured(scores, scores, norms, weights, 1.0)


def runs_of(accuracies: dict[tuple[str, int], float], **settings: float) -> Runs:
    chosen: dict = settings
    return {Kind(*kind): made_up(kind[1], value, **chosen) for kind, value in accuracies.items()}


def shallow(single: float, none: float, two: float, three: float, **settings: float) -> Runs:
    accuracies = {(SINGLE, 1): single, (IDENTITY, 2): none, (IDENTITY, 3): none}
    return runs_of(accuracies | {("relu", 2): two, ("relu", 3): three}, **settings)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([0.91, 0.92], [0.80, 0.90], ABOVE),
        ([0.80, 0.90], [0.91, 0.92], BELOW),
        ([0.80, 0.91], [0.91, 0.95], OVERLAP),
        ([0.85, 0.86], [0.80, 0.90], OVERLAP),
        ([0.9], [0.1], UNKNOWN),
        ([0.9, np.nan], [0.1, 0.1], UNKNOWN),
    ],
)
def test_only_ranges_apart_count(ours: list[float], theirs: list[float], verdict: str) -> None:
    assert compare(np.array(ours), np.array(theirs)) == verdict


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_chance_of_ranges_apart_is_that_of_random_draws(seeds: int) -> None:
    draws = np.random.default_rng(0).random((20_000, 2, seeds))
    apart = [compare(ours, theirs) in (ABOVE, BELOW) for ours, theirs in draws]
    assert chance(seeds) == pytest.approx(np.mean(apart), abs=0.02)
    assert chance(seeds) == pytest.approx(2 / comb(2 * seeds, seeds))


@pytest.mark.parametrize(
    ("answer", "runs", "said"),
    [
        (answer_activation, shallow(0.9, 0.9, 0.96, 0.97), ["It does: with every activation"]),
        (
            answer_activation,
            shallow(0.9, 0.9, 0.96, 0.80),
            [
                "It makes a difference, but not the same one",
                "above in every seed: relu (2); below in every seed: relu (3)",
                "2 layers with relu: 96.00 % (95.00 % to 97.00 %), above it in every seed.",
                LINEAR,
            ],
        ),
        (answer_activation, shallow(0.9, 0.9, 0.80, 0.80), ["It makes a difference, but not the same one"]),
        (answer_activation, shallow(0.9, 0.9, 0.90, 0.91), ["These numbers do not show that it does"]),
        (answer_activation, shallow(0.9, 0.9, 0.96, 0.97, seeds=1), ["These runs cannot answer"]),
        (answer_activation, shallow(0.9, 0.9, np.nan, np.nan), ["These runs cannot answer"]),
        (answer_layers, shallow(0.9, 0.9, 0.95, 0.99), ["A second layer raised", "A third layer raised"]),
        (
            answer_layers,
            shallow(0.9, 0.9, 0.95, 0.95),
            ["A second layer raised", "do not show that a third layer is needed"],
        ),
        (
            answer_layers,
            shallow(0.9, 0.9, 0.9, 0.8),
            ["do not show that a second layer is needed", "A third layer made a difference"],
        ),
        (answer_layers, shallow(0.9, 0.9, 0.95, 0.99, seeds=1), ["These runs cannot answer"]),
    ],
)
def test_an_answer_follows_the_numbers(answer: Callable, runs: Runs, said: list[str]) -> None:
    lines = answer(runs)
    assert said[0] in lines[0]
    assert all(part in "\n".join(lines) for part in said), lines


@pytest.mark.parametrize(
    ("ratio", "accuracy", "said"),
    [
        (1e-5, 0.12, ["vanishes towards the inputs", "below it in every seed", "commonest class (12.00 %)"]),
        (1e4, 0.9, ["explodes towards the inputs", "not told apart from it"]),
        (0.5, 0.95, ["stays within a factor of 10 in 3 of 3 seeds", "above it in every seed"]),
        (np.nan, np.nan, ["not finite at the start", "not judged"]),
    ],
)
def test_the_answer_on_depth_follows_the_numbers(ratio: float, accuracy: float, said: list[str]) -> None:
    runs = {
        **runs_of({("sigmoid", 2): 0.9, ("sigmoid", 3): 0.9}),
        Kind("sigmoid", 8): made_up(8, accuracy, ratio=ratio),
    }
    answer = answer_depth(runs, SETUP)[0]
    assert all(part in answer for part in said), answer
    assert ("commonest" in answer) == (accuracy < 0.2)
    assert "cannot answer" in answer_depth(shallow(0.9, 0.9, 0.9, 0.9), SETUP)[0]


def test_the_answer_on_weights_counts_what_grew() -> None:
    grown = runs_of({("relu", 2): 0.9}, growth=1.0)
    still = runs_of({("tanh", 3): 0.9})
    answer = answer_weights({**grown, **still})[0]
    assert "grew in every seed in 2 of 5 layers, and fell in every seed in 0" in answer
    assert "Of the 2 that grew, 2 grew more in the first half" in answer
    assert "in 2 of the 2 networks" in answer
    shrunk = grown[Kind("relu", 2)]._replace(max_weight=grown[Kind("relu", 2)].max_weight[:, ::-1])
    assert "in 0 of 2 layers, and fell in every seed in 2" in answer_weights({Kind("relu", 2): shrunk})[0]
    broken = shrunk._replace(max_weight=np.full((SEEDS, EPOCHS + 1, 2), np.inf))
    assert "cannot answer" in answer_weights({Kind("relu", 2): broken})[0]


@pytest.mark.parametrize(("seeds", "said"), [(3, "apart like that in 10 % of"), (1, "nothing is judged")])
def test_the_report_holds_every_answer_result_and_picture(seeds: int, said: str, tmp_path: Path) -> None:
    runs = {**shallow(0.9, 0.9, 0.95, 0.95, seeds=seeds), **runs_of({("relu", 5): 0.9}, seeds=seeds)}
    setup = SETUP._replace(plan=PLAN._replace(seeds=seeds))
    pictures = {
        "activation": ["a.png"],
        "layers": ["l.png"],
        "depth": ["d.png", "e.png"],
        "weights": ["w.png"],
    }
    shown = write_report(tmp_path, setup, runs, pictures)
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    answers = [answer_activation(runs), answer_layers(runs), answer_depth(runs, setup), answer_weights(runs)]
    assert all(answer[0] in shown for answer in answers)
    assert all(line in report for answer in answers for line in answer)
    assert all(f"({name}.png)" in report for name in "aldew")
    assert all(f"| {kind} |" in report for kind in runs)
    assert said in report


def test_the_lab_trains_each_kind_once() -> None:
    kinds = kinds_of_lab(("relu", "sigmoid"), ("sigmoid",), (5,))
    assert kinds[0] == Kind(SINGLE, 1)
    assert len(kinds) == len(set(kinds)) == 8
    assert Kind("sigmoid", 5) in kinds
    assert Kind("relu", 5) not in kinds


@pytest.mark.parametrize(
    ("activation", "init"),
    [
        ("relu", "he_normal"),
        ("leaky_relu:0.1", "he_normal"),
        ("tanh", "glorot_normal"),
        (SINGLE, "glorot_normal"),
    ],
)
def test_weights_are_drawn_as_made_for_the_activation(activation: str, init: str) -> None:
    assert initializer_for(activation) == init
