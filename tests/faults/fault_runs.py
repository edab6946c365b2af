"""Runs of train.py in processes of their own, for what happens to them, and what each of them left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from survival import End, end_of

from jaxmlp import ArgumentError
from jaxmlp.cli.records import METRICS
from jaxmlp.cli.run import CHECKPOINTS
from jaxmlp.saving import checkpoints_in, latest_checkpoint

TRAIN = Path(__file__).parents[2] / "experiments" / "train.py"
# Steps of a single example, so that an epoch lasts long enough to be met in; far more epochs than pass before the
# first checkpoint is whole.
RUN = {
    "epochs": 800,
    "batch-size": 1,
    "learning-rate": 0.01,
    "hidden": 8,
    "validation": 0.2,
    "checkpoint-every": 5,
}
LONGEST = 600.0  # seconds that a run may take before it counts as hanging


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        status: its exit status; -N where signal N ended it.
        out: what it printed.
        err: its lines on standard error.
    """

    status: int
    out: str
    err: tuple[str, ...]


class Running:
    """A run in progress.

    Args:
        process: that runs it.
        folder: its run folder.
    """

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process, self.folder = process, folder

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened.

        Args:
            happened: tells whether.

        Raises:
            ArgumentError: the run ended before, or it did not happen for long.
        """
        end = time.monotonic() + LONGEST
        while not happened():
            if self.process.poll() is not None:
                said = self.process.communicate()[1].strip()
                raise ArgumentError(
                    f"the run in {self.folder} ended too early, {self.process.returncode}: {said}"
                )
            if time.monotonic() > end:
                raise ArgumentError(f"nothing happened in {self.folder} for {LONGEST:g} s")
            time.sleep(0.002)

    def wait_for_rows(self, rows: int) -> None:
        """Wait until the table has so many epochs."""
        self.wait_for(lambda: rows_in(self.folder) >= rows)

    def wait_for_checkpoint(self) -> None:
        """Wait until a checkpoint is there."""
        self.wait_for(lambda: bool(checkpoints_in(self.folder / CHECKPOINTS)))

    def end(self) -> Ended:
        """Wait until it has ended."""
        try:
            out, err = self.process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            raise ArgumentError(f"the run in {self.folder} hangs: killed after {LONGEST:g} s") from None
        return Ended(self.process.returncode, out, tuple(err.splitlines()))


def begin_flags(folder: Path, changed: Mapping[str, object] | None = None) -> list[str]:
    """Write the flags of a run.

    Args:
        folder: its run folder.
        changed: flags that differ from RUN; None takes a flag away.

    Returns:
        The arguments for train.py.
    """
    flags = {name: value for name, value in (RUN | dict(changed or {})).items() if value is not None}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [*words, "--quiet", "--no-pictures", "--out", str(folder)]


@contextlib.contextmanager
def running(
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Running]:
    """Run train.py inside a `with`; it is killed at the end, whatever happens.

    Args:
        folder: the run folder.
        arguments: of train.py.
        environment: variables besides those of this process.
        prefix: a command that runs the program in its turn.

    Yields:
        The run.
    """
    command = [*prefix, sys.executable, str(TRAIN), *arguments]
    # On the CPU, where the same run gives the same bits.
    variables = os.environ | {"JAX_PLATFORMS": "cpu"} | dict(environment or {})
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    ) as started:
        try:
            yield Running(started, folder)
        finally:
            started.kill()


def run_to_end(folder: Path, arguments: Sequence[str], **process: Any) -> Ended:
    """Run train.py to its end.

    Args:
        folder: the run folder.
        arguments: of train.py.
        process: further arguments of `running`.

    Returns:
        How it ended.
    """
    with running(folder, arguments, **process) as run:
        return run.end()


def interrupt(folder: Path, number: signal.Signals) -> Ended:
    """Begin a run and send it a signal after its first checkpoint.

    Args:
        folder: the run folder.
        number: the signal.

    Returns:
        How it ended.
    """
    with running(folder, begin_flags(folder)) as run:
        run.wait_for_checkpoint()
        run.process.send_signal(number)
        return run.end()


def rows_in(folder: Path) -> int:
    """Count the epochs in a run's table."""
    try:
        return max(0, len((folder / METRICS).read_text(encoding="utf-8").splitlines()) - 1)
    except OSError:
        return 0


def kept_in(folder: Path) -> str:
    """Tell what a run folder holds: its files, epochs in the table, and the last whole checkpoint."""
    if not folder.exists():
        return "nothing: no folder"
    names = sorted(path.name for path in folder.iterdir() if path.name != CHECKPOINTS)
    found = checkpoints_in(folder / CHECKPOINTS)
    whole = "none"
    with contextlib.suppress(ArgumentError):
        whole = f"epoch {latest_checkpoint(folder / CHECKPOINTS)[0].epoch}" if found else "none"
    return f"{', '.join(names) or 'no file'}; {rows_in(folder)} epochs in the table; last whole checkpoint: {whole}"


def left_by(folder: Path) -> End | None:
    """Read the end of a run, as `end_of` does; None where it has none."""
    try:
        return end_of(folder)
    except (OSError, ValueError):
        return None
