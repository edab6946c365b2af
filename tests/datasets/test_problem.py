"""The learning problem: each loss gets targets that it takes, and the training part alone is measured."""

import jax
import numpy as np
import pytest
from comparisons import refused

from jaxmlp import LOSSES, evaluate, init, mlp
from jaxmlp.checks import check_data
from jaxmlp.datasets import METHODS, TASKS, Dataset, Part, make_problem
from jaxmlp.datasets.dataset import divide
from jaxmlp.datasets.problem import DEFAULT_LOSS, METRIC, count_outputs
from jaxmlp.datasets.targets import Targets

# Which tasks a loss serves, by what it takes as targets.
SERVES = {
    "labels": ("classification",),
    "soft_labels": ("classification",),
    "binary": ("classification", "multilabel"),
    "values": ("classification", "multilabel", "regression"),
}


def a_dataset(task: str, *, classes: int = 3, examples: int = 40) -> Dataset:
    """Draw a small data set, its features far from a mean of 0 and a deviation of 1."""
    random = np.random.default_rng(0)
    inputs = (random.normal(size=(examples, 4)) * [1, 10, 0.1, 3] + [0, 50, -2, 7]).astype(np.float32)
    targets = {
        "classification": (np.arange(examples) % classes).astype(np.int32),
        "multilabel": random.integers(0, 2, (examples, classes)).astype(np.float32),
        "regression": (random.normal(size=(examples, classes)) * 9 + 100).astype(np.float32),
    }[task]
    names = tuple(f"n{number}" for number in range(classes))
    encoded = Targets(task, targets, (), names) if task == "regression" else Targets(task, targets, names)
    rows = np.split(np.arange(examples), [examples * 3 // 4])
    parts = [inputs[chosen] for chosen in rows]
    return divide(parts, encoded, rows, name="drawn", feature_shape=(4,), identity={"name": "drawn"})


@pytest.mark.parametrize(
    ("task", "classes"), [("classification", 2), ("classification", 3), ("multilabel", 3), ("regression", 2)]
)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_gets_a_network_and_targets_that_it_takes_or_is_refused(loss, task, classes) -> None:
    dataset = a_dataset(task, classes=classes)
    if task not in SERVES[LOSSES[loss].targets]:
        fitting = ", ".join(sorted(name for name in LOSSES if task in SERVES[LOSSES[name].targets]))
        message = f"loss '{loss}' does not fit a {task} such as 'drawn': choose one of {fitting}"
        assert refused(message, make_problem, dataset, loss=loss).endswith(message)
        return
    problem = make_problem(dataset, loss=loss)
    # A likelihood wants a softmax before it, rates a softplus.
    heads = {"negative_log_likelihood": "softmax", "poisson": "softplus"}
    assert problem.output_activation == heads.get(loss)
    sizes = [problem.in_features, 3, problem.outputs]
    net = mlp(sizes, output_activation=problem.output_activation, init="zeros")
    for part in (problem.train, problem.test):
        check_data(part, in_features=problem.in_features, outputs=problem.outputs, loss=loss)
    params = init(net, jax.random.key(0))
    with jax.disable_jit():  # faster here than compiling
        metrics = evaluate(net, params, problem.test, loss=problem.loss, metric=problem.metric)
    assert np.isfinite([float(metrics.loss), float(metrics.score)]).all()


ENCODE = {
    "same": lambda targets: targets,
    "one column": lambda labels: labels[:, None].astype(np.float32),
    "one-hot": lambda labels: np.eye(labels.max() + 1, dtype=np.float32)[labels],
    "standardised": lambda values: (values - values.mean(axis=0)) / values.std(axis=0),
}


@pytest.mark.parametrize(
    ("task", "classes", "loss", "outputs", "encode"),
    [
        ("classification", 3, "softmax_cross_entropy", 3, "same"),
        ("classification", 2, "softmax_cross_entropy", 2, "same"),
        ("classification", 2, "negative_log_likelihood", 2, "same"),
        ("classification", 2, "multiclass_hinge", 2, "same"),
        ("classification", 2, "sigmoid_cross_entropy", 1, "one column"),
        ("classification", 3, "sigmoid_cross_entropy", 3, "one-hot"),
        ("classification", 2, "squared_error", 2, "one-hot"),
        ("classification", 3, "huber", 3, "one-hot"),
        ("multilabel", 2, "sigmoid_cross_entropy", 2, "same"),
        ("multilabel", 2, "squared_error", 2, "same"),
        ("regression", 2, "huber:0.5", 2, "standardised"),
        ("regression", 1, "mean_squared_error", 1, "standardised"),
        ("regression", 1, "poisson", 1, "same"),
    ],
)
def test_outputs_are_counted_and_targets_encoded_for_the_loss(task, classes, loss, outputs, encode) -> None:
    dataset = a_dataset(task, classes=classes)
    problem = make_problem(dataset, loss=loss)
    assert count_outputs(dataset, loss) == outputs == problem.outputs
    wanted = ENCODE[encode](dataset.train.targets)
    assert problem.train.targets.dtype == wanted.dtype
    np.testing.assert_allclose(problem.train.targets, wanted, rtol=1e-4, atol=1e-5)
    back = problem.preprocessing.restore_targets(problem.test.targets)
    wanted_back = dataset.test.targets if task == "regression" else problem.test.targets
    np.testing.assert_allclose(back, wanted_back, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scaling", METHODS)
def test_statistics_come_from_the_training_part_and_the_loss_from_the_task(scaling: str, task: str) -> None:
    dataset = a_dataset(task)
    train, test = (Part(part.inputs * 100 + 7, part.targets[::-1].copy()) for part in dataset[2:4])
    problem, other, third = (
        make_problem(dataset._replace(**changed), scaling=scaling)
        for changed in ({}, {"test": test}, {"train": train})
    )
    assert (problem.loss, problem.metric) == (DEFAULT_LOSS[task], METRIC[task])
    assert np.array_equal(problem.train.inputs, other.train.inputs)
    assert np.array_equal(problem.train.targets, other.train.targets)
    assert problem.preprocessing.to_dict().keys() == other.preprocessing.to_dict().keys()
    assert not np.array_equal(problem.test.inputs, other.test.inputs)
    # The comparison can fail: with another training part the same test part is scaled differently.
    assert np.array_equal(third.test.inputs, problem.test.inputs) == (scaling == "none")


def test_what_is_held_out_takes_no_part_in_the_statistics() -> None:
    problem = make_problem(a_dataset("regression"), validation=0.3)
    for values in (problem.train.inputs, problem.train.targets):
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-4)
    assert abs(problem.valid.inputs.mean()) > 0.01  # with all of them measured, neither would be 0


def test_the_validation_part_is_cut_from_the_training_part_as_the_seed_says_and_stratified() -> None:
    dataset = a_dataset("classification", examples=80)
    seeds, given = (0, 0, 1, 2, 3), {"scaling": "none", "validation": 0.2}
    for problem in (problems := [make_problem(dataset, seed=seed, **given) for seed in seeds]):
        together = np.concatenate([problem.train.inputs, problem.valid.inputs]).tolist()
        assert sorted(together) == sorted(dataset.train.inputs.tolist())
        assert np.array_equal(problem.test.inputs, dataset.test.inputs)
        assert np.bincount(problem.valid.targets).tolist() == [4, 4, 4]
    first, again, other = (problem.train.inputs for problem in problems[:3])
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    whole = make_problem(dataset)
    assert (whole.valid, len(whole.train.inputs)) == (None, 60)


@pytest.mark.parametrize("share", [1, 1.5, -0.1, float("nan"), float("inf")])
def test_a_validation_share_out_of_range_is_refused(share: float) -> None:
    dataset = a_dataset("classification")
    refused("must be at least 0 and below 1, given", make_problem, dataset, validation=share)
    refused("0.9999 leaves none of 30 example", make_problem, dataset, validation=0.9999)


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_outside_the_classes_are_refused_whatever_the_loss(wrong: int, loss: str) -> None:
    dataset = a_dataset("classification")
    dataset.test.targets[0] = wrong
    refused("labels must lie in 0 to 2", make_problem, dataset, loss=loss)


def test_classes_are_weighed_in_the_training_part_alone() -> None:
    dataset = a_dataset("classification", examples=40)
    dataset.train.targets[:] = [0] * 18 + [1] * 9 + [2] * 3
    balanced = make_problem(dataset, class_weight="balanced")
    np.testing.assert_allclose(
        balanced.train.weight, [30 / 3 / 18] * 18 + [30 / 3 / 9] * 9 + [30 / 3 / 3] * 3
    )
    assert balanced.test.weight is None
    weight = np.arange(1.0, 31.0)
    named = make_problem(dataset._replace(weight=(weight, np.ones(10))), class_weight={"n1": 5.0})
    np.testing.assert_allclose(named.train.weight, weight * ([1] * 18 + [5] * 9 + [1] * 3))
    np.testing.assert_array_equal(named.test.weight, np.ones(10))
    for task, given, words in (
        ("classification", {"n9": 1.0}, "unknown class 'n9': did you mean 'n"),
        (
            "classification",
            "balance",
            "class weights are 'balanced' or weights by class name, given 'balance'",
        ),
        ("regression", "balanced", "class weights are for a classification, and 'drawn' is a regression"),
        ("classification", {"n1": -1.0}, "sample weights must be finite and at least 0"),
    ):
        refused(words, make_problem, a_dataset(task), class_weight=given)


def test_features_that_are_not_finite_are_refused() -> None:
    dataset = a_dataset("classification")
    dataset.test.inputs[1, 2] = np.nan
    refused("test part: 1 feature(s) are NaN or infinite", make_problem, dataset)
