"""One way to share a training among devices and processes, as a process of its own: its epochs' times and its end."""

import json
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxmlp.cli.processes import threads_of

from jaxmlp import EpochReport, TrainState, fit, init_state, make_optimizer, mlp
from jaxmlp.cli.distributed import together
from jaxmlp.cli.options import ProcessOptions


class Training(NamedTuple):
    """What is trained.

    Attributes:
        sizes: of the network.
        activation: between its layers.
        examples: N.
        batch_size: B.
        epochs: E.
        optimizer: its name; the learning rate is its usual one.
        microbatches: parts of each minibatch.
        nudged: whether to start from weights that are one rounding off.
    """

    sizes: tuple[int, ...]
    activation: str
    examples: int
    batch_size: int
    epochs: int
    optimizer: str
    microbatches: int
    nudged: bool


class Trained(NamedTuple):
    """What a training was like.

    Attributes:
        seconds: of each epoch.
        first: the parameters after the first epoch.
        last: those in the end.
    """

    seconds: list[float]
    first: list[np.ndarray]
    last: list[np.ndarray]


def train(training: Training, precision: str, devices: list[jax.Device] | None) -> Trained:
    """Train on generated classes."""
    after: list[list[np.ndarray]] = []

    def keep_first(report: EpochReport, state: TrainState) -> None:
        if not after:
            after.append(arrays(state))

    random = np.random.default_rng(0)
    inputs = random.normal(size=(training.examples, training.sizes[0])).astype(precision)
    # Classes that follow from the inputs, so that the gradients do not vanish into noise.
    labels = np.argmax(inputs @ random.normal(size=(training.sizes[0], training.sizes[-1])), axis=1)
    net, optimizer = (
        mlp(list(training.sizes), activation=training.activation),
        make_optimizer(training.optimizer),
    )
    state = init_state(net, optimizer, jax.random.key(0))
    if training.nudged:
        factor = 1 + float(np.finfo(precision).eps)
        state = state._replace(params=jax.tree.map(lambda leaf: leaf * factor, state.params))
    result = fit(
        net,
        (inputs, labels),
        optimizer=optimizer,
        batch_size=training.batch_size,
        epochs=training.epochs,
        state=state,
        callback=keep_first,
        devices=devices,
        microbatches=training.microbatches,
    )
    return Trained([report.seconds for report in result.history], after[0], arrays(result.state))


def arrays(state: TrainState) -> list[np.ndarray]:
    """Copy the parameters to the host."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]


def main() -> None:
    """Train as the argument says; the first process writes the parameters, and prints the seconds as JSON."""
    given = json.loads(sys.argv[1])
    platform, out, shared = given.pop("platform"), given.pop("out"), ProcessOptions(**given.pop("processes"))
    training = Training(**given)
    with threads_of(training.microbatches), together(shared, "many_devices_point.py") as group:
        devices = group.devices(jax.local_devices()[0].platform if platform == "auto" else platform)
        single = train(training, "float32", devices)
        with jax.enable_x64(True):
            double = train(training, "float64", devices)
        if group.is_first:
            ends: Any = {"float32": single.first, "float64": double.last}
            named = {f"{name}_{place}": one for name in ends for place, one in enumerate(ends[name])}
            np.savez(out, **named)
            print(json.dumps(single.seconds))


if __name__ == "__main__":
    main()
