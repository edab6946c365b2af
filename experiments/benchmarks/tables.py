"""Public tables: jaxmlp's recipe for tables against scikit-learn's networks and gradient boosting, split by split.

The files are not part of the project: --tables names their folder. Every model of a split has the same rows to fit and
to be tested on; jaxmlp holds out a fifth of the rows to fit for the choice of its best epoch, the others fit all.
"""

import importlib.util
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from measurement import OutOptions, Part, Result, check, describe, finish, tell

from jaxmlp import (
    ArgumentError,
    Network,
    Stopping,
    fit,
    forward,
    init_from_data,
    init_state,
    make_optimizer,
    mlp,
)
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import run
from jaxmlp.cli.text import seconds, write_result
from jaxmlp.datasets import Dataset, Problem, load, make_problem
from jaxmlp.datasets.table import codes, count_numbers
from jaxmlp.registry import unknown_name
from jaxmlp.training.batching import steps_per_epoch
from jaxmlp.training.tabular import tabular, tabular_optimizer

DESCRIPTION = (
    "Measure jaxmlp and its peers on public tables; writes errors (or RMSE) and times of every split."
)
EPOCHS, BATCH = 128, 256
LEAST = 1e-9  # error that a ratio is taken to: a model may make none


@dataclass(frozen=True)
class TableOptions(OutOptions):
    """The options of the measurement."""

    tables: str = option(".", "folder of the tables", group="data", metavar="FOLDER")
    only: tuple[str, ...] = option(
        (), "tables to measure (default: all that are there)", group="options", metavar="NAME"
    )
    models: tuple[str, ...] = option((), "models to measure (default: all)", group="options", metavar="NAME")
    splits: int = option(5, "how many splits, by the seeds 0, 1 …", group="options")
    epochs: int = option(EPOCHS, "of jaxmlp's recipe for tables", group="options")


class Table(NamedTuple):
    """A file, its target, and what `load` is told of it."""

    file: str
    target: str = "-1"
    told: dict[str, Any] = {}  # noqa: RUF012 - never altered
    logarithm: bool = False  # of the target


TABLES = {
    "abalone": Table("abalone.csv", told={"task": "regression"}),
    "adult": Table("adult-train.csv"),
    "diamonds": Table("diamonds.csv", "price", logarithm=True),
    "german": Table("german.csv"),
    "hour": Table("hour.csv", "cnt", {"ignore": "instant,casual,registered"}),
    "housing": Table("housing.csv", "median_house_value"),
    "kin8nm": Table("kin8nm.txt"),
    "mammography": Table("mammography.csv"),
    "mpg": Table("mpg.csv", "mpg"),
    "penguins": Table("penguins.csv", "species"),
    "phoneme": Table("phoneme.csv"),
    "sonar": Table("sonar.csv"),
    "titanic": Table("titanic.csv", "survived", {"ignore": "alive"}),
    "wine": Table("winequality-white.csv", told={"task": "regression"}),
}


class Fitted(NamedTuple):
    """What a model answers on the rows that test it, and how long it took."""

    outputs: np.ndarray  # classes, or values in the target's unit
    fit_seconds: float
    predict_seconds: float


def jaxmlp_tables(dataset: Dataset, seed: int, epochs: int) -> Fitted:
    """Fit the recipe for tables."""
    started, columns = time.perf_counter(), (dataset.table or {})["columns"]
    problem = make_problem(dataset, scaling="robust", validation=0.2, seed=seed)
    shapes: Any = {"numbers": count_numbers(columns), "codes": codes(columns)}
    net = tabular(problem.in_features, problem.outputs, task=dataset.task, **shapes)
    optimizer = tabular_optimizer(dataset.task, steps_per_epoch(len(problem.train.inputs), BATCH), epochs)
    key, classifies = jax.random.key(seed), dataset.task == "classification"
    state = init_state(net, optimizer, key)._replace(params=init_from_data(net, key, problem.train.inputs))
    loss = "softmax_cross_entropy:0.1" if classifies else problem.loss
    stopping = Stopping(keep_best=True, monitor="score" if classifies else "loss", ties="last")
    return _fitted(started, dataset, problem, net, state, optimizer, (loss, stopping, epochs))


def jaxmlp_plain(dataset: Dataset, seed: int, epochs: int) -> Fitted:
    """Fit one ReLU network by Adam, and stop early."""
    started, problem = time.perf_counter(), make_problem(dataset, validation=0.2, seed=seed)
    net = mlp([problem.in_features, 256, 256, 256, problem.outputs], init="glorot_uniform")
    optimizer = make_optimizer("adam", 1e-3)
    state = init_state(net, optimizer, jax.random.key(seed))
    how = problem.loss, Stopping(patience=20), 2 * epochs
    return _fitted(started, dataset, problem, net, state, optimizer, how)


def _fitted(
    started: float, dataset: Dataset, problem: Problem, net: Network, state: Any, optimizer: Any, how: Any
) -> Fitted:
    (loss, stopping, epochs), data = how, (problem.train, problem.valid)
    keywords: Any = {"loss": loss, "optimizer": optimizer, "batch_size": BATCH, "epochs": epochs}
    result = fit(net, *data, state=state, stopping=stopping, **keywords)
    ended = time.perf_counter()
    outputs = np.asarray(forward(net, result.state.params, problem.test.inputs))
    if dataset.task == "classification":
        answers = outputs.argmax(axis=1)
    else:
        answers = problem.preprocessing.restore_targets(outputs)[:, 0]
    return Fitted(answers, ended - started, time.perf_counter() - ended)


def by_sklearn(make: Callable[[Dataset, int], Any]) -> Callable[[Dataset, int, int], Fitted]:
    """Make a peer of what makes an estimator for a data set and a seed."""

    def measure(dataset: Dataset, seed: int, epochs: int) -> Fitted:
        (inputs, targets), started = dataset.train, time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that scikit-learn's network needs more epochs
            model = make(dataset, seed).fit(inputs, targets.ravel())
        ended = time.perf_counter()
        answers = model.predict(dataset.test.inputs)
        return Fitted(answers, ended - started, time.perf_counter() - ended)

    return measure


def sklearn_mlp(dataset: Dataset, seed: int) -> Any:
    """Make scikit-learn's network with its defaults, inputs and target standardised."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if dataset.task == "classification":
        return make_pipeline(StandardScaler(), MLPClassifier(random_state=seed))
    network = make_pipeline(StandardScaler(), MLPRegressor(random_state=seed))
    return TransformedTargetRegressor(network, transformer=StandardScaler())


def hist_boosting(dataset: Dataset, seed: int, **settings: Any) -> Any:
    """Make scikit-learn's gradient boosting, which is told which inputs are categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    classifies = dataset.task == "classification"
    kind = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
    coded = [column for column, count in codes((dataset.table or {})["columns"]).items() if count < 255]
    return kind(random_state=seed, categorical_features=coded or None, **settings)


LONG: Any = {"max_iter": 500, "learning_rate": 0.05, "early_stopping": True}


def boosting(package: str, name: str) -> Callable[[Dataset, int], Any]:
    """Make another package's gradient boosting with its defaults."""

    def make(dataset: Dataset, seed: int) -> Any:
        kind = f"{name}{'Classifier' if dataset.task == 'classification' else 'Regressor'}"
        quiet = {"CatBoost": {"verbose": 0}, "LGBM": {"verbose": -1}}.get(name, {})
        return getattr(importlib.import_module(package), kind)(random_state=seed, **quiet)

    return make


class Model(NamedTuple):
    """A model: how many categories it is given as inputs of each, how it is fitted, and the package it needs."""

    max_one_hot: int | None
    measure: Callable[[Dataset, int, int], Fitted]
    package: str = "jax"


MODELS = {
    "jaxmlp tables": Model(9, jaxmlp_tables),
    "jaxmlp plain": Model(None, jaxmlp_plain),
    "sklearn MLP": Model(None, by_sklearn(sklearn_mlp)),
    "HGB": Model(2, by_sklearn(hist_boosting)),
    "HGB 500": Model(2, by_sklearn(partial(hist_boosting, **LONG))),
    "CatBoost": Model(None, by_sklearn(boosting("catboost", "CatBoost")), "catboost"),
    "XGBoost": Model(None, by_sklearn(boosting("xgboost", "XGB")), "xgboost"),
    "LightGBM": Model(None, by_sklearn(boosting("lightgbm", "LGBM")), "lightgbm"),
}


def measure_split(table: Table, path: Path, model: Model, seed: int, epochs: int) -> Result:
    """Fit a model on a split and test it: the share of wrong classes, or the RMSE in the target's unit."""
    dataset = load(path, target=table.target, seed=seed, max_one_hot=model.max_one_hot, **table.told)
    if table.logarithm:
        parts = (part._replace(targets=np.log(part.targets)) for part in (dataset.train, dataset.test))
        train, test = parts
        dataset = dataset._replace(train=train, test=test)
    found, truth = model.measure(dataset, seed, epochs), dataset.test.targets
    if dataset.task == "classification":
        error = float(np.mean(found.outputs != truth))
    else:
        error = float(np.sqrt(np.mean((np.ravel(found.outputs) - np.ravel(truth)) ** 2)))
    rows = {"rows": len(dataset.train.inputs), "inputs": dataset.train.inputs.shape[1]}
    return rows | {"error": error, "fit": found.fit_seconds, "predict": found.predict_seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement; returns the exit status."""
    options, _ = parse_options(TableOptions, DESCRIPTION, arguments)
    check(options, splits=1, epochs=1)
    there = {name: model for name, model in MODELS.items() if importlib.util.find_spec(model.package)}
    chosen = [_named(name, there, "model") for name in options.models] or [*there]
    folder = Path(options.tables)
    names = [_named(name, TABLES, "table") for name in options.only] or [*TABLES]
    names = [name for name in names if (folder / TABLES[name].file).is_file()]
    if not names:
        raise ArgumentError(f"folder '{folder}' holds none of the tables: give --tables FOLDER")
    result = describe("public tables", "scikit-learn", *{there[name].package for name in chosen})
    result |= {"epochs": options.epochs, "tables": {name: {} for name in names}}
    for seed in range(options.splits):
        for name in names:
            for model in chosen:
                tell(f"split {seed} of {name}: {model}")
                path = folder / TABLES[name].file
                found = measure_split(TABLES[name], path, there[model], seed, options.epochs)
                result["tables"][name].setdefault(model, []).append(found)
                write_result(options.out, result)  # hours of work are not lost
    return finish(result, parts(result), options.out)


def _named(name: str, known: Any, what: str) -> str:
    if name not in known:
        raise unknown_name(what, name, known)
    return name


def parts(result: Result) -> list[Part]:
    """Lay out mean errors with their spread over splits, times, and the ratios to each peer."""
    tables = result["tables"]
    models = list(next(iter(tables.values())))
    errors = {
        name: {model: [run["error"] for run in runs] for model, runs in by_model.items()}
        for name, by_model in tables.items()
    }
    rows = [["table", *models]]
    for name, by_model in errors.items():
        rows.append([name, *(f"{np.mean(found):.4g} ± {np.std(found):.1g}" for found in by_model.values())])
    ratios = [[f"{models[0]} against", "geometric mean of error", "without kin8nm", "ahead on"]]
    for peer in models[1:]:
        each = {name: np.mean(by[models[0]]) / max(np.mean(by[peer]), LEAST) for name, by in errors.items()}
        others = [ratio for name, ratio in each.items() if name != "kin8nm"]
        means = [
            f"{np.exp(np.mean(np.log(np.maximum(some, LEAST)))):.3f}"
            for some in ([*each.values()], others or [np.nan])
        ]
        ratios.append([peer, *means, f"{sum(ratio < 1 for ratio in each.values())} of {len(each)}"])
    times = [["seconds to fit (to predict)", *models]]
    for name, by_model in tables.items():
        cells = (
            f"{seconds(float(np.median([run['fit'] for run in runs])))} "
            f"({seconds(float(np.median([run['predict'] for run in runs])))})"
            for runs in by_model.values()
        )
        times.append([name, *cells])
    return [
        "Mean error over the splits (share wrong, or RMSE), with its standard deviation:",
        rows,
        ratios,
        times,
    ]


if __name__ == "__main__":
    run(main)
