"""Check a network's hand-written gradient, tensor by tensor, against jax.grad and against finite differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxmlp import LOSSES, ArgumentError, check_gradients, init, mlp
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.cli.job import load_dataset
from jaxmlp.cli.options import DataOptions, check_least, sizes
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.datasets import make_problem
from jaxmlp.losses import HEADS
from jaxmlp.types import LARGEST_SEED, check_whole

DESCRIPTION = """Check a network's hand-written gradient against jax.grad and against finite differences, in float64.

The command prints a row a tensor: its path, its shape, its largest error relative to its largest gradient
entry. The exit status is 1 if a row is over its bound. Without --dataset the inputs are drawn from N(0, 1)."""

_option = partial(option, group="options")


@dataclass(frozen=True)
class GradcheckOptions(DataOptions):
    """The options of a gradient check."""

    dataset: str = option("", "take the batch from this data set; it must fit --sizes", group="data")
    sizes: tuple[int, ...] = _option(
        (784, 300, 10), "of the input, hidden layers and output", metavar="SIZExSIZE", read=sizes
    )
    activation: str = _option(
        "relu", f"{', '.join(ACTIVATIONS)}; a parameter behind a colon, as leaky_relu:0.1"
    )
    init: str = _option("he_normal", "initialiser of weights")
    bias_init: str = _option("normal:0.1", "initialiser of biases")
    loss: str = _option("softmax_cross_entropy", ", ".join(LOSSES))
    batch_size: int = _option(32, "examples in the batch")
    l2: float = _option(0.0, "adds X/2·Σ‖w‖² to the objective")
    weighted: bool = _option(False, "draw a weight for each example")
    entries: int = _option(64, "entries of each tensor compared with finite differences")
    seed: int = _option(0, "of everything drawn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options, _ = parse_options(GradcheckOptions, DESCRIPTION, arguments)
    check_least(options, batch_size=1, entries=1, l2=0)
    check_whole("--seed", options.seed, 0, LARGEST_SEED)
    net = mlp(
        options.sizes,
        activation=options.activation,
        output_activation=HEADS.get(LOSSES[options.loss].takes or ""),
        init=options.init,
        bias_init=options.bias_init,
    )
    random = np.random.default_rng(options.seed)
    inputs, targets = load_batch(options) if options.dataset else draw_batch(options, random)
    weight: Any = random.uniform(0.5, 2.0, len(inputs)) if options.weighted else None
    report = check_gradients(
        net,
        init(net, jax.random.key(options.seed)),
        inputs,
        targets,
        loss=options.loss,
        sample_weight=weight,
        l2=options.l2,
        entries=options.entries,
        seed=options.seed,
    )
    worst = report.worst
    print(
        f"{net}\n\nloss {options.loss}, batch of {len(inputs)}, float64; errors relative to the largest entry\n\n"
        f"{report}\n\nworst against autodiff: {worst.path}, {worst.autodiff_relative:.1e} "
        f"({worst.autodiff_error:.1e} of at most {worst.autodiff_bound:.1e} allowed)\n"
        f"{'every' if report.passed else 'NOT every'} row is within its bound"
    )
    return 0 if report.passed else 1


def draw_batch(options: GradcheckOptions, random: np.random.Generator) -> tuple[Any, Any]:
    """Draw inputs from N(0, 1) and targets that the loss takes."""
    shape = (options.batch_size, options.sizes[-1])
    inputs = random.normal(size=(options.batch_size, options.sizes[0]))
    targets: dict[str, Any] = {
        "labels": random.integers(0, shape[1], shape[0]),
        "binary": random.integers(0, 2, shape).astype(float),
        "values": random.normal(size=shape),
    }
    return inputs, targets[LOSSES[options.loss].targets.removeprefix("soft_")]


def load_batch(options: GradcheckOptions) -> tuple[Any, Any]:
    """Take the first examples of a data set's training part, scaled and encoded as in training."""
    dataset, names = load_dataset(options), ("loss", "scaling", "validation", "seed")
    problem = make_problem(dataset, **{name: getattr(options, name) for name in names})
    if (options.sizes[0], options.sizes[-1]) != (problem.in_features, problem.outputs):
        raise ArgumentError(
            f"--sizes must begin with {problem.in_features} and end with {problem.outputs} for "
            f"'{dataset.name}' and this loss, given {' '.join(map(str, options.sizes))}"
        )
    return problem.train.inputs[: options.batch_size], problem.train.targets[: options.batch_size]
