"""Measure how time and memory grow with the data, the batch, the network and the epochs."""

import math
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from measurement import OutOptions, Part, Result, check, describe, finish, tell
from peak_memory import begin_peak, peak_bytes, returning_freed
from peers.jaxmlp_scan import begin, compile_epoch
from peers.job import Settings
from processes import ProcessFailed, in_process

from jaxmlp import ArgumentError, Batch, TrainState
from jaxmlp.cli.options import DeviceOptions
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import computing, run
from jaxmlp.cli.text import amount, seconds
from jaxmlp.registry import Registry

DESCRIPTION = """Measure an epoch's time and peak memory against examples, batch, width, depth and epochs, and
fit the slopes of the log-log curves. Each point has its own process. Takes at most some 15 minutes."""

CLASSES = 10
ENOUGH_SECONDS, MOST_RUNS = 2.0, 5
# A training's memory is a difference of which some 1 MiB is chance, as seen on 2 cores of an AMD EPYC: below this no
# slope is fitted.
LEAST = {"memory_bytes": 4 * 2**20}


class Point(NamedTuple):
    """What a training of it is like: N, I of the first layer, units of every hidden layer, their number, B and E."""

    examples: int
    features: int
    width: int
    depth: int
    batch_size: int
    epochs: int


BASE = Point(examples=16_384, features=64, width=256, depth=2, batch_size=128, epochs=1)


class Law(NamedTuple):
    """What is varied, from small to large; the slope each quantity's log-log curve should reach above, and why."""

    values: tuple[int, ...]
    seconds: tuple[float, str]
    memory_bytes: tuple[float, str]
    temporaries_bytes: tuple[float, str]


QUANTITIES = {
    "seconds": "time of the training",
    "memory_bytes": "training's memory",
    "temporaries_bytes": "compiled temporaries",
}

LAWS: Registry[Law] = Registry(
    "quantity to vary",
    {
        "examples": Law(
            (1024, 4096, 16_384, 65_536, 262_144, 1_048_576),
            (1, "as many steps more"),
            (1, "the data"),
            (1, "the epoch's outputs [N, K], kept to be measured when it is over"),
        ),
        "batch_size": Law(
            (8, 32, 128, 512, 2048, 8192),
            (0, "the same products in all, in fewer steps; −1 while a step's overhead rules"),
            (1, "the values and gradients of every layer"),
            (1, "the values and gradients of every layer"),
        ),
        "width": Law(
            (16, 64, 256, 1024, 4096),
            (2, "the products between hidden layers"),
            (2, "weights between hidden layers"),
            (2, "gradients of the weights between hidden layers"),
        ),
        "depth": Law(
            (1, 2, 4, 8, 16, 32, 64),
            (1, "a product each way a layer"),
            (1, "weights, values and gradients a layer"),
            (1, "values and gradients a layer"),
        ),
        "epochs": Law(
            (1, 2, 4, 8, 16, 32), (1, "as many steps more"), (0, "nothing is kept"), (0, "the same program")
        ),
    },
)

_option = partial(option, group="options")


@dataclass(frozen=True)
class GrowthOptions(DeviceOptions, OutOptions):
    """The options of a growth run."""

    vary: tuple[str, ...] = _option(tuple(LAWS), f"of {', '.join(LAWS)}")
    quick: bool = _option(False, "leave out every value above the base's own")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(GrowthOptions, DESCRIPTION, arguments)
    for name in options.vary:
        LAWS[name]
    if not options.vary:
        raise ArgumentError("--vary needs at least one name: leave it out for all")
    check(options)
    # On a GPU this process would otherwise take most of the memory that the points are to have.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with computing(options.device, options.precision):
        result = describe("time and memory against examples, batch, width, depth and epochs")
    result |= {"base": BASE._asdict(), "least": LEAST, "series": {}}
    for name in options.vary:
        result["series"][name] = measure_series(name, options)
    failures = [point["failure"] for one in result["series"].values() for point in one["failed"]]
    return finish(result, parts(result), options.out, failures)


def measure_series(name: str, options: GrowthOptions) -> Result:
    """Measure one quantity's growth."""
    base = getattr(BASE, name)
    points: list[Result] = []
    failed: list[Result] = []
    for value in LAWS[name].values:
        if options.quick and value > base:
            break
        tell(f"{name} {value:,}")
        try:
            points.append({"value": value} | measure_point(BASE._replace(**{name: value}), options))
        except ProcessFailed as failure:
            failed.append({"value": value, "failure": str(failure)})
    return {
        "points": points,
        "failed": failed,
        "slopes": {quantity: slopes(points, quantity) for quantity in QUANTITIES},
    }


def measure_point(point: Point, options: GrowthOptions) -> Result:
    """Measure a point in a fresh process."""
    what = f"the point {point._asdict()}"
    return in_process(what, measure, options.device, point, options.device, options.precision)


def measure(point: Point, device: str, precision: str) -> Result:
    """Train with SGD from fresh parameters in this process, once for the memory and some times over for the time."""
    examples, features, width, depth, batch_size, epochs = point
    sizes = (features, *[width] * depth, CLASSES)
    with computing(device, precision) as (of_products, _):
        settings = Settings(sizes, batch_size, "sgd", 0.01, "classification", precision=of_products)

        def make() -> tuple[TrainState, Batch]:
            random = np.random.default_rng(0)
            inputs = jnp.asarray(random.random((examples, features), np.float32))
            targets = jnp.asarray(random.integers(0, CLASSES, examples, np.int32))
            return jax.block_until_ready((begin(settings), Batch(inputs, targets)))

        def train(count: int) -> int | None:
            state, data = make()
            begin_peak()  # what drawing them took for a moment does not count
            for _ in range(count):
                state, _ = jax.block_until_ready(epoch(state, data))
            return peak_bytes()

        with returning_freed():
            epoch = compile_epoch(settings, *make())
            # A first training makes all that stays for good, as code, threads and their stores: some tens of MiB.
            train(1)
            own, peak = begin_peak(), train(epochs)
        times = time_trainings(epoch, *make(), epochs)
    compiler = epoch.memory_analysis()
    return {
        "seconds": statistics.median(times),
        "runs": len(times),
        "peak_bytes": peak,
        "memory_bytes": None if own is None or peak is None else peak - own,
        "temporaries_bytes": None if compiler is None else int(compiler.temp_size_in_bytes),
    }


def time_trainings(epoch: Any, start: TrainState, data: Batch, epochs: int) -> list[float]:
    """Train from the same start several times; returns the seconds of each."""
    times: list[float] = []
    while len(times) < MOST_RUNS and (not times or sum(times) < ENOUGH_SECONDS):
        begun, state = time.perf_counter(), start
        for _ in range(epochs):
            state, _ = epoch(state, data)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - begun)
    return times


def slopes(points: Sequence[Result], quantity: str) -> dict[str, float | None]:
    """Fit a straight line through log(quantity) against log(value): over all points, and over the upper half."""
    there = [(p["value"], p[quantity]) for p in points if counts(p[quantity], LEAST.get(quantity, 0))]
    upper = there[len(there) // 2 :] if len(there) > 2 else there
    fitted: dict[str, float | None] = {"all": None, "upper": None}
    for name, part in (("all", there), ("upper", upper)):
        if len(part) > 1:
            x, y = np.log(np.array(part, float)).T
            fitted[name] = float(np.polyfit(x, y, 1)[0])
    return fitted


def counts(value: float | None, least: float) -> bool:
    """Tell whether a value was measured and stands well above the noise."""
    return value is not None and value > 0 and value >= least


def parts(result: Result) -> list[Part]:
    """Lay out slopes and points."""
    slopes = [["varied", "slope of", "all points", "upper half", "expected above", "because of"]]
    points = [["varied", "value", "time", "peak memory", "above its own", "temporaries"]]
    notes = [
        f"{QUANTITIES[quantity]}: the peak above what its process has before; "
        f"the slopes are fitted to the points of {amount(value)} and more, as less is noise."
        for quantity, value in result.get("least", {}).items()
    ]
    notes += base_note(result)
    for name, series in result["series"].items():
        varied = name.replace("_", " ")
        slopes += [[varied, *row] for row in slope_rows(name, series)]
        for point in series["points"]:
            amounts = [amount(point[f"{what}_bytes"]) for what in ("peak", "memory", "temporaries")]
            points.append([varied, f"{point['value']:,}", seconds(point["seconds"]), *amounts])
        failed = ", ".join(f"{point['value']:,}" for point in series["failed"])
        notes += [f"{varied}: failed: {failed}."] if failed else []
    base = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in result["base"].items())
    return [f"The base is {base}, with SGD.", slopes, *notes, points]


def base_note(result: Result) -> list[str]:
    """Say how far times of the same point differ: the base's own, which each series measures again."""
    times = [
        point["seconds"]
        for name, series in result["series"].items()
        for point in series["points"]
        if point["value"] == result["base"][name]
    ]
    if len(times) < 2:
        return []
    return [
        f"time of the training: the base's own, measured in each of {len(times)} series, is {seconds(min(times))} to "
        f"{seconds(max(times))}; so far one point's time can be from another's by chance."
    ]


def slope_rows(name: str, series: Result) -> list[list[str]]:
    """Lay out the slopes beside what was expected of them."""
    rows = []
    for quantity, what in QUANTITIES.items():
        expected, why = getattr(LAWS[name], quantity)
        fitted = [series["slopes"][quantity][part] for part in ("all", "upper")]
        shown = [
            "" if slope is None or math.isnan(slope) else f"{round(slope, 2) + 0.0:.2f}" for slope in fitted
        ]
        rows.append([what, *shown, f"{expected:g}", why])
    return rows


if __name__ == "__main__":
    run(main)
