"""How many networks a sweep trains in a second, by how many it trains at a time; each number in a fresh process."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from benchmark_cases import CASES, Place
from command_line import find_device
from worker_process import WorkerFailed

from jaxmlp import Batch, mlp
from jaxmlp.sweep import sweep
from jaxmlp.trials import Trial

COUNTS, EPOCHS = (1, 64, 256, 1024), 5
CASE = "digits"
ENOUGH_SECONDS, MOST_RUNS = 2.0, 3


def measure_rates(device: str, counts: Iterable[int], tell: Callable[[str], None]) -> dict[str, Any]:
    """Time sweeps over learning rates of the digits' case.

    Args:
        device: as the command line names it.
        counts: how many networks at a time.
        tell: is given a line about what is being done.

    Returns:
        Plain data: for each count the seconds of the whole sweep, compilation left out, and networks a second.

    Raises:
        WorkerFailed: a sweep failed.
    """
    points = []
    for count in counts:
        tell(f"a sweep of {count} networks")
        done = subprocess.run(
            [sys.executable, __file__, str(count), device],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != 0:
            words = done.stderr.strip().splitlines() or ["it said nothing"]
            raise WorkerFailed(f"the sweep of {count} networks failed: {words[-1][:200]}")
        points.append(json.loads(done.stdout.splitlines()[-1]))
    return {"case": CASE, "epochs": EPOCHS, "points": points}


def measure(count: int, device: str, epochs: int = EPOCHS) -> dict[str, Any]:
    """Time a sweep in this process, after one that compiles."""
    case, chosen = CASES[CASE], find_device(device)
    # On a CPU all of its devices share the cores; elsewhere the one that was asked for is measured.
    devices = None if chosen.platform == "cpu" else [chosen]
    data = case.data(Place())
    net = mlp(case.sizes)
    rates = np.geomspace(0.01, 0.2, count)
    trials = [
        Trial(net, learning_rate=float(rate), batch_size=case.batch_size, seed=number)
        for number, rate in enumerate(rates)
    ]
    train, valid = (
        Batch(jnp.asarray(inputs), jnp.asarray(targets))
        for inputs, targets in (
            (data.train_inputs, data.train_targets),
            (data.test_inputs, data.test_targets),
        )
    )
    sweep(trials, train, valid, epochs=epochs, devices=devices)
    times: list[float] = []
    while len(times) < MOST_RUNS and sum(times) < ENOUGH_SECONDS:
        started = time.perf_counter()
        result = sweep(trials, train, valid, epochs=epochs, devices=devices)
        times.append(time.perf_counter() - started)
    seconds = statistics.median(times)
    return {
        "count": count,
        "seconds": seconds,
        "networks_a_second": count / seconds,
        "best_score": result.ranking[0].scores[0],
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))
