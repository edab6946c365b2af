"""Preprocessing: measured on what it is given, applied alike ever after, and undone exactly."""

import jax
import numpy as np
import pytest

from jaxmlp.datasets import METHODS, Part, Preprocessing, fit_preprocessing
from jaxmlp.datasets.dataset import CHUNK_ROWS
from jaxmlp.types import ArgumentError


@pytest.fixture
def part():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(100, 3)) * [1.0, 50.0, 0.01] + [5.0, -300.0, 0.0]
    return Part(inputs.astype(np.float32), generator.normal(7.0, 3.0, size=(100, 2)).astype(np.float32))


def fit(part, method="auto", task="regression", shape=(3,)):
    return fit_preprocessing(part, method=method, feature_shape=shape, task=task)


@pytest.mark.parametrize("method", ["auto", "standardise"])
def test_tables_are_standardised(part, method):
    inputs = fit(part, method).inputs(part.inputs)
    assert inputs.dtype == np.float32
    on_device = jax.device_put(inputs, jax.devices("cpu")[0])
    assert on_device.unsafe_buffer_pointer() == inputs.ctypes.data  # used in place, not copied
    assert np.allclose(inputs.mean(axis=0), 0, atol=1e-4)
    assert np.allclose(inputs.std(axis=0), 1, atol=1e-4)


def test_scaling_brings_each_feature_between_zero_and_one_and_none_changes_nothing(part):
    inputs = fit(part, "scale").inputs(part.inputs)
    assert np.allclose(inputs.min(axis=0), 0, atol=1e-6)
    assert np.allclose(inputs.max(axis=0), 1, atol=1e-6)
    plain = fit(part, "none")
    assert np.array_equal(plain.inputs(part.inputs), part.inputs)
    assert plain.targets(part.targets) is part.targets
    assert plain.restore_targets(part.targets) is part.targets


def test_images_are_divided_by_their_largest_value():
    images = Part(np.array([[0, 51], [102, 204]], np.uint8), np.array([0, 1], np.int32))
    fitted = fit(images, task="classification", shape=(1, 2))
    assert np.allclose(fitted.inputs(images.inputs), [[0, 0.25], [0.5, 1]])
    assert np.allclose(fitted.inputs(np.array([[255, 0]], np.uint8)), [[1.25, 0]])  # training's, not its own


@pytest.mark.parametrize("method", [method for method in METHODS if method != "none"])
def test_regression_targets_are_standardised_and_restored(part, method):
    fitted = fit(part, method)
    targets = fitted.targets(part.targets)
    assert np.allclose(targets.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(targets.std(axis=0), 1, atol=1e-5)
    assert np.allclose(fitted.restore_targets(targets), part.targets, atol=1e-5)


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_other_targets_stay_as_they_are(part, task):
    fitted = fit(part, task=task)
    assert fitted.targets(part.targets) is part.targets
    assert fitted.target_shift is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_constant_features_and_targets_do_not_divide_by_zero(method, shape):
    constant = Part(np.full((5, 3), 0.0, np.float32), np.full((5, 1), 4.0, np.float32))
    fitted = fit(constant, method, shape=shape)
    assert np.array_equal(fitted.feature_scale, np.ones(3))
    assert np.isfinite(fitted.inputs(constant.inputs)).all()
    assert np.isfinite(fitted.targets(constant.targets)).all()


def test_statistics_come_from_every_chunk():
    inputs = np.zeros((CHUNK_ROWS + 1, 1), np.float32)
    inputs[-1] = 8.0
    large = Part(inputs, np.zeros(len(inputs), np.int32))
    assert fit(large, "scale", "classification", (1,)).feature_scale == pytest.approx(8.0)
    assert fit(large, "auto", "classification", (1, 1)).feature_scale == pytest.approx(8.0)
    assert fit(large, "standardise", "classification", (1,)).feature_shift == pytest.approx(inputs.mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("as_lists", [False, True])
def test_saved_statistics_come_back_the_same(part, method, as_lists):
    fitted = fit(part, method)
    saved = fitted.to_dict()
    if as_lists:
        saved = {name: getattr(value, "tolist", lambda value=value: value)() for name, value in saved.items()}
    again = Preprocessing.from_dict(saved)
    assert again.method == method
    assert np.array_equal(again.inputs(part.inputs), fitted.inputs(part.inputs))
    assert np.array_equal(again.targets(part.targets), fitted.targets(part.targets))


@pytest.mark.parametrize(
    ("call", "shape", "wanted"),
    [
        *(("inputs", shape, 3) for shape in ((4, 2), (3,), (2, 3, 1))),
        ("targets", (4, 1), 2),
        ("restore_targets", (4, 1), 2),
    ],
)
def test_another_number_of_columns_is_refused(part, call, shape, wanted):
    with pytest.raises(ArgumentError, match=rf"give \[N, {wanted}\]"):
        getattr(fit(part), call)(np.zeros(shape))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"method": "standardize"}, "did you mean 'standardise'"),
        ({"task": "clustering"}, "unknown task"),
        ({"shape": (2, 2)}, r"feature shape \(2, 2\) does not fit 3 features"),
    ],
)
def test_wrong_arguments_are_refused(part, keywords, message):
    with pytest.raises(ArgumentError, match=message):
        fit(part, **keywords)


SOUND = {"method": "none", "feature_shift": [0.0, 0.0], "feature_scale": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": None, "feature_scale": None}, "lacks method, feature_scale"),
        ({"method": "whiten"}, "unknown preprocessing method"),
        ({"feature_shift": [0.0]}, r"shape \(1,\) and feature_scale of shape \(2,\)"),
        ({"feature_scale": [1.0, 0.0]}, "scale of 0"),
        ({"feature_scale": [1.0, np.nan]}, "not finite"),
        ({"feature_scale": "ones"}, "other than numbers"),
        ({"target_shift": [0.0]}, "one of target_shift and target_scale"),
        ({"target_shift": [0.0], "target_scale": [0.0]}, "target statistic"),
    ],
)
def test_wrong_saved_statistics_are_refused(changes, message):
    Preprocessing.from_dict(SOUND)
    with pytest.raises(ArgumentError, match=message):
        Preprocessing.from_dict(SOUND | changes)
