"""The options of a sweep, what they vary, and the job that follows from them: data, folds and networks."""

import dataclasses
import itertools
import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from jaxmlp import ArgumentError
from jaxmlp.cli.job import learning_rate_of, load_dataset, network_of, problem_of
from jaxmlp.cli.options import PLACES, TrainOptions, batch_size, check_least, check_options, flag, sizes
from jaxmlp.cli.parser import given_options, option
from jaxmlp.cli.resume import resumed
from jaxmlp.cli.text import spell
from jaxmlp.datasets import Dataset, Problem
from jaxmlp.datasets.splitting import fold_indices, unstratified
from jaxmlp.registry import unknown_name
from jaxmlp.sweep.members import place_shared
from jaxmlp.sweep.sweep import Folds, Plan
from jaxmlp.sweep.trials import Halving, Trial

DESCRIPTION = """Train many networks side by side in few compiled programs, and rank their hyper-parameters on
validation data. What does not vary is given as to jaxmlp train.

    jaxmlp sweep --grid learning_rate=0.01,0.1 hidden=64,64x64 activation=relu,tanh seed=0..7
    jaxmlp sweep --random 256 learning_rate=log:1e-3..1 l2=log:1e-6..1e-2

A grid tries every combination. --random draws settings from "log:LOW..HIGH", "LOW..HIGH" or a list.
With both, every setting drawn goes with every combination of the grid. LOW..HIGH of whole numbers is a range.
Where a value has its own comma, ";" stands between values, in quotes: "schedule=step:0.1,10;cosine".
The setting with the best mean validation score over its seeds and folds is trained once more, on the whole
training part. Only that network is tested and saved. Without --grid and --random: 16 learning rates about that
of jaxmlp train."""

MOST_NETWORKS = 100_000  # more is a slip of the pen, and the list alone would fill the memory
# Of the learning rate that the optimiser and the task bring: beyond the largest, networks diverge.
DEFAULT_FACTORS = tuple(2.0 ** (number / 2) for number in range(-12, 4))
# What --resume takes from this call where it is given, and not from the sweep: where to compute, and what to show.
OF_THIS_CALL = (*PLACES, "resume", "cores", "block", "quiet", "top", "device", "compilation_cache")
# What the command that trains one network leaves out.
NOT_OF_A_RUN = ("out", "quiet", "pictures", "compilation_cache")
MOMENTUM = ("momentum", "nesterov")
DECAY = ("adamw", "lion", "lamb")

_sweep = partial(option, group="sweep")


@dataclass(frozen=True)
class SweepOptions(TrainOptions):
    """The options of a sweep, one field a flag."""

    validation: float = option(
        0.2, "share of the training part held out to rank on, without --folds", group="data", metavar="SHARE"
    )
    grid: tuple[str, ...] = _sweep((), "every combination of these values", metavar="NAME=VALUES")
    random: tuple[str, ...] = _sweep((), "how many settings to draw, and from what", metavar="N|NAME=SPACE")
    folds: int | None = _sweep(None, "rank by cross-validation over N folds")
    halving: int | None = _sweep(
        None, "at each rung go on with the best 1/ETA of the settings", metavar="ETA"
    )
    first_rung: int | None = _sweep(
        None, "epochs of the first rung (default: the last that leaves three above it)"
    )
    cores: int | None = _sweep(None, "CPU cores to train on (default: all)")
    block: int | None = _sweep(None, "the most networks trained at a time (default: measured, and what fits)")
    top: int = _sweep(10, "rows of the ranking to print; all are in ranking.csv")
    resume: str | None = _sweep(
        None,
        "go on with the interrupted sweep in this folder, with its own options. This call may say again where the "
        "data are, where to compute, and what to show",
        metavar="RUN",
    )

    @cached_property
    def rungs(self) -> Halving | None:
        """How the worst are stopped early."""
        if self.halving is None:
            if self.first_rung is not None:
                raise ArgumentError("--first-rung belongs to --halving: give its ETA too, as --halving 3")
            return None
        usual = max(1, self.epochs // max(2, self.halving) ** 3)
        halving = Halving(usual if self.first_rung is None else self.first_rung, self.halving)
        halving.rungs(self.epochs)  # refuses a first rung that is no shorter than the run
        return halving

    @property
    def plain(self) -> TrainOptions:
        """What does not vary, as the options of a run."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(TrainOptions)}
        return TrainOptions(**(shared | {"validation": 0.0, "out": None}))

    def settings(self, usual_rate: float = 0.1) -> list[TrainOptions]:
        """Every network to train, as the options of the run that trains it."""
        plain, drawn = self.plain, _draw(self.random, self.seed)
        rates = [f"learning_rate={','.join(f'{usual_rate * factor:.3g}' for factor in DEFAULT_FACTORS)}"]
        grid = _combine(self.grid if self.grid or self.random else rates)
        _check_count(len(drawn) * len(grid))
        for name in drawn[0]:
            if name in grid[0]:
                raise ArgumentError(f"{name} stands in --grid and in --random: try its values in one of them")
        found: dict[TrainOptions, None] = {}  # a set that keeps its order
        for values in (first | second for first, second in itertools.product(drawn, grid)):
            setting = dataclasses.replace(plain, **_with_parameter(plain, values))
            check_options(setting)
            if self.halving is not None and setting.epochs != self.epochs:
                raise ArgumentError(
                    "--halving chooses epochs itself: leave epochs out of --grid and --random"
                )
            found[setting] = None
        return list(found)


def read_sweep(arguments: Sequence[str] | None) -> SweepOptions:
    """Read the command line, and check what no data set could make right."""
    given = given_options(SweepOptions, DESCRIPTION, arguments)
    options = SweepOptions(**given)
    check_least(options, cores=1, block=1, top=1, folds=2)
    if options.resume is not None:
        return resumed(SweepOptions, given, OF_THIS_CALL, "sweep")
    if options.folds is None and not 0 < options.validation < 1:
        raise ArgumentError(
            f"--validation must be a share between 0 and 1 to rank on, given {options.validation:g}: "
            f"try 0.2, or --folds 5"
        )
    _ = options.rungs, options.settings()  # which refuse what cannot be tried
    return options


def train_command(setting: TrainOptions) -> str:
    """Write the command that trains a network."""
    words = ["jaxmlp", "train"]
    for field in dataclasses.fields(setting):
        value, name = getattr(setting, field.name), flag(field.name)
        if value == field.default or field.name in NOT_OF_A_RUN:
            continue
        if isinstance(value, bool):
            words.append(name if value else name.replace("--", "--no-", 1))
        else:
            shown = spell(value) if isinstance(value, tuple) else str(value)
            words += [name, "full" if value is None else shown]
    return shlex.join(words)


# --- the job ---


@dataclass(frozen=True, eq=False)
class SweepJob:
    """A sweep made ready: what is tried on which data."""

    options: SweepOptions
    dataset: Dataset
    problem: Problem
    settings: list[TrainOptions]  # for each trial, the options of the run that trains it
    trials: list[Trial]  # each setting once a fold
    folds: Folds | None  # rows to train and to rank on; None where a part is held out
    devices: tuple[jax.Device, ...]
    precision: str | None  # of matrix products

    @property
    def name(self) -> str:
        """What a folder of the sweep is called."""
        return f"sweep-{self.dataset.name}"

    @cached_property
    def shown(self) -> list[str]:
        """The hyper-parameters that differ between settings, the seed left out; the learning rate where none does."""
        names = [field.name for field in dataclasses.fields(TrainOptions) if field.name != "seed"]
        varied = [name for name in names if len({getattr(setting, name) for setting in self.settings}) > 1]
        return varied or ["learning_rate"]

    def values(self, number: int) -> dict[str, Any]:
        """The shown hyper-parameters of a network; a learning rate left to the optimiser as what it came to."""
        setting, rate = self.settings[number], self.trials[number].learning_rate
        return {name: rate if name == "learning_rate" else getattr(setting, name) for name in self.shown}

    def label(self, number: int) -> str:
        """What tells a network from the others: its hyper-parameters, its seed and its fold."""
        trial = self.trials[number]
        told = [f"{name.replace('_', ' ')} {spell(value)}" for name, value in self.values(number).items()]
        fold = [] if trial.fold is None else [f"fold {trial.fold}"]
        return ", ".join([*told, f"seed {trial.seed}", *fold])

    def described(self, number: int) -> dict[str, Any]:
        """What a network is, as its line in trials.jsonl says it."""
        trial = self.trials[number]
        values = {name: spell(v) if isinstance(v, tuple) else v for name, v in self.values(number).items()}
        return values | {"seed": trial.seed, "fold": trial.fold}

    @cached_property
    def plan(self) -> Plan:
        """All networks, with the data on every device."""
        problem, options = self.problem, self.options
        train, valid = place_shared((problem.train, problem.valid), self.devices)
        how = options.epochs, problem.loss, problem.metric, options.shuffle
        return Plan(self.trials, train, valid, self.folds, *how, {"block": options.block}, self.devices)


def prepare(options: SweepOptions, precision: str, device: jax.Device) -> SweepJob:
    """Make the data ready and describe every network."""
    dataset = load_dataset(options)
    problem = problem_of(options, dataset, 0.0 if options.folds else options.validation)
    folds: Folds | None = None
    if options.folds is not None:
        if dataset.is_ordered:
            raise ArgumentError("--folds would train on rows behind those ranked on: leave out --time-column")
        strata, count = dataset.strata, len(problem.train.inputs)
        if strata is not None:
            rare = unstratified(strata, dataset.class_names, options.folds, count)
            dataset = dataset._replace(notes=(*dataset.notes, *rare))
        folds = fold_indices(count, options.folds, seed=options.seed, labels=strata, groups=dataset.groups)
    planned = options.settings(learning_rate_of(options.plain, problem))
    pairs = [(setting, fold) for setting in planned for fold in range(len(folds or [None]))]
    trials = [
        Trial(
            network_of(setting, problem, precision),
            optimizer=setting.optimizer,
            learning_rate=learning_rate_of(setting, problem),
            batch_size=setting.batch_size or len(problem.train.inputs),
            schedule=setting.schedule,
            clip_norm=setting.clip_norm,
            l2=setting.l2,
            init_scale=setting.init_scale,
            epochs=None if options.rungs else setting.epochs,
            seed=setting.seed,
            fold=fold if folds else None,
        )
        for setting, fold in pairs
    ]
    devices = (device,) if ":" in options.device else tuple(jax.local_devices(backend=device.platform))
    settings = [setting for setting, _ in pairs]
    return SweepJob(options, dataset, problem, settings, trials, folds, devices, precision)


# --- reading what is varied ---


READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("activation", "init", "bias_init", "optimizer", "schedule"), str),
    **dict.fromkeys(("init_scale", "momentum", "weight_decay", "learning_rate", "clip_norm", "l2"), float),
    "hidden": sizes,
    "batch_size": batch_size,
    **dict.fromkeys(("epochs", "seed"), int),
}
RANGE = re.compile(r"(?:(log|uniform):)?([^:]+?)\.\.([^:]+)")


def _read(name: str, text: str) -> Any:
    try:
        return READERS[name](text)
    except Exception:  # each reader has its own: all mean that the text is no such value
        examples = {
            "hidden": "64x64 or none",
            "batch_size": "32 or full",
            **dict.fromkeys(("epochs", "seed"), "a whole number"),
        }
        raise ArgumentError(
            f"'{text}' is no value of {name}: write {examples.get(name, 'a number')}"
        ) from None


def _split(flag: str, given: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUES, each name once."""
    found: dict[str, str] = {}
    for each in given:
        name, _, values = each.partition("=")
        name = name.replace("-", "_")
        if not values:
            raise ArgumentError(f"'{each}' says nothing to try: write NAME=VALUES, as learning_rate=0.01,0.1")
        if name not in READERS:
            raise unknown_name("hyper-parameter", name, READERS)
        if name in found:
            raise ArgumentError(f"{name} stands twice in {flag}: give it once, with all its values")
        found[name] = values
    return found


def _bounds(name: str, values: str, matched: "re.Match[str]") -> tuple[Any, Any]:
    if READERS[name] not in (int, float, batch_size):
        raise ArgumentError(f"{name}={values}: a range is for numbers; write a list with commas")
    low, high = (_read(name, text) for text in matched.group(2, 3))
    if low is None or high is None or not low < high or not math.isfinite(high):
        raise ArgumentError(f"{name}={values}: the range must rise, as 0.001..1")
    return low, high


def _combine(grid: Sequence[str]) -> list[dict[str, Any]]:
    columns = {name: _listed(name, values) for name, values in _split("--grid", grid).items()}
    _check_count(math.prod(map(len, columns.values())))
    return [dict(zip(columns, row, strict=True)) for row in itertools.product(*columns.values())]


def _check_count(networks: int) -> None:
    if networks > MOST_NETWORKS:
        raise ArgumentError(
            f"a sweep has at most {MOST_NETWORKS:,} networks, these would be {networks:,}: give fewer values, or "
            f"draw some with --random"
        )


def _listed(name: str, values: str) -> list[Any]:
    # A comma separates values; "step:0.1,10" and such have their own comma, and ";" between them.
    found: list[Any] = []
    for part in values.split(";" if ";" in values else ","):
        matched = RANGE.fullmatch(part)
        if matched is None:
            found.append(_read(name, part))
            continue
        low, high = _bounds(name, part, matched)
        if matched.group(1) or not (isinstance(low, int) and isinstance(high, int)):
            raise ArgumentError(
                f"{name}={part}: a grid takes ranges of whole numbers, as seed=0..7, and lists"
            )
        _check_count(high - low + 1)
        found.extend(range(low, high + 1))
    return found


def _draw(random: Sequence[str], seed: int) -> list[dict[str, Any]]:
    if not random:
        return [{}]
    count, *spaces = random
    if not count.isdecimal() or int(count) < 1 or not spaces:
        raise ArgumentError(
            f"--random begins with a number of at least 1 and goes on with what to draw, given "
            f"'{' '.join(random)}': write 64 learning_rate=log:1e-3..1"
        )
    _check_count(int(count))
    generator = np.random.default_rng(seed)
    samplers = {name: _sampler(name, values) for name, values in _split("--random", spaces).items()}
    return [{name: draw(generator) for name, draw in samplers.items()} for _ in range(int(count))]


def _sampler(name: str, values: str) -> Callable[[np.random.Generator], Any]:
    matched = RANGE.fullmatch(values)
    if matched is None:
        choices = _listed(name, values)
        return lambda generator: choices[generator.integers(len(choices))]
    low, high = _bounds(name, values, matched)
    is_whole, is_log = isinstance(low, int) and isinstance(high, int), matched.group(1) == "log"
    if is_log and low <= 0:
        raise ArgumentError(f"{name}={values}: a logarithmic range begins above 0")
    if is_whole and not is_log:
        return lambda generator: int(generator.integers(low, high + 1))
    ends = (math.log(low), math.log(high)) if is_log else (low, high)

    def draw(generator: np.random.Generator) -> Any:
        drawn = math.exp(generator.uniform(*ends)) if is_log else generator.uniform(*ends)
        return round(drawn) if is_whole else float(f"{drawn:.6g}")  # six digits, to read and type again

    return draw


def _with_parameter(plain: TrainOptions, values: dict[str, Any]) -> dict[str, Any]:
    """Write a momentum or a weight decay behind its optimiser's name, where a run takes it."""
    values = dict(values)
    for name, owners in (("momentum", MOMENTUM), ("weight_decay", DECAY)):
        if name in values:
            optimizer = values.get("optimizer", plain.optimizer)
            if optimizer.partition(":")[0] not in owners:
                raise ArgumentError(
                    f"{name} belongs to the optimisers {', '.join(owners)}, not to '{optimizer}': "
                    f"give --optimizer {owners[0]}, or vary only those"
                )
            values["optimizer"] = f"{optimizer.partition(':')[0]}:{values.pop(name)!r}"
    return values
