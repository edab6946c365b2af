"""Checkpoints and model files, each one safetensors file that is whole or is refused.

A kill at any moment leaves the checkpoints before it; whatever is damaged is noticed before it is used.
"""

from jaxmlp.saving.checkpoint import (
    Checkpoint,
    CheckpointWriter,
    check_description,
    checkpoints_in,
    fit_arrays,
    latest_checkpoint,
    restore_fit,
)
from jaxmlp.saving.checkpoint import named_arrays as named_arrays
from jaxmlp.saving.checkpoint import read_checkpoint as read_checkpoint
from jaxmlp.saving.checkpoint import restore_tree as restore_tree
from jaxmlp.saving.checkpoint import write_checkpoint as write_checkpoint

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "check_description",
    "checkpoints_in",
    "fit_arrays",
    "latest_checkpoint",
    "restore_fit",
]
