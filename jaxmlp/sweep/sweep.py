"""A sweep: many trials of hyper-parameters, trained side by side and ranked on data they did not train on.

Trials that differ only in numbers (rates, L2, initial scale, seed, fold) are members of one compiled program.
Those that differ in what is static (sizes, activation, optimiser, batch size …) are grouped, a program a group.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp.checks import as_batch, check_data
from jaxmlp.losses import Loss
from jaxmlp.network import check_head, count_outputs
from jaxmlp.sweep.blocks import block_size, narrowed_size
from jaxmlp.sweep.members import (
    Members,
    evaluate_members,
    in_calls,
    place_members,
    place_shared,
    rates_of,
    start_members,
    train_members,
)
from jaxmlp.sweep.trials import Halving, Standing, Trial, TrialReport, rank
from jaxmlp.training.batching import steps_per_epoch
from jaxmlp.training.metrics import resolve_metric
from jaxmlp.training.optimizers import OPTIMIZERS, make_optimizer
from jaxmlp.training.steps import Data, Recipe, TrainState
from jaxmlp.types import LARGEST_SEED, ArgumentError, Batch, Params, check_whole

Folds: TypeAlias = Sequence[tuple[np.ndarray, np.ndarray]]


class SweepResult(NamedTuple):
    """What a sweep leaves."""

    reports: tuple[TrialReport, ...]  # the last report of each trial, by number
    ranking: tuple[Standing, ...]  # the settings, best first
    metric: str  # the score's name
    params: Mapping[int, Params]  # where asked for, by number, of trials that this sweep trained to the end


class Progress(NamedTuple):
    """What a sweep tells on its way."""

    epochs: int  # epochs trained since it last told, summed over networks
    reports: tuple[TrialReport, ...]  # of the trials that reached a rung or their end since then


@dataclass(frozen=True)
class Plan:
    """A sweep made ready: its trials, and how they are trained on data that are checked and on every device."""

    trials: Sequence[Trial]
    train: Batch
    valid: Batch | None  # None with folds
    folds: Folds | None
    epochs: int
    loss: str | Loss
    metric: str
    shuffle: bool
    limits: dict[str, int | None]  # block and memory, as `block_size` takes them
    devices: tuple[jax.Device, ...]
    halving: Halving | None = None
    keep_params: bool = False
    tell: Callable[[Progress], None] = lambda progress: None

    def ends(self, trial: Trial) -> int:
        """Tell how many epochs a trial trains."""
        return self.epochs if trial.epochs is None else trial.epochs

    @cached_property
    def kinds(self) -> list[tuple[Recipe, int]]:
        """Each trial's recipe, and the number of examples that it trains on."""
        kinds = []
        for trial in self.trials:
            rows = len(self.train.inputs) if self.folds is None else len(self.folds[trial.fold or 0][0])
            size = min(trial.batch_size, rows)
            steps = steps_per_epoch(rows, size)
            # The usual rate, and the name without its parameter where that is traced too.
            is_traced, total = OPTIMIZERS[trial.optimizer].rates, steps * self.ends(trial)
            name = trial.optimizer.partition(":")[0] if is_traced else trial.optimizer
            optimizer = make_optimizer(
                name, schedule=trial.schedule, horizon=(total, steps), clip_norm=trial.clip_norm
            )
            recipe = Recipe(trial.net, optimizer, self.loss, self.metric, size, self.shuffle)
            kinds.append((replace(recipe, horizon=total if trial.net.scheduled else None), rows))
        return kinds


def sweep(
    trials: Sequence[Trial],
    train: Data,
    valid: Data | None = None,
    *,
    epochs: int,
    folds: Folds | None = None,
    halving: Halving | None = None,
    loss: str | Loss = "softmax_cross_entropy",
    metric: str | None = None,
    shuffle: bool = True,
    block: int | None = None,
    memory: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    finished: Iterable[TrialReport] = (),
    keep_params: bool = False,
    callback: Callable[[Progress], None] | None = None,
) -> SweepResult:
    """Train many trials side by side and rank their settings on data that they did not train on.

    A trial ends as `fit` would end it, up to rounding. One that diverges is ranked last and does not disturb
    the others. There the two differ: `fit` stops at the first epoch that is not finite and keeps the state before.
    A trial goes on to its rung or end and is judged there, by its parameters and its loss on held-out data.

    Args:
        trials: what to try.
        train: Batch or (inputs [N, I], targets), shared by all trials.
        valid: the data to rank on; None with folds.
        epochs: how long a trial trains that does not say so itself.
        folds: the rows of `train` that each fold trains on and those it is ranked on, as from
            `jaxmlp.datasets.splitting.fold_indices`; every trial then names its fold.
        halving: stop the worst early; None trains all to the end.
        loss: a loss's name or pair.
        metric: a metric's name; None takes the one that fits the loss.
        shuffle: a fresh order every epoch, or the given one.
        block: the most members trained at a time, and `memory`, the bytes they may take: see `block_size`.
        memory: see `block`.
        devices: to spread members over; None takes all local ones.
        finished: reports of an earlier sweep of the same trials, which are not trained again. One that then goes
            on beyond a rung starts again, as its state was not kept.
        keep_params: whether to return the parameters, copied to the host.
        callback: told of progress, about every second.

    Returns:
        The reports and the ranking.

    Raises:
        ArgumentError: no trials, data that do not fit them, a rate or a name that is not allowed, neither or
            both of `valid` and `folds`, folds that are no rows of `train` or overlap, or trials and folds that do
            not belong together. All is checked before anything is trained.

    Example:
        >>> from jaxmlp.network import mlp
        >>> inputs = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
        >>> labels = (inputs[:, 0] > 0).astype(int)
        >>> trials = [Trial(mlp([2, 2]), learning_rate=rate, batch_size=8) for rate in (1e-5, 0.5)]
        >>> result = sweep(trials, (inputs[:30], labels[:30]), (inputs[30:], labels[30:]), epochs=5)
        >>> result.ranking[0].setting.learning_rate, len(result.reports)
        (0.5, 2)
    """
    check_whole("number of epochs", epochs)
    shared = as_batch(train)
    held_out = None if valid is None else as_batch(valid)
    _check_trials(trials, shared, held_out, folds, loss, halving)
    local = tuple(devices or jax.local_devices())
    shared, held_out = place_shared((shared, held_out), local)
    how = epochs, loss, resolve_metric(metric, loss), shuffle, {"block": block, "memory": memory}, local
    plan = Plan(trials, shared, held_out, folds, *how, halving, keep_params, callback or Plan.tell)
    return sweep_plan(plan, finished)


def sweep_plan(plan: Plan, finished: Iterable[TrialReport] = ()) -> SweepResult:
    """Train what `finished` lacks of the trials of a plan, and rank their settings; the loop beneath `sweep`."""
    trials, metric = plan.trials, plan.metric
    known = {(report.number, report.epochs): report for report in finished}
    states: dict[int, TrainState] = {}
    latest: dict[int, TrialReport] = {}
    alive = list(range(len(trials)))
    ends = [plan.ends(trial) for trial in trials]
    for rung in sorted({*ends}) if plan.halving is None else plan.halving.rungs(plan.epochs):
        if plan.halving is None:
            alive = [number for number, end in enumerate(ends) if end == rung]
        missing = [number for number in alive if (number, rung) not in known]
        for report in _train_to(plan, rung, missing, states):
            known[report.number, rung] = report
        latest |= {number: known[number, rung] for number in alive}
        if plan.halving is not None and rung != plan.epochs:
            standings = rank(trials, [latest[number] for number in alive], metric, plan.epochs)
            # What diverged altogether stays so: there is nothing to go on with.
            kept = standings[: plan.halving.kept(len(standings))]
            best = [standing for standing in kept if standing.scores]
            alive = sorted(number for standing in best for number in standing.numbers)
            states = {number: states[number] for number in alive if number in states}
    reports = tuple(latest[number] for number in range(len(trials)))
    # A state short of the end is of a trial whose rung was missing and whose end was known.
    ended = {number: state.params for number, state in states.items() if int(state.epoch) == ends[number]}
    return SweepResult(
        reports, rank(trials, reports, metric, plan.epochs), metric, ended if plan.keep_params else {}
    )


# --- one rung: groups of equal statics, in blocks ---


def _train_to(
    plan: Plan, rung: int, numbers: Sequence[int], states: dict[int, TrainState]
) -> Iterable[TrialReport]:
    """Train trials until they have done `rung` epochs; their states go into `states` where they are needed."""
    groups: dict[Any, list[int]] = {}
    for number in numbers:
        started = int(states[number].epoch) if number in states else 0
        groups.setdefault((*plan.kinds[number], started), []).append(number)
    for (recipe, rows, started), members in groups.items():
        # The size follows from all trials that can share a program, for a later rung to find it compiled, unless
        # copies would cost more than a program of the rung's own.
        sharing = [
            trial for trial, kind in zip(plan.trials, plan.kinds, strict=True) if kind == (recipe, rows)
        ]
        size = block_size(recipe, len(sharing), plan.train, devices=plan.devices, **plan.limits)
        size = narrowed_size(recipe, size, len(members), rows, rung - started, plan.devices)
        # Without L2 anywhere its program is spared the term.
        has_l2 = any(trial.l2 for trial in sharing)
        for first in range(0, len(members), size):
            block = members[first : first + size]
            # Filled up with copies of its first member to the size that is compiled.
            filled = [*block, *[block[0]] * (size - len(block))]
            before = _stack([states[number] for number in filled]) if started else None
            state = place_members(before, plan.devices)
            state, reports = _train_block(plan, filled, len(block), state, rung, has_l2)
            if (plan.halving is not None and rung != plan.epochs) or plan.keep_params:
                states.update(zip(block, _unstack(state, len(block)), strict=True))
            plan.tell(Progress(0, reports))
            yield from reports


def _train_block(
    plan: Plan, numbers: Sequence[int], count: int, state: TrainState | None, rung: int, has_l2: bool
) -> tuple[TrainState, tuple[TrialReport, ...]]:
    """Train one block, of which the first `count` are no copies, from its states or from the start."""
    recipe, trials = plan.kinds[numbers[0]][0], [plan.trials[number] for number in numbers]
    members, (rows, weight) = _members(trials, has_l2), _fold_of(plan, trials)
    done = 0 if state is None else int(state.epoch[0])
    if state is None:
        state = start_members(recipe, plan.devices, members)

    def advance(state: TrainState, epochs: int) -> TrainState:
        return train_members(recipe, plan.devices, members, state, plan.train, epochs, rows)

    state = in_calls(advance, state, rung - done, lambda epochs: plan.tell(Progress(epochs * count, ())))
    found = evaluate_members(recipe, plan.devices, members, state.params, plan.valid or plan.train, weight)
    # There are more scores than numbers where copies fill the block up.
    return state, tuple(
        TrialReport(number, rung, float(loss), float(score), not finite)
        for number, loss, score, finite in zip(numbers[:count], *jax.device_get(found), strict=False)
    )


def _members(trials: Sequence[Trial], has_l2: bool) -> Members:
    rates = [rates_of(make_optimizer(trial.optimizer, trial.learning_rate)) for trial in trials]
    return Members(
        jnp.asarray([trial.seed for trial in trials], jnp.uint32),
        {name: jnp.array([rate[name] for rate in rates]) for name in rates[0]},
        jnp.array([trial.l2 for trial in trials]) if has_l2 else None,
        jnp.array([trial.init_scale for trial in trials]),
    )


def _fold_of(plan: Plan, trials: Sequence[Trial]) -> tuple[Any, Any]:
    """Lay out which rows each member trains on, and with weight 1 those that it is ranked on."""
    if plan.folds is None:
        return None, None
    pairs = [plan.folds[trial.fold or 0] for trial in trials]
    rows = np.stack([kept for kept, _ in pairs]).astype(np.int32)
    weight = np.zeros((len(trials), len(plan.train.inputs)), plan.train.inputs.dtype)
    for member, (_, held_out) in enumerate(pairs):
        weight[member, held_out] = 1
    return rows, weight


# States rest on the host between rungs, where there is room for all of them. A typed key has no NumPy form.


def _unstack(state: TrainState, count: int) -> list[TrainState]:
    host = jax.device_get(state._replace(key=jax.random.key_data(state.key)))
    return [jax.tree.map(lambda leaf, at=place: leaf[at], host) for place in range(count)]


def _stack(states: Sequence[TrainState]) -> TrainState:
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    return stacked._replace(key=jax.random.wrap_key_data(stacked.key))


def _check_trials(
    trials: Sequence[Trial],
    train: Batch,
    valid: Batch | None,
    folds: Folds | None,
    loss: str | Loss,
    halving: Halving | None,
) -> None:
    if not trials:
        raise ArgumentError("there are no trials: give a list of at least one jaxmlp.sweep.trials.Trial")
    if (valid is None) == (folds is None):
        raise ArgumentError(
            "a sweep ranks either on valid=(inputs, targets) or on folds=[(train rows, held-out rows), …]: "
            "give one of them"
        )
    nets = {trial.net for trial in trials}
    for net in nets:
        check_head(net, loss)
    for in_features, outputs in {(net.in_features, count_outputs(net)) for net in nets}:
        for data, name in ((train, "training data"), (valid, "validation data")):
            if data is not None:
                check_data(data, in_features=in_features, outputs=outputs, loss=loss, name=name)
    _check_folds(folds or (), len(train.inputs))
    for trial in trials:
        if folds is None and trial.fold is not None:
            raise ArgumentError(
                f"a trial names fold {trial.fold}, and there are no folds: leave its fold out, or give folds="
            )
        if folds is not None:
            advice = f": make one trial a fold, as [replace(trial, fold=f) for f in range({len(folds)})]"
            check_whole("the fold of a trial", trial.fold, 0, len(folds) - 1, advice)
        check_whole("the seed of a trial", trial.seed, 0, LARGEST_SEED)
        check_whole("batch size", trial.batch_size)
        if trial.epochs is not None:
            check_whole("the number of epochs of a trial", trial.epochs)
            if halving is not None:
                raise ArgumentError("halving compares trials of one length: leave their epochs out")
        # These build it, as its block will: a rate or a name that is not allowed is told before any is trained.
        make_optimizer(trial.optimizer, trial.learning_rate)
        name = trial.optimizer.partition(":")[0]
        make_optimizer(name, schedule=trial.schedule, horizon=(1, 1), clip_norm=trial.clip_norm)


def _check_folds(folds: Folds, examples: int) -> None:
    for number, (kept, held_out) in enumerate(folds):
        for rows, name in ((np.asarray(kept), "train"), (np.asarray(held_out), "held-out")):
            found = f"type {rows.dtype} and shape {list(rows.shape)}"
            if rows.ndim == 1 and rows.dtype.kind in "iu" and len(rows):
                if 0 <= rows.min() <= rows.max() < examples:
                    continue
                found = f"{rows.min()} to {rows.max()}"
            raise ArgumentError(
                f"fold {number}: {name} rows must be the numbers [R] of examples, R at least 1, "
                f"from 0 to {examples - 1}, given {found}"
            )
        shared = np.intersect1d(kept, held_out)
        if len(shared):
            raise ArgumentError(
                f"fold {number}: {len(shared)} rows are both trained and ranked on, row {shared[0]} the first: "
                f"leave them out of one"
            )
