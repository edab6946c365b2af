"""Runs read back from their folders as they stand: ended, interrupted, diverged, or still going on."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmlp import ArgumentError
from jaxmlp.cli.run import CONFIG, METRICS, MODEL, is_locked
from jaxmlp.training.metrics import METRICS as SCORES


class PastRun(NamedTuple):
    """What a run folder tells of its run.

    Attributes:
        name: what the run is called here: its folder's name, or its path where another has that name.
        options: its options, as it was begun with or a resumption has changed them.
        data: the data set's identity.
        loss: the loss's name.
        metric: the score's name.
        machine: processor, devices and versions.
        columns: metrics.csv by column, each [E]; NaN where a value was not measured or is none.
        state: "going on", "diverged", "ended", "ended early", "interrupted" or "not begun".
        damaged: numbers of the lines of metrics.csv that were left out.
    """

    name: str
    options: dict[str, Any]
    data: dict[str, Any]
    loss: str
    metric: str
    machine: dict[str, Any]
    columns: dict[str, np.ndarray]
    state: str
    damaged: tuple[int, ...]

    @property
    def epochs(self) -> int:
        """The number of the last epoch that was recorded."""
        return int(self.columns["epoch"][-1]) if len(self.columns["epoch"]) else 0


def read_runs(folders: Sequence[str]) -> list[PastRun]:
    """Read runs for a comparison; nothing in their folders is changed."""
    places = [Path(folder).resolve() for folder in folders]
    for place, folder in zip(places, folders, strict=True):
        if places.count(place) > 1:
            raise ArgumentError(f"{folder} is given twice: give each run once")
    names = [place.name for place in places]
    return [
        _read_run(Path(folder), name if names.count(name) == 1 else str(Path(folder)))
        for folder, name in zip(folders, names, strict=True)
    ]


def _read_run(folder: Path, name: str) -> PastRun:
    if not folder.is_dir():
        raise ArgumentError(f"no run at {folder}: give the folder of a run of train.py")
    config = _read_config(folder)
    # Asked before the table is read: a run that ends meanwhile then shows as going on, with what it had.
    going_on = is_locked(folder)
    columns, damaged = _read_columns(folder, config["metric"])
    state = "going on" if going_on else _state(folder, columns, config["options"])
    return PastRun(
        name=name,
        options=config["options"],
        data=config["dataset"],
        loss=config["loss"],
        metric=config["metric"],
        machine=config.get("machine") or {},
        columns=columns,
        state=state,
        damaged=damaged,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise ArgumentError(
            f"{folder} holds no run (it has no {CONFIG}): give the folder of a run of train.py"
        )
    try:
        config = dict(json.loads(path.read_text(encoding="utf-8")))
        is_sweep = "grid" in config["options"]
        if not (folder / METRICS).exists() and is_sweep:
            raise ArgumentError(
                f"{folder} is a run of sweep.py, which has no {METRICS}: give runs of train.py, as its line 'alone:' "
                "makes one"
            )
        kinds = [type(config[name]) for name in ("options", "dataset", "loss", "metric")]
        if kinds != [dict, dict, str, str]:
            raise TypeError
        SCORES[config["metric"]]  # refuses one that is not known
    except ArgumentError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            f"{path} does not describe a run of train.py ({type(error).__name__}): give the folder of one"
        ) from None
    return config


def _read_columns(folder: Path, metric: str) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    score = metric.partition(":")[0]
    names = ["epoch", "train_loss", f"train_{score}", "valid_loss", f"valid_{score}", "seconds"]
    path = folder / METRICS
    # A run that was killed in the middle of a row, or is writing one, leaves a last line without its end.
    text = path.read_bytes().rpartition(b"\n")[0].decode("utf-8", "replace") if path.exists() else ""
    head, *lines = list(csv.reader(text.splitlines())) or [names]
    lacking = [name for name in names if name not in head]
    if lacking:
        raise ArgumentError(
            f"{path} lacks the column {lacking[0]}: give a folder as train.py left it, or begin the run again"
        )
    rows, damaged = [], []
    for number, line in enumerate(lines, start=2):
        try:
            values = [math.nan if field == "" else float(field) for field in line]
            if len(values) != len(head) or not values[head.index("epoch")] >= 1:
                raise ValueError
            rows.append(values)
        except ValueError:
            damaged.append(number)
    table = np.array(rows, float).reshape(len(rows), len(head))
    return {name: table[:, place] for place, name in enumerate(head)}, tuple(damaged)


def _state(folder: Path, columns: dict[str, np.ndarray], options: dict[str, Any]) -> str:
    if not len(columns["epoch"]):
        return "not begun"
    # The largest weights tell of parameters that are not finite although the epoch's loss still was.
    last = [column[-1] for name, column in columns.items() if name == "train_loss" or "max_weight" in name]
    if not np.all(np.isfinite(last)):
        return "diverged"
    model, table, done, asked = folder / MODEL, folder / METRICS, columns["epoch"][-1], options.get("epochs")
    if not model.exists():
        return "interrupted"
    if done == asked:
        return "ended"
    # A run writes its model when it ends; one that was resumed and stopped again has the older model still.
    if model.stat().st_mtime_ns < table.stat().st_mtime_ns:
        return "interrupted"
    return "ended early" if isinstance(asked, int) and done < asked else "ended"
