"""Answer the lab's four questions on MNIST in numbers: activations, layers, depth, and how weights grow."""

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
from lab_answers import Setup, write_report
from lab_pictures import draw_lab
from lab_runs import IDENTITY, Kind, Measured, Plan, Runs, build, kinds_of_lab, measure
from members import draw_examples
from tqdm import tqdm

from jaxmlp import ArgumentError, mlp
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.cli.job import as_float64
from jaxmlp.cli.options import CompilationCacheOptions, DeviceOptions, option, parse_options
from jaxmlp.cli.run import describe_machine, make_run_folder, write_config
from jaxmlp.cli.session import compilation_cache, computing, run
from jaxmlp.datasets import Dataset, load
from jaxmlp.datasets.loading import is_at_hand
from jaxmlp.datasets.problem import Problem, make_problem

DESCRIPTION = """Perceptrons of 1, 2, 3 and more layers, several activations and seeds, on MNIST, and four questions:

    1. Does the activation between layers matter?      3. What goes wrong as layers are added?
    2. Are 2 or 3 layers needed?                       4. How does max |W| move by epoch?

The answers, with the spread over the seeds, and their pictures are in report.md in the run folder. A difference
counts only where the ranges over the seeds do not overlap; where they do, the report says that it is not shown.
Without --dataset: MNIST where it is here already, else the digits that ship with scikit-learn."""

# What is usual for a set of 1,437 digits of 8×8 pixels, and for MNIST: hidden units, epochs, examples.
SMALL, LARGE = (32, 40, None), (100, 10, 20_000)

_data = partial(option, group="data")
_network = partial(option, group="networks")
_training = partial(option, group="training")
_output = partial(option, group="output")


@dataclass(frozen=True)
class LabOptions(CompilationCacheOptions, DeviceOptions):
    """The options of the lab, one field a flag."""

    dataset: str | None = _data(
        None,
        "a set of classes, as digits, mnist or fashion_mnist (default: mnist if here, else digits)",
        metavar="NAME",
    )
    examples: int | None = _data(
        None, "train on N examples drawn from all (default: 20000; all of digits)", metavar="N"
    )
    data_dir: str | None = _data(
        None, "where prepared data sets are kept (default: ~/.cache/jaxmlp)", metavar="FOLDER"
    )
    manual_dir: str | None = _data(
        None,
        "folder of archives downloaded by hand (default: the variable JAXMLP_MANUAL_DIR)",
        metavar="FOLDER",
    )
    hidden: int | None = _network(
        None, "units of each hidden layer (default: 100; for digits 32)", metavar="N"
    )
    activations: tuple[str, ...] = _network(
        ("relu", "tanh", "sigmoid"), "between 2 and 3 layers, beside none", metavar="NAME"
    )
    deep_activations: tuple[str, ...] = _network(
        ("sigmoid", "relu"), "tried with more layers too", metavar="NAME"
    )
    deep_layers: tuple[int, ...] = _network((5, 8), "numbers of layers above 3", metavar="N")
    init: str | None = _network(
        None, "of all weights (default: he_normal for rectifiers, glorot_normal for others)", metavar="NAME"
    )
    epochs: int | None = _training(None, "(default: 10; for digits 40)", metavar="N")
    batch_size: int = _training(32, "minibatch size", metavar="N")
    learning_rate: float = _training(0.1, "of plain SGD", metavar="X")
    seeds: int = _training(5, "networks of each kind, of seeds 0, 1 …", metavar="N")
    out: str | None = _output(None, "run folder (default: runs/lab-DATASET-TIME)", metavar="FOLDER")
    quiet: bool = _output(False, "print the answers alone")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(LabOptions, DESCRIPTION, arguments)
    check(options)
    with (
        compilation_cache(options.compilation_cache),
        computing(options.device, options.precision) as precision,
    ):
        return study(options, precision)


def check(options: LabOptions) -> None:
    """Refuse what no data set could make right."""
    counts = {
        "--examples": options.examples,
        "--hidden": options.hidden,
        "--epochs": options.epochs,
        "--batch-size": options.batch_size,
        "--seeds": options.seeds,
    }
    for name, given in counts.items():
        if given is not None and given < 1:
            raise ArgumentError(f"{name} must be at least 1, given {given}")
    if any(depth < 4 for depth in options.deep_layers):
        raise ArgumentError(
            f"--deep-layers takes numbers above 3, given {' '.join(map(str, options.deep_layers))}: "
            f"1, 2 and 3 layers are always trained"
        )
    if not (math.isfinite(options.learning_rate) and options.learning_rate > 0):
        raise ArgumentError(
            f"the learning rate must be a finite number above 0, given {options.learning_rate:g}"
        )
    for name in (*options.activations, *options.deep_activations):
        ACTIVATIONS[name]  # raises for an unknown name
        if name == IDENTITY:
            raise ArgumentError("identity is no activation: it is always trained, to compare the others with")
    if not options.activations:
        raise ArgumentError("--activations is empty: give at least one, as relu")
    mlp([1, 1], init=options.init or "he_normal")


def study(options: LabOptions, precision: str | None) -> int:
    """Load the data, train every kind, and write the report; returns the exit status."""
    dataset = load_chosen(options)
    hidden, epochs, examples = SMALL if dataset.name == "digits" else LARGE
    plan = Plan(
        hidden=options.hidden or hidden,
        epochs=options.epochs or epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seeds=options.seeds,
        init=options.init,
        precision=precision,
    )
    problem = make_problem(dataset)
    problem = jax.tree.map(as_float64, problem) if options.precision == "float64" else problem
    train = draw_examples(problem.train, options.examples or examples)
    problem = problem._replace(train=train, test=draw_examples(problem.test, None))
    folder = make_run_folder(options.out, f"lab-{dataset.name}")
    machine = describe_machine()
    config = {
        "options": dataclasses.asdict(options),
        "dataset": dataset.identity,
        "command": ["python", *sys.argv],
        "machine": machine,
    }
    write_config(folder, config)
    kinds = kinds_of_lab(options.activations, options.deep_activations, options.deep_layers)
    runs = train_kinds(kinds, plan, problem, quiet=options.quiet)
    pictures = draw_lab(folder, runs)
    setup = Setup(
        dataset=dataset.name,
        train_examples=len(train.inputs),
        test_examples=len(problem.test.inputs),
        commonest=float(np.bincount(dataset.test.targets).max() / len(dataset.test.targets)),
        plan=plan,
        machine=f"{machine['processor']}, {', '.join(machine['devices'])}, jax {machine['versions']['jax']}",
    )
    answers = write_report(folder, setup, runs, pictures)
    write_measured(folder, runs)
    print(answers)
    print(f"report {folder / 'report.md'}")
    return 0


def load_chosen(options: LabOptions) -> Dataset:
    """Load the data set that was asked for, or MNIST where it is here, else digits, and say which."""
    data_dir, manual_dir = options.data_dir, options.manual_dir
    name = options.dataset
    if name is None:
        name = "mnist" if is_at_hand("mnist", data_dir=data_dir, manual_dir=manual_dir) else "digits"
        if name == "digits" and not options.quiet:
            print(
                "mnist is not here: taking digits, which ship with scikit-learn; --dataset mnist downloads it\n"
            )
    dataset = load(name, data_dir=data_dir, manual_dir=manual_dir, quiet=options.quiet)
    if dataset.task != "classification":
        raise ArgumentError(
            f"the lab is about classes, '{dataset.name}' is a {dataset.task}: choose another set"
        )
    return dataset


def train_kinds(kinds: Sequence[Kind], plan: Plan, problem: Problem, *, quiet: bool) -> Runs:
    """Train and measure every kind of perceptron, each a compiled program of M seeds."""
    runs: dict[Kind, Measured] = {}
    with tqdm(total=len(kinds) * plan.epochs, unit="epoch", disable=quiet, file=sys.stderr) as bar:

        def after_epoch(accuracies: np.ndarray) -> None:
            bar.update()
            bar.set_postfix_str(f"test accuracy {100 * np.mean(accuracies):.2f} %")

        for kind in kinds:
            bar.set_description_str(str(kind))
            net = build(kind, problem.in_features, problem.outputs, plan)
            runs[kind] = measure(net, plan, problem.train, problem.test, after_epoch)
    return runs


def write_measured(folder: Path, runs: Runs) -> None:
    """Write results.json: everything that was measured, by kind and seed."""
    records = [
        {
            **kind._asdict(),
            **{
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in measured._asdict().items()
            },
        }
        for kind, measured in runs.items()
    ]
    (folder / "results.json").write_text(json.dumps(records) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
