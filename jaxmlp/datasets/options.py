"""The options of `load` in one value, checked once, so that no loader checks them again."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmlp.datasets.dataset import check_task
from jaxmlp.datasets.splitting import check_test_fraction
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

MISSING = ("refuse", "impute")


@dataclass(frozen=True)
class Options:
    """How a data set is to be loaded; each loader reads what concerns it.

    Attributes:
        data_dir: where prepared data sets are kept.
        manual_dir: folder of archives downloaded by hand, or None.
        test_fraction: share of the examples held out where a data set has no test part of its own.
        seed: fixes the split and the generated sets.
        target: target column of a csv, or several with commas between them.
        task: the task, or None to infer it.
        missing: "refuse" or "impute" missing values of a csv.
        examples: how many examples to generate, or None for the generator's own number.
        noise: how noisy the generated set is, or None for the generator's own value.
        quiet: no progress bars.
    """

    data_dir: Path
    manual_dir: Path | None = None
    test_fraction: float = 0.2
    seed: int = 0
    target: str | None = None
    task: str | None = None
    missing: str = "refuse"
    examples: int | None = None
    noise: float | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        check_test_fraction(self.test_fraction)
        check_task(self.task)
        check_missing(self.missing)
        _check_whole("seed", self.seed, smallest=0)
        if self.seed >= 2**32:
            raise ArgumentError(f"seed {self.seed} is too large: give one below 2**32")
        if self.examples is not None:
            _check_whole("examples", self.examples, smallest=1)
        if self.noise is not None and not (np.isfinite(self.noise) and self.noise >= 0):
            raise ArgumentError(f"noise {self.noise} is not allowed: give a finite number, 0 or more")

    def refuse(self, name: str, given: tuple[str, ...]) -> None:
        """Refuse options that the data set of this name would silently ignore."""
        for option in given:
            if getattr(self, option) not in (None, "refuse"):
                raise ArgumentError(
                    f"option '{option}' does not apply to data set '{name}': leave it out "
                    f"('target' and 'missing' are for csv files, 'task' for files, "
                    f"'examples' and 'noise' for generated sets)"
                )


def check_missing(missing: str) -> None:
    """Refuse a way to treat missing values that does not exist."""
    if missing not in MISSING:
        raise unknown_name("treatment of missing values", str(missing), MISSING)


@contextlib.contextmanager
def silenced(quiet: bool) -> Iterator[None]:
    """Keep a library from printing: TFDS cannot be told not to without changing it for the whole program."""
    if not quiet:
        yield
        return
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _check_whole(name: str, value: int, smallest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < smallest:
        raise ArgumentError(f"{name} {value!r} is not allowed: give a whole number, {smallest} or more")
