"""The metrics are scikit-learn's, with and without weights, and add up over minibatches."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from comparisons import refused
from scipy.special import expit, softmax
from slow_cases import others_slow

from jaxmlp.losses import LOSSES
from jaxmlp.network import mlp
from jaxmlp.training.metrics import (
    METRICS,
    accuracy,
    confusion_matrix,
    r_squared,
    resolve_metric,
    score,
    target_variance,
    weighted_mean,
    zero_one_loss,
)

EXAMPLES, CLASSES = 40, 4
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(EXAMPLES, CLASSES))
LABELS = RANDOM.integers(0, CLASSES, EXAMPLES)
BINARY = RANDOM.integers(0, 2, (EXAMPLES, CLASSES)).astype(float)
TARGETS = SCORES * np.array([1.0, 3.0, -1.0, 0.2]) + RANDOM.normal(size=(EXAMPLES, CLASSES))
WEIGHTS = {"unweighted": None, "weighted": np.append(RANDOM.uniform(0, 3, EXAMPLES - 3), [0.0, 0.0, 5.0])}


def label_accuracy(targets: np.ndarray, scores: np.ndarray, **given: Any) -> float:
    return float(
        np.mean([sk.accuracy_score(t, s > 0, **given) for t, s in zip(targets.T, scores.T, strict=True)])
    )


# metric -> (targets, what scikit-learn makes of targets, outputs and weights)
REFERENCES: dict[str, tuple[np.ndarray, Callable[..., float]]] = {
    "accuracy": (LABELS, lambda t, f, **given: sk.accuracy_score(t, f.argmax(axis=1), **given)),
    "zero_one_loss": (LABELS, lambda t, f, **given: sk.zero_one_loss(t, f.argmax(axis=1), **given)),
    "label_accuracy": (BINARY, label_accuracy),
    "r2": (TARGETS, sk.r2_score),
    "mae": (TARGETS, sk.mean_absolute_error),
    "rmse": (TARGETS, sk.root_mean_squared_error),
    "balanced_accuracy": (
        LABELS,
        lambda t, f, **given: sk.balanced_accuracy_score(t, f.argmax(axis=1), **given),
    ),
    "log_loss": (LABELS, lambda t, f, **given: sk.log_loss(t, softmax(f, axis=1), **given)),
    "roc_auc": (
        LABELS,
        lambda t, f, **given: sk.roc_auc_score(t, softmax(f, axis=1), multi_class="ovr", **given),
    ),
}
FUNCTIONS: dict[str, Any] = {"accuracy": accuracy, "zero_one_loss": zero_one_loss, "r2": r_squared}
in_both_weights = pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS.keys())


def as_jax(*arrays: Any) -> list[Any]:
    return [None if array is None else jnp.asarray(array) for array in arrays]


@pytest.mark.usefixtures("x64")
@in_both_weights
@pytest.mark.parametrize("name", REFERENCES)
def test_the_score_is_scikit_learns(name: str, weight: np.ndarray | None) -> None:
    targets, reference = REFERENCES[name]
    expected = reference(targets, SCORES, sample_weight=weight)
    for measure in (partial(score, name), FUNCTIONS.get(name, partial(score, name))):
        assert float(measure(*as_jax(SCORES, targets, weight))) == pytest.approx(expected, abs=1e-12)
    # The weights count: a score that ignored them would be seen to be wrong.
    other = WEIGHTS["weighted"] if weight is None else None
    assert float(score(name, *as_jax(SCORES, targets, other))) != pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("x64")
@in_both_weights
@pytest.mark.parametrize(
    "name", others_slow([name for name in METRICS if not METRICS[name].over_all], kept=3)
)
def test_a_metric_is_the_same_however_the_set_is_cut(name: str, weight: np.ndarray | None) -> None:
    targets = REFERENCES[name][0] if name in REFERENCES else LABELS
    metric = METRICS[name]
    each = np.ones(EXAMPLES) if weight is None else weight
    total = sum(
        jnp.tensordot(jnp.asarray(each[part]), metric.statistic(*as_jax(SCORES[part], targets[part])), axes=1)
        for part in (slice(0, 1), slice(1, 30), slice(30, None))
    )
    variance = target_variance(*as_jax(targets, weight)) if metric.needs_variance else None
    expected = float(score(name, *as_jax(SCORES, targets, weight)))
    assert float(metric.summary(total / each.sum(), variance)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", others_slow(METRICS, kept=4))
def test_the_better_outputs_have_the_better_score(name: str) -> None:
    targets = REFERENCES[name][0]
    perfect = {id(LABELS): np.eye(CLASSES)[LABELS], id(BINARY): 2 * BINARY - 1}.get(id(targets), targets)
    best, worst = (float(score(name, *as_jax(outputs, targets))) for outputs in (perfect, -perfect))
    assert (best > worst) == METRICS[name].more_is_better


@pytest.mark.parametrize("name", ["accuracy", "zero_one_loss"])
def test_one_hot_and_soft_labels_name_their_largest_class(name: str) -> None:
    one_hot = np.eye(CLASSES)[LABELS]
    found = [float(score(name, *as_jax(SCORES, each))) for each in (LABELS, one_hot, 0.7 * one_hot + 0.1)]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("labels", [np.array([1, 0, 1, 0]), np.array([[1.0], [0.0], [1.0], [0.0]])])
def test_a_single_output_is_the_logit_of_class_1(labels: np.ndarray) -> None:
    logits = np.array([[0.3], [-0.2], [-5.0], [-1.0]])
    assert float(accuracy(*as_jax(logits, labels))) == 0.75
    assert float(zero_one_loss(*as_jax(logits, labels))) == 0.25


@pytest.mark.usefixtures("x64")
@in_both_weights
@pytest.mark.parametrize("outputs", [1, 2])
def test_scores_of_two_classes_are_scikit_learns(outputs: int, weight: np.ndarray | None) -> None:
    labels, logits = LABELS % 2, np.round(4 * SCORES[:, :outputs]) / 4  # many tie
    chance = expit(logits[:, 0] if outputs == 1 else logits[:, 1] - logits[:, 0])
    given = {"sample_weight": weight}
    expected = {
        "log_loss": sk.log_loss(labels, chance, **given),
        "roc_auc": sk.roc_auc_score(labels, chance, **given),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, chance > 0.5, **given),
    }
    probabilities = chance[:, None] if outputs == 1 else np.stack([1 - chance, chance], axis=1)
    for name, value in expected.items():
        for measure, made in ((name, logits), (f"{name}:0.5", probabilities)):
            for targets in (labels, labels[:, None])[: 3 - outputs]:
                found = score(measure, *as_jax(made, targets, weight))
                assert float(found) == pytest.approx(value, abs=1e-9)


@pytest.mark.usefixtures("x64")
def test_the_area_of_labels_is_their_mean_and_of_one_class_none() -> None:
    expected = sk.roc_auc_score(BINARY, SCORES, sample_weight=WEIGHTS["weighted"])
    assert float(score("roc_auc", *as_jax(SCORES, BINARY, WEIGHTS["weighted"]))) == pytest.approx(expected)
    assert np.isnan(float(score("roc_auc", *as_jax(SCORES[:, :1], np.ones(EXAMPLES, int)))))
    present = np.where(LABELS == 3, 0, LABELS)  # a class that does not occur counts in neither mean
    recalls = sk.recall_score(present, SCORES.argmax(axis=1), average=None, labels=[0, 1, 2])
    assert float(score("balanced_accuracy", *as_jax(SCORES, present))) == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("name", ["log_loss", "roc_auc", "balanced_accuracy"])
def test_a_network_of_probabilities_gets_the_threshold(name: str, outputs: int) -> None:
    net = mlp([2, outputs], output_activation="sigmoid" if outputs == 1 else "softmax")
    splits = name != "balanced_accuracy" or outputs == 1
    assert resolve_metric(name, "squared_error", net) == (f"{name}:0.5" if splits else name)
    assert resolve_metric(name, "softmax_cross_entropy", mlp([2, 3])) == name


def test_labels_of_integers_count_as_those_of_floats() -> None:
    whole = as_jax(SCORES, BINARY.astype(int))
    assert float(score("label_accuracy", *whole)) == float(score("label_accuracy", *as_jax(SCORES, BINARY)))


@pytest.mark.usefixtures("x64")
def test_a_target_that_does_not_vary_counts_as_scikit_learns_does() -> None:
    targets = np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 6.0]])
    for outputs in (targets, targets + 0.5):
        expected = sk.r2_score(targets, outputs)
        assert float(r_squared(*as_jax(outputs, targets))) == pytest.approx(expected, abs=1e-12)


SHAPES = [(EXAMPLES - 1,), (EXAMPLES, CLASSES - 1), (1, CLASSES), (EXAMPLES, 1), ()]
VALUES_ONLY = [
    (name, (EXAMPLES,)) for name in ("label_accuracy", "r2", "mae", "rmse")
]  # where labels have no meaning


@pytest.mark.parametrize(("name", "shape"), [*itertools.product(REFERENCES, SHAPES), *VALUES_ONLY])
def test_targets_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    message = f"this metric takes targets of shape [40, 4] here, given {list(shape)}"
    given = jnp.asarray(SCORES), jnp.zeros(shape, jnp.float32)
    weight = [jnp.ones(EXAMPLES)] if METRICS[name].over_all else []
    assert refused(message, METRICS[name].statistic, *given, *weight) == message


def test_an_unknown_metric_is_refused() -> None:
    refused("unknown metric 'acuracy': did you mean 'accuracy'", score, "acuracy", *as_jax(SCORES, LABELS))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_metric_of_its_own_targets(name: str) -> None:
    expected = {"values": "r2", "binary": "label_accuracy"}.get(LOSSES[name].targets, "accuracy")
    assert resolve_metric(None, name) == expected


@pytest.mark.usefixtures("x64")
@in_both_weights
def test_mean_and_variance_are_numpys(weight: np.ndarray | None) -> None:
    mean = np.average(TARGETS, axis=0, weights=weight)
    np.testing.assert_allclose(weighted_mean(*as_jax(TARGETS, weight)), mean, rtol=1e-12)
    variance = np.average((TARGETS - mean) ** 2, axis=0, weights=weight)
    np.testing.assert_allclose(target_variance(*as_jax(TARGETS, weight)), variance, rtol=1e-12)
    assert weighted_mean(jnp.ones((3, 2)), jnp.zeros(3)).tolist() == [0.0, 0.0]


def test_the_confusion_matrix_is_scikit_learns() -> None:
    predicted = SCORES.argmax(axis=1)
    found = np.asarray(confusion_matrix(jnp.asarray(predicted), jnp.asarray(LABELS), CLASSES))
    expected = sk.confusion_matrix(LABELS, predicted)
    assert found.tolist() == expected.tolist() != expected.T.tolist()
    rare = confusion_matrix(jnp.array([0, 2]), jnp.array([0, 0]), 3)  # classes that never occur stay
    assert rare.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    predicted, labels = jnp.array([0, 1, 1]), jnp.array([0, 1])
    refused("predictions and labels must have one shape", confusion_matrix, predicted, labels, 2)


@pytest.mark.parametrize("name", ["accuracy", "label_accuracy"])
def test_outputs_fitted_to_0_and_1_are_split_at_a_half(name):
    outputs, targets = jnp.array([[0.1], [0.9], [0.4]]), jnp.array([[0.0], [1.0], [1.0]])
    assert float(score(f"{name}:0.5", outputs, targets)) == pytest.approx(2 / 3)
    assert float(score(name, outputs, targets)) == pytest.approx(2 / 3)  # as logits, all three are class 1
    assert float(score(name, outputs[:1], targets[:1])) == 0.0
