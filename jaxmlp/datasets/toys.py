"""Small generated sets: two-dimensional pictures of what a network can separate, and curves it can fit."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from jaxmlp.datasets.dataset import Dataset, Options, divide, split_notes, split_rows
from jaxmlp.datasets.targets import Targets
from jaxmlp.types import ArgumentError

DEFAULT_EXAMPLES = 1000

Generated: TypeAlias = tuple[np.ndarray, np.ndarray]


class Toy(NamedTuple):
    """A generator of inputs [N, I] and targets [N], and the noise it is usually drawn with."""

    description: str  # it says what the noise is
    generate: Callable[[int, float, int], Generated]  # of examples, noise and seed
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
    inputs = points.astype(np.float32)
    if toy.task == "classification":
        labels = values.astype(np.int32)
        targets = Targets(toy.task, labels, tuple(str(label) for label in np.unique(labels)))
    else:
        targets = Targets(toy.task, values.astype(np.float32)[:, None], (), ("y",))
    rows = split_rows(targets, options)
    features = inputs.shape[1]
    return divide(
        [inputs[chosen] for chosen in rows],
        targets,
        rows,
        name=name,
        feature_shape=(features,),
        feature_names=tuple(f"x{number + 1}" for number in range(features)),
        identity={"name": name, "examples": examples, "noise": noise, **options.split},
        notes=split_notes(targets, options),
    )
