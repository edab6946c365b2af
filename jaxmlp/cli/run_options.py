"""The options of one run beyond what is trained: when it stops, what it saves, and how an interrupted one goes on."""

import dataclasses
import json
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxmlp import ArgumentError, Stopping
from jaxmlp.cli.command_line import explicit_options, option, parse_options
from jaxmlp.cli.processes import ProcessOptions, check_processes
from jaxmlp.cli.run_folder import CHECKPOINTS, CONFIG, write_config
from jaxmlp.cli.train_options import DESCRIPTION, TrainOptions, check_options

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
    "dataset",
    "data_dir",
    "manual_dir",
)

# Of these, what names a place: seen from where the run was begun, unless this call says it anew.
PLACES = ("dataset", "data_dir", "manual_dir")

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
    """Read and check the command line, and with --resume the options of the run that goes on."""
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
    _check_patience(options)
    return options


def _check_patience(options: RunOptions) -> None:
    if options.patience is not None and options.patience < 1:
        raise ArgumentError(
            f"--patience must be at least 1 epoch, given {options.patience}: leave it out to train all epochs"
        )
    stopping_of(options)  # numbers and names before what does not go together
    if options.patience is None:
        usual = RunOptions()
        for name in ("monitor", "min_improvement"):
            if options.resume is None and getattr(options, name) != getattr(usual, name):
                raise ArgumentError(
                    f"--{name.replace('_', '-')} is heeded by --patience only: give --patience N, or leave it out"
                )
        return
    if options.validation == 0 and options.resume is not None:
        raise ArgumentError(
            f"--patience watches a validation part, and the run in {options.resume} holds none out: begin a new run "
            "with --validation 0.2"
        )
    if options.validation == 0:
        raise ArgumentError(
            "--patience watches a validation part: hold one out with --validation 0.2, so that the test part "
            "stays unseen"
        )


def stopping_of(options: RunOptions) -> Stopping:
    """Say to the library when the run stops."""
    return Stopping(
        patience=options.patience,
        monitor=options.monitor,
        min_improvement=options.min_improvement,
        target_score=options.target_accuracy,
        seconds=options.time_limit,
    )


def remember(folder: Path, options: RunOptions) -> None:
    """Write into config.json what a call with --resume has changed, so that the next one need not say it again."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    changed = config["options"] | {name: getattr(options, name) for name in KEPT}
    for name in PLACES:
        value, stored = getattr(options, name), config["options"].get(name)
        if value != _place(name, stored, config.get("folder", "")):
            changed[name] = _place(name, value, str(Path.cwd()))
    if changed != config["options"]:
        write_config(folder, config | {"options": changed})


def _place(name: str, value: str | None, folder: str) -> str | None:
    """Find a place that was named in a folder; where it is not there, but is here, it is the one here."""
    path = Path(value or "").expanduser()
    if value is None or (name == "dataset" and path.suffix.lower() not in (".csv", ".npz")):
        return value
    there = folder / path
    return value if path.exists() and not there.exists() else str(there)


def _resumed(options: RunOptions, explicit: Sequence[str]) -> RunOptions:
    for name in explicit:
        if name not in OF_THIS_CALL:
            raise ArgumentError(
                f"--resume takes --{name.replace('_', '-')} from the run: leave it out, or begin a new run"
            )
    assert options.resume is not None  # asked for by the caller
    folder = Path(options.resume)
    stored, began_in = _stored(folder)
    places = {name: _place(name, getattr(stored, name), began_in) for name in PLACES}
    # How many devices and processes there are is a matter of each call.
    counts = [field.name for field in dataclasses.fields(ProcessOptions)]
    anew = {name: getattr(options, name) for name in (*explicit, *counts)}
    return dataclasses.replace(stored, **(places | anew | {"out": options.resume}))


def _stored(folder: Path) -> tuple[RunOptions, str]:
    """Read a run's options, and the folder that it was begun in; "" where that is not told."""
    path = folder / CONFIG
    if not path.is_file():
        if any((folder / CHECKPOINTS).glob("epoch-*")):
            raise ArgumentError(
                f"{path} is missing, which holds the options of the run: put it back, or begin a new run"
            )
        raise ArgumentError(f"no run at {folder}: give the folder of a run that train.py began")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise _no_options(path, "it is no JSON text") from None
    given = config.get("options") if isinstance(config, dict) else None
    if not isinstance(given, dict):
        raise _no_options(path, "options is missing")
    fields = {field.name for field in dataclasses.fields(RunOptions)}
    unknown = sorted(set(given) - fields)
    if unknown:
        raise ArgumentError(
            f"{path} holds options that train.py does not know ({', '.join(unknown)}): go on with the program and the "
            f"version that began the run"
        )
    if "hidden" not in given:
        raise _no_options(path, "hidden is missing")
    # JSON has no tuples.
    stored: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    options = RunOptions(**stored)
    for name, annotation in typing.get_type_hints(RunOptions).items():
        if not _is(getattr(options, name), annotation):
            raise _no_options(path, f"{name} is of a wrong type")
    began_in = config.get("folder")
    return options, began_in if isinstance(began_in, str) else ""


def _no_options(path: Path, reason: str) -> ArgumentError:
    return ArgumentError(
        f"{path} does not hold the options of a run of train.py ({reason}): give the folder of one"
    )


def _is(value: Any, annotation: Any) -> bool:
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_is(each, inner[0]) for each in value)
    # JSON writes 1.0 as 1 where a hand has; True is no number.
    return any(
        type(value) is kind or (kind is float and type(value) is int) for kind in inner or (annotation,)
    )
