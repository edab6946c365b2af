"""A set of many rows in files, made from a seed, for what is to be trained on without holding it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmlp.files import whole_file

FEATURES, HIDDEN, NOISE = 28, 16, 0.05
SHARD = 250_000  # rows of a file


class LargeSet(NamedTuple):
    """Points drawn from a normal distribution; a fixed random network says the class of each, some are then swapped."""

    folder: Path
    rows: int
    seed: int  # two sets of one seed have their first rows in common

    @property
    def bytes(self) -> int:
        """What the files take: float32 features and a byte a class."""
        return self.rows * (4 * FEATURES + 1)

    @property
    def shards(self) -> list[int]:
        """The rows of each file."""
        return [min(SHARD, self.rows - start) for start in range(0, self.rows, SHARD)]

    def path(self, number: int, what: str) -> Path:
        """Name a shard's file of "inputs" or "labels"."""
        return self.folder / f"seed-{self.seed}-{number:05d}-{self.shards[number]}-{what}.npy"


def make_set(data: LargeSet) -> Iterator[int]:
    """Write the files that are not there yet."""
    data.folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(data.shards):
        if not data.path(number, "labels").exists():
            inputs, labels = draw(data.seed, number, rows)
            # The labels come last: where they are there, the shard is whole.
            for what, part in (("inputs", inputs), ("labels", labels)):
                with whole_file(data.path(number, what)) as file:
                    np.save(file, part)
        yield rows


def draw(seed: int, number: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a shard."""
    teacher = np.random.default_rng((seed, 0))
    first = teacher.standard_normal((FEATURES, HIDDEN), np.float32) / np.sqrt(np.float32(FEATURES))
    second = teacher.standard_normal(HIDDEN, np.float32)
    random = np.random.default_rng((seed, 1, *((0, number) if number >= 0 else (1, -number))))
    inputs = random.standard_normal((rows, FEATURES), np.float32)
    labels = np.tanh(inputs @ first) @ second > 0
    swapped = random.random(rows, np.float32) < NOISE
    return inputs, (labels ^ swapped).astype(np.uint8)


def read_shards(data: LargeSet, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read the files one by one, in an order that is the epoch's."""
    for number in np.random.default_rng((data.seed, 2, epoch)).permutation(len(data.shards)):
        yield np.load(data.path(number, "inputs")), np.load(data.path(number, "labels"))
