"""What a sweep reports: its ranking, and the chosen network trained once more."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from jaxmlp import FitState, save_model
from jaxmlp.cli.job import make_job, problem_of
from jaxmlp.cli.run import MODEL
from jaxmlp.cli.session import tell
from jaxmlp.cli.sweep_options import SweepJob, train_command
from jaxmlp.cli.text import NUMBERS, aligned, counted, score_name, show_loss, show_score, spell
from jaxmlp.files import whole_file
from jaxmlp.plots import save, sweep_scores
from jaxmlp.sweep.sweep import SweepResult
from jaxmlp.sweep.trials import Standing
from jaxmlp.training.evaluation import evaluate_recipe
from jaxmlp.training.fit import fit_recipe
from jaxmlp.training.metrics import METRICS

FIGURE, RANKING = "scores.png", "ranking.csv"


def print_start(job: SweepJob, finished: int) -> None:
    """Say what is about to be trained."""
    examples, valid = len(job.problem.train.inputs), job.problem.valid
    if valid is None:
        ranked_on = f"by cross-validation over {len(job.folds or ())} folds of {examples:,} examples"
    else:
        ranked_on = f"on {len(valid.inputs):,} examples held out of training, which has {examples:,}"
    lengths = sorted({setting.epochs for setting in job.settings})
    print(
        f"{job.dataset.name}: {counted(len(job.trials), 'network')} of "
        f"{counted(len({trial.setting for trial in job.trials}), 'setting')}, "
        f"{' or '.join([*map(str, lengths[:-1]), counted(lengths[-1], 'epoch')])}, ranked {ranked_on}; "
        + counted(len(job.devices), f"{job.devices[0].platform} device")
        + (f"; {finished} reports are there already" if finished else "")
    )
    for note in job.dataset.notes:
        print(f"note: {note}")


def report_best(job: SweepJob, result: SweepResult, folder: Path) -> int:
    """Train the best again and test it; returns the exit status."""
    best = best_number(job, result)
    if best is None:
        tell(f"every network diverged: try smaller learning rates; see {folder}")
        return 1
    train_best(job, best, folder)
    print(f"run folder {folder}")
    return 0


# --- the ranking ---


def write_ranking(job: SweepJob, result: SweepResult, folder: Path) -> None:
    """Write ranking.csv, a row a setting, best first."""
    score = result.metric.partition(":")[0]
    names = [f"valid_{score}_{name}" for name in ("mean", "median", "deviation", "least", "largest")]
    with whole_file(folder / RANKING) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["place", *job.shown, "networks", "diverged", "trained_epochs", *names, "valid_loss"])
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
    mean, loss = show_score(metric, standing.score), show_loss(standing.loss)
    if not several:
        return [mean, loss]
    quantiles = np.quantile(standing.scores, (0, 0.5, 1))
    least, median, largest = (show_score(metric, score) for score in quantiles)
    told = f"{len(standing.numbers)}" + (f", {standing.diverged} diverged" if standing.diverged else "")
    return [mean, median, f"{least} to {largest}", loss, told]


def draw_scores(job: SweepJob, result: SweepResult, folder: Path) -> None:
    """Draw every network's score against each hyper-parameter."""
    factor, unit = (1, "") if result.metric.partition(":")[0] in NUMBERS else (100, " [%]")
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
        stopped=[report.epochs < job.settings[report.number].epochs for report in result.reports],
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

    def merit(numbers: list[int]) -> tuple[float, ...]:
        each = [(sign * result.reports[number].score, -result.reports[number].loss) for number in numbers]
        return tuple(np.mean(each, axis=0))

    return max(by_seed.values(), key=merit)[0]


def train_best(sweep: SweepJob, number: int, folder: Path) -> None:
    """Train the chosen setting on the whole training part, test it and save it."""
    setting = sweep.settings[number]
    job = make_job(setting, sweep.dataset, problem_of(setting, sweep.dataset, 0.0), sweep.precision)
    train, start = job.place(job.problem.train), FitState(job.start())
    fitted = fit_recipe(job.recipe, train, None, start, epochs=setting.epochs, l2=setting.l2)
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
