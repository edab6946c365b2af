"""A table as it stands in a file: every cell a text, every row known by its line, nothing decided in silence."""

import csv
import dataclasses
import gzip
import io
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".data")
# Read by pandas: the function's name, and the package that it needs.
TYPED_ENDINGS = {
    ".parquet": ("read_parquet", "pyarrow"),
    ".feather": ("read_feather", "pyarrow"),
    ".xlsx": ("read_excel", "openpyxl"),
}
SEPARATORS = (",", ";", "\t", "|", " ")
SAMPLE_ROWS, SAMPLE_TEXT = 1000, 2**20  # lines and characters that tell the separator and the header
# A gap in any column; in a column of numbers also the others. NA is Namibia's code, and None an answer.
GAPS = frozenset({"", "?", "nan", "NaN", "null", "NULL", "N/A", "#N/A", "n/a", "<NA>"})
NUMBER_GAPS = frozenset({"NA", "None", "NAN", "Null", "none", "na"})
# A number with what people write around it: a currency, marks between digits, per cent, a unit behind a blank.
DRESSED = re.compile(
    r"\(?[-+−]?\s?[$€£¥]?\s?[-+−]?\d[\d.,' ]*(e[-+]?\d+)?(\s?[%$€£¥]|\s[^\W\d]{1,5}[²³]?)?\)?", re.I
)
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?inf(inity)?", re.I | re.A)


@dataclass(frozen=True)
class Reading:
    """How a table is read; None is what the file itself tells.

    Attributes:
        separator: one character between fields; a blank stands for any number of blanks.
        header: whether the first line names the columns.
        decimal: "." or ",".
        thousands: a character between groups of three digits.
        na_values: texts that are gaps, besides empty cells and the usual spellings.
    """

    separator: str | None = None
    header: bool | None = None
    decimal: str | None = None
    thousands: str | None = None
    na_values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.separator is not None and len(self.separator) != 1:
            raise ArgumentError(f"separator {self.separator!r} is not one character: give one, as ';'")
        if self.decimal not in (None, ".", ","):
            raise ArgumentError(f"decimal {self.decimal!r} is not allowed: give '.' or ','")
        if self.thousands is not None and (
            len(self.thousands) != 1 or self.thousands == (self.decimal or ".")
        ):
            raise ArgumentError(
                f"thousands {self.thousands!r} is not one character other than the decimal mark: give one, as ','"
            )


class Table(NamedTuple):
    """A table of texts.

    Attributes:
        cells: a column of texts each, None at a gap; its index holds the line of each row in the file.
        name: the file's, as messages name it.
        reading: how it was read, with what the file itself told.
        notes: what was decided that the user did not say, a sentence each.
    """

    cells: "pd.DataFrame"
    name: str
    reading: Reading
    notes: tuple[str, ...] = ()

    def place(self, row: int) -> str:
        """Say where a row stands."""
        line = self.cells.index[row]
        return line if isinstance(line, str) else f"line {line} of {self.name}"


def read_table(path: Path, reading: Reading) -> Table:
    """Read a table from a text file, from standard input ("-"), or from what pandas reads."""
    name = "standard input" if str(path) == "-" else f"file '{path}'"
    if path.suffix.lower() in TYPED_ENDINGS:
        table = _read_typed(path, name, reading)
    else:
        table = _read_text(_text(path, name), name, reading)
    if len(table.cells) == 0:
        raise ArgumentError(f"{name} is empty (0 rows below its first line): give at least one row")
    return table


def numbers(column: "pd.Series[str]", reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Read texts as numbers: [N] values, NaN where there is none, and [N] truths where a text is no number."""
    import pandas as pd

    texts, mark = column, reading.thousands
    if reading.decimal == ",":
        texts = texts.where(~texts.str.contains(".", regex=False, na=False) | (mark == "."), "?")
    if mark is not None:
        texts = texts.str.replace(rf"(?<=\d){re.escape(mark)}(?=\d{{3}}(?!\d))", "", regex=True)
    if reading.decimal == ",":
        texts = texts.str.replace(",", ".", regex=False)
    values = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64, copy=True)
    unread = np.isnan(values) & column.notna().to_numpy()
    if unread.any():
        seen = {text: str(text).replace("−", "-") for text in texts[unread].unique()}
        read = {text: float(plain) for text, plain in seen.items() if is_number(plain)}
        values[unread] = texts[unread].map(lambda text: read.get(text, np.nan))
        unread[unread] = ~texts[unread].isin([*read, *NUMBER_GAPS]).to_numpy()
    return values, unread


def is_number(text: str | None) -> bool:
    """Tell whether a text is a finite or infinite number as JSON or C write it."""
    return text is not None and NUMBER.fullmatch(text) is not None


def check_regular(path: Path) -> None:
    """Refuse what is no file of a size that is known: a device or a pipe may never end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ArgumentError(
            f"file '{path}' cannot be read ({error.strerror or error}): check its name and folder "
            f"('{Path.cwd()}' is here)"
        ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise ArgumentError(f"'{path}' is {kind}: give a file with a table, or - for standard input")


def _text(path: Path, name: str) -> str:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read()
        else:
            check_regular(path)
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix.lower() == ".gz" else data
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ArgumentError(f"{name} is not UTF-8 text: save it as csv in UTF-8") from None
    except (OSError, EOFError) as error:
        raise ArgumentError(f"{name} cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _read_typed(path: Path, name: str, reading: Reading) -> Table:
    """Read a file that knows its types, and write its values as texts: there is one reader of cells."""
    import pandas as pd

    check_regular(path)
    function, package = TYPED_ENDINGS[path.suffix.lower()]
    try:
        frame = getattr(pd, function)(path)
    except ImportError:
        raise ArgumentError(f"{name} needs the package {package}: pip install {package}") from None
    except Exception as error:  # each of these packages has errors of its own
        raise ArgumentError(f"{name} is not a whole {path.suffix} file ({error}): save it again") from None
    names = [str(column).strip() for column in frame]
    _check_names(names, name)
    gaps = {*GAPS, *reading.na_values}
    cells = frame.astype(object).map(lambda value: str(value).strip(), na_action="ignore")
    cells = cells.where(cells.notna() & ~cells.isin(gaps), None).set_axis(names, axis=1)
    return Table(cells.set_axis(range(1, len(cells) + 1), axis=0), name, Reading(header=True, decimal="."))


def _read_text(text: str, name: str, reading: Reading) -> Table:
    import pandas as pd

    separator = reading.separator or _sniff(text, name)
    gaps: dict[str, str | None] = dict.fromkeys([*GAPS, *reading.na_values])
    rows, places = _parse(text, separator, name, gaps)
    # A blank line is a gap where there is one column, and nothing where there are several, or at the end.
    while rows and not any(rows[-1]):
        del rows[-1], places[-1]
    start = next((number for number, row in enumerate(rows) if any(row)), None)
    if start is None:
        raise ArgumentError(f"{name} is empty: the first line names the columns, one row an example")
    width = len(rows[start])
    kept = [number for number in range(start, len(rows)) if rows[number] or width == 1]
    rows, places = [rows[number] or [None] for number in kept], [places[number] for number in kept]
    for row, place in zip(rows, places, strict=True):
        if len(row) != width:
            raise ArgumentError(
                f"{name} has {len(row)} fields in line {place} and {width} in its first: is it cut off? "
                f"Give every row as many fields, or name another --separator"
            )
    notes = []
    header = reading.header
    if header is None:
        header = not _is_data(rows[0], rows[1:SAMPLE_ROWS])
        if not header:
            notes.append(
                f"the first line of {name} is data: columns are named x1 to x{width} (--header if not)"
            )
    names = [cell or "" for cell in rows[0]] if header else [f"x{number}" for number in range(1, width + 1)]
    _check_names(names, name)
    cells = pd.DataFrame(rows[header:], columns=names, index=places[header:], dtype=object)
    reading = dataclasses.replace(reading, separator=separator, header=header)
    if reading.decimal is None and separator == ";":
        sample, comma = cells.head(SAMPLE_ROWS), dataclasses.replace(reading, decimal=",")
        by_point, by_comma = (
            sum(not numbers(sample[column], way)[1].any() for column in sample) for way in (reading, comma)
        )
        if by_comma > by_point:
            reading = comma
            notes.append(f"commas in {name} are decimal marks (--decimal . if not)")
    return Table(cells, name, reading, tuple(notes))


def _parse(
    text: str, separator: str, name: str, known: dict[str, str | None]
) -> tuple[list[list[str | None]], list[int]]:
    """Read rows of cells, and the line that each begins in; what a text is held as can be known before."""
    if separator == " ":
        split = [line.split() for line in text.splitlines()]
        return [[known.get(cell, cell) for cell in row] for row in split], list(range(1, len(split) + 1))
    rows, places, place, once = [], [], 1, known.setdefault  # equal texts are held once
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    try:
        for row in reader:
            rows.append([once(cell, cell) for cell in map(str.strip, row)])
            places.append(place)
            place = reader.line_num + 1
    except csv.Error as error:
        raise ArgumentError(f"{name} is not a whole csv ({error}, line {place}): save it again") from None
    return rows, places


def _sniff(text: str, name: str) -> str:
    """Tell the separator: what cuts, outside quotes, most of the first lines into as many fields as the first."""
    sample, best, most = "\n".join(text[:SAMPLE_TEXT].splitlines()[:SAMPLE_ROWS]), ",", (0.0, 1)
    for separator in SEPARATORS:
        try:
            rows = [row for row in _parse(sample, separator, name, {})[0] if any(row)]
        except ArgumentError:
            continue
        alike = sum(len(row) == len(rows[0]) for row in rows) / max(1, len(rows))
        # Blanks stand inside texts, too: they separate where nothing else does, and numbers are between them.
        is_blank = separator == " "
        if is_blank and (alike < 1 or most[1] > 1 or not any(map(is_number, rows[-1]))):
            continue
        if rows and len(rows[0]) > 1 and (alike, len(rows[0])) > most:
            best, most = separator, (alike, len(rows[0]))
    return best


def _is_data(first: list[str | None], rows: list[list[str | None]]) -> bool:
    """Tell whether a first line is plainly data: it holds a number, and its texts come again below them."""
    if not rows or not any(map(is_number, first)):
        return False
    below = [set(column) for column in zip(*rows, strict=True)]
    return all(cell is None or is_number(cell) or cell in below[place] for place, cell in enumerate(first))


def _check_names(names: list[str], origin: str) -> None:
    seen = set()
    for number, name in enumerate(names, start=1):
        if not name:
            raise ArgumentError(
                f"{origin} has no name for column {number}: if it is a DataFrame's index, save without it "
                f"(index=False); else name it, or say --no-header where the first line is data"
            )
        if name in seen:
            raise ArgumentError(f"{origin} names column '{name}' twice: give every column its own name")
        seen.add(name)
