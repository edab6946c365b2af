"""A jitted training step called from a Python loop, as JAX's own documentation trains."""

from functools import partial
from typing import Any

import jax
import numpy as np
import optax

from contestants.jax_device import choose_device, optax_loss, optax_optimizer, read_losses
from contestants.job import Job, Layers, mean_of_steps


class Program:
    """Parameters and optimiser's state go through a compiled step, which may reuse their memory."""

    temporaries: int | None = None

    def __init__(self, job: Job) -> None:
        choose_device(job.settings)
        self.job = job
        self.params = jax.tree.map(jax.numpy.array, job.layers)
        optimizer = optax_optimizer(job.settings)
        self.opt_state = optimizer.init(self.params)

        def loss(params: Any, inputs: Any, targets: Any) -> Any:
            for w, b in params[:-1]:
                inputs = jax.nn.relu(inputs @ w + b)
            w, b = params[-1]
            return optax_loss(job, inputs @ w + b, targets)

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(params: Any, opt_state: Any, data: Any, rows: Any) -> tuple[Any, Any, Any]:
            # Gathering here was measured faster than handing over rows gathered by NumPy.
            inputs, targets = data
            value, grads = jax.value_and_grad(loss)(params, inputs[rows], targets[rows])
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state, value

        self.step = step
        self.data = jax.numpy.array(job.train_inputs), jax.numpy.array(job.train_targets)

    def epoch(self, order: np.ndarray) -> float:
        size, losses = self.job.settings.batch_size, []
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            self.params, self.opt_state, loss = self.step(self.params, self.opt_state, self.data, rows)
            losses.append(loss)
        jax.block_until_ready(self.params)
        return mean_of_steps(read_losses(losses), len(order), size)

    def layers(self) -> Layers:
        return jax.device_get(self.params)
