"""What measurements share: their machine, their blocks of a file, their processes and the memory they take."""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import measurement
import numpy as np
import peak_memory
import pytest
from command_runs import BENCHMARKS, run_experiment
from comparisons import refused
from measurement import comments, difference, with_block
from peers.worker import set_up
from processes import ProcessFailed, Worker, in_process, in_processes, process_environment, run_program

from jaxmlp.cli.text import machine_line

BEGIN, END = comments("growth")
LARGE = 64 * 2**20
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a peak")


@pytest.mark.parametrize(
    "text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}", "".join(comments("stream"))]
)
def test_only_what_stands_between_two_comments_is_replaced(text: str) -> None:
    refused("README.md needs the line <!-- growth: begin -->", with_block, text, "growth", "new", "README.md")
    whole = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    assert with_block(whole, "growth", "new", "README.md") == whole.replace("old", "new")


def test_a_busy_machine_and_settings_that_change_times_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.7, 0, 0))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr(sys, "argv", ["growth.py", "--quick"])
    result = measurement.describe("a thing", "scikit-learn")
    assert "growth.py: the machine is busy (load average 1.70" in capsys.readouterr().err
    assert result["command"] == ["python", "experiments/benchmarks/growth.py", "--quick"]
    assert "scikit-learn" in result["machine"]["versions"]
    for said in ("load average at the start 1.70", "; OMP_WAIT_POLICY=PASSIVE"):
        assert said in machine_line(result["machine"])
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0, 0))
    assert measurement.tell_load() == 0.1
    assert capsys.readouterr().err == ""


def test_each_turn_has_an_order_drawn_for_it() -> None:
    orders = ["".join(measurement.drawn_order("abcdef", turn)) for turn in range(6)]
    assert all(sorted(order) == list("abcdef") for order in orders)
    assert orders[0] == "".join(measurement.drawn_order("abcdef", 0))  # seeded
    before_a = {order[order.index("a") - 1] for order in orders if order[0] != "a"}
    assert len(before_a) > 1  # a rotation would keep the same one before each


def test_differences_are_relative_to_the_largest() -> None:
    one, other = np.array([1.0, 4.0]), np.array([1.0, 5.0])
    assert difference([other, one], [other, other]) == pytest.approx(0.2)
    assert difference(np.zeros(2), np.zeros(2)) == 0
    # Python's own max would keep the number that came first.
    assert np.isnan(difference([np.array([np.nan]), one], [one[:1], other]))


WRONG: list[tuple[str, tuple[Any, ...], str]] = [
    ("stream", ("--rows", 0), "--rows must be at least 1, given 0"),
    ("stream", ("--epochs", 1), "--epochs must be at least 2"),
    ("stream", ("--part", 0), "--part must be above 0 and at most 1"),
    ("stream", ("--seed", -1), "--seed must be at least 0"),
    ("stream", ("--quick", "--rows", 50), "--rows must be at least 100, given 50"),
    ("checkpoints", ("--epochs", 1), "--epochs must be at least 2"),
    ("checkpoints", ("--repeats", 0), "--repeats must be at least 1"),
    ("devices", ("--epochs", 1), "--epochs must be at least 2"),
    ("devices", ("--sizes", 3), "--sizes takes two sizes or more"),
    ("devices", ("--optimizers", "sgd", "sgd"), "--optimizers takes each once, given sgd sgd"),
    ("devices", ("--batch-size", 0), "--batch-size must be at least 1"),
    *((name, ("--out", "no/x.json"), "x.json is not there") for name in ("stream", "checkpoints", "devices")),
]


@pytest.mark.parametrize(("script", "given", "words"), WRONG)
def test_wrong_options_are_refused_before_anything_is_made(
    script: str, given: tuple[Any, ...], words: str, tmp_path: Path
) -> None:
    place = ("--data-dir", tmp_path / "set") if script == "stream" else ()
    outcome = run_experiment(script, *given, *place)
    assert outcome.status == 2
    assert words in outcome.error_line
    assert list(tmp_path.iterdir()) == []


# --- processes ---


@pytest.mark.parametrize(("device", "hidden"), [("cpu:0", True), ("gpu:0", False), ("", False)])
def test_on_a_cpu_a_process_finds_no_gpu(device: str, hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    environment = process_environment(device)
    assert environment["CUDA_VISIBLE_DEVICES"] == ("" if hidden else "0")
    assert environment.get("JAX_PLATFORMS") == ("cpu" if hidden else None)


def test_a_function_is_called_in_a_process_and_what_fails_there_is_one_line() -> None:
    assert in_process("it", comments, "cpu", "growth") == (BEGIN, END)
    with pytest.raises(ProcessFailed, match=r"^it failed: README\.md needs the line"):
        in_process("it", with_block, "cpu", "", "growth", "new", "README.md")


def test_functions_run_side_by_side_and_not_for_ever() -> None:
    assert in_processes("they", len, "cpu", [("a",), ("",)]) == [1, 0]
    with pytest.raises(ProcessFailed, match=r"they failed: it did not end within 0\.1 s"):
        in_processes("they", time.sleep, "cpu", [(0,), (60,)], 0.1)


@needs_linux
def test_a_worker_uses_its_cores_and_says_how_it_ended() -> None:
    before = os.sched_getaffinity(0)
    with contextlib.closing(Worker("cpu", 1)) as worker:
        assert (worker.ask(os.sched_getaffinity, 0), os.sched_getaffinity(0)) == ({min(before)}, before)
        with pytest.raises(ProcessFailed, match="unknown peer"):
            worker.ask(set_up, "no such peer", None)
        worker.process.kill()
        worker.process.join()
        with pytest.raises(ProcessFailed, match="its process ended with status -9"):
            worker.ask(len, "")


# --- peak memory ---

FREEING = """
import numpy as np
import peak_memory

def hold(size):
    return np.ones(size, np.uint8)

def kept():
    hold(2**21)  # once freed, it has the C library keep such sizes
    own = peak_memory.begin_peak()
    many = [hold(2**20) for _ in range(64)]
    del many[:-1]  # the last holds the end of the heap, so that nothing is cut off there
    return peak_memory._read_status("VmRSS") - own

print(kept())
with peak_memory.returning_freed():
    print(kept())
print(kept())
"""


@needs_linux
def test_the_peak_is_of_what_was_held_since_the_beginning() -> None:
    own, held = peak_memory.begin_peak(), np.ones(2 * LARGE, np.uint8)
    assert own is not None
    assert peak_memory.peak_bytes() - own > 1.8 * LARGE  # type: ignore[operator]
    del held
    own = peak_memory.begin_peak()
    assert own is not None
    assert peak_memory.peak_bytes() - own < LARGE / 2  # type: ignore[operator]
    np.ones(LARGE, np.uint8)  # freed at once, and yet a peak
    assert 0.9 * LARGE < peak_memory.peak_bytes() - own < 1.5 * LARGE  # type: ignore[operator]


@needs_linux
@pytest.mark.skipif(peak_memory._c_library() is None, reason="only glibc can be told")
def test_freed_memory_goes_back_to_the_system_where_that_is_wanted_and_nowhere_else() -> None:
    # In a process of its own: what others have freed before would be taken again, and lies where it lies.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *filter(None, sys.path)])}
    told = run_program("it", ["-c", FREEING], environment)
    before, inside, after = map(int, told.split())
    assert before > 48 * 2**20
    assert inside < 8 * 2**20
    assert after > 48 * 2**20


def test_a_device_that_counts_for_itself_is_asked_and_where_no_peak_can_be_forgotten_none_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peak_memory, "FORGET", peak_memory.Path("/proc/is not there"))
    monkeypatch.setattr(peak_memory, "STATUS", peak_memory.Path("/proc/is not there"))
    assert (peak_memory.begin_peak(), peak_memory.peak_bytes()) == (None, None)
    told = {"bytes_in_use": 3, "peak_bytes_in_use": 7}
    monkeypatch.setattr(peak_memory, "_device_statistics", lambda: told)
    assert (peak_memory.begin_peak(), peak_memory.peak_bytes()) == (3, 7)
