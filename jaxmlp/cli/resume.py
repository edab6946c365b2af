"""How a run is gone on with: its own options read back from config.json, and what this call may say again."""

import dataclasses
import os
import shlex
import typing
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jaxmlp import ArgumentError, FitState
from jaxmlp.cli.job import Job
from jaxmlp.cli.options import (
    DESCRIPTION,
    KEPT,
    OF_THIS_CALL,
    PLACES,
    PROCESSES,
    RunOptions,
    TrainOptions,
    check_run,
    flag,
)
from jaxmlp.cli.parser import given_options
from jaxmlp.cli.run import CHECKPOINTS, CONFIG, MODEL, no_run, read_config, write_config
from jaxmlp.datasets import DATASETS
from jaxmlp.saving import check_description, checkpoints_in, latest_checkpoint, restore_fit

Options = TypeVar("Options", bound=TrainOptions)


def read_options(arguments: Sequence[str] | None) -> RunOptions:
    """Read and check the command line, and with --resume the options of the run that goes on."""
    given = given_options(RunOptions, DESCRIPTION, arguments)
    options = RunOptions(**given) if given.get("resume") is None else resumed(RunOptions, given, OF_THIS_CALL)
    check_run(options)
    return options


def resumed(
    kind: type[Options], given: dict[str, Any], of_this_call: Collection[str], what: str = "training run"
) -> Options:
    """Read back the options of the run that goes on; this call may give those of `of_this_call` again."""
    links = [each.name for each in sorted(Path(given["resume"]).glob("*")) if each.is_symlink()]
    if links:  # what is written must not land in a file of the user's elsewhere
        raise ArgumentError(
            f"{given['resume']} holds links ({', '.join(links)}), and a run writes only into its own folder: put "
            "the files there in their place"
        )
    for name in given:
        if name not in of_this_call:
            noun = what.split()[-1]
            raise ArgumentError(
                f"--resume takes {flag(name)} from the run: leave it out, or begin a new {noun}"
            )
    stored, began_in = _stored(kind, Path(given["resume"]), what)
    places = {name: _place(name, getattr(stored, name), began_in) for name in PLACES}
    counts = {name: None for name in PROCESSES if hasattr(stored, name)}
    return dataclasses.replace(stored, **(places | counts | given | {"out": given["resume"]}))


def remember(folder: Path, options: RunOptions) -> None:
    """Write into config.json what a call with --resume has changed, for the next one to take over."""
    config = read_config(folder, "training run")
    changed = config["options"] | {name: getattr(options, name) for name in KEPT}
    for name in PLACES:
        value, stored = getattr(options, name), config["options"].get(name)
        if value != _place(name, stored, config.get("folder", "")):
            changed[name] = _place(name, value, str(Path.cwd()))
    if changed != config["options"]:
        write_config(folder, config | {"options": changed})


def _place(name: str, value: str | None, folder: str) -> str | None:
    """Find a place that was named in a folder; where it is not there, but is here, it is the one here."""
    path = Path(os.path.expanduser(value or ""))
    there = folder / path
    is_name = name == "dataset" and (
        value in ("-", *DATASETS) or not (path.suffix or path.exists() or there.exists())
    )
    if value is None or is_name:
        return value
    return value if path.exists() and not there.exists() else str(there)


def _stored(kind: type[Options], folder: Path, what: str) -> tuple[Options, str]:
    """Read a run's options, and the folder that it was begun in; "" where that is not told."""
    config = read_config(folder, what)
    given = config["options"]
    if ("grid" in given) != (what == "sweep"):
        found, its = ("sweep", "sweep") if "grid" in given else ("training run", "train")
        raise ArgumentError(
            f"{folder} is the folder of a {found}: go on by jaxmlp {its} --resume {shlex.quote(str(folder))}"
        )
    unknown = sorted(set(given) - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise ArgumentError(
            f"{folder / CONFIG} holds options that this version does not know ({', '.join(unknown)}): go on with the "
            "version that began the run"
        )
    # JSON has no tuples.
    stored: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    options = kind(**stored)
    for name, annotation in typing.get_type_hints(kind).items():
        if not _is(getattr(options, name), annotation):
            raise no_run(folder, what, f"{name} is of a wrong type")
    began_in = config.get("folder")
    return options, began_in if isinstance(began_in, str) else ""


def _is(value: Any, annotation: Any) -> bool:
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_is(each, inner[0]) for each in value)
    # JSON writes 1.0 as 1 where a hand has; True is no number.
    return any(
        type(value) is kind or (kind is float and type(value) is int) for kind in inner or (annotation,)
    )


def read_progress(job: Job, start: FitState) -> tuple[FitState, list[str]]:
    """Find where a run begins: at its start, or where the one that --resume names stood; and what to say of it."""
    if job.options.resume is None:
        return start, []
    folder, epochs = Path(job.options.resume), job.options.epochs
    if not checkpoints_in(folder / CHECKPOINTS):
        if (folder / MODEL).exists():
            raise ArgumentError(f"{folder} has ended and holds no checkpoint to go on from: begin a new run")
        return start, [f"{folder} holds no checkpoint yet: the run begins from its start"]
    checkpoint, notes = latest_checkpoint(folder / CHECKPOINTS)
    _check_contents(checkpoint.description, job.description)
    check_description(checkpoint.description, job.description)
    if checkpoint.epoch > epochs:
        raise ArgumentError(
            f"--epochs {epochs} lies below the {checkpoint.epoch} that the run in {folder} has done: "
            "give more, or begin a new run"
        )
    going_on = f"going on after epoch {checkpoint.epoch}, from the checkpoint in {folder / CHECKPOINTS}"
    return restore_fit(checkpoint.arrays, start), [*notes, going_on]


def _check_contents(found: Any, wanted: dict[str, Any]) -> None:
    """Say of a file of the same name that it is not what it was, rather than only which hashes differ."""
    before, now = (each.get("data set", {}) for each in (found, wanted))
    if before.get("name") == now.get("name") and before.get("sha256") != now.get("sha256"):
        raise ArgumentError(
            f"the contents of {now['name']} have changed since the run began (SHA-256 {before.get('sha256')} then, "
            f"{now.get('sha256')} now): give the file as it was with --dataset, or begin a new run"
        )
