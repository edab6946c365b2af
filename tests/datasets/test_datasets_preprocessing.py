"""Preprocessing: measured on what it is given, applied alike ever after, and undone exactly."""

import jax
import numpy as np
import pytest
from comparisons import refused

from jaxmlp.datasets import METHODS, Part, Preprocessing, fit_preprocessing
from jaxmlp.datasets.dataset import CHUNK_ROWS

GENERATOR = np.random.default_rng(0)
PART = Part(
    (GENERATOR.normal(size=(100, 3)) * [1.0, 50.0, 0.01] + [5.0, -300.0, 0.0]).astype(np.float32),
    GENERATOR.normal(7.0, 3.0, size=(100, 2)).astype(np.float32),
)


def fit(part=PART, method="auto", task="regression", shape=(3,)):
    return fit_preprocessing(part, method=method, feature_shape=shape, task=task)


@pytest.mark.parametrize("method", ["auto", "standardise", "scale"])
def test_tables_are_scaled_and_regression_targets_standardised_and_restored(method):
    fitted = fit(method=method)
    inputs, targets = fitted.inputs(PART.inputs), fitted.targets(PART.targets)
    assert inputs.dtype == np.float32
    on_device = jax.device_put(inputs, jax.devices("cpu")[0])
    assert on_device.unsafe_buffer_pointer() == inputs.ctypes.data  # used in place, not copied
    if method == "scale":
        assert np.allclose([inputs.min(axis=0), inputs.max(axis=0)], [[0], [1]], atol=1e-6)
    else:
        assert np.allclose([inputs.mean(axis=0), inputs.std(axis=0)], [[0], [1]], atol=1e-4)
    assert np.allclose([targets.mean(axis=0), targets.std(axis=0)], [[0], [1]], atol=1e-5)
    assert np.allclose(fitted.restore_targets(targets), PART.targets, atol=1e-5)


def test_images_are_divided_by_their_largest_value():
    images = Part(np.array([[0, 51], [102, 204]], np.uint8), np.array([0, 1], np.int32))
    fitted = fit(images, task="classification", shape=(1, 2))
    assert np.allclose(fitted.inputs(images.inputs), [[0, 0.25], [0.5, 1]])
    assert np.allclose(fitted.inputs(np.array([[255, 0]], np.uint8)), [[1.25, 0]])  # training's, not its own


@pytest.mark.parametrize("given", [{"task": "classification"}, {"task": "multilabel"}, {"method": "none"}])
def test_other_targets_stay_as_they_are_and_none_changes_nothing(given):
    fitted = fit(**given)
    assert fitted.targets(PART.targets) is fitted.restore_targets(PART.targets) is PART.targets
    assert fitted.target_shift is None
    assert np.array_equal(fitted.inputs(PART.inputs), PART.inputs) == ("method" in given)


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
def test_saved_statistics_come_back_the_same(method, as_lists):
    fitted = fit(method=method)
    saved = fitted.to_dict()
    if as_lists:
        saved = {name: getattr(value, "tolist", lambda value=value: value)() for name, value in saved.items()}
    again = Preprocessing.from_dict(saved)
    assert again.method == method
    for call, raw in (("inputs", PART.inputs), ("targets", PART.targets)):
        assert np.array_equal(getattr(again, call)(raw), getattr(fitted, call)(raw))


@pytest.mark.parametrize("shape", [(4, 2), (3,), (2, 3, 1)])
def test_another_number_of_columns_is_refused(shape):
    refused("give [N, 3]", fit().inputs, np.zeros(shape))
    refused("give [N, 2]", fit().targets, np.zeros((4, 1)))
    refused("give [N, 2]", fit().restore_targets, np.zeros((4, 1)))


SOUND = {"method": "none", "feature_shift": [0.0, 0.0], "feature_scale": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": None, "feature_scale": None}, "lacks method, feature_scale"),
        ({"method": "whiten"}, "unknown preprocessing method"),
        ({"feature_shift": [0.0]}, "shape (1,) and feature_scale of shape (2,)"),
        ({"feature_scale": [1.0, 0.0]}, "scale of 0"),
        ({"feature_scale": [1.0, np.nan]}, "not finite"),
        ({"feature_scale": "ones"}, "other than numbers"),
        ({"target_shift": [0.0]}, "one of target_shift and target_scale"),
        ({"target_shift": [0.0], "target_scale": [0.0]}, "target statistic"),
    ],
)
def test_wrong_saved_statistics_are_refused(changes, message):
    Preprocessing.from_dict(SOUND)
    refused(message, Preprocessing.from_dict, SOUND | changes)


def test_wrong_arguments_are_refused():
    refused("unknown task", fit, task="clustering")
    refused("feature shape (2, 2) does not fit 3 features", fit, shape=(2, 2))


TAILS = Part(
    GENERATOR.standard_cauchy((400, 4)) * [1, 1, 1, 0] + [0, 9, 0, 3], GENERATOR.normal(size=(400, 1))
)
TAILS.inputs[:, 2] = GENERATOR.integers(0, 12, 400)  # numbers of categories
TAILS.inputs[:300, 1] = 9  # more than half of them alike


@pytest.mark.parametrize("method", ["robust", "quantile"])
def test_long_tails_are_bounded_codes_stay_and_a_saved_map_does_the_same(method):
    fitted = fit_preprocessing(TAILS, method=method, feature_shape=(4,), task="regression", codes=[2])
    found = fitted.inputs(TAILS.inputs, np.float64)
    assert np.array_equal(found[:, 2], TAILS.inputs[:, 2])
    assert np.all(found[:, 3] == 0)
    assert np.median(found[:, 0]) == pytest.approx(0, abs=1e-3)
    order = np.argsort(TAILS.inputs[:, 0])
    assert np.all(np.diff(found[order, 0]) >= 0)
    if method == "robust":
        low, high = np.quantile(TAILS.inputs[:, 0], [0.25, 0.75])
        plain = (TAILS.inputs[:, 0] - np.median(TAILS.inputs[:, 0])) / (high - low)
        np.testing.assert_allclose(found[:, 0], plain / np.sqrt(1 + (plain / 3) ** 2))
        assert np.abs(found[:, [0, 1, 3]]).max() < 3
    else:
        assert np.std(found[:, 0]) == pytest.approx(1, abs=0.1)
        assert np.abs(found[:, :2]).max() < 5.3
    again = Preprocessing.from_dict(fitted.to_dict())
    assert np.array_equal(again.inputs(TAILS.inputs), fitted.inputs(TAILS.inputs))
    far = again.restore_targets(np.array([[-99.0], [0.0], [99.0]]))
    assert far[[0, 2], 0].tolist() == [TAILS.targets.min(), TAILS.targets.max()]
    assert again.restore_targets(again.targets(TAILS.targets)) == pytest.approx(TAILS.targets, abs=1e-5)
