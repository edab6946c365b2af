"""A fit on a stream is the fit on its arrays; it goes on at any window, holds little and leaves no thread."""

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparisons import assert_close, plain, refused, same_bits
from slow_cases import others_slow
from training_cases import BATCH, DATA, EXAMPLES, INPUTS, KEY, LABELS, NET, VALUES, WEIGHT, add_noise

from jaxmlp.saving.checkpoint import fit_arrays, read_checkpoint, restore_fit, write_checkpoint
from jaxmlp.training import stream as streaming
from jaxmlp.training.fit import FitResult, FitState, fit
from jaxmlp.training.steps import init_state
from jaxmlp.training.stream import Position, Stream, cut, read_ahead, stream_from_chunks, stream_from_source
from jaxmlp.types import ArgumentError, Batch

STILL = optax.sgd(0.0)
TWO_EPOCHS: dict[str, Any] = {"optimizer": "adam", "batch_size": BATCH, "epochs": 2}
ONE = TWO_EPOCHS | {"epochs": 1}


def chunked(data: Any, *rows: int) -> list[tuple[Any, ...]]:
    """Cut arrays into chunks of so many rows, the last of what is left."""
    ends = [0, *itertools.accumulate(rows), len(data[0])]
    return [tuple(part[a:b] for part in data if part is not None) for a, b in itertools.pairwise(ends)]


def chunk_stream(*rows: int, data: Any = DATA, window: int = BATCH) -> Stream:
    return stream_from_chunks(chunked(data, *rows), window=window)


def source_stream(**options: Any) -> Stream:
    records = [{"x": x, "y": y} for x, y in zip(INPUTS, LABELS, strict=True)]
    return stream_from_source(records, lambda record: (record["x"], record["y"]), window=BATCH, **options)


STREAMS: dict[str, Callable[[], Stream]] = {
    "chunks": lambda: chunk_stream(3, 5),
    "a function of the epoch": lambda: stream_from_chunks(
        lambda epoch: iter(chunked((np.roll(INPUTS, epoch, 0), np.roll(LABELS, epoch)), 7)), window=BATCH
    ),
    "source": source_stream,
    "source, shuffled": lambda: source_stream(shuffle_seed=3),
}


def rows_of(result: FitResult | FitState) -> list[tuple[Any, ...]]:
    """The history without what a clock measured."""
    return [tuple(row)[:7] for row in result.history]


def assert_history_close(found: FitResult, expected: FitResult) -> None:
    for left, right in zip(found.history, expected.history, strict=True):
        assert [*left[1:3], left.gradient_norm] == pytest.approx([*right[1:3], right.gradient_norm], rel=1e-5)


# --- a stream and its arrays ---


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("optimizer", others_slow(["adam", "momentum"]))
def test_one_window_is_the_fit_in_memory(optimizer: str, shuffle: bool) -> None:
    given: dict[str, Any] = TWO_EPOCHS | {"optimizer": optimizer, "shuffle": shuffle, "transform": add_noise}
    expected = fit(NET, DATA, DATA, sample_weight=WEIGHT, key=KEY, **given)
    found = fit(NET, chunk_stream(3, 0, 6, data=(*DATA, WEIGHT), window=EXAMPLES), DATA, key=KEY, **given)
    assert same_bits(found.state, expected.state)
    assert rows_of(found) == rows_of(expected)


@pytest.mark.parametrize("optimizer", others_slow(["sgd", "nesterov", "adam"]))
def test_windows_in_the_given_order_are_the_fit_in_memory(optimizer: str) -> None:
    given = TWO_EPOCHS | {"optimizer": optimizer, "batch_size": 2, "shuffle": False, "l2": 0.01}
    expected = fit(NET, DATA, key=KEY, **given)
    for window in (6, 5):  # made up to 6
        found = fit(NET, chunk_stream(1, 2, 3, window=window), key=KEY, **given)
        assert same_bits(found.state, expected.state)
        assert_history_close(found, expected)


@pytest.mark.slow
def test_windows_of_one_step_differ_by_rounding_alone_and_one_batch_of_all_rows_not_at_all() -> None:
    # XLA fuses the operations of a loop of one turn otherwise.
    given: dict[str, Any] = TWO_EPOCHS | {"shuffle": False, "l2": 0.01}
    found, expected = (fit(NET, data, key=KEY, **given) for data in (chunk_stream(), DATA))
    assert_close(found.state, expected.state)
    assert_history_close(found, expected)
    # What is drawn depends on the batch's size, which has to be that of arrays.
    given = ONE | {"batch_size": 100, "transform": add_noise}
    assert same_bits(*(fit(NET, data, key=KEY, **given).state for data in (chunk_stream(window=100), DATA)))


@pytest.mark.slow
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_the_share_explained_adds_up_over_windows_far_from_zero(weight: Any) -> None:
    # The mean is far larger than the spread, and wanders, which makes squares cancel.
    values = (VALUES + 3000 + np.arange(EXAMPLES)[:, None]).astype(np.float32)
    given: dict[str, Any] = {"loss": "squared_error", "optimizer": STILL, "epochs": 1}
    state = init_state(NET, STILL, KEY)
    # Outputs near the targets, to keep the score from being a large negative number.
    last: Any = state.params[-1]
    given["state"] = state._replace(params=(*state.params[:-1], last._replace(b=last.b + 3004)))
    data = (INPUTS, values) if weight is None else (INPUTS, values, weight)
    found = fit(NET, stream_from_chunks([data], window=3), batch_size=3, **given)
    expected = fit(NET, (INPUTS, values), batch_size=EXAMPLES, sample_weight=weight, **given)
    assert found.metric == "r2"
    assert found.history[0].train_score == pytest.approx(expected.history[0].train_score, rel=1e-3)


def test_weights_may_be_zero_throughout_a_window_but_not_throughout_an_epoch() -> None:
    weight = np.where(np.arange(EXAMPLES) < BATCH, 0, WEIGHT).astype(np.float32)
    given: dict[str, Any] = TWO_EPOCHS | {"shuffle": False}
    found = fit(NET, chunk_stream(data=(*DATA, weight)), key=KEY, **given)
    assert same_bits(found.state, fit(NET, DATA, sample_weight=weight, key=KEY, **given).state)
    refused("all sample weights are 0", fit, NET, chunk_stream(data=(*DATA, 0 * WEIGHT)), key=KEY, **given)


def test_epochs_may_differ_in_length() -> None:
    stream = stream_from_chunks(lambda epoch: chunked(DATA, 4 + 2 * epoch)[:1], window=BATCH)
    result = fit(NET, stream, key=KEY, **TWO_EPOCHS)
    assert int(result.state.step) == 1 + 2
    assert all(np.isfinite(row.train_loss) for row in result.history)


# --- order ---


def test_every_example_is_seen_once_and_every_window_is_shuffled_its_own_way() -> None:
    # The order of a window is drawn from its key alone.
    state = init_state(NET, "sgd", KEY)
    keys = {
        plain(streaming.window_key(each, jnp.asarray(number))).tobytes()
        for each in (state, state._replace(epoch=state.epoch + 1))
        for number in range(4)
    }
    assert len(keys) == 8
    still = ONE | {"optimizer": STILL}
    found, whole = (fit(NET, data, key=KEY, **still) for data in (chunk_stream(window=8), DATA))
    assert found.history[0][1:3] == pytest.approx(whole.history[0][1:3], rel=1e-6)
    ends = (fit(NET, chunk_stream(), key=KEY, shuffle=shuffle, **ONE).state for shuffle in (True, False))
    assert not same_bits(*ends)


def test_a_source_is_read_in_another_order_every_epoch_that_follows_from_the_seed() -> None:
    def order(stream: Stream, epoch: int) -> list[float]:
        return [x for each in stream.read(epoch, BATCH, 0) for x in each.inputs[:, 0].tolist()]

    first, same = source_stream(shuffle_seed=1), source_stream(shuffle_seed=1)
    assert order(first, 0) == order(same, 0) != order(first, 1)
    assert order(first, 0) != order(source_stream(shuffle_seed=2), 0)
    assert sorted(order(first, 1)) == sorted(INPUTS[:, 0].tolist())
    assert order(source_stream(), 1) == INPUTS[:, 0].tolist()


class Counted:
    """Records that tell which of them were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return EXAMPLES

    def __getitem__(self, number: int) -> Any:
        self.read.append(number)
        return INPUTS[number], LABELS[number]


def test_a_source_goes_on_without_reading_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "RECORDS", 3)
    saved: list[FitState] = []
    first, second = Counted(), Counted()
    fit(NET, stream_from_source(first, tuple, window=BATCH), key=KEY, save=saved.append, **ONE)
    assert first.read == list(range(EXAMPLES))
    fit(NET, stream_from_source(second, tuple, window=BATCH), resume=saved[1], **ONE)
    assert second.read == [8, 9]


def test_records_of_a_file_are_read_together(tmp_path: Path) -> None:
    module = pytest.importorskip("array_record.python.array_record_module", reason="has no wheel here")
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    path = tmp_path / "set.array_record"
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for x, y in zip(INPUTS, LABELS, strict=True):
        writer.write(x.tobytes() + bytes([int(y)]))
    writer.close()

    def example(record: bytes) -> tuple[np.ndarray, int]:
        return np.frombuffer(record[:-1], np.float32), record[-1]

    source = ArrayRecordDataSource(str(path))
    assert hasattr(source, "__getitems__")
    (window,) = stream_from_source(source, example).read(0, 100, 0)
    np.testing.assert_array_equal(window.inputs, INPUTS)
    np.testing.assert_array_equal(window.targets, LABELS)


# --- going on ---


@pytest.mark.parametrize("name", STREAMS)
def test_a_fit_goes_on_at_every_window_to_the_last_bit(name: str) -> None:
    saved: list[FitState] = []
    whole = fit(NET, STREAMS[name](), DATA, key=KEY, save=saved.append, **TWO_EPOCHS)
    assert [None if each.position is None else each.position.windows for each in saved] == [1, 2, None] * 2
    for number, each in enumerate(saved[:-1]):
        left = TWO_EPOCHS | {"epochs": 2 - len(each.history)}
        again: list[FitState] = []
        found = fit(NET, STREAMS[name](), DATA, resume=each, save=again.append, **left)
        assert same_bits(found.state, whole.state)
        assert rows_of(found) == rows_of(whole)
        assert len(again) == len(saved) - number - 1
        if each.position is not None:
            assert found.history[len(each.history)].seconds > each.position.seconds


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
def test_a_checkpoint_holds_the_position(loss: str, tmp_path: Path) -> None:
    given = TWO_EPOCHS | {"loss": loss}
    stream = chunk_stream(data=(INPUTS, VALUES)) if loss == "squared_error" else source_stream()
    saved: list[FitState] = []
    whole = fit(NET, stream, key=KEY, save=saved.append, **given)
    path = write_checkpoint(tmp_path, len(saved[3].history), fit_arrays(saved[3]), None)
    arrays = dict(read_checkpoint(path).arrays)
    like = FitState(init_state(NET, "adam", KEY))
    restored = restore_fit(arrays, like)
    assert same_bits(restored.train, saved[3].train)
    assert restored.position is not None
    assert saved[3].position is not None
    for left, right in zip(restored.position, saved[3].position, strict=True):
        np.testing.assert_array_equal(left, right)
    found = fit(NET, stream, resume=restored, **given | {"epochs": 1})
    assert same_bits(found.state, whole.state)
    assert rows_of(found) == rows_of(whole)
    del arrays["position.statistic"]
    refused("lacks position.statistic", restore_fit, arrays, like)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (chunk_stream(window=8), r"after 1 windows of 4 rows, and the stream's have 8 here"),
        (stream_from_chunks(chunked(DATA, 4)[:1], window=BATCH), "the stream ends before row 4"),
        (stream_from_source([(INPUTS[0], 1)] * 3, tuple, window=BATCH, shuffle_seed=0), "ends before row 4"),
        (DATA, "give the stream, not arrays"),
    ],
)
def test_a_position_that_does_not_fit_is_refused(data: Any, words: str) -> None:
    position = Position(windows=1, rows=4)
    refused(words, fit, NET, data, resume=FitState(init_state(NET, "adam", KEY), position=position), **ONE)


# --- ends ---


def test_a_window_that_diverges_ends_the_fit_with_the_state_before_it() -> None:
    huge = INPUTS.copy()
    huge[8:] = 3e38
    saved: list[FitState] = []
    given = TWO_EPOCHS | {"key": KEY, "shuffle": False, "transform": lambda key, inputs: inputs * 10}
    result = fit(NET, chunk_stream(data=(huge, LABELS)), DATA, save=saved.append, **given)
    assert (result.stopped, len(result.history)) == ("diverged", 1)
    assert same_bits(result.state, saved[-1].train)
    assert int(result.state.step) == 2


ENDS: dict[str, tuple[Any, str | None]] = {
    "callback": (None, None),
    "save": (KeyboardInterrupt, None),
    "reader": (OSError, "^the disk is gone$"),
    "data": (ArgumentError, "^training data, epoch 1, rows 20 to 23: labels must lie in 0 to 1"),
}


@pytest.mark.parametrize("end", ENDS)
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

    given: dict[str, Any] = {"save" if end == "save" else "callback": stop} | TWO_EPOCHS
    stream, (kind, words) = stream_from_chunks(chunks, window=BATCH), ENDS[end]
    if kind is None:
        assert fit(NET, stream, key=KEY, **given).stopped == "callback"
    else:
        with pytest.raises(kind, match=words):
            fit(NET, stream, key=KEY, **given)
    assert "jaxmlp-reader" not in {thread.name for thread in threading.enumerate()}
    assert closed == [True]


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


def most_held(windows_in_all: int, held: Callable[[Iterator[Batch]], Iterator[Batch]]) -> int:
    """Count the most windows that were alive when another was made."""
    alive: list[weakref.ref[Any]] = []
    most = 0

    def read(epoch: int, rows: int, done: int) -> Iterator[Batch]:
        nonlocal most
        for _ in range(windows_in_all):
            inputs = np.zeros((rows, 3), np.float32)
            alive.append(weakref.ref(inputs))
            most = max(most, sum(each() is not None for each in alive))
            yield Batch(inputs, np.zeros(rows, np.int32))  # type: ignore[arg-type]
            del inputs

    fit(NET, Stream(lambda *given: held(read(*given)), BATCH), key=KEY, **ONE)
    return most


def test_three_windows_are_held_however_many_there_are() -> None:
    assert most_held(3, iter) <= 3
    assert most_held(40, iter) <= 3

    def hoard(found: Iterator[Batch]) -> Iterator[Batch]:
        yield from list(found)

    assert most_held(40, hoard) == 40, "what holds all of them is caught"


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

    def read(epoch: int, rows: int, done: int) -> Iterator[Batch]:
        for number in range(4):
            order.append(f"read {number}")
            yield Batch(INPUTS[:rows], LABELS[:rows])

    def save(state: FitState) -> None:
        order.append(f"saved {3 if state.position is None else state.position.windows - 1}")

    fit(NET, Stream(read, BATCH), key=KEY, save=save, **ONE)
    for number in range(3):
        assert order.index(f"read {number + 1}") < order.index(f"saved {number}")


def test_a_chunk_may_be_altered_once_the_next_is_asked_for() -> None:
    def reused() -> Iterator[Any]:
        inputs, labels = np.empty((1, 3), np.float32), np.empty(1, int)
        for x, y in zip(INPUTS, LABELS, strict=True):
            inputs[0], labels[0] = x, y
            yield inputs, labels

    windows = list(cut(reused(), BATCH))
    np.testing.assert_array_equal(np.concatenate([each.inputs for each in windows]), INPUTS)
    np.testing.assert_array_equal(np.concatenate([each.targets for each in windows]), LABELS)


# --- refusals ---


def test_an_iterator_serves_for_one_epoch() -> None:
    once = stream_from_chunks(iter([DATA]), window=BATCH)
    refused("can be gone through once, and 2 epochs are asked for", fit, NET, once, key=KEY, **TWO_EPOCHS)
    found = fit(NET, once, key=KEY, **ONE)
    assert same_bits(found.state, fit(NET, chunk_stream(), key=KEY, **ONE).state)
    refused("the stream has no rows; an iterator can be gone through once", fit, NET, once, key=KEY, **ONE)


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
    refused(words, fit, NET, stream_from_chunks(chunks, window=BATCH), key=KEY, **TWO_EPOCHS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: stream_from_chunks([DATA], window=0), "must be a whole number of at least 1, given 0"),
        (lambda: stream_from_chunks(DATA), "chunks must be an iterable of (inputs, targets)"),
        (lambda: stream_from_chunks(3), "given int"),  # type: ignore[arg-type]
        (lambda: stream_from_source(iter([1]), tuple), "must have a length"),
        (lambda: stream_from_source([1], tuple, window=-1), "window must be"),
        (
            lambda: fit(NET, stream_from_chunks([DATA]), sample_weight=WEIGHT, key=KEY, **ONE),
            "a stream brings its own weights",
        ),
        (
            lambda: fit(NET, stream_from_source([{"x": 1}], lambda record: record), key=KEY, **ONE),
            "must be (inputs, target) or (inputs, target, weight), given dict",
        ),
    ],
)
def test_what_is_no_stream_is_refused(make: Callable[[], Any], words: str) -> None:
    refused(words, make)
