"""A job: all that follows from the options of a run and its data, each derived once."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

import jaxmlp
from jaxmlp import ArgumentError, Network, TrainState, init_state, make_optimizer, mlp
from jaxmlp.cli.distributed import Group
from jaxmlp.cli.options import OF_THIS_CALL, OWN, DataOptions, RunOptions, TrainOptions, flag
from jaxmlp.cli.session import check_fits
from jaxmlp.datasets import Dataset, Problem, load, make_problem
from jaxmlp.datasets.splitting import unstratified_split
from jaxmlp.saving.model_file import describe_network
from jaxmlp.sweep.members import scale_weights
from jaxmlp.training.batching import steps_per_epoch
from jaxmlp.training.optimizers import OPTIMIZERS
from jaxmlp.training.parallel import batch_mesh, place_whole
from jaxmlp.training.steps import Recipe


@dataclass(frozen=True)
class Job:
    """All that follows from the options of a run, each derived once.

    Attributes:
        options: as they were given.
        dataset: the data as they were loaded.
        problem: the data as the network takes them, in the host's memory.
        recipe: what is trained how.
        learning_rate: the given one, or what the optimiser and the task bring.
    """

    options: Any
    dataset: Dataset
    problem: Problem
    recipe: Recipe
    learning_rate: float

    @cached_property
    def placed(self) -> Problem:
        """The problem with its data on the devices that train."""
        parts = {part: self.place(getattr(self.problem, part)) for part in ("train", "valid", "test")}
        return self.problem._replace(**parts)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What a checkpoint is of: all that its arrays follow from."""
        # Where the data are, and the names of files, do not change what is trained.
        left_out = {*OF_THIS_CALL, "out"}
        given = dataclasses.asdict(self.options).items()
        return {
            "version": jaxmlp.__version__,
            "data set": self.dataset.identity,
            "network": describe_network(self.recipe.net),
            "loss": self.problem.loss,
            "metric": self.problem.metric,
            "options": {name: value for name, value in given if name not in left_out},
        }

    @property
    def shared(self) -> dict[str, Any]:
        """What the processes of a run must have alike, by the name that people know it by."""
        given = dataclasses.asdict(self.options).items()
        options = {flag(name): value for name, value in given if name not in OWN}
        return options | {name: value for name, value in self.description.items() if name != "options"}

    @property
    def saved(self) -> dict[str, Any]:
        """What prediction needs besides the network."""
        dataset, statistics = self.dataset, self.problem.preprocessing.to_dict()
        return {
            **{name: value for name, value in statistics.items() if value is not None},
            "task": dataset.task,
            "loss": self.problem.loss,
            "dataset": dataset.name,
            "class_names": list(dataset.class_names),
            "target_names": list(dataset.target_names),
            "feature_names": list(dataset.feature_names),
            "feature_shape": list(dataset.feature_shape),
            "table": dataset.table,
        }

    @property
    def in_force(self) -> dict[str, Any]:
        """The values in force of what the options may leave open."""
        options, recipe = self.options, self.recipe
        return {
            "task": self.dataset.task,
            "loss": self.problem.loss,
            "optimizer": options.optimizer,
            "learning_rate": self.learning_rate,
            "schedule": options.schedule,
            "batch_size": recipe.batch_size,
            "epochs": options.epochs,
            "seed": options.seed,
        }

    @property
    def name(self) -> str:
        """What a folder of the run is called."""
        return self.dataset.name

    def start(self) -> TrainState:
        """Draw the network's parameters."""
        # All of it is one program, the making of the key from its seed too; little optimised, because it runs once
        # and compiling was its cost.
        begin = jax.jit(
            lambda seed: init_state(
                self.recipe.net, self.recipe.optimizer, jax.random.wrap_key_data(seed, impl="threefry2x32")
            ),
            compiler_options={"xla_backend_optimization_level": 1},
        )
        state = begin(np.array([0, self.options.seed], np.uint32))  # the data of jax.random.key(seed)
        if self.options.init_scale == 1:
            return state
        return state._replace(params=scale_weights(self.recipe.net, state.params, self.options.init_scale))

    def place(self, tree: Any) -> Any:
        """Bring arrays to the devices that train."""
        return place_whole(tree, self.recipe.mesh)

    def local(self, tree: Any) -> Any:
        """Give the copy of placed arrays that lies on this process's first device; nothing is moved."""
        return tree if self.recipe.mesh is None else jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def prepare(options: RunOptions, precision: str, device: jax.Device, group: Group) -> Job:
    """Load the data and describe what is trained how; the processes of a run agree on it."""
    devices = group.devices(device.platform)  # too few are refused before data are loaded
    dataset = load_dataset(options)
    if options.target_accuracy is not None and dataset.task == "regression":
        raise ArgumentError(
            "--target-accuracy is for classes and labels; a regression has no accuracy: leave it out"
        )
    job = make_job(options, dataset, problem_of(options, dataset, options.validation), precision, devices)
    group.agree(job.shared)
    return job


def load_dataset(options: DataOptions) -> Dataset:
    """Load the data set that the options name."""
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(DataOptions)}
    of_problem = ("dataset", "validation", "scaling")
    quiet = getattr(options, "quiet", False) or getattr(options, "process_id", None) not in (None, 0)
    dataset = load(
        options.dataset, quiet=quiet, **{name: given[name] for name in given if name not in of_problem}
    )
    strata = dataset.strata
    if strata is None or not 0 < options.validation < 1 or getattr(options, "folds", None):
        return dataset
    rare = unstratified_split(strata, dataset.class_names, options.validation)
    return dataset._replace(notes=tuple(dict.fromkeys([*dataset.notes, *rare])))


def problem_of(options: TrainOptions, dataset: Dataset, validation: float) -> Problem:
    """Make the data ready in the precision that the options ask for."""
    problem = make_problem(
        dataset,
        loss=options.loss,
        scaling=options.scaling,
        validation=validation,
        seed=options.seed,
        dtype=np.float64 if options.precision == "float64" else np.float32,
    )
    return problem._replace(metric=options.metric or problem.metric)


def make_job(
    options: TrainOptions,
    dataset: Dataset,
    problem: Problem,
    precision: str | None,
    devices: Sequence[jax.Device] | None = None,
) -> Job:
    """Derive all that follows from the options and the data; nothing is on the devices yet."""
    rate, examples = learning_rate_of(options, problem), len(problem.train.inputs)
    batch_size = min(options.batch_size or examples, examples)
    steps = steps_per_epoch(examples, batch_size)
    optimizer = make_optimizer(
        options.optimizer,
        rate,
        schedule=options.schedule,
        horizon=(steps * options.epochs, steps),
        clip_norm=options.clip_norm,
    )
    net, mesh = network_of(options, problem, precision), batch_mesh(devices)
    recipe = Recipe(net, optimizer, problem.loss, problem.metric, batch_size, options.shuffle, mesh=mesh)
    return Job(options, dataset, problem, recipe, rate)


def network_of(options: TrainOptions, problem: Problem, precision: str | None) -> Network:
    """Describe the network that the options ask for."""
    sizes = [problem.in_features, *options.hidden, problem.outputs]
    check_fits(sizes)
    return mlp(
        sizes,
        activation=options.activation,
        output_activation=problem.output_activation,
        init=options.init,
        bias_init=options.bias_init,
        bias=options.bias,
        precision=precision,
    )


def learning_rate_of(options: TrainOptions, problem: Problem) -> float:
    """Tell the learning rate of a run: the given one, or the optimiser's own, a tenth of it for a regression.

    The gradient of a cross-entropy is bounded; that of a squared error grows with the error.
    """
    if options.learning_rate is not None:
        return options.learning_rate
    usual = OPTIMIZERS[options.optimizer].learning_rate
    is_plain = options.optimizer.partition(":")[0] in ("sgd", "momentum", "nesterov")
    return usual / 10 if is_plain and problem.metric in ("r2", "mae", "rmse") else usual
