"""The options of the two-layer study: HIDDEN EPOCHS BATCH LEARNING_RATE as its source calls it, and the grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxmlp import ArgumentError, mlp
from jaxmlp.cli.options import CompilationCacheOptions, DeviceOptions, option, parse_options
from jaxmlp.registry import unknown_name

DESCRIPTION = """Train a two-layer network on MNIST:

    two_layer_mnist.py [HIDDEN [EPOCHS [BATCH [LEARNING_RATE]]]] [options]

784 pixels in [0, 1] → HIDDEN units, LeakyReLU of slope 0.1 → softmax of 10, cross-entropy averaged over the
batch, a fresh order every epoch, plain SGD. Without arguments: 300 20 32 0.1, three seeds side by side.

Weights. The text of the source calls its weights Xavier's and its code draws N(0, √(2/I)), I the layer's inputs,
which is He's: --init he, the default, is what the code draws; --init xavier is what the text says, N(0, √(2/(I + O))),
O the layer's outputs. Both are cut off at two standard deviations and widened to keep the variance.
Biases. The source has the network with and without them; they begin at 0. The default is with, --no-bias is without."""

POSITIONALS = ("hidden", "epochs", "batch-size", "learning-rate")
INITS = {"he": "he_normal", "xavier": "glorot_normal"}
MODES = ("minibatch", "batch")
ACTIVATION = "leaky_relu:0.1"

_setting = partial(option, group="settings")
_grid = partial(option, group="grid")
_data = partial(option, group="data")
_output = partial(option, group="output")


@dataclass(frozen=True)
class TwoLayerOptions(CompilationCacheOptions, DeviceOptions):
    """The options of the two-layer study, one field a flag; the first four may stand without their flags."""

    hidden: int | None = _setting(None, "HIDDEN, units of the hidden layer (default: 300)", metavar="N")
    epochs: int | None = _setting(
        None, "EPOCHS, how often every example is seen (default: 20; with --table 5)", metavar="N"
    )
    batch_size: int | None = _setting(None, "BATCH, examples in a minibatch (default: 32)", metavar="N")
    learning_rate: float | None = _setting(
        None, "LEARNING_RATE, η of plain gradient descent (default: 0.1)", metavar="X"
    )
    init: str = _setting("he", "he or xavier, of the weights", metavar="NAME")
    bias: bool = _setting(True, "biases in both layers")
    mode: str = _setting(
        "minibatch",
        "minibatch, or batch: one update an epoch, of the error averaged over all",
        metavar="NAME",
    )
    target_accuracy: float | None = _setting(
        None,
        "stop a network once its accuracy on the training examples reaches this, as 0.98",
        metavar="SHARE",
    )
    seeds: int = _setting(3, "networks trained side by side, of seeds 0, 1 …", metavar="N")
    table: bool = _grid(False, "train every setting of a grid, and print and draw the table")
    hidden_sizes: tuple[int, ...] = _grid((), "(default: HIDDEN, or 30 100 300)", metavar="N")
    batch_sizes: tuple[int, ...] = _grid((), "(default: BATCH, or 32 128)", metavar="N")
    learning_rates: tuple[float, ...] = _grid((), "(default: LEARNING_RATE, or 0.03 0.1 0.3)", metavar="X")
    dataset: str = _data("mnist", "or another set of classes, as digits or fashion_mnist", metavar="NAME")
    examples: int | None = _data(None, "train on N examples drawn from all (default: all)", metavar="N")
    data_dir: str | None = _data(
        None, "where prepared data sets are kept (default: ~/.cache/jaxmlp)", metavar="FOLDER"
    )
    manual_dir: str | None = _data(
        None,
        "folder of archives downloaded by hand (default: the variable JAXMLP_MANUAL_DIR)",
        metavar="FOLDER",
    )
    out: str | None = _output(None, "run folder (default: runs/two-layer-DATASET-TIME)", metavar="FOLDER")
    pictures: bool = _output(True, "draw pictures into the run folder")
    quiet: bool = _output(False, "print the summary alone")

    def grid(self) -> tuple[Sequence[int], Sequence[int], Sequence[float]]:
        """List the hidden sizes, batch sizes and learning rates to train; a single run is a grid of one."""
        hidden = self.hidden_sizes or _one(self.hidden) or ((30, 100, 300) if self.table else (300,))
        batch = self.batch_sizes or _one(self.batch_size) or ((32, 128) if self.table else (32,))
        rates = (
            self.learning_rates or _one(self.learning_rate) or ((0.03, 0.1, 0.3) if self.table else (0.1,))
        )
        return hidden, batch if self.mode == "minibatch" else (0,), rates

    def epochs_to_train(self) -> int:
        """Tell the number of epochs."""
        return self.epochs if self.epochs is not None else 5 if self.table else 20


def _one(value: Any) -> tuple[Any, ...]:
    return () if value is None else (value,)


def read_options(arguments: Sequence[str]) -> TwoLayerOptions:
    """Read and check the command line, its leading arguments by their places."""
    options, _ = parse_options(TwoLayerOptions, DESCRIPTION, _named(arguments))
    _check(options)
    return options


def _named(arguments: Sequence[str]) -> list[str]:
    """Put their flags before the leading arguments that have none."""
    placed = []
    for name, value in zip(POSITIONALS, arguments, strict=False):
        if value.startswith("-") and not value[1:2].isdigit():
            break  # the first flag; -3 is a wrong number, to be told as such
        placed.append(f"--{name}={value}")
    return [*placed, *arguments[len(placed) :]]


def _check(options: TwoLayerOptions) -> None:
    lists = bool(options.hidden_sizes or options.batch_sizes or options.learning_rates)
    if lists and not options.table:
        raise ArgumentError(
            "--hidden-sizes, --batch-sizes and --learning-rates are the grid's: give --table with them"
        )
    hidden, batch_sizes, rates = options.grid()
    counts = {"hidden size": hidden, "batch size": batch_sizes if options.mode == "minibatch" else ()}
    counts |= {"number of epochs": [options.epochs_to_train()], "number of seeds": [options.seeds]}
    counts |= {"number of examples": _one(options.examples)}
    for name, given in counts.items():
        if any(count < 1 for count in given):
            raise ArgumentError(f"the {name} must be a whole number of at least 1, given {min(given)}")
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise ArgumentError(
            f"a learning rate must be a finite number above 0, given {', '.join(map(str, rates))}"
        )
    if options.init not in INITS:
        raise unknown_name("initialisation", options.init, INITS)
    if options.mode not in MODES:
        raise unknown_name("mode", options.mode, MODES)
    target = options.target_accuracy
    if target is not None and not 0 < target <= 1:
        raise ArgumentError(
            f"--target-accuracy must be a share above 0 and up to 1, given {target:g}: write 0.98 for 98 %"
        )
    mlp([1, *hidden, 1], activation=ACTIVATION, init=INITS[options.init])
