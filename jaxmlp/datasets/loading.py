"""One door to all data: a name or a file in, a data set out."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxmlp.datasets.dataset import Dataset
from jaxmlp.datasets.digits import load_digits
from jaxmlp.datasets.options import Options
from jaxmlp.datasets.toys import TOYS, load_toy
from jaxmlp.registry import Registry

MANUAL_DIR_VARIABLE = "JAXMLP_MANUAL_DIR"


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


_TOY_UNUSED = ("target", "task", "missing")
_FIXED_UNUSED = (*_TOY_UNUSED, "examples", "noise")

DATASETS: Registry[Source] = Registry(
    "data set",
    {
        "digits": Source(
            "handwritten digits of 8 by 8 pixels, bundled with scikit-learn", load_digits, _FIXED_UNUSED
        ),
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
    missing: str = "refuse",
    examples: int | None = None,
    noise: float | None = None,
    quiet: bool = False,
) -> Dataset:
    """Load a data set by its name, or from a file.

    Example:
        >>> load("digits").test.inputs.shape
        (360, 64)
    """
    options = Options(
        data_dir=Path.home() / ".cache" / "jaxmlp" if data_dir is None else Path(data_dir).expanduser(),
        manual_dir=None if manual_dir is None else Path(manual_dir).expanduser(),
        test_fraction=test_fraction,
        seed=seed,
        target=target,
        task=task,
        missing=missing,
        examples=examples,
        noise=noise,
        quiet=quiet,
    )
    name = os.fspath(name)
    source = DATASETS[name]
    options.refuse(name, source.unused)
    return source.load(options)
