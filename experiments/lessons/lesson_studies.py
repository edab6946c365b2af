"""What the lesson leaves to discuss: outliers, classes that no line separates, under- and over-fitting."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from side_by_side import LOSS

from jaxmlp import Batch, Metrics, Network, evaluate, forward, init, make_optimizer, mlp, plots, predict
from jaxmlp.datasets import Dataset, Problem, load, make_problem
from jaxmlp.sweep.members import Members, start_members, train_members
from jaxmlp.training.steps import Recipe

# A regression with outliers.
EXAMPLES, NOISE, SHARE = 80, 0.1, 0.1
CURVE_NETWORK = mlp([1, 32, 1], activation="tanh")
FITTED_WITH = {"absolute error": "absolute_error", "squared error": "squared_error"}
# Classes that no line separates.
NETWORKS = {"one layer": mlp([2, 2]), "two layers": mlp([2, 32, 2], activation="tanh")}
SHAPES = ("circles", "xor", "spirals")
# Capacity, on circles with so much noise that they overlap.
OVERLAPPING, OVERLAP = "circles", 0.2
HIDDEN_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
EXAMPLE_COUNTS = (10, 20, 40, 80, 160, 320)
FIXED_EXAMPLES, FIXED_HIDDEN = 60, 64
VALIDATION = 1000


# --- networks that each have a data set ---


class Trained(NamedTuple):
    """What training M networks leaves."""

    params: Any  # the parameters, each array with a leading axis of M
    train: Metrics  # the metrics on the training examples, each [M]
    valid: Metrics  # the metrics on the validation examples, each [M]


def stack(parts: Any) -> Batch:
    """Put M parts of data sets on top of each other."""
    inputs, targets = zip(*parts, strict=True)
    return Batch(jnp.asarray(np.stack(inputs)), jnp.asarray(np.stack(targets)))


def repeat(tree: Any, times: int) -> Any:
    """Repeat M networks, or their data, for settings × M of them."""
    return jax.tree.map(lambda leaf: jnp.tile(leaf, (times,) + (1,) * (leaf.ndim - 1)), tree)


def draw_params(net: Network, count: int) -> Any:
    """Draw the parameters of M networks."""
    return jax.jit(jax.vmap(partial(init, net)))(jax.random.split(jax.random.key(0), count))


def train_each(
    net: Network,
    params: Any,
    train: Batch,
    valid: Batch,
    *,
    steps: int,
    loss: str = LOSS,
    learning_rate: float = 0.01,
) -> Trained:
    """Train each network on its own data, by Adam on the gradient of all its examples."""
    count, examples = train.inputs.shape[:2]
    rows = jnp.arange(count * examples).reshape(count, examples)
    together = jax.tree.map(jnp.concatenate, train)
    optimizer, devices = make_optimizer("adam", learning_rate), tuple(train.inputs.devices())
    recipe = Recipe(net, optimizer, loss, batch_size=examples, shuffle=False)  # an epoch is one update
    members = Members(jnp.arange(count, dtype=jnp.uint32), {})
    states = start_members(recipe, devices, members)._replace(params=params)
    states = train_members(recipe, devices, members, states, together, jnp.int32(steps), rows)
    measure = jax.jit(jax.vmap(partial(evaluate, net, loss=loss)))
    return Trained(states.params, *(measure(states.params, part) for part in (train, valid)))


# --- the studies ---


class Fits(NamedTuple):
    """The curve sin x, the points and what was fitted through them."""

    points: Batch  # the data of M seeds, inputs and targets [M, N, 1], outliers included
    outliers: np.ndarray  # [M, N] which of the points are outliers
    grid: np.ndarray  # [P] where the curves are known
    fitted: dict[str, np.ndarray]  # by the loss's title, the curves [M, P] through the points with outliers
    errors: dict[
        tuple[str, bool], np.ndarray
    ]  # root mean square distances [M] by title and whether with outliers


def fit_curves(seeds: int, steps: int) -> Fits:
    """Fit a sine with each loss, with outliers and without; each seed has its own points and weights."""
    clean = stack(_draw_points(seed) for seed in range(seeds))
    outliers, points = _add_outliers(clean, seeds)
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), clean, points)
    params = repeat(draw_params(CURVE_NETWORK, seeds), 2)
    grid = np.linspace(-np.pi, np.pi, 200)
    inputs = jnp.asarray(grid[:, None], jnp.float32)
    fitted, errors = {}, {}
    for title, loss in FITTED_WITH.items():
        trained = train_each(CURVE_NETWORK, params, both, both, steps=steps, loss=loss)
        curves = jax.vmap(lambda one: forward(CURVE_NETWORK, one, inputs)[:, 0])(trained.params)
        distances = np.sqrt(np.mean((np.asarray(curves) - np.sin(grid)) ** 2, axis=1))
        errors[title, False], errors[title, True] = distances[:seeds], distances[seeds:]
        fitted[title] = np.asarray(curves)[seeds:]
    return Fits(points, outliers, grid, fitted, errors)


def _draw_points(seed: int) -> tuple[np.ndarray, np.ndarray]:
    dataset = load("sine", examples=round(EXAMPLES / 0.8), noise=NOISE, seed=seed)
    return dataset.train.inputs, dataset.train.targets


def _add_outliers(points: Batch, seeds: int) -> tuple[np.ndarray, Batch]:
    # All on one side, as a sensor that sometimes reads too high; on both sides they would cancel in part.
    outliers, targets = np.zeros((seeds, EXAMPLES), bool), np.array(points.targets)
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        chosen = random.choice(EXAMPLES, round(SHARE * EXAMPLES), replace=False)
        outliers[seed, chosen] = True
        targets[seed, chosen, 0] += random.uniform(2, 4, len(chosen))
    return outliers, points._replace(targets=jnp.asarray(targets))


class Separation(NamedTuple):
    """What the two networks made of one data set."""

    shape: str  # the data set's name
    accuracy: dict[str, np.ndarray]  # by the network's title, the test accuracy of M seeds, [M]
    panels: list[tuple[Any, ...]]  # the first seed's panel for `plots.side_by_side_boundaries`, one a network


def separate(shape: str, seeds: int, steps: int) -> Separation:
    """Train both networks on a data set, all seeds of each side by side."""
    dataset = load(shape, examples=500)
    problem = make_problem(dataset)
    train, test = (repeat(stack([part[:2]]), seeds) for part in (problem.train, problem.test))
    accuracy, panels = {}, []
    for title, net in NETWORKS.items():
        trained = train_each(net, draw_params(net, seeds), train, test, steps=steps)
        accuracy[title] = np.asarray(trained.valid.score)
        first = jax.tree.map(lambda leaf: leaf[0], trained.params)
        heading = f"{shape}, {title}: {100 * accuracy[title][0]:.0f} %"
        panels.append((heading, *_regions(net, first, problem, dataset)))
    return Separation(shape, accuracy, panels)


def _regions(net: Network, params: Any, problem: Problem, dataset: Dataset) -> tuple[Any, ...]:
    grid_x, grid_y, points = plots.boundary_grid(dataset.test.inputs)
    scaled = jnp.asarray(problem.preprocessing.inputs(points), jnp.float32)
    regions = np.asarray(predict(net, params, scaled, task="classification", loss=problem.loss))
    return grid_x, grid_y, regions.reshape(len(grid_y), len(grid_x)), *dataset.test[:2]


class Curve(NamedTuple):
    """Losses against what was varied."""

    varied: np.ndarray  # [P] hidden sizes, or numbers of examples
    train: np.ndarray  # the training loss of M seeds, [M, P]
    valid: np.ndarray  # the validation loss, [M, P]


def vary_hidden_size(seeds: int, steps: int, sizes: tuple[int, ...] = HIDDEN_SIZES) -> Curve:
    """Train networks of every hidden size, the seeds of each side by side."""
    train, valid = _draw_data(seeds, FIXED_EXAMPLES)
    widest = draw_params(_network(max(sizes)), seeds)
    trained = [train_each(_network(size), narrow(widest, size), train, valid, steps=steps) for size in sizes]
    return _curve(sizes, trained)


def narrow(params: Any, size: int) -> Any:
    """Keep the first hidden units of M two-layer networks, with the variance of weights that the size calls for."""
    first, between, second = params
    scale = (first.w.shape[-1] / size) ** 0.5
    kept = first._replace(w=first.w[..., :size], b=first.b[..., :size])
    return kept, between, second._replace(w=second.w[..., :size, :] * scale)


def vary_examples(seeds: int, steps: int, counts: tuple[int, ...] = EXAMPLE_COUNTS) -> Curve:
    """Train one network on every number of examples, the seeds of each side by side."""
    train, valid = _draw_data(seeds, max(counts))
    net = _network(FIXED_HIDDEN)
    params = draw_params(net, seeds)
    parts = [Batch(train.inputs[:, :count], train.targets[:, :count]) for count in counts]
    return _curve(counts, [train_each(net, params, part, valid, steps=steps) for part in parts])


def _network(hidden: int) -> Network:
    return mlp([2, hidden, 2], activation="tanh", init="lecun_normal")


def _draw_data(seeds: int, examples: int) -> tuple[Batch, Batch]:
    total = examples + VALIDATION
    sets = [
        load(OVERLAPPING, examples=total, noise=OVERLAP, seed=seed, test_fraction=VALIDATION / total)
        for seed in range(seeds)
    ]
    return stack(each.train for each in sets), stack(each.test for each in sets)


def _curve(varied: tuple[int, ...], trained: Sequence[Trained]) -> Curve:
    train = np.stack([each.train.loss for each in trained], 1)
    return Curve(np.array(varied), train, np.stack([each.valid.loss for each in trained], 1))
