"""Predict with a trained network: a run folder and a file of new examples in, a csv out."""

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmlp import ArgumentError, Network, load_model
from jaxmlp.cli.options import CompilationCacheOptions, DeviceOptions, option, parse_options
from jaxmlp.cli.pictures import predict_in_chunks
from jaxmlp.cli.run import MODEL
from jaxmlp.cli.session import compilation_cache, computing
from jaxmlp.cli.text import check_out, write_whole
from jaxmlp.datasets import Preprocessing, read_inputs

DESCRIPTION = """Predict with a network that jaxmlp train or jaxmlp sweep has saved.

RUN is a run folder or its model.safetensors. FILE is an .npz with an array `inputs`, or a csv with the columns that
the network was trained on, in any order; the target may be missing."""
SAVED = ("task", "loss", "class_names", "target_names", "feature_names", "table", "feature_shift")


@dataclass(frozen=True)
class PredictOptions(CompilationCacheOptions, DeviceOptions):
    """The options of a prediction."""

    out: str | None = option(None, "csv to write (default: standard output)", group="output", metavar="FILE")
    probabilities: bool = option(True, "a column of probability a class or label", group="output")
    missing: str | None = option(
        None, "missing values: refuse or impute (default: as in training)", group="data", metavar="NAME"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options, (run_path, file) = parse_options(
        PredictOptions, DESCRIPTION, arguments, positionals=("RUN", "FILE")
    )
    check_out(options.out, "csv")
    with compilation_cache(options.compilation_cache), computing(options.device, options.precision):
        net, params, saved = load_run(run_path)
        inputs = read_inputs(
            file,
            features=net.in_features,
            feature_names=saved["feature_names"],
            table=saved["table"],
            missing=options.missing,
        )
        columns = predict_columns(net, params, saved, inputs, options.probabilities)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    if options.out is None:
        sys.stdout.write(text.getvalue())
    else:
        write_whole(Path(options.out), text.getvalue())
    return 0


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
    net: Network, params: Any, saved: dict[str, Any], inputs: np.ndarray, probabilities: bool
) -> dict[str, np.ndarray]:
    """Predict in the names and units of the training data; each column [N]."""
    preprocessing = Preprocessing.from_dict(saved)
    scaled = preprocessing.inputs(inputs).astype(jax.tree.leaves(params)[0].dtype)
    ask = {"task": saved["task"], "loss": saved["loss"]}
    answers, names = predict_in_chunks(net, params, scaled, **ask), saved["class_names"]
    if saved["task"] == "regression":
        return dict(zip(saved["target_names"], preprocessing.restore_targets(answers).T, strict=True))
    if saved["task"] == "multilabel":
        columns = dict(zip(names, answers.T, strict=True))
    else:
        columns = {"class": np.asarray(names)[answers]}
    if probabilities:
        try:
            chances = predict_in_chunks(net, params, scaled, probabilities=True, **ask)
        except ArgumentError:
            return columns  # a loss such as the hinge or a squared error gives no probabilities
        columns |= {f"probability_{name}": chances[:, place] for place, name in enumerate(names)}
    return columns
