"""flax.nnx and optax, trained as flax's documentation trains: an `nnx.jit` step called from a Python loop."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from peers.jax_step import JaxPeer, optax_loss, optax_optimizer
from peers.job import Job, Layers


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


class Flax(JaxPeer):
    """The model and its optimiser, which the compiled step alters in place."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.model = Network(job.settings.sizes, nnx.Rngs(0))
        for linear, (w, b) in zip(self.model.linears, job.layers, strict=True):
            linear.kernel[...], linear.bias[...] = jnp.array(w), jnp.array(b)
        self.optimizer = nnx.Optimizer(self.model, optax_optimizer(job.settings), wrt=nnx.Param)

        @nnx.jit
        def train_step(model: Any, optimizer: Any, data: Any, rows: Any) -> Any:
            # Gathering here was measured faster than handing over rows gathered by NumPy.
            inputs, targets = data[0][rows], data[1][rows]

            def loss_of(model: Any) -> Any:
                return optax_loss(job.settings.task, model(inputs), targets)

            loss, grads = nnx.value_and_grad(loss_of)(model)
            optimizer.update(model, grads)
            return loss

        self.train_step = train_step

    def step(self, rows: np.ndarray) -> Any:
        return self.train_step(self.model, self.optimizer, self.data, rows)

    def trained(self) -> Any:
        return nnx.state(self.model)

    def layers(self) -> Layers:
        return [
            (np.asarray(linear.kernel[...]), np.asarray(linear.bias[...])) for linear in self.model.linears
        ]
