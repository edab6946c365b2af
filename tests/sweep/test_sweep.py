"""A trial of a sweep is the same run as alone, whatever it is grouped, padded, folded and halved with."""

import dataclasses
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from comparisons import largest_difference, refused
from slow_cases import others_slow
from sweep_cases import alone, examples

from jaxmlp import Batch, evaluate, mlp
from jaxmlp.datasets.splitting import fold_indices
from jaxmlp.sweep.members import Members, train_members
from jaxmlp.sweep.sweep import Progress, sweep
from jaxmlp.sweep.trials import Halving, Trial, TrialReport
from jaxmlp.training.steps import Recipe

NET = mlp([6, 5, 3], activation="tanh")
WIDE = mlp([6, 8, 4, 3])
BASE = Trial(NET, learning_rate=0.1, batch_size=4)
TRAIN, VALID = examples(31), examples(17)

apart = partial(largest_difference, relative=True)


def vary(**changes: Any) -> Trial:
    return dataclasses.replace(BASE, **changes)


def rates(*values: float) -> list[Trial]:
    return [vary(learning_rate=value) for value in values]


def observed(trials: list[Trial], **options: Any) -> tuple[Any, list[Progress], list[TrialReport]]:
    """Sweep, and return the result with all that was told meanwhile and the reports in it."""
    told: list[Progress] = []
    result = sweep(trials, TRAIN, VALID, callback=told.append, **options)
    return result, told, [report for progress in told for report in progress.reports]


def assert_as_alone(result: Any, number: int, trial: Trial, train: Batch, valid: Batch) -> Any:
    """Train a trial alone for 3 epochs and compare all that is told of it; returns its parameters."""
    end, report = alone(trial, train, 3), result.reports[number]
    assert apart(result.params[number], end) <= 1e-12
    measured = evaluate(trial.net, end, valid, l2=trial.l2)
    assert (report.number, report.epochs, report.diverged) == (number, 3, False)
    assert report.score == pytest.approx(float(measured.score), abs=1e-12)
    assert report.loss == pytest.approx(float(measured.loss), rel=1e-10)
    return end


def record_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many members, copies included, each call from now on trains."""
    sizes: list[int] = []

    def count(recipe: Recipe, devices: Any, members: Members, *rest: Any) -> Any:
        sizes.append(len(members.seed))
        return train_members(recipe, devices, members, *rest)

    monkeypatch.setattr("jaxmlp.sweep.sweep.train_members", count)
    return sizes


SLOW = pytest.mark.slow
# Each list is one sweep; its trials differ from each other, so that a mix-up of members is seen. The first and
# the last are trained alone too.
CASES: dict[str, list[Trial]] = {
    "sgd": [
        vary(seed=3, init_scale=2.0),
        vary(learning_rate=0.3),
        vary(seed=7),
        vary(l2=0.3, learning_rate=0.05, init_scale=0.3),
    ],
    "momentum": [vary(optimizer=f"momentum:{value}") for value in (0.0, 0.5, 0.9)],
    "adamw": [
        vary(optimizer=f"adamw:{value}", learning_rate=0.01, schedule="cosine", clip_norm=0.5)
        for value in (0.001, 0.5)
    ],
    "groups": [
        vary(),
        vary(net=WIDE),
        vary(batch_size=31),
        vary(net=WIDE, seed=1),
        vary(batch_size=99, seed=1),
    ],
    "nesterov": [vary(optimizer="nesterov:0.3"), vary(optimizer="nesterov:0.8", learning_rate=0.02)],
    "adam": [vary(optimizer=name, learning_rate=0.01) for name in ("adam", "adam:0.5,0.8")],
    "lion": [vary(optimizer=f"lion:{value}", learning_rate=0.01) for value in (0.001, 0.5)],
}
BRIEF = ("sgd",)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in BRIEF else SLOW) for name in CASES])
def test_a_trial_ends_as_alone_in_float64(name: str, x64: None) -> None:
    trials = CASES[name]
    train, valid = examples(31, np.float64), examples(17, np.float64)
    result = sweep(trials, train, valid, epochs=3, keep_params=True)
    for number in (0, len(trials) - 1):
        end = assert_as_alone(result, number, trials[number], train, valid)
        # The comparison would see another member's parameters.
        for other, params in result.params.items():
            if other != number and trials[other].net == trials[number].net:
                assert apart(params, end) > 1e-6


@pytest.mark.slow
def test_a_trial_may_train_for_an_epoch_count_of_its_own(x64: None) -> None:
    trials = [vary(epochs=epochs, schedule="cosine") for epochs in (1, 3, None)]
    train, valid = examples(31, np.float64), examples(17, np.float64)
    result = sweep(trials, train, valid, epochs=2, keep_params=True)
    assert [report.epochs for report in result.reports] == [1, 3, 2]
    for number, epochs in enumerate((1, 3, 2)):
        assert apart(result.params[number], alone(trials[number], train, epochs)) <= 1e-12
    losses = [standing.loss for standing in result.ranking]
    scores = [standing.score for standing in result.ranking]
    assert sorted(zip([-score for score in scores], losses, strict=True)) == [
        (-score, loss) for score, loss in zip(scores, losses, strict=True)
    ]


@pytest.mark.slow
def test_a_trial_is_as_alone_after_an_epoch_in_float32() -> None:
    trials = [*CASES["sgd"], *CASES["adamw"]]
    result = sweep(trials, TRAIN, VALID, epochs=1, keep_params=True)
    for number in (3, 5):
        assert apart(result.params[number], alone(trials[number], TRAIN, 1)) <= 1e-5


@pytest.mark.slow
def test_folds_of_unequal_sizes_are_the_runs_alone_on_their_rows(x64: None) -> None:
    data = examples(31, np.float64)
    folds = fold_indices(31, 3, seed=0, labels=np.asarray(data.targets))
    assert {len(kept) for kept, _ in folds} == {20, 21}
    trials = [vary(fold=fold, seed=seed, l2=0.01) for fold in range(3) for seed in (0, 1)]
    result = sweep(trials, data, epochs=3, folds=folds, keep_params=True)
    for number in (0, 5):
        parts = [Batch(data.inputs[rows], data.targets[rows]) for rows in folds[trials[number].fold or 0]]
        assert_as_alone(result, number, trials[number], *parts)
    (standing,) = result.ranking
    assert standing.score == pytest.approx(np.mean([report.score for report in result.reports]))


@pytest.mark.slow
def test_blocks_and_padding_do_not_change_a_trial() -> None:
    trials = rates(0.01, 0.02, 0.05, 0.1, 0.2)
    whole = sweep(trials, TRAIN, VALID, epochs=2, keep_params=True)
    for block in (1, 3):
        cut = sweep(trials, TRAIN, VALID, epochs=2, keep_params=True, block=block)
        assert sorted(cut.params) == list(range(5))
        for number in range(5):
            assert apart(cut.params[number], whole.params[number]) <= 1e-5


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (vary(learning_rate=float("nan")), "learning rate must be a finite number"),
        (vary(learning_rate=0.0), "learning rate must be a finite number"),
        (vary(optimizer="momentum:1.5"), "momentum must be at least 0 and below 1"),
        (vary(optimizer="adamw:-1"), "weight decay must be at least 0"),
        (vary(schedule="cosin"), "did you mean 'cosine'"),
        (vary(clip_norm=0.0), "norm to clip gradients to must be above 0"),
    ],
)
def test_a_wrong_trial_is_refused_before_any_is_trained(wrong: Trial, words: str) -> None:
    told: list[Progress] = []
    refused(words, sweep, [BASE, wrong], TRAIN, VALID, epochs=1, block=1, callback=told.append)
    assert told == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiling", "block", "narrowed"),
    others_slow([pytest.param(0, 4, [4, 2]), pytest.param(0, 8, [8, 4, 2]), pytest.param(1e30, 8, [8])]),
)
def test_survivors_of_halving_go_on_where_they_stood_in_blocks_as_narrow_as_is_worth_compiling(
    compiling: float, block: int, narrowed: list[int], caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = record_sizes(monkeypatch)
    monkeypatch.setattr("jaxmlp.sweep.blocks.COMPILING_ON_A_CPU", compiling)
    trials = [vary(learning_rate=rate, seed=seed) for rate in (1e-5, 1e-4, 0.05, 0.1) for seed in (0, 1)]
    options: dict[str, Any] = {"block": block, "devices": jax.devices()[:1], "keep_params": True}
    train_members.clear_cache()
    with jax.log_compiles():
        result, told, _ = observed(trials, epochs=8, halving=Halving(2, 2), **options)
    compiled = [text for text in caplog.messages if "Finished XLA compilation of jit(train_members)" in text]
    # A program a width, whatever the rungs and blocks: of a block of 4, 2 members would leave half to copies.
    assert len(compiled) == len(narrowed)
    assert list(dict.fromkeys(sizes)) == narrowed
    assert sorted(report.epochs for report in result.reports) == [2, 2, 2, 2, 4, 4, 8, 8]
    assert [standing.epochs for standing in result.ranking] == [8, 4, 2, 2]
    assert sum(progress.epochs for progress in told) == 8 * 2 + 4 * 2 + 2 * 4  # none is trained twice
    survivors = result.ranking[0].numbers
    assert sorted(result.params) == sorted(survivors)
    assert apart(result.params[survivors[0]], alone(trials[survivors[0]], TRAIN, 8)) <= 1e-5
    assert {trials[number].seed for number in survivors} == {0, 1}


def test_a_trial_that_diverges_is_last_and_disturbs_no_other() -> None:
    trials = rates(0.05, 3e38, 0.1)
    result = sweep(trials, TRAIN, VALID, epochs=3, keep_params=True)
    assert [report.diverged for report in result.reports] == [False, True, False]
    assert result.ranking[-1].setting.learning_rate == 3e38
    assert result.ranking[-1].diverged == 1
    calm = sweep([trials[0], vary(), trials[2]], TRAIN, VALID, epochs=3, keep_params=True)
    for number in (0, 2):
        assert apart(result.params[number], calm.params[number]) == 0


@pytest.mark.parametrize(("sound", "epochs"), [([0.1], [4, 1, 1, 1]), ([], [1, 1, 1, 1])])
def test_what_diverged_goes_on_to_no_rung(sound: list[float], epochs: list[int]) -> None:
    trials = rates(*[*sound, 3e38, 2.9e38, 2.8e38, 2.7e38][:4])
    result, told, _ = observed(trials, epochs=4, halving=Halving(1, 2))
    assert [report.epochs for report in result.reports] == epochs
    assert [report.diverged for report in result.reports] == [n >= len(sound) for n in range(4)]
    assert sum(progress.epochs for progress in told) == sum(epochs)


@pytest.mark.parametrize("halving", [None, Halving(2, 2)])
def test_what_is_finished_is_not_trained_again(halving: Halving | None) -> None:
    trials = rates(1e-5, 0.05, 0.1, 0.2)
    options: dict[str, Any] = {"epochs": 4, "halving": halving}
    whole, _, reports = observed(trials, **options)
    assert observed(trials, finished=reports, **options) == (whole, [], [])
    resumed, _, partly = observed(trials, finished=reports[:3], **options)
    assert [each.setting for each in resumed.ranking] == [each.setting for each in whole.ranking]
    # Those that go on beyond a rung start anew, as their state was not kept.
    survivors = {report.number for report in whole.reports if report.epochs == 4} if halving else set()
    assert {report.number for report in partly} == {3} | survivors
    for ours, theirs in zip(resumed.reports, whole.reports, strict=True):
        assert ours.epochs == theirs.epochs
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)


@pytest.mark.slow
def test_only_parameters_of_the_end_are_kept_where_a_rung_was_missing_and_the_end_was_known() -> None:
    trials = rates(1e-5, 0.05, 0.1, 0.2)
    options: dict[str, Any] = {"epochs": 4, "halving": Halving(2, 2)}
    whole, _, reports = observed(trials, **options)
    first, second = whole.ranking[0].numbers + whole.ranking[1].numbers
    known = [report for report in reports if report.number != second and report[:2] != (first, 2)]
    resumed, _, again = observed(trials, finished=known, keep_params=True, **options)
    assert [report[:2] for report in again] == [*sorted([(first, 2), (second, 2)]), (second, 4)]
    assert list(resumed.params) == [second]
    assert apart(resumed.params[second], alone(trials[second], TRAIN, 4)) <= 1e-5


@pytest.mark.slow
def test_folds_of_another_size_are_not_filled_up_to_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = record_sizes(monkeypatch)
    folds = [(np.arange(count), np.arange(count, 31)) for count in (20, 21, 21)]
    trials = [vary(fold=fold, seed=seed) for fold in range(3) for seed in range(2)]
    sweep(trials, TRAIN, epochs=1, folds=folds, block=6, devices=jax.devices()[:1])
    assert sizes == [2, 4]


def test_the_ranking_is_on_the_held_out_data() -> None:
    # Labels held out are turned round: what learns best is worst there.
    turned = Batch(VALID.inputs, (2 - VALID.targets) % 3)
    trials = rates(1e-6, 0.1)
    assert sweep(trials, TRAIN, VALID, epochs=6).ranking[0].setting.learning_rate == 0.1
    assert sweep(trials, TRAIN, turned, epochs=6).ranking[0].setting.learning_rate == 1e-6


ROWS, OTHERS = np.arange(5), np.arange(5, 9)


@pytest.mark.parametrize(
    ("trials", "options", "words"),
    [
        ([], {"valid": VALID}, "there are no trials: give a list of at least one"),
        ([BASE], {}, "valid=(inputs, targets) or on folds"),
        ([BASE], {"valid": VALID, "folds": [(ROWS, OTHERS)]}, "give one of them"),
        ([BASE], {"folds": [(ROWS, OTHERS)]}, "whole number from 0 to 0, given None: make"),
        ([vary(fold=0)], {"valid": VALID}, "names fold 0, and there are no folds: leave its fold out, or"),
        ([vary(fold=True)], {"folds": [(ROWS, OTHERS)] * 2}, "from 0 to 1, given True: make one trial"),
        ([vary(fold=0.0)], {"folds": [(ROWS, OTHERS)]}, "from 0 to 0, given 0.0: make one trial a fold"),
        ([vary(seed=-1)], {"valid": VALID}, "from 0 to 4294967295, given -1"),
        ([vary(seed=2**32)], {"valid": VALID}, "from 0 to 4294967295, given 4294967296"),
        ([vary(seed=1.0)], {"valid": VALID}, "the seed of a trial must be a whole number"),
        ([vary(seed=True)], {"valid": VALID}, "the seed of a trial must be a whole number"),
        *(
            ([vary(fold=0)], {"folds": [fold]}, words)
            for fold, words in [
                ((ROWS, np.arange(4, 9)), "1 rows are both trained and ranked on, row 4 the first"),
                ((ROWS, np.arange(29, 32)), "held-out rows must be ... from 0 to 30, given 29 to 31"),
                ((np.array([3, -1]), OTHERS), "train rows must be ... from 0 to 30, given -1 to 3"),
                (
                    (np.arange(31) < 9, np.arange(10, 20)),
                    "train rows must be ... given type bool and shape [31]",
                ),
                ((ROWS, OTHERS / 1), "held-out rows must be ... given type float64"),
                ((ROWS, np.array([], int)), "given type int64 and shape [0]"),
                ((np.arange(4).reshape(2, 2), OTHERS), "shape [2, 2]"),
            ]
        ),
        ([vary(net=mlp([5, 3]))], {"valid": VALID}, "shape [N, 5]"),
        ([vary(net=mlp([6, 2]))], {"valid": VALID}, "labels must lie in 0 to 1"),
        ([vary(optimizer="sdg")], {"valid": VALID}, "did you mean 'sgd'"),
        ([BASE], {"valid": VALID, "epochs": 0}, "number of epochs"),
        (
            [vary(epochs=0)],
            {"valid": VALID},
            "number of epochs of a trial must be a whole number of at least 1",
        ),
        ([vary(epochs=1)], {"valid": VALID, "halving": Halving(1, 2)}, "leave their epochs out"),
        ([BASE], {"valid": VALID, "halving": Halving(3, 2)}, "shorter than the run of 2 epochs"),
        ([BASE], {"valid": VALID, "block": 0}, "block must be"),
    ],
)
def test_refuses_in_one_line(trials: list[Trial], options: dict[str, Any], words: str) -> None:
    refused(words, sweep, trials, TRAIN, **({"epochs": 2} | options))


def test_a_report_of_nan_is_kept_as_it_is() -> None:
    finished = [TrialReport(0, 2, float("nan"), float("nan"), True)]
    result = sweep([BASE], TRAIN, VALID, epochs=2, finished=finished)
    assert result.reports[0].diverged
    assert np.isnan(result.ranking[0].score)


EIGHT = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
from sweep_cases import alone, examples
from comparisons import largest_difference
from jaxmlp import mlp
from jaxmlp.sweep.sweep import sweep
from jaxmlp.sweep.trials import Trial
assert len(jax.devices()) == 8
net = mlp([6, 5, 3])
trials = [Trial(net, learning_rate=0.1 + seed / 100, seed=seed, batch_size=4) for seed in range(12)]
result = sweep(trials, examples(31), examples(17), epochs=2, keep_params=True)
apart = [largest_difference(result.params[n], alone(trials[n], examples(31), 2), relative=True) for n in (0, 11)]
print(max(apart), len(result.params))
"""


@pytest.mark.slow
def test_members_are_spread_over_eight_devices() -> None:
    command, env = [sys.executable, "-c", EIGHT], os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parent, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    largest, count = done.stdout.split()
    assert float(largest) <= 1e-5
    assert count == "12"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "loss"),
    [
        ([784, 300, 10], "softmax_cross_entropy"),
        # One output: batched products of a matrix and a vector, which jaxlib 0.10.2 was seen to get wrong.
        ([50, 256, 1], "mean_squared_error"),
        ([50, 1], "mean_squared_error"),
    ],
)
def test_real_sizes_are_as_alone(sizes: list[int], loss: str) -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(40_000 if sizes[-1] == 1 else 2000, sizes[0])).astype(np.float32)
    targets = random.integers(0, 10, len(inputs)) if sizes[-1] == 10 else np.sin(inputs[:, :1])
    net = mlp(sizes)
    variants = [{"learning_rate": rate, "seed": seed} for rate in (0.003, 0.01) for seed in range(8)]
    trials = [Trial(net, batch_size=32, **each) for each in variants]
    valid = Batch(inputs[:100], targets[:100])
    result = sweep(trials, (inputs, targets), valid, epochs=1, loss=loss, keep_params=True)
    for number in (0, 7, 15):
        end = alone(trials[number], Batch(inputs, targets), 1, loss)
        assert apart(result.params[number], end) <= 1e-5
        measured = evaluate(net, end, valid, loss=loss)
        assert result.reports[number].loss == pytest.approx(float(measured.loss), rel=1e-4)
