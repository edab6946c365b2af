"""Generated files through load, training and prediction: nothing but a refusal in a line, and no row is lost.

JAXMLP_FUZZ=5000 tries so many; a seed that fails joins SEEDS, which are always tried, once its fault is mended.
"""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from jaxmlp import fit, mlp
from jaxmlp.datasets import load, make_problem, read_inputs
from jaxmlp.types import ArgumentError

SEEDS = (1, 2, 3, 5, 8, 13, 21, 34, 3492)
COUNT, BATCH, FITTED = int(os.environ.get("JAXMLP_FUZZ", "100")), 50, 50

TEXTS = [
    "red",
    "blue",
    "a b",
    "a, b",
    "x;y",
    'say "hi"',
    "two\nlines",
    "naïve ☃",
    "a\tb",
    "None",
    "NA",
    "1a",
    "-",
    "#",
]
GAPS = ["", "", "?", "nan", "NaN", "N/A", "null", "NA", "  "]
ODD = [
    "1e400",
    "-inf",
    "1_000",
    "0x1F",
    "\N{ARABIC-INDIC DIGIT TWO}",
    "1,5",
    "12/31/2020",
    "9" * 30,
    "1e-320",
    "1e200",
    "01",
    "'",
]
KINDS: dict[str, Any] = {
    "whole": lambda random, row: str(random.integers(-5, 100)),
    "few": lambda random, row: str(random.integers(0, 3)),
    "codes": lambda random, row: f"{random.integers(0, 12):02}",
    "float": lambda random, row: repr(float(random.normal() * 10.0 ** random.integers(-9, 9))),
    "comma": lambda random, row: f"{random.normal():.2f}".replace(".", ","),
    "money": lambda random, row: f"${random.integers(1, 99)}",
    "thousands": lambda random, row: f"{random.integers(1, 10**7):,}",
    "text": lambda random, row: str(random.choice(TEXTS)),
    "name": lambda random, row: f"name {row}",
    "truth": lambda random, row: str(random.choice(["True", "False"])),
    "iso": lambda random, row: str(np.datetime64("2020-02-27") + random.integers(0, 4000)),
    "dotted": lambda random, row: (
        f"{random.integers(1, 29)}.{random.integers(1, 13)}.{random.integers(1950, 2050)}"
    ),
    "slashed": lambda random, row: (
        f"{random.integers(1, 13)}/{random.integers(1, 29)}/{random.integers(1950, 2050)}"
    ),
    "empty": lambda random, row: "",
    "one": lambda random, row: "1",
    "anything": lambda random, row: str(random.choice([*TEXTS, *ODD, *GAPS])),
}
PLAIN = ("whole", "few", "codes", "float", "text", "truth", "iso", "slashed")


def draw_table(random: np.random.Generator) -> tuple[bytes, int, dict[str, Any]]:
    """Draw a text file, how many rows it has, and what is said to `load`."""
    rows, width = (
        int(random.choice([1, 5, 25] + [60] * 9)),
        int(random.choice([1, 2, 3, 4, 5, 6] + [3, 4] * 4)),
    )
    kinds = [
        *random.choice([*KINDS] + 4 * list(PLAIN), width - 1),
        str(random.choice(["few", "text", "float", "iso", "codes", "whole"])),
    ]
    gaps, strange = random.choice([0, 0, 0.05, 0.5], width), random.choice([0] * 9 + [0.005])
    gaps[-1] *= random.random() < 0.2
    table = [
        [
            str(random.choice(GAPS))
            if random.random() < gaps[place]
            else str(random.choice(ODD))
            if random.random() < strange
            else KINDS[kind](random, row) + " " * (random.random() < 0.05)
            for place, kind in enumerate(kinds)
        ]
        for row in range(rows)
    ]
    names = [
        f"c{place}" if random.random() < 0.99 else str(random.choice(["", "c0", "7"]))
        for place in range(width)
    ]
    has_header = random.random() < 0.8
    text = io.StringIO(newline="")
    separator, end = random.choice(list(",;\t| ")), str(random.choice(["\n", "\r\n", "\r"]))
    quoting = csv.QUOTE_ALL if separator == " " or random.random() < 0.2 else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    for line in [names] * has_header + table:
        if width > 1 and random.random() < 0.03:
            text.write(end)
        writer.writerow(line)
    data = text.getvalue().encode(random.choice(["utf-8", "utf-8-sig"]))
    options: dict[str, Any] = {"target": str(random.choice(["-1", "-1", "-1", "-1", "-1", "1", "c0,c1"]))}
    for name, values in {
        "missing": ["refuse"],
        "drop_missing_target": [True],
        "test_fraction": [0, 0.5],
        "decimal": [",", "."],
        "task": ["classification", "regression", "multilabel"],
        "text": ["1", "c1"],
        "ignore": ["c1"],
        "group_column": ["c1"],
        "time_column": ["c1"],
        "weight_column": ["c1"],
        "thousands": [","],
        "na_values": ["-,red"],
    }.items():
        if random.random() < (0.5 if name == "drop_missing_target" else 0.02):
            options[name] = values[random.integers(len(values))]
    return (
        data,
        rows,
        options | {"header": has_header, "separator": separator if random.random() < 0.5 else None},
    )


def draw_arrays(random: np.random.Generator) -> tuple[bytes, int, dict[str, Any]]:
    """Draw an .npz file likewise."""
    rows, shape = (
        int(random.choice([0, 1, 20, 60, 60, 60])),
        tuple(random.integers(1, 4, random.integers(1, 3))),
    )
    kind = str(random.choice(["f8", "f4", "f2", "i8", "u1", "?"] * 3 + ["c8", "U3"]))
    inputs = random.integers(0, 200, (rows, *shape)).astype(kind)
    targets = [
        random.integers(0, 3, rows),
        random.normal(size=(rows, 2)),
        random.integers(0, 2, (rows, 3)),
        np.eye(4)[random.integers(0, 4, rows)],
        np.array(["a", "b"])[random.integers(0, 2, rows)],
        random.integers(0, 10**12, rows),
        random.normal(size=rows) * 1e170,
        np.full(rows, np.nan),
    ][random.integers(8)]
    keys = [("x", "y"), ("inputs", "targets"), ("a", "b")][random.choice([0] * 5 + [1] * 4 + [2])]
    file = io.BytesIO()
    np.savez(file, **dict(zip(keys, (inputs, targets), strict=True)))
    return file.getvalue(), rows, {}


def try_file(seed: int, folder: Path, is_fitted: bool) -> str:
    """Draw a file, load it, and predict on it; returns what became of it."""
    random = np.random.default_rng(seed)
    is_table = random.random() < 0.85
    data, rows, options = (draw_table if is_table else draw_arrays)(random)
    is_whole = random.random() < 0.9
    if not is_whole:
        place = int(random.integers(len(data) + 1))
        data = (
            data[:place]
            + bytes(random.integers(0, 256, random.integers(0, 3), np.uint8))
            + data[place + random.integers(9) :]
        )
    path = folder / f"drawn{'.csv' if is_table else '.npz'}"
    path.write_bytes(data)
    try:
        dataset = load(path, **options)
        problem = make_problem(dataset)
    except ArgumentError as refusal:
        return "refused" if "\n" not in str(refusal) else f"refused in several lines: {refusal}"
    counted = len(dataset.train.inputs) + len(dataset.test.inputs) * (dataset.test is not dataset.train)
    table = json.loads(json.dumps(dataset.table))
    names, features = dataset.feature_names, problem.in_features
    read = read_inputs(path, features=features, feature_names=names, table=table).inputs
    assert len(read) == counted or (options.get("drop_missing_target") and len(read) > counted)
    if is_whole:
        assert len(read) == rows
    known = problem.preprocessing.inputs(read)
    assert np.isfinite(known).all()
    if is_fitted:
        net = mlp([features, 3, problem.outputs], output_activation=problem.output_activation)
        given = {"loss": problem.loss, "optimizer": optax.adam(0.01), "epochs": 1, "batch_size": 32}
        fit(net, problem.train, problem.test, key=jax.random.key(0), **given)
    return "taken"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_few_files_are_always_tried(seed, tmp_path):
    assert try_file(seed, tmp_path, is_fitted=False) in ("taken", "refused")


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, COUNT, BATCH))
def test_no_file_is_read_wrongly_or_ends_in_another_error(start, tmp_path):
    became = []
    for seed in range(start, start + BATCH):
        print("seed", seed)  # the last one is that which failed
        became.append(try_file(seed, tmp_path, is_fitted=seed % FITTED == 0))
    assert {"refused", "taken"} == set(became)
