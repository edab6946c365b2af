"""Streams hold few windows, leave no thread, read in the order they say and refuse what is none."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest
from stream_cases import TWO_EPOCHS, chunked, reader_threads, source_stream
from training_cases import (
    BATCH,
    DATA,
    EXAMPLES,
    INPUTS,
    KEY,
    LABELS,
    NET,
    WEIGHT,
    same_bits,
)

from jaxmlp.network import mlp
from jaxmlp.training import stream as streaming
from jaxmlp.training.fit import FitState, fit
from jaxmlp.training.optimizers import make_optimizer
from jaxmlp.training.stream import Stream, Window, cut, read_ahead, stream_from_chunks, stream_from_source
from jaxmlp.types import ArgumentError, Batch

# --- reading ---


def test_grain_draws_another_order_every_epoch_from_the_seed() -> None:
    def order(stream: Stream, epoch: int) -> list[float]:
        return [x for each in stream.read(epoch, BATCH, None) for x in each.data.inputs[:, 0].tolist()]

    first, same = source_stream(shuffle_seed=1), source_stream(shuffle_seed=1)
    assert order(first, 0) == order(same, 0) != order(first, 1)
    assert order(first, 0) != order(source_stream(shuffle_seed=2), 0)
    assert sorted(order(first, 1)) == sorted(INPUTS[:, 0].tolist())


class Counted:
    """Records that tell which of them were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return EXAMPLES

    def __getitem__(self, number: int) -> Any:
        self.read.append(int(number))
        return INPUTS[number], LABELS[number]


def test_grain_goes_on_without_reading_again() -> None:
    def stream(records: Counted) -> Stream:
        return stream_from_source(records, lambda record: record, window=BATCH, threads=0)

    saved: list[FitState] = []
    first, second = Counted(), Counted()
    fit(NET, stream(first), key=KEY, save=saved.append, **TWO_EPOCHS | {"epochs": 1})
    assert first.read == list(range(EXAMPLES))
    fit(NET, stream(second), resume=saved[1], **TWO_EPOCHS | {"epochs": 1})
    assert second.read == [8, 9]


def test_records_of_a_file_are_read_by_grain(tmp_path: Path) -> None:
    module = pytest.importorskip("array_record.python.array_record_module", reason="has no wheel here")
    path = tmp_path / "set.array_record"
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for x, y in zip(INPUTS, LABELS, strict=True):
        writer.write(x.tobytes() + bytes([int(y)]))
    writer.close()

    def example(record: bytes) -> tuple[np.ndarray, int]:
        return np.frombuffer(record[:-1], np.float32), record[-1]

    stream = stream_from_source(grain.sources.ArrayRecordDataSource(str(path)), example, window=BATCH)
    found = fit(NET, stream, key=KEY, shuffle=False, **TWO_EPOCHS)
    expected = fit(NET, stream_from_chunks([DATA], window=BATCH), key=KEY, shuffle=False, **TWO_EPOCHS)
    assert same_bits(found.state, expected.state)


# --- ends ---


@pytest.mark.parametrize("end", ["callback", "save", "reader", "data"])
def test_no_thread_outlives_a_fit(end: str) -> None:
    closed: list[bool] = []

    def chunks(epoch: int) -> Iterator[Any]:
        try:
            for number in range(50):
                if (end, number) == ("reader", 3):
                    raise OSError("the disk is gone")
                yield INPUTS, LABELS + (5 if (end, number) == ("data", 2) else 0)
        finally:
            time.sleep(0.1)  # the fit waits for it
            closed.append(True)

    def stop(*given: Any) -> bool:
        if end == "save":
            raise KeyboardInterrupt
        return True

    given: dict[str, Any] = {"save": stop} if end == "save" else {"callback": stop}
    errors: dict[str, tuple[type[BaseException], str | None]] = {
        "save": (KeyboardInterrupt, None),
        "reader": (OSError, "^the disk is gone$"),
        "data": (ArgumentError, "^training data, epoch 1, rows 20 to 23: labels must lie in 0 to 1"),
    }
    stream = stream_from_chunks(chunks, window=BATCH)
    if end == "callback":
        assert fit(NET, stream, key=KEY, **given, **TWO_EPOCHS).stopped == "callback"
    else:
        kind, words = errors[end]
        with pytest.raises(kind, match=words):
            fit(NET, stream, key=KEY, **given, **TWO_EPOCHS)
    assert reader_threads() == []
    assert closed == [True]


def test_grains_own_threads_end_too() -> None:
    def left() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("grain")]

    fit(NET, source_stream(threads=2), key=KEY, **TWO_EPOCHS)
    for _ in range(100):  # told to end, they do so by themselves, on a busy machine not at once
        if not left():
            break
        time.sleep(0.1)
    assert left() == []


def test_a_read_that_hangs_does_not_keep_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PATIENCE", 0.05)
    hanging = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        hanging.wait()

    with read_ahead(items()) as found:
        assert next(found) == 1
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "jaxmlp-reader")
    hanging.set()


# --- what is held ---


def most_held(windows_in_all: int, held: Callable[[Iterator[Window]], Iterator[Window]]) -> int:
    """Count the most windows that were alive when another was made."""
    alive: list[weakref.ref[Any]] = []
    most = 0

    def read(epoch: int, rows: int, place: bytes | None) -> Iterator[Window]:
        nonlocal most
        for _ in range(windows_in_all):
            inputs = np.zeros((rows, 3), np.float32)
            alive.append(weakref.ref(inputs))
            most = max(most, sum(each() is not None for each in alive))
            yield Window(Batch(inputs, np.zeros(rows, np.int32)), b"")  # type: ignore[arg-type]
            del inputs

    stream = Stream(lambda *given: held(read(*given)), BATCH)
    fit(NET, stream, key=KEY, **TWO_EPOCHS | {"epochs": 1})
    return most


def test_three_windows_are_held_however_many_there_are() -> None:
    assert most_held(3, iter) <= 3
    assert most_held(40, iter) <= 3

    def hoard(found: Iterator[Window]) -> Iterator[Window]:
        yield from list(found)

    assert most_held(40, hoard) == 40, "what holds all of them is caught"


def test_nothing_is_held_while_a_slow_reader_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Any]] = []
    make = streaming._empty_like

    def make_slowly(chunk: Batch, rows: int) -> Batch:
        if not rows:
            return make(chunk, rows)
        # Meanwhile the window before is trained on and let go, on a busy machine not at once.
        deadline = time.monotonic() + 10
        while any(each() is not None for each in alive) and time.monotonic() < deadline:
            time.sleep(0.01)
            # Memory that lies at a multiple of 64 bytes JAX uses in place, and lets go of when garbage is collected.
            gc.collect()
        held = sum(each() is not None for each in alive)
        assert held == 0, f"{held} windows are held"  # raised in the thread of `fit`
        made = make(chunk, rows)
        alive.append(weakref.ref(np.asarray(made.inputs)))
        return made

    monkeypatch.setattr(streaming, "_empty_like", make_slowly)
    stream = stream_from_chunks([DATA] * 3, window=BATCH)
    fit(NET, stream, key=KEY, **TWO_EPOCHS | {"epochs": 1})
    assert len(alive) == 8


def test_cutting_lets_go_of_a_chunk_before_the_next() -> None:
    alive: list[weakref.ref[Any]] = []
    held: list[int] = []

    def chunks() -> Iterator[Any]:
        for _ in range(20):
            held.append(sum(each() is not None for each in alive))
            inputs = np.zeros((3, 2))
            alive.append(weakref.ref(inputs))
            yield inputs, np.zeros(3, int)
            del inputs

    for window in cut(chunks(), 4):
        del window
    assert held == [0] * 20


def test_the_next_window_is_read_while_one_is_trained_on() -> None:
    order: list[str] = []

    def read(epoch: int, rows: int, place: bytes | None) -> Iterator[Window]:
        for number in range(4):
            order.append(f"read {number}")
            yield Window(Batch(INPUTS[:rows], LABELS[:rows]), b"")

    def save(state: FitState) -> None:
        order.append(f"saved {3 if state.position is None else state.position.windows - 1}")

    fit(NET, Stream(read, BATCH), key=KEY, save=save, **TWO_EPOCHS | {"epochs": 1})
    for number in range(3):
        assert order.index(f"read {number + 1}") < order.index(f"saved {number}")


def test_a_chunk_may_be_altered_once_the_next_is_asked_for() -> None:
    def reused(epoch: int) -> Iterator[Any]:
        inputs, labels = np.empty((1, 3), np.float32), np.empty(1, int)
        for x, y in zip(INPUTS, LABELS, strict=True):
            inputs[0], labels[0] = x, y
            yield inputs, labels

    found = fit(NET, stream_from_chunks(reused, window=BATCH), key=KEY, **TWO_EPOCHS)
    expected = fit(NET, stream_from_chunks([DATA], window=BATCH), key=KEY, **TWO_EPOCHS)
    assert same_bits(found.state, expected.state)


# --- refusals ---


def test_an_iterator_serves_for_one_epoch() -> None:
    one = TWO_EPOCHS | {"epochs": 1}
    once = stream_from_chunks(iter([DATA]), window=BATCH)
    with pytest.raises(ArgumentError, match="can be gone through once, and 2 epochs are asked for"):
        fit(NET, once, key=KEY, **TWO_EPOCHS)
    found = fit(NET, once, key=KEY, **one)
    assert same_bits(found.state, fit(NET, stream_from_chunks([DATA], window=BATCH), key=KEY, **one).state)
    with pytest.raises(ArgumentError, match="the stream has no rows; an iterator can be gone through once"):
        fit(NET, once, key=KEY, **one)


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([], "the stream has no rows"),
        ([(INPUTS[:0], LABELS[:0])], "the stream has no rows"),
        ([INPUTS], "chunk 0: data must be a pair (inputs, targets) or a Batch, given ndarray"),
        ([DATA, (INPUTS, LABELS[:7])], "chunk 1: inputs, targets and weights must have as many rows"),
        ([(INPUTS, 1)], "must have as many rows, given shapes [10, 3], []"),
        ([(3.0, LABELS)], "must have as many rows, given shapes [], [10]"),
        ([DATA, (INPUTS[:, :2], LABELS)], "chunk 1: its inputs are float32 [N, 2], those of chunk 0 float32"),
        ([DATA, (INPUTS.astype(float), LABELS)], "chunk 1: its inputs are float64 [N, 3]"),
        ([DATA, (*DATA, WEIGHT)], "chunk 1: its weights are float32 [N], those of chunk 0 not there"),
        ([(INPUTS[:, :2], LABELS)], "epoch 1, rows 0 to 3: inputs must have shape [N, 3]"),
        ([DATA, (INPUTS * np.nan, LABELS)], "epoch 1, rows 8 to 11: 6 feature(s) are NaN or infinite"),
        ([(*DATA, -WEIGHT)], "rows 0 to 3: sample weights must be finite and at least 0"),
    ],
)
def test_a_stream_is_refused_in_one_line(chunks: list[Any], words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        fit(NET, stream_from_chunks(chunks, window=BATCH), key=KEY, **TWO_EPOCHS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: stream_from_chunks([DATA], window=0),
            "window must be a whole number of at least 1, given 0",
        ),
        (lambda: stream_from_chunks(DATA), "chunks must be an iterable of (inputs, targets)"),
        (lambda: stream_from_chunks(3), "given int"),  # type: ignore[arg-type]
        (lambda: stream_from_source(iter([1]), lambda record: record), "must have a length"),
        (lambda: stream_from_source([1], lambda record: record, window=-1), "window must be"),
    ],
)
def test_what_is_no_stream_is_refused(make: Callable[[], Stream], words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        make()
    assert words in str(caught.value)


def test_fit_refuses_weights_beside_a_stream() -> None:
    with pytest.raises(ArgumentError, match="a stream brings its own weights"):
        fit(NET, stream_from_chunks([DATA]), sample_weight=WEIGHT, key=KEY, **TWO_EPOCHS)


def test_a_record_that_is_no_example_is_refused() -> None:
    stream = stream_from_source([{"x": 1}], lambda record: record, threads=0)
    with pytest.raises(
        ArgumentError, match=r"must be \(inputs, target\) or \(inputs, target, weight\), given dict"
    ):
        fit(NET, stream, key=KEY, **TWO_EPOCHS)


def test_grains_own_data_sets_are_sources_too() -> None:
    records = grain.MapDataset.source(list(zip(INPUTS, LABELS, strict=True)))[2:]
    stream = stream_from_source(records, lambda record: record, window=100, threads=0)
    (window,) = stream.read(0, 100, None)
    np.testing.assert_array_equal(window.data.inputs, INPUTS[2:])


def test_other_networks_learn_from_streams_too() -> None:
    inputs = np.linspace(-3, 3, 200, dtype=np.float32)[:, None]
    values = np.sin(inputs)
    random = np.random.default_rng(0)

    def chunks(epoch: int) -> Iterator[Any]:
        order = random.permutation(200)
        yield from chunked((inputs[order], values[order]), 70, 70)

    result = fit(
        mlp([1, 32, 1], activation="tanh"),
        stream_from_chunks(chunks, window=100),
        (inputs, values),
        loss="squared_error",
        optimizer=make_optimizer("adam", 0.02),
        batch_size=20,
        epochs=40,
        key=KEY,
    )
    assert result.history[-1].valid_score is not None
    assert result.history[0].valid_score < 0.9 < result.history[-1].valid_score  # type: ignore[operator]
