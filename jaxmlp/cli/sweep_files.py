"""What a sweep keeps in its run folder: each network as it finishes, the ranking, and how to go on after a stop."""

import csv
import dataclasses
import json
import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmlp import ArgumentError
from jaxmlp.cli.options import TrainOptions
from jaxmlp.cli.run import CONFIG
from jaxmlp.cli.sweep_options import OF_THIS_CALL, SweepOptions, spell
from jaxmlp.sweep.trials import Standing, TrialReport

TRIALS, RANKING = "trials.jsonl", "ranking.csv"
NOT_OF_A_RUN = ("out", "quiet", "pictures", "target_accuracy", "compilation_cache")


def append_reports(
    folder: Path, reports: Iterable[TrialReport], described: Sequence[Mapping[str, Any]]
) -> None:
    """Add a line for each network that finished, and see it written before going on."""
    lines = []
    for report in reports:
        finite = {
            name: value if math.isfinite(value) else None
            for name, value in report._asdict().items()
            if name in ("loss", "score")
        }
        lines.append(json.dumps(report._asdict() | finite | dict(described[report.number])) + "\n")
    if not lines:
        return
    with (folder / TRIALS).open("a", encoding="utf-8") as file:
        file.write("".join(lines))
        file.flush()
        os.fsync(file.fileno())


def read_reports(folder: Path, described: Sequence[Mapping[str, Any]] | None = None) -> list[TrialReport]:
    """Read back the networks that finished; a line that was cut off when the sweep was stopped is left out."""
    path = folder / TRIALS
    if not path.exists():
        return []
    written = path.read_bytes()
    *lines, cut_off = written.split(b"\n")
    if cut_off:
        os.truncate(path, len(written) - len(cut_off))  # to write the rest anew could lose it
    rows, reports = [], []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            reports.append(_report_of(row))
        except (ValueError, KeyError, TypeError):
            raise ArgumentError(
                f"{path}, line {number} is damaged: delete that line; its network is then trained again"
            ) from None
        rows.append(row)
    if described is not None:
        _check_same_networks(path, rows, described)
    return reports


def _report_of(row: Mapping[str, Any]) -> TrialReport:
    report = TrialReport(
        row["number"],
        row["epochs"],
        math.nan if row["loss"] is None else float(row["loss"]),
        math.nan if row["score"] is None else float(row["score"]),
        row["diverged"],
    )
    if [type(part) for part in report] != [int, int, float, float, bool]:
        raise TypeError
    return report


def _check_same_networks(
    path: Path, rows: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]]
) -> None:
    # A grid changed in the folder's configuration, or a draw of another version, gives other networks by number.
    for line, row in enumerate(rows, start=1):
        number = row["number"]
        there = 0 <= number < len(described)
        expected = json.loads(json.dumps(described[number])) if there else {}
        found = {name: row.get(name) for name in expected}
        if not there or found != expected:
            told = (
                f"which is {json.dumps(expected)} now, not {json.dumps(found)}"
                if there
                else "which is not in it"
            )
            raise ArgumentError(
                f"{path}, line {line} reports network {number} of the sweep, {told}: begin a new sweep"
            )


def read_config(run: str) -> dict[str, Any]:
    """Read what a sweep was started with."""
    path = Path(run) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if "grid" not in config["options"]:
            raise KeyError
    except FileNotFoundError:
        raise ArgumentError(f"no sweep at {run}: give the run folder of one") from None
    except (ValueError, KeyError, TypeError):
        raise ArgumentError(f"{run} holds no sweep: give the run folder of one") from None
    return config


def stored_options(config: Mapping[str, Any], given: SweepOptions) -> SweepOptions:
    """Rebuild the options of an interrupted sweep."""
    known = {field.name for field in dataclasses.fields(SweepOptions)}
    stored = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in config["options"].items()
        if name in known
    }
    now = {name: getattr(given, name) for name in OF_THIS_CALL}
    if given.check is None:
        now["check"] = stored.get("check")
    return SweepOptions(**(stored | now))


def train_command(setting: TrainOptions) -> str:
    """Write the command that trains a network alone."""
    words = ["python", "experiments/train.py"]
    for field in dataclasses.fields(setting):
        value, flag = getattr(setting, field.name), "--" + field.name.replace("_", "-")
        if value == field.default or field.name in NOT_OF_A_RUN:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            words += [flag, *map(str, value)]
        else:
            words += [flag, "full" if value is None else str(value)]
    return shlex.join(words)


def write_ranking(
    folder: Path, ranking: Sequence[Standing], settings: Sequence[Mapping[str, Any]], metric: str
) -> None:
    """Write ranking.csv, a row a setting, best first."""
    statistics = ("mean", "median", "deviation", "least", "largest")
    names = [f"valid_{metric.partition(':')[0]}_{name}" for name in statistics]
    with (folder / RANKING).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["place", *settings[0], "networks", "diverged", "epochs", *names, "valid_loss"])
        for place, (standing, setting) in enumerate(zip(ranking, settings, strict=True), start=1):
            scores = np.array(standing.scores)
            measured: list[Any] = [""] * len(names)
            if len(scores):
                measured = [scores.mean(), np.median(scores), scores.std(), scores.min(), scores.max()]
            writer.writerow(
                [
                    place,
                    *map(spell, setting.values()),
                    len(standing.numbers),
                    standing.diverged,
                    standing.epochs,
                    *measured,
                    standing.loss if len(scores) else "",
                ]
            )
