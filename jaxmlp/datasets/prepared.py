"""Prepared arrays on disk: a folder is either whole or not there, and is read by mapping it into memory."""

import contextlib
import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmlp.datasets.archives import file_sha256
from jaxmlp.datasets.dataset import Arrays
from jaxmlp.files import others_may_write, parse_json
from jaxmlp.types import ArgumentError

RECORD = "prepared.json"
FORMAT = 1


def read_prepared(folder: Path, identity: Mapping[str, Any]) -> Arrays | None:
    """Map the arrays of a prepared folder into memory, if it is whole and of this identity."""
    if folder.is_dir() and any(map(others_may_write, [folder, *folder.glob("*.npy")])):
        raise ArgumentError(
            f"others may change the prepared data in '{folder}' while they are read: delete them, or chmod -R go-w"
        )
    try:
        record = parse_json((folder / RECORD).read_bytes())
        if record["format"] != FORMAT or record["identity"] != dict(identity):
            return None
        return {
            name: _read_array(folder / f"{name}.npy", wanted) for name, wanted in record["arrays"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # whatever a damaged folder can cause
        return None


def prepare(folder: Path, identity: Mapping[str, Any], make: Callable[[Path], Arrays]) -> Arrays:
    """Make a prepared folder that appears whole or not at all: a temporary one takes its name at the end.

    Whatever stood there before is replaced.
    """
    with _unwritable_is_an_argument_error(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-unfinished-", dir=folder.parent))
    try:
        arrays = make(unfinished)
        with _unwritable_is_an_argument_error(folder):
            _write_record(unfinished, identity, arrays)
            mapped = read_prepared(unfinished, identity)  # stays mapped when the folder takes its name
            if mapped is None:
                raise OSError("what was written does not read back the same")
            _replace(folder, unfinished)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # gone already when all went well
    return mapped


def _read_array(path: Path, wanted: Mapping[str, Any]) -> np.ndarray:
    if file_sha256(path) != wanted["sha256"]:
        raise ValueError("altered")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if list(array.shape) != wanted["shape"] or array.dtype.str != wanted["dtype"]:
        raise ValueError("another array")
    return array


def _write_record(folder: Path, identity: Mapping[str, Any], arrays: Arrays) -> None:
    described = {}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        np.save(path, array, allow_pickle=False)
        path.chmod(0o644)  # whatever the umask
        described[name] = {"shape": list(array.shape), "dtype": array.dtype.str, "sha256": file_sha256(path)}
    record = {"format": FORMAT, "identity": dict(identity), "arrays": described}
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _replace(folder: Path, finished: Path) -> None:
    """Give a finished folder its name; a full folder in its place steps aside first."""
    finished.chmod(0o755)  # mkdtemp made it for its owner
    while True:  # another process may put its own there in between
        try:
            finished.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-replaced-", dir=folder.parent))
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _unwritable_is_an_argument_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArgumentError(
            f"data folder '{folder.parent}' cannot be written ({error.strerror or error}): "
            f"choose another as data_dir, with room in it"
        ) from None
