"""A sweep made ready: the data, the folds, and a description of every network."""

from typing import NamedTuple

import jax

from jaxmlp.cli.options import TrainOptions
from jaxmlp.cli.session import find_device
from jaxmlp.cli.sweep_options import SweepOptions, settings_of
from jaxmlp.cli.train import as_float64, learning_rate_of, network_of
from jaxmlp.datasets import Dataset
from jaxmlp.datasets.problem import Problem, make_problem
from jaxmlp.datasets.splitting import fold_indices
from jaxmlp.sweep.sweep import Folds
from jaxmlp.sweep.trials import Trial


class Study(NamedTuple):
    """A sweep made ready: what is tried on which data.

    Attributes:
        options: the sweep's.
        settings: the options of each network alone, in the order of their numbers (without folds).
        trials: the networks, each setting once a fold.
        origin: for each trial, its setting.
        problem: the data.
        folds: rows to train and to rank on; None where a part is held out.
        devices: to train on.
        precision: of matrix products.
    """

    options: SweepOptions
    settings: list[TrainOptions]
    trials: list[Trial]
    origin: list[TrainOptions]
    problem: Problem
    folds: Folds | None
    devices: tuple[jax.Device, ...]
    precision: str | None


def make_study(options: SweepOptions, dataset: Dataset, precision: str | None) -> Study:
    """Make the data ready and describe every network."""
    problem = make_problem(
        dataset,
        loss=options.loss,
        scaling=options.scaling,
        validation=0.0 if options.folds else options.validation,
        seed=options.seed,
    )
    if options.precision == "float64":
        problem = jax.tree.map(as_float64, problem)
    settings = settings_of(options)
    folds = None
    if options.folds is not None:
        labels = dataset.train.targets if dataset.task == "classification" else None
        folds = fold_indices(len(problem.train.inputs), options.folds, seed=options.seed, labels=labels)
    pairs = [(setting, fold) for setting in settings for fold in (range(len(folds)) if folds else [None])]
    trials = [trial_of(setting, problem, precision, fold) for setting, fold in pairs]
    device = find_device(options.device)
    is_one = ":" in options.device
    devices = (device,) if is_one else tuple(jax.local_devices(backend=device.platform))
    return Study(
        options, settings, trials, [setting for setting, _ in pairs], problem, folds, devices, precision
    )


def trial_of(setting: TrainOptions, problem: Problem, precision: str | None, fold: int | None) -> Trial:
    """Describe a network of the sweep from the options that train it alone."""
    return Trial(
        network_of(setting, problem, precision),
        optimizer=setting.optimizer,
        learning_rate=learning_rate_of(setting, problem),
        batch_size=setting.batch_size or len(problem.train.inputs),
        schedule=setting.schedule,
        clip_norm=setting.clip_norm,
        l2=setting.l2,
        init_scale=setting.init_scale,
        seed=setting.seed,
        fold=fold,
    )
