"""Options: how a command line is read, and what `jaxmlp train` may be told."""

import argparse
import importlib.util
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jaxmlp import ArgumentError, Stopping, make_optimizer, mlp
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.cli.parser import option
from jaxmlp.datasets import DATASETS, METHODS
from jaxmlp.initializers import INITIALIZERS
from jaxmlp.losses import LOSSES
from jaxmlp.training.metrics import METRICS
from jaxmlp.training.optimizers import OPTIMIZERS, SCHEDULES
from jaxmlp.types import LARGEST_SEED, check_whole

LARGEST = float(np.finfo(np.float32).max)
MOST_DEVICES = 1024  # of a process; from 2048 on JAX takes them for another's

DESCRIPTION = """Train a multi-layer perceptron by hand-written backpropagation.
With no options: scanned 8×8 digits that ship with scikit-learn, in a few seconds."""

# What a run keeps for the next --resume, which would otherwise go back to what it was begun with.
KEPT = ("epochs", "time_limit", "target_accuracy", "patience", "checkpoint_every", "keep", "tensorboard")
# What names a place: seen from where the run was begun, unless this call says it again.
PLACES = ("dataset", "data_dir", "manual_dir", "test")
# How many devices and processes there are is a matter of each call.
PROCESSES = ("devices", "coordinator", "num_processes", "process_id")
# What --resume takes from this call where it is given, and not from the run: how long, where, and what to show.
OF_THIS_CALL = (*KEPT, *PLACES, *PROCESSES, "resume", "pictures", "quiet", "device", "compilation_cache")
# What the processes of one run may have different; all else must be the same.
OWN = {*OF_THIS_CALL, "out"} - {"epochs", "target_accuracy", "patience", "num_processes"}

# --- what may be said ---


@dataclass(frozen=True)
class DeviceOptions:
    """The options that say where and how exactly to compute."""

    device: str = option(
        "auto", "cpu, gpu, tpu, one of several as gpu:1, or auto for JAX's choice", group="device"
    )
    precision: str = option(
        "float32",
        "float32 in full; float64 for everything; tensorfloat32 or bfloat16 for faster matrix products on a GPU",
        group="device",
    )


@dataclass(frozen=True)
class CompilationCacheOptions:
    """The option that says whether compiled programs are kept."""

    compilation_cache: bool = option(
        True,
        "keep compiled programs in ~/.cache/jaxmlp/compiled (or in JAX_COMPILATION_CACHE_DIR) for the next run",
        group="device",
    )


def batch_size(text: str) -> int | None:
    """Read a batch size: a whole number, or "full" for None."""
    if text == "full":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a whole number nor full") from None


def sizes(text: str) -> tuple[int, ...]:
    """Read the sizes of hidden layers: 64x32, or none."""
    try:
        return () if text == "none" else tuple(int(size) for size in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of sizes: write 64x32, or none") from None


_data = partial(option, group="data")
_table = partial(option, group="tables")
_network = partial(option, group="network")
_training = partial(option, group="training")
_output = partial(option, group="output")
sharing = partial(option, group="devices and processes")
_stopping = partial(option, group="stopping")
_saving = partial(option, group="saving and going on")


@dataclass(frozen=True)
class DataOptions:
    """The options that say which data to use."""

    dataset: str = _data(
        "digits",
        f"{', '.join(DATASETS)}; a table (.csv, .tsv, .txt, .data, .gz, .parquet, .feather, .xlsx, or - for standard "
        "input); arrays (.npz, .h5); a folder of images by class; or a prepared TFDS name",
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
    target: str | None = _table(
        None,
        "target column, by name or number (-1 is the last); several with commas between them",
        metavar="COLUMN",
    )
    task: str | None = _data(None, "classification, multilabel or regression, for a file (default: inferred)")
    missing: str = _table("impute", "gaps: impute or refuse")
    test: str | None = _table(None, "a file whose rows are the test part", metavar="FILE")
    ignore: str | None = _table(None, "columns to leave out, with commas between them", metavar="COLUMN,...")
    text: str | None = _table(None, "columns that hold texts, whatever they look like", metavar="COLUMN,...")
    weight_column: str | None = _table(None, "column that weighs the rows", metavar="COLUMN")
    group_column: str | None = _table(None, "column whose equal values stay in one part", metavar="COLUMN")
    time_column: str | None = _table(
        None, "column that orders the rows; the last ones test", metavar="COLUMN"
    )
    drop_missing_target: bool = _table(False, "leave out rows without a target")
    separator: str | None = _table(None, "character between fields (default: as found)", metavar="MARK")
    header: bool | None = _table(None, "whether the first line names the columns (default: as found)")
    decimal: str | None = _table(
        None, "decimal mark (default: . or, behind semicolons, as found)", metavar="MARK"
    )
    thousands: str | None = _table(None, "mark between groups of three digits", metavar="MARK")
    na_values: str | None = _table(None, "texts that are gaps besides the usual ones", metavar="TEXT,...")
    examples: int | None = _data(None, "examples of a generated data set (default: 1000)")
    noise: float | None = _data(None, "noise of a generated data set (default: its own)")
    test_fraction: float = _data(
        0.2, "share tested on, where there is no test part; 0 trains on all", metavar="SHARE"
    )
    validation: float = _data(
        0.0,
        "share of the training part held out and measured every epoch; with 0 the test part is measured",
        metavar="SHARE",
    )
    scaling: str = _data("auto", f"of features: {', '.join(METHODS)}")


@dataclass(frozen=True)
class TrainOptions(CompilationCacheOptions, DeviceOptions, DataOptions):
    """The options of a training run, one field a flag."""

    hidden: tuple[int, ...] = _network(
        (128,),
        "sizes of the hidden layers, as 64x32; none for a single layer",
        metavar="SIZExSIZE",
        read=sizes,
    )
    activation: str = _network(
        "relu", f"{', '.join(ACTIVATIONS)}; a parameter behind a colon, as leaky_relu:0.1"
    )
    init: str = _network(
        "he_normal", f"of weights: {', '.join(INITIALIZERS)}; as normal:1.0 or uniform:-0.05,0.05"
    )
    init_scale: float = _network(1.0, "a factor on the initial weights")
    bias_init: str = _network("zeros", "of biases: zeros, normal:X or uniform:LOW,HIGH")
    bias: bool = _network(True, "biases in the layers")
    loss: str | None = _training(None, f"{', '.join(LOSSES)}; as huber:0.5 (default: the task's)")
    metric: str | None = _training(
        None, f"reported every epoch beside the loss: {', '.join(METRICS)} (default: the task's)"
    )
    optimizer: str = _training("sgd", f"{', '.join(OPTIMIZERS)}; as momentum:0.95 or adamw:0.01")
    learning_rate: float | None = _training(
        None, "(default: the optimiser's; for a regression a tenth of it with sgd, momentum and nesterov)"
    )
    schedule: str = _training(
        "constant",
        f"{', '.join(SCHEDULES)}; as exponential:0.95 (an epoch), step:0.1,10 or warmup_cosine:0.1",
    )
    clip_norm: float | None = _training(None, "hold the gradient's norm to X (default: no)")
    batch_size: int | None = _training(
        32, "minibatch size, or full for all examples at once", read=batch_size
    )
    epochs: int = _training(40, "how often every example is seen")
    l2: float = _training(0.0, "adds X/2·Σ‖w‖² to the objective")
    shuffle: bool = _training(True, "a fresh order every epoch")
    seed: int = _training(0, "seed of everything that is drawn")
    out: str | None = _output(None, "run folder (default: runs/DATASET-TIME)", metavar="FOLDER")
    pictures: bool = _output(True, "draw pictures into the run folder")
    quiet: bool = _output(False, "print only the summary")


@dataclass(frozen=True)
class ProcessOptions:
    """The options that say how many devices and processes share each minibatch."""

    devices: int | None = sharing(
        None,
        "share each minibatch among N devices of this process: GPUs, or parts of a CPU "
        "(default: 1; with --coordinator all there are)",
    )
    coordinator: str | None = sharing(
        None,
        "share each minibatch among processes too, which meet at this address of process 0",
        metavar="HOST:PORT",
    )
    num_processes: int | None = sharing(None, "how many processes there are", metavar="P")
    process_id: int | None = sharing(None, "the number of this one, from 0 to P-1", metavar="I")


@dataclass(frozen=True)
class RunOptions(ProcessOptions, TrainOptions):
    """The options of a run, one field a flag."""

    patience: int | None = _stopping(
        None,
        "stop after N epochs in a row without an improvement on the part that --validation holds out, and keep "
        "the best parameters",
    )
    monitor: str = _stopping("loss", "what patience watches there: loss or score")
    min_improvement: float = _stopping(0.0, "by how much it must be better")
    target_accuracy: float | None = _stopping(
        None,
        "stop once this accuracy is reached on the validation part (without one: the test part), as 0.98",
        metavar="SHARE",
    )
    time_limit: float | None = _stopping(
        None, "begin no epoch after so many seconds of training", metavar="SECONDS"
    )
    resume: str | None = _saving(
        None,
        "go on with the run in this folder from its last whole checkpoint, with its own options. This call "
        "may change how long to train, where, and what to show",
        metavar="RUN",
    )
    checkpoint_every: int = _saving(
        10,
        "save a checkpoint every N epochs, as soon as the one before it is written, and after the last; 0 for none",
    )
    keep: int = _saving(2, "how many checkpoints to keep besides the best")
    tensorboard: bool = _saving(False, "write events for TensorBoard (needs the extra tensorboard)")


# --- what is refused before any data are loaded ---


def check_least(options: Any, **least: int) -> None:
    """Refuse the numbers named here that are smaller than they may be, or beyond float32."""
    for name, number in least.items():
        given = getattr(options, name)
        if given is not None and not number <= given <= LARGEST:
            bound = f"at most {LARGEST:.1e}" if given > number else f"at least {number}"
            raise ArgumentError(f"{flag(name)} must be {bound}, given {given}")


def check_options(options: TrainOptions) -> None:
    """Refuse what no data set could make right."""
    check_least(options, epochs=1, batch_size=1, l2=0)
    check_whole("--seed", options.seed, 0, LARGEST_SEED)
    if not 0 < options.init_scale <= LARGEST:
        raise ArgumentError(f"--init-scale must be a number above 0, given {options.init_scale:g}")
    if options.out == "":
        raise ArgumentError("--out names no folder: give one, or leave it out for one under runs")
    if any(size < 1 for size in options.hidden):
        raise ArgumentError(f"--hidden takes sizes of at least 1, given {' '.join(map(str, options.hidden))}")
    # Built and dropped: a misspelt name should not wait for the data to be loaded.
    clip, schedule = options.clip_norm, options.schedule
    make_optimizer(
        options.optimizer, options.learning_rate, schedule=schedule, horizon=(1, 1), clip_norm=clip
    )
    sizes = [1, *options.hidden, 1]
    mlp(sizes, activation=options.activation, init=options.init, bias_init=options.bias_init)
    if options.loss is not None:
        LOSSES[options.loss]
    if options.metric is not None:
        METRICS[options.metric]


def flag(name: str) -> str:
    """Write an option's name as the command line takes it."""
    return f"--{name.replace('_', '-')}"


def check_run(options: RunOptions) -> None:
    """Refuse what does not fit together in a run, beyond what `check_options` refuses."""
    check_options(options)
    check_least(options, checkpoint_every=0, keep=1, patience=1)
    target = options.target_accuracy
    if target is not None and not 0 < target <= 1:
        raise ArgumentError(
            f"--target-accuracy must be a share above 0 and up to 1, given {target:g}: write 0.98 for 98 %"
        )
    _check_processes(options)
    stopping_of(options)  # numbers and names before what does not go together
    # Of several processes the first writes the events.
    if options.tensorboard and not options.process_id and importlib.util.find_spec("tensorboardX") is None:
        raise ArgumentError(
            '--tensorboard needs the package tensorboardX: python -m pip install -e ".[tensorboard]"'
        )
    if options.patience is None:
        for name in ("monitor", "min_improvement"):
            if options.resume is None and getattr(options, name) != getattr(RunOptions, name):
                raise ArgumentError(
                    f"{flag(name)} works only with --patience: give --patience N, or leave it out"
                )
    elif options.validation == 0:
        raise ArgumentError(
            "--patience watches a validation part, and none is held out: begin a run with --validation 0.2, which "
            "leaves the test part unseen"
        )


def _check_processes(options: ProcessOptions) -> None:
    if options.devices is not None:
        check_whole("--devices", options.devices, 1, MOST_DEVICES)
    device = getattr(options, "device", "auto")
    if ":" in device and (options.devices or options.coordinator):
        raise ArgumentError(
            f"--device {device} names one device, while --devices and --coordinator choose for themselves: "
            f"write --device {device.partition(':')[0]}"
        )
    address, count, index = options.coordinator, options.num_processes, options.process_id
    given = {"--coordinator": address, "--num-processes": count, "--process-id": index}
    missing = [name for name, value in given.items() if value is None]
    if address is None or count is None or index is None:
        if len(missing) < len(given):
            raise ArgumentError(f"{', '.join(given)} go together: give {' and '.join(missing)} too")
        return
    check_whole("--num-processes", count, 2, advice=f": for one process leave out {', '.join(given)}")
    check_whole("--process-id", index, 0, count - 1)
    split_address(address)


def split_address(address: str) -> tuple[str, int]:
    """Read HOST:PORT."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ArgumentError(
            f"--coordinator takes HOST:PORT with a port from 1 to 65535, as 10.0.0.1:29500, given '{address}'"
        )
    return host, int(port)


def stopping_of(options: RunOptions) -> Stopping:
    """Say to the library when the run stops."""
    return Stopping(
        patience=options.patience,
        monitor=options.monitor,
        min_improvement=options.min_improvement,
        target_score=options.target_accuracy,
        seconds=options.time_limit,
    )
