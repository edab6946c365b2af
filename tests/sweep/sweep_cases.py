"""What the tests of sweeps share: a small problem, and a trial trained alone."""

from typing import Any

import jax
import numpy as np

from jaxmlp import Batch, fit, init_state, make_optimizer
from jaxmlp.sweep.members import scale_weights
from jaxmlp.sweep.trials import Trial
from jaxmlp.training.batching import steps_per_epoch


def examples(count: int, dtype: Any = np.float32) -> Batch:
    """Points of three classes in six dimensions, drawn by their count."""
    random = np.random.default_rng(count)
    labels = random.integers(0, 3, count)
    return Batch((random.normal(size=(count, 6)) + labels[:, None]).astype(dtype), labels)


def alone(trial: Trial, train: Batch, epochs: int, loss: str = "softmax_cross_entropy") -> Any:
    """Train a trial by `fit` on its own examples; returns the parameters."""
    batch_size = min(trial.batch_size, len(train.inputs))
    steps = steps_per_epoch(len(train.inputs), batch_size)
    horizon = steps * epochs, steps
    schedule: dict[str, Any] = {"schedule": trial.schedule, "horizon": horizon, "clip_norm": trial.clip_norm}
    optimizer = make_optimizer(trial.optimizer, trial.learning_rate, **schedule)
    state = init_state(trial.net, optimizer, jax.random.key(trial.seed))
    state = state._replace(params=scale_weights(trial.net, state.params, trial.init_scale))
    options: dict[str, Any] = {"loss": loss, "batch_size": batch_size, "epochs": epochs, "l2": trial.l2}
    return fit(trial.net, train, optimizer=optimizer, state=state, **options).state.params
