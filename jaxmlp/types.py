"""What everything is made of: the axes, the minibatch, the reports and the error.

The axis legend, used in every docstring:

| axis | counts |
| --- | --- |
| `N` | examples in a data set |
| `B` | examples in a batch |
| `I` | inputs of one layer |
| `O` | outputs of one layer |
| `K` | outputs of the network (classes, labels or regressed values) |
| `L` | layers |
| `S` | steps in an epoch |
| `E` | epochs |
| `M` | models trained side by side |
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray, PyTree

Key: TypeAlias = PRNGKeyArray
Params: TypeAlias = PyTree
Scalar: TypeAlias = Float[Array, ""]
Residuals: TypeAlias = Any
L2: TypeAlias = float | Scalar | None
Progress: TypeAlias = float | Scalar | None  # how far training is, from 0 to 1; None stands for 0


class Batch(NamedTuple):
    """Examples that are seen together: a minibatch, or a whole data set."""

    inputs: Float[Array, "B I"]
    targets: Num[Array, "B ..."]  # [B] integer labels, or [B, K] soft labels, binary labels or values
    weight: Float[Array, "B"] | None = None  # what each counts in the mean, at least 0; None means 1 for each


class ArgumentError(ValueError):
    """An argument, option or file is wrong; the message says what was given, what is allowed and what to do.

    The commands print its message as one line and end with status 2. Any other exception is a defect of the
    program and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # a text of the user's may hold several lines


LARGEST_SEED = 2**32 - 1


def check_whole(name: str, given: Any, least: int = 1, most: int | None = None, advice: str = "") -> None:
    """Raise an ArgumentError unless a count, as a batch size, is a whole number within its bounds."""
    is_whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not (is_whole and least <= given and (most is None or given <= most)):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ArgumentError(f"{name} must be a whole number {bounds}, given {given!r}{advice}")


class Metrics(NamedTuple):
    """What a step, an epoch or an evaluation reports."""

    loss: Scalar  # the objective, L2 included, averaged over the examples' weights
    score: Scalar  # the metric (accuracy, R² …) over the same examples
    weight: Scalar  # the sum of the examples' weights
    gradient_norm: Scalar | None = None  # mean ‖∂E/∂params‖₂ over steps of the epoch; None without training


class EpochReport(NamedTuple):
    """One epoch's row of the history."""

    epoch: int  # epochs done, from 1
    train_loss: float  # the objective, averaged over the epoch's steps as they were taken
    train_score: float  # the metric, likewise
    valid_loss: float | None  # the objective on the validation data after the epoch; None without such data
    valid_score: float | None
    gradient_norm: float  # mean norm of the gradient, over steps spread evenly over the epoch
    max_weight: tuple[float, ...]  # largest |w| of each layer that has weights, first to last
    seconds: float  # wall-clock time without the evaluation; the first epoch's includes compilation
    examples_per_second: float


def history_columns(
    history: tuple[EpochReport, ...], metric: str, part: str = "valid"
) -> dict[str, np.ndarray]:
    """Turn a history into columns, for a table or a plot.

    Args:
        history: E reports.
        metric: the score's name, as in `FitResult.metric`; without its parameter it names the score's columns.
        part: what the part that was measured each epoch is called, as "test".

    Returns:
        Arrays [E] by name: epoch, train_loss, train_METRIC, valid_loss, valid_METRIC (NaN where there was no
        validation), gradient_norm, max_weight_1 … for each layer with weights, seconds, examples_per_second.

    Example:
        >>> row = EpochReport(1, 0.5, 0.9, None, None, 1.0, (0.1,), 2.0, 50.0)
        >>> sorted(history_columns((row,), "accuracy"))[:3]
        ['epoch', 'examples_per_second', 'gradient_norm']
    """

    def column(values: list[Any]) -> np.ndarray:
        return np.array([np.nan if value is None else value for value in values])

    metric = metric.partition(":")[0]
    columns = {
        "epoch": column([row.epoch for row in history]),
        "train_loss": column([row.train_loss for row in history]),
        f"train_{metric}": column([row.train_score for row in history]),
        f"{part}_loss": column([row.valid_loss for row in history]),
        f"{part}_{metric}": column([row.valid_score for row in history]),
        "gradient_norm": column([row.gradient_norm for row in history]),
    }
    for layer in range(len(history[0].max_weight) if history else 0):
        columns[f"max_weight_{layer + 1}"] = column([row.max_weight[layer] for row in history])
    columns["seconds"] = column([row.seconds for row in history])
    columns["examples_per_second"] = column([row.examples_per_second for row in history])
    return columns
