"""Kill runs with SIGKILL at random moments, resume each, and hold its end to that of a run left alone."""

import csv
import hashlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from jaxmlp import ArgumentError
from jaxmlp.cli.options import option, parse_options
from jaxmlp.cli.records import METRICS
from jaxmlp.cli.run import CONFIG, MODEL, describe_machine
from jaxmlp.cli.session import run
from jaxmlp.cli.text import check_out, write_result

TRAIN = Path(__file__).parents[2] / "experiments" / "train.py"
TIMES = ("seconds", "examples_per_second")  # the columns that no two runs share

DESCRIPTION = """Kill runs of train.py with SIGKILL, each at a moment drawn between its start and its end, and go on
with --resume. Each must end with the same parameters, bit for bit, and the same table but for its times."""


@dataclass(frozen=True)
class SurvivalOptions:
    """The options of the experiment."""

    kills: int = option(50, "runs to kill", group="runs", metavar="N")
    again: int = option(0, "kill each resumed run too, N times, before it may end", group="runs", metavar="N")
    dataset: str = option("digits", "what to train on, as for train.py", group="runs", metavar="NAME")
    epochs: int = option(1500, "of each run", group="runs", metavar="N")
    checkpoint_every: int = option(5, "epochs between checkpoints", group="runs", metavar="N")
    seed: int = option(0, "of the moments", group="runs", metavar="N")
    out: str | None = option(None, "json file for the result (default: none)", group="output", metavar="FILE")


class End(NamedTuple):
    """What a run left.

    Attributes:
        parameters: SHA-256 of its model file.
        table: its metrics.csv without the columns of times.
    """

    parameters: str
    table: list[list[str]]


class Trial(NamedTuple):
    """A run that was killed and went on.

    Attributes:
        moments: seconds from a process's start to its killing.
        rows: epochs that its table held when it was killed for the last time.
        began_anew: it had no checkpoint yet, or had not made its folder.
        same: it ended as the run left alone.
    """

    moments: list[float]
    rows: int
    began_anew: bool
    same: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(SurvivalOptions, DESCRIPTION, arguments)
    check(options)
    with tempfile.TemporaryDirectory() as folder:
        alone, seconds = run_alone(Path(folder) / "alone", options)
        print(
            f"left alone: {seconds:.1f} s, {options.epochs} epochs; a checkpoint every {options.checkpoint_every}"
        )
        moments = random.Random(options.seed)
        trials = [
            kill_and_resume(Path(folder) / f"killed-{number}", options, alone, moments, seconds)
            for number in tqdm(range(options.kills), unit="run", file=sys.stderr)
        ]
    same = sum(trial.same for trial in trials)
    drawn = [trial.moments[0] for trial in trials]
    print(
        f"killed at {min(drawn):.2f} to {max(drawn):.2f} s (median {statistics.median(drawn):.2f}), with "
        f"{min(trial.rows for trial in trials)} to {max(trial.rows for trial in trials)} epochs done; "
        f"{sum(trial.began_anew for trial in trials)} had no checkpoint yet and began anew\n"
        f"{same} of {len(trials)} ended bit-identical to the run left alone: parameters, and the table but for times"
    )
    result = {
        "what": "runs of train.py killed with SIGKILL and resumed, compared with one left alone",
        "command": ["python", *sys.argv],
        "machine": describe_machine(),
        "seconds_alone": seconds,
        "trials": [trial._asdict() for trial in trials],
        "same": same,
    }
    write_result(options.out, result)
    return 0 if same == len(trials) else 1


def check(options: SurvivalOptions) -> None:
    """Refuse what cannot be run."""
    for name, least in (("kills", 1), ("again", 0), ("epochs", 1), ("checkpoint_every", 1)):
        if getattr(options, name) < least:
            raise ArgumentError(
                f"--{name.replace('_', '-')} must be at least {least}, given {getattr(options, name)}"
            )
    check_out(options.out)


def run_alone(folder: Path, options: SurvivalOptions) -> tuple[End, float]:
    """Run once to compile, and once to see how long it takes and how it ends."""
    for name in ("first", "second"):
        started = time.perf_counter()
        finished = subprocess.run(begin(folder / name, options), capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if finished.returncode:
            raise ArgumentError(
                f"train.py ended with status {finished.returncode}: {finished.stderr.strip()}"
            )
    return end_of(folder / "second"), seconds


def begin(folder: Path, options: SurvivalOptions) -> list[str]:
    """Write the command that begins a run."""
    asked = {
        "dataset": options.dataset,
        "epochs": options.epochs,
        "checkpoint-every": options.checkpoint_every,
    }
    flags = [text for name, value in asked.items() for text in (f"--{name}", str(value))]
    return [
        sys.executable,
        str(TRAIN),
        *flags,
        "--validation",
        "0.2",
        "--out",
        str(folder),
        "--quiet",
        "--no-pictures",
    ]


def kill_and_resume(
    folder: Path, options: SurvivalOptions, alone: End, moments: random.Random, seconds: float
) -> Trial:
    """Kill a run, resume it until it has ended, and compare."""
    killed = []
    command = begin(folder, options)
    for _ in range(1 + options.again):
        moment = moments.uniform(0, seconds)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        killed.append(moment)
        command = resume(folder, options)
    rows = max(0, len((folder / METRICS).read_text().splitlines()) - 1) if (folder / METRICS).exists() else 0
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        tqdm.write(f"{folder.name}, killed at {killed}: {finished.stderr.strip()}", file=sys.stderr)
    began_anew = "going on after" not in finished.stderr
    return Trial(killed, rows, began_anew, finished.returncode == 0 and end_of(folder) == alone)


def resume(folder: Path, options: SurvivalOptions) -> list[str]:
    """Write the command that goes on; a run killed before it had a folder can only be begun again."""
    if not (folder / CONFIG).exists():
        return begin(folder, options)
    return [sys.executable, str(TRAIN), "--resume", str(folder)]


def end_of(folder: Path) -> End:
    """Read what a run has left."""
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    kept = [place for place, name in enumerate(header) if name not in TIMES]
    table = [[row[place] for place in kept] for row in (header, *rows)]
    return End(hashlib.sha256((folder / MODEL).read_bytes()).hexdigest(), table)


if __name__ == "__main__":
    run(main)
