"""flax.nnx and optax, trained as flax's documentation trains: an `nnx.jit` step called from a Python loop."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from contestants.jax_device import choose_device, optax_loss, optax_optimizer, read_losses
from contestants.job import Job, Layers, mean_of_steps


class Network(nnx.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, sizes: tuple[int, ...], rngs: nnx.Rngs) -> None:
        self.linears = nnx.List(
            [nnx.Linear(size, after, rngs=rngs) for size, after in itertools.pairwise(sizes)]
        )

    def __call__(self, inputs: Any) -> Any:
        for linear in self.linears[:-1]:
            inputs = nnx.relu(linear(inputs))
        return self.linears[-1](inputs)


class Program:
    """The model and its optimiser, which the compiled step alters in place."""

    temporaries: int | None = None

    def __init__(self, job: Job) -> None:
        choose_device(job.settings)
        self.job = job
        self.model = Network(job.settings.sizes, nnx.Rngs(0))
        for linear, (w, b) in zip(self.model.linears, job.layers, strict=True):
            linear.kernel[...], linear.bias[...] = jnp.array(w), jnp.array(b)
        self.optimizer = nnx.Optimizer(self.model, optax_optimizer(job.settings), wrt=nnx.Param)

        @nnx.jit
        def train_step(model: Any, optimizer: Any, data: Any, rows: Any) -> Any:
            # Gathering here was measured faster than handing over rows gathered by NumPy.
            inputs, targets = data[0][rows], data[1][rows]
            loss, grads = nnx.value_and_grad(lambda model: optax_loss(job, model(inputs), targets))(model)
            optimizer.update(model, grads)
            return loss

        self.step = train_step
        self.data = jnp.array(job.train_inputs), jnp.array(job.train_targets)

    def epoch(self, order: np.ndarray) -> float:
        size, losses = self.job.settings.batch_size, []
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            losses.append(self.step(self.model, self.optimizer, self.data, rows))
        jax.block_until_ready(nnx.state(self.model))
        return mean_of_steps(read_losses(losses), len(order), size)

    def layers(self) -> Layers:
        return [
            (np.asarray(linear.kernel[...]), np.asarray(linear.bias[...])) for linear in self.model.linears
        ]
