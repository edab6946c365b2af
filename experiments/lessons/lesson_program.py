"""What the lessons' programs share: the options of a study of classes, its data, and the run folder."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import ArgumentError, Batch
from jaxmlp.cli.options import CompilationCacheOptions, DeviceOptions
from jaxmlp.cli.parser import option
from jaxmlp.cli.run import describe_machine, make_run_folder, write_config
from jaxmlp.cli.session import compilation_cache, computing
from jaxmlp.datasets import Dataset, Problem, load, make_problem
from jaxmlp.files import write_text

_data = partial(option, group="data")
_output = partial(option, group="output")


@dataclass(frozen=True)
class StudyOptions(CompilationCacheOptions, DeviceOptions):
    """The options of a study of classes, one field a flag."""

    dataset: str | None = _data(
        None, "a set of classes, as digits, mnist or fashion_mnist (default: mnist if here, else digits)"
    )
    examples: int | None = _data(None, "train on N examples drawn from all (default: all)")
    data_dir: str | None = _data(
        None, "where prepared data sets are kept (default: ~/.cache/jaxmlp)", metavar="FOLDER"
    )
    manual_dir: str | None = _data(
        None,
        "folder of archives downloaded by hand (default: the variable JAXMLP_MANUAL_DIR)",
        metavar="FOLDER",
    )
    out: str | None = _output(
        None, "run folder (default: one under runs, by name and time)", metavar="FOLDER"
    )
    quiet: bool = _output(False, "print the results only")


def check_counts(counts: Mapping[str, Any]) -> None:
    """Refuse options below 1; each may be a number, several, or None."""
    for name, given in counts.items():
        numbers = given if isinstance(given, tuple) else () if given is None else (given,)
        if any(number < 1 for number in numbers):
            raise ArgumentError(f"{name} must be at least 1, given {min(numbers)}")


def check_rates(*rates: float) -> None:
    """Refuse learning rates that no gradient descent can use."""
    if not all(math.isfinite(rate) and rate > 0 for rate in rates) or not rates:
        given = " ".join(f"{rate:g}" for rate in rates) or "nothing"
        raise ArgumentError(f"a learning rate must be a finite number above 0, given {given}: try 0.1")


def open_run(options: Any, name: str, **more: Any) -> Path:
    """Make the run folder and write config.json: the options, the command and the machine."""
    folder = make_run_folder(options.out, name)
    config = {"options": dataclasses.asdict(options), **more}
    write_config(folder, {**config, "command": ["python", *sys.argv], "machine": describe_machine()})
    return folder


def write_json(path: Path, content: Any) -> None:
    """Write results, arrays as lists."""
    write_text(path, json.dumps(content, indent=1, default=lambda value: np.asarray(value).tolist()) + "\n")


def run_study(options: StudyOptions, study: Callable[[Any, str | None], int]) -> int:
    """Run a study of classes on the device and in the precision of its options; returns the exit status."""
    with (
        compilation_cache(options.compilation_cache),
        computing(options.device, options.precision) as (precision, _),
    ):
        return study(options, precision)


def load_classes(options: StudyOptions, name: str, examples: int | None) -> tuple[Dataset, Problem]:
    """Load a set of classes, scale it, and send it to the device, of the training part as many as are wanted."""
    dataset = load(name, data_dir=options.data_dir, manual_dir=options.manual_dir, quiet=options.quiet)
    if dataset.task != "classification":
        raise ArgumentError(
            f"this study is about classes, '{dataset.name}' is a {dataset.task}: choose another set"
        )
    problem = make_problem(dataset)
    train, test = draw_examples(problem.train, examples), draw_examples(problem.test, None)
    return dataset, problem._replace(train=train, test=test)


def draw_examples(data: Batch, count: int | None) -> Batch:
    """Draw some of a data set's examples without replacement, and send them to the device."""
    examples = len(data.inputs)
    chosen: Any = slice(None)
    if count is not None and count < examples:
        chosen = np.random.default_rng(0).choice(examples, count, replace=False)

    def send(leaf: Any) -> jax.Array:
        # Numbers take the precision of the computation, which float64 widens.
        return jnp.asarray(leaf[chosen], float if leaf.dtype.kind == "f" else None)

    return jax.tree.map(send, data)
