"""Predict with a trained network: a run folder and a file of new examples in, a csv out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from jaxmlp import ArgumentError, Network, load_model
from jaxmlp.cli.options import CompilationCacheOptions, DeviceOptions, option, parse_options
from jaxmlp.cli.pictures import predict_in_chunks
from jaxmlp.cli.run import MODEL
from jaxmlp.cli.session import compilation_cache, computing
from jaxmlp.cli.text import check_out, write_whole
from jaxmlp.datasets import Preprocessing, read_inputs

DESCRIPTION = """Predict with a network that train.py has trained.

RUN is a run folder or its model.safetensors, FILE a csv with the columns that it was trained on
(in any order, the target may be missing) or an .npz with an array `inputs`."""


@dataclass(frozen=True)
class PredictOptions(CompilationCacheOptions, DeviceOptions):
    """The options of a prediction."""

    out: str | None = option(None, "csv to write (default: standard output)", group="output", metavar="FILE")
    probabilities: bool = option(True, "a column of probability a class or label", group="output")
    missing: str | None = option(
        None, "missing values: refuse or impute (default: as in training)", group="data", metavar="NAME"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, (run_path, file) = parse_options(
        PredictOptions, DESCRIPTION, arguments, positionals=("RUN", "FILE")
    )
    check_out(options.out, "csv")
    with compilation_cache(options.compilation_cache), computing(options.device, options.precision):
        net, params, saved = load_model(find_model(run_path))
        check_saved(saved, run_path)
        inputs = read_inputs(
            file,
            features=net.in_features,
            feature_names=saved["feature_names"],
            table=saved["table"],
            missing=options.missing,
        )
        table = predict_table(net, params, saved, inputs, options)
    text = table.to_csv(index=False, lineterminator="\n")
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_whole(Path(options.out), text)
    return 0


def find_model(run_path: str) -> Path:
    """Find the model file of a run folder; a file is taken as it is."""
    path = Path(run_path)
    if not path.exists():
        raise ArgumentError(f"no run at {path}: give a run folder, as train.py prints it")
    return path / MODEL if path.is_dir() else path


def check_saved(saved: dict[str, Any], run_path: str) -> None:
    """Refuse a model that was saved without what prediction needs."""
    needed = ("task", "loss", "class_names", "target_names", "feature_names", "table", "feature_shift")
    absent = [name for name in needed if name not in saved]
    if absent:
        raise ArgumentError(
            f"{run_path} was not saved by train.py (it lacks {', '.join(absent)}): "
            "give a run of train.py, or use jaxmlp.load_model in a program of your own"
        )


def predict_table(
    net: Network, params: Any, saved: dict[str, Any], inputs: np.ndarray, options: PredictOptions
) -> pd.DataFrame:
    """Predict, in the names and units of the training data; one row an example."""
    preprocessing = Preprocessing.from_dict(saved)
    scaled = preprocessing.inputs(inputs).astype(jax.tree.leaves(params)[0].dtype)
    ask = {"task": saved["task"], "loss": saved["loss"]}
    answers = predict_in_chunks(net, params, scaled, **ask)
    if saved["task"] == "regression":
        return pd.DataFrame(preprocessing.restore_targets(answers), columns=saved["target_names"])
    names = saved["class_names"]
    if saved["task"] == "multilabel":
        table = pd.DataFrame(answers, columns=names)
    else:
        table = pd.DataFrame({"class": np.asarray(names)[answers]})
    if options.probabilities:
        try:
            chances = predict_in_chunks(net, params, scaled, probabilities=True, **ask)
        except ArgumentError:
            return table  # a loss such as the hinge or a squared error gives no probabilities
        table[[f"probability_{name}" for name in names]] = chances
    return table
