"""The recipe for tables: RealMLP's network in a committee, and the optimiser it is trained with.

Source: Holzmüller, Grinsztajn and Steinwart, Better by Default, 2024 (arXiv 2407.04491), the variant TD. The committee,
each of whose members begins with frequencies of another size, is this project's.
"""

from collections.abc import Mapping, Sequence

import optax

from jaxmlp.layers import (
    Committee,
    Dense,
    Dropout,
    Embed,
    Layer,
    ParametricActivate,
    PeriodicEmbedding,
    Scale,
)
from jaxmlp.network import Network
from jaxmlp.training.optimizers import make_optimizer

SIGMAS = (0.1, 0.4, 1.2, 4.0)  # of the members' initial frequencies, in turn
RATES = {"classification": 0.04, "multilabel": 0.04, "regression": 0.2}
FACTORS = {"scale": 6.0, "bias": 0.1, "activation": 0.1, "embedding": 0.1}


def tabular(
    in_features: int,
    outputs: int,
    *,
    task: str,
    numbers: int | None = None,
    codes: Mapping[int, int] | None = None,
    hidden: Sequence[int] = (256, 256, 256),
    activation: str | None = None,
    members: int = 4,
    embedding: str | None = "pbld",
    dropout: float = 0.15,
    precision: str | None = "float32",
) -> Network:
    """Describe a committee of networks for tables.

    A member embeds codes and numbers, scales its inputs, and goes through dense layers in the neural tangent
    parametrisation with a parametric activation and dropout. Draw its parameters with `init_from_data`.

    Args:
        in_features: I, at least 1: numbers first, then what needs no embedding.
        outputs: K.
        task: "classification" (logits, whose probabilities are averaged), "multilabel" or "regression".
        numbers: how many of the first inputs are numbers, to be embedded in waves; None for all that are no codes.
        codes: inputs that hold numbers of categories, and how many categories each has.
        hidden: sizes of the hidden layers.
        activation: by name; None takes "mish" for a regression, else "selu".
        members: M; 1 makes a single network.
        embedding: of numbers: "pbld", "pl", "plr", or None for none.
        dropout: the rate at first; it falls to 0 in the second half of training.
        precision: of matrix products, see `Dense`.

    Returns:
        The network's description.

    Raises:
        ArgumentError: a size or name that is not allowed.

    Example:
        >>> print(tabular(6, 3, task="classification", numbers=4, codes={5: 20}, hidden=[64], members=2))
        layer           output  parameters
        input           [B, 6]
        committee of 2  [B, 3]       4,880
        total                        4,880
    """
    regresses = task == "regression"
    plain = in_features - len(codes or {})
    layers: list[Layer] = [Embed(tuple(codes), tuple(codes.values()))] if codes else []
    count = plain if numbers is None else numbers
    if embedding is not None and count:
        layers.append(PeriodicEmbedding(count, embedding))
    layers.append(Scale())
    for size in hidden:
        layers += [
            _dense(size, precision),
            ParametricActivate(activation or ("mish" if regresses else "selu")),
        ]
        layers += [Dropout(dropout, "flat_cos")] if dropout else []
    layers.append(_dense(outputs, precision))
    average = "probabilities" if task == "classification" and outputs > 1 else "values"
    return Network(in_features, [Committee(layers, members, average, SIGMAS if members > 1 else ())])


def _dense(size: int, precision: str | None) -> Dense:
    return Dense(size, weight_init="normal:1", precision=precision, parametrisation="ntk")


def tabular_optimizer(
    task: str,
    steps: int,
    epochs: int,
    *,
    learning_rate: float | None = None,
    schedule: str = "coslog:4",
    weight_decay: float = 0.02,
) -> optax.GradientTransformation:
    """Build the optimiser that goes with `tabular`: Adam with cycles of the rate, and factors by kind of parameter.

    Args:
        task: "classification", "multilabel" or "regression", for the usual learning rate.
        steps: S, steps an epoch.
        epochs: E, of the whole run.
        learning_rate: the largest; None takes 0.2 for a regression and 0.04 else.
        schedule: what the rate is multiplied by.
        weight_decay: of all but biases at first; it falls to 0 in the second half.

    Returns:
        An optax transformation.

    Raises:
        ArgumentError: a number out of its range, or an unknown name.

    Example:
        >>> tabular_optimizer("regression", 16, 128) is tabular_optimizer("regression", 16, 128)
        True
    """
    return make_optimizer(
        "adam:0.9,0.95",
        RATES[task] if learning_rate is None else learning_rate,
        schedule=schedule,
        horizon=(steps * epochs, steps),
        factors=FACTORS,
        decay=dict.fromkeys(("weight", "scale", "activation", "embedding"), weight_decay),
        decay_schedule="flat_cos",
    )
