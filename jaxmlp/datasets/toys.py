"""Small generated sets: two-dimensional pictures of what a network can separate, and curves it can fit."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmlp.datasets.dataset import Dataset, Part, check_dataset
from jaxmlp.datasets.options import Options
from jaxmlp.datasets.splitting import split_indices
from jaxmlp.types import ArgumentError

DEFAULT_EXAMPLES = 1000

Generated = tuple[np.ndarray, np.ndarray]


class Toy(NamedTuple):
    """A generator and the noise it is usually drawn with.

    Attributes:
        description: one line for lists and `--help`; it says what the noise is.
        generate: (examples, noise, seed) -> inputs [N, I] and targets [N].
        noise: the noise when none is asked for.
        task: "classification" or "regression".
        largest_noise: the largest noise that makes sense.
    """

    description: str
    generate: Callable[[int, float, int], Generated]
    noise: float
    task: str = "classification"
    largest_noise: float = np.inf


def _moons(examples: int, noise: float, seed: int) -> Generated:
    from sklearn.datasets import make_moons

    return make_moons(examples, noise=noise, random_state=seed)


def _circles(examples: int, noise: float, seed: int) -> Generated:
    from sklearn.datasets import make_circles

    return make_circles(examples, noise=noise, factor=0.5, random_state=seed)


def _blobs(examples: int, noise: float, seed: int) -> Generated:
    from sklearn.datasets import make_blobs

    # Fixed centres: random ones fall on each other for some seeds.
    centers = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 6.0]])
    return make_blobs(examples, centers=centers, cluster_std=noise, random_state=seed)


def _xor(examples: int, noise: float, seed: int) -> Generated:
    generator = np.random.default_rng(seed)
    points = generator.uniform(-1.0, 1.0, size=(examples, 2))
    labels = (points[:, 0] > 0) != (points[:, 1] > 0)
    return points + noise * generator.normal(size=points.shape), labels.astype(np.int32)


def _spirals(examples: int, noise: float, seed: int) -> Generated:
    generator = np.random.default_rng(seed)
    labels = np.arange(examples) % 2
    turn = 3.0 * np.pi * np.sqrt(generator.uniform(size=examples))  # the root spreads them along the arm
    angle = turn + np.pi * labels  # the second arm is the first, half a turn on
    points = turn[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return points + noise * generator.normal(size=points.shape), labels


def _classification(examples: int, noise: float, seed: int) -> Generated:
    from sklearn.datasets import make_classification

    return make_classification(
        examples,
        n_features=2,
        n_informative=2,
        n_redundant=0,
        n_clusters_per_class=1,
        flip_y=noise,
        random_state=seed,
    )


def _sine(examples: int, noise: float, seed: int) -> Generated:
    generator = np.random.default_rng(seed)
    points = generator.uniform(-np.pi, np.pi, size=(examples, 1))
    return points, np.sin(points[:, 0]) + noise * generator.normal(size=examples)


def _friedman(examples: int, noise: float, seed: int) -> Generated:
    from sklearn.datasets import make_friedman1

    return make_friedman1(examples, n_features=10, noise=noise, random_state=seed)


TOYS: Mapping[str, Toy] = {
    "moons": Toy("two half moons, one in the other (noise: standard deviation of the points)", _moons, 0.1),
    "circles": Toy("a circle in a circle (noise: standard deviation of the points)", _circles, 0.05),
    "blobs": Toy("three round clouds (noise: their standard deviation)", _blobs, 1.0),
    "xor": Toy("four squares, the diagonal ones alike (noise: standard deviation of the points)", _xor, 0.05),
    "spirals": Toy(
        "two spirals wound in each other (noise: standard deviation of the points)", _spirals, 0.3
    ),
    "classification": Toy(
        "two classes by make_classification (noise: share of labels drawn at random)",
        _classification,
        0.01,
        largest_noise=1.0,
    ),
    "sine": Toy("one period of a sine (noise: standard deviation of the targets)", _sine, 0.1, "regression"),
    "friedman": Toy(
        "Friedman's function of 5 features among 10 (noise: standard deviation of the targets)",
        _friedman,
        1.0,
        "regression",
    ),
}


def load_toy(name: str, options: Options) -> Dataset:
    """Generate a toy set and split it.

    Sources: scikit-learn's generators; `friedman` is J. H. Friedman, Multivariate Adaptive Regression
    Splines, Annals of Statistics 19, 1991, with its noise of standard deviation 1.
    """
    toy = TOYS[name]
    examples = DEFAULT_EXAMPLES if options.examples is None else int(options.examples)
    noise = toy.noise if options.noise is None else float(options.noise)
    if noise > toy.largest_noise:
        raise ArgumentError(f"noise {noise} is too large for '{name}': give at most {toy.largest_noise}")
    if examples < 10:
        raise ArgumentError(f"{examples} example(s) are too few for '{name}': give 10 or more")
    points, values = toy.generate(examples, noise, options.seed)
    classifies = toy.task == "classification"
    targets = values.astype(np.int32) if classifies else values.astype(np.float32)[:, None]
    inputs = points.astype(np.float32)
    train, test = split_indices(
        examples,
        test_fraction=options.test_fraction,
        seed=options.seed,
        labels=targets if classifies else None,
    )
    identity: dict[str, Any] = {
        "name": name,
        "examples": examples,
        "noise": noise,
        "test_fraction": options.test_fraction,
        "seed": options.seed,
    }
    features = inputs.shape[1]
    return check_dataset(
        Dataset(
            name=name,
            task=toy.task,
            train=Part(inputs[train], targets[train]),
            test=Part(inputs[test], targets[test]),
            feature_shape=(features,),
            feature_names=tuple(f"x{number + 1}" for number in range(features)),
            class_names=tuple(str(label) for label in np.unique(targets)) if classifies else (),
            target_names=() if classifies else ("y",),
            table=None,
            identity=identity,
        )
    )
