"""A history becomes columns that keep every number and mark what is missing as NaN."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxmlp.types import EpochReport, Metrics, history_columns

FIRST = EpochReport(1, 0.5, 0.75, 0.625, 0.7, 3.0, (0.1, 0.2), 2.0, 50.0)
SECOND = EpochReport(2, 0.25, 0.875, 0.5, 0.8, 1.5, (0.3, 0.4), 1.0, 100.0)


def test_columns_hold_the_reports_epoch_by_epoch() -> None:
    found = history_columns((FIRST, SECOND), "r2")
    expected = {
        "epoch": [1, 2],
        "train_loss": [0.5, 0.25],
        "train_r2": [0.75, 0.875],
        "valid_loss": [0.625, 0.5],
        "valid_r2": [0.7, 0.8],
        "gradient_norm": [3.0, 1.5],
        "max_weight_1": [0.1, 0.3],
        "max_weight_2": [0.2, 0.4],
        "seconds": [2.0, 1.0],
        "examples_per_second": [50.0, 100.0],
    }
    assert {name: column.tolist() for name, column in found.items()} == expected
    assert list(found) == list(expected), "the order is that of the table's columns"


def test_every_number_of_a_report_has_its_column() -> None:
    single: list[Any] = [value for value in FIRST if not isinstance(value, tuple)]
    numbers = sorted([*single, *FIRST.max_weight])
    columns = history_columns((FIRST,), "accuracy")
    assert sorted(float(column[0]) for column in columns.values()) == numbers


def test_a_missing_validation_is_nan() -> None:
    rows = (FIRST._replace(valid_loss=None, valid_score=None), SECOND)
    columns = history_columns(rows, "accuracy")
    np.testing.assert_array_equal(columns["valid_loss"], [np.nan, 0.5])
    np.testing.assert_array_equal(columns["valid_accuracy"], [np.nan, 0.8])
    assert columns["valid_loss"].dtype == np.float64


def test_a_network_without_weights_and_an_empty_history_have_no_weight_columns() -> None:
    columns = history_columns((FIRST._replace(max_weight=()),), "accuracy")
    assert not [name for name in columns if name.startswith("max_weight")]
    empty = history_columns((), "accuracy")
    assert set(empty) == set(columns)
    assert all(column.shape == (0,) for column in empty.values())


def test_evaluations_report_no_gradient() -> None:
    assert Metrics(jnp.array(1.0), jnp.array(0.5), jnp.array(3.0)).gradient_norm is None
