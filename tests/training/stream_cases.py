"""Streams of a small problem, and comparisons of fits on them."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest
from training_cases import (
    BATCH,
    DATA,
    INPUTS,
    LABELS,
)

from jaxmlp.training.fit import FitResult, FitState
from jaxmlp.training.stream import Stream, stream_from_chunks, stream_from_source

STILL = optax.sgd(0.0)
TWO_EPOCHS: dict[str, Any] = {"optimizer": "adam", "batch_size": BATCH, "epochs": 2}
UNTIMED = slice(0, 7)  # of an EpochReport


def chunked(data: Any, *rows: int) -> list[tuple[Any, ...]]:
    """Cut arrays into chunks of so many rows, the last of what is left."""
    ends = [0, *itertools.accumulate(rows), len(data[0])]
    return [
        tuple(part[start:end] for part in data if part is not None) for start, end in itertools.pairwise(ends)
    ]


def source_stream(**options: Any) -> Stream:
    records = [{"x": x, "y": y} for x, y in zip(INPUTS, LABELS, strict=True)]
    return stream_from_source(records, lambda record: (record["x"], record["y"]), window=BATCH, **options)


STREAMS: dict[str, Callable[[], Stream]] = {
    "chunks": lambda: stream_from_chunks(chunked(DATA, 3, 5), window=BATCH),
    "a function of the epoch": lambda: stream_from_chunks(
        lambda epoch: iter(chunked((np.roll(INPUTS, epoch, 0), np.roll(LABELS, epoch)), 7)), window=BATCH
    ),
    "source": lambda: source_stream(threads=2),
    "source, shuffled": lambda: source_stream(threads=0, shuffle_seed=3),
}


def rows_of(result: FitResult | FitState) -> list[tuple[Any, ...]]:
    """The history without what a clock measured."""
    return [tuple(row)[UNTIMED] for row in result.history]


def assert_history_close(found: FitResult, expected: FitResult) -> None:
    for left, right in zip(found.history, expected.history, strict=True):
        assert left[1:3] == pytest.approx(right[1:3], rel=1e-5)
        assert left.gradient_norm == pytest.approx(right.gradient_norm, rel=1e-5)


def reader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "jaxmlp-reader"]
