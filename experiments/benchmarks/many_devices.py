"""Compare the same training on 1, 2 and 8 devices and in 2 processes: its end, and the time of an epoch."""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from worker_process import process_environment

from jaxmlp import ArgumentError
from jaxmlp.cli.meeting import free_port
from jaxmlp.cli.options import ProcessOptions, option, parse_options
from jaxmlp.cli.run import describe_machine
from jaxmlp.cli.session import available_cores, run
from jaxmlp.cli.text import check_out, seconds, write_result

POINT = Path(__file__).parent / "many_devices_point.py"
BOUNDS = {"float32": 1e-5, "float64": 1e-12}  # after an epoch, at the end
# Of whole minibatches XLA takes the sums over devices, and roundings can grow beyond those in float32, by Adam and by
# relu: such a run is as good as any if it is not farther off than this many times what one rounding of the initial
# weights grows to. In microbatches nothing may differ.
FAR = 10
LONGEST = 1800.0  # seconds after which a training counts as stuck

DESCRIPTION = """Train the same network on 1, 2 and 8 devices and in 2 processes, and compare.
On a CPU the devices are parts of it, and show that the results are the same, not that more are faster."""

_option = partial(option, group="options")


@dataclass(frozen=True)
class ManyOptions:
    """The options of the comparison."""

    sizes: tuple[int, ...] = _option((784, 512, 512, 10), "of the network", metavar="SIZE")
    activation: str = _option("relu", "between its layers", metavar="NAME")
    examples: int = _option(6_400, "generated, of as many classes as outputs", metavar="N")
    batch_size: int = _option(128, "the minibatch that all share", metavar="N")
    epochs: int = _option(6, "in each training; the first, which compiles, is not timed", metavar="N")
    optimizers: tuple[str, ...] = _option(
        ("sgd", "adam"), "to compare with, at their usual rates", metavar="NAME"
    )
    microbatches: tuple[int, ...] = _option(
        (1, 8), "parts of each minibatch; 1 leaves the sums over devices to XLA", metavar="N"
    )
    device: str = _option("auto", "cpu, gpu, or auto for JAX's choice", metavar="NAME")
    out: str | None = _option(None, "json file for the result (default: none)", metavar="FILE")


class Sharing(NamedTuple):
    """A way to share a training.

    Attributes:
        devices: of each process.
        processes: how many.
        nudged: from weights that are one rounding off, to see how far that leads.
    """

    devices: int
    processes: int = 1
    nudged: bool = False

    @property
    def title(self) -> str:
        """As people read it."""
        if self.nudged:
            return "1 device, from weights one rounding off"
        if self.processes > 1:
            return f"{self.processes} processes of {self.devices} device"
        return f"{self.devices} device{'' if self.devices == 1 else 's'}"


SHARINGS = (Sharing(1), Sharing(1, nudged=True), Sharing(2), Sharing(8), Sharing(1, processes=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(ManyOptions, DESCRIPTION, arguments)
    check(options)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for optimizer, microbatches in product(options.optimizers, options.microbatches):
            alone: dict[str, list[np.ndarray]] = {}
            for sharing in SHARINGS:
                params, times = train(sharing, options, optimizer, microbatches, Path(folder))
                alone = alone or params
                off = {name: difference(params[name], alone[name]) for name in BOUNDS}
                row = {
                    "optimizer": optimizer,
                    "microbatches": microbatches,
                    "title": sharing.title,
                    "differences": off,
                    "seconds": times,
                }
                rows.append({**sharing._asdict(), **row})
                print(
                    f"many_devices.py: {optimizer}, {microbatches} microbatches, {sharing.title}: done",
                    file=sys.stderr,
                )
    result = {
        "what": "the same training on several devices and in several processes",
        "command": [
            "python",
            "experiments/many_devices.py",
            *(sys.argv[1:] if arguments is None else arguments),
        ],
        "machine": describe_machine() | {"cores": available_cores()},
        "options": {name: value for name, value in dataclasses.asdict(options).items() if name != "out"},
        "bounds": BOUNDS,
        "rows": rows,
    }
    print(table(result))
    write_result(options.out, result)
    return 0 if all(is_sound(row, rows) for row in rows) else 1


def check(options: ManyOptions) -> None:
    """Refuse what would be found out only after some trainings."""
    check_out(options.out)
    if len(options.sizes) < 2 or min(options.sizes) < 1:
        raise ArgumentError("--sizes takes two sizes or more of at least 1, as 784 512 10")
    for name, least in (("examples", 1), ("batch_size", 1), ("epochs", 2)):
        if getattr(options, name) < least:
            raise ArgumentError(
                f"--{name.replace('_', '-')} must be at least {least}, given {getattr(options, name)}"
            )
    most = max(sharing.devices for sharing in SHARINGS)
    first, *others = options.microbatches
    if first != 1 or any(count <= 0 or count % most or count > options.batch_size for count in others):
        raise ArgumentError(
            f"--microbatches takes 1, which the others are compared with, and multiples of the {most} devices up to "
            f"--batch-size, as 1 {most}, given {' '.join(map(str, options.microbatches))}"
        )
    for name in ("optimizers", "microbatches"):
        given = getattr(options, name)
        if len(set(given)) < len(given):
            raise ArgumentError(f"--{name} takes each once, given {' '.join(map(str, given))}")


def train(
    sharing: Sharing, options: ManyOptions, optimizer: str, microbatches: int, folder: Path
) -> tuple[dict[str, list[np.ndarray]], list[float]]:
    """Train in processes of their own."""
    port = free_port("127.0.0.1")
    out, started = folder / "params.npz", []
    try:
        for index in range(sharing.processes):
            many = ProcessOptions(sharing.devices)
            if sharing.processes > 1:
                many = ProcessOptions(sharing.devices, f"127.0.0.1:{port}", sharing.processes, index)
            told = {
                "sizes": options.sizes,
                "activation": options.activation,
                "examples": options.examples,
                "batch_size": options.batch_size,
                "epochs": options.epochs,
                "optimizer": optimizer,
                "microbatches": microbatches,
                "nudged": sharing.nudged,
                "platform": options.device,
                "out": str(out),
                "processes": dataclasses.asdict(many),
            }
            started.append(
                subprocess.Popen(
                    [sys.executable, str(POINT), json.dumps(told)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=process_environment(options.device),
                )
            )
        written = [process.communicate(timeout=LONGEST) for process in started]
    except subprocess.TimeoutExpired:
        raise ArgumentError(f"a training on {sharing.title} did not end within {LONGEST:g} s") from None
    finally:
        for process in started:
            process.kill()
            process.wait()
    for process, (_, errors) in zip(started, written, strict=True):
        if process.returncode != 0:
            last = (errors.strip().splitlines() or ["it said nothing"])[-1]
            raise ArgumentError(f"a training on {sharing.title} ended with {process.returncode}: {last}")
    with np.load(out) as saved:
        params = {
            precision: [saved[name] for name in saved.files if name.startswith(precision)]
            for precision in BOUNDS
        }
    return params, json.loads(written[0][0].splitlines()[-1])


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Measure max |a − b| / max |b| of the worst tensor; NaN where any number is."""
    pairs = zip(found, expected, strict=True)
    return float(np.max([np.max(np.abs(a - b)) / (np.max(np.abs(b)) or 1.0) for a, b in pairs]))


def is_sound(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> bool:
    """Tell whether a way to share is as near as roundings let it be, and in microbatches the same; not so for NaN."""
    if row["microbatches"] > 1 and not row["nudged"]:
        return all(off == 0 for off in row["differences"].values())
    kind = (row["optimizer"], row["microbatches"])
    (nudged,) = [
        each for each in rows if each["nudged"] and (each["optimizer"], each["microbatches"]) == kind
    ]
    return all(
        row["differences"][precision] <= max(bound, FAR * nudged["differences"][precision])
        for precision, bound in BOUNDS.items()
    )


def table(result: dict[str, Any]) -> str:
    """Write the comparison as a table in Markdown."""
    epochs, bounds = result["options"]["epochs"], result["bounds"]
    lines = [
        "| optimiser | each minibatch | shared among "
        f"| float32, 1 epoch: parameters off by (≤ {bounds['float32']:g}) | "
        f"float64, {epochs} epochs: off by (≤ {bounds['float64']:g}) | an epoch, median (least to largest) | "
        "of one device's, whole |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    alone: dict[str, float] = {}
    for row in result["rows"]:
        times = row["seconds"][1:]
        middle = statistics.median(times)
        parts = row["microbatches"]
        cells = [row["optimizer"], "whole" if parts == 1 else f"in {parts} parts", row["title"]]
        cells += [
            f"{off:.1e}{'' if off <= bounds[precision] else ', over'}"
            for precision, off in row["differences"].items()
        ]
        if row["nudged"]:
            cells += ["", ""]
        else:
            alone.setdefault(row["optimizer"], middle)
            spread = f"{seconds(min(times))} to {seconds(max(times))}"
            cells += [f"{seconds(middle)} ({spread})", f"{middle / alone[row['optimizer']]:.2f} ×"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
