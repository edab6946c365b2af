"""Devices and processes of a run: how many take part, how they start together, and how they end if one is gone."""

import contextlib
import hashlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NoReturn

import jax
from tqdm import tqdm

from jaxmlp import ArgumentError
from jaxmlp.cli.meeting import SILENCE, Meeting, Message, meet, relay
from jaxmlp.cli.options import USAGE_ERROR, ProcessOptions
from jaxmlp.cli.session import INTERRUPTED, one_line

START = 120.0  # seconds that processes wait for each other at the start
GRACE = 10.0  # seconds that a process has to end in order after another one is gone
# A process that was killed is noticed at once, a machine that vanished after SILENCE: the others end within
# SILENCE + GRACE seconds.
JAX_SILENCE, JAX_END = 300, 600  # seconds; longer, so that it is not JAX that ends the others, by an abort
LOST = 3  # the exit status where another process is gone

# What each process may have of its own; all else that train.py is told must be the same.
OWN = (
    "process_id",
    "devices",
    "device",
    "out",
    "resume",
    "dataset",
    "data_dir",
    "manual_dir",
    "time_limit",
    "checkpoint_every",
    "keep",
    "tensorboard",
    "pictures",
    "quiet",
    "coordinator",
    "compilation_cache",
)


class Group:
    """The processes of a run, as one of them sees it."""

    def __init__(self, meeting: Meeting | None, devices: int | None) -> None:
        self._meeting, self._devices = meeting, devices
        self._parted = False
        self._taking_part: Message = {}

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that prints and writes files."""
        return self._meeting is None or self._meeting.index == 0

    def devices(self, platform: str) -> list[jax.Device] | None:
        """Choose the devices that share each minibatch."""
        if self._meeting is None and self._devices is None:
            return None
        local = jax.local_devices(backend=platform)
        if self._devices is not None and self._devices > len(local):
            raise ArgumentError(
                f"--devices {self._devices}: this process has {len(local)} of platform {platform}: "
                f"give at most {len(local)}"
            )
        by_process: dict[int, list[jax.Device]] = {}
        for device in jax.devices(platform):
            by_process.setdefault(device.process_index, []).append(device)
        self._taking_part = {"platform": platform, "devices": len(local[: self._devices])}
        return [device for own in by_process.values() for device in own[: self._devices]]

    def agree(self, items: Mapping[str, Any]) -> None:
        """Compare what all processes must have alike: these items, and the devices that were chosen last."""
        if self._meeting is None:
            return
        sums = {
            name: hashlib.sha256(json.dumps(item, sort_keys=True, default=str).encode()).hexdigest()
            for name, item in items.items()
        }
        difference = self._meeting.settle(self._taking_part | {"sums": sums}, find_difference)
        if difference is not None:
            raise ArgumentError(difference)

    def advise(self, advice: str) -> None:
        """Say how to go on if a process should be gone; process 0 says it for all."""
        if self._meeting is not None and self.is_first:
            self._meeting.advise(advice)

    def part(self) -> None:
        """End what is done together: from here on each process goes on or ends by itself."""
        if self._meeting is not None and not self._parted:
            jax.distributed.shutdown()  # waits for all
            self._meeting.part()
            self._parted = True


def find_difference(said: Mapping[int, Message]) -> str | None:
    """Find where a process differs from process 0."""
    first = said[0]
    for index, other in said.items():
        names = [name for name in first["sums"] if other["sums"].get(name) != first["sums"][name]]
        if other.get("platform") != first.get("platform"):
            names.insert(0, "--device")
        if names:
            return f"process {index} of {len(said)} has another {names[0]} than process 0: start all of them alike"
    for index, other in said.items():
        if other.get("devices") != first.get("devices"):
            least = min(each["devices"] for each in said.values())
            return (
                f"process {index} of {len(said)} takes part with {other['devices']} of its devices and process 0 "
                f"with {first['devices']}, but all must with as many: start each with --devices {least}"
            )
    return None


@contextlib.contextmanager
def together(options: ProcessOptions, program: str) -> Iterator[Group]:
    """Start this process's part of a run inside a `with`, before JAX first computes."""
    _count_devices(options.devices)
    if options.coordinator is None:
        yield Group(None, options.devices)
        return
    assert options.num_processes is not None
    assert options.process_id is not None
    meeting = meet(options.coordinator, options.process_id, options.num_processes, START)
    meeting.watch(partial(_tell_loss, meeting, program))
    with relay(meeting.service) as relayed:
        try:
            _start_jax(meeting, relayed)
            group = Group(meeting, options.devices)
            yield group
            group.part()
        except BaseException as error:
            _end_early(meeting, program, error)


def _count_devices(devices: int | None) -> None:
    """Make a CPU so many devices; GPUs are counted by themselves."""
    if devices is None:
        return
    try:
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError:  # JAX has begun: what is there is counted when the devices are chosen
        return


def _start_jax(meeting: Meeting, relayed: str) -> None:
    host, port = meeting.service
    bound = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    os.environ.setdefault("no_grpc_proxy", "127.0.0.1")  # no proxy leads to this machine, so that
    jax.config.update("jax_check_proxy_envs", False)  # there is nothing to warn of
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # train.py takes signals itself
    jax.distributed.initialize(
        bound if meeting.index == 0 else relayed,
        meeting.count,
        meeting.index,
        cluster_detection_method="deactivate",
        initialization_timeout=int(START),
        heartbeat_timeout_seconds=JAX_SILENCE,
        shutdown_timeout_seconds=JAX_END,
        coordinator_bind_address=bound,
    )


def _tell_loss(meeting: Meeting, program: str, line: str) -> None:
    """Say who is gone, at once, and see to it that this process ends soon, whatever it is doing."""
    advice = f": {meeting.advice}" if meeting.advice else ""
    tqdm.write(f"{program}: {line}{advice}", file=sys.stderr)
    sys.stderr.flush()
    timer = threading.Timer(GRACE, os._exit, (LOST,))
    timer.daemon = True
    timer.start()


def _end_early(meeting: Meeting, program: str, error: BaseException) -> NoReturn:
    """End this process with one line, and without JAX's own end, which would wait for the others."""
    # A collective fails a moment before, or long after, the connection of the process that is gone.
    if isinstance(error, jax.errors.JaxRuntimeError) and not meeting.verdict.wait(SILENCE + 5):
        traceback.print_exception(error)
    status = LOST
    if meeting.lost is not None:
        meeting.verdict.wait(GRACE)  # until the line that says who is gone is out
    else:
        status, line = 1, f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            status, line = INTERRUPTED, "interrupted"
        elif isinstance(error, ArgumentError | OSError):
            status, line = USAGE_ERROR, one_line(error)
        elif not isinstance(error, jax.errors.JaxRuntimeError):
            traceback.print_exception(error)
        print(f"{program}: {' '.join(line.split())}", file=sys.stderr)
        meeting.fail(" ".join(line.split())[:500])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
