"""Several devices and processes in one run: JAX's coordinator and heartbeat, and what all must have alike.

Where a process dies, JAX ends the others: at once if it was process 0, else when its heartbeat has been missing for
`HEARTBEAT` seconds. The run goes on from its last checkpoint.
"""

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxmlp import ArgumentError
from jaxmlp.cli.options import ProcessOptions, split_address
from jaxmlp.cli.session import tell, use_cores
from jaxmlp.door import one_line, tell_error

START = 120  # seconds that processes wait for each other at the start
HEARTBEAT = 20  # seconds without a heartbeat until a process counts as dead


class Group:
    """The processes of a run, as one of them sees it."""

    def __init__(self, options: ProcessOptions) -> None:
        self._devices, self.count = options.devices, options.num_processes or 1
        self.is_first = not options.process_id  # the one process that prints and writes files
        self.has_parted = self.count == 1

    def devices(self, platform: str) -> list[jax.Device] | None:
        """Choose the devices that share each minibatch."""
        if self.count == 1 and self._devices is None:
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
        for index, others in by_process.items():
            if len(others) != len(by_process[0]):
                self.part()
                least = min(map(len, by_process.values()))
                raise ArgumentError(
                    f"process {index} of {self.count} has {len(others)} devices and process 0 has "
                    f"{len(by_process[0])}, but all must have as many: start each with --devices {least}"
                )
        return [device for own in by_process.values() for device in own[: self._devices]]

    def agree(self, items: Mapping[str, Any]) -> None:
        """Compare what all processes must have alike; where they differ, all of them refuse it by its name."""
        if self.has_parted:
            return
        texts = [json.dumps(item, sort_keys=True, default=str).encode() for item in items.values()]
        hashes = np.array([list(hashlib.sha256(text).digest()) for text in texts], np.uint8)
        gathered = multihost_utils.process_allgather(hashes)  # [processes, items, bytes]
        for index, place in np.argwhere(np.any(gathered != gathered[0], axis=2)):
            self.part()
            raise ArgumentError(
                f"process {index} of {self.count} has another {list(items)[place]} than process 0: "
                "start all of them alike"
            )

    def part(self) -> None:
        """End what is done together: from here on each process goes on or ends as it will."""
        if not self.has_parted:
            self.has_parted = True
            jax.distributed.shutdown()  # waits for all


@contextlib.contextmanager
def together(options: ProcessOptions) -> Iterator[Group]:
    """Start this process's part of a run inside a `with`, before JAX first computes."""
    if options.devices is not None:  # a CPU is made so many devices; GPUs are counted by themselves
        use_cores(options.devices)
    if options.coordinator is not None:
        _start(options.coordinator, options.num_processes or 1, options.process_id or 0)
    group = Group(options)
    try:
        yield group
        group.part()
    except BaseException as error:
        if group.has_parted:
            raise
        if group.count > 1 and not isinstance(error, ArgumentError | OSError | KeyboardInterrupt):
            tell(f"another process is gone, or this one has failed: {one_line(error)}")
            status = 1
        else:
            status = tell_error(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # JAX's own end would wait for the others


def _start(address: str, count: int, index: int) -> None:
    host, port = split_address(address)
    # JAX would abort with a trace of C++ where it cannot listen or reach process 0; this is one line.
    if index > 0:
        _wait_for(host, port)
    else:
        try:
            free_port(host, port)
        except OSError as error:
            raise ArgumentError(
                f"process 0 cannot listen at {address} ({error.strerror}): give --coordinator an address of its "
                "machine and a port that is free"
            ) from None
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # signals are taken by `interruption`
    jax.distributed.initialize(
        address,
        count,
        index,
        cluster_detection_method="deactivate",
        initialization_timeout=START,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=HEARTBEAT,
        coordinator_bind_address=address,
    )


def free_port(host: str, port: int = 0) -> int:
    """See that nobody listens at a port; 0 finds one."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.create_server((host, port), family=family) as probe:
        return probe.getsockname()[1]


def _wait_for(host: str, port: int) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            return socket.create_connection((host, port), timeout=HEARTBEAT).close()
        except OSError as error:  # it may not have begun yet
            if time.monotonic() >= deadline:
                raise ArgumentError(
                    f"process 0 at {host}:{port} was not reached within {START} s ({error.strerror or error}): start "
                    "it with the same --coordinator and with --process-id 0"
                ) from None
            time.sleep(0.25)
