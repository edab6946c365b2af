"""The records of a run: the table, and the events for TensorBoard, which are read back and compared with it."""

import csv
import math
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_runs import BRIEF, run_experiment, train_ok, write_pets

from jaxmlp import ArgumentError, EpochReport
from jaxmlp.cli.records import EVENTS, METRICS, add_row, event_file, write_metrics


def report(epoch: int, train_loss: float = 1 / 3, valid_loss: float | None = None) -> EpochReport:
    return EpochReport(epoch, train_loss, 0.5, valid_loss, valid_loss, 2.0, (0.1, 0.2), 0.01, 100.0)


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_have_a_row_an_epoch_and_every_digit(tmp_path: Path) -> None:
    write_metrics(tmp_path, [report(1), report(2, math.nan)], "accuracy")
    rows = read(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[0]["train_loss"]) == 1 / 3
    assert rows[1]["train_loss"] == "nan"  # a diverged epoch is shown as such
    assert [row["valid_loss"] for row in rows] == ["", ""]  # what was never measured is left empty
    assert [row["max_weight_2"] for row in rows] == ["0.2", "0.2"]


@pytest.mark.parametrize("valid_loss", [None, 0.25, math.nan])
def test_rows_added_one_by_one_are_the_table_written_at_once(
    valid_loss: float | None, tmp_path: Path
) -> None:
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


def test_a_table_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metrics(tmp_path, [report(1)], "accuracy")
    before = (tmp_path / METRICS).read_bytes()

    def refuse(*names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxmlp.files.os.replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_metrics(tmp_path, [report(1), report(2)], "accuracy")
    assert (tmp_path / METRICS).read_bytes() == before


def test_a_row_that_cannot_be_written_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_metrics(tmp_path, [report(1)], "accuracy")
    before = (tmp_path / METRICS).read_bytes()

    def half(*given: object) -> Iterator[list[str]]:
        yield ["2", "0.1"]
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("jaxmlp.cli.records._rows", half)
        with pytest.raises(OSError, match="No space left"):
            add_row(tmp_path, report(2), "accuracy")
    assert (tmp_path / METRICS).read_bytes() == before
    add_row(tmp_path, report(2), "accuracy")
    assert [row["epoch"] for row in read(tmp_path)] == ["1", "2"]


# --- events ---


def records(data: bytes) -> list[bytes]:
    """The records of a tfrecord file, each checked by its sums: length, sum of it, content, sum of it."""
    from tensorboardX.record_writer import masked_crc32c

    found, place = [], 0
    while place < len(data):
        head = data[place : place + 8]
        (length,) = struct.unpack("<Q", head)
        content = data[place + 12 : place + 12 + length]
        sums = data[place + 8 : place + 12], data[place + 12 + length : place + 16 + length]
        assert [struct.unpack("<I", each)[0] for each in sums] == [
            masked_crc32c(head),
            masked_crc32c(content),
        ]
        found.append(content)
        place += 16 + length
    return found


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


def table(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The same of metrics.csv, in the precision of events."""
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        name: [(int(row["epoch"]), float(np.float32(row[name]))) for row in rows if row[name]]
        for name in rows[0]
        if name != "epoch" and rows[0][name]
    }


def test_events_of_a_run_are_its_table(tmp_path: Path) -> None:
    pets = write_pets(tmp_path / "pets.csv")
    brief = (*BRIEF, "--dataset", pets, "--target", "pet", "--tensorboard", "--epochs", "3")
    train_ok(tmp_path / "run", *brief)
    points = curves(tmp_path / "run")
    assert points == table(tmp_path / "run")
    assert {"train_loss", "valid_accuracy", "gradient_norm"} <= set(points)
    assert [epoch for epoch, _ in points["train_loss"]] == [1, 2, 3]

    # A resumed run goes on with the same curves.
    resumed = run_experiment("train", "--resume", tmp_path / "run", "--epochs", "5", "--quiet")
    assert resumed.status == 0
    assert curves(tmp_path / "run") == table(tmp_path / "run")
    assert len(curves(tmp_path / "run")["train_loss"]) == 5


def test_without_the_option_there_are_no_events(tmp_path: Path) -> None:
    pets = write_pets(tmp_path / "pets.csv")
    train_ok(tmp_path / "run", *BRIEF, "--dataset", pets, "--target", "pet")
    assert not (tmp_path / "run/events").exists()


def test_what_was_not_measured_has_no_curve_and_every_point_is_written_at_once(tmp_path: Path) -> None:
    events = event_file(tmp_path)
    events.add(report(1), "accuracy")
    points = curves(tmp_path)  # before the file is closed, as of a run that is killed then
    events.close()
    assert [name for name in points if name.startswith("valid")] == []
    assert points["train_loss"] == [(1, float(np.float32(1 / 3)))]
    assert points["max_weight_2"] == [(1, float(np.float32(0.2)))]


def test_points_of_epochs_that_are_done_again_are_hidden(tmp_path: Path) -> None:
    killed = event_file(tmp_path)
    for epoch in (1, 2, 3, 4):
        killed.add(report(epoch, valid_loss=9.0), "accuracy")
    killed.close()
    resumed = event_file(tmp_path)
    resumed.add(report(3, valid_loss=0.25), "accuracy")
    resumed.close()
    assert curves(tmp_path)["valid_loss"] == [(1, 9.0), (2, 9.0), (3, 0.25)]


def test_files_are_in_order_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch, clock in ((1, 2e9), (2, 1e9), (3, 1e9)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        events = event_file(tmp_path)
        events.add(report(epoch), "accuracy")
        events.close()
    assert len(list((tmp_path / EVENTS).iterdir())) == 3
    assert [epoch for epoch, _ in curves(tmp_path)["train_loss"]] == [1, 2, 3]


def test_a_disk_that_is_full_for_a_while_ends_no_training(tmp_path: Path) -> None:
    # A thread that writes would die of it, and leave the training waiting.
    from tensorboardX.record_writer import RecordWriter

    def full(writer: RecordWriter) -> None:
        raise OSError(28, "No space left on device")

    events = event_file(tmp_path)
    events.add(report(1), "accuracy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordWriter, "flush", full)
        for epoch in range(2, 40):
            with pytest.raises(OSError, match="No space left"):
                events.add(report(epoch), "accuracy")
    events.add(report(40), "accuracy")
    events.close()
    assert {1, 40} <= {epoch for epoch, _ in curves(tmp_path)["train_loss"]}


def test_a_damaged_record_is_caught_here(tmp_path: Path) -> None:
    events = event_file(tmp_path)
    events.add(report(1), "accuracy")
    events.close()
    (path,) = (tmp_path / "events").iterdir()
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(AssertionError):
        curves(tmp_path)


def test_a_missing_package_is_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ArgumentError, match=r"pip install 'jaxmlp\[tensorboard\]'"):
        event_file(tmp_path)
