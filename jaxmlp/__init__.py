"""Multi-layer perceptrons in JAX with every gradient written by hand and proven equal to autodiff.

The public names are listed in `__all__`. Data sets are in `jaxmlp.datasets` and figures in
`jaxmlp.plots`, which are imported by those who need them.
"""

import jaxmlp.door  # noqa: F401 (before every library)
from jaxmlp.activations import ACTIVATIONS, Activation
from jaxmlp.backprop import LayerTrace, Trace, loss, trace, value_and_grad
from jaxmlp.gradcheck import GradientReport, GradientRow, check_gradients
from jaxmlp.initializers import INITIALIZERS
from jaxmlp.layers import (
    LAYERS,
    Activate,
    BatchNorm,
    Committee,
    Dense,
    DenseParams,
    Dropout,
    Embed,
    Layer,
    LayerNorm,
    Maxout,
    ParametricActivate,
    PeriodicEmbedding,
    Residual,
    Scale,
    Softmax,
)
from jaxmlp.losses import LOSSES, Loss
from jaxmlp.network import Network, calibrate, forward, init, init_from_data, mlp, predict
from jaxmlp.saving.model_file import load_model, save_model
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.fit import FitResult, FitState, fit
from jaxmlp.training.metrics import METRICS, Metric, accuracy, confusion_matrix, r_squared, zero_one_loss
from jaxmlp.training.optimizers import OPTIMIZERS, SCHEDULES, make_optimizer
from jaxmlp.training.steps import TrainState, init_state, train_epoch, train_step
from jaxmlp.training.stopping import Best, Stopping
from jaxmlp.training.stream import Stream, stream_from_chunks, stream_from_source
from jaxmlp.training.tabular import tabular, tabular_optimizer
from jaxmlp.types import ArgumentError, Batch, EpochReport, Metrics, history_columns

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "LAYERS",
    "LOSSES",
    "METRICS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Activate",
    "Activation",
    "ArgumentError",
    "Batch",
    "BatchNorm",
    "Best",
    "Committee",
    "Dense",
    "DenseParams",
    "Dropout",
    "Embed",
    "EpochReport",
    "FitResult",
    "FitState",
    "GradientReport",
    "GradientRow",
    "Layer",
    "LayerNorm",
    "LayerTrace",
    "Loss",
    "Maxout",
    "Metric",
    "Metrics",
    "Network",
    "ParametricActivate",
    "PeriodicEmbedding",
    "Residual",
    "Scale",
    "Softmax",
    "Stopping",
    "Stream",
    "Trace",
    "TrainState",
    "accuracy",
    "calibrate",
    "check_gradients",
    "confusion_matrix",
    "evaluate",
    "fit",
    "forward",
    "history_columns",
    "init",
    "init_from_data",
    "init_state",
    "load_model",
    "loss",
    "make_optimizer",
    "mlp",
    "predict",
    "r_squared",
    "save_model",
    "stream_from_chunks",
    "stream_from_source",
    "tabular",
    "tabular_optimizer",
    "trace",
    "train_epoch",
    "train_step",
    "value_and_grad",
    "zero_one_loss",
]
