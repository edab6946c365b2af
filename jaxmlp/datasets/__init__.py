"""Data sets as NumPy arrays: by name, from public archives, or from the user's own files."""

from jaxmlp.datasets.dataset import Dataset, Part
from jaxmlp.datasets.files import read_inputs
from jaxmlp.datasets.loading import DATASETS, Source, load
from jaxmlp.datasets.preprocessing import METHODS, Preprocessing, fit_preprocessing
from jaxmlp.datasets.problem import Problem, make_problem
from jaxmlp.datasets.splitting import split_indices
from jaxmlp.datasets.targets import TASKS

__all__ = [
    "DATASETS",
    "METHODS",
    "TASKS",
    "Dataset",
    "Part",
    "Preprocessing",
    "Problem",
    "Source",
    "fit_preprocessing",
    "load",
    "make_problem",
    "read_inputs",
    "split_indices",
]
