"""One point of a growth curve, as a process of its own: train a network and tell time and peak memory."""

import json
import resource
import statistics
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from command_line import computing
from contestants.jaxmlp_scan import compile_epoch
from contestants.job import Settings

from jaxmlp import Batch, init_state, make_optimizer, mlp

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


SMALLEST = Point(examples=64, features=8, width=8, depth=1, batch_size=8, epochs=1)


def measure(point: Point, precision: str | None) -> dict[str, Any]:
    """Train with SGD from fresh parameters, some times over.

    Args:
        point: what to train.
        precision: of matrix products.

    Returns:
        "seconds" of the whole training (the median of several, compilation left out), "memory_bytes" of peak
        memory above that of a very small training, which the compiler's own needs rule, and "temporaries_bytes"
        of the compiled epoch.
    """
    run_point(SMALLEST, precision)
    before = peak_bytes()
    times, temporaries = run_point(point, precision)
    return {
        "seconds": statistics.median(times),
        "runs": len(times),
        "memory_bytes": peak_bytes() - before,
        "temporaries_bytes": temporaries,
    }


def run_point(point: Point, precision: str | None) -> tuple[list[float], int | None]:
    """Compile and train; returns the seconds of each training and the temporaries' bytes."""
    sizes = (point.features, *[point.width] * point.depth, CLASSES)
    random = np.random.default_rng(0)
    data = Batch(
        jnp.asarray(random.random((point.examples, point.features), np.float32)),
        jnp.asarray(random.integers(0, CLASSES, point.examples, np.int32)),
    )
    net, optimizer = mlp(sizes, precision=precision), make_optimizer("sgd", 0.01)
    state = init_state(net, optimizer, jax.random.key(0))
    settings = Settings(sizes, point.batch_size, "sgd", 0.01, "classification")
    compiled = compile_epoch(net, optimizer, state, data, settings)
    times: list[float] = []
    while len(times) < MOST_RUNS and (not times or sum(times) < ENOUGH_SECONDS):
        begun, trained = time.perf_counter(), state
        for _ in range(point.epochs):
            trained, _ = compiled(trained, data)
        jax.block_until_ready(trained)
        times.append(time.perf_counter() - begun)
    memory = compiled.memory_analysis()
    return times, None if memory is None else int(memory.temp_size_in_bytes)


def peak_bytes() -> int:
    """Tell the peak memory so far: of the device where it counts its own, else of this process."""
    statistics_of_device = next(iter(jnp.zeros(()).devices())).memory_stats() or {}
    if "peak_bytes_in_use" in statistics_of_device:
        return int(statistics_of_device["peak_bytes_in_use"])
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Measure the point that the argument describes, and print the figures as JSON."""
    given = json.loads(sys.argv[1])
    device, precision = given.pop("device"), given.pop("precision")
    with computing(device, precision) as precision:
        print(json.dumps(measure(Point(**given), precision)))


if __name__ == "__main__":
    main()
