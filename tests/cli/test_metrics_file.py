import csv
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxmlp import EpochReport
from jaxmlp.cli.records import add_row, write_metrics
from jaxmlp.cli.run import METRICS


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

    monkeypatch.setattr("jaxmlp.cli.records.os.replace", refuse)
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
