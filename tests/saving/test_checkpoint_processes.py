"""Checkpoints outlive kills, deletions and other processes, each of which really happens."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jaxmlp.saving import checkpoints_in, latest_checkpoint

pytestmark = pytest.mark.slow

# Every array says which epoch it is of, so that a mixture would be seen.
SAVES = """
import sys
import numpy as np
from jaxmlp.saving import CheckpointWriter, checkpoints_in
folder = sys.argv[1]
noise = np.random.default_rng(0).normal(size=100_000)
with CheckpointWriter(folder, keep=2, better="larger") as writer:
    for epoch in range(max(checkpoints_in(folder), default=0) + 1, 100_000):
        writer.save(epoch, {"a": noise + epoch, "b": np.full(1000, epoch)}, {"epoch": epoch}, -abs(epoch - 7))
        print(epoch, flush=True)
"""


def start(program: str, *arguments: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_kill_at_any_moment_leaves_the_newest_whole_one(tmp_path: Path) -> None:
    draws, newest, interrupted = random.Random(0), 0, 0
    for _ in range(20):
        with start(SAVES, tmp_path) as process:
            assert process.stdout is not None
            for _ in range(4):  # the first two are only handed over, the others wait for those
                process.stdout.readline()
            time.sleep(draws.uniform(0, 0.3))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        interrupted += any(name.startswith(".epoch-") for name in os.listdir(tmp_path))
        checkpoint, notes = latest_checkpoint(tmp_path)
        assert notes == (), "none that looks whole is damaged"
        assert checkpoint.epoch == max(checkpoints_in(tmp_path)) > newest
        assert checkpoint.description == {"epoch": checkpoint.epoch}
        assert (checkpoint.arrays["b"] == checkpoint.epoch).all()
        assert abs(checkpoint.arrays["a"].mean() - checkpoint.epoch) < 0.1
        newest = checkpoint.epoch
    assert interrupted > 0, "some kills came in the middle of a save"
    assert 7 in checkpoints_in(tmp_path), "the best is kept over all of it"


PROCESSES = """
import sys, time
from pathlib import Path
import jax
import numpy as np
jax.config.update("jax_cpu_collectives_implementation", "gloo")
port, process, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
jax.distributed.initialize(f"localhost:{port}", 2, process)
from jax.sharding import Mesh
from jaxmlp import ArgumentError, init_state, mlp
from jaxmlp.saving.checkpoint import CheckpointWriter, fit_arrays, latest_checkpoint, restore_fit, write_checkpoint
from jaxmlp.training.parallel import place_whole
from jaxmlp.training.fit import FitState
alone = FitState(init_state(mlp([4, 3]), "adam", jax.random.key(0)))
shared = alone._replace(train=place_whole(alone.train, Mesh(np.array(jax.devices()), ("batch",))))
assert not shared.train.key.is_fully_addressable
if process == 0:
    with CheckpointWriter(folder) as writer:
        for epoch in range(3):
            writer.save(epoch, fit_arrays(shared), None)
    (folder / "done").touch()
else:
    while not (folder / "done").exists():
        time.sleep(0.05)
    try:
        write_checkpoint(folder, 9, {}, None)
    except ArgumentError as error:
        print(error)
found, _ = latest_checkpoint(folder)
restored = fit_arrays(restore_fit(found.arrays, shared))
same = all(np.array_equal(restored[name], array) for name, array in fit_arrays(alone).items())
print(process, found.epoch, same)
"""


def test_process_0_writes_without_waiting_for_the_other_and_both_read(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [start(PROCESSES, port, number, tmp_path) for number in (0, 1)]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    refused = "process 0 writes the checkpoints of a run, not process 1\n"
    assert [out for out, _ in outputs] == ["0 2 True\n", refused + "1 2 True\n"]
