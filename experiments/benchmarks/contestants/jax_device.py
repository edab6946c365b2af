"""What the contestants that run on JAX share: their device and their optimiser."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from contestants.job import ADAM_B1, ADAM_B2, ADAM_EPSILON, MOMENTUM, Job, Settings
from jaxmlp.cli.session import find_device


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


def optax_loss(job: Job, outputs: Any, targets: Any) -> Any:
    """Compute the mean loss as optax's documentation does."""
    if job.settings.task == "regression":
        return optax.l2_loss(outputs, targets).mean()
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def read_losses(losses: list[Any]) -> Any:
    """Fetch the losses of an epoch's steps at once: reading each would wait for each."""
    return jax.device_get(jnp.stack(losses))
