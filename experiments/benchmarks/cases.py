"""The cases of the benchmark: networks, data and learning rates, made ready for every peer alike."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from measurement import PlaceOptions
from peers.jaxmlp_scan import begin, dense_layers
from peers.job import Job, Settings

from jaxmlp import ArgumentError
from jaxmlp.datasets import load
from jaxmlp.datasets.problem import Problem, make_problem
from jaxmlp.registry import Registry
from jaxmlp.training.batching import minibatch_indices
from jaxmlp.training.steps import shuffle_key

OPTIMIZERS = ("sgd", "momentum", "adam")


class Data(NamedTuple):
    """A training and a test part as every peer gets them."""

    name: str
    train_inputs: np.ndarray  # [N, I] float32
    train_targets: np.ndarray  # [N] int32 labels or [N, 1] float32 values
    test_inputs: np.ndarray
    test_targets: np.ndarray


@dataclass(frozen=True)
class Case:
    """A network and its data."""

    sizes: tuple[int, ...]
    batch_size: int
    data: Callable[[PlaceOptions], Data]
    task: str  # "classification" or "regression"
    learning_rates: dict[str, float]  # by optimiser
    epochs_a_turn: int = 1  # short ones are timed in bundles

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return f"{'-'.join(map(str, self.sizes))}, batch {self.batch_size}"

    def settings(self, optimizer: str, device: str, precision: str) -> Settings:
        """Describe a training of it."""
        rate = self.learning_rates[optimizer]
        return Settings(
            self.sizes, self.batch_size, optimizer, rate, self.task, device=device, precision=precision
        )


def mnist(place: PlaceOptions) -> Data:
    """Load MNIST, or generate data of its shape where it is not at hand, and say so."""
    try:
        dataset = load("mnist", data_dir=place.data_dir, manual_dir=place.manual_dir, quiet=True)
    except ArgumentError:
        print(
            "MNIST is not at hand (--manual-dir): generated data of its shape in its place", file=sys.stderr
        )
        return generated_images()
    return _data("MNIST", make_problem(dataset))


def generated_images(
    examples: int = 60_000, tests: int = 10_000, features: int = 784, classes: int = 10
) -> Data:
    """Draw images of MNIST's shape: a faint pattern of each class in noise."""
    random = np.random.default_rng(0)
    patterns = random.random((classes, features), np.float32)
    labels = random.integers(0, classes, examples + tests, np.int32)
    inputs = random.random((examples + tests, features), np.float32)
    inputs += 0.3 * patterns[labels]
    return Data("generated", inputs[:examples], labels[:examples], inputs[examples:], labels[examples:])


def digits(place: PlaceOptions) -> Data:
    """Load scikit-learn's digits."""
    return _data("digits", make_problem(load("digits", data_dir=place.data_dir)))


def tabular(place: PlaceOptions, examples: int = 100_000, tests: int = 10_000, features: int = 50) -> Data:
    """Generate a table whose target is a smooth function of its columns, with noise of a tenth of its spread."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((examples + tests, features), np.float32)
    directions = random.standard_normal((features, 3), np.float32) / np.sqrt(features)
    first, second, third = (inputs @ directions).T
    values = np.sin(2 * first) + second * third + 0.5 * second**2
    values = (values - values.mean()) / values.std()
    values += 0.1 * random.standard_normal(len(values), np.float32)
    targets = values[:, None].astype(np.float32)
    return Data("generated", inputs[:examples], targets[:examples], inputs[examples:], targets[examples:])


def _data(name: str, problem: Problem) -> Data:
    parts = [
        np.ascontiguousarray(array, np.float32 if array.ndim > 1 else np.int32)
        for part in (problem.train, problem.test)
        for array in (np.asarray(part.inputs), np.asarray(part.targets))
    ]
    return Data(name, *parts)


_OF_CLASSES = {"sgd": 0.1, "momentum": 0.01, "adam": 1e-3}
_OF_VALUES = {"sgd": 0.05, "momentum": 0.005, "adam": 1e-3}

CASES: Registry[Case] = Registry(
    "case",
    {
        "mnist_300": Case((784, 300, 10), 32, mnist, "classification", _OF_CLASSES),
        "mnist_512": Case((784, 512, 512, 10), 128, mnist, "classification", _OF_CLASSES),
        "digits": Case((64, 64, 10), 32, digits, "classification", _OF_CLASSES, 20),
        "tabular": Case((50, 256, 256, 1), 128, tabular, "regression", _OF_VALUES),
    },
)


def make_job(data: Data, settings: Settings, epochs: int) -> Job:
    """Bring together what every peer gets: initial parameters and orders are those that jaxmlp draws."""
    state, examples = begin(settings), len(data.train_inputs)

    @jax.jit
    def order(epoch: jax.Array) -> jax.Array:
        return minibatch_indices(shuffle_key(state._replace(epoch=epoch)), examples, examples)[0][0]

    orders = np.stack([np.asarray(order(jnp.int32(epoch)), np.int32) for epoch in range(epochs)])
    return Job(settings, *data[1:], orders=orders, layers=dense_layers(state.params))
