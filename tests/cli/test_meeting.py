"""Processes find each other or say why not, and notice at once when one of them is gone."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from jaxmlp import ArgumentError
from jaxmlp.cli import meeting
from jaxmlp.cli.meeting import Meeting, free_port, meet, relay
from jaxmlp.cli.options import split_address

LONG = 30.0  # seconds that no test needs


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Call functions side by side; what each returned or raised."""
    found: list[Any] = [None] * len(calls)

    def call(place: int) -> None:
        try:
            found[place] = calls[place]()
        except ArgumentError as error:
            found[place] = error

    threads = [threading.Thread(target=call, args=(place,), daemon=True) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    return found


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port('127.0.0.1')}"


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every connection at the end, also those of processes that were refused."""
    opened: list[meeting.Connection] = []

    class Noted(meeting.Connection):
        def __init__(self, connected: socket.socket) -> None:
            super().__init__(connected)
            opened.append(self)

    monkeypatch.setattr(meeting, "Connection", Noted)
    yield
    for connection in opened:
        connection.close()


@pytest.fixture
def three(address: str) -> list[Meeting]:
    """The meetings of three processes."""
    return at_once(*[lambda index=index: meet(address, index, 3, LONG) for index in range(3)])


def watch(met: list[Meeting]) -> list[list[str]]:
    """Let all watch; what each was told."""
    told: list[list[str]] = [[] for _ in met]
    for each, lines in zip(met, told, strict=True):
        each.watch(lines.append)
    return told


def die(gone: Meeting) -> None:
    """Do what the system does when a process is killed."""
    gone.lost = "itself"  # a dead process says nothing more
    for connection in gone.connections.values():
        connection.close()


def test_all_are_told_where_the_service_is(three: list[Meeting]) -> None:
    assert [each.index for each in three] == [0, 1, 2]
    assert {each.service for each in three} == {three[0].service}
    assert sorted(three[0].connections) == [1, 2]


@pytest.mark.parametrize("dead", [0, 2])
def test_the_others_notice_who_is_gone(three: list[Meeting], dead: int) -> None:
    told = watch(three)
    three[0].advise("go on so")
    die(three[dead])
    for index in {0, 1, 2} - {dead}:
        assert three[index].verdict.wait(LONG)
        assert told[index] == [f"process {dead} of 3 is gone"]
        assert three[index].advice == "go on so"


def test_one_that_is_silent_counts_as_gone(three: list[Meeting], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "BEAT", 0.1)
    monkeypatch.setattr(meeting, "SILENCE", 1.5)
    told = watch(three[:2])  # the third sends nothing
    assert all(each.verdict.wait(LONG) for each in three[:2])
    assert told == [["process 2 of 3 is gone"]] * 2


def test_those_that_live_are_not_taken_for_gone(
    three: list[Meeting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "BEAT", 0.05)
    monkeypatch.setattr(meeting, "SILENCE", 2.0)
    told = watch(three)
    assert not three[1].verdict.wait(2.5)
    for each in three:
        each.part()
    die(three[0])
    assert not three[1].verdict.wait(0.5), "after its end a process may go"
    assert told == [[], [], []]


def test_an_error_is_told_to_the_others(three: list[Meeting]) -> None:
    told = watch(three)
    three[1].fail("no such file")
    for index in (0, 2):
        assert three[index].verdict.wait(LONG)
        assert told[index] == ["process 1 of 3 ended with an error: no such file"]


def test_one_that_counts_as_gone_does_not_speak_of_itself_as_of_another(
    three: list[Meeting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "BEAT", 0.1)
    monkeypatch.setattr(meeting, "SILENCE", 1.5)
    told = watch(three[:2])
    assert three[0].verdict.wait(LONG)
    told += watch(three[2:])  # it goes on, as after a SIGSTOP and a SIGCONT
    assert three[2].verdict.wait(LONG)
    assert told[1:] == [
        ["process 2 of 3 is gone"],
        ["this process was not heard for 1.5 s, and the others end without it"],
    ]


def settle(met: list[Meeting], *said: int) -> list[Any]:
    """Let all find out who says something else than process 0; what each was told, or raised."""

    def judge(everyone: dict[int, dict[str, Any]]) -> str | None:
        others = [index for index, each in everyone.items() if each != everyone[0]]
        return f"not alike: {others}" if others else None

    def call(each: Meeting, number: int) -> Any:
        try:
            return each.settle({"number": number}, judge)
        except ConnectionError as error:
            return error

    return at_once(*[partial(call, each, number) for each, number in zip(met, said, strict=True)])


def test_what_all_say_is_compared_as_often_as_they_like(three: list[Meeting]) -> None:
    told = watch(three)
    assert settle(three, 1, 1, 1) == [None] * 3
    assert settle(three, 2, 2, 3) == ["not alike: [2]"] * 3
    for each in three:  # each ends by itself, in whatever order, and nobody is told that another is gone
        each.fail("not alike: [2]")
        die(each)
    assert not any(each.verdict.wait(0.3) for each in three)
    assert told == [[], [], []]


def test_process_0_does_not_end_before_all_have_heard_what_is_wrong(
    three: list[Meeting], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(three)
    ended: list[int] = []
    part, real_settle = Meeting.part, Meeting.settle

    def part_late(self: Meeting) -> None:
        time.sleep(0.5)
        ended.append(self.index)
        part(self)

    def settle_and_end(self: Meeting, *arguments: Any) -> str | None:
        wrong = real_settle(self, *arguments)
        if self.index == 0:
            ended.append(0)
        return wrong

    monkeypatch.setattr(Meeting, "part", part_late)
    monkeypatch.setattr(Meeting, "settle", settle_and_end)
    assert settle(three, 1, 2, 1) == ["not alike: [1]"] * 3
    assert sorted(ended[:2]) == [1, 2]
    assert ended[2:] == [0]


@pytest.mark.parametrize("dead", [0, 2])
def test_none_waits_for_the_word_of_one_that_is_gone(three: list[Meeting], dead: int) -> None:
    watch(three)
    there = [three[index] for index in range(3) if index != dead]
    threading.Timer(0.3, die, (three[dead],)).start()
    for found in settle(there, 1, 1):
        assert isinstance(found, ConnectionError)
        assert str(found) == f"process {dead} of 3 is gone"


def test_none_waits_for_the_word_of_one_that_has_parted(three: list[Meeting]) -> None:
    watch(three)
    three[0].part()
    assert [str(found) for found in settle(three[1:], 1, 1)] == ["process 0 of 3 has ended"] * 2


def test_who_does_not_come_is_named(address: str) -> None:
    first, second = at_once(lambda: meet(address, 0, 3, 1.5), lambda: meet(address, 1, 3, LONG))
    assert "of 3 processes these did not come within 1.5 s: 2" in str(first)
    assert "refused process 1 of 3" in str(second)
    assert "did not come within 1.5 s: 2" in str(second)


def test_without_a_process_0_the_wait_ends(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(ArgumentError, match=r"process 0 at 127.0.0.1:\d+ was not reached within 0.5 s"):
        meet(address, 1, 2, 0.5)
    assert time.monotonic() - began < LONG


def test_another_number_of_processes_and_the_same_number_twice_are_refused(address: str) -> None:
    def late(index: int, count: int) -> Any:
        time.sleep(0.5)
        return meet(address, index, count, LONG)

    first, one, other, twice, two = at_once(
        lambda: meet(address, 0, 3, LONG),
        lambda: meet(address, 1, 3, LONG),
        lambda: late(2, 4),
        lambda: late(1, 3),
        lambda: (time.sleep(1.5), meet(address, 2, 3, LONG))[1],
    )
    assert isinstance(first, Meeting) and isinstance(one, Meeting) and isinstance(two, Meeting)  # noqa: PT018
    assert "refused process 2 of 4: process 0 waits for processes 1 to 2 of 3" in str(other)
    assert "a process 1 is there already" in str(twice)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"hello": "1", "of": 2}\n'])
def test_a_stranger_is_passed_over(address: str, said: bytes) -> None:
    def stranger() -> None:
        host, port = split_address(address)
        for _ in range(100):
            try:
                with socket.create_connection((host, port), LONG) as connected:
                    connected.sendall(said)
                return
            except ConnectionRefusedError:
                time.sleep(0.02)

    def late() -> Any:
        time.sleep(0.5)
        return meet(address, 1, 2, LONG)

    first, _, second = at_once(lambda: meet(address, 0, 2, LONG), stranger, late)
    assert isinstance(first, Meeting)
    assert isinstance(second, Meeting)


def test_another_program_at_the_address_is_told_of(address: str) -> None:
    host, port = split_address(address)
    with socket.create_server((host, port)) as other:

        def serve() -> None:
            connected, _ = other.accept()
            connected.recv(100)
            connected.sendall(json.dumps({"status": 404}).encode() + b"\n")
            connected.close()

        _, found = at_once(serve, lambda: meet(address, 1, 2, LONG))
        assert "did not answer as train.py does" in str(found)
        with pytest.raises(ArgumentError, match=r"cannot listen at .* in use"):
            meet(address, 0, 2, LONG)


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:0", "host:65536", "host:x", "host:-1", "host:８０"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="--coordinator takes HOST:PORT"):
        split_address(text)


def test_addresses_are_read() -> None:
    assert split_address("machine:80") == ("machine", 80)
    assert split_address("[::1]:80") == ("::1", 80)


def test_the_relay_passes_on_and_hides_the_end_of_the_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, relay(service.getsockname()[:2]) as relayed:
        near = socket.create_connection(split_address(relayed), LONG)
        far, _ = service.accept()
        near.sendall(b"there")
        assert far.recv(100) == b"there"
        far.sendall(b"back")
        assert near.recv(100) == b"back"
        far.close()
        near.settimeout(0.5)
        with pytest.raises(TimeoutError):
            near.recv(100)
        near.close()


def test_the_relay_outlives_a_service_that_is_late() -> None:
    port = free_port("127.0.0.1")
    with relay(("127.0.0.1", port)) as relayed:
        with socket.create_connection(split_address(relayed), LONG) as early:
            assert early.recv(100) == b""
        with (
            socket.create_server(("127.0.0.1", port)) as service,
            socket.create_connection(split_address(relayed), LONG) as late,
        ):
            far, _ = service.accept()
            late.sendall(b"there")
            assert far.recv(100) == b"there"
            far.close()
