"""A table as it stands in a file: every cell a text, every row known by its line, nothing decided in silence."""

import csv
import dataclasses
import gzip
import hashlib
import io
import itertools
import math
import re
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmlp.datasets.archives import file_sha256
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

# Read by pandas: the function's name, and the package that it needs. Any other ending is that of a text file.
TYPED_ENDINGS = {
    ".parquet": ("read_parquet", "pyarrow"),
    ".feather": ("read_feather", "pyarrow"),
    ".xlsx": ("read_excel", "openpyxl"),  # its own gaps are those of a text file
}
SEPARATORS = (",", ";", "\t", "|", " ")
SAMPLE_ROWS = 1000  # that tell the separator and the header
# A gap in any column; in a column of numbers also the others. NA is Namibia's code, and None an answer.
GAPS = frozenset({"", "?", "nan", "NaN", "null", "NULL", "N/A", "#N/A", "n/a", "<NA>"})
NUMBER_GAPS = frozenset({"NA", "None", "NAN", "Null", "none", "na"})
# A number with what people write around it: a currency, marks between digits, per cent, a unit behind a blank.
DRESSED = re.compile(
    r"\(?[-+−]?\s?[$€£¥]?\s?[-+−]?(?=[.,]?\d)(\d{1,3}([.,'\s]\d{3})+|\d*)([.,]\d*)?(e[-+]?\d+)?"
    r"(\s?[%$€£¥]|\s[^\W\d]{1,5}[²³]?)?\)?",
    re.I,
)
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ]\d{1,2}:\d{2}.*)?")


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
        if self.separator is not None and (len(self.separator) != 1 or self.separator in '"\r\n'):
            raise ArgumentError(f"separator {self.separator!r} cannot be one: give one character, as ';'")
        if self.decimal not in (None, ".", ","):
            raise ArgumentError(f"decimal {self.decimal!r} is not allowed: give '.' or ','")
        if self.thousands is not None and (
            len(self.thousands) != 1 or self.thousands.isalnum() or self.thousands == (self.decimal or ".")
        ):
            raise ArgumentError(
                f"thousands {self.thousands!r} is not one character other than the decimal mark: give one, as ','"
            )


class Table(NamedTuple):
    """A table of texts.

    Attributes:
        cells: a column of texts each, held once as categories; the index holds each row's line, or its place as text.
        name: the file's, as messages name it.
        reading: how it was read, with what the file itself told.
        notes: what was decided that the user did not say, a sentence each.
        sha256: the hash of what was read, a file each.
    """

    cells: "pd.DataFrame"
    name: str
    reading: Reading
    notes: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(map(str, self.cells))

    def place(self, row: int) -> str:
        """Say where a row stands."""
        line = self.cells.index[row]
        return line if isinstance(line, str) else f"line {line} of {self.name}"


def read_table(path: Path, reading: Reading) -> Table:
    """Read a table from a text file, from standard input ("-"), or from what pandas reads."""
    name = "standard input" if str(path) == "-" else f"file '{path}'"
    read = _read_typed if path.suffix.lower() in TYPED_ENDINGS else _read_text
    return read(path, name, reading)


def numbers(column: "pd.Series[Any]", reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Read texts as numbers: [N] values, NaN where there is none, and [N] truths where a text is no number."""
    texts, mark, comma = column.cat.categories.tolist(), reading.thousands, reading.decimal == ","
    plain = texts
    if mark is not None:
        between = re.compile(rf"(?<=\d){re.escape(mark)}(?=\d{{3}}(?!\d))")
        plain = [between.sub("", text) for text in plain]
    if comma:
        plain = ["?" if "." in text else text.replace(",", ".") for text in plain]
    try:  # float takes more than is a number; where no such text is there, it is fast
        is_plain = re.fullmatch(r"[-+.\deE]*", "".join(plain), re.A)
        values = np.array([*map(float if is_plain else as_number, plain)])
    except ValueError:
        values = np.array([*map(as_number, plain)])
    unread = np.isnan(values)
    unread[unread] = [texts[place] not in NUMBER_GAPS for place in np.flatnonzero(unread)]
    codes = column.cat.codes.to_numpy()  # -1 is a gap
    return np.append(values, np.nan)[codes], np.append(unread, False)[codes]


def as_number(text: str) -> float:
    """Read a number as JSON or C write it, or with a true minus sign; NaN is any other text."""
    plain = text if text.isascii() else text.replace("−", "-")
    try:
        return float(plain) if plain.isascii() and "_" not in plain else math.nan
    except ValueError:
        return math.nan


def check_regular(path: Path) -> None:
    """Refuse what is no file of a size that is known: a device or a pipe may never end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        is_there = not isinstance(error, FileNotFoundError)
        what = f"cannot be read ({error.strerror or error})" if is_there else "does not exist"
        raise ArgumentError(
            f"file '{path}' {what}: check its name and folder ('{Path.cwd()}' is here)"
        ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise ArgumentError(f"'{path}' is {kind}: give a file with a table, or - for standard input")


def _read_typed(path: Path, name: str, reading: Reading) -> Table:
    """Read a file that knows its types, and write its values as texts: there is one reader of cells."""
    import pandas as pd

    check_regular(path)
    function, package = TYPED_ENDINGS[path.suffix.lower()]
    try:
        frame = getattr(pd, function)(path, **({"na_filter": False} if function == "read_excel" else {}))
    except ImportError:
        raise ArgumentError(f"{name} needs the package {package}: pip install {package}") from None
    except Exception as error:  # each of these packages has errors of its own
        reason = " ".join(str(error).split())
        raise ArgumentError(f"{name} is not a whole {path.suffix} file ({reason}): save it again") from None
    headings = [str(each).strip() for each in frame]
    # pandas makes floats of whole numbers with gaps.
    frame = frame.apply(lambda column: column.convert_dtypes() if column.hasnans else column)
    texts = frame.astype(object).map(str).where(frame.notna(), "")
    reading = dataclasses.replace(reading, header=True, decimal=".", thousands=None)
    first = 2 if function == "read_excel" else 1  # below the sheet's line of names
    table = _table(headings, texts, range(first, len(frame) + first), name, reading)
    return table._replace(sha256=(file_sha256(path),))


def _read_text(path: Path, name: str, reading: Reading) -> Table:
    import pandas as pd

    data, notes = _data(path, name), []
    if told := re.match(rb"(?:\xef\xbb\xbf)?sep=(.)\r?\n", data):  # as Excel begins a csv
        data, reading = b"\n" + data[told.end() :], dataclasses.replace(reading, separator=told[1].decode())
    separator = reading.separator or _sniff(data, name)
    rows = _rows(data, separator, name)
    first = [*itertools.islice(rows, SAMPLE_ROWS)]
    sample = [[*map(str.strip, row)] for _, row in first]
    if not sample:
        raise ArgumentError(f"{name} is empty: the first line names the columns, one row an example")
    width, header = len(sample[0]), reading.header
    if header is None:
        header = not _is_data(sample)
        if not header:
            notes.append(
                f"the first line of {name} is data: columns are named x1 to x{width} (--header if not)"
            )
    names = sample[0] if header else [f"x{number}" for number in range(1, width + 1)]
    reading = dataclasses.replace(reading, separator=separator, header=header)
    places = [line for line, _ in itertools.chain(first, rows)]
    # csv's reader has checked every row; pandas reads texts in half of the time, and some files otherwise.
    try:
        between = r"\s+" if separator == " " else separator
        cells = pd.read_csv(
            io.BytesIO(data),
            sep=between,
            header=None,
            dtype=object,
            na_filter=False,
            skipinitialspace=True,
            low_memory=False,
        )
    except pd.errors.ParserError:
        cells = pd.DataFrame()
    if cells.shape != (len(places), width) or width == 1:
        cells = pd.DataFrame([row for _, row in _rows(data, separator, name)], dtype=object)
    table = _table(names, cells.iloc[int(header) :], places[header:], name, reading)
    if reading.decimal is None and separator != "," and reading.thousands != ",":
        comma = dataclasses.replace(reading, decimal=",")
        cells = table.cells.head(SAMPLE_ROWS).astype(object).astype("category")
        by_point, by_comma = (
            sum(numbers(cells[column], way)[1].sum() for column in cells) for way in (reading, comma)
        )
        # 1,234 may be more than a thousand; 1,5 may not.
        is_plain = any(
            cells[column].str.contains(r"\d,(?:\d\d?|\d{4,})$", na=False).any() for column in cells
        )
        if by_comma < by_point and is_plain:
            table = table._replace(reading=comma)
            notes.append(f"commas in {name} are decimal marks (--decimal . if not)")
    return table._replace(notes=tuple(notes), sha256=(hashlib.sha256(data).hexdigest(),))


def _data(path: Path, name: str) -> bytes:
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read()
        check_regular(path)
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise ArgumentError(f"{name} cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _rows(data: bytes, separator: str, name: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Go through the rows of a text, each with the line that it begins in.

    A blank line is a gap where there is one column, and nothing where there are several, or at the end.
    """
    lines: Iterable[str] = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    if separator == " ":
        lines = (" ".join(line.split()) + "\n" for line in lines)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    line, width, blank = 1, 0, []
    try:
        for row in reader:
            if not row or (width != 1 and len(row) == 1 and not row[0].strip()):
                blank.append(line)
            else:
                if width == 1:
                    yield from ((each, [""]) for each in blank)
                width, blank = width or len(row), []
                if len(row) != width:
                    raise ArgumentError(
                        f"{name} has {len(row)} fields in line {line} and {width} in its first: is it cut off? "
                        f"Give every row as many fields, or name another --separator"
                    )
                yield line, row
            line = reader.line_num + 1
    except UnicodeDecodeError:
        raise ArgumentError(f"{name} is not UTF-8 text: save it as csv in UTF-8") from None
    except csv.Error as error:
        raise ArgumentError(f"{name} is not a whole csv ({error}, line {line}): save it again") from None


def _sniff(data: bytes, name: str) -> str:
    """Tell the separator: what cuts, outside quotes, most of the first lines into as many fields as the first."""
    best, most = ",", (0, False, 1)
    for separator in SEPARATORS:
        rows: list[Sequence[str]] = []
        try:
            rows.extend(row for _, row in itertools.islice(_rows(data, separator, name), SAMPLE_ROWS))
            is_whole = True
        except ArgumentError:
            is_whole = False
        width = len(rows[0]) if rows else 0
        # Of two that cut alike, the comma is rather a decimal mark.
        found = (len(rows), separator != ",", width)
        # Blanks stand inside texts, too: they separate where nothing else does, and numbers are between them.
        if separator == " " and not (
            is_whole and most[2] == 1 and rows and any(map(DRESSED.fullmatch, rows[-1]))
        ):
            continue
        if width > 1 and found > most:
            best, most = separator, found
    return best


def _is_data(sample: Sequence[Sequence[str]]) -> bool:
    """Tell whether a first line is plainly data: its cells are numbers, dates, or texts that come again below them."""
    first, *rows = sample
    if not rows:
        return False
    below = [GAPS.union(column) for column in zip(*rows, strict=True)]
    return all(
        DRESSED.fullmatch(cell) or DATE.fullmatch(cell) or cell in known
        for cell, known in zip(first, below, strict=True)
    )


def _table(
    names: list[str], cells: "pd.DataFrame", places: Sequence[int], name: str, reading: Reading
) -> Table:
    """Hold each text of a column once, without the blanks around it, and no gaps."""
    import pandas as pd

    for number, column in enumerate(names, start=1):
        if not column or re.fullmatch(r"Unnamed: \d+", column):  # what pandas calls those without a name
            raise ArgumentError(
                f"{name} has no name for column {number}: if it is a DataFrame's index, save without it "
                f"(index=False); else name it, or say --no-header where the first line is data"
            )
        if column in names[: number - 1]:
            raise ArgumentError(f"{name} names column '{column}' twice: give every column its own name")
    if not len(places):
        raise ArgumentError(f"{name} is empty (0 rows below its first line): give at least one row")
    held, gaps = {}, {*GAPS, *reading.na_values}
    numbers_of_gaps = {number for number in map(as_number, reading.na_values) if math.isfinite(number)}
    for place, column in enumerate(names):
        codes, texts = pd.factorize(cells.iloc[:, place].to_numpy())
        plain = np.array([*map(str.strip, texts)], object)
        if (plain != texts).any():
            again, plain = pd.factorize(plain)
            codes = again[codes]
        is_gap = [text in gaps or (numbers_of_gaps and as_number(text) in numbers_of_gaps) for text in plain]
        codes[np.array(is_gap, bool)[codes]] = -1
        held[column] = pd.Categorical.from_codes(codes, pd.Index(plain, dtype=object))
    return Table(pd.DataFrame(held, index=list(places)), name, reading)
