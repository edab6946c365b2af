"""Classes that no line separates, given to a network of one layer and to one of two."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from side_by_side import draw_params, repeat, stack, train_side_by_side

from jaxmlp import mlp, plots, predict
from jaxmlp.datasets import Dataset, load
from jaxmlp.datasets.problem import Problem, make_problem

HIDDEN = 32
NETWORKS = {"one layer": mlp([2, 2]), "two layers": mlp([2, HIDDEN, 2], activation="tanh")}
SHAPES = ("circles", "xor", "spirals")


class Separation(NamedTuple):
    """What the two networks made of one data set.

    Attributes:
        shape: the data set's name.
        accuracy: by the network's title, the test accuracy of M seeds, [M].
        panels: the first seed's panel for `plots.side_by_side_boundaries`, one a network.
    """

    shape: str
    accuracy: dict[str, np.ndarray]
    panels: list[tuple[Any, ...]]


def separate(shape: str, seeds: int, steps: int) -> Separation:
    """Train both networks on a data set, all seeds of each side by side."""
    dataset = load(shape, examples=500)
    problem = make_problem(dataset)
    train, test = (repeat(stack([part[:2]]), seeds) for part in (problem.train, problem.test))
    accuracy, panels = {}, []
    for title, net in NETWORKS.items():
        trained = train_side_by_side(net, draw_params(net, seeds), train, test, steps=steps)
        accuracy[title] = np.asarray(trained.valid.score)
        first = jax.tree.map(lambda leaf: leaf[0], trained.params)
        panels.append(
            (f"{shape}, {title}: {100 * accuracy[title][0]:.0f} %", *_regions(net, first, problem, dataset))
        )
    return Separation(shape, accuracy, panels)


def _regions(net: Any, params: Any, problem: Problem, dataset: Dataset) -> tuple[Any, ...]:
    grid_x, grid_y, points = plots.boundary_grid(dataset.test.inputs)
    scaled = jnp.asarray(problem.preprocessing.inputs(points), jnp.float32)
    regions = np.asarray(predict(net, params, scaled, task="classification", loss=problem.loss))
    return (
        grid_x,
        grid_y,
        regions.reshape(len(grid_y), len(grid_x)),
        dataset.test.inputs,
        dataset.test.targets,
    )
