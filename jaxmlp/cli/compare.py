"""Compare runs of train.py: print them side by side and draw their curves, whether they have ended or not."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmlp import ArgumentError
from jaxmlp.cli.options import Parser, RunOptions
from jaxmlp.cli.past_runs import PastRun, read_runs
from jaxmlp.cli.sweep_options import spell
from jaxmlp.cli.text import SCORE_NAMES, aligned, check_out, seconds, show_score
from jaxmlp.plots import run_curves, save
from jaxmlp.training.metrics import METRICS

DESCRIPTION = """Compare runs of train.py, whether they have ended, were interrupted or are still going on.

Each RUN is a run folder. Nothing in it is changed."""

PICTURES = (".png", ".svg", ".pdf")
# What changes nothing of what is trained, nor how fast: files, and what is shown and kept.
OF_NO_MATTER = {
    "out",
    "resume",
    "data_dir",
    "manual_dir",
    "pictures",
    "quiet",
    "tensorboard",
    "keep",
    "compilation_cache",
    "coordinator",
    "process_id",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    parser = Parser(DESCRIPTION, ("RUN [RUN ...]",))
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--out",
        default="comparison.png",
        metavar="FILE",
        help="picture to write, .png, .svg or .pdf; an older one is replaced (default: comparison.png)",
    )
    given = parser.parse_args(arguments)
    check_picture(given.out, given.runs)
    runs = read_runs(given.runs)
    for past in runs:
        if past.damaged:
            lines = ", ".join(map(str, past.damaged))
            print(f"compare.py: {past.name}: damaged lines of metrics.csv left out: {lines}", file=sys.stderr)
    groups = groups_of(runs)
    is_drawn = draw(groups, given.out)
    print_comparison(groups)
    print(f"picture {given.out}" if is_drawn else "no picture: no run has an epoch yet")
    return 0


def check_picture(out: str, runs: Sequence[str]) -> None:
    """Refuse a file that is no picture, or that lies in one of the runs."""
    check_out(out, "picture")
    path = Path(out).resolve()
    if path.suffix.lower() not in PICTURES:
        raise ArgumentError(f"--out '{out}' is no picture's name: end it in {', '.join(PICTURES)}")
    for folder in runs:
        if Path(folder).resolve() in path.parents:
            raise ArgumentError(f"{out} lies in the run folder {folder}: choose a file elsewhere with --out")


def groups_of(runs: Sequence[PastRun]) -> dict[str, list[PastRun]]:
    """Put together the runs that can be measured by each other: those of the same data and the same score."""
    found: dict[str, list[PastRun]] = {}
    for past in runs:
        found.setdefault(json.dumps([past.data, past.metric], sort_keys=True), []).append(past)
    groups: dict[str, list[PastRun]] = {}
    for group in found.values():
        title = _title(group, list(found.values()))
        number = sum(known.partition(" #")[0] == title for known in groups) + 1
        groups[title if number == 1 else f"{title} #{number}"] = group
    return groups


def _title(group: Sequence[PastRun], groups: Sequence[Sequence[PastRun]]) -> str:
    """Name the data and the score; data of one name are told apart by all in which they differ."""
    first = group[0]
    alike = [
        other[0].data
        for other in groups
        if (other[0].data.get("name"), other[0].metric) == (first.data.get("name"), first.metric)
    ]
    names = sorted({name for data in alike for name in data})
    told = [
        f"{name} {str(first.data.get(name))[:12]}"
        for name in names
        if len({json.dumps(data.get(name)) for data in alike}) > 1
    ]
    return ", ".join([str(first.data.get("name")), *told, measure_name(first.metric)])


def measure_name(metric: str) -> str:
    """Name a score as people read it."""
    name = metric.partition(":")[0]
    return SCORE_NAMES.get(name, name.replace("_", " "))


def draw(groups: Mapping[str, Sequence[PastRun]], out: str) -> bool:
    """Draw the runs that have an epoch; returns whether there is one."""
    begun = {
        title: {past.name: _curves(past) for past in group if past.epochs} for title, group in groups.items()
    }
    begun = {title: runs for title, runs in begun.items() if runs}
    if not begun:
        return False
    every = [past for group in groups.values() for past in group]
    several = {title: "loss of several kinds" for title, group in groups.items() if len(_losses(group)) > 1}
    figure = run_curves(begun, valid_label=held_out(every), loss_labels=several)
    save(figure, out)
    return True


def _curves(past: PastRun) -> dict[str, np.ndarray]:
    return {
        name: column
        for name, column in past.columns.items()
        if name.startswith(("epoch", "train_", "valid_"))
    }


def held_out(runs: Sequence[PastRun]) -> str:
    """Name the part that scores were measured on: without --validation it is the test part."""
    parts = {"validation" if past.options.get("validation") else "test" for past in runs}
    return parts.pop() if len(parts) == 1 else "held-out"


def _losses(runs: Sequence[PastRun]) -> set[tuple[str, Any]]:
    # The penalty of --l2 is a part of the loss.
    return {(past.loss, past.options.get("l2", 0.0)) for past in runs}


def print_comparison(groups: Mapping[str, Sequence[PastRun]]) -> None:
    """Print how the runs differ, how far they are, and what they have reached."""
    every = [past for group in groups.values() for past in group]
    differ = differing(every)
    shown = [name for name in differ if name != "epochs"]  # which have a column of their own
    head = [
        "run",
        *(name.replace("_", " ") for name in shown),
        "state",
        "epochs",
        "median epoch",
        "all epochs",
    ]
    rows = [
        [past.name, *(_option(past, name) for name in shown), past.state, _epochs(past), *_times(past)]
        for past in every
    ]
    print(aligned([head, *rows]))
    part = held_out(every)
    for title, group in groups.items():
        measure = measure_name(group[0].metric)
        print(f"\n{title}: the last epoch's values, with the best and its epoch")
        head = ["run", "train loss", f"{part} loss", f"train {measure}", f"{part} {measure}"]
        print(aligned([head, *([past.name, *_measured(past)] for past in group)]))
    print()
    for line in notes(groups, differ):
        print(line)


def differing(runs: Sequence[PastRun]) -> list[str]:
    """Name the options in which runs differ, in the order of `train.py --help`."""
    known = [field.name for field in dataclasses.fields(RunOptions)]
    others = sorted({name for past in runs for name in past.options if name not in known})
    return [
        name
        for name in [*known, *others]
        if name not in OF_NO_MATTER
        # A run of an older version lacks options that were added since.
        and len({_option(past, name) for past in runs if name in past.options}) > 1
    ]


def _option(past: PastRun, name: str) -> str:
    if name not in past.options:
        return "-"
    value = past.options[name]
    if name == "loss":
        return past.loss
    if name == "batch_size" and value is None:
        return "full"
    return spell(tuple(value) if isinstance(value, list) else value)


def _epochs(past: PastRun) -> str:
    asked = past.options.get("epochs")
    return f"{past.epochs} of {asked}" if isinstance(asked, int) and past.epochs < asked else str(past.epochs)


def _times(past: PastRun) -> list[str]:
    taken = past.columns["seconds"][np.isfinite(past.columns["seconds"])]
    return [seconds(float(np.median(taken))), seconds(float(taken.sum()))] if len(taken) else ["-", "-"]


def _measured(past: PastRun) -> list[str]:
    score = past.metric.partition(":")[0]
    more_is_better = METRICS[past.metric].more_is_better
    return [
        _last_and_best(past, f"{part}_{name}", is_loss=name == "loss", is_larger_better=larger)
        for name, larger in (("loss", False), (score, more_is_better))
        for part in ("train", "valid")
    ]


def _last_and_best(past: PastRun, column: str, *, is_loss: bool, is_larger_better: bool) -> str:
    values = past.columns[column]
    known = np.flatnonzero(np.isfinite(values))
    if not len(values):
        return "-"

    def show(value: float) -> str:
        if not np.isfinite(value):
            return "nan" if np.isnan(value) else "inf"
        if not is_loss:
            return show_score(past.metric, value) if abs(value) < 1e5 else f"{value:.1e}"
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"

    if not len(known):
        return show(values[-1])
    place = known[(np.argmax if is_larger_better else np.argmin)(values[known])]
    return f"{show(values[-1])} ({show(values[place])} at {past.columns['epoch'][place]:.0f})"


def notes(groups: Mapping[str, Sequence[PastRun]], differ: Sequence[str]) -> list[str]:
    """Say what the runs have in common, and what of them cannot be compared."""
    every = [past for group in groups.values() for past in group]
    lines = [f"alike: {common(every, differ)}; else as train.py does without options"]
    if len(groups) > 1:
        lines.append("different data or scores: compare within a table, not across them")
    for title, group in groups.items():
        if len(_losses(group)) > 1:
            lines.append(f"{title}: the losses are of different kinds: compare the scores alone")
    if held_out(every) == "held-out":
        tested = [past.name for past in every if held_out([past]) == "test"]
        lines.append(f"held-out: the test part for {', '.join(tested)}, the validation part for the others")
    splits = {
        (share, past.options.get("seed")) for past in every if (share := past.options.get("validation"))
    }
    if len(splits) > 1:
        lines.append("runs of another seed or --validation hold out other examples")
    if held_out(every) != "validation":
        lines.append(
            "the best on a test part is no choice to make: hold out a part to choose by with --validation"
        )
    machines = {json.dumps(_where(past), sort_keys=True) for past in every}
    if len(machines) > 1:
        lines.append("the times are of different machines or versions of jax")
    return lines


def _where(past: PastRun) -> list[Any]:
    versions = past.machine.get("versions") or {}
    return [past.machine.get("processor"), past.machine.get("devices"), versions.get("jax")]


def common(runs: Sequence[PastRun], differ: Sequence[str]) -> str:
    """Name the data and the options that all runs share, where they are not the defaults."""
    usual = {field.name: field.default for field in dataclasses.fields(RunOptions)}
    first = runs[0]
    shared = [
        f"{name.replace('_', ' ')} {_option(first, name)}"
        for name, default in usual.items()
        if name in first.options
        and name not in OF_NO_MATTER
        and name not in differ
        and (name == "dataset" or _option(first, name) != _option(first._replace(options=usual), name))
    ]
    return ", ".join(shared) or "nothing"
