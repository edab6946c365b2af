"""The pictures of the lab's report, drawn by `jaxmlp.plots` from what was measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lab_answers import accuracy_of, activations_of
from lab_runs import IDENTITY, Kind, Runs

from jaxmlp import plots
from jaxmlp.plots.histories import epoch_axis


def draw_lab(folder: Path, runs: Runs) -> dict[str, list[str]]:
    """Draw all pictures into the run folder; returns their file names by question."""
    names = activations_of(runs, 3)
    deepest = max(kind.depth for kind in runs)
    depth = []
    if deepest > 3:
        deep = activations_of(runs, deepest)
        depth = [
            _by_depth(folder, runs, deep, "depth.png", deepest),
            _norms_at_start(folder, runs, deep, deepest),
        ]
        depth += [_norms_through_training(folder, runs, Kind(name, deepest)) for name in deep]
    return {
        "activation": [_by_epoch(folder, runs, names, depth) for depth in (2, 3)],
        "layers": [_by_depth(folder, runs, [IDENTITY, *names], "layers.png", deepest=3)],
        "depth": depth,
        "weights": [_weights(folder, runs, Kind(name, 3)) for name in (IDENTITY, *names)],
    }


def _shown(activation: str) -> str:
    return "no activation" if activation == IDENTITY else activation


def _by_epoch(folder: Path, runs: Runs, names: Sequence[str], depth: int) -> str:
    series = {_shown(name): 100 * (1 - runs[Kind(name, depth)].test_accuracy) for name in (IDENTITY, *names)}
    epochs = np.arange(1, next(iter(series.values())).shape[1] + 1)
    label = f"test error, {depth} layers (%)"
    # Errors on a logarithmic axis: accuracies of 97 and 98 % could not be told apart on one that begins at 10.
    figure = plots.band_curves(epochs, series, x_label="epoch", y_label=label, log_y=True)
    epoch_axis(figure.axes[0], epochs)
    return _save(folder, figure, f"error-{depth}-layers.png")


def _by_depth(folder: Path, runs: Runs, names: Sequence[str], file: str, deepest: int) -> str:
    depths = [1, *sorted({kind.depth for kind in runs if kind.activation in names and kind.depth <= deepest})]
    series = {
        _shown(name): 100 * np.stack([accuracy_of(runs, name, depth) for depth in depths], axis=1)
        for name in names
    }
    figure = plots.band_curves(depths, series, x_label="layers", y_label="test accuracy (%)")
    figure.axes[0].set_xticks(depths)
    return _save(folder, figure, file)


def _norms_at_start(folder: Path, runs: Runs, names: Sequence[str], deepest: int) -> str:
    norms = {
        f"{name}, {depth} layers": np.median(runs[Kind(name, depth)].gradient_norm[:, 0], axis=0)
        for name in names
        for depth in (3, deepest)
    }
    return _save(folder, plots.gradient_flow(norms), "gradient-norms-at-the-start.png")


def _norms_through_training(folder: Path, runs: Runs, kind: Kind) -> str:
    norms = np.median(runs[kind].gradient_norm, axis=0).T
    figure = plots.gradient_flow(norms, epochs=np.arange(norms.shape[1]))
    figure.suptitle(f"{kind}, median over seeds", fontsize="medium")
    return _save(folder, figure, f"gradient-norms-{_plain(kind.activation)}.png")


def _weights(folder: Path, runs: Runs, kind: Kind) -> str:
    weights = runs[kind].max_weight
    series = {f"layer {layer + 1}": weights[:, :, layer] for layer in range(kind.depth)}
    epochs = np.arange(weights.shape[1])
    figure = plots.band_curves(epochs, series, x_label="epoch", y_label="max |W|")
    epoch_axis(figure.axes[0], epochs)
    figure.axes[0].set_title(str(kind), fontsize="medium")
    return _save(folder, figure, f"largest-weights-{_plain(kind.activation)}.png")


def _plain(name: str) -> str:
    return name.replace(":", "-").replace(",", "-").replace("_", "-")


def _save(folder: Path, figure: Any, file: str) -> str:
    plots.save(figure, folder / file)
    return file
