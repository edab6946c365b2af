"""Compare the same training on 1, 2 and 8 devices and in 2 processes: its end, and the time of an epoch."""

import dataclasses
import socket
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from measurement import OutOptions, Part, Result, check, describe, difference, finish, tell
from processes import in_processes

from jaxmlp import ArgumentError, EpochReport, TrainState, fit, init_state, make_optimizer, mlp
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import run
from jaxmlp.cli.text import seconds

BOUNDS = {"float32": 1e-5, "float64": 1e-12}  # after an epoch, at the end
# XLA takes the sums over devices, and roundings can grow beyond those bounds in float32, by Adam and by relu: a run is
# as good as any if it is not farther off than this many times what one rounding of the initial weights grows to.
FAR = 10
LONGEST = 1800.0  # seconds after which a training counts as stuck

DESCRIPTION = """Train the same network on 1, 2 and 8 devices and in 2 processes, and compare.
On a CPU the devices are parts of it, and show that the results are the same, not that more are faster."""

Ends = dict[
    str, list[np.ndarray]
]  # the parameters by precision: after an epoch in float32, at the end in float64
_option = partial(option, group="options")


@dataclass(frozen=True)
class ManyOptions(OutOptions):
    """The options of the comparison."""

    sizes: tuple[int, ...] = _option((784, 512, 512, 10), "of the network", metavar="SIZE")
    activation: str = _option("relu", "between its layers")
    examples: int = _option(6_400, "generated, of as many classes as outputs")
    batch_size: int = _option(128, "the minibatch that all share")
    epochs: int = _option(6, "in each training; the first, which compiles, is not timed")
    optimizers: tuple[str, ...] = _option(("sgd", "adam"), "to compare with, at their usual rates")
    device: str = _option("auto", "cpu, gpu, or auto for JAX's choice")


class Sharing(NamedTuple):
    """A way to share a training."""

    title: str
    devices: int  # of each process
    processes: int = 1
    nudged: bool = False  # from weights that are one rounding off, to see how far that leads


SHARINGS = (
    Sharing("1 device", 1),
    Sharing("1 device, from weights one rounding off", 1, nudged=True),
    Sharing("2 devices", 2),
    Sharing("8 devices", 8),
    Sharing("2 processes of 1 device", 1, processes=2),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(ManyOptions, DESCRIPTION, arguments)
    check(options, examples=1, batch_size=1, epochs=2)
    if len(options.sizes) < 2 or min(options.sizes) < 1:
        raise ArgumentError("--sizes takes two sizes or more of at least 1, as 784 512 10")
    if len(set(options.optimizers)) < len(options.optimizers):
        raise ArgumentError(f"--optimizers takes each once, given {' '.join(options.optimizers)}")
    result = describe("the same training on several devices and in several processes")
    rows: list[Result] = []
    for optimizer in options.optimizers:
        single: Ends = {}
        for sharing in SHARINGS:
            tell(f"{optimizer}: {sharing.title}")
            params, times = train(sharing, options, optimizer)
            single = single or params
            off = {name: difference(params[name], single[name]) for name in BOUNDS}
            measured = {"differences": off, "seconds": times}
            rows.append({"optimizer": optimizer, **sharing._asdict(), **measured})
    given = {name: value for name, value in dataclasses.asdict(options).items() if name != "out"}
    result |= {"options": given, "bounds": BOUNDS, "rows": rows}
    wrong = [
        f"{row['optimizer']}, {row['title']}: off by more than a rounding grows to"
        for row in rows
        if not is_sound(row, rows)
    ]
    return finish(result, parts(result), options.out, wrong)


def train(sharing: Sharing, options: ManyOptions, optimizer: str) -> tuple[Ends, list[float]]:
    """Train in separate processes; the parameters by precision, and the seconds of each epoch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    given = [(sharing, options, optimizer, address, index) for index in range(sharing.processes)]
    return in_processes(f"a training on {sharing.title}", train_here, options.device, given, LONGEST)[0]


def train_here(
    how: Sharing, asked: ManyOptions, optimizer: str, address: str, index: int
) -> tuple[Ends, list[float]]:
    """Train as one of the processes that share a training."""
    jax.config.update("jax_num_cpu_devices", how.devices)
    if how.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, how.processes, index)
    there = jax.devices(None if asked.device == "auto" else asked.device)
    devices = [
        device
        for number in range(how.processes)
        for device in [each for each in there if each.process_index == number][: how.devices]
    ]
    single, seconds_each = _fit(asked, optimizer, "float32", how.nudged, devices)
    with jax.enable_x64(True):
        double, _ = _fit(asked, optimizer, "float64", how.nudged, devices)
    return {"float32": single[0], "float64": double[-1]}, seconds_each


def _fit(
    options: ManyOptions, optimizer_name: str, precision: str, nudged: bool, devices: list[jax.Device]
) -> tuple[list[list[np.ndarray]], list[float]]:
    """Train on generated classes; the parameters after the first epoch and the last, and the seconds of each."""
    ends: list[list[np.ndarray]] = []

    def keep(report: EpochReport, state: TrainState) -> None:
        if report.epoch in (1, options.epochs):
            ends.append([np.asarray(leaf) for leaf in jax.tree.leaves(state.params)])

    random, sizes = np.random.default_rng(0), options.sizes
    inputs = random.normal(size=(options.examples, sizes[0])).astype(precision)
    # Classes that follow from the inputs, so that the gradients do not vanish into noise.
    labels = np.argmax(inputs @ random.normal(size=(sizes[0], sizes[-1])), axis=1)
    net, optimizer = mlp(list(sizes), activation=options.activation), make_optimizer(optimizer_name)
    state = init_state(net, optimizer, jax.random.key(0))
    if nudged:
        factor = 1 + float(np.finfo(precision).eps)
        state = state._replace(params=jax.tree.map(lambda leaf: leaf * factor, state.params))
    result = fit(
        net,
        (inputs, labels),
        optimizer=optimizer,
        batch_size=options.batch_size,
        epochs=options.epochs,
        state=state,
        callback=keep,
        devices=devices,
    )
    return ends, [report.seconds for report in result.history]


def is_sound(row: Result, rows: Sequence[Result]) -> bool:
    """Tell whether a way to share is as near as roundings let it be; not so for NaN."""
    (nudged,) = [one for one in rows if one["nudged"] and one["optimizer"] == row["optimizer"]]
    return all(
        row["differences"][precision] <= max(bound, FAR * nudged["differences"][precision])
        for precision, bound in BOUNDS.items()
    )


def parts(result: Result) -> list[Part]:
    """Lay out the comparison."""
    epochs, bounds = result["options"]["epochs"], result["bounds"]
    of_float32 = f"float32, 1 epoch: parameters off by (≤ {bounds['float32']:g})"
    of_float64 = f"float64, {epochs} epochs: off by (≤ {bounds['float64']:g})"
    rows = [["optimiser", "shared among", of_float32, of_float64, "an epoch, median (least to largest)"]]
    rows[0].append("of one device's")
    of_one: dict[str, float] = {}
    for row in result["rows"]:
        off = [
            f"{off:.1e}{'' if off <= bounds[precision] else ', over'}"
            for precision, off in row["differences"].items()
        ]
        cells = [row["optimizer"], row["title"], *off, "", ""]
        if not row["nudged"]:
            times = row["seconds"][1:]
            middle = statistics.median(times)
            first = of_one.setdefault(row["optimizer"], middle)
            cells[-2:] = [
                f"{seconds(middle)} ({seconds(min(times))} to {seconds(max(times))})",
                f"{middle / first:.2f} ×",
            ]
        rows.append(cells)
    return [rows]


if __name__ == "__main__":
    run(main)
