"""What every peer is given: the same data, initial parameters, order of examples and settings."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

MOMENTUM, ADAM_B1, ADAM_B2, ADAM_EPSILON = 0.9, 0.9, 0.999, 1e-8

Layers = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Settings:
    """How to train: ReLU between the layers, and the mean of softmax cross-entropy or of half squared error."""

    sizes: tuple[int, ...]
    batch_size: int  # the last minibatch of an epoch may be shorter
    optimizer: str  # "sgd", "momentum" or "adam"
    learning_rate: float
    task: str  # "classification" or "regression"
    seed: int = 0  # of the initial parameters and of the order
    device: str = "cpu"
    precision: str = "float32"


class Job(NamedTuple):
    """Settings and arrays: data, each epoch's permutation of the examples, initial weights and biases."""

    settings: Settings
    train_inputs: np.ndarray  # [N, I] float32
    train_targets: np.ndarray  # [N] int32 labels or [N, 1] float32 values
    test_inputs: np.ndarray
    test_targets: np.ndarray
    orders: np.ndarray  # [E, N] int32
    layers: Layers  # w [I, O] and b [O] of each


class Peer:
    """A way to train, made from a job, then told to train epoch by epoch."""

    temporaries: int | None = None  # bytes that the compiled epoch needs, where it is one program

    def __init__(self, job: Job) -> None:
        self.job, self.settings = job, job.settings

    def epoch(self, order: np.ndarray) -> float:
        """Train one epoch to its end; returns the mean of its steps' losses, weighted by their examples."""
        size = self.settings.batch_size
        losses = self.fetch([self.step(order[start : start + size]) for start in range(0, len(order), size)])
        weight = np.full(len(losses), size, float)
        weight[-1] = len(order) - size * (len(losses) - 1)
        return float(np.dot(np.asarray(losses, float), weight) / len(order))

    def step(self, rows: Any) -> Any:
        """Train on one minibatch; returns its loss, which may stay on the device."""
        raise NotImplementedError

    def fetch(self, losses: list[Any]) -> Any:
        """Wait for all work, and bring an epoch's losses to the host at once: reading each would wait for each."""
        return losses

    def layers(self) -> Layers:
        """Give the parameters as they are now."""
        raise NotImplementedError


def score(layers: Layers, inputs: np.ndarray, targets: np.ndarray, task: str, chunk: int = 10_000) -> float:
    """Measure parameters on a test part, in the same way for every peer."""
    outputs = np.concatenate(
        [_outputs(layers, inputs[start : start + chunk]) for start in range(0, len(inputs), chunk)]
    )
    if task == "classification":
        return float(np.mean(outputs.argmax(axis=1) == targets))
    residual, spread = outputs - targets, targets - targets.mean(axis=0)
    return float(1 - np.sum(residual**2, dtype=float) / np.sum(spread**2, dtype=float))


def _outputs(layers: Layers, inputs: np.ndarray) -> np.ndarray:
    for w, b in layers[:-1]:
        inputs = np.maximum(inputs @ w + b, 0)
    w, b = layers[-1]
    return inputs @ w + b
