"""Data sets as NumPy arrays: by name, from public archives, or from the user's own files."""

from jaxmlp.datasets.dataset import TASKS, Dataset, Part
from jaxmlp.datasets.loading import DATASETS, Source, load
from jaxmlp.datasets.new_inputs import read_inputs
from jaxmlp.datasets.preprocessing import METHODS, Preprocessing, fit_preprocessing
from jaxmlp.datasets.splitting import split_indices

__all__ = [
    "DATASETS",
    "METHODS",
    "TASKS",
    "Dataset",
    "Part",
    "Preprocessing",
    "Source",
    "fit_preprocessing",
    "load",
    "read_inputs",
    "split_indices",
]
