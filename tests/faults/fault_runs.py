"""Runs of the train command as processes, for what happens to them, and what each of them left."""

import contextlib
import csv
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxmlp.cli.records import METRICS
from jaxmlp.cli.run import CHECKPOINTS, MODEL
from jaxmlp.saving import checkpoints_in, latest_checkpoint

TRAIN = Path(__file__).parents[2] / "experiments" / "train.py"
TIMES = ("seconds", "examples_per_second")  # the columns that no two runs share
# Steps of a single example, so that an epoch lasts long enough to be met in; far more epochs than pass before the
# first checkpoint is whole.
RUN = {
    "dataset": "moons",
    "examples": 1000,
    "epochs": 800,
    "batch-size": 1,
    "learning-rate": 0.01,
    "hidden": 8,
    "validation": 0.2,
    "checkpoint-every": 5,
}
LONGEST = 600.0  # seconds that a run may take before it counts as hanging


class End(NamedTuple):
    """What a run left: the SHA-256 of its model file, and its table without the columns of times."""

    model: str
    table: list[list[str]]


class Ended(NamedTuple):
    """How a process ended: its exit status, -N where signal N ended it, and its lines on standard error."""

    status: int
    err: tuple[str, ...]

    def said(self, status: int, *parts: str) -> None:
        """Insist on a status, and on a line on standard error for each of these parts, and no other line."""
        found = len(self.err) == len(parts) and all(map(str.__contains__, self.err, parts))
        assert (self.status, found) == (status, True), f"{self}\nand not {status}, {parts}"


class Running:
    """A run in progress."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process, self.folder = process, folder

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened; a run that ends before, or for long does nothing, is an error."""
        end = time.monotonic() + LONGEST
        while not happened():
            assert time.monotonic() < end, f"nothing happened in {self.folder} for {LONGEST:g} s"
            if self.process.poll() is not None:
                said = self.process.communicate()[1].strip()
                raise AssertionError(f"the run ended too early, {self.process.returncode}: {said}")
            time.sleep(0.002)

    def wait_for_checkpoint(self) -> None:
        """Wait until a checkpoint is there."""
        self.wait_for(lambda: bool(checkpoints_in(self.folder / CHECKPOINTS)))

    def end(self) -> Ended:
        """Wait until it has ended."""
        err = self.process.communicate(timeout=LONGEST)[1]
        return Ended(self.process.returncode, tuple(err.splitlines()))


def flags(folder: Path, changed: Mapping[str, object] | None = None) -> list[str]:
    """Write the arguments of a new run; `changed` are those that differ from RUN."""
    words = [word for key, value in (RUN | dict(changed or {})).items() for word in (f"--{key}", str(value))]
    return [*words, "--quiet", "--no-pictures", "--out", str(folder)]


@contextlib.contextmanager
def running(
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Running]:
    """Run the train command inside a `with`, by a command before it; it is killed at the end, whatever happens."""
    command = [*prefix, sys.executable, str(TRAIN), *arguments]
    # On the CPU, where the same run gives the same bits.
    variables = os.environ | {"JAX_PLATFORMS": "cpu"} | dict(environment or {})
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=variables) as started:
        try:
            yield Running(started, folder)
        finally:
            started.kill()


def run_to_end(folder: Path, arguments: Sequence[str], **process: Any) -> Ended:
    """Run the train command to its end."""
    with running(folder, arguments, **process) as run:
        return run.end()


def goes_on(folder: Path, alone: End, *said: str, **process: Any) -> None:
    """Resume a run, and insist that it ends as the run left alone, bit for bit."""
    run_to_end(folder, ["--resume", str(folder)], **process).said(0, *said)
    assert end_of(folder) == alone, "the run that went on ended differently"


def end_of(folder: Path) -> End:
    """Read what a run has left."""
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    kept = [place for place, name in enumerate(header) if name not in TIMES]
    table = [[row[place] for place in kept] for row in (header, *rows)]
    return End(hashlib.sha256((folder / MODEL).read_bytes()).hexdigest(), table)


def rows_in(folder: Path) -> int:
    """Count the epochs in a run's table."""
    try:
        return max(0, len((folder / METRICS).read_text(encoding="utf-8").splitlines()) - 1)
    except OSError:
        return 0


def saved_in(folder: Path) -> int:
    """Tell the epoch of a run's newest checkpoint, and insist that it is whole."""
    checkpoint, notes = latest_checkpoint(folder / CHECKPOINTS)
    assert notes == ()
    return checkpoint.epoch
