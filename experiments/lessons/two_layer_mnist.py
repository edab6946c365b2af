"""A two-layer network on MNIST, after a student project in Russian: two_layer_mnist.py HIDDEN EPOCHS BATCH RATE."""

import csv
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lesson_program import (
    StudyOptions,
    check_counts,
    check_rates,
    load_classes,
    open_run,
    run_study,
    write_json,
)
from side_by_side import LOSS, MEASURES, SGD, percent, spread, train_by_epoch
from tqdm import tqdm

from jaxmlp import ArgumentError, mlp, plots
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import run
from jaxmlp.cli.text import aligned, counted
from jaxmlp.datasets import Problem
from jaxmlp.files import whole_file
from jaxmlp.plots.histories import epoch_axis
from jaxmlp.registry import unknown_name
from jaxmlp.training.steps import Recipe

DESCRIPTION = """Train a two-layer network on MNIST:

    two_layer_mnist.py [HIDDEN [EPOCHS [BATCH [LEARNING_RATE]]]] [options]

784 pixels in [0, 1] → HIDDEN units, LeakyReLU of slope 0.1 → softmax of 10, cross-entropy averaged over the
batch, a fresh order every epoch, plain SGD. Without arguments: 300 20 32 0.1, three seeds side by side.

Weights. The text of the source calls its weights Xavier's and its code draws N(0, √(2/I)), I the layer's inputs,
which is He's. --init he, the default, is what the code draws; --init xavier is what the text says, N(0, √(2/(I + O))),
O the layer's outputs. Both are cut off at two standard deviations and widened to keep the variance.
Biases. The source has the network with and without them; they begin at 0. The default is with, --no-bias is without."""

POSITIONALS = ("hidden", "epochs", "batch-size", "learning-rate")
INITS = {"he": "he_normal", "xavier": "glorot_normal"}
MODES = ("minibatch", "batch")
ACTIVATION = "leaky_relu:0.1"

_setting = partial(option, group="settings")
_grid = partial(option, group="grid")


@dataclass(frozen=True)
class TwoLayerOptions(StudyOptions):
    """The options of the two-layer study, one field a flag; the first four may stand without their flags."""

    hidden: int | None = _setting(None, "HIDDEN, units of the hidden layer (default: 300)")
    epochs: int | None = _setting(None, "EPOCHS over all examples (default: 20; with --table 5)")
    batch_size: int | None = _setting(None, "BATCH, examples in a minibatch (default: 32)")
    learning_rate: float | None = _setting(None, "LEARNING_RATE, η of plain SGD (default: 0.1)")
    init: str = _setting("he", "he or xavier, of the weights")
    bias: bool = _setting(True, "biases in both layers")
    mode: str = _setting("minibatch", "or batch: one update an epoch, of the mean error")
    target_accuracy: float | None = _setting(
        None, "stop a network whose accuracy on the training examples reaches this, as 0.98", metavar="SHARE"
    )
    seeds: int = _setting(3, "networks trained side by side, of seeds 0, 1 …")
    table: bool = _grid(False, "train every setting of a grid, and print and draw the table")
    hidden_sizes: tuple[int, ...] = _grid((), "(default: HIDDEN, or 30 100 300)")
    batch_sizes: tuple[int, ...] = _grid((), "(default: BATCH, or 32 128)")
    learning_rates: tuple[float, ...] = _grid((), "(default: LEARNING_RATE, or 0.03 0.1 0.3)")
    dataset: str = option("mnist", "or another set of classes, as digits", group="data")
    pictures: bool = option(True, "draw pictures into the run folder", group="output")

    def grid(self) -> tuple[Sequence[int], Sequence[int], Sequence[float]]:
        """List the hidden sizes, batch sizes and learning rates to train; a single run is a grid of one."""

        def choose(several: Any, one: Any, usual: Any, usual_grid: Any) -> Any:
            return several or ((one,) if one is not None else usual_grid if self.table else (usual,))

        return (
            choose(self.hidden_sizes, self.hidden, 300, (30, 100, 300)),
            choose(self.batch_sizes, self.batch_size, 32, (32, 128)) if self.mode == "minibatch" else (0,),
            choose(self.learning_rates, self.learning_rate, 0.1, (0.03, 0.1, 0.3)),
        )

    @property
    def epochs_to_train(self) -> int:
        return self.epochs if self.epochs is not None else 5 if self.table else 20


class Setting(NamedTuple):
    """One setting of the study: hidden units, examples in a minibatch, and η."""

    hidden: int
    batch_size: int
    learning_rate: float


class Result(NamedTuple):
    """What M networks of one setting, which differ in their seed, came to."""

    setting: Setting  # the setting
    curves: dict[str, np.ndarray]  # an array [M, E] for each of MEASURES, after each epoch; NaN after a stop
    epochs: np.ndarray  # epochs that each network was trained, [M]
    seconds: float  # of training all M together, without compilation and evaluation

    @property
    def final(self) -> dict[str, np.ndarray]:
        """An array [M] for each of MEASURES, after each network's last epoch."""
        last = np.arange(len(self.epochs)), self.epochs - 1
        return {name: curve[last] for name, curve in self.curves.items()}

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.final["train cross-entropy"]).all())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; returns the exit status."""
    return run_study(read_options(sys.argv[1:] if arguments is None else arguments), study)


def read_options(arguments: Sequence[str]) -> TwoLayerOptions:
    """Read and check the command line, its leading arguments by their places."""
    placed = []
    for name, value in zip(POSITIONALS, arguments, strict=False):
        if value.startswith("-") and not value[1:2].isdigit():
            break  # the first flag; -3 is a wrong number, and is refused as one
        placed.append(f"--{name}={value}")
    options, _ = parse_options(TwoLayerOptions, DESCRIPTION, [*placed, *arguments[len(placed) :]])
    if (options.hidden_sizes or options.batch_sizes or options.learning_rates) and not options.table:
        raise ArgumentError(
            "--hidden-sizes, --batch-sizes and --learning-rates are the grid's: give --table with them"
        )
    hidden, batch_sizes, rates = options.grid()
    check_counts({"the hidden size": hidden, "the number of epochs": options.epochs_to_train})
    check_counts({"the batch size": batch_sizes if options.mode == "minibatch" else ()})
    check_counts({"the number of seeds": options.seeds, "the number of examples": options.examples})
    check_rates(*rates)
    if options.init not in INITS:
        raise unknown_name("initialisation", options.init, INITS)
    if options.mode not in MODES:
        raise unknown_name("mode", options.mode, MODES)
    target = options.target_accuracy
    if target is not None and not 0 < target <= 1:
        raise ArgumentError(
            f"--target-accuracy must be a share above 0 and up to 1, given {target:g}: write 0.98 for 98 %"
        )
    return options


def study(options: TwoLayerOptions, precision: str | None) -> int:
    """Load the data, train every setting, report and save; returns the exit status."""
    dataset, problem = load_classes(options, options.dataset, options.examples)
    folder = open_run(options, f"two-layer-{dataset.name}", dataset=dataset.identity)
    if not options.quiet:
        print(heading(options, problem, dataset.name))
    results = train_grid(options, problem, precision)
    write_results(folder, results)
    print(f"{table(results)}\n{best_line(results)}" if options.table else summary(results[0]))
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
    stop, target = counted(options.epochs_to_train, "epoch"), options.target_accuracy
    if target is not None:
        stop = f"at most {stop}, or until {100 * target:g} % of the training examples are right"
    seeds = "one network, seed 0"
    if options.seeds > 1:
        seeds = f"{options.seeds} networks side by side, a seed each"
    sizes = " or ".join(map(str, options.grid()[0]))
    return (
        f"{name}: {len(problem.train.inputs):,} examples to train on, {len(problem.test.inputs):,} to test on\n"
        f"{problem.in_features} inputs → {sizes} units, LeakyReLU 0.1 → {problem.outputs}, softmax, cross-entropy; "
        f"{'with' if options.bias else 'without'} biases; init {INITS[options.init]}\n"
        f"{how}; {stop}; {seeds}\n"
    )


def train_grid(options: TwoLayerOptions, problem: Problem, precision: str | None) -> list[Result]:
    """Train every setting; settings that differ only in their rate share one compiled program."""
    sizes, batch_sizes, rates = options.grid()
    examples, results = len(problem.train.inputs), []
    total = len(sizes) * len(batch_sizes) * len(rates) * options.epochs_to_train
    with tqdm(total=total, unit="epoch", disable=options.quiet, file=sys.stderr) as bar:
        for hidden, batch_size in itertools.product(sizes, batch_sizes):
            net = mlp(
                [problem.in_features, hidden, problem.outputs],
                activation=ACTIVATION,
                init=INITS[options.init],
                bias=options.bias,
                precision=precision,
            )
            # In batch mode every order gives the same sum; the given one needs no copy of the data a network.
            is_batch_mode = options.mode == "batch"
            size = examples if is_batch_mode else min(batch_size, examples)
            recipe = Recipe(net, SGD, LOSS, batch_size=size, shuffle=not is_batch_mode)
            for rate in rates:
                bar.set_description_str(f"hidden {hidden}, batch {size}, η {rate:g}")
                setting = Setting(hidden, size, rate)
                results.append(train_setting(recipe, options, problem, bar, setting))
    return results


def train_setting(
    recipe: Recipe, options: TwoLayerOptions, problem: Problem, bar: Any, setting: Setting
) -> Result:
    """Train the networks of one setting until all have stopped; what one does after its stop does not count."""
    most, seconds, rows = options.epochs_to_train, 0.0, []
    epochs = np.full(options.seeds, most)
    given = (options.seeds, setting.learning_rate, problem.train, problem.test, most)
    for done, standing in enumerate(train_by_epoch(recipe, *given)):
        if done > 0:
            rows.append(standing.measures)
            seconds += standing.seconds
            bar.update()
            bar.set_postfix_str(f"test accuracy {percent(np.median(standing.measures['test accuracy']))}")
            if options.target_accuracy is not None:
                reached = standing.measures["train accuracy"] >= options.target_accuracy
                epochs = np.where(reached, np.minimum(epochs, done), epochs)
        if epochs.max() <= done:
            break
    bar.update(most - len(rows))
    is_over = np.arange(len(rows)) >= epochs[:, None]
    curves = {name: np.where(is_over, np.nan, np.stack([row[name] for row in rows], 1)) for name in MEASURES}
    return Result(setting, curves, epochs, seconds)


def summary(result: Result) -> str:
    """Write the results of one setting, with their spread over the seeds."""
    seeds = len(result.epochs)
    shown = (np.median, np.min, np.max) if seeds > 1 else (np.median,)
    rows: list[tuple[str, ...]] = [("", "median", "least", "largest")] if seeds > 1 else []
    for name, values in result.final.items():
        rows.append((name, *(show(name, choose(values)) for choose in shown)))
    each = f" ({result.seconds / seeds:.2g} s a network)" if seeds > 1 else ""
    epochs = f"{span(result.epochs)} epoch{'' if result.epochs.max() == 1 else 's'}"
    trained = f"trained {counted(seeds, 'network')} for {epochs} in {result.seconds:.3g} s{each}"
    return f"{aligned(rows)}\n{trained}"


def show(name: str, value: Any) -> str:
    """Write an accuracy in %, a cross-entropy as a number."""
    if np.isnan(value):
        return "–"
    return percent(value) if name.endswith("accuracy") else f"{value:.4f}"


def span(values: np.ndarray) -> str:
    """Write one number, or the least and the largest."""
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low} to {high}"


def table(results: Sequence[Result]) -> str:
    """Write a row a setting: medians over the seeds, and the seconds of all its networks together."""
    rows = [("hidden", "batch", "η", *MEASURES, "epochs", "seconds")]
    for result in results:
        hidden, batch_size, rate = result.setting
        medians = (show(name, np.median(values)) for name, values in result.final.items())
        ends = (span(result.epochs), f"{result.seconds:.3g}")
        rows.append((str(hidden), str(batch_size), f"{rate:g}", *medians, *ends))  # type: ignore[arg-type]
    seeds = len(results[0].epochs)
    note = f"medians of {seeds} seeds; seconds for all {seeds} together" if seeds > 1 else "of one seed"
    return f"{aligned(rows)}\n{note}"


def best_line(results: Sequence[Result]) -> str:
    """Name the setting of the highest median test accuracy."""
    finite = [result for result in results if result.is_finite]
    if not finite:
        return "no setting stayed finite: try smaller learning rates"
    best = max(finite, key=lambda result: float(np.median(result.final["test accuracy"])))
    return (
        f"highest test accuracy: {spread(best.final['test accuracy'], percent)} with hidden "
        f"{best.setting.hidden}, batch {best.setting.batch_size}, η {best.setting.learning_rate:g}"
    )


def write_results(folder: Path, results: Sequence[Result]) -> None:
    """Write results.json, every seed of every setting, and table.csv, a row a setting and seed."""
    records = [
        {
            **result.setting._asdict(),
            "final": result.final,
            "epochs": result.epochs,
            "seconds": result.seconds,
            **{f"{name} by epoch": curve for name, curve in result.curves.items()},
        }
        for result in results
    ]
    write_json(folder / "results.json", records)
    with whole_file(folder / "table.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
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
    shown = {part: 100 * result.curves[f"{part} accuracy"] for part in ("train", "test")}
    epochs = np.arange(1, shown["test"].shape[1] + 1)
    figure = plots.band_curves(epochs, shown, x_label="epoch", y_label="accuracy (%)")
    epoch_axis(figure.axes[0], epochs)
    plots.save(figure, folder / "accuracy.png")


def diverged(results: Sequence[Result], *, is_table: bool) -> int:
    """Say which settings ended in NaN; a table may hold some, a single run fails with them."""
    wrong = {result.setting.learning_rate for result in results if not result.is_finite}
    if not wrong:
        return 0
    rates = ", ".join(f"{rate:g}" for rate in sorted(wrong))
    print(
        f"two_layer_mnist.py: the cross-entropy became NaN or infinite with η = {rates}: "
        f"try a smaller learning rate",
        file=sys.stderr,
    )
    return 0 if is_table else 1


if __name__ == "__main__":
    run(main)
