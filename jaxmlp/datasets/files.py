"""A user's own files: tables with a named target, arrays that are never unpickled, folders of images by class."""

import dataclasses
import functools
import hashlib
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmlp.datasets.archives import file_sha256
from jaxmlp.datasets.dataset import (
    Arrays,
    Dataset,
    Options,
    check_inputs,
    check_missing,
    divide,
    flatten_inputs,
    from_arrays,
    split_rows,
)
from jaxmlp.datasets.reading import Reading, Table, check_regular, numbers, read_table
from jaxmlp.datasets.table import check_gaps, convert, encode, feature_names, fit_columns, quoted
from jaxmlp.datasets.targets import Targets, encode_targets
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

# Spellings that are understood: training features and targets, test features and targets (the second is
# Keras's); features and targets that are yet to be split; features for prediction.
SPLIT_KEYS = (
    ("train_inputs", "train_targets", "test_inputs", "test_targets"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
)
WHOLE_KEYS = (("inputs", "targets"), ("x", "y"), ("X", "y"))
INPUT_KEYS = ("inputs", "x", "X", "x_test", "X_test", "test_inputs")
ARRAY_ENDINGS = (".npz", ".h5", ".hdf5")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
UNSEEN = ("ignore", "refuse")
COPIES = 0.99999  # a correlation above this is a copy of the target
# What `load` may be told of a table, and of nothing else.
OF_TABLES = (
    *("target", "missing", "ignore", "text", "weight_column", "group_column", "time_column", "test"),
    *("drop_missing_target", "separator", "header", "decimal", "thousands", "na_values"),
)


def load_file(path: Path, options: Options) -> Dataset:
    """Load a data set from a file or a folder of images; the ending tells how to read it."""
    options.refuse(path.name, ("examples", "noise"))
    if path.is_dir():
        return _load_images(path, options)
    if path.suffix.lower() in ARRAY_ENDINGS:
        options.refuse(path.name, OF_TABLES)
        return _load_arrays(path, options)
    return _load_table(path, options)


def read_inputs(
    path: str | os.PathLike[str],
    *,
    features: int,
    feature_names: Sequence[str] = (),
    table: Mapping[str, Any] | None = None,
    missing: str | None = None,
) -> np.ndarray:
    """Read the features of a file for prediction.

    A table is read by its column names, in any order; the target may be there or not. Where no names are
    known, all its numeric columns are taken as they stand. Of arrays `inputs`, `x`, `X`, `x_test` or
    `test_inputs` is taken, or the only one there is.

    Args:
        path: a file that `load` takes.
        features: I, how many features the network takes.
        feature_names: I names as the data set gave them, or ().
        table: how the columns of a table were encoded in training, or None.
        missing: "refuse" or "impute"; None does as in training.

    Returns:
        [N, I] raw features, to be given to `Preprocessing.inputs`.

    Raises:
        ArgumentError: the file cannot be read or has another ending, columns are not there, cells are no
            numbers where training had numbers, or the number of features is another.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new.npz"
        >>> np.savez(path, inputs=np.ones((3, 2, 2)))
        >>> read_inputs(path, features=4).shape
        (3, 4)
    """
    return read_examples(path, features, feature_names, table, missing)[0]


def read_examples(
    path: str | os.PathLike[str],
    features: int,
    names: Sequence[str],
    described: Mapping[str, Any] | None,
    missing: str | None = None,
    unseen: str = "ignore",
) -> tuple[np.ndarray, Table | None, list[str]]:
    """Read the features of new examples, the table that they stand in, and what is to be said of it."""
    path, notes = Path(path).expanduser(), []
    if missing is not None:
        check_missing(missing)
    if unseen not in UNSEEN:
        raise unknown_name("treatment of unseen texts", unseen, UNSEEN)
    table = None
    if path.suffix.lower() in ARRAY_ENDINGS:
        origin = f"file '{path}'"
        inputs, _ = flatten_inputs(_input_array(read_arrays(path), origin), origin)
        check_inputs(inputs, origin, tuple(names))
    else:
        reading = Reading(**described["reading"]) if described else Reading()
        table = read_table(path, reading)
        origin, notes = table.name, list(table.notes)
        if described:
            columns = described["columns"]
        elif missing == "impute":
            raise ArgumentError(
                f"{origin} cannot be imputed: the model was trained on no table; fill its gaps"
            )
        elif names:  # numbers of a data set that is no table
            columns = [{"name": name, "kind": "number", "fill": 0.0, "missing": False} for name in names]
        else:
            columns = _numeric_columns(table)
        wanted = [column["name"] for column in columns]
        absent = [name for name in wanted if name not in table.names]
        if absent:
            raise ArgumentError(
                f"{origin} lacks the columns {quoted(absent)} that the model was trained with: "
                f"its columns are {quoted(table.names)}"
            )
        read = table._replace(cells=table.cells.copy(deep=False))
        for column in columns:
            convert(read, column["name"], column["kind"], column.get("format"))
        if (missing or (described or {}).get("missing", "refuse")) == "refuse":
            check_gaps(read, columns)
        inputs, strange = encode(read, columns, unseen=unseen)
        notes += _gap_notes(read, wanted)
        notes += [
            f"column '{name}': {count:,} texts that training did not have count as others"
            for name, count in strange.items()
        ]
    if inputs.shape[1] != features:
        raise ArgumentError(
            f"{origin} has {inputs.shape[1]} features, the network takes {features}: "
            f"give the features that it was trained with"
        )
    return inputs, table, notes


def read_arrays(path: Path) -> Arrays:
    """Read every array of an .npz or .h5 file without unpickling anything."""
    check_regular(path)
    try:
        if path.suffix.lower() != ".npz":
            return _read_h5(path)
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise ArgumentError(f"file '{path}' is a single array, not an .npz: save it with numpy.savez")
        with zipfile.ZipFile(path) as archive:
            return {
                Path(member.filename).stem: _read_member(archive, member, path)
                for member in archive.infolist()
            }
    except (ArgumentError, MemoryError):
        raise
    except OSError as error:
        raise ArgumentError(f"file '{path}' cannot be read ({error.strerror or error})") from None
    except Exception:  # bytes that are no arrays make zipfile and NumPy raise errors of many kinds
        raise ArgumentError(
            f"file '{path}' is not a whole .npz file: save it again with numpy.savez"
        ) from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """Read an array whose declared size is that of its bytes: a header may promise more than a machine holds."""
    if member.file_size > 2000 * (member.compress_size + 1):  # deflate makes things smaller by 1032 at most
        raise ValueError
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise ArgumentError(
                f"file '{path}' holds pickled Python objects under '{Path(member.filename).stem}', which are "
                f"never loaded: save plain arrays of numbers or text"
            )
        if file.tell() + dtype.itemsize * math.prod(shape) != member.file_size:
            raise ValueError
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_h5(path: Path) -> Arrays:
    try:
        import h5py
    except ImportError:
        raise ArgumentError(f"file '{path}' needs the package h5py: pip install h5py") from None
    with h5py.File(path) as file:
        return {name: np.asarray(each) for name, each in file.items() if isinstance(each, h5py.Dataset)}


def _load_table(path: Path, options: Options) -> Dataset:
    """Load a table: how its columns are encoded is learned from the training part."""
    table = read_table(path, options.reading)
    notes, first, files = list(table.notes), len(table.cells), [path]
    if options.test is not None:
        files.append(Path(options.test).expanduser())
        table = _with_test(table, files[1], options)
    target_names = _target_columns(options.target, table)
    text, ignored = (_named(table, what, getattr(options, what)) for what in ("text", "ignore"))
    weighs, groups_by, orders = (
        _named(table, what, getattr(options, f"{what}_column"), several=False)
        for what in ("weight", "group", "time")
    )
    used = [*target_names, *weighs, *groups_by, *orders]
    if len(set(used)) < len(used):
        raise ArgumentError(
            f"target '{options.target}' or the weight, group or time column names a column twice: name each once"
        )
    features = [name for name in table.names if name not in (*used, *ignored)]
    if not features:
        raise ArgumentError(f"{table.name} has no column besides the target: give at least one feature")
    for name in orders:
        if convert(table, name)[0] == "category":
            raise ArgumentError(f"time column '{name}' of {table.name} has neither numbers nor dates")
        check_gaps(table, [{"name": name}])
        table = table._replace(cells=table.cells.sort_values(name, kind="stable"))
    lacking = table.cells[target_names].isna()
    kept = np.flatnonzero(~lacking.any(axis=1))
    if len(kept) < len(lacking):
        if not options.drop_missing_target:
            counts = ", ".join(f"'{name}' ({count})" for name, count in lacking.sum().items() if count)
            place = table.place(int(np.flatnonzero(lacking.any(axis=1))[0]))
            raise ArgumentError(
                f"{table.name} has missing values in target {counts}, the first in {place}: fill them, "
                f"or leave those rows out (--drop-missing-target)"
            )
        notes.append(f"{len(lacking) - len(kept):,} rows without a target are left out")
    # What is learned of columns holds for all rows: prediction takes those without a target, too.
    labelled, first = table._replace(cells=table.cells.iloc[kept]), int((kept < first).sum())
    targets, more = _read_targets(labelled, target_names, options, text, first)
    notes += more
    groups = labelled.cells[groups_by[0]].cat.codes.to_numpy() if groups_by else None
    if options.test is None:
        rows, more = split_rows(targets, options, groups)
        notes += more
    else:
        rows = (np.arange(first), np.arange(first, len(kept)))
    described, more = fit_columns(table, features, kept[rows[0]], text)
    notes += more
    if not described:
        raise ArgumentError(f"{table.name} has no column left to learn from: {'; '.join(more)}")
    if options.missing == "refuse":
        check_gaps(table, described)
    learned, names = [column["name"] for column in described], feature_names(described)
    notes += _gap_notes(table, learned) + _copies_of_the_target(table.cells[learned].iloc[kept], targets)
    weight = None
    for name in weighs:
        convert(labelled, name, "number")
        weights = labelled.cells[name].to_numpy(np.float64)
        if not (weights >= 0).all():
            raise ArgumentError(
                f"{labelled.place(int(np.argmin(weights >= 0)))}: a weight must be a number of at least 0"
            )
        weight = (weights[rows[0]], weights[rows[1]])
    given = {name: getattr(options, name) for name in (*OF_TABLES, "task") if name != "test"}
    return divide(
        [encode(table, described, kept[part])[0] for part in rows],
        targets,
        rows,
        name=path.name,
        feature_shape=(len(names),),
        feature_names=names,
        table={
            "columns": described,
            "missing": options.missing,
            "targets": target_names,
            "reading": dataclasses.asdict(
                dataclasses.replace(table.reading, separator=options.reading.separator)
            ),
        },
        identity={
            **{name: value for name, value in given.items() if value not in (None, (), False)},
            "name": path.name,
            "sha256": ["" if str(file) == "-" else file_sha256(file) for file in files],
            **options.split,
        },
        notes=tuple(notes),
        weight=weight,
        groups=None if groups is None else groups[rows[0]],
        is_ordered=bool(orders),
    )


def _with_test(table: Table, path: Path, options: Options) -> Table:
    """Put the rows of a test file behind those to train on."""
    import pandas as pd

    test = read_table(
        path, dataclasses.replace(options.reading, header=table.reading.header, decimal=table.reading.decimal)
    )
    absent = [name for name in table.names if name not in test.names]
    if absent:
        raise ArgumentError(
            f"{test.name} lacks the columns {quoted(absent)} of {table.name}: give both alike"
        )
    more = test.cells[table.names].set_axis(
        [f"line {line} of {test.name}" for line in test.cells.index], axis=0
    )
    return table._replace(cells=pd.concat([table.cells, more]).astype("category"))


def _target_columns(target: str | None, table: Table) -> list[str]:
    columns = table.names
    if target is None:
        raise ArgumentError(
            f"{table.name} needs a target column, none was named: choose one or several (with commas) of "
            f"{', '.join(columns[:20])}{' …' if len(columns) > 20 else ''}, or -1 for the last"
        )
    return _named(table, "target", target)


def _named(table: Table, what: str, given: str | None, *, several: bool = True) -> list[str]:
    """Find columns by name or by number, with commas between them; a column's name may hold a comma itself."""
    columns, found = table.names, []
    if given is None:
        return []
    are_several = several and given not in columns
    for name in [each.strip() for each in given.split(",")] if are_several else [given]:
        if name in columns:
            found.append(name)
        elif name.lstrip("-").isdecimal() and -len(columns) <= int(name) <= len(columns) and int(name):
            found.append(columns[int(name) - (int(name) > 0)])
        else:
            raise unknown_name(f"{what} column of {table.name}", name, columns)
    return found


def _read_targets(
    table: Table, columns: list[str], options: Options, text: Sequence[str], first: int
) -> tuple[Targets, list[str]]:
    read, notes = [], []
    for name in columns:
        cells = table.cells[name]
        # 01 is not 1 where both are names, and a date is no number to regress.
        is_code = cells.str.fullmatch(r"\d+").all() and cells.str.match(r"0\d").any()
        as_text = name in text or (is_code and options.task != "regression")
        kind = "category" if as_text else convert(table, name)[0]
        if kind != "number" and len(columns) > 1:
            raise ArgumentError(
                f"{table.name} has text in target '{name}': several targets have to be numbers "
                f"(0 and 1 for labels); name a single target for classes"
            )
        if kind != "number":
            classes = cells.to_numpy(str)
            if options.test is not None:
                classes, more = _as_in_training(classes, first, table)
                notes += more
            read.append(classes)
        elif cells.str.fullmatch(r"[-+]?\d{1,18}").all():
            read.append(cells.astype(object).map(int).to_numpy(np.int64))
        else:
            read.append(table.cells[name].to_numpy(np.float64))
    raw = read[0] if len(read) == 1 else np.column_stack(read)
    return encode_targets(raw, origin=table.name, task=options.task, names=tuple(columns)), notes


def _as_in_training(classes: np.ndarray, first: int, table: Table) -> tuple[np.ndarray, list[str]]:
    """Hold the classes of a test file against those of the training file."""
    known, notes = set(classes[:first]), []
    if not set(classes[first:]) & known and {each.rstrip(".") for each in classes[first:]} <= known:
        classes = np.array([*classes[:first], *(each.rstrip(".") for each in classes[first:])])
        notes = ["the full stop behind the classes of the test file is left out"]
    strange = [row for row in range(first, len(classes)) if classes[row] not in known]
    if strange:
        raise ArgumentError(
            f"{table.place(strange[0])} has the class '{classes[strange[0]]}', which the training file does not "
            f"have: its classes are {quoted(sorted(known))}"
        )
    return classes, notes


def _gap_notes(table: Table, names: Sequence[str]) -> list[str]:
    counts = table.cells[list(names)].isna().sum()
    lacking = [f"'{name}' ({count:,})" for name, count in counts.items() if count]
    return [f"gaps are filled: {', '.join(lacking)}"] if lacking else []


def _copies_of_the_target(columns: "pd.DataFrame", targets: Targets) -> list[str]:
    """Warn of columns that determine the target: they are mostly copies, which new rows will not have."""
    import pandas as pd

    notes = []
    for name, cells in columns.items():
        if targets.task == "classification":
            codes, values = pd.factorize(cells, use_na_sentinel=False)
            few = 2 <= len(values) <= max(2, len(cells) // 10)
            pairs = codes * len(targets.class_names) + targets.values
            is_copy = bool(few and len(np.unique(pairs)) == len(values))
        else:
            is_number = cells.dtype == np.float64 and cells.notna().all() and np.ptp(cells) > 0
            is_copy = bool(is_number) and any(
                np.ptp(column) > 0 and abs(np.corrcoef(cells, column)[0, 1]) > COPIES
                for column in targets.values.T
            )
        if is_copy:
            notes.append(
                f"column '{name}' determines the target: if it is a copy of it, leave it out (--ignore '{name}')"
            )
    return notes


def _numeric_columns(table: Table) -> list[dict[str, Any]]:
    names = [name for name in table.names if not numbers(table.cells[name], table.reading)[1].any()]
    if not names:
        raise ArgumentError(f"{table.name} has no column of numbers: give one column a feature")
    return [{"name": name, "kind": "number", "fill": 0.0, "missing": False} for name in names]


def _load_images(folder: Path, options: Options) -> Dataset:
    """Load a folder of images by class: a folder a class, all images of one size and mode."""
    from PIL import Image, UnidentifiedImageError

    names = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    paths = [
        (name, path)
        for name in names
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in IMAGE_ENDINGS
    ]
    if not paths:
        raise ArgumentError(
            f"'{folder}' is a folder without images: give a file, or a folder with a folder of images a class"
        )
    options.refuse(folder.name, (*OF_TABLES, "task"))
    images: list[np.ndarray] = []
    for _, path in paths:
        try:
            with Image.open(path) as image:
                images.append(
                    np.asarray(image.convert("L" if image.mode in ("1", "L", "I;16", "LA") else "RGB"))
                )
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            raise ArgumentError(f"'{path}' is not a whole image: save it again, or take it away") from None
        if images[-1].shape != images[0].shape:
            raise ArgumentError(
                f"'{path}' has the shape {images[-1].shape}, '{paths[0][1]}' has {images[0].shape}: "
                f"bring all images to one size and to grey or to colour"
            )
    digest = hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()
    identity = {"name": folder.name, "sha256": digest, "classes": names}
    encode = functools.partial(encode_targets, origin=f"folder '{folder}'", task="classification")
    labels = np.array([name for name, _ in paths])
    return from_arrays(
        [(np.stack(images), labels)], options, encode, origin=f"folder '{folder}'", identity=identity
    )


def _load_arrays(path: Path, options: Options) -> Dataset:
    """Load the arrays of SPLIT_KEYS or of WHOLE_KEYS; features of more than two axes are flattened."""
    arrays, origin = read_arrays(path), f"file '{path}'"
    keys = next((keys for keys in (*SPLIT_KEYS, *WHOLE_KEYS) if set(keys) <= set(arrays)), None)
    if keys is None:
        raise ArgumentError(
            f"{origin} has the arrays {', '.join(sorted(arrays)) or '(none)'}: give 'inputs' and 'targets', "
            f"or 'train_inputs', 'train_targets', 'test_inputs' and 'test_targets'"
        )
    parts = [(arrays[inputs], arrays[targets]) for inputs, targets in zip(keys[::2], keys[1::2], strict=True)]
    encode = functools.partial(encode_targets, origin=origin, task=options.task)
    identity = {"name": path.name, "sha256": file_sha256(path), "task": options.task}
    return from_arrays(parts, options, encode, origin=origin, identity=identity)


def _input_array(arrays: Arrays, origin: str) -> np.ndarray:
    for key in INPUT_KEYS:
        if key in arrays:
            return arrays[key]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise ArgumentError(
        f"{origin} has the arrays {', '.join(sorted(arrays)) or '(none)'}: name the features 'inputs'"
    )
