"""Train a multi-layer perceptron by hand-written backpropagation; with no options, on scanned digits."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxmlp import (
    ArgumentError,
    EpochReport,
    FitResult,
    FitState,
    Network,
    TrainState,
    check_gradients,
    evaluate,
    fit,
    history_columns,
    init_state,
    make_optimizer,
    mlp,
    save_model,
)
from jaxmlp.cli.distributed import OWN, Group, together
from jaxmlp.cli.options import RunOptions, TrainOptions, stopping_of
from jaxmlp.cli.pictures import draw_pictures
from jaxmlp.cli.records import Records, describe_run, last_saved, read_progress, recording, why, write_metrics
from jaxmlp.cli.run import (
    MODEL,
    Lock,
    describe_machine,
    free_folder,
    holds_files,
    locked,
    make_run_folder,
    read_options,
    remember,
    write_config,
)
from jaxmlp.cli.session import (
    Interruption,
    check_fits,
    compilation_cache,
    computing,
    find_device,
    interruption,
)
from jaxmlp.cli.text import score_name, show_score
from jaxmlp.datasets import Dataset, load
from jaxmlp.datasets.problem import Problem, make_problem
from jaxmlp.sweep.members import scale_weights
from jaxmlp.training.batching import steps_per_epoch
from jaxmlp.training.optimizers import OPTIMIZERS

PARTS = ("train", "valid", "test")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options = read_options(arguments)
    with (
        compilation_cache(options.compilation_cache),
        together(options, "train.py") as group,
        computing(options.device, options.precision) as precision,
    ):
        return train(options, precision, group)


def train(options: RunOptions, precision: str | None, group: Group) -> int:
    """Load the data, describe the network, and train in a folder that no other run writes to."""
    group.devices(find_device(options.device).platform)  # too few are refused before any data are loaded
    dataset = load_dataset(options)
    if options.target_accuracy is not None and dataset.task == "regression":
        raise ArgumentError(
            "--target-accuracy is for classes and labels; a regression has no accuracy: leave it out"
        )
    problem = make_problem(
        dataset, loss=options.loss, scaling=options.scaling, validation=options.validation, seed=options.seed
    )
    problem = jax.tree.map(as_float64, problem) if options.precision == "float64" else problem
    problem = problem._replace(**{part: jax.device_put(getattr(problem, part)) for part in PARTS})
    net = network_of(options, problem, precision)
    group.agree(shared_by_all(net, problem, dataset, options))
    group.devices(find_device(options.device).platform)
    if not group.is_first:
        return follow(net, problem, dataset, options, group)
    if options.resume is not None:
        folder = Path(options.resume)
        with locked(folder) as lock:
            return run_in(folder, lock, net, problem, dataset, options, group)
    folder = make_run_folder(options.out, dataset.name)
    with locked(folder) as lock:
        make_run_folder(str(folder), dataset.name)  # again: another run may have come and gone meanwhile
        write_config(folder, configuration(problem, dataset, options))
        return run_in(folder, lock, net, problem, dataset, options, group)


def shared_by_all(net: Network, problem: Problem, dataset: Dataset, options: RunOptions) -> dict[str, Any]:
    """Collect what the processes of a run must have alike, by the name that people know it by."""
    description = describe_run(net, problem, dataset, options)
    del description["options"]
    given = dataclasses.asdict(options).items()
    return {f"--{name.replace('_', '-')}": value for name, value in given if name not in OWN} | description


def follow(net: Network, problem: Problem, dataset: Dataset, options: RunOptions, group: Group) -> int:
    """Train with process 0, which prints, and writes all files; returns the exit status."""
    options = dataclasses.replace(options, quiet=True)
    before = FitState(start(net, options, problem))
    if options.resume is not None:
        description = describe_run(net, problem, dataset, options)
        before, _ = read_progress(Path(options.resume), before, description)
    elif not gradients_agree(net, before.train, problem, options):
        return 1
    group.agree({"checkpoint": len(before.history)})
    with interruption() as asked:
        fit_with_progress(net, before, problem, options, group, None, asked)
    group.part()
    return asked.status


def configuration(problem: Problem, dataset: Dataset, options: RunOptions) -> dict[str, Any]:
    """Say what a run is made of, for its config.json."""
    return {
        "options": dataclasses.asdict(options),
        "loss": problem.loss,
        "metric": problem.metric,
        "dataset": dataset.identity,
        "command": ["python", *sys.argv],
        "folder": str(Path.cwd()),
        "machine": describe_machine(),
    }


def run_in(
    folder: Path,
    lock: Lock,
    net: Network,
    problem: Problem,
    dataset: Dataset,
    options: RunOptions,
    group: Group,
) -> int:
    """Train, record, report and save in a run folder; returns the exit status."""
    if not options.quiet:
        print(
            f"{dataset.name}: {dataset.task}, {len(problem.train.inputs):,} examples to train on, "
            f"{len(problem.test.inputs):,} to test on\n\n{net}\n"
        )
    before = FitState(start(net, options, problem))
    description = describe_run(net, problem, dataset, options)
    if options.resume is not None:
        before, notes = read_progress(folder, before, description)
        if len(before.history) > options.epochs:
            raise ArgumentError(
                f"--epochs {options.epochs} lies below the {len(before.history)} that the run in {folder} has done: "
                "give more, or begin a new run"
            )
        remember(folder, options)
        print(*(f"train.py: {note}" for note in notes), sep="\n", file=sys.stderr)
    elif not gradients_agree(net, before.train, problem, options):
        return 1
    group.agree({"checkpoint": len(before.history)})
    resume = f"go on with: python experiments/train.py --resume {shlex.quote(str(folder))}"
    group.advise(resume)
    started = time.perf_counter()
    with (
        interruption(resume) as asked,
        recording(folder, lock, options, problem.metric, description, before) as records,
    ):
        result = fit_with_progress(net, before, problem, options, group, records, asked)
    seconds = time.perf_counter() - started
    group.part()
    if result.stopped != "diverged" and (asked.signal is not None or result.stopped == "callback"):
        asked_by = "another process" if asked.signal is None else asked.signal.name
        reached, saved = len(result.history), last_saved(folder)
        advice = resume if saved else "nothing of it is saved: begin it anew"
        note = f", saved up to epoch {saved}" if 0 < saved < reached else ""
        print(
            f"train.py: stopped by {asked_by} after epoch {reached} of {options.epochs}{note}; {advice}",
            file=sys.stderr,
        )
        return asked.status or 1
    done = len(before.history)
    try:
        if not lock.is_held:  # deleted by somebody meanwhile, and perhaps made anew by another run
            folder = free_folder(folder) if holds_files(folder) else folder
            make_run_folder(str(folder), dataset.name)
            write_config(folder, configuration(problem, dataset, options))
        return report_and_save(net, result, problem, dataset, options, folder, seconds, done)
    except BrokenPipeError:  # it is what is printed that nobody reads
        raise
    except OSError as error:
        saved = last_saved(folder)
        advice = (
            f"when it can be, {resume} (its last checkpoint is of epoch {saved})"
            if saved
            else "no checkpoint is there to go on from"
        )
        raise ArgumentError(f"the result could not be written ({why(error)}): {advice}") from None


def load_dataset(options: TrainOptions) -> Dataset:
    """Load the data set that the options name."""
    return load(
        options.dataset,
        data_dir=options.data_dir,
        manual_dir=options.manual_dir,
        test_fraction=options.test_fraction,
        target=options.target,
        task=options.task,
        missing=options.missing,
        examples=options.examples,
        noise=options.noise,
        quiet=options.quiet,
    )


def as_float64(leaf: Any) -> Any:
    """Widen a float array; anything else stays."""
    return leaf.astype(np.float64) if isinstance(leaf, np.ndarray) and leaf.dtype == np.float32 else leaf


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


def start(net: Network, options: TrainOptions, problem: Problem) -> TrainState:
    """Draw the network's parameters."""
    # Jitted, so that all of it is one program; little optimised, because it runs once and compiling was its cost.
    begin = jax.jit(
        partial(init_state, net, optimizer_of(options, problem)),
        compiler_options={"xla_backend_optimization_level": 1},
    )
    state = begin(jax.random.key(options.seed))
    if options.init_scale == 1:
        return state
    return state._replace(params=scale_weights(net, state.params, options.init_scale))


def optimizer_of(options: TrainOptions, problem: Problem) -> Any:
    """Build the optimiser for a run of this length."""
    steps = steps_per_epoch(len(problem.train.inputs), batch_size_of(options, problem))
    return make_optimizer(
        options.optimizer,
        learning_rate_of(options, problem),
        schedule=options.schedule,
        horizon=(steps * options.epochs, steps),
        clip_norm=options.clip_norm,
    )


def gradients_agree(net: Network, state: TrainState, problem: Problem, options: TrainOptions) -> bool:
    """Check the hand-written gradient on the first batch, and say so in one line."""
    first = batch_size_of(options, problem)
    # By NumPy: a part of a JAX array would be a program to compile.
    inputs, targets = (jax.device_put(np.asarray(each)[:first]) for each in problem.train[:2])
    report = check_gradients(
        net,
        off_the_kinks(state.params, options.seed),
        inputs,
        targets,
        loss=problem.loss,
        l2=options.l2,
        finite_differences=False,
    )
    if report.passed and options.quiet:
        return True
    verdict = (
        "within its bound" if report.passed else f"OVER ITS BOUND in {report.worst.path}: a defect of jaxmlp"
    )
    print(
        f"gradient check, hand-written against jax.grad on the first batch: "
        f"largest relative error {report.worst.autodiff_relative:.1e}, {verdict}\n",
        file=sys.stdout if report.passed else sys.stderr,
    )
    return report.passed


def off_the_kinks(params: Any, seed: int) -> Any:
    """Move parameters a little at random, for the check alone.

    Fresh biases of 0 can bring an output exactly to its target, or two scores to a tie. There a loss has no
    derivative, and autodiff may choose another value than ours: a difference that is no defect.
    """
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: np.asarray(leaf) + random.normal(0, 0.01, leaf.shape).astype(leaf.dtype), params
    )


def fit_with_progress(
    net: Network,
    before: FitState,
    problem: Problem,
    options: RunOptions,
    group: Group,
    records: Records | None,
    asked: Interruption,
) -> FitResult:
    """Train the epochs that are left, with a progress bar; the result is on this process's first device."""
    measured = problem.test if problem.valid is None else problem.valid
    name, part = score_name(problem.metric), "test" if problem.valid is None else "validation"
    done = len(before.history)
    with tqdm(
        total=options.epochs, initial=done, unit="epoch", disable=options.quiet, file=sys.stderr
    ) as bar:

        def after_epoch(report: EpochReport, state: TrainState) -> bool:
            bar.update()
            bar.set_postfix_str(
                f"loss {report.train_loss:.4f}, {part} {name} {show_score(problem.metric, report.valid_score)}"
            )
            return asked.signal is not None

        result = fit(
            net,
            problem.train,
            measured,
            loss=problem.loss,
            optimizer=optimizer_of(options, problem),
            batch_size=batch_size_of(options, problem),
            epochs=max(0, options.epochs - done),
            resume=before,
            callback=after_epoch,
            save=None if records is None else records.save,
            stopping=stopping_of(options),
            shuffle=options.shuffle,
            metric=problem.metric,
            l2=options.l2,
            devices=group.devices(find_device(options.device).platform),
        )
    params = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)), result.state.params)
    return result._replace(state=result.state._replace(params=params))


def batch_size_of(options: TrainOptions, problem: Problem) -> int:
    """Take the minibatch size that was asked for, and no more than there are examples."""
    examples = len(problem.train.inputs)
    return min(options.batch_size or examples, examples)


def report_and_save(
    net: Network,
    result: FitResult,
    problem: Problem,
    dataset: Dataset,
    options: RunOptions,
    folder: Path,
    seconds: float,
    done: int,
) -> int:
    """Save the model, the history and the pictures, and print the summary; returns the exit status."""
    columns = history_columns(result.history, result.metric)
    write_metrics(folder, result.history, result.metric)
    save_model(folder / MODEL, net, result.state.params, saved_preprocessing(problem, dataset))
    train_metrics, test_metrics = (
        evaluate(net, result.state.params, part, loss=problem.loss, metric=problem.metric, l2=options.l2)
        for part in (problem.train, problem.test)
    )
    if options.pictures:
        draw_pictures(folder, net, result.state.params, problem, dataset, columns)
    name = score_name(problem.metric)
    after = f" after the {done} before" if done else ""
    trained = len(result.history) - done
    print(
        f"trained {trained} epoch{'' if trained == 1 else 's'}{after} in {seconds:.1f} s{stop_reason(result, options)}"
    )
    print(
        f"train {name} {show_score(problem.metric, float(train_metrics.score))}, loss {float(train_metrics.loss):.4f}"
    )
    print(f"test {name} {show_score(problem.metric, float(test_metrics.score))}")
    print(f"test loss {float(test_metrics.loss):.4f}")
    print(f"run folder {folder}")
    if result.stopped != "diverged":
        return 0
    report = result.history[-1]
    rate = learning_rate_of(options, problem)
    print(
        f"train.py: epoch {report.epoch}: the loss or a parameter became NaN or infinite; the parameters "
        f"before it are kept in {folder / MODEL}; try a smaller --learning-rate than {rate:g}, or --clip-norm 1",
        file=sys.stderr,
    )
    return 1


def learning_rate_of(options: TrainOptions, problem: Problem) -> float:
    """Tell the learning rate of a run: the given one, or the optimiser's own, a tenth of it for a regression.

    The gradient of a cross-entropy is bounded; that of a squared error grows with the error.
    """
    if options.learning_rate is not None:
        return options.learning_rate
    usual = OPTIMIZERS[options.optimizer].learning_rate
    is_plain = options.optimizer.partition(":")[0] in ("sgd", "momentum", "nesterov")
    return usual / 10 if is_plain and problem.metric == "r2" else usual


def stop_reason(result: FitResult, options: RunOptions) -> str:
    """Say why a run ended early."""
    best = "" if result.best is None else f", the parameters are those of epoch {result.best.epoch}"
    if result.stopped == "target":
        return f", stopped at {100 * (options.target_accuracy or 0):g} % accuracy{best}"
    if result.stopped == "patience":
        return f", stopped after {options.patience} epochs without an improvement{best}"
    if result.stopped == "time":
        return f", stopped at the limit of {options.time_limit:g} s{best}"
    return (
        f", stopped because the loss was not finite any more{best}" if result.stopped == "diverged" else best
    )


def saved_preprocessing(problem: Problem, dataset: Dataset) -> dict[str, Any]:
    """Collect what prediction needs besides the network."""
    statistics = problem.preprocessing.to_dict()
    return {
        **{name: value for name, value in statistics.items() if value is not None},
        "task": dataset.task,
        "loss": problem.loss,
        "dataset": dataset.name,
        "class_names": list(dataset.class_names),
        "target_names": list(dataset.target_names),
        "feature_names": list(dataset.feature_names),
        "feature_shape": list(dataset.feature_shape),
        "table": dataset.table,
    }
