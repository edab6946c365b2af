"""Every door of training and evaluation refuses wrong data and settings in one line."""

from typing import Any

import numpy as np
import optax
import pandas as pd
import pytest
from comparisons import refused
from scipy import sparse
from training_cases import BATCH, DATA, INPUTS, KEY, LABELS, NET, VALUES, WEIGHT

from jaxmlp.backprop import value_and_grad
from jaxmlp.network import forward, predict
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.fit import fit
from jaxmlp.training.steps import init_state, train_epoch, train_step
from jaxmlp.training.stopping import Stopping
from jaxmlp.training.stream import stream_from_chunks

STATE = init_state(NET, "sgd", KEY)
GIVEN: dict[str, Any] = {"optimizer": "sgd", "batch_size": BATCH, "epochs": 1, "key": KEY}
DOORS: dict[str, Any] = {
    "fit": lambda data, **options: fit(NET, data, **GIVEN | options),
    "validation": lambda data, **options: fit(NET, DATA, data, **GIVEN | options),
    "stream": lambda data, **options: fit(NET, stream_from_chunks([data]), **GIVEN | options),
    "epoch": lambda data, **options: train_epoch(NET, "sgd", STATE, data, **{"batch_size": BATCH} | options),
    "step": lambda data, **options: train_step(NET, "sgd", STATE, data, **options),
    "evaluation": lambda data, **options: evaluate(NET, STATE.params, data, **options),
}
TRAINING = "fit stream epoch step"
READ = "fit validation stream evaluation"  # these read the values first; the others see shapes and types
WHOLE = "fit validation epoch evaluation"
SETS = "fit epoch evaluation"
EVERY = "fit validation stream epoch step evaluation"


def altered(array: np.ndarray, value: Any) -> np.ndarray:
    """Copy an array with another value in one place."""
    changed = array.copy()
    changed.flat[4] = value
    return changed


REFUSED: list[tuple[str, Any, dict[str, Any], str]] = [
    # Data.
    (WHOLE + " stream step", (INPUTS[:, :2], LABELS), {}, "inputs must have shape [..., 3]...given [..., 2]"),
    ("fit validation", (INPUTS[0], LABELS), {}, "inputs must have shape [N, 3] for this network, given [3]"),
    ("step", (INPUTS[0], LABELS[:1]), {}, "reshape one example to [1, I]"),
    (WHOLE, (INPUTS, LABELS[:7]), {}, "as many targets as inputs are needed, given 7 for 10 inputs"),
    ("stream", (INPUTS, LABELS[:7]), {}, "must have as many rows, given shapes [10, 3], [7]"),
    ("step", (INPUTS, LABELS[:7]), {}, "given outputs [10, 2] and targets [7]"),
    *((WHOLE, (INPUTS, one), {}, "given a single number for 10 inputs") for one in (1, np.int64(1))),
    (WHOLE, (INPUTS[:0], LABELS[:0]), {}, "set is empty"),
    (SETS + " stream step", INPUTS, {}, "data must be a pair (inputs, targets) or a Batch, given ndarray"),
    *((READ, (altered(INPUTS, x), LABELS), {}, "1 feature(s) are NaN or infinite") for x in (np.nan, np.inf)),
    (READ, (INPUTS.astype(str), LABELS), {}, "features must be numbers"),
    (READ, (INPUTS, altered(LABELS, 2)), {}, "labels must lie in 0 to 1 for 2 outputs"),
    (READ, (INPUTS, altered(LABELS, -1)), {}, "labels must lie in 0 to 1 for 2 outputs, given -1"),
    (READ, (INPUTS, LABELS.astype(np.float32)), {}, "takes integer labels 0 to 1, given type float32"),
    ("epoch step evaluation", (INPUTS, LABELS.astype(np.float32)), {}, "integer labels"),
    (READ, (INPUTS, LABELS.astype(str)), {}, "targets must be numbers, given type <U"),
    (READ, (INPUTS, LABELS[:, None]), {}, "given [10, 1]"),
    ("fit stream", (INPUTS, altered(VALUES, np.nan)), {"loss": "squared_error"}, "1 target(s) are NaN"),
    ("fit stream", (INPUTS, 3 + np.abs(VALUES)), {"loss": "sigmoid_cross_entropy"}, "targets from 0 to 1"),
    *(
        ("fit stream", (INPUTS, values), {"loss": "squared_error"}, "targets of shape [N, 2]")
        for values in (VALUES[:, :1], VALUES[:, 0])
    ),
    (READ, (INPUTS, LABELS + 2**32), {}, "labels must lie in 0 to 1 for 2 outputs, given 4294967296"),
    (READ, (INPUTS, np.eye(2)[LABELS] * 2 - 1), {}, "rows sum to 1, given -1 to 1, sums 0 to 0"),
    (
        "fit stream evaluation",
        (INPUTS, np.eye(2)[LABELS] * 6 - 1),
        {"loss": "sigmoid_cross_entropy"},
        "takes targets from 0 to 1, given -1 to 5",
    ),
    (READ, (altered(INPUTS.astype(float), 1e300), LABELS), {}, "1 feature(s) are NaN or infinite in float32"),
    # What NumPy takes for no array of numbers.
    (
        EVERY,
        (sparse.csr_array(INPUTS), LABELS),
        {},
        "features must be dense, given csr_array: give its .toarray()",
    ),
    (EVERY, ([[1.0], [1.0, 2.0]], [0, 1]), {}, "features must be an array of numbers: "),
    (EVERY, (INPUTS, None), {}, "targets must be numbers, given NoneType"),
    (
        EVERY,
        (pd.DataFrame({"a": ["x"] * 10}), LABELS),
        {},
        "features must be numbers, given type <U1; encode",
    ),
    # A network that does not fit its loss.
    (
        TRAINING + " evaluation",
        DATA,
        {"loss": "negative_log_likelihood"},
        "this loss takes probabilities, and the network ends in dense: end it in Softmax()",
    ),
    # Weights.
    (SETS + " step", DATA, {"sample_weight": WEIGHT[:4]}, "shape [10], given [4]"),
    (SETS + " step", (*DATA, WEIGHT[:4]), {}, "shape [10], given [4]"),
    ("fit", DATA, {"sample_weight": -WEIGHT}, "finite and at least 0"),
    (READ, (*DATA, -WEIGHT), {}, "sample weights must be finite and at least 0"),
    (READ, (*DATA, altered(WEIGHT, np.nan)), {}, "finite and at least 0"),
    ("fit", DATA, {"sample_weight": 0 * WEIGHT}, "all sample weights are 0"),
    # Settings.
    *((SETS, DATA, {"batch_size": size}, f"at least 1, given {size!r}") for size in (0, -1, 2.5, "32", True)),
    *(("fit", DATA, {"epochs": epochs}, f"at least 1, given {epochs}") for epochs in (0, True)),
    (TRAINING + " evaluation", DATA, {"loss": "softmax_crossentropy"}, "mean 'softmax_cross_entropy'"),
    (TRAINING + " evaluation", DATA, {"metric": "acuracy"}, "did you mean 'accuracy'"),
    (TRAINING + " evaluation", DATA, {"metric": "r3"}, "unknown metric 'r3'"),
    ("fit epoch step evaluation", DATA, {"metric": "r2"}, "this metric takes targets of shape [...2]"),
    ("fit stream", DATA, {"optimizer": "adm"}, "did you mean 'adam'"),
    ("fit stream", DATA, {"optimizer": 0.1}, "not an optimiser: 0.1"),
    ("fit stream", DATA, {"key": None}, "give jax.random.key(0)"),
    ("fit stream", DATA, {"stopping": Stopping(patience=1)}, "patience watches validation data"),
    ("evaluation", DATA, {"transform": lambda key, inputs: inputs}, "given NoneType: give jax.random.key(0)"),
    ("fit stream", DATA, {"key": np.arange(2)}, "key must be one random key, given ndarray: give"),
    ("fit stream", DATA, {"optimizer": optax.lbfgs()}, "cannot train here...value_fn"),
    (
        "fit stream",
        DATA,
        {"optimizer": optax.lookahead(optax.sgd(0.1), 5, 0.5)},
        "cannot train here...optax.lookahead",
    ),
    *(
        (SETS + " step", DATA, {"l2": l2}, f"l2 must be a number of at least 0, given {l2!r}")
        for l2 in (-1, "0.1")
    ),
    (SETS + " step", DATA, {"transform": 0.1}, "transform must be a function of key and inputs, given 0.1"),
    ("fit stream", DATA, {"callback": 3}, "callback takes a function of report and state, and here it is 3"),
    ("fit stream", DATA, {"stopping": 5}, "stopping must be a Stopping, as Stopping(patience=5), given 5"),
    ("fit stream", DATA, {"state": {}}, "state takes what init_state makes, and here it is a dict"),
    ("fit", DATA, {"state": init_state(NET, "adam", KEY)}, "the state to go on from is of another optimiser"),
    ("fit", DATA, {"devices": ["cpu"]}, "devices must be at least one and each once"),
    (
        "fit",
        (*DATA, WEIGHT),
        {"sample_weight": WEIGHT[:4]},
        "sample weights of Batch and call differ in shape",
    ),
    ("evaluation", DATA, {"transform": lambda key, inputs: inputs, "key": 3}, "key must be one random key"),
]


@pytest.mark.parametrize(
    ("door", "data", "options", "words"),
    [(door, *given) for doors, *given in REFUSED for door in doors.split()],
)
def test_every_door_refuses_in_one_line(door: str, data: Any, options: dict[str, Any], words: str) -> None:
    line = refused(words, DOORS[door], data, **options)
    assert line.startswith("validation data: ") == (door == "validation")


@pytest.mark.parametrize(
    "call",
    [
        lambda net: fit(net, DATA, **GIVEN),
        lambda net: init_state(net, "sgd", KEY),
        lambda net: train_step(net, "sgd", STATE, DATA),
        lambda net: evaluate(net, STATE.params, DATA),
        lambda net: predict(net, STATE.params, INPUTS, task="classification"),
        lambda net: forward(net, STATE.params, INPUTS),
        lambda net: value_and_grad(net, STATE.params, *DATA),
    ],
)
def test_what_is_no_network_is_refused(call: Any) -> None:
    refused("net must be a Network, as mlp([4, 8, 3]) makes one, given NoneType", call, None)
