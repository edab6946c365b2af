"""Streams: examples that are read while training goes on, so that data need not fit in memory.

Chunks of any sizes are cut anew into windows of a fixed number of rows. While one window is trained on, the next
is placed on the device and the one after it is read by another thread: there are three at most, one of them
twice for the moment in which it is copied to the device, and one chunk.
"""

import contextlib
import itertools
import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from jaxmlp.checks import as_batch, check_data, check_size
from jaxmlp.losses import Loss
from jaxmlp.types import ArgumentError, Batch

ROWS = 65_536
# A reader that hangs must not keep a program from ending: its thread is left behind after so many seconds.
PATIENCE = 5.0
OTHER_STREAM = (
    "training data: the fit was interrupted at a place that this stream does not have: "
    "give the stream that it began with"
)

Chunks: TypeAlias = Callable[[int], Iterable[Any]] | Iterable[Any]
Item = TypeVar("Item")


class Window(NamedTuple):
    """Examples that are trained on together.

    Attributes:
        data: NumPy arrays, inputs [N, I], targets [N] or [N, K], weight [N] or None, which nobody alters.
        place: what `Stream.read` needs to go on behind them.
    """

    data: Batch
    place: bytes


Read: TypeAlias = Callable[[int, int, bytes | None], Iterator[Window]]


@dataclass(frozen=True)
class Stream:
    """Examples for `fit` that are read anew in every epoch; see `stream_from_chunks` and `stream_from_source`.

    Attributes:
        read: (epoch from 0, rows N of a window, the place to go on from or None) -> windows of N rows, the last
            of which may be shorter. Called by the thread of `fit`, the iterator is used by another one.
        window: rows of a window, made up to a multiple of the batch size. Examples are shuffled within it.
        once: whether it can be read for one epoch only.

    Raises:
        ArgumentError: a window of less than one row.
    """

    read: Read
    window: int = ROWS
    once: bool = False

    def __post_init__(self) -> None:
        check_size("window", self.window)


def stream_from_chunks(chunks: Chunks, *, window: int = ROWS) -> Stream:
    """Make a stream of chunks of arrays, each of any number of rows.

    Where a fit goes on in the middle of an epoch, the rows before are read and dropped.

    Args:
        chunks: an iterable of (inputs [N, I], targets) or (inputs, targets, weight [N]), or a function of the epoch
            (from 0) that returns one. An iterator, which can be gone through once, serves for one epoch. It is
            called or gone through by another thread; a chunk may be altered once the next is asked for.
        window: rows that are shuffled together, made up to a multiple of the batch size.

    Returns:
        The stream.

    Raises:
        ArgumentError: they are no chunks, or the window is less than one row.

    Example:
        >>> inputs, labels = np.arange(10.0).reshape(5, 2), np.arange(5)
        >>> stream = stream_from_chunks([(inputs[:2], labels[:2]), (inputs[2:], labels[2:])])
        >>> [each.data.targets.tolist() for each in stream.read(0, 3, None)]
        [[0, 1, 2], [3, 4]]
    """
    if isinstance(chunks, Batch | tuple) or not (callable(chunks) or hasattr(chunks, "__iter__")):
        raise ArgumentError(
            f"chunks must be an iterable of (inputs, targets), or a function of the epoch that returns one, "
            f"given {type(chunks).__name__}"
        )
    once = not callable(chunks) and iter(chunks) is chunks

    def read(epoch: int, rows: int, place: bytes | None) -> Iterator[Window]:
        done = 0 if place is None else _rows_before(place)
        found = chunks(epoch) if callable(chunks) else chunks
        with _closing(iter(found)) as each:
            for data in cut(each, rows, skip=done):
                done += len(data.inputs)
                yield Window(data, str(done).encode())
                del data  # or it would be held while the next is filled

    return Stream(read, window, once)


def stream_from_source(
    source: Any,
    example: Callable[[Any], tuple[Any, ...]],
    *,
    window: int = ROWS,
    shuffle_seed: int | None = None,
    threads: int = 4,
) -> Stream:
    """Make a stream of a source whose records can be picked by number, read by grain.

    Where a fit goes on in the middle of an epoch, it reads on from there: nothing before is read again.

    Args:
        source: has a length and gives a record for a number, as TFDS's `as_data_source` does; or a
            `grain.MapDataset`.
        example: a record -> (inputs [I], target) or (inputs, target, weight), called by several threads.
        window: rows that are shuffled together, made up to a multiple of the batch size.
        shuffle_seed: grain draws an order of all records from it and from the epoch; None keeps theirs.
        threads: how many read; 0 for a source that lies in memory.

    Returns:
        The stream.

    Raises:
        ArgumentError: grain is not installed, the source has no length or no records by number, or the window is
            less than one row.

    Example:
        >>> source = [{"x": [0.0, 1.0], "y": 0}, {"x": [2.0, 3.0], "y": 1}, {"x": [4.0, 5.0], "y": 0}]
        >>> stream = stream_from_source(source, lambda record: (record["x"], record["y"]), threads=0)
        >>> [each.data.targets.tolist() for each in stream.read(0, 2, None)]
        [[0, 1], [0]]
    """
    try:
        import grain
    except ImportError:
        raise ArgumentError(
            "a source is read by grain, which is not installed: python -m pip install grain"
        ) from None
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise ArgumentError(
            f"a source must have a length and records by number, given {type(source).__name__}: "
            "stream_from_chunks takes what can only be gone through"
        )
    records = source if isinstance(source, grain.MapDataset) else grain.MapDataset.source(source)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=64 * threads)

    def arrays(record: Any) -> tuple[np.ndarray, ...]:
        given = example(record)
        if not isinstance(given, tuple) or len(given) not in (2, 3):
            raise ArgumentError(
                f"a record's example must be (inputs, target) or (inputs, target, weight), "
                f"given {type(given).__name__}"
            )
        return tuple(map(np.asarray, given))

    def read(epoch: int, rows: int, place: bytes | None) -> Iterator[Window]:
        ordered = records
        if shuffle_seed is not None:
            # A word of 32 bits of both, so that epochs of neighbouring seeds are not alike.
            word = np.random.SeedSequence((shuffle_seed, epoch)).generate_state(1)[0]
            ordered = records.shuffle(seed=int(word))
        batches = ordered.map(arrays).to_iter_dataset(options).batch(rows, drop_remainder=False)
        with _closing(iter(batches)) as each:
            if place is not None:
                _go_to(each, place)
            for arrays_of_rows in each:
                yield Window(as_batch(arrays_of_rows), json.dumps(each.get_state()).encode())
                del arrays_of_rows

    return Stream(read, window)


def _rows_before(place: bytes) -> int:
    try:
        return int(place)
    except ValueError:
        raise ArgumentError(OTHER_STREAM) from None


def _go_to(records: Any, place: bytes) -> None:
    try:
        records.set_state(json.loads(place))
    except (ValueError, TypeError, KeyError, IndexError):  # of chunks, or of a source of more records
        raise ArgumentError(OTHER_STREAM) from None


def cut(chunks: Iterable[Any], rows: int, *, skip: int = 0) -> Iterator[Batch]:
    """Cut chunks of any sizes into windows of a fixed number of rows."""
    first: Batch | None = None
    window, filled, number = None, 0, 0
    for given in chunks:
        chunk = _as_chunk(given, number)
        # Of the first chunk its shapes and types are kept, not its rows.
        first = _empty_like(chunk, 0) if first is None else first
        _check_alike(chunk, first, number)
        start = min(skip, len(chunk.inputs))
        skip -= start
        while start < len(chunk.inputs):
            if window is None:
                window, filled = _empty_like(chunk, rows), 0
            taken = min(rows - filled, len(chunk.inputs) - start)
            _copy(window, filled, chunk, start, taken)
            filled, start = filled + taken, start + taken
            if filled == rows:
                yield window
                window = None  # held no longer, while the next is filled
        number += 1  # noqa: SIM113 - enumerate would hold a chunk while the next is read
        del given, chunk
    if window is not None:
        yield _each(lambda part: part[:filled], window)


def _each(function: Callable[[Any], Any], batch: Batch) -> Batch:
    parts: list[Any] = [None if part is None else function(part) for part in batch]
    return Batch(*parts)


def _as_chunk(given: Any, number: int) -> Batch:
    try:
        chunk = _each(np.asarray, as_batch(given))
    except ArgumentError as error:
        raise ArgumentError(f"chunk {number}: {error}") from None
    shapes = [np.shape(part) for part in chunk if part is not None]
    if not all(shape and shape[0] == shapes[0][0] for shape in shapes if shapes[0]) or not shapes[0]:
        raise ArgumentError(
            f"chunk {number}: inputs, targets and weights must have as many rows, given shapes "
            f"{', '.join(str(list(shape)) for shape in shapes)}"
        )
    return chunk


def _check_alike(chunk: Batch, first: Batch, number: int) -> None:
    for name, part, wanted in zip(("inputs", "targets", "weights"), chunk, first, strict=True):
        if _kind(part) != _kind(wanted):
            raise ArgumentError(
                f"chunk {number}: its {name} are {_kind(part)}, those of chunk 0 {_kind(wanted)}: "
                "all chunks must be alike but for their rows"
            )


def _kind(part: Any) -> str:
    return "not there" if part is None else f"{part.dtype} [{', '.join(['N', *map(str, part.shape[1:])])}]"


def _empty_like(chunk: Batch, rows: int) -> Batch:
    return _each(lambda part: np.empty((rows, *part.shape[1:]), part.dtype), chunk)


def _copy(window: Batch, at: int, chunk: Batch, start: int, rows: int) -> None:
    for target, part in zip(window, chunk, strict=True):
        if target is not None and part is not None:
            np.asarray(target)[at : at + rows] = part[start : start + rows]


def checked(
    windows: Iterator[Window], *, in_features: int, outputs: int, loss: str | Loss, epoch: int, row: int
) -> Iterator[Window]:
    """Check each window as arrays are checked, and name its rows where something is wrong."""
    with _closing(windows):
        for window in windows:
            data = window.data
            rows = len(data.inputs)
            weight = None if data.weight is None else np.asarray(data.weight)
            weigh_nothing = weight is not None and weight.shape == (rows,) and not np.any(weight)
            check_data(
                data._replace(weight=None) if weigh_nothing else data,
                in_features=in_features,
                outputs=outputs,
                loss=loss,
                name=f"training data, epoch {epoch}, rows {row} to {row + rows - 1}",
            )
            row += rows
            del data
            yield window
            del window


@contextlib.contextmanager
def read_ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Let another thread get the next item while one is worked on; never more than one ahead."""
    wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
    found: queue.SimpleQueue[tuple[list[Item], BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            with _closing(items):
                while wanted.get():
                    # No name is given to the item here, which would hold it.
                    found.put((list(itertools.islice(items, 1)), None))
        except BaseException as error:
            found.put(([], error))

    def taken() -> Iterator[Item]:
        wanted.put(True)
        while True:
            item, error = found.get()
            if error is not None:
                raise error
            if not item:
                return
            wanted.put(True)
            yield item.pop()

    thread = threading.Thread(target=work, name="jaxmlp-reader", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        wanted.put(False)
        thread.join(PATIENCE)


@contextlib.contextmanager
def _closing(items: Any) -> Iterator[Any]:
    """Close an iterator at the end, where it can be closed, as generators and grain's iterators can."""
    try:
        yield items
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
