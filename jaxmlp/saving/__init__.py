"""Checkpoints: all that a run carries, in folders of files that are whole or are refused.

A kill at any moment leaves the checkpoints before it; whatever is damaged is noticed before it is loaded.
The public names are listed in `__all__`. orbax is imported when a checkpoint is written or read.
"""

from jaxmlp.saving.descriptions import check_description
from jaxmlp.saving.files import (
    Checkpoint,
    checkpoints_in,
    latest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from jaxmlp.saving.fits import fit_arrays, restore_fit
from jaxmlp.saving.trees import named_arrays, restore_tree
from jaxmlp.saving.writer import CheckpointWriter

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "check_description",
    "checkpoints_in",
    "fit_arrays",
    "latest_checkpoint",
    "named_arrays",
    "read_checkpoint",
    "restore_fit",
    "restore_tree",
    "write_checkpoint",
]
