"""One door to all data: a name or a file in, a data set out."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxmlp.datasets.catalogue import find_prepared, load_from_catalogue, tfds_folder
from jaxmlp.datasets.dataset import OF_TABLES, Dataset, Options
from jaxmlp.datasets.digits import TABLES, load_digits, load_table
from jaxmlp.datasets.files import load_file
from jaxmlp.datasets.mnist import IMAGE_SETS, are_images_at_hand, load_images
from jaxmlp.datasets.toys import TOYS, load_toy
from jaxmlp.registry import Registry, unknown_name


class Source(NamedTuple):
    """A data set that is known by name.

    Attributes:
        description: one line for lists and `--help`.
        load: makes the data set from the options.
        unused: names of the options that do not apply to it.

    Example:
        >>> DATASETS["digits"].description
        'handwritten digits of 8 by 8 pixels, bundled with scikit-learn'
    """

    description: str
    load: Callable[[Options], Dataset]
    unused: tuple[str, ...]


_TOY_UNUSED = ("task", *OF_TABLES)
_FIXED_UNUSED = (*_TOY_UNUSED, "examples", "noise")

DATASETS: Registry[Source] = Registry(
    "data set",
    {
        "digits": Source(
            "handwritten digits of 8 by 8 pixels, bundled with scikit-learn", load_digits, _FIXED_UNUSED
        ),
        **{
            name: Source(description, functools.partial(load_table, name), _FIXED_UNUSED)
            for name, description in TABLES.items()
        },
        **{
            name: Source(image_set.description, functools.partial(load_images, image_set), _FIXED_UNUSED)
            for name, image_set in IMAGE_SETS.items()
        },
        **{
            name: Source(toy.description, functools.partial(load_toy, name), _TOY_UNUSED)
            for name, toy in TOYS.items()
        },
    },
)


def load(
    name: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    target: str | None = None,
    task: str | None = None,
    missing: str = "impute",
    test: str | os.PathLike[str] | None = None,
    ignore: str | None = None,
    text: str | None = None,
    weight_column: str | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    drop_missing_target: bool = False,
    separator: str | None = None,
    header: bool | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    na_values: str | None = None,
    max_one_hot: int | None = None,
    examples: int | None = None,
    noise: float | None = None,
    quiet: bool = False,
) -> Dataset:
    """Load a data set by its name, or from a file of the user's own.

    The name is looked up in DATASETS. A path is read: a table (.csv, .tsv, .txt, .data, each also as .gz;
    .parquet, .feather, .xlsx; "-" for standard input), arrays (.npz, .h5), or a folder of images with a folder a
    class. Anything else is looked for among the data sets of the TFDS catalogue that are prepared already.
    What is decided for the user is told in the data set's `notes`.

    Args:
        name: a name in DATASETS, a path, or a TFDS name.
        data_dir: where prepared data sets are kept; ~/.cache/jaxmlp by default.
        manual_dir: folder of archives downloaded by hand, itself or with a sub-folder named after the data
            set; by default that in the variable JAXMLP_MANUAL_DIR, if it is set.
        test_fraction: share of the examples held out, where a data set brings no test part; 0 trains on all.
        seed: fixes the split and the generated sets.
        target: target column of a table; several with commas between them; a number counts columns, -1 the last.
        task: "classification", "multilabel" or "regression" for a file; None infers it.
        missing: "impute" gaps of a table from the training part, or "refuse" them.
        test: a file whose rows are the test part.
        ignore: columns of a table to leave out, with commas between them.
        text: columns of a table that hold texts, whatever they look like.
        weight_column: the column of a table that weighs its rows.
        group_column: the column whose equal values stay in one part.
        time_column: the column by which rows are ordered; the last ones test.
        drop_missing_target: leave out rows without a target, which are refused otherwise.
        separator: the character between the fields of a text file; None finds it.
        header: whether the first line names the columns; None looks at it.
        decimal: "." or ","; None looks where semicolons separate.
        thousands: the character between groups of three digits.
        na_values: texts that are gaps besides the usual ones, with commas between them.
        max_one_hot: columns of more categories become one input, the number of the category (0 for none), and
            those of two become one of −1 and 1; None makes an input of each category.
        examples: how many examples to generate; 1000 by default.
        noise: how noisy the generated set is; each has its own default.
        quiet: no progress bars.

    Returns:
        The data set, checked: no part is empty, all values are finite, all classes have a name.

    Raises:
        ArgumentError: an unknown name or option, an option that the data set would ignore, a file or
            archive that is missing or damaged, or data that cannot be trained on.

    Example:
        >>> load("digits").test.inputs.shape
        (360, 64)
        >>> load("sine", examples=50, seed=1).task
        'regression'
    """
    given = {key: value for key, value in locals().items() if key not in ("name", "data_dir", "manual_dir")}
    given["test"] = None if test is None else os.fspath(test)
    by_hand = None if manual_dir is None else Path(os.path.expanduser(manual_dir))
    options, name = Options(data_dir=_data_folder(data_dir), manual_dir=by_hand, **given), os.fspath(name)
    if not name.strip():
        raise unknown_name("data set", name, DATASETS)
    if name in DATASETS:
        source = DATASETS[name]
        options.refuse(name, source.unused)
        return source.load(options)
    if _is_path(name, options):
        return load_file(Path(os.path.expanduser(name)), options)
    options.refuse(name, _FIXED_UNUSED)
    return load_from_catalogue(name, options, DATASETS)


def is_at_hand(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
) -> bool:
    """Tell whether a data set known by name can be loaded without downloading anything."""
    DATASETS[name]  # raises for an unknown name
    by_hand = None if manual_dir is None else Path(os.path.expanduser(manual_dir))
    return name not in IMAGE_SETS or are_images_at_hand(name, _data_folder(data_dir), by_hand)


def _data_folder(given: str | os.PathLike[str] | None) -> Path:
    return Path(os.path.expanduser("~/.cache/jaxmlp" if given is None else given))


def _is_path(name: str, options: Options) -> bool:
    if find_prepared(name, (options.data_dir, tfds_folder())) is not None:
        return False
    path = Path(os.path.expanduser(name))
    if name == "-":
        return True
    has_ending = bool(path.suffix) and not path.suffix[1:].isdigit()  # a TFDS version ends in digits
    return has_ending or path.exists() or name.startswith((".", "~", os.sep))
