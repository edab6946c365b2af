"""Work in processes: a function as a process, programs run to their end, and a worker that is told what to do."""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from jaxmlp import ArgumentError
from jaxmlp.door import one_line

WORKER = Path(__file__).parent / "peers" / "worker.py"


class ProcessFailed(ArgumentError):
    """A process could not do what it was told; the message is one line."""


def process_environment(device: str) -> dict[str, str]:
    """Make the environment of a process that computes on a device, and finds no GPU where that is a CPU."""
    # Several share one device; none may take its memory beforehand.
    environment = dict(os.environ) | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if device.startswith("cpu"):
        environment |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return environment


def run_programs(
    what: str, commands: Sequence[Sequence[str]], environment: Mapping[str, str], longest: float | None = None
) -> list[str]:
    """Run Python programs side by side to their ends; returns what each printed."""
    started: list[subprocess.Popen[str]] = []
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    try:
        for command in commands:
            started += [subprocess.Popen([sys.executable, *command], env=environment, **pipes)]
        printed = [process.communicate(timeout=longest) for process in started]
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"{what} did not end within {longest:g} s") from None
    finally:
        for process in started:
            process.kill()
            process.communicate()  # waits, and closes its pipes
    for process, (_, errors) in zip(started, printed, strict=True):
        if process.returncode != 0:
            words = errors.strip().splitlines() or ["it said nothing"]
            raise ProcessFailed(f"{what} ended with status {process.returncode}: {words[-1][:300]}")
    return [out for out, _ in printed]


def in_processes(
    what: str, function: str, device: str, given: Sequence[Mapping[str, Any]], longest: float | None = None
) -> list[Any]:
    """Call a function, named as "module.function", in several fresh processes at once; returns what each returns."""
    commands = [[__file__, function, json.dumps(arguments)] for arguments in given]
    printed = run_programs(what, commands, process_environment(device), longest)
    return [json.loads(out.splitlines()[-1]) for out in printed]


def in_process(what: str, function: str, device: str, given: Mapping[str, Any]) -> Any:
    """Call a function, named as "module.function", in a fresh process, whose memory and settings are its own."""
    return in_processes(what, function, device, [given])[0]


class WorkerProcess:
    """A worker that has a peer in its process, until it is closed."""

    def __init__(self, name: str, device: str = "", cores: int | None = None) -> None:
        self.log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), name, *([] if cores is None else [str(cores)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            encoding="utf-8",
            env=process_environment(device),
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
            raise ProcessFailed(answer["error"])
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


def main(function: str, given: str) -> None:
    """Call a function in this process, and print what it returns as JSON."""
    module, _, name = function.rpartition(".")
    try:
        print(json.dumps(getattr(importlib.import_module(module), name)(**json.loads(given))))
    except (ArgumentError, OSError) as error:
        sys.exit(one_line(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
