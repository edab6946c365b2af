import jax
import numpy as np
import pytest

from jaxmlp import LOSSES, ArgumentError, evaluate, init, mlp
from jaxmlp.checks import check_data
from jaxmlp.datasets import METHODS, Dataset, Part, load
from jaxmlp.datasets.problem import DEFAULT_LOSS, METRIC, count_outputs, make_problem
from jaxmlp.datasets.toys import TOYS

# Which tasks a loss serves, by what it takes as targets.
SERVES = {
    "labels": ("classification",),
    "soft_labels": ("classification",),
    "binary": ("classification", "multilabel"),
    "values": ("classification", "multilabel", "regression"),
}
TASKS = tuple(DEFAULT_LOSS)


def a_dataset(task: str, *, classes: int = 3, examples: int = 40) -> Dataset:
    """Draw a small data set, its features far from a mean of 0 and a deviation of 1."""
    random = np.random.default_rng(0)
    inputs = (random.normal(size=(examples, 4)) * [1, 10, 0.1, 3] + [0, 50, -2, 7]).astype(np.float32)
    targets = {
        "classification": (np.arange(examples) % classes).astype(np.int32),
        "multilabel": random.integers(0, 2, (examples, classes)).astype(np.float32),
        "regression": (random.normal(size=(examples, classes)) * 9 + 100).astype(np.float32),
    }[task]
    cut = examples * 3 // 4
    names = tuple(f"n{number}" for number in range(classes))
    return Dataset(
        name="drawn",
        task=task,
        train=Part(inputs[:cut], targets[:cut]),
        test=Part(inputs[cut:], targets[cut:]),
        feature_shape=(4,),
        feature_names=(),
        class_names=() if task == "regression" else names,
        target_names=names if task == "regression" else (),
        table=None,
        identity={"name": "drawn"},
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_gets_a_network_and_targets_that_it_takes_or_is_refused(
    loss: str, classes: int, task: str
) -> None:
    dataset = a_dataset(task, classes=classes)
    if task not in SERVES[LOSSES[loss].targets]:
        with pytest.raises(ArgumentError, match=f"loss '{loss}' does not fit a {task} such as 'drawn'"):
            make_problem(dataset, loss=loss)
        return
    problem = make_problem(dataset, loss=loss)
    net = mlp(
        [problem.in_features, 3, problem.outputs], output_activation=problem.output_activation, init="zeros"
    )
    for part in (problem.train, problem.test):
        check_data(part, in_features=problem.in_features, outputs=problem.outputs, loss=loss)
    params = init(net, jax.random.key(0))
    with jax.disable_jit():  # faster here than compiling
        metrics = evaluate(net, params, problem.test, loss=problem.loss, metric=problem.metric)
    assert np.isfinite(float(metrics.loss))
    assert np.isfinite(float(metrics.score))


def test_a_refusal_names_the_losses_that_fit() -> None:
    with pytest.raises(ArgumentError) as refusal:
        make_problem(a_dataset("regression"), loss="softmax_cross_entropy")
    named = str(refusal.value).partition("choose one of ")[2].split(", ")
    assert named == sorted(name for name in LOSSES if "regression" in SERVES[LOSSES[name].targets])


def test_an_unknown_loss_is_named_with_its_nearest() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'huber'"):
        make_problem(a_dataset("regression"), loss="hubr")


@pytest.mark.parametrize("task", TASKS)
def test_without_a_loss_the_task_has_its_own(task: str) -> None:
    problem = make_problem(a_dataset(task))
    assert problem.loss == DEFAULT_LOSS[task]
    assert problem.metric == METRIC[task]


@pytest.mark.parametrize(
    ("task", "classes", "loss", "outputs"),
    [
        ("classification", 3, "softmax_cross_entropy", 3),
        ("classification", 2, "softmax_cross_entropy", 2),
        ("classification", 2, "sigmoid_cross_entropy", 1),
        ("classification", 3, "sigmoid_cross_entropy", 3),
        ("classification", 2, "multiclass_hinge", 2),
        ("classification", 2, "squared_error", 2),
        ("classification", 2, "negative_log_likelihood", 2),
        ("multilabel", 2, "sigmoid_cross_entropy", 2),
        ("multilabel", 2, "squared_error", 2),
        ("regression", 2, "huber:0.5", 2),
        ("regression", 1, "mean_squared_error", 1),
    ],
)
def test_outputs_are_counted_for_the_loss(task: str, classes: int, loss: str, outputs: int) -> None:
    dataset = a_dataset(task, classes=classes)
    assert count_outputs(dataset, loss) == outputs == make_problem(dataset, loss=loss).outputs


@pytest.mark.parametrize("loss", list(LOSSES))
def test_only_a_likelihood_wants_a_softmax_before_it(loss: str) -> None:
    problem = make_problem(a_dataset(SERVES[LOSSES[loss].targets][0]), loss=loss)
    wanted = "softmax" if loss == "negative_log_likelihood" else None
    assert problem.output_activation == wanted


def test_labels_stay_labels_for_a_loss_that_takes_them() -> None:
    dataset = a_dataset("classification")
    for loss in ("softmax_cross_entropy", "negative_log_likelihood", "multiclass_hinge"):
        assert np.array_equal(make_problem(dataset, loss=loss).train.targets, dataset.train.targets)


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "squared_error", "huber"])
def test_classes_become_rows_with_a_single_one_for_a_loss_of_values(loss: str) -> None:
    dataset = a_dataset("classification")
    targets = np.asarray(make_problem(dataset, loss=loss).train.targets)
    assert targets.dtype == np.float32
    assert np.array_equal(targets.sum(axis=1), np.ones(len(targets)))
    assert np.array_equal(targets.argmax(axis=1), dataset.train.targets)


def test_two_classes_become_one_column_for_a_sigmoid() -> None:
    dataset = a_dataset("classification", classes=2)
    targets = np.asarray(make_problem(dataset, loss="sigmoid_cross_entropy").train.targets)
    assert targets.dtype == np.float32
    assert np.array_equal(targets, dataset.train.targets[:, None])


def test_labels_that_do_not_exclude_each_other_stay_as_they_are() -> None:
    dataset = a_dataset("multilabel")
    assert np.array_equal(make_problem(dataset).train.targets, dataset.train.targets)


def test_regressed_values_are_standardised_and_can_be_brought_back() -> None:
    dataset = a_dataset("regression")
    problem = make_problem(dataset)
    targets = np.asarray(problem.train.targets)
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(targets.std(axis=0), 1, rtol=1e-5)
    back = problem.preprocessing.restore_targets(np.asarray(problem.test.targets))
    np.testing.assert_allclose(back, dataset.test.targets, rtol=1e-5)


def spoiled(part: Part) -> Part:
    return Part(part.inputs * 100 + 7, part.targets[::-1].copy())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scaling", METHODS)
def test_statistics_come_from_the_training_part_alone(scaling: str, task: str) -> None:
    dataset = a_dataset(task)
    problem = make_problem(dataset, scaling=scaling)
    other = make_problem(dataset._replace(test=spoiled(dataset.test)), scaling=scaling)
    assert np.array_equal(problem.train.inputs, other.train.inputs)
    assert np.array_equal(problem.train.targets, other.train.targets)
    assert problem.preprocessing.to_dict().keys() == other.preprocessing.to_dict().keys()
    assert not np.array_equal(problem.test.inputs, other.test.inputs)
    # The comparison can fail: with another training part the same test part is scaled differently.
    third = make_problem(dataset._replace(train=spoiled(dataset.train)), scaling=scaling)
    assert np.array_equal(third.test.inputs, problem.test.inputs) == (scaling == "none")


def test_what_is_held_out_takes_no_part_in_the_statistics() -> None:
    dataset = a_dataset("regression")
    problem = make_problem(dataset, validation=0.3)
    inputs, targets = np.asarray(problem.train.inputs), np.asarray(problem.train.targets)
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-4)
    with_all = make_problem(dataset).preprocessing
    assert not np.array_equal(with_all.feature_shift, problem.preprocessing.feature_shift)


def test_an_unknown_scaling_is_refused() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'standardise'"):
        make_problem(a_dataset("classification"), scaling="standardize")


def test_the_validation_part_is_cut_from_the_training_part() -> None:
    dataset = a_dataset("classification")
    problem = make_problem(dataset, scaling="none", validation=0.2)
    assert problem.valid is not None
    kept, held_out = np.asarray(problem.train.inputs), np.asarray(problem.valid.inputs)
    assert (len(kept), len(held_out)) == (24, 6)
    together = {row.tobytes() for row in np.concatenate([kept, held_out])}
    assert together == {row.tobytes() for row in dataset.train.inputs}
    assert np.array_equal(problem.test.inputs, dataset.test.inputs)


def test_the_validation_part_is_stratified() -> None:
    dataset = a_dataset("classification", examples=80)
    for seed in range(5):
        problem = make_problem(dataset, validation=0.2, seed=seed)
        assert problem.valid is not None
        assert np.bincount(problem.valid.targets).tolist() == [4, 4, 4]


def test_the_validation_part_depends_on_the_seed_alone() -> None:
    dataset = a_dataset("classification")
    first, again, other = (
        make_problem(dataset, scaling="none", validation=0.2, seed=seed).train.inputs for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_a_share_nothing_is_held_out() -> None:
    problem = make_problem(a_dataset("classification"))
    assert problem.valid is None
    assert len(problem.train.inputs) == 30


def test_a_validation_share_that_leaves_nothing_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"^the validation share 0\.9999 leaves none of 1437 example"):
        make_problem(load("digits"), validation=0.9999)


@pytest.mark.parametrize("share", [1, 1.5, -0.1, float("nan"), float("inf")])
def test_a_validation_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ArgumentError, match="the validation share must be at least 0 and below 1, given"):
        make_problem(a_dataset("classification"), validation=share)


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_outside_the_classes_are_refused_whatever_the_loss(wrong: int, loss: str) -> None:
    dataset = a_dataset("classification")
    labels = dataset.test.targets.copy()
    labels[0] = wrong
    spoilt = dataset._replace(test=Part(dataset.test.inputs, labels))
    with pytest.raises(ArgumentError, match=r"labels must lie in 0 to 2"):
        make_problem(spoilt, loss=loss)


def test_features_that_are_not_finite_are_refused() -> None:
    dataset = a_dataset("classification")
    inputs = dataset.test.inputs.copy()
    inputs[1, 2] = np.nan
    with pytest.raises(ArgumentError, match=r"test part: 1 feature\(s\) are NaN or infinite"):
        make_problem(dataset._replace(test=Part(inputs, dataset.test.targets)))


@pytest.mark.parametrize("name", ["digits", *TOYS])
def test_data_sets_that_need_no_download_become_problems(name: str) -> None:
    dataset = load(name) if name == "digits" else load(name, examples=60)
    problem = make_problem(dataset, validation=0.25)
    assert problem.valid is not None
    for part in (problem.train, problem.valid, problem.test):
        check_data(part, in_features=problem.in_features, outputs=problem.outputs, loss=problem.loss)
        assert np.asarray(part.inputs).dtype == np.float32
