"""The meeting of a run's processes: they find each other before JAX starts, and notice when one of them is gone.

JAX's own service tells of a dead process late, and by aborting the others. So each process holds a connection to
process 0, which the system closes when either end dies, however it dies. Lines of JSON go over it.
"""

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from jaxmlp import ArgumentError
from jaxmlp.cli.options import split_address

BEAT, SILENCE = 1.0, 15.0  # seconds between signs of life, and without one until a process counts as gone
GREETING = 5.0  # seconds that a newcomer has to say who it is
LONGEST_LINE = 2**16

Message = dict[str, Any]


class Connection:
    """A connection to another process; several threads may send."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._lines = connected.makefile("r", encoding="utf-8")
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        """Send, if there is still somebody; who has gone is noticed where is read."""
        with self._sending, contextlib.suppress(OSError):
            self.socket.sendall((json.dumps(message) + "\n").encode())

    def read(self, seconds: float) -> Message | None:
        """Wait for a message; None where the other end is gone, silent or speaks another language."""
        try:
            self.socket.settimeout(seconds)
            line = self._lines.readline(LONGEST_LINE)
            message = json.loads(line) if line.endswith("\n") else None
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, ValueError):
            self._lines.close()
        self.socket.close()


class Meeting:
    """The connections of this process: to process 0, or of process 0 to all others.

    Attributes:
        lost: the line that says who is gone; None as long as nobody is.
        advice: how to go on, in words, as process 0 says it.
    """

    def __init__(
        self, index: int, count: int, connections: dict[int, Connection], service: tuple[str, int]
    ) -> None:
        self.index, self.count, self.connections, self.service = index, count, connections, service
        self.lost: str | None = None
        self.advice = ""
        self.verdict = threading.Event()
        # What each of the others said, for `settle`; None where nothing more will come.
        self._said: dict[int, queue.SimpleQueue[Message | None]] = {
            other: queue.SimpleQueue() for other in connections
        }
        self._listeners: list[threading.Thread] = []
        self._parted = threading.Event()
        self._lock = threading.Lock()

    def watch(self, on_loss: Callable[[str], None]) -> None:
        """Watch the others from now on, in threads of their own."""
        self._on_loss = on_loss
        threading.Thread(target=self._beat, daemon=True).start()
        for other, connection in self.connections.items():
            listener = threading.Thread(target=self._listen, args=(other, connection), daemon=True)
            self._listeners.append(listener)
            listener.start()

    def advise(self, advice: str) -> None:
        """Tell all how to go on if one of them should be gone."""
        self.advice = advice
        self._send_all({"advice": advice})

    def fail(self, why: str) -> None:
        """Tell the others that this process ends with an error."""
        self._send_all({"failed": why})

    def settle(self, said: Message, judge: Callable[[dict[int, Message]], str | None]) -> str | None:
        """Let process 0 compare what each process says, and tell all what is wrong; all of them call it.

        Where something is wrong, the meeting ends, and process 0 waits until all have heard why.
        """
        if self.index > 0:
            self._send_all({"said": said})
            wrong = self._hear(0).get("wrong")
            if wrong is not None:
                self.part()
            return wrong
        wrong = judge({0: said} | {other: self._hear(other) for other in sorted(self.connections)})
        if wrong is not None:
            self._parted.set()
        self._send_all({"said": {"wrong": wrong}})
        if wrong is not None:
            for listener in self._listeners:  # each ends when its process has parted or is gone
                listener.join(SILENCE)
        return wrong

    def _hear(self, other: int) -> Message:
        said = self._said[other].get()
        if said is None:
            raise ConnectionError(self.lost or f"process {other} of {self.count} has ended")
        return said

    def part(self) -> None:
        """End the meeting, as all is done that is done together."""
        self._parted.set()
        self._send_all({"done": True})

    def _send_all(self, message: Message) -> None:
        for connection in self.connections.values():
            connection.send(message)

    def _beat(self) -> None:
        while not self._parted.wait(BEAT):
            self._send_all({})

    def _listen(self, other: int, connection: Connection) -> None:
        while (message := connection.read(SILENCE)) is not None:
            if message.get("done"):
                self._said[other].put(None)
                return
            self.advice = message.get("advice", self.advice)
            if "said" in message:
                self._said[other].put(message["said"])
            if "failed" in message:
                self._lose(f"process {other} of {self.count} ended with an error: {message['failed']}")
                return
            if "lost" in message:
                itself = message["lost"] == self._gone(self.index)
                without = f"this process was not heard for {SILENCE:g} s, and the others end without it"
                self._lose(without if itself else message["lost"])
                return
        self._lose(self._gone(other))

    def _gone(self, index: int) -> str:
        return f"process {index} of {self.count} is gone"

    def _lose(self, line: str) -> None:
        with self._lock:
            if self.lost is not None or self._parted.is_set():
                return
            self.lost = line
        if self.index == 0:
            self._send_all({"lost": line})
        self._on_loss(line)
        self.verdict.set()
        for said in self._said.values():
            said.put(None)


# --- how they find each other ---


def meet(address: str, index: int, count: int, seconds: float) -> Meeting:
    """Wait until all processes are there."""
    host, port = split_address(address)
    deadline = time.monotonic() + seconds
    if index > 0:
        return _join(host, port, index, count, deadline, seconds)
    try:
        listener = socket.create_server((host, port), family=_family(host, port))
    except OSError as error:
        raise ArgumentError(
            f"process 0 cannot listen at {address} ({_reason(error)}): give --coordinator an address of its machine "
            "and a port that is free"
        ) from None
    with listener:
        return _gather(listener, count, deadline, seconds)


def _gather(listener: socket.socket, count: int, deadline: float, seconds: float) -> Meeting:
    there: dict[int, Connection] = {}
    host = listener.getsockname()[0]
    while len(there) < count - 1:
        listener.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            connection = Connection(listener.accept()[0])
        except TimeoutError:
            missing = ", ".join(str(index) for index in range(1, count) if index not in there)
            why = f"of {count} processes these did not come within {seconds:g} s: {missing}"
            for connection in there.values():
                connection.send({"refused": why})
                connection.close()
            raise ArgumentError(
                f"{why}: start each with the same --coordinator and --num-processes"
            ) from None
        hello = connection.read(GREETING) or {}
        newcomer = hello.get("hello")
        if not isinstance(newcomer, int):  # no process of ours
            connection.close()
        elif hello.get("of") != count or not 0 < newcomer < count or newcomer in there:
            why = f"process 0 waits for processes 1 to {count - 1} of {count}"
            taken = f", and a process {newcomer} is there already" if newcomer in there else ""
            connection.send({"refused": f"{why}{taken}"})
            connection.close()
        else:
            there[newcomer] = connection
    service = (host, free_port(host))
    for connection in there.values():
        connection.send({"welcome": service[1]})
    return Meeting(0, count, there, service)


def _join(host: str, port: int, index: int, count: int, deadline: float, seconds: float) -> Meeting:
    where = f"process 0 at {host}:{port}"
    while True:
        try:
            connected = socket.create_connection((host, port), max(0.01, deadline - time.monotonic()))
            break
        except OSError as error:  # it may not have begun yet
            if time.monotonic() + BEAT / 4 >= deadline:
                raise ArgumentError(
                    f"{where} was not reached within {seconds:g} s ({_reason(error)}): start it with the same "
                    "--coordinator and with --process-id 0"
                ) from None
            time.sleep(BEAT / 4)
    connection = Connection(connected)
    connection.send({"hello": index, "of": count})
    answer = connection.read(max(GREETING, deadline - time.monotonic() + GREETING)) or {}
    if "refused" in answer:
        raise ArgumentError(f"{where} refused process {index} of {count}: {answer['refused']}")
    if not isinstance(answer.get("welcome"), int):
        raise ArgumentError(f"{where} did not answer as train.py does: give --coordinator its address")
    return Meeting(index, count, {0: connection}, (connected.getpeername()[0], answer["welcome"]))


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def free_port(host: str) -> int:
    """Find a port that nobody listens at."""
    with socket.create_server((host, 0), family=_family(host, 0)) as probe:
        return probe.getsockname()[1]


# --- JAX's own connections ---


@contextlib.contextmanager
def relay(service: tuple[str, int]) -> Iterator[str]:
    """Pass JAX's connections on to its service at process 0, inside a `with`.

    If process 0 dies, JAX aborts its process at once when it sees its connection closed. Through here it does
    not see that, and there is time to say who is gone and to end in order.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    ends = contextlib.ExitStack()

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                _link(ends.enter_context(listener.accept()[0]), service, ends)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        listener.close()
        ends.close()


def _link(near: socket.socket, service: tuple[str, int], ends: contextlib.ExitStack) -> None:
    try:
        far = ends.enter_context(socket.create_connection(service))
    except OSError:  # it may not have begun yet; JAX tries again
        near.close()
        return
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=_pump, args=(near, far, True), daemon=True).start()
    threading.Thread(target=_pump, args=(far, near, False), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, passes_end: bool) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            sink.sendall(data)
        if passes_end:
            sink.shutdown(socket.SHUT_WR)
