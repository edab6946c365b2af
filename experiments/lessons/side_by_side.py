"""Many models trained side by side in one compiled program, so that a result comes with its spread.

It is not `jaxmlp.sweep.members`, whose members share their examples: here each model has a data set of its own.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import Batch, Metrics, Network, evaluate, init, init_state, make_optimizer, train_epoch


class Trained(NamedTuple):
    """What training M models leaves.

    Attributes:
        params: the parameters, each array with a leading axis of M.
        train: the metrics on the training examples, each [M].
        valid: the metrics on the validation examples, each [M].
    """

    params: Any
    train: Metrics
    valid: Metrics


def stack(parts: Any) -> Batch:
    """Put M parts of data sets on top of each other."""
    inputs, targets = zip(*parts, strict=True)
    return Batch(jnp.asarray(np.stack(inputs)), jnp.asarray(np.stack(targets)))


def repeat(tree: Any, times: int) -> Any:
    """Repeat M models, or their data, so that settings × M of them can be trained."""
    return jax.tree.map(lambda leaf: jnp.tile(leaf, (times,) + (1,) * (leaf.ndim - 1)), tree)


@partial(jax.jit, static_argnums=(0, 1))
def draw_params(net: Network, models: int, seed: int = 0) -> Any:
    """Draw the parameters of M models."""
    return jax.vmap(partial(init, net))(jax.random.split(jax.random.key(seed), models))


@partial(jax.jit, static_argnums=0, static_argnames=("loss", "steps", "learning_rate"))
def train_side_by_side(
    net: Network,
    params: Any,
    train: Batch,
    valid: Batch,
    *,
    steps: int,
    loss: str = "softmax_cross_entropy",
    learning_rate: float = 0.01,
) -> Trained:
    """Train M models, each on data of its own, by Adam on the gradient of all its examples."""
    optimizer = make_optimizer("adam", learning_rate)
    examples = train.inputs.shape[1]

    def train_one(params: Any, train: Batch, valid: Batch) -> Trained:
        state = init_state(net, optimizer, jax.random.key(0))._replace(params=params)

        def step(state: Any, _: None) -> tuple[Any, None]:
            # A batch of all examples: an epoch is one update.
            state, _metrics = train_epoch(
                net, optimizer, state, train, loss=loss, batch_size=examples, shuffle=False
            )
            return state, None

        state, _ = jax.lax.scan(step, state, length=steps)
        measured = (evaluate(net, state.params, part, loss=loss) for part in (train, valid))
        return Trained(state.params, *measured)

    return jax.vmap(train_one)(params, train, valid)


def spread(values: Any, digits: int = 3) -> str:
    """Write the median of M values with their least and largest."""
    numbers = np.asarray(values, float)
    median, least, largest = np.median(numbers), numbers.min(), numbers.max()
    return f"{median:.{digits}f} ({least:.{digits}f} to {largest:.{digits}f})"
