"""The records of a run: the table, and the events for TensorBoard, which are read back and compared with it."""

import csv
import math
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import BRIEF, no_room, run_experiment, train_ok

from jaxmlp import EpochReport
from jaxmlp.cli.records import EVENTS, METRICS, EventFile, add_row, write_metrics


def report(epoch: int, train_loss: float = 1 / 3, valid_loss: float | None = None) -> EpochReport:
    return EpochReport(epoch, train_loss, 0.5, valid_loss, valid_loss, 2.0, (0.1, 0.2), 0.01, 100.0)


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_have_a_row_an_epoch_and_every_digit(tmp_path: Path) -> None:
    write_metrics(tmp_path, [report(1), report(2, math.nan)], "accuracy")
    first, second = read(tmp_path)
    assert (first["epoch"], second["epoch"]) == ("1", "2")
    assert float(first["train_loss"]) == 1 / 3
    assert second["train_loss"] == "nan"  # a diverged epoch is shown as such
    assert first["valid_loss"] == second["valid_loss"] == ""  # what was never measured is left empty
    assert first["max_weight_2"] == second["max_weight_2"] == "0.2"


@pytest.mark.parametrize("valid_loss", [None, 0.25, math.nan])
def test_rows_added_singly_are_the_table_written_at_once(valid_loss: float | None, tmp_path: Path) -> None:
    history = [report(epoch, 1 / epoch, valid_loss) for epoch in (1, 2, 3)]
    write_metrics(tmp_path, history, "accuracy")
    at_once = (tmp_path / METRICS).read_bytes()
    write_metrics(tmp_path, history[:1], "accuracy")  # cuts off the others
    assert len(read(tmp_path)) == 1
    for row in history[1:]:
        add_row(tmp_path, row, "accuracy")
    assert (tmp_path / METRICS).read_bytes() == at_once


def test_the_first_row_brings_the_names_of_the_columns(tmp_path: Path) -> None:
    write_metrics(tmp_path, [], "r2")
    assert (tmp_path / METRICS).read_bytes() == b""
    add_row(tmp_path, report(1), "r2")
    assert read(tmp_path)[0]["train_r2"] == "0.5"


def half(*given: object) -> Iterator[list[str]]:
    yield ["2", "0.1"]
    no_room()


@pytest.mark.parametrize(
    ("part", "stop", "write"),
    [
        ("jaxmlp.files.os.replace", no_room, lambda folder: write_metrics(folder, [report(2)], "accuracy")),
        ("jaxmlp.cli.records._rows", half, lambda folder: add_row(folder, report(2), "accuracy")),
    ],
)
def test_what_cannot_be_written_leaves_the_table_as_it_was(
    part: str, stop: Any, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metrics(tmp_path, [report(1)], "accuracy")
    before = (tmp_path / METRICS).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(part, stop)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path)
    assert (tmp_path / METRICS).read_bytes() == before
    add_row(tmp_path, report(2), "accuracy")
    assert [row["epoch"] for row in read(tmp_path)] == ["1", "2"]


# --- events ---


def records(data: bytes) -> Iterator[bytes]:
    """The records of a tfrecord file, each checked by its sums: length, sum of it, content, sum of it."""
    from tensorboardX.record_writer import masked_crc32c

    while data:
        (length,) = struct.unpack("<Q", data[:8])
        content, sum_of_content = data[12 : 12 + length], data[12 + length : 16 + length]
        sums = [struct.unpack("<I", each)[0] for each in (data[8:12], sum_of_content)]
        assert sums == [masked_crc32c(data[:8]), masked_crc32c(content)]
        yield content
        data = data[16 + length :]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of every curve as TensorBoard shows them: a later start hides points from its epoch on."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    shown: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((folder / EVENTS).iterdir()):
        for record in records(path.read_bytes()):
            event = Event.FromString(record)
            if event.session_log.status == SessionLog.START:
                for name, points in shown.items():
                    shown[name] = [point for point in points if point[0] < event.step]
            for value in event.summary.value:
                shown.setdefault(value.tag, []).append((event.step, value.simple_value))
    return shown


def add(folder: Path, *rows: EpochReport) -> None:
    """Add points in a file of their own, as a run does that is begun or resumed."""
    events = EventFile(folder)
    for row in rows:
        events.add(row, "accuracy")
    events.close()


@pytest.mark.slow
def test_events_of_a_run_are_its_table_and_a_resumed_one_goes_on_with_them(tmp_path: Path) -> None:
    brief = (*BRIEF, "--dataset", "moons", "--examples", "60", "--tensorboard")
    train_ok(tmp_path, *brief, "--epochs", "3")
    for epochs in (3, 5):
        if epochs == 5:
            assert run_experiment("train", "--resume", tmp_path, "--epochs", "5", "--quiet").status == 0
        rows, points = read(tmp_path), curves(tmp_path)
        assert points == {
            name: [(int(row["epoch"]), float(np.float32(row[name]))) for row in rows]
            for name in rows[0]
            if name != "epoch"
        }
        assert {"train_loss", "test_accuracy", "gradient_norm"} <= set(points)
        assert [epoch for epoch, _ in points["train_loss"]] == list(range(1, epochs + 1))


def test_what_was_not_measured_has_no_curve_and_every_point_is_written_at_once(tmp_path: Path) -> None:
    events = EventFile(tmp_path)
    events.add(report(1), "accuracy")
    points = curves(tmp_path)  # before the file is closed, as of a run that is killed then
    events.close()
    assert [name for name in points if name.startswith("valid")] == []
    assert points["train_loss"] == [(1, float(np.float32(1 / 3)))]
    assert points["max_weight_2"] == [(1, float(np.float32(0.2)))]


def test_points_of_epochs_that_are_done_again_are_hidden(tmp_path: Path) -> None:
    add(tmp_path, *(report(epoch, valid_loss=9.0) for epoch in (1, 2, 3, 4)))
    add(tmp_path, report(3, valid_loss=0.25))
    assert curves(tmp_path)["valid_loss"] == [(1, 9.0), (2, 9.0), (3, 0.25)]


def test_files_are_in_order_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch, clock in ((1, 2e9), (2, 1e9), (3, 1e9)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        add(tmp_path, report(epoch))
    assert len(list((tmp_path / EVENTS).iterdir())) == 3
    assert [epoch for epoch, _ in curves(tmp_path)["train_loss"]] == [1, 2, 3]


def test_a_disk_that_is_full_for_a_while_ends_no_training(tmp_path: Path) -> None:
    # A thread that writes would die of it, and leave the training waiting.
    from tensorboardX.record_writer import RecordWriter

    events = EventFile(tmp_path)
    events.add(report(1), "accuracy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordWriter, "flush", no_room)
        for epoch in range(2, 40):
            with pytest.raises(OSError, match="No space left"):
                events.add(report(epoch), "accuracy")
    events.add(report(40), "accuracy")
    events.close()
    assert {1, 40} <= {epoch for epoch, _ in curves(tmp_path)["train_loss"]}


def test_a_damaged_record_is_caught_here(tmp_path: Path) -> None:
    add(tmp_path, report(1))
    (path,) = (tmp_path / EVENTS).iterdir()
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(AssertionError):
        curves(tmp_path)


def test_a_missing_package_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    outcome = run_experiment("train", *BRIEF, "--tensorboard", "--out", tmp_path / "run")
    assert outcome.error_line == (
        'train.py: --tensorboard needs the package tensorboardX: python -m pip install -e ".[tensorboard]"'
    )
    assert not (tmp_path / "run").exists()
