"""A contestant in a process of its own, seen from the benchmark: what it is told and what it answers."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

WORKER = Path(__file__).parent / "contestants" / "worker.py"


class WorkerFailed(Exception):
    """A contestant could not do what it was told; its message is one line."""


class WorkerProcess:
    """A worker that lives until it is closed."""

    def __init__(self, name: str, platform: str = "", cores: int | None = None) -> None:
        self.name, self.failure = name, ""
        self.log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), name, *([] if cores is None else [str(cores)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            encoding="utf-8",
            env=process_environment(platform),
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Tell the worker to do something, and wait until it is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer

    def _last_words(self) -> str:
        status = self.process.wait()
        self.log.seek(0)
        lines = [line.strip() for line in self.log if line.strip()]
        return f"its process ended with status {status}: {lines[-1] if lines else 'it said nothing'}"[:300]

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def process_environment(device: str) -> dict[str, str]:
    """Make the environment of a process that computes on a device, and finds no GPU where that is a CPU."""
    # Several share one device; none may take its memory beforehand.
    environment = dict(os.environ) | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if device.startswith("cpu"):
        environment |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return environment


def run_process(what: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a Python program to its end."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["it said nothing"]
        raise WorkerFailed(f"{what} ended with status {done.returncode}: {words[-1][:200]}")
    return done.stdout
