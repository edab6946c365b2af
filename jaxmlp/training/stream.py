"""Streams: examples that are read while training goes on, for data that need not fit in memory.

Chunks of any sizes are cut into windows of a fixed number of rows. While one window is trained on, the next
is placed on the device and the one after it is read by another thread: there are three at most, one of them
twice for the moment in which it is copied to the device, and one chunk.
"""

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmlp.backprop import L2
from jaxmlp.checks import as_batch, check_data
from jaxmlp.network import count_outputs
from jaxmlp.training.batching import steps_per_epoch
from jaxmlp.training.metrics import METRICS, BatchSums, summarise, target_variance, weighted_mean
from jaxmlp.training.parallel import keep_whole, place_whole
from jaxmlp.training.steps import Recipe, TrainState, all_finite, scan_steps, shuffle_key
from jaxmlp.types import ArgumentError, Batch, Key, Metrics, Scalar, check_whole

ROWS = 65_536  # of a window
RECORDS = 1024  # of a source, read together
# A reader that hangs must not keep a program from ending: its thread is left behind after so many seconds.
PATIENCE = 5.0

Chunks: TypeAlias = Callable[[int], Iterable[Any]] | Iterable[Any]
Read: TypeAlias = Callable[[int, int, int], Iterator[Batch]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Stream:
    """Examples for `fit` that are read again in every epoch; see `stream_from_chunks` and `stream_from_source`.

    Attributes:
        read: (epoch from 0, rows N of a window, rows to leave out) -> windows of N rows as NumPy arrays that nobody
            alters; the last may be shorter. Called by the thread of `fit`, the iterator is used by another one.
        window: rows of a window, made up to a multiple of the batch size. Examples are shuffled within it.
        once: whether it can be read for one epoch only.

    Raises:
        ArgumentError: a window of less than one row.
    """

    read: Read
    window: int = ROWS
    once: bool = False

    def __post_init__(self) -> None:
        check_whole("window", self.window)

    @cached_property
    def mean_weight(self) -> Scalar:
        """Average the weights of the first epoch, for which it is read once more."""
        if self.once:
            raise ArgumentError(
                "the mean weight of an iterator cannot be known: give a function of the epoch"
            )
        with _closing(self.read(0, self.window, 0)) as windows:
            weights = [np.array(window.weight) for window in windows]
        return jax.device_get(jnp.mean(jnp.asarray(np.concatenate(weights))))


def stream_from_chunks(chunks: Chunks, *, window: int = ROWS) -> Stream:
    """Make a stream of chunks of arrays, each of any number of rows.

    Where a fit goes on in the middle of an epoch, the rows before are read and dropped.

    Args:
        chunks: an iterable of (inputs [N, I], targets) or (inputs, targets, weight [N]), or a function of the epoch
            (from 0) that returns one. An iterator, which can be gone through once, serves for one epoch. It is
            called or gone through by another thread; a chunk may be altered once the next is asked for. Where there
            are weights, the first epoch's are read once before, for their mean to count as 1.
        window: rows that are shuffled together, made up to a multiple of the batch size.

    Returns:
        The stream.

    Raises:
        ArgumentError: they are no chunks, or the window is less than one row.

    Example:
        >>> inputs, labels = np.arange(10.0).reshape(5, 2), np.arange(5)
        >>> stream = stream_from_chunks([(inputs[:2], labels[:2]), (inputs[2:], labels[2:])])
        >>> [each.targets.tolist() for each in stream.read(0, 3, 0)]
        [[0, 1, 2], [3, 4]]
    """
    if isinstance(chunks, Batch | tuple) or not (callable(chunks) or hasattr(chunks, "__iter__")):
        raise ArgumentError(
            f"chunks must be an iterable of (inputs, targets), or a function of the epoch that returns one, "
            f"given {type(chunks).__name__}"
        )

    def read(epoch: int, rows: int, done: int) -> Iterator[Batch]:
        with _closing(iter(chunks(epoch) if callable(chunks) else chunks)) as each:
            yield from cut(each, rows, skip=done)

    return Stream(read, window, once=not callable(chunks) and iter(chunks) is chunks)


def stream_from_source(
    source: Any,
    example: Callable[[Any], tuple[Any, ...]],
    *,
    window: int = ROWS,
    shuffle_seed: int | None = None,
) -> Stream:
    """Make a stream of a source whose records can be picked by number.

    Where a fit goes on in the middle of an epoch, it reads on from there: nothing before is read again.

    Args:
        source: has a length and gives a record for a number, as TFDS's `as_data_source` and grain's data sets do.
            One with `__getitems__`, as theirs, is asked for many records together, which it may read in parallel.
        example: a record -> (inputs [I], target) or (inputs, target, weight), called by another thread.
        window: rows that are shuffled together, made up to a multiple of the batch size.
        shuffle_seed: an order of all records is drawn from it and from the epoch, 8 bytes a record; None keeps theirs.

    Returns:
        The stream.

    Raises:
        ArgumentError: the source has no length or no records by number, or the window is less than one row.

    Example:
        >>> source = [{"x": [0.0, 1.0], "y": 0}, {"x": [2.0, 3.0], "y": 1}, {"x": [4.0, 5.0], "y": 0}]
        >>> stream = stream_from_source(source, lambda record: (record["x"], record["y"]))
        >>> [each.targets.tolist() for each in stream.read(0, 2, 0)]
        [[0, 1], [0]]
    """
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise ArgumentError(
            f"a source must have a length and records by number, given {type(source).__name__}: "
            "stream_from_chunks takes what can only be gone through"
        )

    def arrays(record: Any) -> tuple[np.ndarray, ...]:
        given = example(record)
        if not isinstance(given, tuple) or len(given) not in (2, 3):
            raise ArgumentError(
                f"a record's example must be (inputs, target) or (inputs, target, weight), "
                f"given {type(given).__name__}"
            )
        return tuple(map(np.asarray, given))

    def chunks(order: Sequence[int]) -> Iterator[tuple[np.ndarray, ...]]:
        for start in range(0, len(order), RECORDS):
            numbers = [int(number) for number in order[start : start + RECORDS]]
            together = getattr(source, "__getitems__", None)
            records = together(numbers) if together else [source[number] for number in numbers]
            yield tuple(map(np.stack, zip(*map(arrays, records), strict=True)))

    def read(epoch: int, rows: int, done: int) -> Iterator[Batch]:
        order: Any = range(len(source))
        if shuffle_seed is not None:
            order = np.random.default_rng((shuffle_seed, epoch)).permutation(len(source))
        return cut(chunks(order[done:]), rows)

    return Stream(read, window)


# --- windows out of chunks ---


def cut(chunks: Iterable[Any], rows: int, *, skip: int = 0) -> Iterator[Batch]:
    """Cut chunks of any sizes into windows of a fixed number of rows."""
    kinds: list[str] = []
    window: list[Any] | None = None
    filled = number = 0
    for given in chunks:
        chunk = _as_chunk(given, number)
        kinds = kinds or list(map(_kind, chunk))
        for name, part, wanted in zip(("inputs", "targets", "weights"), chunk, kinds, strict=True):
            if _kind(part) != wanted:
                raise ArgumentError(
                    f"chunk {number}: its {name} are {_kind(part)}, those of chunk 0 {wanted}: "
                    "all chunks must be alike but for their rows"
                )
        start = min(skip, len(chunk[0]))
        skip -= start
        while start < len(chunk[0]):
            if window is None:
                window = [
                    part if part is None else np.empty((rows, *part.shape[1:]), part.dtype) for part in chunk
                ]
                filled = 0
            taken = min(rows - filled, len(chunk[0]) - start)
            for target, part in zip(window, chunk, strict=True):
                if part is not None:
                    target[filled : filled + taken] = part[start : start + taken]
            filled, start = filled + taken, start + taken
            if filled == rows:
                yield Batch(*window)
                window = None  # held no longer, while the next is filled
        number += 1  # noqa: SIM113 - enumerate would hold a chunk while the next is read
        del given, chunk, part
    if window is not None:
        yield Batch(*[None if part is None else part[:filled] for part in window])  # type: ignore[arg-type]


def _as_chunk(given: Any, number: int) -> list[Any]:
    try:
        chunk = [None if part is None else np.asarray(part) for part in as_batch(given)]
    except ArgumentError as error:
        raise ArgumentError(f"chunk {number}: {error}") from None
    shapes = [part.shape for part in chunk if part is not None]
    if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ArgumentError(
            f"chunk {number}: inputs, targets and weights must have as many rows, given shapes "
            f"{', '.join(str(list(shape)) for shape in shapes)}"
        )
    return chunk


def _kind(part: Any) -> str:
    return "not there" if part is None else f"{part.dtype} [{', '.join(['N', *map(str, part.shape[1:])])}]"


def checked(stream: Stream, rows: int, recipe: Recipe, epoch: int, row: int) -> Iterator[tuple[Batch, Any]]:
    """Check each window as arrays are checked, and name its rows where something is wrong; with the mean weight."""
    with _closing(stream.read(epoch, rows, row)) as windows:
        for window in windows:
            rows, weight = len(window.inputs), window.weight
            weigh_nothing = weight is not None and np.shape(weight) == (rows,) and not np.any(weight)
            check_data(
                window._replace(weight=None) if weigh_nothing else window,
                in_features=recipe.net.in_features,
                outputs=count_outputs(recipe.net),
                loss=recipe.loss,
                name=f"training data, epoch {epoch + 1}, rows {row} to {row + rows - 1}",
            )
            row += rows
            yield window, None if weight is None else stream.mean_weight
            del window, weight  # or it would be held while the next is read


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
    """Close an iterator at the end, where it can be closed, as generators can."""
    try:
        yield items
    finally:
        getattr(items, "close", lambda: None)()


# --- an epoch, window by window ---


class WindowSums(NamedTuple):
    """What the steps over one window come to."""

    sums: BatchSums  # of objective and metric over its examples
    gradient_norm: Scalar  # ‖∂E/∂params‖₂, averaged over steps spread evenly
    target_mean: Float[Array, "K"]  # of the targets; [0] where the metric is not relative to their variance
    target_variance: Float[Array, "K"]  # about that mean, or [0]
    is_finite: Bool[Array, ""]  # whether the loss and the parameters afterwards are


class Position(NamedTuple):
    """Where in an epoch over a stream a fit stands, and what the epoch has come to; numbers of Python and NumPy."""

    windows: int = 0  # done
    rows: int = 0  # done
    seconds: float = 0.0  # of wall-clock time until there
    weight: float = 0.0  # Σ of the examples' weights
    loss: float = 0.0  # Σ weight·objective
    gradient_norm: float = 0.0  # averaged over the steps
    statistic: Any = 0.0  # Σ weight·statistic of the metric, [] or [K]
    target_mean: Any = 0.0  # of the targets, [K], or [0] where the metric is not relative to their variance
    target_variance: Any = 0.0  # of the targets, [K] or [0]


class _Running(NamedTuple):
    """A window that the device is training on."""

    state: TrainState
    sums: WindowSums
    rows: int
    batch_size: int


def window_key(state: TrainState, window: Int[Array, ""]) -> Key:
    """Derive the key of a window's order; the first is the epoch's, to train on one window as on arrays."""
    later = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.key, 2), state.epoch), window)
    return jnp.where(window == 0, shuffle_key(state), later)


@partial(jax.jit, static_argnums=0)
def train_window(
    recipe: Recipe, state: TrainState, data: Batch, window: Int[Array, ""], l2: L2, mean_weight: Scalar | None
) -> tuple[TrainState, WindowSums]:
    """Train on one window: the very steps of `train_epoch`, with sums that can be added to other windows'."""
    key = window_key(state, jnp.asarray(window)) if recipe.shuffle else None
    state, sums, norm = scan_steps(recipe, state, data, key, l2, mean_weight)
    mean = variance = jnp.zeros(0)
    if METRICS[recipe.metric].needs_variance:
        mean, variance = weighted_mean(data.targets, data.weight), target_variance(data.targets, data.weight)
    is_finite = all_finite(state.params) & jnp.isfinite(sums.loss)
    return state, keep_whole(recipe.mesh, WindowSums(sums, norm, mean, variance, is_finite))


def train_stream(
    recipe: Recipe,
    state: TrainState,
    stream: Stream,
    position: Position | None,
    l2: L2,
    at_window: Callable[[TrainState, Position], None],
) -> tuple[TrainState, Metrics, Position]:
    """Train one epoch over a stream, or what is left of one, reading on while the device computes."""
    place, epoch = position or Position(), int(state.epoch)
    running: _Running | None = None
    began = time.perf_counter() - place.seconds
    rows = recipe.batch_size * steps_per_epoch(stream.window, recipe.batch_size)
    if place.rows != place.windows * rows:
        raise ArgumentError(
            f"the fit stood after {place.windows} windows of {place.rows // place.windows} rows, and the stream's "
            f"have {rows} here: give the window and the batch size that it began with"
        )
    found = checked(stream, rows, recipe, epoch, place.rows)
    with read_ahead(found) as windows:
        for window, mean_weight in windows:
            number = place.windows + (running is not None)
            # The size of a whole set that is smaller, as of arrays.
            size = recipe.batch_size if number else min(recipe.batch_size, len(window.inputs))
            data = place_whole(window, recipe.mesh)
            state, sums = train_window(replace(recipe, batch_size=size), state, data, number, l2, mean_weight)
            new = _Running(state, sums, len(window.inputs), size)
            # Computed while what comes before is looked at and the next is read; to hold it would be one too many.
            del window, data
            if running is not None:
                place, is_finite = _settle(running, place, began)
                if not is_finite:
                    break
                at_window(running.state, place)
            running = new
        else:
            if running is not None:
                place, _ = _settle(running, place, began)
    if running is None:
        raise ArgumentError(
            f"training data: the stream ends before row {place.rows}, where the fit was interrupted: "
            "give the stream that it began with"
            if place.rows
            else "training data: the stream has no rows; an iterator can be gone through once, a function "
            "that returns a new one always"
        )
    if place.weight == 0:
        raise ArgumentError("training data: all sample weights are 0; give at least one example a weight")
    sums_of_all = BatchSums(*map(jnp.asarray, (place.weight, place.loss, place.statistic)))
    variance = jnp.asarray(place.target_variance) if METRICS[recipe.metric].needs_variance else None
    metrics = summarise(sums_of_all, recipe.metric, variance, jnp.asarray(place.gradient_norm))
    return running.state._replace(epoch=running.state.epoch + 1), metrics, place


def _settle(running: _Running, before: Position, began: float) -> tuple[Position, bool]:
    """Wait for a window and add what it came to."""
    found: WindowSums = jax.device_get(running.sums)
    statistic, mean, variance = (
        np.asarray(part, np.float64)
        for part in (found.sums.statistic, found.target_mean, found.target_variance)
    )
    # Shares of what is new, 1 where nothing was before; by Chan's rule the variances of two parts and the
    # distance of their means give that of the whole, with nothing large to cancel.
    weight = before.weight + float(found.sums.weight)
    share = float(found.sums.weight) / weight if weight else 0.0
    apart = mean - before.target_mean
    steps, done = (steps_per_epoch(rows, running.batch_size) for rows in (running.rows, before.rows))
    position = Position(
        before.windows + 1,
        before.rows + running.rows,
        time.perf_counter() - began,
        weight,
        before.loss + float(found.sums.loss),
        before.gradient_norm + (float(found.gradient_norm) - before.gradient_norm) * (steps / (done + steps)),
        before.statistic + statistic,
        before.target_mean + share * apart,
        (1 - share) * before.target_variance + share * variance + share * (1 - share) * apart**2,
    )
    return position, bool(found.is_finite)
