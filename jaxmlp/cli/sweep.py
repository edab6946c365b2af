"""Sweep hyper-parameters: many networks side by side, ranked on validation data; the best is tested and saved."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from jaxmlp import ArgumentError
from jaxmlp.cli.run import describe_machine, make_run_folder, write_config
from jaxmlp.cli.session import INTERRUPTED, available_cores, compilation_cache, computing
from jaxmlp.cli.sweep_files import append_reports, read_config, read_reports, stored_options, write_ranking
from jaxmlp.cli.sweep_measurements import print_check, print_sklearn
from jaxmlp.cli.sweep_options import SweepOptions, halving_of, read_sweep, spell, varied_names
from jaxmlp.cli.sweep_report import (
    best_number,
    draw_scores,
    print_ranking,
    print_start,
    shown_names,
    train_best,
    value_of,
)
from jaxmlp.cli.sweep_study import Study, make_study
from jaxmlp.cli.text import show_score
from jaxmlp.cli.train import load_dataset
from jaxmlp.datasets import Dataset
from jaxmlp.sweep.sweep import Progress, SweepResult, sweep
from jaxmlp.sweep.trials import TrialReport, planned_epochs
from jaxmlp.training.metrics import METRICS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, config = read_sweep(arguments), None
    if options.resume is not None:
        config = read_config(options.resume)
        options = stored_options(config, options)
    use_cores(options.cores)
    with (
        compilation_cache(options.compilation_cache),
        computing(options.device, options.precision) as precision,
    ):
        return run_sweep(options, precision, config)


def use_cores(count: int | None) -> None:
    """Make each CPU core a device of its own, which must be said before JAX first computes."""
    with contextlib.suppress(RuntimeError):  # it has computed already: what is there is used
        jax.config.update("jax_num_cpu_devices", count or available_cores())


def run_sweep(options: SweepOptions, precision: str | None, config: Mapping[str, Any] | None) -> int:
    """Load, sweep, rank, train the best again, and save; returns the exit status."""
    dataset = load_dataset(options)
    study = make_study(options, dataset, precision)
    if config is None:
        folder, finished = make_run_folder(options.out, f"sweep-{dataset.name}"), []
        write_config(
            folder,
            {
                "options": dataclasses.asdict(options),
                "dataset": dataset.identity,
                "command": ["python", *sys.argv],
                "machine": describe_machine(),
            },
        )
    else:
        folder = Path(options.resume or "")
        finished = read_reports(folder, describe(study))
        check_same_data(config, dataset, folder)
    print_start(study, dataset, len(finished))
    started = time.perf_counter()
    try:
        result, trained = sweep_with_progress(study, folder, finished)
    except KeyboardInterrupt:
        print(
            f"sweep.py: interrupted; go on with: python experiments/sweep.py --resume {folder}",
            file=sys.stderr,
        )
        return INTERRUPTED
    seconds = time.perf_counter() - started
    # Of a sweep that went on, the time of what was there is not known.
    each = None if finished else seconds / len(study.trials)
    told = f"{trained} network{'' if trained == 1 else 's'} trained in {seconds:.1f} s"
    if each is None:
        told += "; what a network takes was not measured, as others were there already"
    else:
        told += f", {1000 * each:.1f} ms a network, compilation included"
    return report_and_save(study, result, dataset, folder, told, each)


def check_same_data(config: Mapping[str, Any], dataset: Dataset, folder: Path) -> None:
    """Refuse to go on with other data than the sweep began with."""
    if json.loads(json.dumps(dataset.identity, default=str)) != config["dataset"]:
        raise ArgumentError(
            f"the data set '{dataset.name}' is not what {folder} began with: begin a new sweep"
        )


def sweep_with_progress(
    study: Study, folder: Path, finished: Sequence[TrialReport]
) -> tuple[SweepResult, int]:
    """Train everything that is missing, with a progress bar, and keep what finishes; counts what was trained."""
    options, problem, described = study.options, study.problem, describe(study)
    done: dict[int, int] = {}
    for report in finished:
        done[report.number] = max(report.epochs, done.get(report.number, 0))
    total = planned_epochs(study.trials, options.epochs, halving_of(options))
    best: float | None = None
    better = max if METRICS[problem.metric].more_is_better else min
    trained: set[int] = set()
    with tqdm(
        total=total, initial=sum(done.values()), unit="epoch", disable=options.quiet, file=sys.stderr
    ) as bar:

        def tell(progress: Progress) -> None:
            nonlocal best
            for report in progress.reports:  # one that goes on beyond the rung it had finished began anew
                bar.total = (bar.total or 0) + done.pop(report.number, 0)
            bar.update(progress.epochs)
            append_reports(folder, progress.reports, described)
            trained.update(report.number for report in progress.reports)
            scores = [report.score for report in progress.reports if not report.diverged]
            if scores:
                best = better(scores if best is None else [best, *scores])
                bar.set_postfix_str(f"best {show_score(problem.metric, best)}")

        result = sweep(
            study.trials,
            problem.train,
            problem.valid,
            epochs=options.epochs,
            folds=study.folds,
            halving=halving_of(options),
            loss=problem.loss,
            metric=problem.metric,
            shuffle=options.shuffle,
            block=options.block,
            devices=study.devices,
            finished=finished,
            keep_params=bool(options.check),
            callback=tell,
        )
        bar.total = bar.n  # less than planned, where settings of which all networks diverged were stopped
    return result, len(trained)


def describe(study: Study) -> list[dict[str, Any]]:
    """Tell what each network of the sweep is, by number: what stands in its line beside what it reports."""
    return [
        {name: _plain(getattr(setting, name)) for name in varied_names(study.settings)}
        | {"seed": trial.seed, "fold": trial.fold}
        for setting, trial in zip(study.origin, study.trials, strict=True)
    ]


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | None) else spell(value)


def report_and_save(
    study: Study, result: SweepResult, dataset: Dataset, folder: Path, told: str, each: float | None
) -> int:
    """Print the ranking, draw it, train the best again and test it; returns the exit status.

    `told` says what was trained, `each` the seconds a network took, None where that was not measured.
    """
    rows = [
        {name: value_of(study, standing.numbers[0], name) for name in shown_names(study)}
        for standing in result.ranking
    ]
    write_ranking(folder, result.ranking, rows, result.metric)
    print_ranking(study, result, rows)
    if study.options.pictures:
        draw_scores(study, result, folder)
    print(f"\n{told}")
    best = best_number(study, result)
    if best is None:
        print(f"sweep.py: every network diverged: try smaller learning rates; see {folder}", file=sys.stderr)
        return 1
    train_best(study, best, dataset, folder)
    passed = print_check(study, result) if study.options.check else True
    if study.options.against is not None:
        print_sklearn(study, result, each)
    print(f"run folder {folder}")
    return 0 if passed else 1
