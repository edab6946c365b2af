"""Compare runs: read them back from their folders, print them side by side and draw their curves."""

import csv
import dataclasses
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmlp import ArgumentError
from jaxmlp.cli.options import RunOptions
from jaxmlp.cli.parser import Parser
from jaxmlp.cli.records import METRICS
from jaxmlp.cli.run import MODEL, is_locked, no_run, read_config
from jaxmlp.cli.text import aligned, check_out, score_name, seconds, show_loss, show_score, spell
from jaxmlp.door import program
from jaxmlp.plots import run_curves, save
from jaxmlp.training.metrics import METRICS as SCORES

DESCRIPTION = """Compare training runs: those that have ended, those that were interrupted, those still going on.

Each RUN is a run folder. Nothing in it is changed."""

USUAL: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(RunOptions)}
# These change neither what is trained nor how fast: they name files, or say what is shown and kept.
OF_NO_MATTER = {
    "out", "resume", "data_dir", "manual_dir", "pictures", "quiet", "tensorboard", "keep", "compilation_cache",
    "coordinator", "process_id",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(DESCRIPTION, ("RUN [RUN ...]",))
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--out",
        default="comparison.png",
        metavar="FILE",
        help="picture to write, .png, .svg or .pdf; an older one is replaced (default: comparison.png, here)",
    )
    given = parser.parse_args(arguments)
    check_out(given.out, "picture")
    runs = read_runs(given.runs)
    for past in runs:
        if past.damaged:
            lines = ", ".join(map(str, past.damaged))
            print(f"{program()}: {past.name}: damaged lines of {METRICS} left out: {lines}", file=sys.stderr)
    groups = groups_of(runs)
    is_drawn = draw(groups, held_out(runs), given.out)
    print_comparison(groups)
    print(f"picture {Path(given.out).absolute()}" if is_drawn else "no picture: no run has an epoch yet")
    return 0


# --- reading runs back ---


class PastRun(NamedTuple):
    """What a run folder tells of its run, ended or not."""

    name: str  # its folder's, or its path where another run's folder has that name
    options: dict[str, Any]  # as it was begun with, or a resumption has changed them
    data: dict[str, Any]  # the data set's identity
    loss: str
    metric: str
    machine: dict[str, Any]
    columns: dict[str, np.ndarray]  # of metrics.csv, each [E]; NaN where a value was not measured or is none
    state: str  # "going on", "diverged", "ended", "ended early", "interrupted" or "not begun"
    damaged: list[int]  # lines of metrics.csv that were left out

    @property
    def epochs(self) -> int:
        """The number of the last epoch that was recorded."""
        return int(self.columns["epoch"][-1]) if len(self.columns["epoch"]) else 0


def read_runs(folders: Sequence[str]) -> list[PastRun]:
    """Read runs for a comparison; nothing in their folders is changed."""
    places, runs = [Path(folder).resolve() for folder in folders], []
    names = [place.name for place in places]
    for folder, place in zip(map(Path, folders), places, strict=True):
        if places.count(place) > 1:
            raise ArgumentError(f"{folder} is given twice: give each run once")
        config = _config_of(folder)
        options, metric = config["options"], config["metric"]
        # Asked before the table is read: a run that ends meanwhile then shows as going on, with what it had.
        going_on = is_locked(folder)
        columns, damaged = _read_columns(folder / METRICS, metric.partition(":")[0])
        name = place.name if names.count(place.name) == 1 else str(folder)
        state = "going on" if going_on else _state(folder, columns, options.get("epochs"))
        told = options, config["dataset"], config["loss"], metric, config.get("machine") or {}
        runs.append(PastRun(name, *told, columns, state, damaged))
    return runs


def _config_of(folder: Path) -> dict[str, Any]:
    config = read_config(folder, "training run")
    if "grid" in config["options"] and not (folder / METRICS).exists():
        raise ArgumentError(
            f"{folder} is a run of jaxmlp sweep, which has no {METRICS}: give runs of jaxmlp train, as the sweep's "
            "line 'the same network:' makes one"
        )
    for name, kind in {"dataset": dict, "loss": str, "metric": str}.items():
        if not isinstance(config.get(name), kind):
            raise no_run(folder, "training run", f"{name} is missing")
    SCORES[config["metric"]]  # refuses one that is not known
    return config


def _read_columns(path: Path, score: str) -> tuple[dict[str, np.ndarray], list[int]]:
    names = ["epoch", "train_loss", f"train_{score}", "valid_loss", f"valid_{score}", "seconds"]
    # A run that was killed in the middle of a row, or is writing one, leaves a last line without its end.
    text = path.read_bytes().rpartition(b"\n")[0].decode("utf-8", "replace") if path.exists() else ""
    head, *lines = list(csv.reader(text.splitlines())) or [names]
    head = [re.sub("^test_", "valid_", name) for name in head]  # whose part it is, config.json says
    lacking = [name for name in names if name not in head]
    if lacking:
        raise ArgumentError(
            f"{path} lacks the column {lacking[0]}: give a folder as its run left it, or begin the run again"
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
    return dict(zip(head, table.T, strict=True)), damaged


def _state(folder: Path, columns: Mapping[str, np.ndarray], asked: Any) -> str:
    if not len(columns["epoch"]):
        return "not begun"
    # The largest weights tell of parameters that are not finite although the epoch's loss still was.
    last = [column[-1] for name, column in columns.items() if name == "train_loss" or "max_weight" in name]
    if not np.all(np.isfinite(last)):
        return "diverged"
    model, done = folder / MODEL, columns["epoch"][-1]
    if not model.exists():
        return "interrupted"
    # A run writes its model when it ends; one that was resumed and stopped again has the older model still.
    if done != asked and model.stat().st_mtime_ns < (folder / METRICS).stat().st_mtime_ns:
        return "interrupted"
    return "ended early" if isinstance(asked, int) and done < asked else "ended"


# --- what can be compared with what ---


def groups_of(runs: Sequence[PastRun]) -> dict[str, list[PastRun]]:
    """Put together the runs that can be measured by each other: those of the same data and the same score."""
    found: dict[str, list[PastRun]] = {}
    for past in runs:
        found.setdefault(json.dumps([past.data, past.metric], sort_keys=True), []).append(past)
    firsts = [group[0] for group in found.values()]
    return {_title(group[0], firsts): group for group in found.values()}


def _title(first: PastRun, others: Sequence[PastRun]) -> str:
    """Name the data and the score; data of one name are told apart by all in which they differ."""
    name = first.data.get("name")
    alike = [other.data for other in others if (other.data.get("name"), other.metric) == (name, first.metric)]
    hashes = first.data.get("sha256", [])
    hashes = [hashes] if isinstance(hashes, str) else hashes
    shown = first.data | {"sha256": " and ".join(each[:12] for each in hashes)}
    told = [
        f"{key} {shown.get(key)}"
        for key in sorted({key for data in alike for key in data})
        if len({json.dumps(data.get(key)) for data in alike}) > 1
    ]
    return ", ".join([str(name), *told, score_name(first.metric)])


def held_out(runs: Sequence[PastRun]) -> str:
    """Name the part that scores were measured on: without --validation it is the test part."""
    parts = {"validation" if past.options.get("validation") else "test" for past in runs}
    return parts.pop() if len(parts) == 1 else "held-out"


def has_one_loss(runs: Sequence[PastRun]) -> bool:
    """Tell whether the losses can be compared; the penalty of --l2 is a part of the loss."""
    return len({(past.loss, past.options.get("l2", 0.0)) for past in runs}) == 1


def differing(runs: Sequence[PastRun]) -> list[str]:
    """Name the options in which runs differ, in the order of `jaxmlp train --help`."""
    others = sorted({name for past in runs for name in past.options} - set(USUAL))
    return [
        name
        for name in [*USUAL, *others]
        if name not in OF_NO_MATTER
        # A run of an older version lacks options that were added since.
        and len({_option(past, name) for past in runs if name in past.options}) > 1
    ]


# --- what is drawn and printed ---


def draw(groups: Mapping[str, Sequence[PastRun]], part: str, out: str) -> bool:
    """Draw the runs that have an epoch; returns whether there is one."""
    begun = {
        title: {past.name: past.columns for past in group if past.epochs}
        for title, group in groups.items()
        if any(past.epochs for past in group)
    }
    if begun:
        several = {
            title: "loss of several kinds" for title, group in groups.items() if not has_one_loss(group)
        }
        save(run_curves(begun, valid_label=part, loss_labels=several), out)
    return bool(begun)


def print_comparison(groups: Mapping[str, Sequence[PastRun]]) -> None:
    """Print how the runs differ, how far they are, and what they have reached."""
    every = [past for group in groups.values() for past in group]
    differ = differing(every)
    shown = [name for name in differ if name != "epochs"]  # which have their own column
    heads = [name.replace("_", " ") for name in shown]
    table = [["run", *heads, "state", "epochs", "median epoch", "all epochs"]]
    for past in every:
        asked, taken = past.options.get("epochs"), past.columns["seconds"]
        taken = taken[np.isfinite(taken)]
        epochs = f" of {asked}" if isinstance(asked, int) and past.epochs < asked else ""
        times = [seconds(float(np.median(taken))), seconds(float(taken.sum()))] if len(taken) else ["-", "-"]
        options = (_option(past, name) for name in shown)
        table.append([past.name, *options, past.state, f"{past.epochs}{epochs}", *times])
    print(aligned(table))
    part = held_out(every)
    for title, group in groups.items():
        measure = score_name(group[0].metric)
        print(f"\n{title}: the last epoch's values, with the best and its epoch")
        head = ["run", "train loss", f"{part} loss", f"train {measure}", f"{part} {measure}"]
        print(aligned([head, *([past.name, *_measured(past)] for past in group)]))
    print("", *notes(groups, every, differ), sep="\n")


def _option(past: PastRun, name: str) -> str:
    if name not in past.options:
        return "-"
    value = past.options[name]
    if name == "loss":
        return past.loss
    if name == "batch_size" and value is None:
        return "full"
    return spell(value)


def _measured(past: PastRun) -> list[str]:
    score, more_is_better = past.metric.partition(":")[0], SCORES[past.metric].more_is_better
    return [
        _last_and_best(past, f"{part}_{name}", larger)
        for name, larger in (("loss", False), (score, more_is_better))
        for part in ("train", "valid")
    ]


def _last_and_best(past: PastRun, column: str, is_larger_better: bool) -> str:
    values = past.columns[column]
    if not len(values):
        return "-"
    show = show_loss if column in ("train_loss", "valid_loss") else partial(show_score, past.metric)
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return show(values[-1])
    place = known[(np.argmax if is_larger_better else np.argmin)(values[known])]
    return f"{show(values[-1])} ({show(values[place])} at {past.columns['epoch'][place]:.0f})"


def notes(
    groups: Mapping[str, Sequence[PastRun]], every: Sequence[PastRun], differ: Sequence[str]
) -> list[str]:
    """Say what the runs have in common, and what of them cannot be compared."""
    part = held_out(every)
    lines = [f"alike: {common(every[0], differ)}; else the defaults of jaxmlp train"]
    if len(groups) > 1:
        lines.append("different data or scores: compare within a table, not across them")
    for title, group in groups.items():
        if not has_one_loss(group):
            lines.append(f"{title}: the losses are of different kinds: compare only the scores")
    if part == "held-out":
        tested = [past.name for past in every if held_out([past]) == "test"]
        lines.append(f"held-out: the test part for {', '.join(tested)}, the validation part for the others")
    splits = {
        (share, past.options.get("seed")) for past in every if (share := past.options.get("validation"))
    }
    if len(splits) > 1:
        lines.append("runs of another seed or --validation hold out other examples")
    if part != "validation":
        lines.append(
            "the best on a test part is no choice to make: hold out a part to choose by with --validation"
        )
    about = ("processor", "devices", "versions")
    if len({json.dumps([past.machine.get(name) for name in about]) for past in every}) > 1:
        lines.append("the times are of different machines or versions of jax")
    return lines


def common(first: PastRun, differ: Sequence[str]) -> str:
    """Name the data and the options that all runs share, where they are not the defaults."""
    shared = [
        f"{name.replace('_', ' ')} {_option(first, name)}"
        for name in USUAL
        if name in first.options
        and name not in OF_NO_MATTER
        and name not in differ
        and (name == "dataset" or _option(first, name) != _option(first._replace(options=USUAL), name))
    ]
    return ", ".join(shared) or "nothing"
