"""Turn the committed result files into README's section on speed and into figures, so that neither is typed by hand."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmark_tables import OPTIMIZER_NAMES, race_rows, score_text, sweep_rows, target_rows
from benchmark_targets import Result, contestant, floor_seconds, targets
from contestants import CONTESTANTS, OURS
from growth import QUANTITIES, base_note, counts, least_note, left_out_notes, slope_rows
from marked_block import with_block

from jaxmlp import ArgumentError
from jaxmlp.cli.options import option, parse_options
from jaxmlp.cli.session import run
from jaxmlp.cli.text import machine_line, markdown, seconds
from jaxmlp.plots import growth_sheet, save, time_bars

DESCRIPTION = """Rewrite the block of README.md between the two comments from experiments/results/, and draw the
figures of experiments/figures/ from the same files."""

ROOT = Path(__file__).resolve().parents[2]
BLOCK = "benchmark"  # of README
BENCHMARKS = {"benchmark.json": "On a CPU", "benchmark_gpu.json": "On a GPU"}
GROWTH, STARTUP = "growth.json", "startup.json"
SHORT = {
    "jax_grad": "`jax.grad`",
    "jax": "JAX step",
    "flax": "flax.nnx",
    "torch": "PyTorch",
    "torch_compile": "compiled",
    "torch_cuda_graph": "CUDA graph",
    "numpy": "NumPy",
    "sklearn": "scikit-learn",
}

_option = partial(option, group="options")


@dataclass(frozen=True)
class ReportOptions:
    """The options of a report."""

    results: str = _option(
        str(ROOT / "experiments" / "results"), "folder of the result files", metavar="FOLDER"
    )
    figures: str = _option(str(ROOT / "experiments" / "figures"), "folder for the figures", metavar="FOLDER")
    readme: str = _option(str(ROOT / "README.md"), "the file whose block is rewritten", metavar="FILE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(ReportOptions, DESCRIPTION, arguments)
    folder, readme, figures = Path(options.results), Path(options.readme), Path(options.figures)
    results = read_results(folder)
    text = readme.read_text(encoding="utf-8")
    readme.write_text(with_block(text, BLOCK, block(results), readme.name), encoding="utf-8")
    for name in draw(results, figures):
        print(f"drawn: {name}")
    print(f"rewritten: {readme}")
    return 0


def read_results(folder: Path) -> dict[str, Result]:
    """Read the result files that are there."""
    there = [name for name in (*BENCHMARKS, STARTUP, GROWTH) if (folder / name).is_file()]
    if not there:
        raise ArgumentError(
            f"{folder} holds none of {', '.join((*BENCHMARKS, STARTUP, GROWTH))}: "
            "make one with benchmark.py --out or growth.py --out"
        )
    return {name: json.loads((folder / name).read_text(encoding="utf-8")) for name in there}


def block(results: dict[str, Result]) -> str:
    """Write README's block: a table a device, the race, the targets, the slopes."""
    parts = [
        part
        for name, heading in BENCHMARKS.items()
        if name in results
        for part in _benchmark(results[name], heading)
    ]
    if STARTUP in results:
        parts += _startup(results[STARTUP])
    if GROWTH in results:
        parts += _growth(results[GROWTH])
    return "\n\n".join(parts)


def _benchmark(result: Result, heading: str) -> list[str]:
    command = " ".join(result["command"])
    parts = [
        f"**{heading}** (`{command}`): {machine_line(result['machine'])}.",
        "Seconds of jaxmlp's epoch, the median of the turns with least and largest; then how many times as long "
        "the others take. All train on the same batches from the same parameters: the last column but one is "
        "jaxmlp's score on the test part with the farthest of any other behind it; the last is the epoch's time "
        "over that of its matrix products alone, each where it is fastest.",
        markdown(ratio_rows(result)),
    ]
    failures = sorted(
        {
            f"{one['title']} was not measured for {case['title']}, {OPTIMIZER_NAMES[case['optimizer']]}: "
            f"{one['failure']}."
            for case in result["cases"]
            for one in case["contestants"]
            if "failure" in one
        }
    )
    parts += failures
    parts += [f"Not finished: {failure}." for failure in result.get("failures", ())]
    if "race" in result:
        parts.append(markdown(race_rows(result["race"])))
    if "sweep" in result:
        parts.append(markdown(sweep_rows(result["sweep"])))
    return [*parts, markdown(target_rows(targets(result)))]


def ratio_rows(result: Result) -> list[list[str]]:
    """Lay out all cases in one table: a row a case and optimiser, a column a contestant."""
    names = [name for name in SHORT if any(contestant(case, name) for case in result["cases"])]
    rows = [["an epoch of", "jaxmlp", *(SHORT[name] for name in names), "score (farthest)", "floor"]]
    for case in result["cases"]:
        ours = contestant(case, OURS)
        assert ours is not None
        scores = [one["score"] for one in case["contestants"] if "failure" not in one]
        farthest = max(scores, key=lambda score: abs(score - ours["score"]))
        others = [contestant(case, name) for name in names]
        rows.append(
            [
                f"{case['title']}, {OPTIMIZER_NAMES[case['optimizer']]} ({case['data']})",
                f"{seconds(ours['median_seconds'])} ({seconds(ours['least_seconds'])} to "
                f"{seconds(ours['largest_seconds'])})",
                *("" if one is None else f"{one['time_relative_to_ours']:.2f} ×" for one in others),
                f"{score_text(ours['score'], case['task'])} ({score_text(farthest, case['task'])})",
                f"{ours['median_seconds'] / floor_seconds(case):.2f} ×",
            ]
        )
    return rows


def _startup(result: Result) -> list[str]:
    """Lay out whole runs of train.py: the first finds no compiled programs, the second ones do."""
    longest, least = result["targets"]["second run (s)"], result["targets"]["MNIST accuracy"]
    rows = [
        ["whole run of train.py", "first", "second, median (least to largest)", "test accuracy", "target"]
    ]
    for name, case in result["cases"].items():
        times = [one["wall"] for one in case["second"]]
        accuracy = statistics.median(one["accuracy"] for one in case["second"])
        reached, wanted = statistics.median(times) <= longest, f"second ≤ {longest:g} s"
        if name == "mnist":
            reached, wanted = reached and accuracy >= least, f"{wanted} at ≥ {100 * least:g} %"
        rows.append(
            [
                f"`{' '.join(['train.py', *case['flags']])}`",
                seconds(case["first"]["wall"]),
                f"{seconds(statistics.median(times))} ({seconds(min(times))} to {seconds(max(times))})",
                f"{100 * accuracy:.2f} %",
                f"{wanted}: {'reached' if reached else 'not reached'}",
            ]
        )
    return ["**Start** (`python experiments/startup.py`): imports and compilation included.", markdown(rows)]


def _growth(result: Result) -> list[str]:
    base = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in result["base"].items())
    rows = [["varied", "slope of", "all points", "upper half", "expected above", "because of"]]
    for name, series in result["series"].items():
        rows += [[name.replace("_", " "), *row] for row in slope_rows(name, series)[1:]]
    return [
        f"**Growth** (`{' '.join(result['command'])}`): slopes of log-log curves around a base of {base}, SGD; "
        f"{machine_line(result['machine'])}.",
        markdown(rows),
        *(f"{note}." for note in [*least_note(result.get("least", {})), *base_note(result)]),
        *(
            f"{name.replace('_', ' ')}: {note}."
            for name, series in result["series"].items()
            for note in left_out_notes(series)
        ),
        "![time and memory against examples, batch, width, depth and epochs](experiments/figures/growth.png)",
    ]


def draw(results: dict[str, Result], folder: Path) -> list[str]:
    """Draw the figures of the results that are there; returns their names."""
    drawn = []
    for name in BENCHMARKS:
        if name in results:
            figure = time_bars(bar_panels(results[name]), x_label="epoch's time over jaxmlp's")
            drawn.append(Path(name).with_suffix(".png").name)
            save(figure, folder / drawn[-1])
    if GROWTH in results:
        series, least = results[GROWTH]["series"], results[GROWTH].get("least", {})
        across = {name.replace("_", " "): _column(one, "value") for name, one in series.items()}
        down = {
            f"{what} ({_unit(quantity, least)})": {
                name.replace("_", " "): _column(one, quantity, least.get(quantity, 0))
                for name, one in series.items()
            }
            for quantity, what in QUANTITIES.items()
        }
        slopes = {
            what: {name.replace("_", " "): one["slopes"][quantity]["upper"] for name, one in series.items()}
            for what, quantity in zip(down, QUANTITIES, strict=True)
        }
        drawn.append("growth.png")
        save(growth_sheet(across, down, slopes), folder / drawn[-1])
    return drawn


def _unit(quantity: str, least: Mapping[str, int]) -> str:
    if quantity == "seconds":
        return "s"
    return f"≥ {least[quantity] // 2**20} MiB" if quantity in least else "MiB"


def _column(series: dict[str, Any], key: str, least: int = 0) -> list[float]:
    """Take the values of a row of curves; what has no part in the slopes is left out."""
    unit = 2**20 if key.endswith("bytes") else 1
    return [point[key] / unit if counts(point[key], least) else float("nan") for point in series["points"]]


def bar_panels(result: Result) -> dict[str, dict[str, list[float]]]:
    """Bring a result to what `time_bars` takes: ratios to jaxmlp's median."""
    panels = {}
    for case in result["cases"]:
        ours = contestant(case, OURS)
        assert ours is not None
        panels[f"{case['title']}, {OPTIMIZER_NAMES[case['optimizer']]}"] = {
            CONTESTANTS[one["name"]].title: [
                one[key] / ours["median_seconds"]
                for key in ("median_seconds", "least_seconds", "largest_seconds")
            ]
            for one in case["contestants"]
            if "failure" not in one
        }
    return panels


if __name__ == "__main__":
    run(main)
