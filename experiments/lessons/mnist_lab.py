"""The MNIST lab of AI for Beginners, lesson 3.4 (MyFW_MNIST): its four questions, answered in numbers."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from lab_answers import Setup, write_report
from lab_pictures import draw_lab
from lab_runs import IDENTITY, Kind, Measured, Plan, Runs, build, kinds_of_lab, measure
from lesson_program import (
    StudyOptions,
    check_counts,
    check_rates,
    load_classes,
    open_run,
    run_study,
    write_json,
)
from tqdm import tqdm

from jaxmlp import ArgumentError, mlp
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.run import describe_machine
from jaxmlp.cli.session import run
from jaxmlp.datasets import Problem
from jaxmlp.datasets.loading import is_at_hand

DESCRIPTION = """Perceptrons of 1, 2, 3 and more layers, several activations and seeds, on MNIST, and four questions:

    1. Does the activation between layers matter?      3. What goes wrong as layers are added?
    2. Are 2 or 3 layers needed?                       4. How does max |W| move by epoch?

The answers, with the spread over the seeds, and their pictures are in report.md in the run folder. A difference
counts only where the ranges over the seeds do not overlap; where they do, the report says that it is not shown.
Without --dataset: MNIST where it is here already, else the digits that ship with scikit-learn; of MNIST, 20,000
examples are trained on, unless --examples says otherwise."""

# What is usual for a set of 1,437 digits of 8×8 pixels, and for MNIST: hidden units, epochs, examples.
SMALL, LARGE = (32, 40, None), (100, 10, 20_000)

_network = partial(option, group="networks")
_training = partial(option, group="training")


@dataclass(frozen=True)
class LabOptions(StudyOptions):
    """The options of the lab, one field a flag."""

    hidden: int | None = _network(None, "units of each hidden layer (default: 100; of digits 32)")
    activations: tuple[str, ...] = _network(
        ("relu", "tanh", "sigmoid"), "between 2 and 3 layers, beside none"
    )
    deep_activations: tuple[str, ...] = _network(("sigmoid", "relu"), "tried with more layers too")
    deep_layers: tuple[int, ...] = _network((5, 8), "numbers of layers above 3")
    init: str | None = _network(
        None, "of all weights (default: he_normal for rectifiers, glorot_normal for others)"
    )
    epochs: int | None = _training(None, "(default: 10; for digits 40)")
    batch_size: int = _training(32, "minibatch size")
    learning_rate: float = _training(0.1, "of plain SGD")
    seeds: int = _training(5, "networks of each kind, of seeds 0, 1 …")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(LabOptions, DESCRIPTION, arguments)
    check(options)
    return run_study(options, study)


def check(options: LabOptions) -> None:
    """Refuse what no data set could make right."""
    check_counts({"--examples": options.examples, "--hidden": options.hidden, "--epochs": options.epochs})
    check_counts({"--batch-size": options.batch_size, "--seeds": options.seeds})
    check_rates(options.learning_rate)
    if any(depth < 4 for depth in options.deep_layers):
        raise ArgumentError(
            f"--deep-layers takes numbers above 3, given {' '.join(map(str, options.deep_layers))}: "
            f"1, 2 and 3 layers are always trained"
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
    name = options.dataset or usual_dataset(options)
    hidden, epochs, examples = SMALL if name == "digits" else LARGE
    dataset, problem = load_classes(options, name, options.examples or examples)
    plan = Plan(
        hidden=options.hidden or hidden,
        epochs=options.epochs or epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seeds=options.seeds,
        init=options.init,
        precision=precision,
    )
    folder = open_run(options, f"lab-{dataset.name}", dataset=dataset.identity)
    kinds = kinds_of_lab(options.activations, options.deep_activations, options.deep_layers)
    runs = train_kinds(kinds, plan, problem, quiet=options.quiet)
    machine = describe_machine()
    setup = Setup(
        dataset=dataset.name,
        train_examples=len(problem.train.inputs),
        test_examples=len(problem.test.inputs),
        commonest=float(np.bincount(dataset.test.targets).max() / len(dataset.test.targets)),
        plan=plan,
        machine=f"{machine['processor']}, {', '.join(machine['devices'])}, jax {machine['versions']['jax']}",
    )
    answers = write_report(folder, setup, runs, draw_lab(folder, runs))
    write_json(folder / "results.json", [kind._asdict() | each._asdict() for kind, each in runs.items()])
    print(f"{answers}\nreport {folder / 'report.md'}")
    return 0


def usual_dataset(options: LabOptions) -> str:
    """Take MNIST where it is here, else digits, and say so."""
    if is_at_hand("mnist", data_dir=options.data_dir, manual_dir=options.manual_dir):
        return "mnist"
    if not options.quiet:
        print("mnist is not here: taking digits, which scikit-learn brings; --dataset mnist downloads it\n")
    return "digits"


def train_kinds(kinds: Sequence[Kind], plan: Plan, problem: Problem, *, quiet: bool) -> Runs:
    """Train and measure every kind of perceptron, each a compiled program of M seeds."""
    runs: dict[Kind, Measured] = {}
    with tqdm(total=len(kinds) * (1 + plan.epochs), unit="epoch", disable=quiet, file=sys.stderr) as bar:

        def after_epoch(accuracies: np.ndarray) -> None:
            bar.update()
            bar.set_postfix_str(f"test accuracy {100 * np.mean(accuracies):.2f} %")

        for kind in kinds:
            bar.set_description_str(str(kind))
            net = build(kind, problem.in_features, problem.outputs, plan)
            runs[kind] = measure(net, plan, problem.train, problem.test, after_epoch)
    return runs


if __name__ == "__main__":
    run(main)
