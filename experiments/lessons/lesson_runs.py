"""AI for Beginners (Microsoft), lesson 3.4: its data, starting weights and runs, drawn as the lesson draws them.

NumPy's legacy generator, seeded with 0, draws everything
in the lesson's order: the data, and then the weights of five networks one after another.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import make_classification

import jaxmlp
from jaxmlp import Activate, Batch, Dense, DenseParams, Network, Softmax

BATCH_SIZE = 4
LOSS = "negative_log_likelihood"  # a layer of its own in the lesson, behind a softmax layer
SIZES = ((2, 2), (2, 2), (2, 2), (2, 2), (2, 10, 2))


class Lesson(NamedTuple):
    """What the lesson draws before it trains."""

    train: Batch  # the first 80 examples, inputs [80, 2] and labels [80]
    test: Batch  # the last 20
    starts: tuple[Any, ...]  # the parameters of the five networks of `SIZES`, as `lesson_network` takes them


class Run(NamedTuple):
    """One training run of the lesson."""

    title: str  # what the lesson does there
    number: int  # which of the five networks, from 0
    learning_rate: float  # η of plain gradient descent
    epochs: int  # passes over the training examples, four at a time, in the given order


RUNS = (
    Run("2-2, wired by hand", 1, 0.1, 1),
    Run("2-2, in a network", 2, 0.1, 1),
    Run("2-2, for longer", 3, 0.005, 30),
    Run("2-10-2 with tanh", 4, 0.01, 30),
)


class Progress(NamedTuple):
    """How a run went; row 0 is the start, row e the state after e epochs."""

    params: tuple[Any, ...]  # the parameters of each row
    columns: dict[str, np.ndarray]  # epoch, and loss and accuracy of both parts as `jaxmlp.plots` names them


def draw_lesson() -> Lesson:
    """Draw the lesson's data and starting weights."""
    random = np.random.RandomState(0)  # numpy.random.seed(0) without the global state
    inputs, labels = make_classification(
        n_samples=100, n_features=2, n_redundant=0, n_informative=2, flip_y=0.2, random_state=random
    )
    inputs, labels = inputs.astype(np.float32), labels.astype(np.int32)
    return Lesson(
        train=Batch(jnp.asarray(inputs[:80]), jnp.asarray(labels[:80])),
        test=Batch(jnp.asarray(inputs[80:]), jnp.asarray(labels[80:])),
        starts=tuple(_draw_start(random, sizes) for sizes in SIZES),
    )


def _draw_start(random: np.random.RandomState, sizes: Sequence[int]) -> Any:
    dense = []
    for inputs, outputs in pairwise(sizes):
        # The lesson multiplies W·x with W [O, I]; here it is x·w with w [I, O].
        w = random.normal(0, 1 / np.sqrt(inputs), (outputs, inputs)).T
        dense.append(DenseParams(jnp.asarray(w, jnp.float32), jnp.zeros(outputs)))
    params: list[Any] = [dense[0]]
    for layer in dense[1:]:
        params += [(), layer]  # a tanh has no parameters
    return (*params, ())  # nor has the softmax


def lesson_network(sizes: Sequence[int], *, softmax: bool = True) -> Network:
    """Put the lesson's layers together one by one."""
    layers: list[Any] = []
    for features in sizes[1:-1]:
        layers += [Dense(features), Activate("tanh")]
    layers.append(Dense(sizes[-1]))
    return Network(sizes[0], [*layers, Softmax()] if softmax else layers)


def train_run(net: Network, params: Any, lesson: Lesson, run: Run, loss: str = LOSS) -> Progress:
    """Train a network as the lesson does: plain gradient descent on minibatches in the given order."""
    optimizer = jaxmlp.make_optimizer("sgd", run.learning_rate)
    state = jaxmlp.init_state(net, optimizer, jax.random.key(0))._replace(params=params)
    train = partial(jaxmlp.train_epoch, net, optimizer, loss=loss, batch_size=BATCH_SIZE, shuffle=False)
    kept, rows = [params], [measure(net, params, lesson, loss)]
    for _ in range(run.epochs):
        state, _ = train(state, lesson.train)
        kept.append(state.params)
        rows.append(measure(net, state.params, lesson, loss))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Progress(tuple(kept), {"epoch": np.arange(run.epochs + 1), **columns})


def measure(net: Network, params: Any, lesson: Lesson, loss: str) -> dict[str, float]:
    """Measure loss and accuracy on the training and on the test part."""
    numbers: dict[str, float] = {}
    for name, part in (("train", lesson.train), ("valid", lesson.test)):
        metrics = jaxmlp.evaluate(net, params, part, loss=loss)
        numbers |= {f"{name}_loss": float(metrics.loss), f"{name}_accuracy": float(metrics.score)}
    return numbers


def class_1_probability(net: Network, params: Any, points: np.ndarray) -> np.ndarray:
    """Ask a network that ends in a softmax how likely it holds class 1."""
    return np.asarray(jaxmlp.forward(net, params, jnp.asarray(points, jnp.float32)))[:, 1]
