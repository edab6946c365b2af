"""A run: its folder, its lock, its config.json, and all that it writes as its epochs end.

What cannot be written, as on a full disk, is told once and tried again: it does not end the training.
"""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import filelock
import jax
import numpy as np

from jaxmlp import ArgumentError, EpochReport, FitState
from jaxmlp.cli.options import PROCESSES, flag
from jaxmlp.cli.records import EventFile, add_row, write_metrics
from jaxmlp.cli.session import tell
from jaxmlp.cli.text import command, counted
from jaxmlp.door import one_line
from jaxmlp.files import parse_json, write_text
from jaxmlp.saving import CheckpointWriter, checkpoints_in, fit_arrays
from jaxmlp.training.metrics import METRICS as SCORES

CONFIG, MODEL, CHECKPOINTS, LOCK = "config.json", "model.safetensors", "checkpoints", ".lock"
AnyJob: TypeAlias = Any  # a `Job`, or a sweep's
LOOK = 0.2  # seconds: one that only looks, as `jaxmlp compare` does, holds the lock for a moment


class Run:
    """A run in its folder, which no other run writes to.

    Attributes:
        folder: where it is.
        latest: the state after the last epoch.
        part: what its table calls the part that is measured each epoch.
    """

    def __init__(self, folder: Path, lock: "Lock", job: AnyJob) -> None:
        self.folder = folder
        self.latest: FitState | None = None
        self._lock, self._job, self._options, self._metric = lock, job, job.options, job.problem.metric
        self.part = "valid" if job.options.validation else "test"
        self._writer: CheckpointWriter | None = None
        self._events: EventFile | None = None
        self._saved, self._is_due = 0, False
        self._table_is_whole, self._is_closing = True, False
        self._told: set[object] = set()

    @property
    def advice(self) -> str:
        """How to go on with it, as the user would type it."""
        given = {name: getattr(self._options, name, None) for name in PROCESSES}
        shared = "".join(f" {flag(name)} {value}" for name, value in given.items() if value is not None)
        return f"go on with: {command()} --resume {shlex.quote(str(self.folder))}{shared}"

    @property
    def last_saved(self) -> int:
        """The epoch of its newest checkpoint."""
        return max(checkpoints_in(self.folder / CHECKPOINTS), default=0)

    @contextlib.contextmanager
    def recording(self, before: FitState) -> Iterator[None]:
        """Record epochs inside a `with`; rows of epochs that the run has not done are cut off."""
        options = self._options
        write_metrics(self.folder, before.history, self._metric, self.part)
        if options.checkpoint_every:
            more_is_better = options.monitor == "score" and SCORES[self._metric].more_is_better
            better = "larger" if more_is_better else "smaller"
            self._writer = CheckpointWriter(self.folder / CHECKPOINTS, keep=options.keep, better=better)
        self._events = EventFile(self.folder) if options.tensorboard else None
        try:
            yield
        finally:
            self._close()

    def save(self, state: FitState) -> None:
        """Write what is due after an epoch; `fit_recipe` calls it."""
        self.latest, report = state, state.history[-1]
        if not self._lock.is_held:  # and what another run has made in its place is none of ours
            self._tell(
                "gone", f"the run folder {self.folder} is gone: nothing is saved until the training has ended"
            )
            return
        self._table_is_whole = self._try("the table's row", lambda: self._add_row(state))
        if self._events is not None:
            events = self._events
            self._try("events", lambda: events.add(report, self._metric, self.part))
        every = self._options.checkpoint_every
        self._is_due |= bool(every) and report.epoch % every == 0
        # Where epochs are shorter than the writing of a checkpoint, to wait for it would cost more than they do.
        if self._is_due and self._writer is not None and not self._writer.is_busy:
            self._checkpoint(self._writer, state)

    def _close(self) -> None:
        """Write the last epoch's checkpoint, and wait until all is written."""
        state, self._is_closing = self.latest, True
        if self._writer is not None:
            if state is not None and state.history[-1].epoch != self._saved and self._lock.is_held:
                self._checkpoint(self._writer, state)
            self._try("a checkpoint", self._writer.close)
        if self._events is not None:
            self._try("events", self._events.close)

    def _add_row(self, state: FitState) -> None:
        if self._table_is_whole:
            add_row(self.folder, state.history[-1], self._metric, self.part)
        else:  # rows before this one are missing
            write_metrics(self.folder, state.history, self._metric, self.part)

    def _checkpoint(self, writer: CheckpointWriter, state: FitState) -> None:
        report, self._is_due = state.history[-1], False

        def begin() -> None:
            writer.save(report.epoch, fit_arrays(state), self._job.description, self._value(report))
            self._saved = report.epoch

        # The first call may tell of a checkpoint before this one; this one is then begun by the second.
        if not self._try("a checkpoint", begin):
            self._try("a checkpoint", begin)

    def _value(self, report: EpochReport) -> float | None:
        # Without a validation part the test part is measured, which must not choose anything.
        part = "valid" if self._options.validation > 0 else "train"
        return getattr(report, f"{part}_{self._options.monitor}")

    def _try(self, what: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except Exception as error:  # not only of a disk: memory, threads, a library of the format
            # By its kind: the names of files change from epoch to epoch.
            kind = (what, getattr(error, "errno", None) or str(error))
            then = "training goes on, and the next is tried"
            if self._is_closing:
                then = "those before it are kept"
            if self._lock.is_held:
                self._tell(kind, f"{what} could not be written ({one_line(error)}): {then}")
            return False
        return True

    def _tell(self, kind: object, line: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            tell(line)

    def take_place(self) -> None:
        """See that the result has a folder, where this one was deleted and perhaps made again by another run."""
        if not self._lock.is_held:
            self.folder = make_run_folder(str(_free_folder(self.folder)), self._job.name)
            write_config(self.folder, configuration(self._job))


@contextlib.contextmanager
def open_run(job: AnyJob) -> Iterator[Run]:
    """Hold the folder of a new run, or of the one that goes on, inside a `with`."""
    options = job.options
    folder = make_run_folder(options.out, job.name) if options.resume is None else Path(options.resume)
    with locked(folder) as lock:
        if options.resume is None:
            make_run_folder(str(folder), job.name)  # again: another run may have come and gone meanwhile
            write_config(folder, configuration(job))
        yield Run(folder, lock, job)


def configuration(job: AnyJob) -> dict[str, Any]:
    """Say what a run is made of, for its config.json."""
    return {
        # None says that an option was not given, but for the size of full batches.
        "options": {
            name: each
            for name, each in dataclasses.asdict(job.options).items()
            if each is not None or name == "batch_size"
        },
        "settings": getattr(job, "in_force", {}),
        "loss": job.problem.loss,
        "metric": job.problem.metric,
        "dataset": job.dataset.identity,
        "command": [*command().split(), *sys.argv[1:]],
        "folder": str(Path.cwd()),
        "machine": describe_machine(),
    }


# --- the folder ---


def make_run_folder(out: str | None, name: str) -> Path:
    """Make the folder of a new run; a folder that holds a run already is refused, and nothing is lost."""
    folder = _fresh_folder(name) if out is None else Path(out)
    if folder.resolve() == folder.resolve().parent:
        raise ArgumentError(f"--out {out} is the root of all folders: name a folder for the run")
    if (folder / CONFIG).exists() or (folder / MODEL).exists():
        has_checkpoints = (folder / CONFIG).exists() and checkpoints_in(folder / CHECKPOINTS)
        go_on = f", or go on with it by --resume {shlex.quote(str(folder))}" if has_checkpoints else ""
        raise ArgumentError(f"{folder} holds a run already: choose another folder with --out{go_on}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"the run folder {folder} cannot be written ({error.strerror}): choose another with --out"
        ) from None
    return folder


def _fresh_folder(name: str) -> Path:
    plain = re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-.") or "run"
    return _free_folder(Path("runs") / f"{plain}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def _free_folder(wanted: Path) -> Path:
    """Name a folder that is not there yet."""
    candidate, number = wanted, 2
    while candidate.exists():
        candidate, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return candidate


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json, all at once."""
    write_text(folder / CONFIG, json.dumps(config, indent=2, default=_plain) + "\n")


def read_config(folder: Path, what: str) -> dict[str, Any]:
    """Read back config.json; `what` it should be of is named where it is damaged, or is not there."""
    if not (folder / CONFIG).is_file():
        raise ArgumentError(f"no run at {folder}: give the folder of a {what}")
    reason = "it is no JSON text"
    with contextlib.suppress(ValueError):
        config = parse_json((folder / CONFIG).read_bytes())
        if isinstance(config, dict) and isinstance(config.get("options"), dict):
            return config
        reason = "options is missing"
    raise no_run(folder, what, reason)


def no_run(folder: Path, what: str, reason: str) -> ArgumentError:
    """Say that a folder's config.json is of no such run, and why."""
    return ArgumentError(f"{folder / CONFIG} does not describe a {what} ({reason}): give the folder of one")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


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
    return f"{names[0]}, {counted(len(names), 'core')}" if names else platform.processor()


# --- the lock ---


class Lock:
    """A run folder that is held."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, os.stat(path)

    @property
    def is_held(self) -> bool:
        """Whether the folder is still the one that was locked: neither deleted nor made again by another run."""
        try:
            return os.path.samestat(os.stat(self._path), self._file)
        except OSError:
            return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold a run folder inside a `with`; the lock goes with the process, however that ends."""
    try:
        acquired = filelock.FileLock(folder / LOCK).acquire(timeout=LOOK)
    except filelock.Timeout:
        raise ArgumentError(
            f"{folder} is in use by a run that has not ended: wait for it or stop it, "
            "or begin another with --out"
        ) from None
    with acquired:
        held = Lock(folder / LOCK)
        try:
            yield held
        finally:
            # Before it is released: one that has opened the file meanwhile sees that it is gone, and takes no lock.
            if held.is_held:
                with contextlib.suppress(OSError):
                    (folder / LOCK).unlink()


def is_locked(folder: Path) -> bool:
    """Tell whether a run holds a folder, without changing anything in it."""
    path = folder / LOCK
    try:
        import fcntl
    except ModuleNotFoundError:
        return path.exists()
    try:
        with path.open("rb") as file:
            # Shared, to let several look at a time; the run's own lock excludes it.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
