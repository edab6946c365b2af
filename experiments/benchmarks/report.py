"""Turn the committed result files into experiments/README.md and into figures, so that neither is typed by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import checkpoints
import devices
import growth
import startup
import stream
from measurement import Result, with_block
from peers import OURS, PEERS
from tables import OPTIMIZER_NAMES, score_text, spread, sweep_rows, target_rows, time_to_accuracy_rows
from targets import floor_seconds, measured, peer, targets

from jaxmlp import ArgumentError
from jaxmlp.cli.options import option, parse_options
from jaxmlp.cli.session import run
from jaxmlp.cli.text import machine_line, markdown, seconds
from jaxmlp.files import write_text
from jaxmlp.plots import growth_sheet, save, time_bars

DESCRIPTION = """Rewrite the blocks of experiments/README.md between two comments each from experiments/results/, and
draw the figures of experiments/figures/ from the same files."""

EXPERIMENTS = Path(__file__).resolve().parents[1]
# The result files by the block that they fill.
BLOCKS = {
    "benchmark": ("benchmark", "benchmark_gpu"),
    "startup": ("startup",),
    "growth": ("growth",),
    "stream": ("stream",),
    "devices": ("devices",),
    "checkpoints": ("checkpoints",),
}

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
    names = [name for files in BLOCKS.values() for name in files]
    there = [name for name in names if (folder / f"{name}.json").is_file()]
    if not there:
        raise ArgumentError(
            f"{folder} holds none of {', '.join(f'{name}.json' for name in names)}: make one with benchmark.py --out "
            "or another measurement's --out"
        )
    return {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in there}


def rewritten(text: str, results: dict[str, Result], file: str) -> str:
    """Put every block whose results are there into a text."""
    for block, files in BLOCKS.items():
        parts = [part for name in files if name in results for part in _paragraphs(name, results[name])]
        if parts:
            text = with_block(text, block, "\n\n".join(parts), file)
    return text


def _paragraphs(name: str, result: Result) -> list[str]:
    """Write a result: its command and machine, and its tables."""
    heading = f"`{' '.join(result['command'])}`: {machine_line(result['machine'])}."
    if name == "growth":
        return [heading, *_growth(result)]
    if name == "stream":
        setting = stream.setting(result)
        return [
            heading,
            f"{setting[0].upper()}{setting[1:]}.",
            markdown(stream.table_rows(result)),
            stream.verdict(result),
        ]
    if name in ("startup", "devices", "checkpoints"):
        module = {"startup": startup, "devices": devices, "checkpoints": checkpoints}[name]
        return [heading, markdown(module.table_rows(result))]
    return [heading, *_benchmark(result)]


def _benchmark(result: Result) -> list[str]:
    parts = [markdown(ratio_rows(result))]
    parts += sorted(
        {
            f"{one['title']} was not measured for {case['title']}, {OPTIMIZER_NAMES[case['optimizer']]}: "
            f"{one['failure']}."
            for case in result["cases"]
            for one in case["peers"]
            if "failure" in one
        }
    )
    parts += [f"Not finished: {failure}." for failure in result.get("failures", ())]
    if "time_to_accuracy" in result:
        parts.append(markdown(time_to_accuracy_rows(result["time_to_accuracy"])))
    if "sweep" in result:
        parts.append(markdown(sweep_rows(result["sweep"])))
    return [*parts, markdown(target_rows(targets(result)))]


def ratio_rows(result: Result) -> list[list[str]]:
    """Lay out all cases in one table: a row a case and optimiser, a column a peer."""
    names = [name for name in PEERS if name != OURS and any(peer(case, name) for case in result["cases"])]
    heading = [OURS, *(PEERS[name].short for name in names)]
    rows = [["an epoch of", *heading, "score (farthest)", "floor"]]
    for case in result["cases"]:
        ours = peer(case, OURS)
        assert ours is not None
        scores = [one["score"] for one in measured(case)]
        farthest = max(scores, key=lambda score: abs(score - ours["score"]))
        others = [peer(case, name) for name in names]
        rows.append(
            [
                f"{case['title']}, {OPTIMIZER_NAMES[case['optimizer']]} ({case['data']})",
                f"{seconds(ours['median_seconds'])} ({spread(ours)})",
                *("" if one is None else f"{one['time_relative_to_ours']:.2f} ×" for one in others),
                f"{score_text(ours['score'], case['task'])} ({score_text(farthest, case['task'])})",
                f"{ours['median_seconds'] / floor_seconds(case):.2f} ×",
            ]
        )
    return rows


def _growth(result: Result) -> list[str]:
    base = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in result["base"].items())
    rows = [["varied", "slope of", "all points", "upper half", "expected above", "because of"]]
    notes = [*growth.least_note(result.get("least", {})), *growth.base_note(result)]
    for name, series in result["series"].items():
        varied = name.replace("_", " ")
        rows += [[varied, *row] for row in growth.slope_rows(name, series)[1:]]
        notes += [f"{varied}: {note}" for note in growth.left_out_notes(series)]
    return [f"The base is {base}, with SGD.", markdown(rows), *(f"{note}." for note in notes)]


def draw(results: dict[str, Result], folder: Path) -> list[str]:
    """Draw the figures of the results that are there; returns their names."""
    figures = {
        f"{name}.png": time_bars(bar_panels(results[name]), x_label="epoch's time over jaxmlp's")
        for name in BLOCKS["benchmark"]
        if name in results
    }
    if "growth" in results:
        series, least = results["growth"]["series"], results["growth"].get("least", {})
        across = {name.replace("_", " "): _column(one, "value") for name, one in series.items()}
        down = {
            f"{what} ({_unit(quantity, least)})": {
                name.replace("_", " "): _column(one, quantity, least.get(quantity, 0))
                for name, one in series.items()
            }
            for quantity, what in growth.QUANTITIES.items()
        }
        slopes = {
            what: {name.replace("_", " "): one["slopes"][quantity]["upper"] for name, one in series.items()}
            for what, quantity in zip(down, growth.QUANTITIES, strict=True)
        }
        figures["growth.png"] = growth_sheet(across, down, slopes)
    for name, figure in figures.items():
        save(figure, folder / name)
    return list(figures)


def _unit(quantity: str, least: Mapping[str, int]) -> str:
    if quantity == "seconds":
        return "s"
    return f"≥ {least[quantity] // 2**20} MiB" if quantity in least else "MiB"


def _column(series: Result, key: str, least: int = 0) -> list[float]:
    """Take the values of a row of curves; what has no part in the slopes is left out."""
    unit = 2**20 if key.endswith("bytes") else 1
    return [
        point[key] / unit if growth.counts(point[key], least) else float("nan") for point in series["points"]
    ]


def bar_panels(result: Result) -> dict[str, dict[str, list[float]]]:
    """Bring a result to what `time_bars` takes: ratios to jaxmlp's median."""
    panels = {}
    for case in result["cases"]:
        ours = peer(case, OURS)
        assert ours is not None
        panels[f"{case['title']}, {OPTIMIZER_NAMES[case['optimizer']]}"] = {
            PEERS[one["name"]].title: [
                one[key] / ours["median_seconds"]
                for key in ("median_seconds", "least_seconds", "largest_seconds")
            ]
            for one in measured(case)
        }
    return panels


if __name__ == "__main__":
    run(main)
