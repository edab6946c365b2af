"""Train a multi-layer perceptron by hand-written backpropagation; with no options, on scanned digits."""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from tqdm import tqdm

from jaxmlp import (
    ArgumentError,
    EpochReport,
    FitResult,
    FitState,
    TrainState,
    check_gradients,
    history_columns,
    save_model,
)
from jaxmlp.cli.distributed import HEARTBEAT, Group, together
from jaxmlp.cli.job import Job, prepare
from jaxmlp.cli.options import stopping_of
from jaxmlp.cli.page import write_page
from jaxmlp.cli.records import write_metrics
from jaxmlp.cli.resume import read_options, read_progress, remember
from jaxmlp.cli.run import MODEL, Run, open_run
from jaxmlp.cli.scores import Answers, answers_of, class_rows, score_rows, scores
from jaxmlp.cli.session import Interruption, compilation_cache, computing, interruption, tell
from jaxmlp.cli.text import aligned, counted, score_name, show_score, spell
from jaxmlp.datasets.table import feature_names
from jaxmlp.door import one_line
from jaxmlp.training.evaluation import evaluate_recipe
from jaxmlp.training.fit import Hooks, fit_recipe

Tables: TypeAlias = list[tuple[str, list[list[str]]]]
MOST_CLASSES, MOST_COLUMNS = 20, 40  # that are told of one by one
LOG_EVERY = 5.0  # seconds between the lines of a log


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: prepare, open the run, fit, report; returns the exit status."""
    options = read_options(arguments)
    with (
        compilation_cache(options.compilation_cache),
        together(options) as group,
        computing(options.device, options.precision) as (precision, device),
    ):
        job = prepare(options, precision, device, group)
        # Of several processes only the first prints and writes files.
        with open_run(job) if group.is_first else contextlib.nullcontext() as run:
            before = begin(job, run, group)
            if before is None:
                return 1
            with interruption("" if run is None else run.advice) as asked:
                started = time.perf_counter()
                result = fit(job, run, group, before, asked)
                seconds = time.perf_counter() - started
            return asked.status if run is None else report(job, run, before, result, asked, seconds)


def begin(job: Job, run: Run | None, group: Group) -> FitState | None:
    """Tell where the run stands: at its start, or where --resume finds it; None where the gradient is wrong."""
    options, problem = job.options, job.problem
    before, progress = read_progress(job, FitState(job.start()))
    if run is not None and not options.quiet:
        print(
            f"{job.dataset.name}: {job.dataset.task}, {len(problem.train.inputs):,} examples to train on, "
            f"{len(problem.test.inputs):,} to test on"
        )
        if job.dataset.table is not None:
            print(f"\n{aligned(column_rows(job.dataset.table['columns']))}")
        if job.dataset.notes:
            print("", *(f"note: {note}" for note in job.dataset.notes), sep="\n")
        told = ", ".join(f"{name.replace('_', ' ')} {spell(value)}" for name, value in job.in_force.items())
        print(f"\n{job.recipe.net}\n\nsettings: {told}\n")
    if options.resume is None and not gradients_agree(job, before.train, run):
        return None
    if options.resume is not None and run is not None:
        remember(run.folder, options)
        for note in progress:
            tell(note)
    group.agree({"checkpoint": len(before.history)})
    if run is not None and group.count > 1:
        tell(f"if a process dies, the others end within about {HEARTBEAT + 10} s; then {run.advice}")
    return before._replace(train=job.place(before.train))


def gradients_agree(job: Job, state: TrainState, run: Run | None) -> bool:
    """Check the hand-written gradient on the first batch, and say so in one line."""
    first = (each[: job.recipe.batch_size] for each in job.problem.train[:2])
    report = check_gradients(
        job.recipe.net,
        off_the_kinks(state.params, job.options.seed),
        *first,
        loss=job.problem.loss,
        l2=job.options.l2,
        finite_differences=False,
    )
    if report.passed and (run is None or job.options.quiet):
        return True
    error = report.worst.autodiff_relative
    told = f"largest relative error {error:.1e}, within its bound" if error else "exactly equal"
    if not report.passed:
        told = f"{error:.1e} is OVER ITS BOUND in {report.worst.path}: a defect of jaxmlp"
    print(
        f"gradient check, hand-written against jax.grad on the first batch: {told}\n",
        file=sys.stdout if report.passed else sys.stderr,
    )
    return report.passed


def off_the_kinks(params: Any, seed: int) -> Any:
    """Move parameters a little at random, for the check only.

    Fresh biases of 0 can bring an output exactly to its target, or two scores to a tie. There a loss has no
    derivative, and autodiff may choose another value than ours: a difference that is no defect.
    """
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: np.asarray(leaf) + random.normal(0, 0.01, leaf.shape).astype(leaf.dtype), params
    )


def fit(job: Job, run: Run | None, group: Group, before: FitState, asked: Interruption) -> FitResult:
    """Train the epochs that are left, with a progress bar; an interruption ends it after an epoch."""
    options, problem, done = job.options, job.placed, len(before.history)
    measured, part = (problem.test, "test") if problem.valid is None else (problem.valid, "validation")
    name = score_name(problem.metric)
    recording = contextlib.nullcontext() if run is None else run.recording(before)
    hidden = run is None or options.quiet
    in_log, last = not sys.stderr.isatty(), time.monotonic()
    bar = tqdm(total=options.epochs, initial=done, unit="epoch", disable=hidden or in_log, file=sys.stderr)

    def after_epoch(report: EpochReport, state: TrainState) -> bool:
        nonlocal last
        score = show_score(problem.metric, report.valid_score)
        told = f"running loss {report.train_loss:.4f}, {part} {name} {score}"
        bar.set_postfix_str(told, refresh=False)
        bar.update()
        if in_log and not hidden and time.monotonic() - last > LOG_EVERY:
            last = time.monotonic()
            tell(f"epoch {report.epoch} of {options.epochs}: {told}")
        return asked.signal is not None

    with recording, bar:
        result = fit_recipe(
            job.recipe,
            problem.train,
            measured,
            before,
            epochs=max(0, options.epochs - done),
            l2=options.l2,
            stopping=stopping_of(options),
            hooks=Hooks(after_epoch, None if run is None else run.save),
        )
        group.part()
    return result


def report(
    job: Job, run: Run, before: FitState, result: FitResult, asked: Interruption, seconds: float
) -> int:
    """Say that the run was stopped, or save its result and print it; returns the exit status."""
    reached, saved = len(result.history), run.last_saved
    if result.stopped != "diverged" and (asked.signal is not None or result.stopped == "callback"):
        asked_by = "another process" if asked.signal is None else asked.signal.name
        advice = run.advice if saved else "nothing of it is saved: begin it again"
        note = f", saved up to epoch {saved}" if 0 < saved < reached else ""
        tell(f"stopped by {asked_by} after epoch {reached} of {job.options.epochs}{note}; {advice}")
        return asked.status or 1
    params = job.local(result.state.params)
    answers: Answers | None = None
    tables: Tables = []
    if job.options.pictures or not job.options.quiet:
        ask = {"task": job.dataset.task, "loss": job.problem.loss}
        answers = answers_of(job.recipe.net, params, job.problem.test.inputs, **ask)
        tables = score_tables(job, answers)
    try:
        run.take_place()
        save(job, run, result, answers, tables)
    except OSError as error:
        advice = (
            f"when it can be, {run.advice} (its last checkpoint is of epoch {saved})"
            if saved
            else "no checkpoint is there to go on from"
        )
        raise ArgumentError(f"the result could not be written ({one_line(error)}): {advice}") from None
    print_result(job, run, result, len(before.history), seconds)
    for _, rows in () if job.options.quiet else tables:
        print(f"\n{aligned(rows)}")
    print(f"run folder {run.folder}")
    if result.stopped != "diverged":
        return 0
    tell(
        f"epoch {result.history[-1].epoch}: the loss or a parameter became NaN or infinite; the parameters before it "
        f"are kept in {run.folder / MODEL}; try a smaller --learning-rate than {job.learning_rate:g}, or --clip-norm 1"
    )
    return 1


def save(job: Job, run: Run, result: FitResult, answers: Answers | None, tables: Tables) -> None:
    """Write the table, the model, the pictures and the page into the run folder."""
    net, params = job.recipe.net, job.local(result.state.params)
    write_metrics(run.folder, result.history, result.metric, run.part)
    save_model(run.folder / MODEL, net, params, job.saved)
    if job.options.pictures and answers is not None:
        from jaxmlp.cli.pictures import draw_pictures

        columns = history_columns(result.history, result.metric)
        draw_pictures(run.folder, net, params, job.problem, job.dataset, columns, answers)
        settings = [["setting", "value"], *([name, spell(value)] for name, value in job.in_force.items())]
        told: Tables = [("Settings", settings)]
        if job.dataset.table is not None:
            told.append(("Columns", column_rows(job.dataset.table["columns"])))
        write_page(run.folder, job.dataset.name, [*told, *tables], job.dataset.notes, str(net))


def print_result(job: Job, run: Run, result: FitResult, done: int, seconds: float) -> None:
    """Measure the trained network on both parts, and print the summary."""
    recipe = dataclasses.replace(job.recipe, mesh=None)
    params, placed, name = job.local(result.state.params), job.placed, score_name(result.metric)
    train, test = (
        evaluate_recipe(recipe, params, job.local(part), job.options.l2)
        for part in (placed.train, placed.test)
    )
    trained, after = len(result.history) - done, f" after the {done} before" if done else ""
    print(f"trained {counted(trained, 'epoch')}{after} in {seconds:.1f} s{stop_reason(job, result)}")
    losses = [math.inf if row.valid_loss is None else row.valid_loss for row in result.history]
    if losses and min(losses) < losses[-1]:
        part, best = "test" if job.problem.valid is None else "validation", losses.index(min(losses))
        print(
            f"least {part} loss {losses[best]:.4f} in epoch {result.history[best].epoch}, {losses[-1]:.4f} in the last"
        )
    print(f"train {name} {show_score(result.metric, float(train.score))}, loss {float(train.loss):.4f}")
    print(f"test {name} {show_score(result.metric, float(test.score))}")
    print(f"test loss {float(test.loss):.4f}")


def column_rows(columns: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Lay out how columns were read: name, kind, gaps, and inputs made of it; beyond 40 only their sums."""
    kinds = {"category": "text"}
    rows = [[each["name"], kinds.get(each["kind"], each["kind"]), [each]] for each in columns[:MOST_COLUMNS]]
    if rest := columns[MOST_COLUMNS:]:
        rows.append([f"and {len(rest)} more", "", rest])
    told = [
        [name, kind, f"{sum(each['gaps'] for each in of):,}", str(len(feature_names(of)))]
        for name, kind, of in rows
    ]
    return [["column", "read as", "gaps", "inputs"], *told]


def score_tables(job: Job, answers: Answers) -> Tables:
    """Measure the test part of a table in its own units: scores beside those of guessing, and by class."""
    dataset = job.dataset
    if len(dataset.feature_shape) > 1:
        return []
    if dataset.task == "regression":
        answers = Answers(job.problem.preprocessing.restore_targets(answers.predicted), None)
    weight, truth = (dataset.weight or (None, None))[1], dataset.test.targets
    found = scores(dataset.task, truth, answers, dataset.class_names, weight)
    tables = [("Scores", score_rows(found, "score of the test part", dataset.task))]
    if dataset.task == "classification" and len(dataset.class_names) <= MOST_CLASSES:
        tables.append(("Classes", class_rows(truth, answers.predicted, dataset.class_names, weight)))
    return tables


def stop_reason(job: Job, result: FitResult) -> str:
    """Say why a run ended early, and whose its parameters are."""
    options = job.options
    reason = {
        "target": f", stopped at {100 * (options.target_accuracy or 0):g} % accuracy",
        "patience": f", stopped after {counted(options.patience or 0, 'epoch')} without an improvement",
        "time": f", stopped at the limit of {options.time_limit or 0:g} s",
        "diverged": ", stopped because the loss was not finite any more",
    }.get(result.stopped or "", "")
    return reason + (
        "" if result.best is None else f", the parameters are those of epoch {result.best.epoch}"
    )
