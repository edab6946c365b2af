"""One training on a large set, by stream or in memory, as a process of its own: its rate and its peak memory."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from large_set import FEATURES, LargeSet, draw, read_shards
from peak_memory import begin_peak, peak_bytes

from jaxmlp import ArgumentError, evaluate, fit, make_optimizer, mlp, stream_from_chunks
from jaxmlp.cli.session import computing
from jaxmlp.training.stream import Stream

SIZES, BATCH, RATE = (FEATURES, 64, 2), 4096, 1e-2
TEST_ROWS = 100_000
ROUTES = ("stream", "memory")


class StreamPoint(NamedTuple):
    """What a training of it is like.

    Attributes:
        route: "stream" or "memory".
        rows: N.
        window: rows of a window of the stream.
        epochs: E.
        seed: of the set and of the run.
        folder: of the set's files.
    """

    route: str
    rows: int
    window: int
    epochs: int
    seed: int
    folder: str


def measure(point: StreamPoint, precision: str | None) -> dict[str, Any]:
    """Train with Adam and tell rate, memory and accuracy."""
    data = LargeSet(Path(point.folder), point.rows, point.seed)
    net, key = mlp(SIZES, precision=precision), jax.random.key(point.seed)
    test_inputs, test_labels = draw(point.seed, -1, TEST_ROWS)
    own = begin_peak()
    result = fit(
        net,
        stream_of(data, point.window) if point.route == "stream" else arrays_of(data),
        optimizer=make_optimizer("adam", RATE),
        batch_size=BATCH,
        epochs=point.epochs,
        key=key,
    )
    peak = peak_bytes()
    accuracy = evaluate(net, result.state.params, (test_inputs, test_labels.astype(np.int32))).score
    return {
        "rates": [report.examples_per_second for report in result.history],
        "losses": [report.train_loss for report in result.history],
        "own_bytes": own,
        "peak_bytes": peak,
        "accuracy": float(accuracy),
    }


def stream_of(data: LargeSet, window: int) -> Stream:
    """Make a stream of the set's files."""
    return stream_from_chunks(lambda epoch: read_shards(data, epoch), window=window)


def arrays_of(data: LargeSet) -> tuple[np.ndarray, np.ndarray]:
    """Read the whole set into memory, in the order in which the stream gives it first."""
    inputs, labels = np.empty((data.rows, FEATURES), np.float32), np.empty(data.rows, np.uint8)
    start = 0
    for some_inputs, some_labels in read_shards(data, 0):
        end = start + len(some_inputs)
        inputs[start:end], labels[start:end] = some_inputs, some_labels
        start = end
    return inputs, labels


def main() -> None:
    """Measure the point that the argument describes, and print the figures as JSON."""
    given = json.loads(sys.argv[1])
    device, precision = given.pop("device"), given.pop("precision")
    try:
        with computing(device, precision) as precision:
            print(json.dumps(measure(StreamPoint(**given), precision)))
    except (ArgumentError, OSError) as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
