"""One point of a growth curve, as a process of its own: train a network and tell time and peak memory."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from contestants.jaxmlp_scan import compile_epoch
from contestants.job import Settings
from peak_memory import begin_peak, peak_bytes, returning_freed

from jaxmlp import Batch, TrainState, init_state, make_optimizer, mlp
from jaxmlp.cli.session import computing

CLASSES = 10
ENOUGH_SECONDS, MOST_RUNS = 2.0, 5


class Point(NamedTuple):
    """What a training of it is like.

    Attributes:
        examples: N.
        features: I of the first layer.
        width: units of every hidden layer.
        depth: hidden layers.
        batch_size: B.
        epochs: E.
    """

    examples: int
    features: int
    width: int
    depth: int
    batch_size: int
    epochs: int


class Training(NamedTuple):
    """A point's training, ready to run.

    Attributes:
        epoch: the compiled epoch: (state, data) -> (state, metrics).
        make: draws a fresh state and the data.
    """

    epoch: Any
    make: Callable[[], tuple[TrainState, Batch]]


def measure(point: Point, precision: str | None) -> dict[str, Any]:
    """Train with SGD from fresh parameters, once for the memory and some times over for the time."""
    with returning_freed():
        training = prepare(point, precision)
        own, peak = measure_memory(training, point.epochs)
    times = time_trainings(training, point.epochs)
    compiler = training.epoch.memory_analysis()
    return {
        "seconds": statistics.median(times),
        "runs": len(times),
        "peak_bytes": peak,
        "memory_bytes": None if own is None or peak is None else peak - own,
        "temporaries_bytes": None if compiler is None else int(compiler.temp_size_in_bytes),
    }


def prepare(point: Point, precision: str | None) -> Training:
    """Compile a point's training."""
    sizes = (point.features, *[point.width] * point.depth, CLASSES)
    net, optimizer = mlp(sizes, precision=precision), make_optimizer("sgd", 0.01)

    def make() -> tuple[TrainState, Batch]:
        random = np.random.default_rng(0)
        inputs = jnp.asarray(random.random((point.examples, point.features), np.float32))
        targets = jnp.asarray(random.integers(0, CLASSES, point.examples, np.int32))
        state = init_state(net, optimizer, jax.random.key(0))
        return jax.block_until_ready((state, Batch(inputs, targets)))

    settings = Settings(sizes, point.batch_size, "sgd", 0.01, "classification")
    return Training(compile_epoch(net, optimizer, *make(), settings), make)


def time_trainings(training: Training, epochs: int) -> list[float]:
    """Train from the same start several times; returns the seconds of each."""
    start, data = training.make()
    times: list[float] = []
    while len(times) < MOST_RUNS and (not times or sum(times) < ENOUGH_SECONDS):
        begun, state = time.perf_counter(), start
        for _ in range(epochs):
            state, _ = training.epoch(state, data)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - begun)
    return times


def measure_memory(training: Training, epochs: int) -> tuple[int | None, int | None]:
    """Tell what the process has by itself, and its peak while it holds data and parameters and trains.

    A first training has loaded and made all that stays for good, as code, threads and their stores, which come to
    some tens of mebibytes however small the network is.
    """
    _train(training, 1)
    own = begin_peak()
    return own, _train(training, epochs)


def _train(training: Training, epochs: int) -> int | None:
    """Train from fresh parameters; returns the peak, without what drawing them took for a moment."""
    state, data = training.make()
    begin_peak()
    for _ in range(epochs):
        state, _ = jax.block_until_ready(training.epoch(state, data))
    return peak_bytes()


def main() -> None:
    """Measure the point that the argument describes, and print the figures as JSON."""
    given = json.loads(sys.argv[1])
    device, precision = given.pop("device"), given.pop("precision")
    with computing(device, precision) as precision:
        print(json.dumps(measure(Point(**given), precision)))


if __name__ == "__main__":
    main()
