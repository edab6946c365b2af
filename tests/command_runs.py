"""How tests run the experiments: through the same door as the programs, and files for them to read."""

import contextlib
import errno
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn
from unittest import mock

import numpy as np

from jaxmlp.cli import COMMANDS, session

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
BENCHMARKS = EXPERIMENTS / "benchmarks"
BRIEF = ("--quiet", "--no-pictures", "--epochs", "1", "--hidden", "4")


class Outcome(NamedTuple):
    """What a program left: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line on standard error, of a program that was refused its input."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"not one line on standard error: {self.err!r}"
        assert "Traceback" not in self.err
        return lines[0]


def run_experiment(name: str, *arguments: object) -> Outcome:
    """Run a script in this process, by its `main` and the wrapper that the program itself uses."""
    module = importlib.import_module(f"jaxmlp.cli.{name}" if name in COMMANDS else name)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", [typed(name), *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            session.run(module.main)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return Outcome(status, out.getvalue(), err.getvalue())


def typed(name: str) -> str:
    """What a command or script is called in its messages, as `program` starts it."""
    return f"jaxmlp {name}" if name in COMMANDS and name != "train" else f"{name}.py"


def program(name: str) -> list[str]:
    """What Python is given to run a command or a script of the experiments."""
    if name in COMMANDS and name != "train":
        return ["-m", "jaxmlp", name]
    return [str(next(EXPERIMENTS.rglob(f"{name}.py")))]


def run_program(name: str, *arguments: object, folder: Path) -> Outcome:
    """Run a script as users do, in a process of its own."""
    done = subprocess.run(
        [sys.executable, *program(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def train_ok(out: Path, *arguments: object) -> Outcome:
    """Train into a folder, and insist that it went well."""
    outcome = run_experiment("train", *arguments, "--out", out)
    assert outcome.status == 0, outcome.err
    return outcome


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, in fixtures that outlive one test."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: bytes of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def no_room(*arguments: object, **options: object) -> NoReturn:
    """Be a function that writes, on a disk that is full."""
    raise OSError(errno.ENOSPC, "No space left on device")


def write_pets(path: Path, *, rows: int = 40, gaps: bool = False) -> Path:
    """Write a csv of classes: numbers, categories and text labels that the size decides."""
    lines = ["hue,size,age,pet"]
    for row in range(rows):
        age = "" if gaps and row % 7 == 3 else str(row % 5)
        hue = "NA" if gaps and row % 11 == 2 else ("red", "blue", "grey")[row % 3]
        lines.append(f"{hue},{row % 10}.5,{age},{'dog' if row % 10 >= 5 else 'cat'}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_films(path: Path, *, rows: int = 40) -> Path:
    """Write a csv of two labels that do not exclude each other."""
    random = np.random.default_rng(1)
    lines = ["length,year,funny,sad"]
    for length, year in random.normal(size=(rows, 2)):
        lines.append(f"{length:.4f},{year:.4f},{int(length > 0)},{int(year > 0.3)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_houses(path: Path, *, rows: int = 60) -> Path:
    """Write a csv of two regression targets, far from a mean of 0 and a deviation of 1."""
    random = np.random.default_rng(2)
    lines = ["area,street,price,tax"]
    for row, area in enumerate(random.uniform(50, 150, rows)):
        street = ("high", "low")[row % 2]
        price = 3000 * area + (20_000 if street == "high" else 0)
        lines.append(f"{area:.3f},{street},{price:.2f},{price / 10 + row % 2:.3f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_images(path: Path, *, examples: int = 40) -> Path:
    """Write an .npz of 4 by 3 grey images of two classes: bright above or bright below."""
    random = np.random.default_rng(3)
    images = random.integers(0, 80, (examples, 4, 3)).astype(np.uint8)
    labels = np.arange(examples) % 2
    images[labels == 0, :2] += 150
    images[labels == 1, 2:] += 150
    np.savez(path, inputs=images, targets=np.array(["above", "below"])[labels])
    return path


# A file of every task: who writes it, and the columns to predict.
FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "pets.csv": (write_pets, "pet"),
    "films.csv": (write_films, "funny,sad"),
    "houses.csv": (write_houses, "price,tax"),
    "images.npz": (write_images, ""),
}
