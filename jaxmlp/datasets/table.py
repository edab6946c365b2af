"""How the columns of a csv become numbers: learned from the training rows, and kept for later files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

# A text column of more different values than this is a name or a number plate, not a category.
MOST_CATEGORIES = 1000


def fit_table(
    frame: "pd.DataFrame", columns: Sequence[str], training_rows: np.ndarray, missing: str, origin: str
) -> dict[str, Any]:
    """Learn how to encode feature columns: categories of text, and what fills a gap.

    A gap is filled with the mean of numbers or the most frequent text, both of the training rows.
    """
    described = []
    for name in columns:
        numbers = numeric_column(frame[name])
        training = frame[name].iloc[training_rows]
        present = training.notna().to_numpy()
        if not present.any():
            raise ArgumentError(
                f"{origin} has no value in column '{name}' of the training part: remove the column"
            )
        if numbers is None:
            described.append(_describe_categories(name, training[present], origin))
            continue
        finite = numbers[training_rows]
        finite = finite[np.isfinite(finite)]  # infinite values are refused later, by name
        fill = float(finite.mean()) if len(finite) else 0.0
        described.append({"name": name, "kind": "number", "fill": fill})
    return {"columns": described, "missing": missing}


def table_feature_names(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the encoded features: a number by its column, a category as "column=value"."""
    names: list[str] = []
    for column in table["columns"]:
        if column["kind"] == "number":
            names.append(column["name"])
        else:
            names.extend(f"{column['name']}={category}" for category in column["categories"])
    return tuple(names)


def encode_table(
    frame: "pd.DataFrame",
    table: Mapping[str, Any],
    *,
    origin: str,
    missing: str | None = None,
    allow_unknown: bool = False,
) -> np.ndarray:
    """Encode rows as the table says; columns are found by name, in any order, others are left aside."""
    wanted = [column["name"] for column in table["columns"]]
    absent = [name for name in wanted if name not in frame.columns]
    if absent:
        raise ArgumentError(
            f"{origin} lacks the columns {_quoted(absent)} that the model was trained with: "
            f"its columns are {_quoted(frame.columns)}"
        )
    counts = frame[wanted].isna().sum()
    lacking = ", ".join(f"'{name}' ({count})" for name, count in counts.items() if count)
    if lacking and (missing or table["missing"]) == "refuse":
        raise ArgumentError(
            f"{origin} has missing values in {lacking}: fill them, or choose missing 'impute' for features (--missing)"
        )
    encoded = [
        _encode_column(frame[column["name"]], column, origin, allow_unknown) for column in table["columns"]
    ]
    with np.errstate(over="ignore"):  # refused as infinite by check_inputs
        return np.concatenate(encoded, axis=1).astype(np.float32)


def numeric_column(column: "pd.Series[Any]") -> np.ndarray | None:
    """Read a column of text as numbers, if all that it holds are numbers."""
    import pandas as pd

    numbers = pd.to_numeric(column.astype(object), errors="coerce")
    unreadable = numbers.isna() & column.notna()
    if unreadable.any() or numbers.isna().all():
        return None
    return numbers.to_numpy()


def is_number(text: str) -> bool:
    """Tell whether a field of a csv is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _describe_categories(name: str, present: "pd.Series[Any]", origin: str) -> dict[str, Any]:
    categories = sorted(set(present))
    if len(categories) > MOST_CATEGORIES:
        raise ArgumentError(
            f"{origin} has {len(categories)} different texts in column '{name}', at most "
            f"{MOST_CATEGORIES} are taken as categories: remove the column, or group its values"
        )
    fill = present.mode()[0]  # the first of them by the alphabet where several are as frequent
    return {"name": name, "kind": "category", "categories": categories, "fill": fill}


def _encode_column(
    column: "pd.Series[Any]", description: Mapping[str, Any], origin: str, allow_unknown: bool
) -> np.ndarray:
    if description["kind"] == "number":
        return _encode_numbers(column, description, origin)
    values = column.to_numpy(object)
    values = np.where(column.isna(), description["fill"], values)
    categories = np.array(description["categories"], object)
    unknown = sorted(set(values) - set(categories))
    if unknown and not allow_unknown:
        raise ArgumentError(
            f"{origin} has '{unknown[0]}' in column '{description['name']}', which the training "
            f"data did not have: choose one of {_quoted(categories)}"
        )
    return values[:, None] == categories[None, :]


def _encode_numbers(column: "pd.Series[Any]", description: Mapping[str, Any], origin: str) -> np.ndarray:
    if column.isna().all():
        return np.full((len(column), 1), description["fill"])
    numbers = numeric_column(column)
    if numbers is None:
        text = next(value for value in column.dropna() if not is_number(value))
        raise ArgumentError(
            f"{origin} has '{text}' in column '{description['name']}', which held numbers in training: "
            f"give numbers there"
        )
    return np.where(np.isnan(numbers), description["fill"], numbers)[:, None]


def _quoted(given: Iterable[Any], most: int = 10) -> str:
    names = list(given)
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} … ({len(names)} in all)"
