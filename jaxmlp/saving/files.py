"""The files of a checkpoint: a folder with arrays, a description and a manifest of sums, there whole or not at all.

    epoch-00000012/arrays/           the arrays, by orbax
    epoch-00000012/description.json  their names, and what they are of
    epoch-00000012/manifest.json     size and SHA-256 of every file above, written last

It is written under another name and renamed when it is whole. Nothing is ever unpickled.
"""

import contextlib
import errno
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from jaxmlp.saving.descriptions import plain_data
from jaxmlp.saving.manifests import sync, verify, write_manifest
from jaxmlp.saving.orbax_arrays import load_arrays, save_arrays
from jaxmlp.types import ArgumentError

FORMAT = "jaxmlp-checkpoint-1"
ARRAYS, DESCRIPTION = "arrays", "description.json"
UNFINISHED, REPLACED = ".unfinished", ".replaced"

AnyPath: TypeAlias = str | os.PathLike[str]


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        epoch: epochs done.
        arrays: NumPy arrays by name.
        description: plain data, which say what the arrays are of.
        value: how good it is; None where that was not told.
    """

    epoch: int
    arrays: dict[str, np.ndarray]
    description: Any
    value: float | None = None


def write_checkpoint(
    folder: AnyPath,
    epoch: int,
    arrays: Mapping[str, Any],
    description: Any,
    value: float | None = None,
) -> Path:
    """Write a checkpoint; one that is interrupted leaves none, and one of the same epoch is replaced.

    Args:
        folder: where the checkpoints of one run are; it must be there. Process 0 alone writes there.
        epoch: epochs done, at least 0.
        arrays: arrays of JAX or NumPy by name, as of `named_arrays`.
        description: plain JSON data, which say what the arrays are of.
        value: how good it is, for what keeps the best.

    Returns:
        The checkpoint's folder.

    Raises:
        ArgumentError: the description is not plain data, an epoch is below 0, or this is not process 0.
        OSError: the folder is gone, full or cannot be written; nothing unfinished is left.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_checkpoint(folder, 12, {"w": np.ones(2)}, {"network": "mine"})
        ...     path.name, read_checkpoint(path).arrays["w"].tolist()
        ('epoch-00000012', [1.0, 1.0])
    """
    if jax.process_index():
        raise ArgumentError(
            f"process 0 writes the checkpoints of a run of several processes, not process {jax.process_index()}"
        )
    folder = Path(folder).absolute()
    if epoch < 0:
        raise ArgumentError(f"a checkpoint's epoch must be at least 0, given {epoch}")
    target = folder / _name_of(epoch)
    on_host = {name: np.asarray(array) for name, array in arrays.items()}
    text = _header_text(epoch, on_host, description, value)
    clean(folder)
    unfinished = target.with_name(target.name + UNFINISHED)
    try:
        unfinished.mkdir()
        with _staying(unfinished):
            save_arrays(unfinished / ARRAYS, list(on_host.values()))
            (unfinished / DESCRIPTION).write_text(text, encoding="utf-8")
            write_manifest(unfinished)
            sync(unfinished)
        _put_in_place(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return target


def read_checkpoint(path: AnyPath) -> Checkpoint:
    """Read a checkpoint, its files held against their sums before anything of them is used.

    Args:
        path: the checkpoint's folder, which `write_checkpoint` returned.

    Returns:
        The checkpoint.

    Raises:
        ArgumentError: it is not there, is damaged (the file and what is wrong with it are named), or is of
            another format.

    Example:
        >>> try:
        ...     read_checkpoint("nowhere/epoch-00000001")
        ... except ArgumentError as error:
        ...     print(error)
        nowhere/epoch-00000001 is no checkpoint: there is no such folder
    """
    path = Path(path)
    if not path.is_dir():
        raise ArgumentError(f"{path} is no checkpoint: there is no such folder")
    verify(path)
    header = _header_of(path)
    try:
        shapes = [jax.ShapeDtypeStruct(each["shape"], np.dtype(each["type"])) for each in header["arrays"]]
        arrays = load_arrays(path / ARRAYS, shapes)
        names = [each["name"] for each in header["arrays"]]
        by_name = dict(zip(names, arrays, strict=True))
        return Checkpoint(header["epoch"], by_name, header["description"], header["value"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = str(error).split("\n")[0][:200]
        raise ArgumentError(
            f"checkpoint {path.name} cannot be read, though its sums are right ({type(error).__name__}: {reason}): "
            "it was not written by write_checkpoint"
        ) from None


def latest_checkpoint(folder: AnyPath) -> tuple[Checkpoint, tuple[str, ...]]:
    """Read the newest checkpoint that is whole.

    Args:
        folder: where the checkpoints of one run are.

    Returns:
        The checkpoint, and a line for every newer one that is damaged.

    Raises:
        ArgumentError: there is none, or none is whole.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = [write_checkpoint(folder, epoch, {}, None) for epoch in (1, 2)]
        ...     (paths[1] / "description.json").unlink()
        ...     checkpoint, notes = latest_checkpoint(folder)
        >>> checkpoint.epoch, *notes
        (1, 'checkpoint epoch-00000002 is damaged (description.json is missing): using epoch-00000001')
    """
    found = sorted(checkpoints_in(folder).items(), reverse=True)
    if not found:
        raise ArgumentError(f"there is no checkpoint in {os.fspath(folder)}: start the run anew")
    damaged: list[str] = []
    for _, path in found:
        try:
            checkpoint = read_checkpoint(path)
        except ArgumentError as error:
            damaged.append(str(error))
            continue
        return checkpoint, tuple(f"{line}: using {_name_of(checkpoint.epoch)}" for line in damaged)
    raise ArgumentError(
        f"no checkpoint in {os.fspath(folder)} can be used: {damaged[0]}; start the run anew"
        if len(damaged) == 1
        else f"none of {len(damaged)} checkpoints in {os.fspath(folder)} can be used, the newest as "
        f"{damaged[0]}; start the run anew"
    )


def checkpoints_in(folder: AnyPath) -> dict[int, Path]:
    """List the checkpoints of a folder, whole or not.

    Args:
        folder: where the checkpoints of one run are; it need not be there.

    Returns:
        Their folders by epoch, in rising order.

    Example:
        >>> checkpoints_in("nowhere")
        {}
    """
    found: dict[int, Path] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        # One that is being replaced counts until the new one is in its place: sorted, it comes behind it.
        for path in sorted(Path(folder).iterdir()):
            match = re.fullmatch(rf"epoch-(\d{{8,}})({re.escape(REPLACED)})?", path.name)
            if match:
                found.setdefault(int(match[1]), path)
    return dict(sorted(found.items()))


def value_of(path: Path) -> float | None:
    """Tell how good a checkpoint is, without reading its arrays."""
    try:
        verify(path, only=DESCRIPTION)
        value = _header_of(path)["value"]
    except (ArgumentError, KeyError, OSError):
        return None
    return value if isinstance(value, float) and not math.isnan(value) else None


def discard(path: Path) -> None:
    """Delete a checkpoint so that a kill in the middle leaves no part of it that looks whole."""
    doomed = path.with_name(path.name + UNFINISHED)
    os.rename(path, doomed)
    shutil.rmtree(doomed)


def clean(folder: Path) -> None:
    """Clear up what a kill left in a folder: unfinished checkpoints, and one that was being replaced."""
    for path in sorted(folder.iterdir()):
        if re.fullmatch(rf"epoch-\d{{8,}}({re.escape(REPLACED)})?{re.escape(UNFINISHED)}", path.name):
            shutil.rmtree(path)
        elif re.fullmatch(rf"epoch-\d{{8,}}{re.escape(REPLACED)}", path.name):
            target = path.with_name(path.name.removesuffix(REPLACED))
            if target.exists():
                discard(path)
            else:
                os.rename(path, target)


def check_same_folder(folder: Path, descriptor: int, cause: OSError | None = None) -> None:
    """Raise a FileNotFoundError if a folder was deleted, even if there is another one in its place."""
    if not folder.is_dir() or not os.path.samestat(os.fstat(descriptor), os.stat(folder)):
        raise FileNotFoundError(
            errno.ENOENT, "deleted while a run writes its checkpoints", str(folder)
        ) from cause


def _name_of(epoch: int) -> str:
    return f"epoch-{epoch:08d}"


def _header_text(epoch: int, arrays: Mapping[str, np.ndarray], description: Any, value: float | None) -> str:
    header = {
        "format": FORMAT,
        "epoch": int(epoch),
        "value": None if value is None else float(value),
        "arrays": [
            {"name": name, "shape": list(array.shape), "type": array.dtype.name}
            for name, array in arrays.items()
        ],
        "description": plain_data(description),
    }
    return json.dumps(header, indent=1)


def _header_of(path: Path) -> dict[str, Any]:
    try:
        header = json.loads((path / DESCRIPTION).read_bytes())
        found = header["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"checkpoint {path.name} has no description that can be read ({error})") from None
    if found != FORMAT:
        raise ArgumentError(
            f"checkpoint {path.name} has format {found!r}, this version reads {FORMAT!r}: "
            "use the version of jaxmlp that saved it"
        )
    return header


def _put_in_place(unfinished: Path, target: Path) -> None:
    replaced = target.with_name(target.name + REPLACED)
    if target.exists():
        os.rename(target, replaced)
    os.rename(unfinished, target)
    sync(target.parent, inside=False)
    if replaced.exists():
        discard(replaced)


@contextlib.contextmanager
def _staying(folder: Path) -> Iterator[None]:
    # A folder that is deleted meanwhile is made again by orbax, with a part of its files.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield
        check_same_folder(folder, descriptor)
    except OSError as error:
        check_same_folder(folder, descriptor, error)
        raise
    finally:
        os.close(descriptor)
