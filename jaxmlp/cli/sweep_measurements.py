"""What a sweep is held against: the same networks trained alone, and trained by scikit-learn."""

import time
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxmlp import fit, init_state, make_optimizer
from jaxmlp.cli.sweep_options import SKLEARN_ACTIVATIONS
from jaxmlp.cli.sweep_report import name_of
from jaxmlp.cli.sweep_study import Study
from jaxmlp.cli.text import score_name, show_score
from jaxmlp.sweep.members import scale_weights
from jaxmlp.sweep.sweep import SweepResult, sweep
from jaxmlp.sweep.trials import Trial
from jaxmlp.training.batching import steps_per_epoch
from jaxmlp.types import Batch

AFTER_AN_EPOCH = {"float32": 1e-5, "float64": 1e-12}
# In float32 a unit that a rounding switches on or off can make any difference in the end. A long or wild run in
# float64 can enlarge roundings beyond the bound too, alone as in a sweep: that growth is printed beside it.
AT_THE_END = {"float64": 1e-12}


def spread_out(count: int, numbers: list[int]) -> list[int]:
    """Choose some numbers evenly among those given."""
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    return [numbers[place] for place in places]


# --- alone ---


def print_check(study: Study, result: SweepResult) -> bool:
    """Train some networks of the sweep alone and print how far the two differ; tells whether within bounds."""
    options, sound = study.options, [report.number for report in result.reports if not report.diverged]
    count = options.check or 0
    chosen = spread_out(count, sound)
    swept = sweep(
        study.trials,
        study.problem.train,
        study.problem.valid,
        epochs=1,
        folds=study.folds,
        loss=study.problem.loss,
        metric=study.problem.metric,
        shuffle=options.shuffle,
        block=options.block,
        devices=study.devices,
        keep_params=True,
    )
    first = {number: difference(swept.params[number], train_alone(study, number, 1)) for number in chosen}
    passed = say(study, first, 1, AFTER_AN_EPOCH.get(options.precision))
    if not passed:
        farthest = worst_of(first)
        nudged = difference(train_alone(study, farthest, 1, nudged=True), train_alone(study, farthest, 1))
        print(f"check: one rounding of its start, alone, grows to {nudged:.1e} after 1 epoch")
    whole = spread_out(count, [number for number in sound if number in result.params])
    if not whole:
        print("check: none was trained to its end in this call, so that the ends are not compared")
        return passed
    last, growth = {}, {}
    for number in whole:
        end = train_alone(study, number, options.epochs)
        last[number] = difference(result.params[number], end)
        growth[number] = difference(train_alone(study, number, options.epochs, nudged=True), end)
    wildest = worst_of(growth)
    print(
        f"check: one rounding of their start, alone, grows to {growth[wildest]:.1e} after {options.epochs} epochs, "
        f"in network {wildest} ({name_of(study, wildest)})"
    )
    return say(study, last, options.epochs, AT_THE_END.get(options.precision)) and passed


def say(study: Study, differences: Mapping[int, float], epochs: int, bound: float | None) -> bool:
    """Print one comparison and its farthest network; without a bound it is for information."""
    farthest, count = worst_of(differences), len(differences)
    largest = differences[farthest]
    passed = bound is None or largest <= bound
    verdict = "" if bound is None else f", bound {bound:.0e}: {'passed' if passed else 'FAILED'}"
    print(
        f"check: {count} network{'s' if count > 1 else ''} alone after {epochs} epoch{'s' if epochs > 1 else ''}: "
        f"largest relative difference of parameters {largest:.1e}{verdict}; that of network {farthest} "
        f"({name_of(study, farthest)})"
    )
    return passed


def difference(ours: Any, theirs: Any) -> float:
    """Measure max |a − b| / max |b| of the worst tensor; NaN where any number is."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    found = [
        float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) / (float(np.max(np.abs(b))) or 1.0)
        for a, b in pairs
    ]
    return float(np.max(found))


def worst_of(differences: Mapping[int, float]) -> int:
    """Choose the network with the largest, and with NaN where one has it, which Python's own `max` can pass over."""
    return list(differences)[int(np.argmax(list(differences.values())))]


def train_alone(study: Study, number: int, epochs: int, nudged: bool = False) -> Any:
    """Train one network of the sweep with `fit`, on a copy of its own examples; returns its parameters.

    Nudged, it starts from weights that differ by one rounding.
    """
    trial, train = study.trials[number], examples_of(study, number)
    batch_size = min(trial.batch_size, len(train.inputs))
    steps = steps_per_epoch(len(train.inputs), batch_size)
    optimizer = make_optimizer(
        trial.optimizer,
        trial.learning_rate,
        schedule=trial.schedule,
        horizon=(steps * epochs, steps),
        clip_norm=trial.clip_norm,
    )
    state = init_state(trial.net, optimizer, jax.random.key(trial.seed))
    rounding = 1 + 2 * float(np.finfo(jax.tree.leaves(state.params)[0].dtype).eps) if nudged else 1.0
    state = state._replace(params=scale_weights(trial.net, state.params, rounding * trial.init_scale))
    return fit(
        trial.net,
        train,
        loss=study.problem.loss,
        optimizer=optimizer,
        batch_size=batch_size,
        epochs=epochs,
        state=state,
        shuffle=study.options.shuffle,
        metric=study.problem.metric,
        l2=trial.l2,
    ).state.params


def examples_of(study: Study, number: int) -> Batch:
    """Copy out what a network trains on."""
    trial, train = study.trials[number], study.problem.train
    if study.folds is None or trial.fold is None:
        return train
    rows = study.folds[trial.fold][0]
    return Batch(train.inputs[rows], train.targets[rows])


def held_out_of(study: Study, number: int) -> Batch:
    """Copy out what a network is ranked on."""
    trial, train = study.trials[number], study.problem.train
    if study.folds is None or trial.fold is None:
        assert study.problem.valid is not None
        return study.problem.valid
    rows = study.folds[trial.fold][1]
    return Batch(train.inputs[rows], train.targets[rows])


# --- scikit-learn ---


def print_sklearn(study: Study, result: SweepResult, seconds: float | None) -> None:
    """Train some networks by scikit-learn, one after another, and print the time of one.

    `seconds` is what the sweep took a network, for the ratio; None where it was not measured.
    """
    measure = score_name(result.metric)
    chosen = spread_out(study.options.against_count, list(range(len(study.trials))))
    print(
        f"\nscikit-learn: {len(chosen)} of the {len(study.trials)} networks, one after another, "
        f"from initial weights and in orders of its own"
    )
    taken = []
    for number in chosen:
        trial = study.trials[number]
        model = sklearn_model(study, trial)
        train, held_out = examples_of(study, number), held_out_of(study, number)
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that all epochs were used is wanted here
            model.fit(np.asarray(train.inputs), _targets(train))
        taken.append(time.perf_counter() - started)
        score = model.score(np.asarray(held_out.inputs), _targets(held_out))
        ours = result.reports[number].score
        print(
            f"  network {number} ({name_of(study, number)}): {taken[-1]:.3f} s, validation "
            f"{measure} {show_score(result.metric, float(score))}, in the sweep {show_score(result.metric, ours)}"
        )
    median = float(np.median(taken))
    told = (
        "; what the sweep takes was not measured"
        if seconds is None
        else f", the sweep {1000 * seconds:.1f} ms: {median / seconds:.3g} times as long"
    )
    print(f"scikit-learn takes {1000 * median:.1f} ms a network (median of {len(taken)} measured){told}")


def _targets(part: Batch) -> np.ndarray:
    targets = np.asarray(part.targets)
    return targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets


def sklearn_model(study: Study, trial: Trial) -> Any:
    """Describe the same network to scikit-learn: sizes, batch, epochs, rate and L2.

    It divides its penalty by the minibatch's size, so that alpha = l2·B.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    number = study.trials.index(trial)
    setting, solver = study.origin[number], trial.optimizer.partition(":")[0]
    kind = MLPRegressor if study.problem.metric == "r2" else MLPClassifier
    parameter = trial.optimizer.partition(":")[2]
    usual = 0.0 if solver == "sgd" else 0.9
    return kind(
        hidden_layer_sizes=setting.hidden,
        activation=SKLEARN_ACTIVATIONS[setting.activation],
        solver="adam" if solver == "adam" else "sgd",
        alpha=trial.l2 * trial.batch_size,
        batch_size=min(trial.batch_size, len(examples_of(study, number).inputs)),
        learning_rate_init=trial.learning_rate,
        max_iter=study.options.epochs,
        shuffle=study.options.shuffle,
        random_state=trial.seed,
        tol=0.0,
        n_iter_no_change=study.options.epochs + 1,
        momentum=float(parameter) if parameter else usual,
        nesterovs_momentum=solver == "nesterov",
    )
