"""The options of a sweep: those of a training run, and what is to be tried in place of them."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jaxmlp import ArgumentError
from jaxmlp.cli.options import TrainOptions, batch_size, check_options, option, parse_options
from jaxmlp.registry import unknown_name
from jaxmlp.sweep.trials import Halving

DESCRIPTION = """Train many networks side by side in few compiled programs, and rank their hyper-parameters on
validation data. What is not varied is said as for train.py.

    sweep.py --grid learning_rate=0.01,0.1 hidden=64,64x64 activation=relu,tanh seed=0..7
    sweep.py --random 256 learning_rate=log:1e-3..1 l2=log:1e-6..1e-2

A grid tries every combination; --random draws as many settings, from "log:LOW..HIGH", "LOW..HIGH" or a list;
with both, every setting drawn goes with every combination of the grid. LOW..HIGH of whole numbers is a range.
Where a value has a comma of its own, ";" stands between values, in quotes: "schedule=step:0.1,10;cosine".
The setting with the best mean validation score over its seeds and folds is trained once more, on the whole
training part, and that network alone is tested and saved. Without --grid and --random: 16 learning rates."""

MOST_NETWORKS = 100_000  # more is a slip of the pen, and the list alone would fill the memory
DEFAULT_GRID = ("learning_rate=0.001,0.002,0.005,0.01,0.02,0.05,0.1,0.2,0.3,0.5,0.7,1,2,3,5,10",)
# What --resume takes from this call and not from the sweep: where to compute, and what to show.
OF_THIS_CALL = ("resume", "cores", "block", "quiet", "top", "check", "device", "compilation_cache")
MOMENTUM = ("momentum", "nesterov")
DECAY = ("adamw", "lion", "lamb")
SKLEARN_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic", "identity": "identity"}
SKLEARN_SOLVERS = ("sgd", "momentum", "nesterov", "adam")

_sweep = partial(option, group="sweep")
_measure = partial(option, group="measurements")


@dataclass(frozen=True)
class SweepOptions(TrainOptions):
    """The options of a sweep, one field a flag."""

    validation: float = option(
        0.2,
        "share of the training part held out to rank on; without --folds",
        group="data",
        metavar="SHARE",
    )
    grid: tuple[str, ...] = _sweep((), "every combination of these values", metavar="NAME=VALUES")
    random: tuple[str, ...] = _sweep(
        (), "a number of settings to draw, and from what", metavar="N|NAME=SPACE"
    )
    folds: int | None = _sweep(
        None, "rank by cross-validation over N folds of the training part", metavar="N"
    )
    halving: int | None = _sweep(
        None, "at each rung keep the best 1/ETA of the settings and stop the others", metavar="ETA"
    )
    first_rung: int | None = _sweep(
        None, "epochs of the first rung (default: the last that leaves three above it)", metavar="N"
    )
    cores: int | None = _sweep(None, "CPU cores to train on (default: all)", metavar="N")
    block: int | None = _sweep(
        None, "the most networks trained at a time (default: measured, and what fits)", metavar="N"
    )
    top: int = _sweep(10, "rows of the ranking to print; all are in ranking.csv", metavar="N")
    resume: str | None = _sweep(
        None,
        "go on with an interrupted sweep, with its options but for --top, --quiet, --cores, --block, --device and "
        "--compilation-cache; --check N is the sweep's unless given",
        metavar="RUN",
    )
    check: int | None = _measure(
        None,
        "train N of the networks alone too, and print how far they differ (default: 0, or with --resume that of "
        "the sweep)",
        metavar="N",
    )
    against: str | None = _measure(
        None, "sklearn: train some of the networks by scikit-learn, one after another", metavar="NAME"
    )
    against_count: int = _measure(3, "how many of them", metavar="N")


def read_sweep(arguments: Sequence[str] | None) -> SweepOptions:
    """Read the command line, and check what no data set could make right."""
    options, _ = parse_options(SweepOptions, DESCRIPTION, arguments)
    for name, least in {"cores": 1, "block": 1, "top": 1, "against_count": 1, "check": 0, "folds": 2}.items():
        given = getattr(options, name)
        if given is not None and given < least:
            raise ArgumentError(f"--{name.replace('_', '-')} must be at least {least}, given {given}")
    if options.resume is not None:
        _check_resume(options)
        return options
    if options.target_accuracy is not None:
        raise ArgumentError(
            "--target-accuracy does not apply to a sweep: stop the worst early with --halving"
        )
    if options.folds is None and not 0 < options.validation < 1:
        raise ArgumentError(
            f"--validation must be a share between 0 and 1 to rank on, given {options.validation:g}: "
            f"try 0.2, or --folds 5"
        )
    if options.against not in (None, "sklearn"):
        raise unknown_name("peer", options.against, ["sklearn"])
    if options.against is not None and options.halving is not None:
        raise ArgumentError("--against compares whole runs: leave out --halving")
    halving_of(options)
    settings = settings_of(options)
    if options.against is not None:
        _check_sklearn(settings)
    return options


def _check_sklearn(settings: Sequence[TrainOptions]) -> None:
    for setting in settings:
        solver = setting.optimizer.partition(":")[0]
        if setting.activation not in SKLEARN_ACTIVATIONS or solver not in SKLEARN_SOLVERS:
            raise ArgumentError(
                f"scikit-learn has no network with activation '{setting.activation}' and optimiser '{solver}': it "
                f"has {', '.join(SKLEARN_ACTIVATIONS)} and {', '.join(SKLEARN_SOLVERS)}; leave out --against"
            )


def _check_resume(options: SweepOptions) -> None:
    for field in dataclasses.fields(options):
        if field.name not in OF_THIS_CALL and getattr(options, field.name) != field.default:
            raise ArgumentError(
                f"--resume takes --{field.name.replace('_', '-')} from the run: leave it out, or begin a new sweep"
            )


def halving_of(options: SweepOptions) -> Halving | None:
    """Read how the worst are stopped early."""
    if options.halving is None:
        if options.first_rung is not None:
            raise ArgumentError("--first-rung belongs to --halving: give its ETA too, as --halving 3")
        return None
    eta = options.halving
    first = options.first_rung
    if first is None:
        first = max(1, options.epochs // max(2, eta) ** 3)
    halving = Halving(first, eta)
    halving.rungs(options.epochs)
    return halving


def settings_of(options: SweepOptions) -> list[TrainOptions]:
    """List every network to be trained, as the options of the run that trains it alone."""
    shared = {field.name: getattr(options, field.name) for field in dataclasses.fields(TrainOptions)}
    plain = TrainOptions(**(shared | {"validation": 0.0, "out": None}))
    drawn = _draw(options.random, options.seed)
    grid = _combine(options.grid if options.grid or options.random else DEFAULT_GRID)
    _check_count(len(drawn) * len(grid))
    for name in drawn[0]:
        if name in grid[0]:
            raise ArgumentError(f"{name} stands in --grid and in --random: try its values in one of them")
    found: dict[TrainOptions, None] = {}  # a set that keeps its order
    for values in (first | second for first, second in itertools.product(drawn, grid)):
        setting = dataclasses.replace(plain, **_with_parameter(plain, values))
        check_options(setting)
        found[setting] = None
    return list(found)


def varied_names(settings: Sequence[TrainOptions]) -> list[str]:
    """Name what differs between settings, the seed left out."""
    names = [field.name for field in dataclasses.fields(TrainOptions) if field.name != "seed"]
    return [name for name in names if len({getattr(setting, name) for setting in settings}) > 1]


def spell(value: Any) -> str:
    """Write a value as --grid takes it."""
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.12g}"
    return {None: "default"}.get(value, str(value))


# --- reading what is varied ---


def _sizes(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(int(size) for size in text.split("x"))


READERS: dict[str, Callable[[str], Any]] = {
    "hidden": _sizes,
    "activation": str,
    "init": str,
    "bias_init": str,
    "init_scale": float,
    "optimizer": str,
    "momentum": float,
    "weight_decay": float,
    "learning_rate": float,
    "schedule": str,
    "clip_norm": float,
    "batch_size": batch_size,
    "l2": float,
    "seed": int,
}
RANGE = re.compile(r"(?:(log|uniform):)?([^:]+?)\.\.([^:]+)")


def _read(name: str, text: str) -> Any:
    try:
        return READERS[name](text)
    except Exception:  # each reader has its own: all mean that the text is no such value
        examples = {"hidden": "64x64 or none", "batch_size": "32 or full", "seed": "a whole number"}
        example = examples.get(name, "a number")
        raise ArgumentError(f"'{text}' is no value of {name}: write {example}") from None


def _split(given: str) -> tuple[str, str]:
    name, equals, values = given.partition("=")
    name = name.replace("-", "_")
    if not equals or not values:
        raise ArgumentError(f"'{given}' says nothing to try: write NAME=VALUES, as learning_rate=0.01,0.1")
    if name not in READERS:
        raise unknown_name("hyper-parameter", name, READERS)
    return name, values


def _bounds(name: str, values: str, matched: "re.Match[str]") -> tuple[Any, Any]:
    if READERS[name] not in (int, float, batch_size):
        raise ArgumentError(f"{name}={values}: a range is for numbers; write a list with commas")
    low, high = (_read(name, text) for text in matched.group(2, 3))
    if low is None or high is None or not low < high or not math.isfinite(high):
        raise ArgumentError(f"{name}={values}: the range must rise, as 0.001..1")
    return low, high


def _combine(grid: Sequence[str]) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    for given in grid:
        name, values = _split(given)
        if name in columns:
            raise ArgumentError(f"{name} stands twice in --grid: give all its values at once, with commas")
        columns[name] = _listed(name, values)
    _check_count(math.prod(map(len, columns.values())))
    return [dict(zip(columns, row, strict=True)) for row in itertools.product(*columns.values())]


def _check_count(networks: int) -> None:
    if networks > MOST_NETWORKS:
        raise ArgumentError(
            f"a sweep has at most {MOST_NETWORKS:,} networks, these would be {networks:,}: give fewer values, or "
            f"draw some with --random"
        )


def _listed(name: str, values: str) -> list[Any]:
    # A comma separates values, but for "step:0.1,10" and such, which need a comma of their own: use ";".
    found: list[Any] = []
    for part in values.split(";" if ";" in values else ","):
        matched = RANGE.fullmatch(part)
        if matched is None:
            found.append(_read(name, part))
            continue
        low, high = _bounds(name, part, matched)
        if matched.group(1) or not (isinstance(low, int) and isinstance(high, int)):
            raise ArgumentError(f"{name}={part}: a grid takes ranges of whole numbers alone, as seed=0..7")
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
    samplers: dict[str, Callable[[np.random.Generator], Any]] = {}
    for name, values in map(_split, spaces):
        if name in samplers:
            raise ArgumentError(f"{name} stands twice in --random: give it once, as a range or a list")
        samplers[name] = _sampler(name, values)
    return [{name: draw(generator) for name, draw in samplers.items()} for _ in range(int(count))]


def _sampler(name: str, values: str) -> Callable[[np.random.Generator], Any]:
    matched = RANGE.fullmatch(values)
    if matched is None:
        choices = _listed(name, values)
        return lambda generator: choices[generator.integers(len(choices))]
    low, high = _bounds(name, values, matched)
    whole = isinstance(low, int) and isinstance(high, int)
    if matched.group(1) == "log":
        if low <= 0:
            raise ArgumentError(f"{name}={values}: a logarithmic range begins above 0")
        # Rounded to six digits, so that a setting can be read and typed again.
        return lambda generator: _rounded(math.exp(generator.uniform(math.log(low), math.log(high))), whole)
    if whole:
        return lambda generator: int(generator.integers(low, high + 1))
    return lambda generator: _rounded(generator.uniform(low, high), whole=False)


def _rounded(value: float, whole: bool) -> Any:
    return round(value) if whole else float(f"{value:.6g}")


def _with_parameter(plain: TrainOptions, values: dict[str, Any]) -> dict[str, Any]:
    """Write a momentum or a weight decay behind its optimiser's name, where train.py takes it."""
    values = dict(values)
    for name, owners in (("momentum", MOMENTUM), ("weight_decay", DECAY)):
        if name in values:
            optimizer = values.get("optimizer", plain.optimizer)
            if optimizer.partition(":")[0] not in owners:
                raise ArgumentError(
                    f"{name} belongs to the optimisers {', '.join(owners)}, not to '{optimizer}': "
                    f"give --optimizer {owners[0]}, or try it with those alone"
                )
            values["optimizer"] = f"{optimizer.partition(':')[0]}:{values.pop(name)!r}"
    return values
