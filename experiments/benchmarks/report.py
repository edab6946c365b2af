"""Turn the committed result files into experiments/README.md and into figures: neither is typed by hand."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
import checkpoints
import devices
import growth
import startup
import stream
from measurement import Part, Result, measured, with_block
from peers import OURS, PEERS

from jaxmlp import ArgumentError
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import run
from jaxmlp.cli.text import machine_line, markdown
from jaxmlp.files import write_text
from jaxmlp.plots import growth_sheet, save, time_bars

DESCRIPTION = """Rewrite the blocks of experiments/README.md between two comments each from experiments/results/, and
draw the figures of experiments/figures/ from the same files."""

EXPERIMENTS = Path(__file__).resolve().parents[1]
# The blocks, and how each is laid out from its result file and from that of a GPU, as benchmark_gpu.json.
BLOCKS: dict[str, Callable[[Result], list[Part]]] = {
    "benchmark": benchmark.parts,
    "startup": startup.parts,
    "growth": growth.parts,
    "stream": stream.parts,
    "devices": devices.parts,
    "checkpoints": checkpoints.parts,
}

DEVICES = ("", "_gpu")
_option = partial(option, group="options")


@dataclass(frozen=True)
class ReportOptions:
    """The options of a report."""

    results: str = _option(str(EXPERIMENTS / "results"), "folder of the result files", metavar="FOLDER")
    figures: str = _option(str(EXPERIMENTS / "figures"), "folder for the figures", metavar="FOLDER")
    readme: str = _option(
        str(EXPERIMENTS / "README.md"), "the file whose blocks are rewritten", metavar="FILE"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(ReportOptions, DESCRIPTION, arguments)
    results, readme = read_results(Path(options.results)), Path(options.readme)
    write_text(readme, rewritten(readme.read_text(encoding="utf-8"), results, readme.name))
    for name in draw(results, Path(options.figures)):
        print(f"drawn: {name}")
    print(f"rewritten: {readme}")
    return 0


def read_results(folder: Path) -> dict[str, Result]:
    """Read the result files that are there."""
    names = [f"{block}{device}" for block in BLOCKS for device in DEVICES]
    there = [name for name in names if (folder / f"{name}.json").is_file()]
    if not there:
        raise ArgumentError(
            f"{folder} holds none of {', '.join(f'{name}.json' for name in BLOCKS)}: make one with --out"
        )
    return {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in there}


def rewritten(text: str, results: dict[str, Result], file: str) -> str:
    """Put every block whose results are there into a text."""
    for block, parts_of in BLOCKS.items():
        parts: list[str] = []
        for result in [results[f"{block}{device}"] for device in DEVICES if f"{block}{device}" in results]:
            parts.append(f"`{' '.join(result['command'])}`: {machine_line(result['machine'])}.")
            parts += [part if isinstance(part, str) else markdown(part) for part in parts_of(result)]
        if parts:
            text = with_block(text, block, "\n\n".join(parts), file)
    return text


def draw(results: dict[str, Result], folder: Path) -> list[str]:
    """Draw the figures of the results that are there; returns their names."""
    figures = {
        f"{name}.png": time_bars(bar_panels(results[name]), x_label="epoch's time over jaxmlp's")
        for name in results
        if name.startswith("benchmark")
    }
    if "growth" in results:
        figures["growth.png"] = growth_sheet(*curves(results["growth"]))
    for name, figure in figures.items():
        save(figure, folder / name)
    return list(figures)


def curves(result: Result) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Bring growth to what `growth_sheet` takes; what has no part in the slopes is left out."""
    series = {name.replace("_", " "): one for name, one in result["series"].items()}
    across = {name: [point["value"] for point in one["points"]] for name, one in series.items()}
    down, slopes = {}, {}
    for quantity, what in growth.QUANTITIES.items():
        least, size, unit = result.get("least", {}).get(quantity, 0), 2**20, "MiB"
        if quantity == "seconds":
            size, unit = 1, "s"
        title = f"{what} ({f'≥ {least // size} ' if least else ''}{unit})"
        slopes[title] = {name: one["slopes"][quantity]["upper"] for name, one in series.items()}
        down[title] = {
            name: [
                point[quantity] / size if growth.counts(point[quantity], least) else math.nan
                for point in one["points"]
            ]
            for name, one in series.items()
        }
    return across, down, slopes


def bar_panels(result: Result) -> dict[str, dict[str, list[float]]]:
    """Bring a result to what `time_bars` takes: ratios to jaxmlp's median."""
    panels, keys = {}, ("median_seconds", "least_seconds", "largest_seconds")
    for case in result["cases"]:
        (ours,) = [one["median_seconds"] for one in measured(case) if one["name"] == OURS]
        panels[f"{case['title']}, {benchmark.OPTIMIZER_NAMES[case['optimizer']]}"] = {
            PEERS[one["name"]].title: [one[key] / ours for key in keys] for one in measured(case)
        }
    return panels


if __name__ == "__main__":
    run(main)
