"""Encoding of tables: learned from the training rows alone, and the same for every later file."""

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from jaxmlp.datasets import table as table_module
from jaxmlp.datasets.table import encode_table, fit_table, numeric_column, table_feature_names

FRAME = pd.DataFrame(
    {"size": ["1", "3", None, "100"], "hue": ["red", None, "red", "green"], "flag": ["True", "False"] * 2},
    dtype=str,
)
TRAINING = np.array([0, 1, 2])


def test_statistics_come_from_the_training_rows_fill_gaps_and_make_categories_columns():
    table = fit_table(FRAME, ["size", "hue", "flag"], TRAINING, "impute", "it")
    assert table["columns"] == [
        {"name": "size", "kind": "number", "fill": 2.0},
        {"name": "hue", "kind": "category", "categories": ["red"], "fill": "red"},
        {"name": "flag", "kind": "category", "categories": ["False", "True"], "fill": "True"},
    ]
    assert table_feature_names(table) == ("size", "hue=red", "flag=False", "flag=True")
    encoded = encode_table(FRAME, table, origin="it", allow_unknown=True)
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[1, 1, 0, 1], [3, 1, 1, 0], [2, 1, 0, 1], [100, 0, 1, 0]]


def test_a_column_without_a_training_value_and_too_many_categories_are_refused(monkeypatch):
    message = "no value in column 'size' of the training part"
    refused(message, fit_table, FRAME, ["size"], np.array([2]), "impute", "it")
    monkeypatch.setattr(table_module, "MOST_CATEGORIES", 1)
    message = "2 different texts in column 'flag', at most 1"
    refused(message, fit_table, FRAME, ["flag"], TRAINING, "refuse", "it")


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1", "2"], [1, 2]),
        ([" 1", "2.5", "-2e3"], [1.0, 2.5, -2000.0]),
        (["1", "b"], None),
        (["True", "False"], None),
        (["2020-01-01"], None),
        ([None, None], None),
    ],
)
def test_a_column_is_numbers_only_if_all_of_it_is(texts, numbers):
    read = numeric_column(pd.Series(texts, dtype=str))
    assert (read if read is None else read.tolist()) == numbers


def test_whole_numbers_stay_whole_and_gaps_become_nan():
    assert numeric_column(pd.Series(["1", "2"])).dtype.kind == "i"
    assert np.isnan(numeric_column(pd.Series(["1", None], dtype=str))[1])
