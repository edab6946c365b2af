"""How many networks a sweep trains in a second, by how many it trains at a time; each number in a fresh process."""

import time
import warnings
from collections.abc import Iterable

import jax
import numpy as np
from cases import CASES
from measurement import PlaceOptions, Result, tell, time_summary
from processes import ProcessFailed, in_process

from jaxmlp import Batch, mlp
from jaxmlp.cli.session import available_cores, find_device, use_cores
from jaxmlp.sweep.sweep import sweep
from jaxmlp.sweep.trials import Trial

COUNTS, EPOCHS = (1, 64, 256, 1024), 50
CASE = "digits"
RUNS = 3  # of the sweep, after the first one, which compiles


def measure_rates(device: str, precision: str, counts: Iterable[int]) -> Result:
    """Time sweeps over learning rates of the digits' case, and scikit-learn at some of the same networks."""
    result: Result = {"case": CASE, "epochs": EPOCHS, "points": []}
    try:
        for count in counts:
            what = f"the sweep of {count} networks"
            tell(what)
            result["points"].append(in_process(what, measure, device, count, device, precision))
        if device.startswith("cpu"):
            tell("the sweep's networks by scikit-learn")
            result["sklearn"] = in_process("the sweep by scikit-learn", measure_sklearn, device)
    except ProcessFailed as failed:
        result["failure"] = str(failed)
    return result


def learning_rates(count: int) -> list[float]:
    """Spread learning rates over the range that learns, evenly on a logarithmic scale."""
    return [float(rate) for rate in np.geomspace(0.01, 0.2, count)]


def measure(count: int, device: str, precision: str = "float32", epochs: int = EPOCHS) -> Result:
    """Time a sweep in this process: a first time, which compiles, and then some more."""
    use_cores(available_cores())  # as `jaxmlp sweep` does: each core of a CPU is a device of its own
    case, chosen = CASES[CASE], find_device(device)
    # On a CPU all of its devices share the work; elsewhere the one that was asked for is measured.
    devices = jax.local_devices(backend="cpu") if chosen.platform == "cpu" else [chosen]
    data = case.data(PlaceOptions())
    net = mlp(case.sizes, precision=precision)
    trials = [
        Trial(net, learning_rate=rate, batch_size=case.batch_size, seed=number)
        for number, rate in enumerate(learning_rates(count))
    ]
    train = Batch(*map(jax.numpy.asarray, (data.train_inputs, data.train_targets)))
    valid = Batch(*map(jax.numpy.asarray, (data.test_inputs, data.test_targets)))
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
        "best_score": float(result.ranking[0].scores[0]),
    }


def measure_sklearn(networks: int = 5, epochs: int = EPOCHS) -> Result:
    """Train a few of the sweep's networks by scikit-learn, one after another."""
    from sklearn.neural_network import MLPClassifier  # here, for the peers' processes to have no part of it

    case, data = CASES[CASE], CASES[CASE].data(PlaceOptions())
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
