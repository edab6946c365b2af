"""Measure training on data larger than memory: rate and peak memory by stream, beside the route in memory."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
from large_set import FEATURES, NOISE, LargeSet, draw, make_set, read_shards
from measurement import OutOptions, Part, Result, check, describe, drawn_order, finish, tell
from peak_memory import begin_peak, peak_bytes
from processes import in_process

from jaxmlp import ArgumentError, evaluate, fit, make_optimizer, mlp, stream_from_chunks
from jaxmlp.cli.options import DeviceOptions
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import computing, run
from jaxmlp.cli.text import amount

SIZES, BATCH, RATE = (FEATURES, 64, 2), 4096, 1e-2
TEST_ROWS = 100_000
ROUTES = {"stream": "by stream", "memory": "in memory"}
CACHE = Path("~/.cache/jaxmlp/large").expanduser()

DESCRIPTION = """Train a network on a generated set of many rows by stream, and on a quarter of them by stream and
in memory. Each has its own process, and each turn an order that is drawn. The files of 20 million rows take 2.1 GiB
of disk and are kept for the next run. Takes some 10 minutes on 2 cores."""

_option = partial(option, group="options")


@dataclass(frozen=True)
class StreamOptions(DeviceOptions, OutOptions):
    """The options of the measurement."""

    rows: int = _option(20_000_000, "rows of the whole set")
    part: float = _option(0.25, "share of them that is trained on in memory too")
    window: int = _option(65_536, "rows of a window")
    epochs: int = _option(2, "epochs; the first, which compiles, has no part in the rates")
    repeats: int = _option(3, "times that each is measured")
    seed: int = _option(0, "of the set, the runs and the order")
    quick: bool = _option(False, "a hundredth of the rows, once")
    data_dir: str = _option(str(CACHE), "folder of the set's files", metavar="FOLDER")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(StreamOptions, DESCRIPTION, arguments)
    check(options, rows=100 if options.quick else 1, window=1, repeats=1, epochs=2, seed=0)
    if not 0 < options.part <= 1:
        raise ArgumentError(f"--part must be above 0 and at most 1, given {options.part:g}")
    rows, repeats = (options.rows // 100, 1) if options.quick else (options.rows, options.repeats)
    part = max(1, round(rows * options.part))
    with computing(options.device, options.precision):
        result = describe("training on a large set by stream and in memory")
    data = LargeSet(Path(options.data_dir), rows, options.seed)
    for size in (rows, part):  # their last files may differ
        done = 0
        for made in make_set(data._replace(rows=size)):
            done += made
            tell(f"files: {done:,} of {size:,} rows, {data.bytes / 2**30:.2f} GiB in {data.folder}")
    points = measure_cases([("stream", rows), ("stream", part), ("memory", part)], repeats, options)
    whole, some, memory = points
    result |= {
        "network": list(SIZES),
        "batch_size": BATCH,
        "window": options.window,
        "set_bytes": data.bytes,
        "noise": NOISE,
        "points": points,
        "ratios": {
            "rate_of_memory": whole["rows_per_second"] / memory["rows_per_second"],
            "rate_of_memory_on_part": some["rows_per_second"] / memory["rows_per_second"],
            "peak_of_part": whole["peak_bytes"] and whole["peak_bytes"] / some["peak_bytes"],
        },
    }
    return finish(result, parts(result), options.out)


def measure_cases(cases: Sequence[tuple[str, int]], repeats: int, options: StreamOptions) -> list[Result]:
    """Measure every case several times, in an order drawn for each turn."""
    points: list[Result] = [{"route": route, "rows": rows, "runs": []} for route, rows in cases]
    for turn in range(repeats):
        for point in drawn_order(points, options.seed + turn):
            tell(f"turn {turn + 1} of {repeats}: {point['rows']:,} rows {ROUTES[point['route']]}")
            point["runs"].append(measure_point(point["route"], point["rows"], options))
    for point in points:
        runs = point["runs"]
        after_the_first = [rate for one in runs for rate in one["rates"][1:]]
        point["rows_per_second"] = statistics.median(after_the_first)
        point["rows_per_second_range"] = [min(after_the_first), max(after_the_first)]
        point |= {"peak_bytes": None, "memory_bytes": None}
        if runs[0]["peak_bytes"] is not None:
            point["peak_bytes"] = int(statistics.median(one["peak_bytes"] for one in runs))
            above = [one["peak_bytes"] - one["own_bytes"] for one in runs]
            point["memory_bytes"] = int(statistics.median(above))
        point["accuracy"] = statistics.median(one["accuracy"] for one in runs)
    return points


def measure_point(route: str, rows: int, options: StreamOptions) -> Result:
    """Train in a fresh process, whose peak memory is only its."""
    what = f"the training on {rows:,} rows {ROUTES[route]}"
    return in_process(what, measure, options.device, route, rows, options)


def measure(route: str, rows: int, asked: StreamOptions) -> Result:
    """Train with Adam in this process, and tell rate, memory and accuracy."""
    data = LargeSet(Path(asked.data_dir), rows, asked.seed)
    with computing(asked.device, asked.precision) as (precision, _):
        net, key = mlp(SIZES, precision=precision), jax.random.key(asked.seed)
        test_inputs, test_labels = draw(asked.seed, -1, TEST_ROWS)
        own = begin_peak()
        result = fit(
            net,
            stream_from_chunks(lambda epoch: read_shards(data, epoch), window=asked.window)
            if route == "stream"
            else arrays_of(data),
            optimizer=make_optimizer("adam", RATE),
            batch_size=BATCH,
            epochs=asked.epochs,
            key=key,
        )
        peak = peak_bytes()
        tested = evaluate(net, result.state.params, (test_inputs, test_labels.astype(np.int32)))
    return {
        "rates": [report.examples_per_second for report in result.history],
        "losses": [report.train_loss for report in result.history],
        "own_bytes": own,
        "peak_bytes": peak,
        "accuracy": float(tested.score),
    }


def arrays_of(data: LargeSet) -> tuple[np.ndarray, np.ndarray]:
    """Read the whole set into memory, in the order in which the stream gives it first."""
    inputs, labels = np.empty((data.rows, FEATURES), np.float32), np.empty(data.rows, np.uint8)
    start = 0
    for some_inputs, some_labels in read_shards(data, 0):
        end = start + len(some_inputs)
        inputs[start:end], labels[start:end] = some_inputs, some_labels
        start = end
    return inputs, labels


def parts(result: Result) -> list[Part]:
    """Lay out what was trained on what, the points, and what they come to."""
    setting = (
        f"Network {'-'.join(map(str, result['network']))}, Adam, batch {result['batch_size']:,}, "
        f"windows of {result['window']:,} rows, a set of {result['set_bytes'] / 2**30:.2f} GiB; "
        f"no more than {100 * (1 - result['noise']):g} % of the classes can be told right."
    )
    median = f"rows/s, median of {len(result['points'][0]['runs'])}"
    rows = [["route", "rows", median, "least to largest", "peak memory", "above its own", "test accuracy"]]
    for point in result["points"]:
        least, largest = (f"{rate:,.0f}" for rate in point["rows_per_second_range"])
        rates = [f"{point['rows_per_second']:,.0f}", f"{least} to {largest}"]
        amounts = [amount(point["peak_bytes"]), amount(point["memory_bytes"])]
        accuracy = f"{100 * point['accuracy']:.2f} %"
        rows.append([ROUTES[point["route"]], f"{point['rows']:,}", *rates, *amounts, accuracy])
    found = result["ratios"]
    verdict = (
        f"The stream of all rows is {found['rate_of_memory']:.2f} × as fast as the part in memory, that of the part "
        f"{found['rate_of_memory_on_part']:.2f} ×"
    )
    if found["peak_of_part"] is not None:
        verdict += f"; the peak memory of the first is {found['peak_of_part']:.2f} × that of the second"
    return [setting, rows, f"{verdict}."]


if __name__ == "__main__":
    run(main)
