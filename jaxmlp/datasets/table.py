"""How the columns of a table become numbers: learned from the training rows, and kept for later files."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.datasets.reading import DATE, DRESSED, NUMBER_GAPS, Table, numbers
from jaxmlp.datasets.targets import LARGEST
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 1000  # the most frequent texts of a column; others stand together
FEW_ROWS = 20  # of so few, texts that all differ may still be categories
INDICATED = 0.03  # a column with a larger share of gaps says in a column where they were
DATE_FORMATS = tuple(
    date + time
    for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
    for date in (
        *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y"),
        *("%m/%d/%y", "%d/%m/%y", "%d.%m.%y"),
    )
)
DATE_PARTS = ("days", "year", "month", "weekday")  # days since 1970, and Monday is 0


def convert(
    table: Table, name: str, kind: str | None = None, format: str | None = None
) -> tuple[str, str | None]:
    """Read a column as numbers, dates or texts, in place; what it is, is told by most of its cells, or given.

    A date becomes days since 1970. Returns the kind, "number", "date" or "category", and the date's format.
    """
    cells = table.cells[name]
    if kind == "category":
        return kind, None
    values, unread = numbers(cells, table.reading)
    known = unread | ~np.isnan(values)  # all but gaps
    most, advice = "", "mend it"
    if kind is None:
        counts: dict[Any, int] = cells[unread].astype(object).value_counts().to_dict()
        dressed, dated = (
            sum(count for text, count in counts.items() if pattern.fullmatch(text))
            for pattern in (DRESSED, DATE)
        )
        is_number = 2 * (np.isfinite(values).sum() + dressed) > known.sum() or not known.any()
        kind = "number" if is_number else "date" if 2 * dated > known.sum() else "category"
        most = f", and most of the column are {kind}s"
        advice = (
            f"mend it, or say what it is (--na-values, --decimal, --thousands, --ignore '{name}', or --text '{name}' "
            "for a column of texts)"
        )
    if kind == "category":
        return kind, None
    if kind == "date":
        values, format = _days(cells, format)
        unread = np.isnan(values) & known
    wrong = np.flatnonzero(unread | (np.abs(values) > LARGEST))
    if len(wrong):
        row, text = wrong[0], cells.iloc[wrong[0]][:60]
        what = f"no {kind}" if unread[row] else "too large or infinite"
        raise ArgumentError(f"{table.place(row)}, column '{name}': '{text}' is {what}{most}: {advice}")
    table.cells[name] = values
    return kind, format


def fit_columns(
    table: Table,
    columns: Sequence[str],
    training: np.ndarray,
    text: Sequence[str] = (),
    max_one_hot: int | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Learn how to encode columns, and convert them; returns a description a column, and what was decided."""
    described, notes = [], []
    for name in columns:
        cells = table.cells[name]
        kind, format = convert(table, name, "category" if name in text else None)
        column: dict[str, Any] = {"name": name, "kind": kind, "gaps": int(table.cells[name].isna().sum())}
        known = table.cells[name].iloc[training]
        present = known.dropna()
        if not len(present):
            notes.append(f"column '{name}' is left out: the training part has no value in it")
            continue
        if kind == "category":
            counts = present.cat.remove_unused_categories().value_counts()
            once = int((counts == 1).sum())
            if name not in text and is_of_names(counts):
                notes.append(
                    f"column '{name}' is left out: {once:,} of {len(present):,} texts occur once, as names do "
                    f"(--text '{name}' takes it as categories)"
                )
                continue
            notes += gap_texts(name, counts)
            # Texts that occur once stand together, where that leaves others, and more than two categories.
            often = counts[counts > 1] if len(counts) > 2 and once < len(counts) else counts
            column["categories"] = sorted(often.index[:MOST_CATEGORIES])
            column["other"] = len(column["categories"]) < len(counts)
            column["missing"] = len(present) < len(known)
            column["inputs"] = _inputs(
                len(column["categories"]), column["other"] + column["missing"], max_one_hot
            )
        else:
            if kind == "number" and len(present) > FEW_ROWS and (np.diff(table.cells[name]) == 1).all():
                notes.append(
                    f"column '{name}' counts the rows: if it says no more, leave it out (--ignore '{name}')"
                )
            column["fill"] = float(np.median(present))
            column["missing"] = len(known) - len(present) > INDICATED * len(known)
        if kind == "date":
            column["format"] = format
            if format is not None and "/%" in format:
                swapped = format.replace("%m", "%?").replace("%d", "%m").replace("%?", "%d")
                if np.isnan(_days(cells, swapped)[0]).sum() == column["gaps"]:
                    notes.append(
                        f"the dates of column '{name}' are read as {_spoken(format)}, and could be {_spoken(swapped)}"
                    )
        described.append(column)
    if max_one_hot is not None:  # numbers first, for what embeds them
        described.sort(key=lambda column: column["kind"] == "category")
    return described, notes


def count_numbers(columns: Sequence[Mapping[str, Any]]) -> int:
    """Count the inputs made of numbers and dates, and of their gaps."""
    return len(feature_names([column for column in columns if column["kind"] != "category"]))


def _inputs(categories: int, more: int, max_one_hot: int | None) -> str:
    """Choose what a column of texts becomes: an input a category, one of ±1 for two, or one with its number."""
    if max_one_hot is None or 2 < categories + more <= max_one_hot:
        return "one-hot"
    return "sign" if categories == 2 and not more else "code"


def codes(columns: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Tell which inputs hold numbers of categories, 1 to n and 0 for none, and how many categories n there are."""
    found, at = {}, 0
    for column in columns:
        if column.get("inputs") == "code":
            found[at] = len(column["categories"]) + column["other"] + column["missing"]
        at += len(feature_names([column]))
    return found


def feature_names(columns: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Name the inputs made of columns: "size", "hue=red", "hue (other)", "day (year)", "size (missing)"."""
    names: list[str] = []
    for column in columns:
        name = column["name"]
        if column["kind"] == "number":
            names.append(name)
        elif column["kind"] == "date":
            names.extend(f"{name} ({part})" for part in DATE_PARTS)
        elif column.get("inputs") in ("sign", "code"):
            names.append(
                f"{name}={column['categories'][1]}" if column["inputs"] == "sign" else f"{name} (code)"
            )
            continue
        else:
            names.extend(f"{name}={category}" for category in column["categories"])
            names.extend([f"{name} (other)"] * column["other"])
        names.extend([f"{name} (missing)"] * column["missing"])
    return tuple(names)


def encode(
    table: Table,
    columns: Sequence[Mapping[str, Any]],
    rows: np.ndarray | slice = slice(None),
    *,
    unseen: str = "ignore",
) -> tuple[np.ndarray, list[str]]:
    """Encode rows of converted columns as [N, I] numbers; returns with them what is to be said of unseen texts."""
    import pandas as pd

    encoded, at = np.zeros((len(table.cells.index[rows]), len(feature_names(columns)))), 0
    notes: list[str] = []
    for column in columns:
        values, width = table.cells[column["name"]].iloc[rows], len(feature_names([column]))
        place, gaps = encoded[:, at : at + width], values.isna().to_numpy()
        at += width
        if column["kind"] == "category":
            categories = pd.Index(column["categories"], dtype=object)
            codes = np.append(categories.get_indexer(values.cat.categories), -1)[values.cat.codes]
            known = codes >= 0
            new = ~known & ~gaps
            if new.any():
                if unseen == "refuse":
                    row = int(np.flatnonzero(new)[0])
                    raise ArgumentError(
                        f"{table._replace(cells=table.cells.iloc[rows]).place(row)}, column '{column['name']}': "
                        f"'{values.iloc[row]}' was not in the training data, which had {quoted(categories)}: "
                        f"mend it, or --unseen ignore"
                    )
                counted = "as other" if column["other"] else "as none of its categories"
                notes.append(f"column '{column['name']}': {new.sum():,} unseen texts count {counted}")
            codes[new] = len(categories) if column["other"] else -1
            if column["missing"]:
                codes[gaps] = len(categories) + column["other"]
            if column.get("inputs") == "sign":
                place[known, 0] = 2 * codes[known] - 1
            elif column.get("inputs") == "code":
                place[:, 0] = codes + 1
            else:
                place[np.flatnonzero(codes >= 0), codes[codes >= 0]] = 1
        else:
            filled = values.fillna(column["fill"]).to_numpy(np.float64)
            parts = _date_parts(filled) if column["kind"] == "date" else filled[:, None]
            place[:, : parts.shape[1]] = parts
            if column["missing"]:
                place[gaps, -1] = 1
    return encoded, notes


def gap_texts(name: str, counts: "pd.Series[int]") -> list[str]:
    """Say which texts of a column would be gaps among numbers."""
    return [
        f"column '{name}': {text} ({counts[text]:,}) is a text there and no gap (--na-values {text} if it is one)"
        for text in sorted(NUMBER_GAPS & {*counts.keys()})
    ]


def is_of_names(counts: "pd.Series[int]") -> bool:
    """Tell whether most of the texts that are counted occur once, as names do."""
    return int(counts.sum()) > FEW_ROWS and 2 * int((counts == 1).sum()) > int(counts.sum())


def gap_notes(table: Table, columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Count the gaps of columns aloud, and say what becomes of them."""
    treated: dict[str, list[str]] = {}
    for column in columns:
        gaps = int(table.cells[column["name"]].isna().sum())
        if gaps:
            texts = "a category" if column["missing"] else "none of the categories"
            becomes = texts if column["kind"] == "category" else "the median"
            treated.setdefault(becomes, []).append(f"'{column['name']}' ({gaps:,})")
    return [f"gaps become {becomes}: {', '.join(names)}" for becomes, names in treated.items()]


def check_gaps(
    table: Table,
    columns: Sequence[Mapping[str, Any]],
    else_: str = ", or choose missing 'impute' (--missing)",
) -> None:
    """Refuse gaps in columns, with what to do else than fill them."""
    counts = table.cells[[column["name"] for column in columns]].isna()
    lacking = ", ".join(f"'{name}' ({count})" for name, count in counts.sum().items() if count)
    if lacking:
        place = table.place(int(np.flatnonzero(counts.any(axis=1))[0]))
        raise ArgumentError(
            f"{table.name} has missing values in {lacking}, the first in {place}: fill them{else_}"
        )


def quoted(given: Sequence[Any], most: int = 10) -> str:
    """Write names for a message; a long list is cut."""
    shown = ", ".join(f"'{name}'" for name in given[:most])
    return shown if len(given) <= most else f"{shown} … ({len(given)} in all)"


def _days(cells: "pd.Series[Any]", format: str | None) -> tuple[np.ndarray, str]:
    """Read texts as dates, by a format or by that which reads most of them; days since 1970, NaN for no date."""
    import pandas as pd

    def read(way: str) -> np.ndarray:
        times = pd.to_datetime(cells.cat.categories, format=way, errors="coerce", utc=True).tz_localize(None)
        days = times.to_numpy("datetime64[s]").astype(np.float64) / 86400
        return np.append(np.where(times.isna(), np.nan, days), np.nan)[cells.cat.codes]

    ways = {way: read(way) for way in ([format] if format else ["ISO8601", *DATE_FORMATS])}
    best = min(ways, key=lambda way: int(np.isnan(ways[way]).sum()))
    return ways[best], best


def _date_parts(days: np.ndarray) -> np.ndarray:
    times = (days * 86400).astype("datetime64[s]")
    months = times.astype("datetime64[M]").astype(int)
    return np.column_stack([days, 1970 + months // 12, 1 + months % 12, np.floor(days + 3) % 7])


def _spoken(format: str) -> str:
    return (
        format.partition(" ")[0]
        .replace("%d", "day")
        .replace("%m", "month")
        .replace("%Y", "year")
        .replace("%y", "year")
    )
