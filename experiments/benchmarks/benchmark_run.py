"""The measurement itself: contestants told in turn to train an epoch, each in its process, and what came of it."""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmark_cases import CASES, Case, Data, Place, make_job, make_settings
from contestants import CEILING, CONTESTANTS, OURS
from contestants.job import Layers, read_layers, write_job
from worker_process import WorkerFailed, WorkerProcess

from jaxmlp.cli.session import available_cores

Tell = Callable[[str], None]
ROUNDING = float(np.finfo(np.float32).eps)
NUDGES = 3  # ways to round the initial weights: by how much one grows is a matter of chance


class Plan(NamedTuple):
    """What to measure.

    Attributes:
        cases: names in `CASES`.
        optimizers: of each case.
        contestants: names in `CONTESTANTS`; ours stands first.
        repeats: timed turns of each, after an epoch that warms up.
        device: as the command line names it.
        precision: of matrix products.
        place: of the data sets.
    """

    cases: tuple[str, ...]
    optimizers: tuple[str, ...]
    contestants: tuple[str, ...]
    repeats: int
    device: str
    precision: str
    place: Place


class Field(NamedTuple):
    """The processes that take part.

    Attributes:
        workers: by contestant.
        ceilings: the ones that time matrix products, by how many cores they may use.
    """

    workers: dict[str, WorkerProcess]
    ceilings: dict[int, WorkerProcess]


def measure(plan: Plan, tell: Tell) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure every case."""
    field = _start(plan)
    results: list[dict[str, Any]] = []
    failures: list[str] = []
    try:
        for name in plan.cases:
            case = CASES[name]
            data = case.data(plan.place)
            for optimizer in plan.optimizers:
                with tempfile.TemporaryDirectory(prefix="jaxmlp-benchmark-") as folder:
                    try:
                        measured = measure_case(plan, case, data, optimizer, field, Path(folder), tell)
                        results.append({"case": name} | measured)
                    except WorkerFailed as failed:
                        failures.append(f"{name}, {optimizer} was not measured: {failed}")
        return results, failures
    finally:
        for worker in (*field.workers.values(), *field.ceilings.values()):
            worker.close()


def _start(plan: Plan) -> Field:
    platform = "cpu" if plan.device.startswith("cpu") else ""
    workers = {name: WorkerProcess(name, platform) for name in plan.contestants}
    cores = available_cores()
    counts = dict.fromkeys((1, cores)) if platform and hasattr(os, "sched_setaffinity") else {cores: None}
    return Field(workers, {count: WorkerProcess(CEILING, platform, count) for count in counts})


def measure_case(
    plan: Plan, case: Case, data: Data, optimizer: str, field: Field, folder: Path, tell: Tell
) -> dict[str, Any]:
    """Set every contestant up for a case, let them train in turn, and bring the figures together."""
    epochs = 1 + plan.repeats * case.epochs_a_turn
    settings = make_settings(case, optimizer, plan.device, plan.precision)
    write_job(folder, make_job(case, data, settings, epochs))
    runs = {name: Run(name, worker) for name, worker in field.workers.items()}
    nudged = [first_loss(field.workers[OURS], folder, seed) for seed in range(NUDGES)]
    for run in runs.values():
        tell(f"{case.title}, {optimizer}: {CONTESTANTS[run.name].title}, first epoch")
        run.attempt(run.begin, folder)
    for ceiling in field.ceilings.values():
        ceiling.ask("set_up", job=str(folder))
    rates: dict[int, list[Any]] = {count: [] for count in field.ceilings}
    for turn, chosen in enumerate(_turns(plan.repeats, case.epochs_a_turn)):
        tell(f"{case.title}, {optimizer}: turn {turn + 1} of {plan.repeats}")
        for run in _shuffled(list(runs.values()), turn):
            run.attempt(run.train, chosen)
        for count, ceiling in field.ceilings.items():
            rates[count].append(ceiling.ask("rates")["products"])
    for run in runs.values():
        run.attempt(run.finish)
    if runs[OURS].failure:
        raise WorkerFailed(f"jaxmlp itself failed: {runs[OURS].failure}")
    ours = runs[OURS]
    return {
        "title": case.title,
        "sizes": list(case.sizes),
        "batch_size": case.batch_size,
        "optimizer": optimizer,
        "learning_rate": settings.learning_rate,
        "task": case.task,
        "data": data.name,
        "examples": len(data.train_inputs),
        "epochs": epochs,
        "rounding_grows_to": max(
            relative_difference(loss, ours.first["first_epoch_loss"]) for loss in nudged
        ),
        "contestants": [run.summary(ours, folder) for run in runs.values()],
        "ceilings": {
            str(count): ceiling_summary(found, len(data.train_inputs) / case.batch_size)
            for count, found in rates.items()
        },
    }


def first_loss(worker: WorkerProcess, folder: Path, seed: int) -> float:
    """Train the first epoch from weights each moved by a rounding; returns the loss."""
    worker.ask("set_up", job=str(folder), nudge=ROUNDING, seed=seed)
    return worker.ask("train", epochs=[0])["losses"][0]


def _turns(repeats: int, epochs_a_turn: int) -> Iterator[list[int]]:
    for turn in range(repeats):
        yield list(range(1 + turn * epochs_a_turn, 1 + (turn + 1) * epochs_a_turn))


def _shuffled(runs: list["Run"], turn: int) -> list["Run"]:
    """Put the contestants of a turn in an order drawn for it (seeded), so that none always follows the same one."""
    return [runs[place] for place in np.random.default_rng(turn).permutation(len(runs))]


class Run:
    """One contestant's way through one case."""

    def __init__(self, name: str, worker: WorkerProcess) -> None:
        self.name, self.worker, self.failure = name, worker, ""
        self.seconds: list[float] = []  # of an epoch, one entry a turn
        self.first: dict[str, Any] = {}
        self.score = float("nan")
        self.last_loss = float("nan")

    def attempt(self, do: Callable[..., None], *arguments: Any) -> None:
        """Do the next thing, unless something has failed; a failure is kept, and the others go on."""
        if not self.failure:
            try:
                do(*arguments)
            except WorkerFailed as failed:
                self.failure = str(failed)

    def begin(self, folder: Path) -> None:
        """Set up, train the first epoch, which also compiles, and keep the parameters after it."""
        ready = self.worker.ask("set_up", job=str(folder))
        trained = self.worker.ask("train", epochs=[0])
        self.worker.ask("write", path=str(_params_file(folder, self.name)))
        self.first = {
            "set_up_seconds": ready["seconds"],
            "temporaries_bytes": ready["temporaries"],
            "first_epoch_seconds": trained["seconds"][0],
            "first_epoch_loss": trained["losses"][0],
        }

    def train(self, epochs: Sequence[int]) -> None:
        """Train a turn's epochs."""
        trained = self.worker.ask("train", epochs=list(epochs))
        self.seconds.append(sum(trained["seconds"]) / len(epochs))
        self.last_loss = trained["losses"][-1]

    def finish(self) -> None:
        """Measure on the test part."""
        self.score = self.worker.ask("measure")["score"]

    def summary(self, ours: "Run", folder: Path) -> dict[str, Any]:
        """Bring the figures together, compared with ours."""
        entry = CONTESTANTS[self.name]
        named = {"name": self.name, "title": entry.title, "kind": entry.kind}
        if self.failure:
            return named | {"failure": self.failure}
        return (
            named
            | time_summary(self.seconds)
            | {
                "time_relative_to_ours": statistics.median(self.seconds) / statistics.median(ours.seconds),
                "score": self.score,
                "last_loss": self.last_loss,
                "loss_difference": relative_difference(
                    self.first["first_epoch_loss"], ours.first["first_epoch_loss"]
                ),
                "largest_parameter_difference": largest_difference(
                    read_layers(_params_file(folder, self.name)), read_layers(_params_file(folder, ours.name))
                ),
            }
            | self.first
        )


def _params_file(folder: Path, name: str) -> Path:
    return folder / f"after_first_epoch_{name}.npz"


def relative_difference(value: float, reference: float) -> float:
    """Compute |value − reference| / |reference|."""
    return abs(value - reference) / abs(reference)


def largest_difference(layers: Layers, reference: Layers) -> float:
    """Find the largest |difference| of two sets of weights and biases; not a number where one of them holds one."""
    return float(
        np.max(
            [
                np.max(np.abs(mine - theirs))
                for layer, other in zip(layers, reference, strict=True)
                for mine, theirs in zip(layer, other, strict=True)
            ]
        )
    )


def time_summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Bring times to their median and spread."""
    return {
        "seconds": list(seconds),
        "median_seconds": statistics.median(seconds),
        "least_seconds": min(seconds),
        "largest_seconds": max(seconds),
    }


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
