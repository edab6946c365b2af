"""What a sweep prints and draws, and the chosen network: trained once more, tested and saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmlp import evaluate, fit, save_model
from jaxmlp.cli.options import TrainOptions
from jaxmlp.cli.run import MODEL
from jaxmlp.cli.sweep_files import train_command
from jaxmlp.cli.sweep_options import spell, varied_names
from jaxmlp.cli.sweep_study import Study
from jaxmlp.cli.text import score_name, show_score
from jaxmlp.cli.train import as_float64, network_of, optimizer_of, saved_preprocessing, start
from jaxmlp.datasets import Dataset
from jaxmlp.datasets.problem import make_problem
from jaxmlp.plots import save, sweep_scores
from jaxmlp.sweep.sweep import SweepResult
from jaxmlp.sweep.trials import Standing
from jaxmlp.training.metrics import METRICS

FIGURE = "scores.png"


def print_start(study: Study, dataset: Dataset, finished: int) -> None:
    """Say what is about to be trained."""
    if study.options.quiet:
        return
    examples = len(study.problem.train.inputs)
    ranked_on = (
        f"by cross-validation over {len(study.folds)} folds of {examples:,} examples"
        if study.folds
        else f"on {len(study.problem.valid.inputs if study.problem.valid else ()):,} examples held out of training, "
        f"which has {examples:,}"
    )
    kinds = sorted({device.platform for device in study.devices})
    print(
        f"{dataset.name}: {len(study.trials)} networks of {len({trial.setting for trial in study.trials})} settings, "
        f"{study.options.epochs} epochs, ranked {ranked_on}; "
        f"{len(study.devices)} {', '.join(kinds)} device{'s' if len(study.devices) > 1 else ''}"
        + (f"; {finished} reports are there already" if finished else "")
    )


def shown_names(study: Study) -> list[str]:
    """Name the hyper-parameters to show: those that vary, or the learning rate where none does."""
    return varied_names(study.settings) or ["learning_rate"]


def value_of(study: Study, number: int, name: str) -> Any:
    """Tell a hyper-parameter of a network; a learning rate left to the optimiser as what it came to."""
    return (
        study.trials[number].learning_rate if name == "learning_rate" else getattr(study.origin[number], name)
    )


def setting_of(study: Study, number: int) -> str:
    """Write the hyper-parameters of a network that vary, and its seed."""
    told = [f"{name.replace('_', ' ')} {spell(value_of(study, number, name))}" for name in shown_names(study)]
    return ", ".join([*told, f"seed {study.trials[number].seed}"])


def name_of(study: Study, number: int) -> str:
    """Write what tells a network of the sweep from the others: its hyper-parameters, its seed and its fold."""
    fold = study.trials[number].fold
    return setting_of(study, number) + ("" if fold is None else f", fold {fold}")


def print_ranking(study: Study, result: SweepResult, rows: Sequence[dict[str, Any]]) -> None:
    """Print the best settings, a row each, aligned."""
    measure = score_name(result.metric)
    several = max(len(standing.numbers) for standing in result.ranking) > 1
    halved = study.options.halving is not None
    head = ["place", *rows[0], f"validation {measure}", "loss"]
    if several:
        head[-1:] = ["median", "least to largest", "loss", "networks"]
    table = [head + (["epochs"] if halved else [])]
    for place, (standing, row) in enumerate(zip(result.ranking, rows, strict=True), start=1):
        if place > study.options.top:
            break
        cells = [str(place), *map(spell, row.values()), *scores_of(standing, result.metric, several)]
        table.append(cells + ([str(standing.epochs)] if halved else []))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print()
    for line in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    left_out = len(result.ranking) - study.options.top
    if left_out > 0:
        print(f"… and {left_out} more in ranking.csv")
    diverged = sum(standing.diverged for standing in result.ranking)
    if diverged:
        print(f"{diverged} of {len(study.trials)} networks diverged; their settings are ranked last")


def scores_of(standing: Standing, metric: str, several: bool) -> list[str]:
    """Write a setting's scores as the table's cells."""
    if not standing.scores:
        return ["diverged", "", "", "", str(len(standing.numbers))] if several else ["diverged", ""]
    mean, loss = show_score(metric, standing.score), f"{standing.loss:.4f}"
    if standing.loss >= 1e4:  # of a network that all but diverged
        loss = f"{standing.loss:.1e}"
    if not several:
        return [mean, loss]
    median, least, largest = (
        show_score(metric, float(statistic(standing.scores))) for statistic in (np.median, np.min, np.max)
    )
    spread = f"{least} to {largest}"
    told = f"{len(standing.numbers)}" + (f", {standing.diverged} diverged" if standing.diverged else "")
    return [mean, median, spread, loss, told]


def draw_scores(study: Study, result: SweepResult, folder: Path) -> None:
    """Draw every network's score against each hyper-parameter."""
    is_share = result.metric != "r2"
    scores = [np.nan if report.diverged else report.score for report in result.reports]
    varied = {}
    for name in shown_names(study):
        values = [value_of(study, number, name) for number in range(len(study.trials))]
        is_number = all(isinstance(value, int | float) for value in values)
        varied[name] = values if is_number else [spell(value) for value in values]
    measure = score_name(result.metric)
    figure = sweep_scores(
        varied,
        100 * np.array(scores) if is_share else scores,
        score_label=f"validation {measure} [%]" if is_share else f"validation {measure}",
        best=best_number(study, result),
        stopped=[report.epochs < study.options.epochs for report in result.reports],
    )
    save(figure, folder / FIGURE)


def best_number(study: Study, result: SweepResult) -> int | None:
    """Choose a network of the best setting: that of its best seed, by the mean over its folds."""
    best = result.ranking[0]
    by_seed: dict[int, list[int]] = {}
    for number in best.numbers:
        if not result.reports[number].diverged:
            by_seed.setdefault(study.trials[number].seed, []).append(number)
    if not by_seed:
        return None
    sign = 1 if METRICS[result.metric].more_is_better else -1
    return max(
        by_seed.values(),
        key=lambda numbers: sign * np.mean([result.reports[number].score for number in numbers]),
    )[0]


def train_best(study: Study, number: int, dataset: Dataset, folder: Path) -> None:
    """Train the chosen setting on the whole training part, as train.py does, test it and save it."""
    setting: TrainOptions = study.origin[number]
    problem = make_problem(dataset, loss=setting.loss, scaling=setting.scaling, seed=setting.seed)
    if setting.precision == "float64":
        problem = jax.tree.map(as_float64, problem)
    net = network_of(setting, problem, study.precision)
    fitted = fit(
        net,
        problem.train,
        loss=problem.loss,
        optimizer=optimizer_of(setting, problem),
        batch_size=setting.batch_size or len(problem.train.inputs),
        epochs=setting.epochs,
        state=start(net, setting, problem),
        shuffle=setting.shuffle,
        metric=problem.metric,
        l2=setting.l2,
    )
    save_model(folder / MODEL, net, fitted.state.params, saved_preprocessing(problem, dataset))
    tested = evaluate(
        net, fitted.state.params, problem.test, loss=problem.loss, metric=problem.metric, l2=setting.l2
    )
    measure = score_name(problem.metric)
    print(
        f"chosen: {setting_of(study, number)}; trained again on all {len(problem.train.inputs):,} examples of the "
        f"training part"
    )
    if fitted.stopped == "diverged":
        print("it diverged there; the parameters before that are kept")
    print(f"test {measure} {show_score(problem.metric, float(tested.score))}")
    print(f"alone: {train_command(setting)}")
