"""How many networks a sweep trains in a second, by how many it trains at a time; each number in a fresh process."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_cases import CASES, Data, Place
from benchmark_run import time_summary
from sklearn.neural_network import MLPClassifier
from worker_process import WorkerFailed, process_environment, run_process

from jaxmlp import Batch, mlp
from jaxmlp.cli.session import find_device
from jaxmlp.cli.sweep import use_cores
from jaxmlp.sweep.sweep import sweep
from jaxmlp.sweep.trials import Trial

COUNTS, EPOCHS = (1, 64, 256, 1024), 50
CASE = "digits"
RUNS = 3  # of the sweep, after the first one, which compiles
SKLEARN, SKLEARN_NETWORKS = "scikit-learn", 5


def measure_rates(
    device: str, precision: str, counts: Iterable[int], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Time sweeps over learning rates of the digits' case, and scikit-learn at some of the same networks."""
    result: dict[str, Any] = {"case": CASE, "epochs": EPOCHS, "points": []}
    try:
        for count in counts:
            tell(f"a sweep of {count} networks")
            result["points"].append(_in_a_process(str(count), device, precision))
        if device.startswith("cpu"):
            tell("the sweep's networks by scikit-learn")
            result["sklearn"] = _in_a_process(SKLEARN, device, precision)
    except WorkerFailed as failed:
        result["failure"] = str(failed)
    return result


def _in_a_process(what: str, device: str, precision: str) -> dict[str, Any]:
    named = f"of {what} networks" if what != SKLEARN else "by scikit-learn"
    told = run_process(f"the sweep {named}", [__file__, what, device, precision], process_environment(device))
    return json.loads(told.splitlines()[-1])


def learning_rates(count: int) -> list[float]:
    """Spread learning rates over the range that learns, evenly on a logarithmic scale."""
    return [float(rate) for rate in np.geomspace(0.01, 0.2, count)]


def measure(count: int, device: str, precision: str = "float32", epochs: int = EPOCHS) -> dict[str, Any]:
    """Time a sweep in this process: a first time, which compiles, and then some more."""
    case, chosen = CASES[CASE], find_device(device)
    # On a CPU all of its devices share the work; elsewhere the one that was asked for is measured.
    devices = jax.local_devices(backend="cpu") if chosen.platform == "cpu" else [chosen]
    data = case.data(Place())
    net = mlp(case.sizes, precision=precision)
    trials = [
        Trial(net, learning_rate=rate, batch_size=case.batch_size, seed=number)
        for number, rate in enumerate(learning_rates(count))
    ]
    train, valid = _batches(data)
    times: list[float] = []
    for _ in range(1 + RUNS):
        started = time.perf_counter()
        result = sweep(trials, train, valid, epochs=epochs, devices=devices)
        times.append(time.perf_counter() - started)
    compiling, *others = times
    summary = time_summary(others)
    return summary | {
        "count": count,
        "devices": len(devices),
        "first_seconds": compiling,
        "networks_a_second": count / summary["median_seconds"],
        "best_score": result.ranking[0].scores[0],
    }


def _batches(data: Data) -> tuple[Batch, Batch]:
    return (
        Batch(jnp.asarray(data.train_inputs), jnp.asarray(data.train_targets)),
        Batch(jnp.asarray(data.test_inputs), jnp.asarray(data.test_targets)),
    )


def measure_sklearn(networks: int = SKLEARN_NETWORKS, epochs: int = EPOCHS) -> dict[str, Any]:
    """Train a few of the sweep's networks by scikit-learn, one after another."""
    case = CASES[CASE]
    data = case.data(Place())
    times, scores = [], []
    for number, rate in enumerate(learning_rates(networks)):
        model = MLPClassifier(
            case.sizes[1:-1],
            solver="sgd",
            momentum=0.0,
            alpha=0.0,
            batch_size=case.batch_size,
            learning_rate_init=rate,
            max_iter=epochs,
            tol=0.0,
            n_iter_no_change=epochs + 1,
            random_state=number,
        )
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that all epochs are used is wanted here
            model.fit(data.train_inputs, data.train_targets)
        times.append(time.perf_counter() - started)
        scores.append(float(model.score(data.test_inputs, data.test_targets)))
        assert model.n_iter_ == epochs
    return time_summary(times) | {"networks": networks, "best_score": max(scores)}


def main(what: str, device: str, precision: str) -> None:
    """Measure one thing in this process, and print it as JSON."""
    use_cores(None)  # as sweep.py does: each core of a CPU is a device of its own
    measured = measure_sklearn() if what == SKLEARN else measure(int(what), device, precision)
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
