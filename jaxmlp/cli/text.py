"""Texts for a terminal and for Markdown: numbers as people read them, and tables."""

from collections.abc import Sequence
from typing import Any


def seconds(value: float) -> str:
    """Write a time so that its digits are those that matter."""
    if value < 0.1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3f} s" if value < 10 else f"{value:.1f} s"


def amount(value: int | None) -> str:
    """Write a number of bytes."""
    return "" if value is None else f"{value / 2**20:,.2f} MiB"


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
