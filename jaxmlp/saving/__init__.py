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

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "check_description",
    "checkpoints_in",
    "fit_arrays",
    "latest_checkpoint",
    "restore_fit",
]
