"""Under- and over-fitting: loss against the number of hidden units and against the number of examples."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from side_by_side import Trained, draw_params, repeat, stack, train_side_by_side

from jaxmlp import Batch, mlp
from jaxmlp.datasets import load

SHAPE, NOISE = "circles", 0.2  # noise that makes the two circles overlap
HIDDEN_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
EXAMPLE_COUNTS = (10, 20, 40, 80, 160, 320)
FIXED_EXAMPLES, FIXED_HIDDEN = 60, 64
VALIDATION = 1000


class Curve(NamedTuple):
    """Losses against what was varied.

    Attributes:
        varied: [P] hidden sizes, or numbers of examples.
        train: the training loss of M seeds, [M, P].
        valid: the validation loss, [M, P].
    """

    varied: np.ndarray
    train: np.ndarray
    valid: np.ndarray


def vary_hidden_size(seeds: int, steps: int, sizes: tuple[int, ...] = HIDDEN_SIZES) -> Curve:
    """Train networks of every hidden size and every seed in one compiled program."""
    net = mlp([2, max(sizes), 2], activation="tanh", init="lecun_normal")
    widest = draw_params(net, seeds)
    params = [jax.vmap(lambda one, size=size: narrow(one, size))(widest) for size in sizes]
    train, valid = _draw_data(seeds, FIXED_EXAMPLES)
    trained = train_side_by_side(
        net,
        jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *params),
        repeat(train, len(sizes)),
        repeat(valid, len(sizes)),
        steps=steps,
    )
    return _curve(sizes, seeds, trained)


def narrow(params: Any, size: int) -> Any:
    """Leave a two-layer network its first hidden units alone, by setting the others' weights to 0.

    With tanh such a unit stays at 0 for ever: its output is tanh 0 = 0, so the weights behind it get the
    gradient 0, and as those are 0, so do its own. So the widest network can be trained in place of any other.
    """
    first, between, second = params
    width = first.w.shape[1]
    kept = (jnp.arange(width) < size).astype(first.w.dtype)
    return (
        first._replace(w=first.w * kept[None, :], b=first.b * kept),
        between,
        second._replace(w=second.w * kept[:, None] * (width / size) ** 0.5),
    )


def vary_examples(seeds: int, steps: int, counts: tuple[int, ...] = EXAMPLE_COUNTS) -> Curve:
    """Train one network on every number of examples and every seed in one compiled program."""
    net = mlp([2, FIXED_HIDDEN, 2], activation="tanh", init="lecun_normal")
    train, valid = _draw_data(seeds, max(counts))
    # An example of weight 0 takes no part, so that all counts have arrays of one shape.
    weights = [jnp.tile(jnp.arange(max(counts)) < count, (seeds, 1)) for count in counts]
    trained = train_side_by_side(
        net,
        repeat(draw_params(net, seeds), len(counts)),
        repeat(train, len(counts))._replace(weight=jnp.concatenate(weights).astype(train.inputs.dtype)),
        repeat(valid, len(counts)),
        steps=steps,
    )
    return _curve(counts, seeds, trained)


def _draw_data(seeds: int, examples: int) -> tuple[Batch, Batch]:
    total = examples + VALIDATION
    sets = [
        load(SHAPE, examples=total, noise=NOISE, seed=seed, test_fraction=VALIDATION / total)
        for seed in range(seeds)
    ]
    return stack(each.train for each in sets), stack(each.test for each in sets)


def _curve(varied: tuple[int, ...], seeds: int, trained: Trained) -> Curve:
    losses = (np.asarray(part.loss).reshape(-1, seeds).T for part in (trained.train, trained.valid))
    return Curve(np.array(varied), *losses)
