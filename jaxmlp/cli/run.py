"""A run: its folder, its lock, its config.json, and how it is gone on with."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np

from jaxmlp import ArgumentError
from jaxmlp.cli.options import (
    DESCRIPTION,
    KEPT,
    OF_THIS_CALL,
    ProcessOptions,
    RunOptions,
    _check_patience,
    check_options,
    check_processes,
    explicit_options,
    parse_options,
)
from jaxmlp.saving import checkpoints_in

CONFIG, MODEL, CHECKPOINTS, METRICS = "config.json", "model.safetensors", "checkpoints", "metrics.csv"

LOCK = ".lock"

LOOK = 0.2  # seconds: one that only looks, as compare.py does, holds the lock for a moment

# Of these, what names a place: seen from where the run was begun, unless this call says it anew.
PLACES = ("dataset", "data_dir", "manual_dir")


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
        if checkpoints_in(folder / CHECKPOINTS):
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


def make_run_folder(out: str | None, name: str) -> Path:
    """Make the folder of a new run; a folder that holds a run already is refused, so that nothing is lost."""
    folder = _fresh_folder(name) if out is None else Path(out)
    if (folder / CONFIG).exists() or (folder / MODEL).exists():
        has_checkpoints = (folder / CONFIG).exists() and checkpoints_in(folder / CHECKPOINTS)
        go_on = f", or go on with it by --resume {folder}" if has_checkpoints else ""
        raise ArgumentError(f"{folder} holds a run already: choose another folder with --out{go_on}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ArgumentError(
            f"the run folder {folder} cannot be written ({error.strerror}): choose another with --out"
        ) from None
    return folder


def _fresh_folder(name: str) -> Path:
    plain = re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-.") or "run"
    stamp = f"{plain}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    return free_folder(Path("runs") / stamp)


def free_folder(wanted: Path) -> Path:
    """Name a folder that is not there yet."""
    candidate, number = wanted, 2
    while candidate.exists():
        candidate, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return candidate


def holds_files(folder: Path) -> bool:
    """Tell whether a folder holds any file, or folders of it do."""
    return any(not path.is_dir() for path in folder.rglob("*"))


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json, all at once."""
    unfinished = folder / f"{CONFIG}.unfinished"
    unfinished.write_text(json.dumps(config, indent=2, default=_plain) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / CONFIG)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


def describe_machine() -> dict[str, Any]:
    """Name the machine and the versions that a result was made with."""
    versions = {}
    for package in ("jaxmlp", "jax", "jaxlib", "optax", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "devices": [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()],
        "versions": versions,
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = re.findall(r"model name\s*: (.+)", text)
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


class Lock:
    """A run folder that is held."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, os.stat(path)

    @property
    def is_held(self) -> bool:
        """Whether the folder is still the one that was locked: neither deleted nor made anew by another run."""
        try:
            return os.path.samestat(os.stat(self._path), self._file)
        except OSError:
            return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold a run folder inside a `with`; the lock goes with the process, however that ends."""
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOOK)
    except filelock.Timeout:
        raise ArgumentError(
            f"{folder} is in use by a run that has not ended: wait for it or stop it, "
            "or begin another with --out"
        ) from None
    except OSError as error:
        raise ArgumentError(
            f"the run folder {folder} cannot be written ({error.strerror}): make it writable, "
            "or begin another run with --out"
        ) from None
    try:
        held = Lock(folder / LOCK)
        try:
            yield held
        finally:
            # Before it is released: one that has opened the file meanwhile sees that it is gone, and takes no lock.
            if held.is_held:
                with contextlib.suppress(OSError):
                    (folder / LOCK).unlink()
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Tell whether a run holds a folder, without changing anything in it."""
    path = folder / LOCK
    try:
        import fcntl
    except ModuleNotFoundError:
        return path.exists()
    try:
        with path.open("rb") as file:
            # Shared, so that several may look at a time; the run's own lock excludes it.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
