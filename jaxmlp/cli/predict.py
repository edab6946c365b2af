"""Predict with a trained network: a run folder and a file of new examples in, a csv out."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmlp import ArgumentError, Network, door, load_model
from jaxmlp.cli.options import CompilationCacheOptions, DeviceOptions
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.run import MODEL
from jaxmlp.cli.scores import Answers, answers_of, score_rows, scores
from jaxmlp.cli.session import compilation_cache, computing, tell
from jaxmlp.cli.text import aligned
from jaxmlp.datasets import Preprocessing, read_inputs
from jaxmlp.datasets.files import named
from jaxmlp.datasets.reading import Table, as_number, numbers
from jaxmlp.files import whole_file

DESCRIPTION = """Predict with a network that jaxmlp train or jaxmlp sweep has saved.

RUN is a run folder or its model.safetensors. FILE is a table with the columns that the network was trained on, in
any order (- for standard input), or an .npz or .h5 with an array `inputs`. Where a table holds the target, the scores
are printed to standard error."""
ENDINGS = (".csv", ".tsv", ".parquet", "")
SAVED = ("task", "loss", "class_names", "target_names", "feature_names", "table", "feature_shift")


@dataclass(frozen=True)
class PredictOptions(CompilationCacheOptions, DeviceOptions):
    """The options of a prediction."""

    out: str | None = option(
        None,
        "table to write, as .csv or .parquet (default: csv to standard output)",
        group="output",
        metavar="FILE",
    )
    probabilities: bool = option(True, "a column of probability a class or label", group="output")
    missing: str | None = option(None, "gaps: refuse or impute (default: as in training)", group="data")
    unseen: str = option("ignore", "texts that training did not have: ignore or refuse", group="data")
    keep_columns: str | None = option(
        None,
        "columns of FILE to carry along, with commas between them, or all",
        group="output",
        metavar="COLUMN,...",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options, (run_path, file) = parse_options(
        PredictOptions, DESCRIPTION, arguments, positionals=("RUN", "FILE")
    )
    if options.out is not None and (not options.out or Path(options.out).is_dir()):
        raise ArgumentError(f"--out '{options.out}' is no file: give the name of a table to write")
    if options.out is not None and Path(options.out).suffix.lower() not in ENDINGS:
        raise ArgumentError(
            f"--out {options.out} is no table that is written: name a {', '.join(ENDINGS[:-1])}"
        )
    if options.out is None and door.CLOSED:
        raise ArgumentError("standard output is closed: give --out FILE")
    if options.out is not None and os.path.realpath(options.out) == os.path.realpath(file):
        raise ArgumentError(f"--out {options.out} is the file to predict: give another name to write")
    with compilation_cache(options.compilation_cache), computing(options.device, options.precision):
        net, params, saved = load_run(run_path)
        inputs, table, notes = read_inputs(
            file,
            features=net.in_features,
            feature_names=saved["feature_names"],
            table=saved["table"],
            missing=options.missing,
            unseen=options.unseen,
        )
        kept = kept_columns(table, options.keep_columns)
        found, columns = predict_columns(net, params, saved, inputs, options.probabilities)
    for note in notes:
        tell(note)
    columns = {f"predicted_{name}" if name in kept else name: column for name, column in columns.items()}
    write_columns(kept | columns, options.out)
    known = None if table is None or saved["table"] is None else truth_of(table, saved)
    if table is not None and known is not None:
        rows, truth = known
        told = "" if len(rows) == len(inputs) else f" and known of {len(rows):,} of {len(inputs):,} rows"
        tell(f"the target is in {table.name}{told}")
        if len(rows):
            answers = Answers(
                found.predicted[rows], None if found.probabilities is None else found.probabilities[rows]
            )
            measured = scores(saved["task"], truth, answers, saved["class_names"])
            print(aligned(score_rows(measured, "score", saved["task"])), file=sys.stderr)
    return 0


def kept_columns(table: Table | None, given: str | None) -> dict[str, np.ndarray]:
    """Take columns as they were read: without the blanks around a cell, gaps empty."""
    if given is None:
        return {}
    if table is None:
        raise ArgumentError("--keep-columns is for tables: arrays have no columns")
    names = table.names if given == "all" else named(table, "kept", given)
    return {name: table.cells[name].to_numpy(object) for name in names}


def write_columns(columns: dict[str, np.ndarray], out: str | None) -> None:
    """Write a table as the ending of its name says, or as csv to standard output."""
    import pandas as pd

    frame = pd.DataFrame(columns)
    if out is None:
        sys.stdout.write(frame.to_csv(index=False, lineterminator="\n"))
        return
    ending = Path(out).suffix.lower()
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as file:
            if ending == ".parquet":
                frame.to_parquet(file, index=False)
            else:
                frame.to_csv(file, index=False, lineterminator="\n", sep="\t" if ending == ".tsv" else ",")
    except ImportError:
        raise ArgumentError(f"--out {out} needs the package pyarrow: pip install pyarrow") from None


def truth_of(table: Table, saved: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Find the rows of a table that hold a known target, and their targets; None where there is no such column."""
    names, classes = saved["table"]["targets"], saved["class_names"]
    if not set(names) <= set(table.names):
        return None
    if saved["task"] == "classification" and len(names) == 1:
        place = {name: number for number, name in enumerate(classes)}

        def number_of(text: Any) -> float:
            spelt = (text, text.rstrip("."), f"{as_number(text):.0f}") if isinstance(text, str) else ()
            return next((place[each] for each in spelt if each in place), np.nan)

        truth = np.array([number_of(text) for text in table.cells[names[0]]], float)[:, None]
    else:
        truth = np.column_stack([numbers(table.cells[name], table.reading)[0] for name in names])
    rows = np.flatnonzero(np.isfinite(truth).all(axis=1))
    truth = truth[rows]
    if saved["task"] == "regression":
        return rows, truth
    if saved["task"] == "classification" and len(names) > 1:  # one-hot columns, which name the classes
        return rows, truth[:, [names.index(name) for name in classes]].argmax(axis=1)
    return rows, truth.astype(int) if saved["task"] == "multilabel" else truth[:, 0].astype(int)


def load_run(run_path: str) -> tuple[Network, Any, dict[str, Any]]:
    """Load the model of a run folder, or a model file, with what prediction needs besides."""
    path = Path(run_path)
    if not path.exists():
        raise ArgumentError(f"no run at {path}: give a run folder, as jaxmlp train prints it")
    net, params, saved = load_model(path / MODEL if path.is_dir() else path)
    absent = [name for name in SAVED if name not in saved]
    if absent:
        raise ArgumentError(
            f"{run_path} was not saved by jaxmlp train (it lacks {', '.join(absent)}): "
            "give a run of jaxmlp train, or call jaxmlp.load_model in your own program"
        )
    return net, params, saved


def predict_columns(
    net: Network, params: Any, saved: dict[str, Any], inputs: np.ndarray, with_probabilities: bool
) -> tuple[Answers, dict[str, np.ndarray]]:
    """Predict in the names and units of the training data; the answers, and the columns to write."""
    preprocessing = Preprocessing.from_dict(saved)
    scaled = preprocessing.inputs(inputs, jax.tree.leaves(params)[0].dtype)
    if not (fine := np.isfinite(scaled).all(axis=1)).all():
        row = int(np.argmin(fine))
        raise ArgumentError(f"row {row + 1} of the examples has a number beyond {scaled.dtype}: mend it")
    answers = answers_of(net, params, scaled, task=saved["task"], loss=saved["loss"])
    (predicted, probabilities), names = answers, saved["class_names"]
    if saved["task"] == "regression":
        values = preprocessing.restore_targets(predicted)
        return Answers(values, None), dict(zip(saved["target_names"], values.T, strict=True))
    if saved["task"] == "multilabel":
        columns = dict(zip(names, predicted.T, strict=True))
    else:
        targets = (saved["table"] or {}).get("targets", [])
        columns = {targets[0] if len(targets) == 1 else "class": np.asarray(names)[predicted]}
    if with_probabilities and probabilities is not None:
        columns |= {f"probability_{name}": probabilities[:, place] for place, name in enumerate(names)}
    return answers, columns
