"""The process that one peer lives in: it waits on its standard input and trains when it is told to.

Thread pools of PyTorch, OpenBLAS and XLA disturb each other inside one process; in processes of their own, of
which one works at a time, they do not. A line of JSON comes in, a line of JSON goes out.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

if len(sys.argv) > 2:  # how many cores to use: said before any library counts them
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from peers import program_of
from peers.job import Job, read_job, score, write_layers

Answer = dict[str, Any]


class Worker:
    """A peer and the job that it is at; each method is something that it can be told to do."""

    def __init__(self, name: str) -> None:
        self.program = program_of(name)
        self.job: Job
        self.peer: Any  # a Peer, or the matrix products by themselves

    def set_up(self, job: str, nudge: float = 0.0, seed: int = 0) -> Answer:
        """Read a job and build the peer's program for it; nudged, each weight times 1 ± nudge by chance."""
        self.job = read_job(Path(job))
        if nudge:
            random = np.random.default_rng(seed)
            layers = [
                (w * (1 + nudge * random.choice([-1, 1], w.shape)).astype(w.dtype), b)
                for w, b in self.job.layers
            ]
            self.job = self.job._replace(layers=layers)
        started = time.perf_counter()
        self.peer = self.program(self.job)
        return {"seconds": time.perf_counter() - started, "temporaries": self.peer.temporaries}

    def train(self, epochs: list[int]) -> Answer:
        """Train some epochs, and time each."""
        seconds, losses = [], []
        for epoch in epochs:
            order = self.job.orders[epoch]
            started = time.perf_counter()
            losses.append(self.peer.epoch(order))
            seconds.append(time.perf_counter() - started)
        return {"seconds": seconds, "losses": losses}

    def measure(self) -> Answer:
        """Tell how good the parameters are on the test part."""
        job = self.job
        return {"score": score(self.peer.layers(), job.test_inputs, job.test_targets, job.settings.task)}

    def write(self, path: str) -> Answer:
        """Write the parameters to a file."""
        write_layers(Path(path), self.peer.layers())
        return {}

    def rates(self) -> Answer:
        """Time the products of a step, where the program is nothing else."""
        return {"products": self.peer.rates()}


def main() -> None:
    """Do what is asked until there are no more requests."""
    # Whatever a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or Worker(sys.argv[1])
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # whatever it is, the benchmark goes on without this peer and says why
            text = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {text}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
