from math import comb
from pathlib import Path

import numpy as np
import pytest
from lab_answers import (
    ABOVE,
    BELOW,
    OVERLAP,
    UNKNOWN,
    Pictures,
    Setup,
    answer_activation,
    answer_depth,
    answer_layers,
    answer_weights,
    chance,
    compare,
    spread,
    write_report,
)
from lab_runs import IDENTITY, SINGLE, Kind, Measured, Plan, Runs, initializer_for, kinds_of_lab

SEEDS, EPOCHS = 3, 4
PLAN = Plan(
    hidden=8, epochs=EPOCHS, batch_size=4, learning_rate=0.1, seeds=SEEDS, init=None, precision="float32"
)
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


def test_a_spread_is_a_mean_and_a_range() -> None:
    assert spread(np.array([1.0, 2.0, 6.0]), str) == "3.0 (1.0 to 6.0)"
    assert spread(np.array([1.0]), str) == "1.0"
    assert spread(np.array([1.0, np.nan]), str) == "not finite in 1 of 2 seeds"


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (shallow(0.9, 0.9, 0.96, 0.97), "It does: with every activation"),
        (shallow(0.9, 0.9, 0.96, 0.90), "It makes a difference, but not the same one"),
        (shallow(0.9, 0.9, 0.80, 0.80), "It makes a difference, but not the same one"),
        (shallow(0.9, 0.9, 0.90, 0.91), "These numbers do not show that it does"),
        (shallow(0.9, 0.9, 0.96, 0.97, seeds=1), "These runs cannot answer"),
        (shallow(0.9, 0.9, np.nan, np.nan), "These runs cannot answer"),
    ],
)
def test_the_answer_on_activations_follows_the_numbers(runs: Runs, said: str) -> None:
    assert answer_activation(runs)[0].startswith(said)


def test_the_answer_on_activations_names_what_is_above_and_below() -> None:
    runs = shallow(0.9, 0.9, 0.96, 0.8)
    answer = answer_activation(runs)[0]
    assert "above in every seed: relu (2)" in answer
    assert "below in every seed: relu (3)" in answer
    assert any("2 layers with relu: 96.00 % (95.00 % to 97.00 %)" in line for line in answer_activation(runs))


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (shallow(0.9, 0.9, 0.95, 0.99), ["A second layer raised", "A third layer raised"]),
        (
            shallow(0.9, 0.9, 0.95, 0.95),
            ["A second layer raised", "do not show that a third layer is needed"],
        ),
        (
            shallow(0.9, 0.9, 0.9, 0.8),
            ["do not show that a second layer is needed", "A third layer made a difference"],
        ),
        (shallow(0.9, 0.9, 0.95, 0.99, seeds=1), ["These runs cannot answer"]),
    ],
)
def test_the_answer_on_layers_follows_the_numbers(runs: Runs, said: list[str]) -> None:
    answer = answer_layers(runs)[0]
    assert all(part in answer for part in said), answer


@pytest.mark.parametrize(
    ("ratio", "accuracy", "said"),
    [
        (1e-5, 0.12, ["vanishes towards the inputs", "below it in every seed", "commonest class (12.00 %)"]),
        (1e4, 0.9, ["explodes towards the inputs", "not told apart from it"]),
        (0.5, 0.95, ["does not change by a factor of 10", "above it in every seed"]),
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
    if accuracy > 0.2:
        assert "commonest" not in answer


def test_without_deep_networks_depth_cannot_be_answered() -> None:
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


def test_weights_that_are_not_finite_are_not_counted() -> None:
    runs = runs_of({("relu", 2): 0.9})
    broken = runs[Kind("relu", 2)]._replace(max_weight=np.full((SEEDS, EPOCHS + 1, 2), np.inf))
    assert "cannot answer" in answer_weights({Kind("relu", 2): broken})[0]


def test_the_report_holds_every_answer_result_and_picture(tmp_path: Path) -> None:
    runs = {**shallow(0.9, 0.9, 0.95, 0.95), **runs_of({("relu", 5): 0.9})}
    shown = write_report(tmp_path, SETUP, runs, Pictures(["a.png"], ["l.png"], ["d.png", "e.png"], ["w.png"]))
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    for answers in (
        answer_activation(runs),
        answer_layers(runs),
        answer_depth(runs, SETUP),
        answer_weights(runs),
    ):
        assert answers[0] in shown
        assert all(line in report for line in answers)
    assert all(f"({name}.png)" in report for name in "aldew")
    assert all(f"| {kind} |" in report for kind in runs)
    assert "apart like that in 10 % of comparisons" in report


def test_one_seed_is_said_to_judge_nothing(tmp_path: Path) -> None:
    runs = shallow(0.9, 0.9, 0.95, 0.95, seeds=1)
    setup = SETUP._replace(plan=PLAN._replace(seeds=1))
    write_report(tmp_path, setup, runs, Pictures([], [], [], []))
    assert "nothing is judged" in (tmp_path / "report.md").read_text(encoding="utf-8")


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
