"""Sweep hyper-parameters: many networks side by side, ranked on validation data; the best is tested and saved."""

import dataclasses
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxmlp import ArgumentError
from jaxmlp.cli.run import open_run, read_config
from jaxmlp.cli.session import (
    Interruption,
    available_cores,
    compilation_cache,
    computing,
    interruption,
    tell,
    use_cores,
)
from jaxmlp.cli.sweep_options import SweepJob, prepare, read_sweep
from jaxmlp.cli.sweep_report import print_ranking, print_start, report_best
from jaxmlp.cli.text import counted, show_score
from jaxmlp.door import INTERRUPTED
from jaxmlp.files import parse_json
from jaxmlp.saving import check_description
from jaxmlp.sweep.sweep import Progress, SweepResult, sweep_plan
from jaxmlp.sweep.trials import TrialReport, planned_epochs
from jaxmlp.training.metrics import METRICS

TRIALS = "trials.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: prepare, open the run, sweep, report; returns the exit status."""
    options = read_sweep(arguments)
    use_cores(options.cores or available_cores())
    with (
        compilation_cache(options.compilation_cache),
        computing(options.device, options.precision) as (precision, device),
    ):
        job = prepare(options, precision, device)
        with open_run(job) as run:
            if options.resume is not None:
                began = read_config(run.folder, "sweep").get("dataset")
                check_description(began, job.dataset.identity, f"{run.folder} is a sweep of other data")
            finished = read_reports(run.folder, [job.described(number) for number in range(len(job.trials))])
            if not options.quiet:
                print_start(job, len(finished))
            started = time.perf_counter()
            with interruption(run.advice) as asked:
                try:
                    result, trained = train_missing(job, run.folder, finished, asked)
                except KeyboardInterrupt:
                    tell(f"interrupted; {run.advice}")
                    return asked.status or INTERRUPTED
            seconds = time.perf_counter() - started
            print_ranking(job, result, run.folder)
            each = f", {1000 * seconds / trained:.1f} ms a network, compilation included" if trained else ""
            print(f"\n{counted(trained, 'network')} trained in {seconds:.1f} s{each}")
            return report_best(job, result, run.folder)


def train_missing(
    job: SweepJob, folder: Path, finished: Sequence[TrialReport], asked: Interruption
) -> tuple[SweepResult, int]:
    """Train everything that is missing, with a progress bar, and keep what finishes; counts what was trained."""
    options, metric = job.options, job.problem.metric
    done: dict[int, int] = {}
    for report in finished:
        done[report.number] = max(report.epochs, done.get(report.number, 0))
    best: float | None = None
    better = max if METRICS[metric].more_is_better else min
    trained: set[int] = set()
    with tqdm(
        total=planned_epochs(job.trials, options.epochs, options.rungs),
        initial=sum(done.values()),
        unit="epoch",
        disable=options.quiet,
        file=sys.stderr,
    ) as bar:

        def tell(progress: Progress) -> None:
            nonlocal best
            for report in progress.reports:  # one that goes on beyond its last rung has begun again from 0
                bar.total = (bar.total or 0) + done.pop(report.number, 0)
            bar.update(progress.epochs)
            append_reports(folder, progress.reports, job.described)
            trained.update(report.number for report in progress.reports)
            scores = [report.score for report in progress.reports if not report.diverged]
            if scores:
                best = better(scores if best is None else [best, *scores])
                bar.set_postfix_str(f"best {show_score(metric, best)}")
            if asked.signal is not None:
                raise KeyboardInterrupt  # here, where JAX computes nothing

        result = sweep_plan(dataclasses.replace(job.plan, halving=options.rungs, tell=tell), finished)
        bar.total = bar.n  # less than planned, where settings of which all networks diverged were stopped
    return result, len(trained)


# --- trials.jsonl: each network as it finishes ---


def append_reports(
    folder: Path, reports: Iterable[TrialReport], described: Callable[[int], Mapping[str, Any]]
) -> None:
    """Add a line for each network that finished, and see it written before going on."""
    lines = []
    for report in reports:
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in report._asdict().items()
        }
        row |= described(report.number)
        lines.append(json.dumps(row | {"hash": _hash_of(row)}) + "\n")
    if lines:
        with (folder / TRIALS).open("a", encoding="utf-8") as file:
            file.write("".join(lines))
            file.flush()
            os.fsync(file.fileno())


def read_reports(folder: Path, described: Sequence[Mapping[str, Any]] | None = None) -> list[TrialReport]:
    """Read back the networks that finished; a line that was cut off when the sweep was stopped is left out."""
    path = folder / TRIALS
    if not path.exists():
        return []
    written = path.read_bytes()
    *lines, cut_off = written.split(b"\n")
    if cut_off:
        os.truncate(path, len(written) - len(cut_off))  # to write the rest again could lose it
    reports = []
    for line, text in enumerate(lines, start=1):
        try:
            row = parse_json(text)
            if row.pop("hash") != _hash_of(row):
                raise ValueError
            loss, score = (math.nan if row[name] is None else float(row[name]) for name in ("loss", "score"))
            report = TrialReport(row["number"], row["epochs"], loss, score, row["diverged"])
            if [type(part) for part in report] != [int, int, float, float, bool]:
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ArgumentError(
                f"{path}, line {line} is damaged: delete that line; its network is then trained again"
            ) from None
        if described is not None:
            _check_same_network(f"{path}, line {line}", row, described)
        reports.append(report)
    return reports


def _hash_of(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16]


def _check_same_network(line: str, row: Mapping[str, Any], described: Sequence[Mapping[str, Any]]) -> None:
    # A grid changed in the folder's configuration, or a draw of another version, gives other networks by number.
    number = row["number"]
    if not 0 <= number < len(described):
        raise ArgumentError(f"{line} reports network {number} of {len(described)}, from 0: begin a new sweep")
    found = {name: row.get(name) for name in described[number]}
    check_description(found, described[number], f"{line} reports another network {number}")
