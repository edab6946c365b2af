"""What the process that one peer lives in is told to do: the functions that the benchmark calls there."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from peers import program_of
from peers.job import Job, score

Answer = dict[str, Any]
HELD: Any = {}  # the job that the process is at, and the peer that was made from it


def set_up(name: str, job: Job, nudge: float = 0.0, seed: int = 0) -> int | None:
    """Build a peer's program for a job; nudged, each weight times 1 ± nudge by chance. Tells its temporaries."""
    if nudge:
        random = np.random.default_rng(seed)
        layers = [
            (w * (1 + nudge * random.choice([-1, 1], w.shape)).astype(w.dtype), b) for w, b in job.layers
        ]
        job = job._replace(layers=layers)
    HELD.update(job=job, peer=program_of(name)(job))
    return HELD["peer"].temporaries


def train(epochs: Sequence[int]) -> Answer:
    """Train some epochs, and time each."""
    seconds, losses = [], []
    for epoch in epochs:
        order = HELD["job"].orders[epoch]
        started = time.perf_counter()
        losses.append(HELD["peer"].epoch(order))
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "losses": losses}


def measure() -> float:
    """Tell how good the parameters are on the test part."""
    job = HELD["job"]
    return score(HELD["peer"].layers(), job.test_inputs, job.test_targets, job.settings.task)


def rates() -> list[Answer]:
    """Time the products of a step, where the program is nothing else."""
    return HELD["peer"].rates()
