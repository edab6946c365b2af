"""A regression with outliers, fitted with the absolute and with the squared error, to see how they differ."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from side_by_side import draw_params, repeat, stack, train_side_by_side

from jaxmlp import Batch, forward, mlp
from jaxmlp.datasets import load

EXAMPLES, NOISE, SHARE = 80, 0.1, 0.1
NETWORK = mlp([1, 32, 1], activation="tanh")
FITTED_WITH = {"absolute error": "absolute_error", "squared error": "squared_error"}


class Fits(NamedTuple):
    """The curve, the points and what was fitted through them.

    Attributes:
        points: the data of M seeds, inputs and targets [M, N, 1], outliers included.
        outliers: [M, N] which of the points are outliers.
        grid: [P] where the curves are known.
        clean: [P] the curve without noise, sin x.
        fitted: by the loss's title, the curves [M, P] fitted through the points with outliers.
        errors: by (the loss's title, whether there are outliers), each seed's root mean square distance
            from the clean curve, [M].
    """

    points: Batch
    outliers: np.ndarray
    grid: np.ndarray
    clean: np.ndarray
    fitted: dict[str, np.ndarray]
    errors: dict[tuple[str, bool], np.ndarray]


def fit_curves(seeds: int, steps: int) -> Fits:
    """Fit a sine with each loss, with outliers and without, every seed with points and weights of its own."""
    clean_points = stack(_draw_points(seed) for seed in range(seeds))
    outliers, points = _add_outliers(clean_points, seeds)
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), clean_points, points)
    params = repeat(draw_params(NETWORK, seeds), 2)
    grid = np.linspace(-np.pi, np.pi, 200)
    fitted, errors = {}, {}
    for title, loss in FITTED_WITH.items():
        trained = train_side_by_side(NETWORK, params, both, both, steps=steps, loss=loss)
        curves = np.asarray(_curves(trained.params, grid))
        distances = np.sqrt(np.mean((curves - np.sin(grid)) ** 2, axis=1))
        errors[title, False], errors[title, True] = distances[:seeds], distances[seeds:]
        fitted[title] = curves[seeds:]
    return Fits(points, outliers, grid, np.sin(grid), fitted, errors)


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


def _curves(params: Any, grid: np.ndarray) -> Any:
    inputs = jnp.asarray(grid[:, None], jnp.float32)
    return jax.vmap(lambda one: forward(NETWORK, one, inputs)[:, 0])(params)
