"""The options of one run beyond what is trained: when it stops, what it saves, and how an interrupted one goes on."""

import dataclasses
import json
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from command_line import explicit_options, option, parse_options
from processes import ProcessOptions, check_processes
from run_folder import CONFIG, write_config
from train_options import DESCRIPTION, TrainOptions, check_options

from jaxmlp import ArgumentError, Stopping

# What --resume takes from this call where it is given, and not from the run: how long, where, and what to show.
OF_THIS_CALL = (
    "resume",
    "epochs",
    "time_limit",
    "target_accuracy",
    "patience",
    "checkpoint_every",
    "keep",
    "tensorboard",
    "pictures",
    "quiet",
    "device",
    "devices",
    "coordinator",
    "num_processes",
    "process_id",
    "compilation_cache",
    "data_dir",
    "manual_dir",
)

# Of these, what the run keeps for the next --resume, which would otherwise go back to what it was begun with.
KEPT = ("epochs", "time_limit", "target_accuracy", "patience", "checkpoint_every", "keep", "tensorboard")

_stopping = partial(option, group="stopping")
_saving = partial(option, group="saving and going on")


@dataclass(frozen=True)
class RunOptions(ProcessOptions, TrainOptions):
    """The options of a run, one field a flag."""

    patience: int | None = _stopping(
        None,
        "stop after N epochs in a row without an improvement on the part that --validation holds out, and keep "
        "the best parameters",
        metavar="N",
    )
    monitor: str = _stopping("loss", "what patience watches there: loss or score", metavar="NAME")
    min_improvement: float = _stopping(0.0, "by how much it must be better", metavar="X")
    time_limit: float | None = _stopping(
        None, "begin no epoch after so many seconds of training", metavar="SECONDS"
    )
    resume: str | None = _saving(
        None,
        "go on with the run in this folder from its last whole checkpoint, with its own options; this call may "
        "say anew how long to train, where, and what to show",
        metavar="RUN",
    )
    checkpoint_every: int = _saving(
        10,
        "save a checkpoint every N epochs, as soon as the one before it is written, and after the last; 0 for none",
        metavar="N",
    )
    keep: int = _saving(2, "how many checkpoints to keep besides the best", metavar="N")
    tensorboard: bool = _saving(False, "write events for TensorBoard (needs the extra tensorboard)")


def read_options(arguments: Sequence[str] | None) -> RunOptions:
    """Read and check the command line, and with --resume the options of the run that goes on.

    Args:
        arguments: the arguments; None takes those of the process.

    Returns:
        The options.

    Raises:
        ArgumentError: an option that no data set could make right, or one that --resume takes from the run.
    """
    options, _ = parse_options(RunOptions, DESCRIPTION, arguments)
    if options.resume is not None:
        options = _resumed(options, explicit_options(RunOptions, arguments))
    check_options(options)
    check_processes(options)
    for name, least in (("checkpoint_every", 0), ("keep", 1)):
        if getattr(options, name) < least:
            raise ArgumentError(
                f"--{name.replace('_', '-')} must be at least {least}, given {getattr(options, name)}"
            )
    if options.patience is not None and options.validation == 0:
        raise ArgumentError(
            "--patience watches a validation part: hold one out with --validation 0.2, so that the test part "
            "stays unseen"
        )
    stopping_of(options)
    return options


def stopping_of(options: RunOptions) -> Stopping:
    """Say to the library when the run stops.

    Args:
        options: the options.

    Returns:
        The rule.

    Raises:
        ArgumentError: a number out of its range.
    """
    return Stopping(
        patience=options.patience,
        monitor=options.monitor,
        min_improvement=options.min_improvement,
        target_score=options.target_accuracy,
        seconds=options.time_limit,
    )


def remember(folder: Path, options: RunOptions) -> None:
    """Write into config.json what a call with --resume has changed, so that the next one need not say it again.

    Args:
        folder: the run folder, whose config.json `read_options` has read.
        options: the options.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    changed = config["options"] | {name: getattr(options, name) for name in KEPT}
    if changed != config["options"]:
        write_config(folder, config | {"options": changed})


def _resumed(options: RunOptions, explicit: Sequence[str]) -> RunOptions:
    for name in explicit:
        if name not in OF_THIS_CALL:
            raise ArgumentError(
                f"--resume takes --{name.replace('_', '-')} from the run: leave it out, or begin a new run"
            )
    assert options.resume is not None  # asked for by the caller
    folder = Path(options.resume)
    stored = _stored(folder)
    # How many devices and processes there are is a matter of each call.
    counts = [field.name for field in dataclasses.fields(ProcessOptions)]
    anew = {name: getattr(options, name) for name in (*explicit, *counts)}
    return dataclasses.replace(stored, **(anew | {"out": options.resume}))


def _stored(folder: Path) -> RunOptions:
    path = folder / CONFIG
    if not path.is_file():
        raise ArgumentError(f"no run at {folder}: give the folder of a run that train.py began")
    fields = {field.name for field in dataclasses.fields(RunOptions)}
    try:
        given = dict(json.loads(path.read_text(encoding="utf-8"))["options"])
        stored = {name: value for name, value in given.items() if name in fields}
        unknown = sorted(set(given) - set(stored))
        options = RunOptions(**{**stored, "hidden": tuple(given["hidden"])})
        _check_types(options)
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            f"{path} does not hold the options of a run of train.py ({type(error).__name__}): give the folder of one"
        ) from None
    if unknown:
        raise ArgumentError(
            f"{path} holds options that train.py does not know ({', '.join(unknown)}): go on with the program and the "
            f"version that began the run"
        )
    return options


def _check_types(options: RunOptions) -> None:
    for name, annotation in typing.get_type_hints(RunOptions).items():
        if not _is(getattr(options, name), annotation):
            raise TypeError(name)


def _is(value: Any, annotation: Any) -> bool:
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_is(each, inner[0]) for each in value)
    # JSON writes 1.0 as 1 where a hand has; True is no number.
    return any(
        type(value) is kind or (kind is float and type(value) is int) for kind in inner or (annotation,)
    )
