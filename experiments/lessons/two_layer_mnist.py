"""Train a two-layer network on MNIST, as two_layer_mnist.py HIDDEN EPOCHS BATCH LEARNING_RATE, or a grid of them."""

import csv
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from members import compile_epoch, draw_examples, evaluate_members, keep_members, start_members
from tqdm import tqdm
from two_layer_options import ACTIVATION, INITS, TwoLayerOptions, read_options

from jaxmlp import ArgumentError, Batch, Network, make_optimizer, mlp, plots
from jaxmlp.cli.job import as_float64
from jaxmlp.cli.run import describe_machine, make_run_folder, write_config
from jaxmlp.cli.session import compilation_cache, computing, run
from jaxmlp.datasets import load
from jaxmlp.datasets.problem import Problem, make_problem
from jaxmlp.plots.histories import epoch_axis

OPTIMIZER = make_optimizer("sgd", 0.1)  # the rate is set in the state, so that one program serves all
MEASURES = ("train accuracy", "train cross-entropy", "test accuracy", "test cross-entropy")


class Setting(NamedTuple):
    """One setting of the study.

    Attributes:
        hidden: units of the hidden layer.
        batch_size: B.
        learning_rate: η.
    """

    hidden: int
    batch_size: int
    learning_rate: float


class Result(NamedTuple):
    """What M networks of one setting, which differ in their seed, came to.

    Attributes:
        setting: the setting.
        final: an array [M] for each of MEASURES, over all examples after the last epoch.
        epochs: epochs that each network was trained, [M].
        seconds: of training all M together, without compilation and evaluation.
        train_curve: accuracy as the epochs' steps were taken, [M, E].
        test_curve: accuracy after each epoch, [M, E].
    """

    setting: Setting
    final: dict[str, np.ndarray]
    epochs: np.ndarray
    seconds: float
    train_curve: np.ndarray
    test_curve: np.ndarray

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.final["train cross-entropy"]).all())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    with (
        compilation_cache(options.compilation_cache),
        computing(options.device, options.precision) as precision,
    ):
        return study(options, precision)


def study(options: TwoLayerOptions, precision: str | None) -> int:
    """Load the data, train every setting, report and save; returns the exit status."""
    dataset = load(
        options.dataset, data_dir=options.data_dir, manual_dir=options.manual_dir, quiet=options.quiet
    )
    if dataset.task != "classification":
        raise ArgumentError(
            f"this study is about classes, '{dataset.name}' is a {dataset.task}: choose another set"
        )
    problem = make_problem(dataset)
    problem = jax.tree.map(as_float64, problem) if options.precision == "float64" else problem
    train, test = draw_examples(problem.train, options.examples), draw_examples(problem.test, None)
    problem = problem._replace(train=train, test=test)
    folder = make_run_folder(options.out, f"two-layer-{dataset.name}")
    config = {
        "options": dataclasses.asdict(options),
        "dataset": dataset.identity,
        "command": ["python", *sys.argv],
        "machine": describe_machine(),
    }
    write_config(folder, config)
    if not options.quiet:
        print(heading(options, problem, dataset.name))
    results = train_grid(options, problem, precision)
    write_results(folder, results)
    if options.table:
        print(table(results))
        print(best_line(results))
    else:
        print(summary(results[0]))
    if options.pictures:
        draw(folder, options, results)
    print(f"run folder {folder}")
    return diverged(results, is_table=options.table)


def heading(options: TwoLayerOptions, problem: Problem, name: str) -> str:
    """Say what is going to be trained."""
    how = (
        "one update an epoch, of the error averaged over all examples (batch mode)"
        if options.mode == "batch"
        else "minibatches in a fresh order every epoch"
    )
    stop = f"{options.epochs_to_train()} epochs"
    if options.target_accuracy is not None:
        stop = (
            f"at most {stop}, or until {100 * options.target_accuracy:g} % of the training examples are right"
        )
    seeds = (
        f"{options.seeds} networks side by side, a seed each" if options.seeds > 1 else "one network, seed 0"
    )
    sizes = " or ".join(map(str, options.grid()[0]))
    return (
        f"{name}: {len(problem.train.inputs):,} examples to train on, {len(problem.test.inputs):,} to test on\n"
        f"{problem.in_features} inputs → {sizes} units, LeakyReLU 0.1 → {problem.outputs}, softmax, cross-entropy; "
        f"{'with' if options.bias else 'without'} biases; init {INITS[options.init]}\n"
        f"{how}; {stop}; {seeds}\n"
    )


def count(number: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def train_grid(options: TwoLayerOptions, problem: Problem, precision: str | None) -> list[Result]:
    """Train every setting; settings that differ in their rate alone share one compiled program."""
    sizes, batch_sizes, rates = options.grid()
    results = []
    total = len(sizes) * len(batch_sizes) * len(rates) * options.epochs_to_train()
    with tqdm(total=total, unit="epoch", disable=options.quiet, file=sys.stderr) as bar:
        for hidden in sizes:
            net = mlp(
                [problem.in_features, hidden, problem.outputs],
                activation=ACTIVATION,
                init=INITS[options.init],
                bias=options.bias,
                precision=precision,
            )
            for batch_size in batch_sizes:
                results += train_rates(net, hidden, batch_size, rates, options, problem, bar)
    return results


def train_rates(
    net: Network,
    hidden: int,
    batch_size: int,
    rates: Sequence[float],
    options: TwoLayerOptions,
    problem: Problem,
    bar: Any,
) -> list[Result]:
    """Train one network and batch size with every learning rate, by one compiled epoch."""
    seeds = range(options.seeds)
    examples = len(problem.train.inputs)
    is_batch_mode = options.mode == "batch"
    size = examples if is_batch_mode else min(batch_size, examples)
    states = start_members(net, OPTIMIZER, seeds, rates[0])
    # In batch mode every order gives the same sum; the given one needs no copy of the data a network.
    epoch = compile_epoch(net, OPTIMIZER, states, problem.train, batch_size=size, shuffle=not is_batch_mode)
    results = []
    for rate in rates:
        bar.set_description_str(f"hidden {hidden}, batch {size}, η {rate:g}")
        states = start_members(net, OPTIMIZER, seeds, rate)
        results.append(train_setting(net, Setting(hidden, size, rate), states, epoch, options, problem, bar))
    return results


def train_setting(
    net: Network,
    setting: Setting,
    states: Any,
    epoch: Any,
    options: TwoLayerOptions,
    problem: Problem,
    bar: Any,
) -> Result:
    """Train the networks of one setting until all have stopped."""
    stopped = np.zeros(options.seeds, bool)
    epochs = np.zeros(options.seeds, int)
    seconds, train_curve, test_curve = 0.0, [], []
    planned = options.epochs_to_train()
    for done in range(planned):
        started = time.perf_counter()
        after, metrics = jax.block_until_ready(epoch(states))
        seconds += time.perf_counter() - started
        states = keep_members(stopped, states, after) if stopped.any() else after
        epochs += ~stopped
        measured = evaluate_members(net, states.params, problem.test)
        train_curve.append(np.where(stopped, np.nan, np.asarray(metrics.score)))
        test_curve.append(np.asarray(measured.score))
        bar.update()
        bar.set_postfix_str(f"test accuracy {100 * np.median(test_curve[-1]):.2f} %")
        if options.target_accuracy is not None:
            reached = evaluate_members(net, states.params, problem.train).score
            stopped |= np.asarray(reached) >= options.target_accuracy
        if stopped.all():
            bar.update(planned - done - 1)
            break
    final = final_measures(net, states.params, problem.train, problem.test)
    return Result(setting, final, epochs, seconds, np.stack(train_curve, 1), np.stack(test_curve, 1))


def final_measures(net: Network, params: Any, train: Batch, test: Batch) -> dict[str, np.ndarray]:
    """Measure accuracy and cross-entropy of each network on both parts; NaN for one that diverged."""
    on_train, on_test = (evaluate_members(net, params, part) for part in (train, test))
    values = (on_train.score, on_train.loss, on_test.score, on_test.loss)
    final = {name: np.asarray(value, float) for name, value in zip(MEASURES, values, strict=True)}
    is_finite = np.isfinite(final["train cross-entropy"]) & np.isfinite(final["test cross-entropy"])
    return {name: np.where(is_finite, value, np.nan) for name, value in final.items()}


def summary(result: Result) -> str:
    """Write the results of one setting, with their spread over the seeds."""
    seeds = len(result.epochs)
    rows: list[tuple[str, ...]] = [("", "median", "least", "largest") if seeds > 1 else ("", "", "", "")]
    for name, values in result.final.items():
        shown = (np.median(values), values.min(), values.max()) if seeds > 1 else (values[0],)
        cells = [show(name, value) for value in shown]
        rows.append((name, *cells, *[""] * (3 - len(cells))))
    lines = [f"{a:<20}{b:>10}{c:>10}{d:>10}".rstrip() for a, b, c, d in rows]
    each = f" ({result.seconds / seeds:.2g} s a network)" if seeds > 1 else ""
    trained = (
        f"trained {count(seeds, 'network')} for {span(result.epochs)} epochs in {result.seconds:.3g} s{each}"
    )
    return "\n".join([*lines, trained]).lstrip("\n")


def show(name: str, value: float) -> str:
    """Write an accuracy in %, a cross-entropy as a number."""
    if np.isnan(value):
        return "–"
    return f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.4f}"


def span(values: np.ndarray) -> str:
    """Write one number, or the least and the largest."""
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low} to {high}"


def table(results: Sequence[Result]) -> str:
    """Write a row a setting: medians over the seeds, and the seconds of all its networks together."""
    seeds = len(results[0].epochs)
    heads = ("hidden", "batch", "η", *MEASURES, "epochs", "seconds")
    rows: list[tuple[str, ...]] = [heads]
    for result in results:
        medians = [show(name, float(np.median(values))) for name, values in result.final.items()]
        setting = (
            str(result.setting.hidden),
            str(result.setting.batch_size),
            f"{result.setting.learning_rate:g}",
        )
        rows.append((*setting, *medians, span(result.epochs), f"{result.seconds:.3g}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    note = f"medians of {seeds} seeds; seconds for all {seeds} together" if seeds > 1 else "of one seed"
    return "\n".join([*lines, note])


def best_line(results: Sequence[Result]) -> str:
    """Name the setting of the highest median test accuracy."""
    finite = [result for result in results if result.is_finite]
    if not finite:
        return "no setting stayed finite: try smaller learning rates"
    best = max(finite, key=lambda result: float(np.median(result.final["test accuracy"])))
    accuracy = best.final["test accuracy"]
    return (
        f"highest test accuracy: {show('test accuracy', float(np.median(accuracy)))} "
        f"({show('test accuracy', accuracy.min())} to {show('test accuracy', accuracy.max())}) with hidden "
        f"{best.setting.hidden}, batch {best.setting.batch_size}, η {best.setting.learning_rate:g}"
    )


def write_results(folder: Path, results: Sequence[Result]) -> None:
    """Write results.json, every seed of every setting, and table.csv, a row a setting and seed."""
    records = [
        {
            **result.setting._asdict(),
            "final": {name: values.tolist() for name, values in result.final.items()},
            "epochs": result.epochs.tolist(),
            "seconds": result.seconds,
            "train accuracy by epoch": result.train_curve.tolist(),
            "test accuracy by epoch": result.test_curve.tolist(),
        }
        for result in results
    ]
    (folder / "results.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*Setting._fields, "seed", *MEASURES, "epochs", "seconds"])
        for result in results:
            for seed, epochs in enumerate(result.epochs):
                cells = [values[seed] for values in result.final.values()]
                writer.writerow([*result.setting, seed, *cells, epochs, result.seconds])


def draw(folder: Path, options: TwoLayerOptions, results: Sequence[Result]) -> None:
    """Draw the table of a grid, or the accuracy by epoch of a single setting."""
    if options.table:
        _, _, rates = options.grid()
        medians = np.array([np.median(result.final["test accuracy"]) for result in results])
        rows = [f"{result.setting.hidden}, {result.setting.batch_size}" for result in results[:: len(rates)]]
        figure = plots.table_heatmap(
            100 * medians.reshape(-1, len(rates)),
            rows,
            [f"{rate:g}" for rate in rates],
            row_label="hidden units, batch size",
            column_label="learning rate η",
            value_label="test accuracy (%)",
        )
        plots.save(figure, folder / "table.png")
        return
    result = results[0]
    curves = {"training, as it went": result.train_curve, "test": result.test_curve}
    epochs = np.arange(1, result.test_curve.shape[1] + 1)
    figure = plots.band_curves(
        epochs,
        {label: 100 * curve for label, curve in curves.items()},
        x_label="epoch",
        y_label="accuracy (%)",
    )
    epoch_axis(figure.axes[0], epochs)
    plots.save(figure, folder / "accuracy.png")


def diverged(results: Sequence[Result], *, is_table: bool) -> int:
    """Say which settings ended in NaN; a table may hold some, a single run fails with them."""
    wrong = [result.setting for result in results if not result.is_finite]
    if not wrong:
        return 0
    rates = ", ".join(f"{rate:g}" for rate in sorted({setting.learning_rate for setting in wrong}))
    print(
        f"two_layer_mnist.py: the cross-entropy became NaN or infinite with η = {rates}: "
        f"try a smaller learning rate",
        file=sys.stderr,
    )
    return 0 if is_table else 1


if __name__ == "__main__":
    run(main)
