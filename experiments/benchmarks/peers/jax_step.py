"""A jitted training step called from a Python loop, as JAX's documentation trains, and what peers on JAX share."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmlp.cli.session import find_device
from peers.job import ADAM_B1, ADAM_B2, ADAM_EPSILON, MOMENTUM, Job, Layers, Peer, Settings


def choose_device(settings: Settings) -> jax.Device:
    """Compute everything that follows in this process on the job's device, in the job's precision."""
    device = find_device(settings.device)
    jax.config.update("jax_default_device", device)
    jax.config.update("jax_default_matmul_precision", settings.precision)
    return device


def optax_optimizer(settings: Settings) -> Any:
    """Build the optimiser as optax's documentation does."""
    if settings.optimizer == "adam":
        return optax.adam(settings.learning_rate, b1=ADAM_B1, b2=ADAM_B2, eps=ADAM_EPSILON)
    return optax.sgd(settings.learning_rate, momentum=MOMENTUM if settings.optimizer == "momentum" else None)


def optax_loss(task: str, outputs: Any, targets: Any) -> Any:
    """Compute the mean loss as optax's documentation does."""
    if task == "regression":
        return optax.l2_loss(outputs, targets).mean()
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


class JaxPeer(Peer):
    """A peer on JAX, whose data lie on the device."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        choose_device(job.settings)
        self.data = jnp.array(job.train_inputs), jnp.array(job.train_targets)

    def trained(self) -> Any:
        """Give the arrays that the steps alter."""
        raise NotImplementedError

    def fetch(self, losses: list[Any]) -> np.ndarray:
        jax.block_until_ready(self.trained())
        return jax.device_get(jnp.stack(losses))


class JaxStep(JaxPeer):
    """Parameters and optimiser's state go through a compiled step, which may reuse their memory."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.params = jax.tree.map(jnp.array, job.layers)
        optimizer = optax_optimizer(job.settings)
        self.opt_state = optimizer.init(self.params)

        def loss(params: Any, inputs: Any, targets: Any) -> Any:
            for w, b in params[:-1]:
                inputs = jax.nn.relu(inputs @ w + b)
            w, b = params[-1]
            return optax_loss(job.settings.task, inputs @ w + b, targets)

        @partial(jax.jit, donate_argnums=(0, 1))
        def train_step(params: Any, opt_state: Any, data: Any, rows: Any) -> tuple[Any, Any, Any]:
            # Gathering here was measured faster than handing over rows gathered by NumPy.
            inputs, targets = data
            value, grads = jax.value_and_grad(loss)(params, inputs[rows], targets[rows])
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state, value

        self.train_step = train_step

    def step(self, rows: np.ndarray) -> Any:
        self.params, self.opt_state, loss = self.train_step(self.params, self.opt_state, self.data, rows)
        return loss

    def trained(self) -> Any:
        return self.params

    def layers(self) -> Layers:
        return jax.device_get(self.params)
