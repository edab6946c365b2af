"""What a sweep reports: its ranking, the chosen network trained once more, and what the sweep is held against."""

import csv
import dataclasses
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmlp import FitResult, FitState, save_model
from jaxmlp.cli.job import Job, make_job, problem_of
from jaxmlp.cli.run import MODEL
from jaxmlp.cli.session import tell
from jaxmlp.cli.sweep_options import SKLEARN_ACTIVATIONS, SweepJob, train_command
from jaxmlp.cli.text import aligned, counted, score_name, show_score, spell
from jaxmlp.files import whole_file
from jaxmlp.plots import save, sweep_scores
from jaxmlp.sweep.members import scale_weights
from jaxmlp.sweep.sweep import SweepResult, sweep_plan
from jaxmlp.sweep.trials import Standing
from jaxmlp.training.evaluation import evaluate_recipe
from jaxmlp.training.fit import fit_recipe
from jaxmlp.training.metrics import METRICS
from jaxmlp.types import Batch

FIGURE, RANKING = "scores.png", "ranking.csv"
AFTER_AN_EPOCH = {"float32": 1e-5, "float64": 1e-12}
# In float32 a unit that a rounding switches on or off can make any difference in the end. A long or wild run in
# float64 can enlarge roundings beyond the bound too, with `fit` as in a sweep: that growth is printed beside it.
AT_THE_END = {"float64": 1e-12}


def print_start(job: SweepJob, finished: int) -> None:
    """Say what is about to be trained."""
    examples, valid = len(job.problem.train.inputs), job.problem.valid
    if valid is None:
        ranked_on = f"by cross-validation over {len(job.folds or ())} folds of {examples:,} examples"
    else:
        ranked_on = f"on {len(valid.inputs):,} examples held out of training, which has {examples:,}"
    print(
        f"{job.dataset.name}: {counted(len(job.trials), 'network')} of "
        f"{counted(len({trial.setting for trial in job.trials}), 'setting')}, "
        f"{counted(job.options.epochs, 'epoch')}, ranked {ranked_on}; "
        + counted(len(job.devices), f"{job.devices[0].platform} device")
        + (f"; {finished} reports are there already" if finished else "")
    )
    for note in job.dataset.notes:
        print(f"note: {note}")


def print_time(trained: int, seconds: float, each: float | None) -> None:
    """Say how long the networks took; `each` is None where the time of one was not measured."""
    told = "; the time of one network was not measured, as others were there already"
    if each is not None:
        told = f", {1000 * each:.1f} ms a network, compilation included"
    print(f"\n{counted(trained, 'network')} trained in {seconds:.1f} s{told}")


def report_best(job: SweepJob, result: SweepResult, folder: Path, each: float | None) -> int:
    """Train the best again, test it, and compare the sweep where that was asked; returns the exit status."""
    best, passed = best_number(job, result), True
    if best is None:
        tell(f"every network diverged: try smaller learning rates; see {folder}")
        return 1
    train_best(job, best, folder)
    if job.options.check:
        passed = print_check(job, result)
    if job.options.against is not None:
        print_sklearn(job, result, each)
    print(f"run folder {folder}")
    return 0 if passed else 1


# --- the ranking ---


def write_ranking(job: SweepJob, result: SweepResult, folder: Path) -> None:
    """Write ranking.csv, a row a setting, best first."""
    score = result.metric.partition(":")[0]
    names = [f"valid_{score}_{name}" for name in ("mean", "median", "deviation", "least", "largest")]
    with whole_file(folder / RANKING) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["place", *job.shown, "networks", "diverged", "epochs", *names, "valid_loss"])
        for place, standing in enumerate(result.ranking, start=1):
            values, scores = map(spell, job.values(standing.numbers[0]).values()), np.array(standing.scores)
            measured: list[Any] = [""] * (len(names) + 1)
            if len(scores):
                spread = scores.mean(), np.median(scores), scores.std(), scores.min(), scores.max()
                measured = [*spread, standing.loss]
            counts = len(standing.numbers), standing.diverged, standing.epochs
            writer.writerow([place, *values, *counts, *measured])


def print_ranking(job: SweepJob, result: SweepResult, folder: Path) -> None:
    """Write the ranking, print the best settings, a row each, and draw every network's score."""
    write_ranking(job, result, folder)
    measure = f"validation {score_name(result.metric)}"
    several = max(len(standing.numbers) for standing in result.ranking) > 1
    halved = ["epochs"] if job.options.rungs else []
    measures = [measure, "median", "least to largest", "loss", "networks"] if several else [measure, "loss"]
    table = [["place", *job.shown, *measures, *halved]]
    for place, standing in enumerate(result.ranking[: job.options.top], start=1):
        cells = [str(place), *map(spell, job.values(standing.numbers[0]).values())]
        cells += scores_of(standing, result.metric, several)
        table.append(cells + ([str(standing.epochs)] if halved else []))
    print(f"\n{aligned(table)}")
    left_out = len(result.ranking) - job.options.top
    if left_out > 0:
        print(f"… and {left_out} more in {RANKING}")
    diverged = sum(standing.diverged for standing in result.ranking)
    if diverged:
        print(f"{diverged} of {len(job.trials)} networks diverged; their settings are ranked last")
    if job.options.pictures:
        draw_scores(job, result, folder)


def scores_of(standing: Standing, metric: str, several: bool) -> list[str]:
    """Write a setting's scores as the table's cells."""
    if not standing.scores:
        return ["diverged", "", "", "", str(len(standing.numbers))] if several else ["diverged", ""]
    # A loss of 1e4 or more is that of a network that all but diverged.
    loss = f"{standing.loss:.4f}" if standing.loss < 1e4 else f"{standing.loss:.1e}"
    ordered = sorted(standing.scores)
    mean, median, least, largest = (
        show_score(metric, float(score))
        for score in (standing.score, np.median(ordered), ordered[0], ordered[-1])
    )
    told = f"{len(standing.numbers)}" + (f", {standing.diverged} diverged" if standing.diverged else "")
    return [mean, median, f"{least} to {largest}", loss, told] if several else [mean, loss]


def draw_scores(job: SweepJob, result: SweepResult, folder: Path) -> None:
    """Draw every network's score against each hyper-parameter."""
    factor, unit = (1, "") if result.metric == "r2" else (100, " [%]")
    rows = [job.values(number) for number in range(len(job.trials))]
    varied = {}
    for name in job.shown:
        values = [row[name] for row in rows]
        is_number = all(isinstance(value, int | float) for value in values)
        varied[name] = values if is_number else list(map(spell, values))
    figure = sweep_scores(
        varied,
        [np.nan if report.diverged else factor * report.score for report in result.reports],
        score_label=f"validation {score_name(result.metric)}{unit}",
        best=best_number(job, result),
        stopped=[report.epochs < job.options.epochs for report in result.reports],
    )
    save(figure, folder / FIGURE)


# --- the chosen network ---


def best_number(job: SweepJob, result: SweepResult) -> int | None:
    """Choose a network of the best setting: that of its best seed, by the mean over its folds."""
    by_seed: dict[int, list[int]] = {}
    for number in result.ranking[0].numbers:
        if not result.reports[number].diverged:
            by_seed.setdefault(job.trials[number].seed, []).append(number)
    if not by_seed:
        return None
    sign = 1 if METRICS[result.metric].more_is_better else -1

    def merit(numbers: list[int]) -> tuple[float, float]:
        reports = [result.reports[number] for number in numbers]
        means = (np.mean([getattr(report, name) for report in reports]) for name in ("score", "loss"))
        score, loss = map(float, means)
        return sign * score, -loss

    return max(by_seed.values(), key=merit)[0]


def train_one(job: Job, nudged: bool = False) -> FitResult:
    """Train one network as `jaxmlp train` does; nudged, from weights that differ by one rounding."""
    state = job.start()
    if nudged:
        rounding = 1 + 2 * float(np.finfo(jax.tree.leaves(state.params)[0].dtype).eps)
        state = state._replace(params=scale_weights(job.recipe.net, state.params, rounding))
    train, options = job.place(job.problem.train), job.options
    return fit_recipe(job.recipe, train, None, FitState(state), epochs=options.epochs, l2=options.l2)


def train_best(sweep: SweepJob, number: int, folder: Path) -> None:
    """Train the chosen setting on the whole training part, test it and save it."""
    setting = sweep.settings[number]
    job = make_job(setting, sweep.dataset, problem_of(setting, sweep.dataset, 0.0), sweep.precision)
    fitted = train_one(job)
    params, metric = fitted.state.params, fitted.metric
    save_model(folder / MODEL, job.recipe.net, params, job.saved)
    tested = evaluate_recipe(job.recipe, params, job.place(job.problem.test), setting.l2)
    print(
        f"chosen: {sweep.label(number).partition(', fold')[0]}; trained again on all "
        f"{len(job.problem.train.inputs):,} examples of the training part"
    )
    if fitted.stopped == "diverged":
        print("it diverged there; the parameters before that are kept")
    print(f"test {score_name(metric)} {show_score(metric, float(tested.score))}")
    print(f"the same network: {train_command(setting)}")


# --- networks of the sweep, each trained separately ---


def spread_out(count: int, numbers: Sequence[int]) -> list[int]:
    """Choose some numbers evenly among those given."""
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    return [numbers[place] for place in places]


def parts_of(job: SweepJob, number: int) -> tuple[Batch, Batch]:
    """Copy out what a network trains on, and what it is ranked on."""
    fold, train = job.trials[number].fold, job.problem.train
    if job.folds is None or fold is None:
        assert job.problem.valid is not None
        return train, job.problem.valid
    kept, held_out = (Batch(train.inputs[rows], train.targets[rows]) for rows in job.folds[fold])
    return kept, held_out


def print_check(job: SweepJob, result: SweepResult) -> bool:
    """Train some networks of the sweep one by one and print how far the two differ; tells whether within bounds."""
    options, sound, passed = job.options, [each.number for each in result.reports if not each.diverged], True
    once = sweep_plan(dataclasses.replace(job.plan, epochs=1, keep_params=True)).params
    for epochs, swept, bounds in ((1, once, AFTER_AN_EPOCH), (options.epochs, result.params, AT_THE_END)):
        chosen = spread_out(options.check or 0, [number for number in sound if number in swept])
        if not chosen:
            print("check: this call trained none to its end; the ends are not compared")
            continue
        ends = {number: train_singly(job, number, epochs) for number in chosen}
        apart = {number: difference(swept[number], end) for number, end in ends.items()}
        passed &= say(job, apart, epochs, bounds.get(options.precision))
        farthest = worst_of(apart)
        grown = difference(train_singly(job, farthest, epochs, nudged=True), ends[farthest])
        print(f"check: one rounding of its start, trained separately, grows to {grown:.1e} there")
    return passed


def train_singly(job: SweepJob, number: int, epochs: int, nudged: bool = False) -> Any:
    """Train one network of the sweep by `fit`, on its own examples; returns its parameters."""
    problem = job.problem._replace(train=parts_of(job, number)[0])
    setting = dataclasses.replace(job.settings[number], epochs=epochs)
    return train_one(make_job(setting, job.dataset, problem, job.precision), nudged).state.params


def say(job: SweepJob, differences: Mapping[int, float], epochs: int, bound: float | None) -> bool:
    """Print one comparison and its farthest network; without a bound it is for information."""
    farthest = worst_of(differences)
    largest = differences[farthest]
    passed = bound is None or largest <= bound
    verdict = "" if bound is None else f", bound {bound:.0e}: {'passed' if passed else 'FAILED'}"
    print(
        f"check: {counted(len(differences), 'network')} trained separately, after {counted(epochs, 'epoch')}: "
        f"largest relative difference of parameters {largest:.1e}{verdict}; that of network {farthest} "
        f"({job.label(farthest)})"
    )
    return passed


def difference(ours: Any, theirs: Any, is_relative: bool = True) -> float:
    """Measure max |a − b| / max |b| of the worst tensor, or max |a − b|; NaN where any number is."""
    found = []
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        size = np.max(np.abs(b)) if is_relative else 1.0
        found.append(np.max(np.abs(np.asarray(a) - np.asarray(b))) / (size or 1.0))
    return float(np.max(found))


def worst_of(differences: Mapping[int, float]) -> int:
    """Choose the network with the largest, and with NaN where one has it, which Python's own `max` can pass over."""
    return list(differences)[int(np.argmax(list(differences.values())))]


# --- scikit-learn ---


def print_sklearn(job: SweepJob, result: SweepResult, seconds: float | None) -> None:
    """Train some networks by scikit-learn, one after another, and print the time of one.

    `seconds` is what the sweep took a network, for the ratio; None where it was not measured.
    """
    metric = result.metric
    chosen = spread_out(job.options.against_count, range(len(job.trials)))
    print(
        f"\nscikit-learn: {len(chosen)} of the {len(job.trials)} networks, one after another, "
        "from other initial weights and in other orders"
    )
    taken = []
    for number in chosen:
        train, held_out = ((np.asarray(x), _targets(y)) for x, y, *_ in parts_of(job, number))
        model = sklearn_model(job, number, len(train[0]))
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that all epochs were used is wanted here
            model.fit(*train)
        taken.append(time.perf_counter() - started)
        theirs, ours = float(model.score(*held_out)), result.reports[number].score
        print(
            f"  network {number} ({job.label(number)}): {taken[-1]:.3f} s, validation {score_name(metric)} "
            f"{show_score(metric, theirs)}, in the sweep {show_score(metric, ours)}"
        )
    median, told = float(np.median(taken)), "; the sweep's time was not measured"
    if seconds is not None:
        told = f", the sweep {1000 * seconds:.1f} ms: {median / seconds:.3g} times as long"
    print(f"scikit-learn takes {1000 * median:.1f} ms a network (median of {len(taken)} measured){told}")


def _targets(targets: Any) -> np.ndarray:
    targets = np.asarray(targets)
    return targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets


def sklearn_model(job: SweepJob, number: int, examples: int) -> Any:
    """Describe the same network to scikit-learn: sizes, batch, epochs, rate and L2.

    It divides its penalty by the minibatch's size: alpha = l2·B.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    trial, setting, options = job.trials[number], job.settings[number], job.options
    solver, _, parameter = trial.optimizer.partition(":")
    kind = MLPRegressor if job.problem.metric == "r2" else MLPClassifier
    return kind(
        hidden_layer_sizes=setting.hidden,
        activation=SKLEARN_ACTIVATIONS[setting.activation],
        solver="adam" if solver == "adam" else "sgd",
        alpha=trial.l2 * trial.batch_size,
        batch_size=min(trial.batch_size, examples),
        learning_rate_init=trial.learning_rate,
        max_iter=options.epochs,
        shuffle=options.shuffle,
        random_state=trial.seed,
        tol=0.0,
        n_iter_no_change=options.epochs + 1,
        momentum=float(parameter or (0.0 if solver == "sgd" else 0.9)),
        nesterovs_momentum=solver == "nesterov",
    )
