"""Work in processes: a program run to its end, and functions called in fresh processes."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

from jaxmlp import ArgumentError
from jaxmlp.door import one_line

SPAWN = multiprocessing.get_context("spawn")
GRACE = 2.0  # seconds in which a process may clear up


class ProcessFailed(ArgumentError):
    """A process could not do what it was told; the message is one line."""


def process_environment(device: str) -> dict[str, str]:
    """Make the environment of a process that computes on a device, and finds no GPU where that is a CPU."""
    # Several share one device; none may take its memory beforehand.
    environment = dict(os.environ) | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if device.startswith("cpu"):
        environment |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return environment


def run_program(what: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a Python program to its end; returns what it printed."""
    ended = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    if ended.returncode != 0:
        words = ended.stderr.strip().splitlines() or ["it said nothing"]
        raise ProcessFailed(f"{what} ended with status {ended.returncode}: {words[-1][:300]}")
    return ended.stdout


class Worker:
    """A process that calls functions when it is told to, until it is closed.

    Thread pools of PyTorch, OpenBLAS and XLA disturb each other inside one process; in processes of their own, of
    which one works at a time, they do not.
    """

    def __init__(self, device: str = "", cores: int | None = None) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs,))
        with mock.patch.dict(os.environ, process_environment(device)), _on_cores(cores):
            self.process.start()
        theirs.close()

    def tell(self, function: Callable[..., Any], *given: Any) -> None:
        """Have a function called in the process."""
        with contextlib.suppress(ConnectionError):  # `answer` says that it has ended
            self.pipe.send((function, given))

    def answer(self, longest: float | None = None) -> Any:
        """Wait for what the function returns."""
        try:
            if not self.pipe.poll(longest):
                raise ProcessFailed(f"it did not end within {longest:g} s")
            failure, answer = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            raise ProcessFailed(f"its process ended with status {self.process.exitcode}") from None
        if failure:
            raise ProcessFailed(failure)
        return answer

    def ask(self, function: Callable[..., Any], *given: Any) -> Any:
        """Have a function called, and wait for what it returns."""
        self.tell(function, *given)
        return self.answer()

    def close(self) -> None:
        """End the process."""
        self.pipe.close()  # at which it ends by itself, unless it is at work
        self.process.join(GRACE)
        self.process.kill()
        self.process.join()


@contextlib.contextmanager
def _on_cores(count: int | None) -> Iterator[None]:
    """Give a process that is started inside fewer cores, before any library counts them."""
    if count is None:
        yield
        return
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_of_them)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


def _serve(pipe: Any) -> None:
    """Call what is asked for until the other end is closed; a failure is answered as one line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program that started it ends it
    with contextlib.suppress(EOFError):
        while True:
            function, given = pipe.recv()
            failure, answer = "", None
            try:
                answer = function(*given)
            except Exception as error:  # whatever it is, the measurement goes on without it and says why
                kind = "" if isinstance(error, ArgumentError) else f"{type(error).__name__}: "
                failure = f"{kind}{one_line(error)}"[:300]
            pipe.send((failure, answer))


def in_processes(
    what: str,
    function: Callable[..., Any],
    device: str,
    given: Sequence[Sequence[Any]],
    longest: float | None = None,
) -> list[Any]:
    """Call a function in several fresh processes at once; returns what each returns."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(contextlib.closing(Worker(device))) for _ in given]
        for worker, arguments in zip(workers, given, strict=True):
            worker.tell(function, *arguments)
        try:
            return [worker.answer(longest) for worker in workers]
        except ProcessFailed as failed:
            raise ProcessFailed(f"{what} failed: {failed}") from None


def in_process(what: str, function: Callable[..., Any], device: str, *given: Any) -> Any:
    """Call a function in a fresh process, whose memory and settings are its own."""
    return in_processes(what, function, device, [given])[0]
