"""The options of a training run: what may be asked for, and what is refused before any data are loaded."""

import argparse
import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from jaxmlp import ArgumentError, make_optimizer, mlp
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.cli.command_line import DeviceOptions, option
from jaxmlp.cli.compilation_cache import CompilationCacheOptions
from jaxmlp.datasets import DATASETS, METHODS
from jaxmlp.initializers import INITIALIZERS
from jaxmlp.losses import LOSSES
from jaxmlp.training.optimizers import OPTIMIZERS, SCHEDULES

LARGEST = float(np.finfo(np.float32).max)

DESCRIPTION = """Train a multi-layer perceptron by hand-written backpropagation.
With no options: scanned 8×8 digits that ship with scikit-learn, in a few seconds."""


def batch_size(text: str) -> int | None:
    """Read a batch size: a whole number, or "full" for None."""
    if text == "full":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a whole number nor full") from None


_data = partial(option, group="data")
_network = partial(option, group="network")
_training = partial(option, group="training")
_output = partial(option, group="output")


@dataclass(frozen=True)
class DataOptions:
    """The options that say which data to use."""

    dataset: str = _data(
        "digits",
        f"{', '.join(DATASETS)}; a file ending in .csv or .npz; or a prepared TFDS name",
        metavar="NAME",
    )
    data_dir: str | None = _data(
        None, "where prepared data sets are kept (default: ~/.cache/jaxmlp)", metavar="FOLDER"
    )
    manual_dir: str | None = _data(
        None,
        "folder of archives downloaded by hand (default: the variable JAXMLP_MANUAL_DIR)",
        metavar="FOLDER",
    )
    target: str | None = _data(
        None, "target column of a csv; several with commas between them", metavar="COLUMN"
    )
    task: str | None = _data(
        None, "classification, multilabel or regression, for a file (default: inferred)", metavar="NAME"
    )
    missing: str = _data("refuse", "missing values of a csv: refuse or impute", metavar="NAME")
    examples: int | None = _data(None, "examples of a generated data set (default: 1000)", metavar="N")
    noise: float | None = _data(None, "noise of a generated data set (default: its own)", metavar="X")
    test_fraction: float = _data(0.2, "share tested on, where there is no test part", metavar="SHARE")
    validation: float = _data(
        0.0,
        "share of the training part held out and measured every epoch; with 0 the test part is measured",
        metavar="SHARE",
    )
    scaling: str = _data("auto", f"of features: {', '.join(METHODS)}", metavar="NAME")


@dataclass(frozen=True)
class TrainOptions(CompilationCacheOptions, DeviceOptions, DataOptions):
    """The options of a training run, one field a flag."""

    hidden: tuple[int, ...] = _network(
        (128,), "sizes of the hidden layers; none for a single layer", metavar="SIZE"
    )
    activation: str = _network(
        "relu", f"{', '.join(ACTIVATIONS)}; a parameter behind a colon, as leaky_relu:0.1", metavar="NAME"
    )
    init: str = _network(
        "he_normal",
        f"of weights: {', '.join(INITIALIZERS)}; as normal:1.0 or uniform:-0.05,0.05",
        metavar="NAME",
    )
    init_scale: float = _network(1.0, "a factor on the initial weights", metavar="X")
    bias_init: str = _network("zeros", "of biases: zeros, normal:X or uniform:LOW,HIGH", metavar="NAME")
    bias: bool = _network(True, "biases in the layers")
    loss: str | None = _training(
        None, f"{', '.join(LOSSES)}; as huber:0.5 (default: the task's)", metavar="NAME"
    )
    optimizer: str = _training(
        "sgd", f"{', '.join(OPTIMIZERS)}; as momentum:0.95 or adamw:0.01", metavar="NAME"
    )
    learning_rate: float | None = _training(
        None,
        "(default: the optimiser's; for a regression a tenth of it with sgd, momentum and nesterov)",
        metavar="X",
    )
    schedule: str = _training(
        "constant",
        f"{', '.join(SCHEDULES)}; as exponential:0.95 (an epoch), step:0.1,10 or warmup_cosine:0.1",
        metavar="NAME",
    )
    clip_norm: float | None = _training(None, "hold the gradient's norm to X (default: no)", metavar="X")
    batch_size: int | None = _training(
        32, "minibatch size, or full for all examples at once", metavar="N", read=batch_size
    )
    epochs: int = _training(40, "how often every example is seen", metavar="N")
    l2: float = _training(0.0, "adds X/2·Σ‖w‖² to the objective", metavar="X")
    shuffle: bool = _training(True, "a fresh order every epoch")
    seed: int = _training(0, "of everything drawn", metavar="N")
    target_accuracy: float | None = _training(
        None,
        "stop once this accuracy is reached on the validation part (without one: the test part), as 0.98",
        metavar="SHARE",
    )
    out: str | None = _output(None, "run folder (default: runs/DATASET-TIME)", metavar="FOLDER")
    pictures: bool = _output(True, "draw pictures into the run folder")
    quiet: bool = _output(False, "print the summary alone")


def check_options(options: TrainOptions) -> None:
    """Refuse what no data set could make right."""
    _check_counts(options)
    _check_names(options)


def _check_counts(options: TrainOptions) -> None:
    if not 0 <= options.l2 <= LARGEST:
        raise ArgumentError(f"--l2 must be a number from 0 to {LARGEST:.1e}, given {options.l2:g}")
    if not 0 < options.init_scale <= LARGEST:
        raise ArgumentError(f"--init-scale must be a number above 0, given {options.init_scale:g}")
    rate = options.learning_rate
    if rate is not None and LARGEST < rate < math.inf:
        raise ArgumentError(f"--learning-rate must be at most {LARGEST:.1e}, given {rate:g}")
    if options.out == "":
        raise ArgumentError("--out names no folder: give one, or leave it out for one under runs")
    target = options.target_accuracy
    if target is not None and not 0 < target <= 1:
        raise ArgumentError(
            f"--target-accuracy must be a share above 0 and up to 1, given {target:g}: write 0.98 for 98 %"
        )
    if any(size < 1 for size in options.hidden):
        raise ArgumentError(f"--hidden takes sizes of at least 1, given {' '.join(map(str, options.hidden))}")
    if options.batch_size is not None and options.batch_size < 1:
        raise ArgumentError(
            f"--batch-size must be at least 1, given {options.batch_size}; for all examples: full"
        )
    if options.epochs < 1:
        raise ArgumentError(f"--epochs must be at least 1, given {options.epochs}")
    if not 0 <= options.seed < 2**32:
        raise ArgumentError(f"--seed must lie in 0 to {2**32 - 1}, given {options.seed}")


def _check_names(options: TrainOptions) -> None:
    # Built and dropped: a misspelt name should not wait for the data to be loaded.
    make_optimizer(
        options.optimizer,
        options.learning_rate,
        schedule=options.schedule,
        horizon=(1, 1),
        clip_norm=options.clip_norm,
    )
    mlp(
        [1, *options.hidden, 1], activation=options.activation, init=options.init, bias_init=options.bias_init
    )
    if options.loss is not None:
        LOSSES[options.loss]
