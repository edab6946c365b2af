"""Texts for people: numbers as they read them, tables, and the file that --out names."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxmlp.files import write_text
from jaxmlp.types import ArgumentError


def command() -> str:
    """Name it as the user typed it: `jaxmlp train`, or `python experiments/train.py`."""
    return f"python {shlex.quote(sys.argv[0])}" if sys.argv[0].endswith(".py") else sys.argv[0]


def spell(value: Any) -> str:
    """Write the value of an option as `--grid` of a sweep takes it."""
    if isinstance(value, tuple | list):
        return "x".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.12g}"
    return "default" if value is None else str(value)


def counted(count: int, noun: str) -> str:
    """Write a number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def seconds(value: float) -> str:
    """Write a time with the digits that matter."""
    if value < 0.1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3f} s" if value < 10 else f"{value:.1f} s"


def amount(value: int | None) -> str:
    """Write a number of bytes."""
    return "" if value is None else f"{value / 2**20:,.2f} MiB"


def score_name(metric: str) -> str:
    """Name a score, whatever the metric's parameter."""
    name = metric.partition(":")[0]
    return "R²" if name == "r2" else name.replace("_", " ")


NUMBERS = ("r2", "mae", "rmse", "log_loss")  # the metrics that are no shares


def show_score(metric: str, score: float | None) -> str:
    """Write a score: a share in %, R² and errors as numbers."""
    if score is None:
        return "-"
    if metric.partition(":")[0] not in NUMBERS:
        return f"{100 * score:.2f} %"
    return f"{score:.4f}" if abs(score) < 1e4 else f"{score:.1e}"  # as of a network that all but diverged


def show_loss(loss: float) -> str:
    """Write a loss: with four decimals, or by its power of ten where those would not tell."""
    return f"{loss:.4f}" if loss == 0 or 1e-3 <= abs(loss) < 1e4 else f"{loss:.1e}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Set rows in columns for a terminal: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as a table in Markdown, the first as its heading."""
    heading, *others = (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    return "\n".join([heading, "|" + " --- |" * len(rows[0]), *others])


def machine_line(machine: dict[str, Any]) -> str:
    """Name the machine and the versions in a line."""
    versions = ", ".join(
        f"{name} {version}" for name, version in machine["versions"].items() if name != "jaxlib"
    )
    load = machine.get("load_average")
    busy = "" if load is None else f"; load average at the start {load:.2f}"
    busy += "".join(f"; {name}={value}" for name, value in machine.get("thread_settings", {}).items())
    return f"{machine['processor']} ({machine['cores']} used), Python {machine['python']}, {versions}{busy}"


def check_out(out: str | None, kind: str = "json") -> None:
    """Refuse a file that cannot be written, before anything is computed."""
    if out is None:
        return
    if not out or Path(out).is_dir():
        raise ArgumentError(f"--out '{out}' is no file: give the name of a {kind} to write")
    if not Path(out).absolute().parent.is_dir():
        raise ArgumentError(f"the folder of {out} is not there: make it, or choose another file with --out")


def write_result(out: str | None, result: dict[str, Any]) -> None:
    """Write a result as JSON."""
    if out is not None:
        write_text(out, json.dumps(result, indent=1) + "\n")
