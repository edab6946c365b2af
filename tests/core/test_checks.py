"""Every wrong data set is refused before a run, with one line that says what was given and what is allowed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused

from jaxmlp.checks import as_batch, check_data, check_lengths
from jaxmlp.losses import LOSSES, Loss
from jaxmlp.types import Batch, check_whole

N, INPUTS, OUTPUTS = 4, 2, 3

GOOD_TARGETS: dict[str, list[np.ndarray]] = {
    "labels": [np.array([0, 2, 1, 0]), np.array([0, 2, 1, 0], np.uint8)],
    "soft_labels": [np.array([0, 2, 1, 0]), np.full((N, OUTPUTS), 1 / OUTPUTS)],
    "binary": [np.eye(N, OUTPUTS), np.full((N, OUTPUTS), 0.25), np.ones((N, OUTPUTS), int)],
    "values": [np.full((N, OUTPUTS), -7.5), np.ones((N, OUTPUTS), int)],
}


def good_targets(loss: Loss) -> list[np.ndarray]:
    """Give targets that a loss takes; counts are not negative."""
    return [np.abs(each) if loss.takes == "rates" else each for each in GOOD_TARGETS[loss.targets]]


def test_negative_counts_are_refused() -> None:
    refused("takes counts of at least 0, given -7.5", check, "poisson", targets=GOOD_TARGETS["values"][0])


def check(loss: str, **changes: Any) -> None:
    """Check a good data set for a loss, but for the changes."""
    good = {"inputs": np.ones((N, INPUTS)), "targets": good_targets(LOSSES[loss])[0], "weight": None}
    check_data(Batch(**{**good, **changes}), in_features=INPUTS, outputs=OUTPUTS, loss=loss, name="train")


@pytest.mark.parametrize("loss", [*LOSSES, "huber:0.5"])
def test_good_data_pass(loss: str) -> None:
    for targets in good_targets(LOSSES[loss]):
        check(loss, targets=targets)
        check(loss, targets=targets, weight=np.array([0.0, 1.0, 2.0, 0.5]))
        check(loss, inputs=jnp.ones((N, INPUTS)), targets=jnp.asarray(targets))
    pair = LOSSES[loss]
    data = Batch(np.ones((N, INPUTS)), good_targets(pair)[0])
    check_data(data, in_features=INPUTS, outputs=OUTPUTS, loss=pair)


SHAPE = "inputs must have shape [N, 2] for this network, given"
COUNT = "as many targets as inputs are needed, given"
BAD_INPUTS: list[tuple[dict[str, Any], str]] = [
    ({"inputs": np.ones((N, 5))}, f"{SHAPE} [4, 5]"),
    ({"inputs": np.ones(N)}, f"{SHAPE} [4]"),
    ({"inputs": np.ones((N, 1, 2))}, f"{SHAPE} [4, 1, 2]"),
    ({"inputs": np.ones((0, 2))}, "the set is empty; give at least one example"),
    ({"inputs": np.ones((3, 2))}, f"{COUNT} 4 for 3 inputs"),
    ({"targets": np.array(1)}, f"{COUNT} a single number for 4 inputs"),
    (
        {"inputs": np.array([[1, np.nan], [1, 1], [np.inf, -np.inf], [1, 1]])},
        "3 feature(s) are NaN or infinite in float32: remove or fill them",
    ),
    ({"weight": np.ones(3)}, "sample weights must have shape [4], given [3]"),
    ({"weight": np.ones((N, 1))}, "sample weights must have shape [4], given [4, 1]"),
    *(
        (
            {"weight": np.array([1, wrong, 1, 1])},
            "sample weights must be finite and at least 0, and so must their sum",
        )
        for wrong in (np.nan, np.inf, -0.1)
    ),
    ({"weight": np.zeros(N)}, "all sample weights are 0; give at least one example a weight"),
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("changes", "message"), BAD_INPUTS, ids=[message for _, message in BAD_INPUTS])
def test_bad_inputs_and_weights_are_refused(loss: str, changes: dict[str, Any], message: str) -> None:
    assert refused("", check, loss, **changes) == f"train: {message}"


LABELLED = [name for name in LOSSES if LOSSES[name].targets in ("labels", "soft_labels")]
BINARY = [name for name in LOSSES if LOSSES[name].targets == "binary"]
SHAPED = [name for name in LOSSES if LOSSES[name].targets in ("binary", "values")]


RANGE = "train: labels must lie in 0 to 2 for 3 outputs, given"
KIND = "train: this loss takes integer labels 0 to 2, given type {}; make them integers, or choose a loss for values"


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3, 1, 0], f"{RANGE} 0 to 3"),
        ([0, -1, 1, 0], f"{RANGE} -1 to 1"),
        ([0.0, 1.0, 1.0, 0.0], KIND.format("float64") + " such as squared_error"),
        ([True, False, True, True], KIND.format("bool") + " such as squared_error"),
    ],
)
def test_bad_labels_are_refused(loss: str, labels: list[Any], message: str) -> None:
    assert refused("", check, loss, targets=np.array(labels)) == message


def test_labels_of_two_axes_are_refused() -> None:
    assert refused("", check, "multiclass_hinge", targets=np.ones((N, 1), int)) == (
        "train: this loss takes integer labels of shape [N], given [4, 1]"
    )


@pytest.mark.parametrize(
    ("loss", "shape"), [(loss, shape) for loss in SHAPED for shape in [(N,), (N, 1), (N, 3, 1)]]
)
def test_targets_of_another_shape_are_refused(loss: str, shape: tuple[int, ...]) -> None:
    assert refused("", check, loss, targets=np.zeros(shape)) == (
        f"train: this loss takes targets of shape [N, 3], as the network's outputs, given {list(shape)}"
    )


def test_soft_labels_of_another_width_are_refused() -> None:
    message = refused("", check, "softmax_cross_entropy", targets=np.zeros((N, 2)))
    assert message.startswith("train: this loss takes targets of shape [N, 3]")


@pytest.mark.parametrize("loss", [*SHAPED, "softmax_cross_entropy"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_targets_that_are_not_finite_are_refused(loss: str, wrong: float) -> None:
    targets = np.zeros((N, OUTPUTS))
    targets[1, 2] = wrong
    message = "train: 1 target(s) are NaN or infinite in float32: remove or fill them"
    assert refused("", check, loss, targets=targets) == message


@pytest.mark.parametrize("loss", BINARY)
@pytest.mark.parametrize(("wrong", "span"), [(1.5, "0 to 1.5"), (-1.0, "-1 to 0")])
def test_binary_targets_outside_0_to_1_are_refused(loss: str, wrong: float, span: str) -> None:
    targets = np.zeros((N, OUTPUTS))
    targets[1, 2] = wrong
    assert (
        refused("", check, loss, targets=targets)
        == f"train: this loss takes targets from 0 to 1, given {span}"
    )


def test_an_unknown_loss_is_refused() -> None:
    data = Batch(np.ones((1, 1)), np.ones((1, 1)))
    words = "unknown loss 'hubber': did you mean 'huber'"
    refused(words, check_data, data, in_features=1, outputs=1, loss="hubber")


@pytest.mark.parametrize("given", [1, 32, np.int64(5)])
def test_a_count_passes(given: Any) -> None:
    check_whole("batch size", given)


@pytest.mark.parametrize(
    ("given", "shown"),
    [(0, "0"), (-1, "-1"), (2.5, "2.5"), (2.0, "2.0"), (True, "True"), ("8", "'8'"), (None, "None")],
)
def test_what_is_no_count_is_refused(given: Any, shown: str) -> None:
    message = f"batch size must be a whole number of at least 1, given {shown}"
    assert refused(message, check_whole, "batch size", given) == message


# --- shapes alone, so that a compiled function can be checked too ---


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Batch(np.ones((0, 2)), np.ones(0)), "the set is empty; give at least one example"),
        (Batch(np.ones((3, 2)), np.ones(4)), f"{COUNT} 4 for 3 inputs"),
        (Batch(np.ones((3, 2)), np.ones((1, 3))), f"{COUNT} 1 for 3 inputs"),
        (Batch(np.ones((3, 2)), np.array(1)), f"{COUNT} a single number for 3 inputs"),
        (Batch(np.ones((3, 2)), np.ones(3), np.ones(2)), "sample weights must have shape [3], given [2]"),
        (
            Batch(np.ones((3, 2)), np.ones(3), np.ones((3, 1))),
            "sample weights must have shape [3], given [3, 1]",
        ),
    ],
)
def test_lengths_that_differ_are_refused(data: Batch, message: str) -> None:
    assert refused(message, check_lengths, data) == f"data: {message}"


@pytest.mark.parametrize("weight", [None, np.ones(3)])
def test_lengths_that_agree_pass_traced_arrays_too(weight: np.ndarray | None) -> None:
    def checked(data: Batch) -> jax.Array:
        check_lengths(data)
        return data.inputs

    data = Batch(np.ones((3, 2)), np.ones((3, 1)), weight)
    checked(data)
    assert jax.eval_shape(checked, data).shape == (3, 2)


# --- what counts as a data set ---


def test_a_pair_and_a_batch_are_data() -> None:
    inputs, targets, weight = np.ones((2, 2)), np.zeros(2, int), np.array([1.0, 3.0])
    assert as_batch((inputs, targets)) == Batch(inputs, targets, None)
    assert as_batch((inputs, targets)).inputs is inputs
    assert as_batch(Batch(inputs, targets, weight)).weight is weight
    assert as_batch((inputs, targets), weight).weight is weight


def test_lists_become_arrays() -> None:
    batch = as_batch(([[1.0, 2.0]], [0]), [0.5])
    assert all(isinstance(part, np.ndarray) for part in batch)
    assert batch.inputs.shape == (1, 2)


def test_weights_of_both_kinds_are_multiplied() -> None:
    data = Batch(np.ones((2, 2)), np.zeros(2), np.array([1.0, 3.0]))
    assert as_batch(data, np.array([2.0, 0.5])).weight.tolist() == [2.0, 1.5]


@pytest.mark.parametrize(
    ("data", "kind"),
    [([1, 2], "list"), (np.ones((2, 2)), "ndarray"), ((np.ones(2),), "tuple"), (None, "NoneType")],
)
def test_anything_else_is_refused(data: Any, kind: str) -> None:
    refused(f"data must be a pair (inputs, targets) or a Batch, given {kind}", as_batch, data)
