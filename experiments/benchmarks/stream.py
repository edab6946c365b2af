"""Measure training on data larger than memory: rate and peak memory by stream, beside the route in memory."""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from large_set import FEATURES, NOISE, LargeSet, make_set
from marked_block import with_block
from stream_point import BATCH, SIZES, StreamPoint
from tqdm import tqdm
from worker_process import WorkerFailed, process_environment, run_process

from jaxmlp import ArgumentError
from jaxmlp.cli.options import DeviceOptions, option, parse_options
from jaxmlp.cli.run import describe_machine
from jaxmlp.cli.session import available_cores, computing, run
from jaxmlp.cli.text import aligned, amount, check_out, machine_line, markdown, write_result, write_whole

HERE = Path(__file__).parent
POINT = HERE / "stream_point.py"
BLOCK = "stream"  # of README
CACHE = Path("~/.cache/jaxmlp/large").expanduser()

DESCRIPTION = """Train a network on a generated set of many rows by stream, on a quarter of them by stream and in
memory, each in a process of its own and in an order drawn anew each time. The files of 20 million rows take 2.1 GiB
of disk and are kept for the next run. Takes some 10 minutes on 2 cores."""

_option = partial(option, group="options")


@dataclass(frozen=True)
class StreamOptions(DeviceOptions):
    """The options of the measurement."""

    rows: int = _option(20_000_000, "rows of the whole set", metavar="N")
    part: float = _option(0.25, "share of them that is trained on in memory too", metavar="X")
    window: int = _option(65_536, "rows of a window", metavar="N")
    epochs: int = _option(2, "epochs; the first, which compiles, has no part in the rates", metavar="N")
    repeats: int = _option(3, "times that each is measured", metavar="N")
    seed: int = _option(0, "of the set, the runs and the order", metavar="N")
    quick: bool = _option(False, "a hundredth of the rows, once")
    data_dir: str = _option(str(CACHE), "folder of the set's files", metavar="FOLDER")
    out: str | None = _option(None, "json file for the result (default: none)", metavar="FILE")
    readme: str | None = _option(
        None, "file whose block between two comments is rewritten (default: none)", metavar="FILE"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(StreamOptions, DESCRIPTION, arguments)
    check(options)
    rows, repeats = (options.rows // 100, 1) if options.quick else (options.rows, options.repeats)
    part = max(1, round(rows * options.part))
    with computing(options.device, options.precision):
        machine = describe_machine() | {"cores": available_cores()}
    data = LargeSet(Path(options.data_dir), rows, options.seed)
    print(f"{rows:,} rows of {FEATURES} features, {data.bytes / 2**30:.2f} GiB in {data.folder}")
    for size in (rows, part):  # their last files may differ
        with tqdm(total=size, unit="row", unit_scale=True, desc="files", file=sys.stderr) as bar:
            for made in make_set(data._replace(rows=size)):
                bar.update(made)
    cases = [("stream", rows), ("stream", part), ("memory", part)]
    points = measure_cases(cases, repeats, options)
    result = {
        "what": "training on a large set by stream and in memory",
        "command": ["python", "experiments/stream.py", *(sys.argv[1:] if arguments is None else arguments)],
        "machine": machine,
        "network": list(SIZES),
        "batch_size": BATCH,
        "window": options.window,
        "set_bytes": data.bytes,
        "noise": NOISE,
        "points": points,
        "ratios": ratios(points),
    }
    print(text(result))
    write_result(options.out, result)
    if options.readme is not None:
        file = Path(options.readme)
        write_whole(file, with_block(file.read_text(encoding="utf-8"), BLOCK, block(result), options.readme))
    return 0


def check(options: StreamOptions) -> None:
    """Refuse what would be found out only after the set is made."""
    for name in ("rows", "window", "repeats"):
        if getattr(options, name) < 1:
            raise ArgumentError(f"--{name} must be at least 1, given {getattr(options, name)}")
    if options.quick and options.rows < 100:
        raise ArgumentError(f"--quick takes a hundredth of --rows, given {options.rows}: give at least 100")
    if options.epochs < 2:
        raise ArgumentError(f"--epochs must be at least 2, as the first compiles, given {options.epochs}")
    if not 0 < options.part <= 1:
        raise ArgumentError(f"--part must be above 0 and at most 1, given {options.part:g}")
    if options.seed < 0:
        raise ArgumentError(f"--seed must be at least 0, given {options.seed}")
    check_out(options.out)
    if options.readme is not None:
        with_block(Path(options.readme).read_text(encoding="utf-8"), BLOCK, "", options.readme)


def measure_cases(
    cases: Sequence[tuple[str, int]], repeats: int, options: StreamOptions
) -> list[dict[str, Any]]:
    """Measure every case several times, in an order drawn anew each time."""
    random = np.random.default_rng(options.seed)
    points: list[dict[str, Any]] = [{"route": route, "rows": rows, "runs": []} for route, rows in cases]
    with tqdm(total=repeats * len(cases), unit="run", file=sys.stderr) as bar:
        for _ in range(repeats):
            for chosen in random.permutation(len(cases)).tolist():
                route, rows = cases[chosen]
                points[chosen]["runs"].append(measure_point(route, rows, options))
                bar.update()
    for point in points:
        after_the_first = [rate for one in point["runs"] for rate in one["rates"][1:]]
        point["rows_per_second"] = statistics.median(after_the_first)
        point["rows_per_second_range"] = [min(after_the_first), max(after_the_first)]
        peaks = [one["peak_bytes"] for one in point["runs"] if one["peak_bytes"] is not None]
        point["peak_bytes"] = int(statistics.median(peaks)) if peaks else None
        above = [
            one["peak_bytes"] - one["own_bytes"] for one in point["runs"] if one["own_bytes"] is not None
        ]
        point["memory_bytes"] = int(statistics.median(above)) if above else None
        point["accuracy"] = statistics.median(one["accuracy"] for one in point["runs"])
    return points


def measure_point(route: str, rows: int, options: StreamOptions) -> dict[str, Any]:
    """Train in a fresh process, so that its peak memory is its own."""
    point = StreamPoint(route, rows, options.window, options.epochs, options.seed, options.data_dir)
    given = json.dumps(point._asdict() | {"device": options.device, "precision": options.precision})
    what = f"training on {rows:,} rows by {route}"
    try:
        printed = run_process(what, [str(POINT), given], process_environment(options.device))
    except WorkerFailed as failure:
        raise ArgumentError(str(failure)) from None
    return json.loads(printed.splitlines()[-1])


def ratios(points: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Compare the stream of all rows with that of a part, and with the part in memory."""
    whole, part, memory = points
    peaks = whole["peak_bytes"], part["peak_bytes"]
    return {
        "rate_of_memory": whole["rows_per_second"] / memory["rows_per_second"],
        "rate_of_memory_on_part": part["rows_per_second"] / memory["rows_per_second"],
        "peak_of_part": None if None in peaks else peaks[0] / peaks[1],
    }


def table_rows(result: dict[str, Any]) -> list[list[str]]:
    """Lay out the points."""
    repeats = len(result["points"][0]["runs"])
    rows = [
        [
            "route",
            "rows",
            f"rows/s, median of {repeats}",
            "least to largest",
            "peak memory",
            "above its own",
            "test accuracy",
        ]
    ]
    for point in result["points"]:
        least, largest = (f"{rate:,.0f}" for rate in point["rows_per_second_range"])
        rows.append(
            [
                {"stream": "by stream", "memory": "in memory"}[point["route"]],
                f"{point['rows']:,}",
                f"{point['rows_per_second']:,.0f}",
                f"{least} to {largest}",
                amount(point["peak_bytes"]),
                amount(point["memory_bytes"]),
                f"{100 * point['accuracy']:.2f} %",
            ]
        )
    return rows


def text(result: dict[str, Any]) -> str:
    """Write the result for a terminal."""
    return "\n".join(
        [
            machine_line(result["machine"]),
            setting(result),
            "",
            aligned(table_rows(result)),
            "",
            *verdicts(result),
        ]
    )


def block(result: dict[str, Any]) -> str:
    """Write the result for README."""
    heading = f"`{' '.join(result['command'])}`: {setting(result)}; {machine_line(result['machine'])}."
    last = "; ".join(verdicts(result))
    return "\n\n".join([heading, markdown(table_rows(result)), f"{last[0].upper()}{last[1:]}."])


def setting(result: dict[str, Any]) -> str:
    """Say what was trained, on what."""
    return (
        f"network {'-'.join(map(str, result['network']))}, Adam, batch {result['batch_size']:,}, "
        f"windows of {result['window']:,} rows, a set of {result['set_bytes'] / 2**30:.2f} GiB; "
        f"no more than {100 * (1 - result['noise']):g} % of the classes can be told right"
    )


def verdicts(result: dict[str, Any]) -> list[str]:
    """Say what the figures come to."""
    found = result["ratios"]
    lines = [
        f"the stream of all rows is {found['rate_of_memory']:.2f} × as fast as the part in memory, that of the part "
        f"{found['rate_of_memory_on_part']:.2f} ×"
    ]
    if found["peak_of_part"] is not None:
        lines.append(f"the peak memory of the first is {found['peak_of_part']:.2f} × that of the second")
    return lines


if __name__ == "__main__":
    run(main)
