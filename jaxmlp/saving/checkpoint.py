"""Checkpoints: all that a run carries after an epoch, bit for bit, in one safetensors file that is whole or refused.

`epoch-00000012.safetensors` holds arrays by name, in its header a JSON description and the SHA-256 hash of both.
It is written under another name and renamed once the disk has it. Nothing is ever unpickled.
"""

import errno
import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp.files import AnyPath, parse_json
from jaxmlp.registry import unknown_name
from jaxmlp.saving.model_file import read_tensors, write_tensors
from jaxmlp.training.fit import FitState
from jaxmlp.training.stopping import Best
from jaxmlp.training.stream import Position
from jaxmlp.types import ArgumentError, EpochReport, check_whole

FORMAT = "jaxmlp-checkpoint-2"
HELD = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")  # types that stay as they are
KEY_KINDS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}  # by a type's name
# The history is a table of numbers: a column for each of these fields, then one for each layer's largest weight.
NUMBERS = tuple(field for field in EpochReport._fields if field != "max_weight")
BETTER: dict[str, Any] = {"smaller": min, "larger": max}
# One that is being written and one that waits: more would hold more memory and tell of a full disk later.
WAITING = 2
OF_ANOTHER = "it is of another network, optimiser or version"


class Checkpoint(NamedTuple):
    """What a checkpoint holds: epochs done, NumPy arrays by name, what they are of, and how good it is."""

    epoch: int
    arrays: dict[str, np.ndarray]
    description: Any
    value: float | None = None


def write_checkpoint(
    folder: AnyPath, epoch: int, arrays: Mapping[str, Any], description: Any, value: float | None = None
) -> Path:
    """Write a checkpoint by process 0, and return its file; interrupted, it leaves none, or the one that was there."""
    if jax.process_index():
        raise ArgumentError(f"process 0 writes the checkpoints of a run, not process {jax.process_index()}")
    on_host = {name: np.asarray(array) for name, array in arrays.items()}
    header = {
        "format": FORMAT,
        "epoch": int(epoch),
        "value": None if value is None else float(value),
        "types": {name: array.dtype.name for name, array in on_host.items()},
        "description": _plain_data(description),
    }
    text = json.dumps(header)
    stored = {name: _held(array) for name, array in on_host.items()}
    path = Path(folder).absolute() / f"epoch-{epoch:08d}.safetensors"
    write_tensors(path, stored, {"jaxmlp": text, "sha256": _hash_of(text, stored)}, sync=True)
    return path


def read_checkpoint(path: AnyPath) -> Checkpoint:
    """Read a checkpoint, held against its hash before anything of it is used; what is wrong with it is refused."""
    path = Path(path)
    if not path.is_file():
        raise ArgumentError(f"{path} is no checkpoint: there is no such file")
    try:
        stored, texts = read_tensors(path)
        if texts["sha256"] != _hash_of(texts["jaxmlp"], stored):
            raise ValueError("it does not have the SHA-256 hash that was written")
        header = parse_json(texts["jaxmlp"])
        if header["format"] == FORMAT:
            arrays = {name: _held_as(stored[name], kind) for name, kind in header["types"].items()}
            return Checkpoint(header["epoch"], arrays, header["description"], header["value"])
        wrong = f"has format {header['format']!r}, not {FORMAT!r}: use the version that saved it"
    # A disk that fails is damage too, and an older checkpoint may lie elsewhere on it.
    except OSError as error:
        wrong = f"is damaged (it cannot be read: {error.strerror or error})"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wrong = f"is damaged ({f'it has no {error}' if isinstance(error, KeyError) else error})"
    raise ArgumentError(" ".join(f"checkpoint {path.name} {wrong}".split()))


def latest_checkpoint(folder: AnyPath) -> tuple[Checkpoint, tuple[str, ...]]:
    """Read the newest checkpoint that is whole.

    Args:
        folder: where the checkpoints of one run are.

    Returns:
        The checkpoint, and a line for every newer one that is damaged.

    Raises:
        ArgumentError: there is none, or none is whole.

    Example:
        >>> paths = [write_checkpoint(".", epoch, {}, None) for epoch in (1, 2)]
        >>> latest_checkpoint(".")[0].epoch
        2
    """
    damaged: list[str] = []
    for path in reversed(checkpoints_in(folder).values()):
        try:
            return read_checkpoint(path), tuple(f"{line}: using {path.name}" for line in damaged)
        except ArgumentError as error:
            damaged.append(str(error))
    why = f"none of {len(damaged)} is whole, the newest as {damaged[0]}" if damaged else "there is none"
    raise ArgumentError(f"no checkpoint in {os.fspath(folder)} can be used ({why}): begin a new run")


def checkpoints_in(folder: AnyPath) -> dict[int, Path]:
    """List the checkpoints of a folder, whole or not: their files by epoch, in rising order.

    Args:
        folder: where the checkpoints of one run are; it need not be there.

    Returns:
        Paths by the number of the epoch; none where no checkpoint is there.

    Example:
        >>> checkpoints_in("nowhere")
        {}
    """
    files = [path for path in Path(folder).glob("epoch-*.safetensors") if path.is_file()]
    told = {path: re.fullmatch(r"epoch-(\d{8,})", path.stem) for path in files}
    return dict(sorted((int(match[1]), path) for path, match in told.items() if match))


def _held(array: np.ndarray) -> np.ndarray:
    """Take an array as safetensors holds it; where it lacks the type, as bytes, [..., bytes of a number]."""
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1)
    is_held = flat.dtype.str[1:] in HELD
    return flat.reshape(array.shape) if is_held else flat.view(np.uint8).reshape(*array.shape, array.itemsize)


def _held_as(array: np.ndarray, kind: str) -> np.ndarray:
    return array if array.dtype == kind else array.reshape(-1).view(kind).reshape(array.shape[:-1])


def _hash_of(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        found.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        found.update(array.data)
    return found.hexdigest()


def _plain_data(description: Any) -> Any:
    """Copy a description as a file gives it back: tuples become lists."""
    try:
        return json.loads(json.dumps(description))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"a checkpoint's description must be plain JSON data: {error}") from None


def check_description(found: Any, wanted: Any, told: str = "the checkpoint is of another run") -> None:
    """Refuse a checkpoint, or another record of a run, that is of something else.

    Args:
        found: the checkpoint's description.
        wanted: that of the run which is to go on from it, plain JSON data.
        told: how the message begins.

    Raises:
        ArgumentError: they differ; the first difference is named by its path, with both values.

    Example:
        >>> check_description({"sizes": [4, 3]}, {"sizes": [4, 5]})
        Traceback (most recent call last):
        jaxmlp.types.ArgumentError: the checkpoint is of another run: sizes.1 is 3 there and 5 here; give the same...
    """
    there, here = _texts_by_path(found), _texts_by_path(_plain_data(wanted))
    for name in here | there:
        if there.get(name) != here.get(name):
            before, now = (f"{texts.get(name, 'not told'):.80}" for texts in (there, here))
            which = f"{name} is {before} there and {now} here"
            raise ArgumentError(f"{told}: {which}; give the same or begin a new run")


def _texts_by_path(value: Any) -> dict[str, str]:
    """List what a description holds by paths, as JSON text, in which NaN is NaN, and 1 is neither 1.0 nor true."""
    leaves = jax.tree_util.tree_leaves_with_path(value, is_leaf=lambda each: each is None or each in ([], {}))
    named = [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]
    return {name or "the description": json.dumps(leaf, ensure_ascii=False) for name, leaf in named}


def named_arrays(tree: Any) -> dict[str, Any]:
    """Flatten a tree of arrays, keys and numbers to arrays by path; a random key is its data, named by its kind."""
    return {name: _storable(name, leaf) for name, leaf in _named_leaves(tree)}


def restore_tree(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """Put named arrays back into a tree like one of arrays or their shapes; the first difference is refused."""
    wanted = dict(_named_leaves(like))
    lacking = [f"lacks {name}" for name in wanted if name not in arrays]
    surplus = [f"holds {name}, which does not belong here" for name in arrays if name not in wanted]
    if lacking or surplus:
        raise ArgumentError(f"the checkpoint {' and '.join(lacking[:1] + surplus[:1])}: {OF_ANOTHER}")
    restored = [_like(name, arrays[name], leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), restored)


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    # Written as in Python, `params[0].w` or `['a.b']`: no two paths have one name.
    leaves = [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    kinds = [f":{KEY_KINDS[str(leaf.dtype)]}" if _is_key(leaf) else "" for _, leaf in leaves]
    return [(path.removeprefix(".") + kind, leaf) for (path, leaf), kind in zip(leaves, kinds, strict=True)]


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _storable(name: str, leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated:
            raise ArgumentError(f"{name} is divided among processes: only what each has whole can be saved")
        leaf = leaf.addressable_data(0)  # nothing is computed that other processes would take part in
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    # ml_dtypes' types, bfloat16 among them, are of kind "V" and have names of their own.
    if array.dtype.kind in "OSUMm" or array.dtype.name.startswith("void"):
        raise ArgumentError(f"{name or 'the tree'} has type {array.dtype}: only numbers can be saved")
    return array


def _like(name: str, array: np.ndarray, like: Any) -> Any:
    if _is_key(like):
        data = jax.eval_shape(jax.random.key_data, like)
        _check(name, array, data.shape, data.dtype)
        return jax.random.wrap_key_data(jnp.array(array), impl=KEY_KINDS[str(like.dtype)])
    if type(like) in (bool, int, float, complex):  # and no subclass, as np.float64 is
        _check(name, array, (), np.asarray(like).dtype)
        return array.item()
    _check(name, array, like.shape, like.dtype)
    if isinstance(like, np.ndarray | np.generic):
        return array.copy() if isinstance(like, np.ndarray) else array[()]
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ArgumentError(f"{name} is {array.dtype}, which JAX has only with jax_enable_x64: switch it on")
    # A number of Python's own type mixes otherwise with other types than one of a type of its own.
    weak = getattr(like, "weak_type", False) and array.ndim == 0
    return jnp.asarray(array.item()) if weak else jnp.array(array)


def _check(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: Any) -> None:
    found, wanted = f"{array.dtype.name}{list(array.shape)}", f"{np.dtype(dtype).name}{list(shape)}"
    if found != wanted:
        raise ArgumentError(f"{name} is {found} in the checkpoint, wanted {wanted}: {OF_ANOTHER}")


def fit_arrays(state: FitState) -> dict[str, Any]:
    """Name all arrays of a fit's state, without waiting for those that are still computed.

    Args:
        state: what `fit` hands to `save`.

    Returns:
        Arrays of JAX or NumPy by name: `train.…`; `best.…` where there is a best epoch; `position.…` within an
        epoch of a stream; the history's numbers, [E, fields], and which of them were not measured.

    Example:
        >>> from jaxmlp import init_state, mlp
        >>> state = FitState(init_state(mlp([2, 3]), "sgd", jax.random.key(0)))
        >>> [name for name in fit_arrays(state) if name.startswith("train.params")]
        ['train.params[0].w', 'train.params[0].b']
    """
    rows = [[*(getattr(row, field) for field in NUMBERS), *row.max_weight] for row in state.history]
    # NaN is a measurement that failed: what was not measured is told besides.
    missing = np.array([[number is None for number in row] for row in rows], np.bool_)
    table: Any = {"numbers": np.array(rows, np.float64), "missing": missing}
    return named_arrays(state._replace(history=table))


def restore_fit(arrays: Mapping[str, np.ndarray], like: FitState) -> FitState:
    """Put the arrays of a checkpoint back into a fit's state, for `fit(..., resume=...)`.

    Args:
        arrays: arrays by name, as `fit_arrays` named them.
        like: a state of the same network and optimiser; its arrays may be `jax.ShapeDtypeStruct`s.

    Returns:
        The state that was saved, with its best epoch, history and position in a stream.

    Raises:
        ArgumentError: the arrays are of another network or optimiser; the first difference is named.

    Example:
        >>> from jaxmlp import init_state, mlp
        >>> state = FitState(init_state(mlp([2, 3]), "sgd", jax.random.key(0)))
        >>> restore_fit(fit_arrays(state), state).history
        ()
    """
    shape = np.shape(arrays.get("history['numbers']", ()))
    if shape != (0,) and (len(shape) != 2 or shape[1] < len(NUMBERS)):
        raise ArgumentError(f"the history in the checkpoint has shape {list(shape)}: it is no fit's")
    table: Any = {"numbers": np.zeros(shape), "missing": np.zeros(shape, np.bool_)}
    best = Best(like.train.params, 0, 0.0) if any(name.startswith("best.") for name in arrays) else None
    position = None
    if any(name.startswith("position.") for name in arrays):
        of_metric = ("statistic", "target_mean", "target_variance")  # arrays whose shapes follow from it
        shapes: dict[str, Any] = {name: arrays.get(f"position.{name}", 0) for name in of_metric}
        position = Position(**shapes)
    restored = restore_tree(arrays, like._replace(best=best, history=table, position=position))
    rows: Any = np.where(restored.history["missing"], None, restored.history["numbers"])
    history = [
        dict(zip(NUMBERS, [int(row[0]), *row[1:]], strict=False)) | {"max_weight": tuple(row[len(NUMBERS) :])}
        for row in rows.tolist()
    ]
    return restored._replace(history=tuple(EpochReport(**row) for row in history))


class CheckpointWriter(AbstractContextManager["CheckpointWriter"]):
    """Writes the checkpoints of one run in a thread beside the training and deletes those no longer wanted.

    A failure there (a full disk, a folder that is gone) is raised by the next `save` or by `close`; the
    checkpoints before it stay whole.

    Args:
        folder: where the checkpoints are; made where it is missing, and cleared of unfinished ones.
        keep: how many of the last checkpoints are kept.
        better: "smaller" or "larger": also keeps the one of the best value; None keeps only the last ones.

    Raises:
        ArgumentError: a number below 1, or an unknown word.
        OSError: the folder cannot be made or written.

    Example:
        >>> with CheckpointWriter("run", keep=2, better="smaller") as writer:
        ...     for epoch, loss in enumerate([0.9, 0.2, 0.3, 0.4, 0.5], 1):
        ...         writer.save(epoch, {"w": np.ones(2)}, {"network": "mine"}, loss)
        >>> list(checkpoints_in("run"))
        [2, 4, 5]
    """

    def __init__(self, folder: AnyPath, *, keep: int = 3, better: str | None = None) -> None:
        check_whole("number of checkpoints to keep", keep)
        if better is not None and better not in BETTER:
            raise unknown_name("better value", better, BETTER)
        self._folder, self._keep, self._better = Path(folder).absolute(), keep, better
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self._folder))
        for path in self._folder.iterdir():  # what a killed process left of `whole_file`
            if re.fullmatch(r"\.epoch-\d{8,}\.[0-9a-f]{16}\.safetensors", path.name):
                path.unlink()
        self._descriptor = os.open(self._folder, os.O_RDONLY)
        self._values: dict[int, float | None] = {}  # by epoch
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: deque[Future[None]] = deque()

    def save(
        self, epoch: int, arrays: Mapping[str, Any], description: Any, value: float | None = None
    ) -> None:
        """Have a checkpoint written; waits only while two others are not written yet.

        Checkpoints of later epochs, which a run that went back has left, are deleted with it.

        Args:
            epoch: epochs done, at least 0.
            arrays: arrays of JAX or NumPy by name, as of `fit_arrays`; those of JAX must not be donated later.
            description: plain JSON data, which say what the arrays are of.
            value: how good it is; None and NaN are never the best.

        Raises:
            ArgumentError: the description is not plain data.
            OSError: an earlier checkpoint could not be written. This one is not begun; the next may be.
        """
        self._raise_failures(leave=WAITING - 1)
        # What could be altered before it is written is copied; JAX's own arrays cannot be.
        kept = {name: each.copy() if isinstance(each, np.ndarray) else each for name, each in arrays.items()}
        self._pending.append(self._pool.submit(self._write, epoch, kept, _plain_data(description), value))

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is still being written: one more would cost the training time."""
        return any(not future.done() for future in self._pending)

    def close(self) -> None:
        """Wait until all is written; raises an OSError where a checkpoint could not be."""
        self._pool.shutdown()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._raise_failures(leave=0)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            # What ended the run matters more, and takes this along.
            error.add_note(f"besides, a checkpoint could not be written: {failure}")

    def _raise_failures(self, leave: int) -> None:
        while self._pending and (self._pending[0].done() or len(self._pending) > leave):
            self._pending.popleft().result()

    def _write(self, epoch: int, arrays: Mapping[str, Any], description: Any, value: float | None) -> None:
        # A folder deleted meanwhile is noticed, also with another one in its place.
        if not self._folder.is_dir() or not os.path.samestat(os.fstat(self._descriptor), self._folder.stat()):
            gone = errno.ENOENT, "deleted while a run writes its checkpoints", str(self._folder)
            raise FileNotFoundError(*gone)
        write_checkpoint(self._folder, epoch, arrays, description, value)
        self._values[epoch] = value
        found = checkpoints_in(self._folder)
        for other in found.keys() - self._kept(found, epoch):
            found[other].unlink()

    def _kept(self, found: Mapping[int, Path], epoch: int) -> set[int]:
        line = [other for other in found if other <= epoch]
        kept = set(line[-self._keep :])
        for other in line:
            if self._better and other not in self._values:  # of the run before, on which this one goes on
                self._values[other] = None
                with suppress(ArgumentError):
                    self._values[other] = read_checkpoint(found[other]).value
        values = {other: self._values.get(other) for other in line}
        told = {other: value for other, value in values.items() if value is not None and value == value}
        if self._better and told:
            kept.add(BETTER[self._better](told, key=lambda other: told[other]))  # the earliest of equals
        return kept
