"""The times of an epoch: peers, each in its process, told in turn to train one, and what came of it."""

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from cases import CASES, OPTIMIZERS, Case, Data, make_job
from measurement import OutOptions, PlaceOptions, Result, difference, drawn_order, tell, time_summary
from peers import MATMUL, OURS, PEERS, peers_on
from peers import worker as at_work
from peers.job import Job
from processes import ProcessFailed, Worker

from jaxmlp.cli.options import DeviceOptions
from jaxmlp.cli.parser import option
from jaxmlp.cli.session import available_cores

ROUNDING = float(np.finfo(np.float32).eps)
QUICK_CASES = ("mnist_300", "digits")
_option = partial(option, group="options")
NUDGES = 3  # ways to round the initial weights: by how much one grows is a matter of chance


@dataclass(frozen=True)
class BenchmarkOptions(DeviceOptions, PlaceOptions, OutOptions):
    """The options of a benchmark."""

    cases: tuple[str, ...] = _option(tuple(CASES), f"of {', '.join(CASES)}")
    optimizers: tuple[str, ...] = _option(OPTIMIZERS, f"of {', '.join(OPTIMIZERS)}")
    peers: tuple[str, ...] = _option(
        ("all",), f"of {', '.join(peers_on('cpu'))}; on a GPU {', '.join(peers_on('gpu'))}"
    )
    repeats: int = _option(5, "timed turns of each peer, after an epoch that warms up")
    sweep: bool = _option(True, "networks a second of sweeps on digits too")
    time_to_accuracy: bool = _option(True, "whole processes to 98 % on MNIST too, where MNIST is at hand")
    quick: bool = _option(
        False, f"only {' and '.join(QUICK_CASES)} with SGD, 2 turns, the time to 98 % over 1 seed"
    )


class Field(NamedTuple):
    """The processes that take part: one a peer, and those that time matrix products by how many cores they may use."""

    workers: dict[str, Worker]
    products: dict[int, Worker]


def measure(plan: BenchmarkOptions) -> tuple[list[Result], list[str]]:
    """Measure every case; returns the results, and what failed."""
    field = _start(plan)
    results: list[Result] = []
    failures: list[str] = []
    try:
        for name in plan.cases:
            data = CASES[name].data(plan)
            for optimizer in plan.optimizers:
                try:
                    measured = measure_case(plan, CASES[name], data, optimizer, field)
                    results.append({"case": name} | measured)
                except ProcessFailed as failed:
                    failures.append(f"{name}, {optimizer} was not measured: {failed}")
        return results, failures
    finally:
        for worker in (*field.workers.values(), *field.products.values()):
            worker.close()


def _start(plan: BenchmarkOptions) -> Field:
    workers = {name: Worker(plan.device) for name in plan.peers}
    cores, is_cpu = available_cores(), plan.device.startswith("cpu")
    counts = {1, cores} if is_cpu and hasattr(os, "sched_setaffinity") else {cores}
    products = {count: Worker(plan.device, count if count < cores else None) for count in sorted(counts)}
    return Field(workers, products)


def measure_case(plan: BenchmarkOptions, case: Case, data: Data, optimizer: str, field: Field) -> Result:
    """Set every peer up for a case, let them train in turn, and bring the figures together."""
    epochs = 1 + plan.repeats * case.epochs_a_turn
    settings = case.settings(optimizer, plan.device, plan.precision)
    job = make_job(data, settings, epochs)
    runs = [Run(name, worker) for name, worker in field.workers.items()]
    ours = next(run for run in runs if run.name == OURS)
    nudged = [first_loss(ours.worker, job, seed) for seed in range(NUDGES)]
    for run in runs:
        tell(f"{case.title}, {optimizer}: {PEERS[run.name].title}, first epoch")
        run.attempt(run.begin, job)
    for worker in field.products.values():
        worker.ask(at_work.set_up, MATMUL, job)
    rates: dict[int, list[Any]] = {count: [] for count in field.products}
    for turn in range(plan.repeats):
        tell(f"{case.title}, {optimizer}: turn {turn + 1} of {plan.repeats}")
        for run in drawn_order(runs, turn):
            run.attempt(run.train, epochs_of_turn(turn, case.epochs_a_turn))
        for count, worker in field.products.items():
            rates[count].append(worker.ask(at_work.rates))
    for run in runs:
        run.attempt(run.finish)
    if ours.failure:
        raise ProcessFailed(f"jaxmlp itself failed: {ours.failure}")
    examples, loss = len(data.train_inputs), ours.found["first_epoch_loss"]
    steps = examples / case.batch_size
    return {
        "title": case.title,
        "sizes": list(case.sizes),
        "batch_size": case.batch_size,
        "optimizer": optimizer,
        "learning_rate": settings.learning_rate,
        "task": case.task,
        "data": data.name,
        "examples": examples,
        "epochs": epochs,
        "rounding_grows_to": max(difference(each, loss) for each in nudged),
        "peers": [run.summary(ours) for run in runs],
        "ceilings": {str(count): ceiling_summary(found, steps) for count, found in rates.items()},
    }


def first_loss(worker: Worker, job: Job, seed: int) -> float:
    """Train the first epoch from weights each moved by a rounding; returns the loss."""
    worker.ask(at_work.set_up, OURS, job, ROUNDING, seed)
    return worker.ask(at_work.train, [0])["losses"][0]


def epochs_of_turn(turn: int, epochs_a_turn: int) -> range:
    """Number the epochs of a turn; epoch 0, which also compiles, belongs to none."""
    return range(1 + turn * epochs_a_turn, 1 + (turn + 1) * epochs_a_turn)


class Run:
    """One peer's way through one case."""

    def __init__(self, name: str, worker: Worker) -> None:
        self.name, self.worker, self.failure = name, worker, ""
        self.seconds: list[float] = []  # of an epoch, one entry a turn
        self.found: Result = {}

    def attempt(self, do: Callable[..., None], *arguments: Any) -> None:
        """Do the next thing, unless something has failed; a failure is kept, and the others go on."""
        if not self.failure:
            try:
                do(*arguments)
            except ProcessFailed as failed:
                self.failure = str(failed)

    def begin(self, job: Job) -> None:
        """Set up, and train the first epoch, which also compiles."""
        self.found["temporaries_bytes"] = self.worker.ask(at_work.set_up, self.name, job)
        self.found["first_epoch_loss"] = self.worker.ask(at_work.train, [0])["losses"][0]

    def train(self, epochs: Sequence[int]) -> None:
        """Train a turn's epochs."""
        trained = self.worker.ask(at_work.train, epochs)
        self.seconds.append(sum(trained["seconds"]) / len(epochs))

    def finish(self) -> None:
        """Measure on the test part."""
        self.found["score"] = self.worker.ask(at_work.measure)

    def summary(self, ours: "Run") -> Result:
        """Bring the figures together, compared with ours."""
        entry = PEERS[self.name]
        named = {"name": self.name, "title": entry.title, "kind": entry.kind}
        if self.failure:
            return named | {"failure": self.failure}
        losses = self.found["first_epoch_loss"], ours.found["first_epoch_loss"]
        compared = {
            "time_relative_to_ours": statistics.median(self.seconds) / statistics.median(ours.seconds),
            "loss_difference": difference(*losses),
        }
        return named | time_summary(self.seconds) | compared | self.found


def ceiling_summary(rounds: Sequence[Sequence[dict[str, Any]]], steps: float) -> dict[str, Any]:
    """Bring the times of a step's products to the floor of an epoch."""
    products = []
    for same in zip(*rounds, strict=True):
        medians = {
            library: statistics.median(product["seconds"][library] for product in same)
            for library in same[0]["seconds"]
        }
        products.append(same[0] | {"seconds": medians, "best_seconds": min(medians.values())})
    *of_step, large = products
    step_seconds = sum(product["best_seconds"] for product in of_step)
    operations = sum(product["operations"] for product in of_step)
    return {
        "products": of_step,
        "epoch_seconds": steps * step_seconds,
        "epoch_operations": steps * operations,
        "operations_a_second": operations / step_seconds,
        "large_operations_a_second": large["operations"] / large["best_seconds"],
    }
