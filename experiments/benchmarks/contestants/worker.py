"""The process that one contestant lives in: it waits on its standard input and trains when it is told to.

Thread pools of PyTorch, OpenBLAS and XLA disturb each other inside one process; in processes of their own, of
which one works at a time, they do not. A line of JSON comes in, a line of JSON goes out.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if len(sys.argv) > 2:  # how many cores to use: said before any library counts them
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from contestants import CEILING, CONTESTANTS
from contestants.job import Job, read_job, score, write_layers

Answer = dict[str, Any]


class Worker:
    """A contestant and the job that it is at."""

    def __init__(self, name: str) -> None:
        self.module = importlib.import_module(
            "contestants.ceiling" if name == CEILING else f"contestants.{CONTESTANTS[name].module}"
        )
        self.job: Job
        self.contestant: Any  # a Contestant, or the ceiling

    def set_up(self, job: str, nudge: float = 0.0, seed: int = 0) -> Answer:
        """Read a job and build the contestant's program for it; nudged, each weight times 1 ± nudge by chance."""
        self.job = read_job(Path(job))
        if nudge:
            random = np.random.default_rng(seed)
            layers = [
                (w * (1 + nudge * random.choice([-1, 1], w.shape)).astype(w.dtype), b)
                for w, b in self.job.layers
            ]
            self.job = self.job._replace(layers=layers)
        started = time.perf_counter()
        self.contestant = self.module.Program(self.job)
        return {"seconds": time.perf_counter() - started, "temporaries": self.contestant.temporaries}

    def train(self, epochs: list[int]) -> Answer:
        """Train some epochs, and time each."""
        seconds, losses = [], []
        for epoch in epochs:
            order = self.job.orders[epoch]
            started = time.perf_counter()
            losses.append(self.contestant.epoch(order))
            seconds.append(time.perf_counter() - started)
        return {"seconds": seconds, "losses": losses}

    def measure(self) -> Answer:
        """Tell how good the parameters are on the test part."""
        job = self.job
        return {
            "score": score(self.contestant.layers(), job.test_inputs, job.test_targets, job.settings.task)
        }

    def write(self, path: str) -> Answer:
        """Write the parameters to a file."""
        write_layers(Path(path), self.contestant.layers())
        return {}

    def rates(self) -> Answer:
        """Time the products of a step, where this is the ceiling."""
        return {"products": self.contestant.rates()}

    def answer(self, request: dict[str, Any]) -> Answer:
        """Do what a request asks for."""
        doing: dict[str, Callable[..., Answer]] = {
            "set_up": self.set_up,
            "train": self.train,
            "measure": self.measure,
            "write": self.write,
            "rates": self.rates,
        }
        return doing[request.pop("do")](**request)


def main() -> None:
    """Serve requests until there are no more."""
    # Whatever a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            worker = worker or Worker(sys.argv[1])
            answer = worker.answer(json.loads(line))
        except (
            Exception
        ) as error:  # whatever it is, the benchmark goes on without this contestant and says why
            text = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {text}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
