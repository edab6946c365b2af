"""A fit on a stream is the fit on its arrays, and goes on at any window to the last bit, on any devices."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_cases import others_slow
from stream_cases import STILL, STREAMS, TWO_EPOCHS, assert_history_close, chunked, rows_of, source_stream
from training_cases import (
    BATCH,
    DATA,
    EXAMPLES,
    INPUTS,
    KEY,
    LABELS,
    NET,
    VALUES,
    WEIGHT,
    add_noise,
    assert_close,
    same_bits,
)

from jaxmlp.saving import fit_arrays, read_checkpoint, restore_fit, write_checkpoint
from jaxmlp.training import windows
from jaxmlp.training.fit import FitState, fit
from jaxmlp.training.steps import init_state
from jaxmlp.training.stream import stream_from_chunks, stream_from_source
from jaxmlp.types import ArgumentError

# --- a stream and its arrays ---


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("optimizer", others_slow(["adam", "momentum"]))
def test_one_window_is_the_fit_in_memory(optimizer: str, shuffle: bool) -> None:
    given: dict[str, Any] = TWO_EPOCHS | {"optimizer": optimizer, "shuffle": shuffle, "transform": add_noise}
    expected = fit(NET, DATA, DATA, sample_weight=WEIGHT, key=KEY, **given)
    stream = stream_from_chunks(chunked((*DATA, WEIGHT), 3, 0, 6), window=EXAMPLES)
    found = fit(NET, stream, DATA, key=KEY, **given)
    assert same_bits(found.state, expected.state)
    assert rows_of(found) == rows_of(expected)


@pytest.mark.parametrize("optimizer", others_slow(["sgd", "nesterov", "adam"]))
def test_windows_in_the_given_order_are_the_fit_in_memory(optimizer: str) -> None:
    given: dict[str, Any] = {
        "optimizer": optimizer,
        "batch_size": 2,
        "epochs": 2,
        "shuffle": False,
        "l2": 0.01,
    }
    expected = fit(NET, DATA, key=KEY, **given)
    for window in (6, 5):  # made up to 6
        found = fit(NET, stream_from_chunks(chunked(DATA, 1, 2, 3), window=window), key=KEY, **given)
        assert same_bits(found.state, expected.state)
        assert_history_close(found, expected)


@pytest.mark.slow
def test_windows_of_one_step_differ_by_rounding_alone() -> None:
    # XLA fuses the operations of a loop of one turn otherwise.
    given: dict[str, Any] = TWO_EPOCHS | {"shuffle": False, "l2": 0.01}
    expected = fit(NET, DATA, key=KEY, **given)
    found = fit(NET, stream_from_chunks([DATA], window=BATCH), key=KEY, **given)
    assert_close(found.state, expected.state)
    assert_history_close(found, expected)


@pytest.mark.slow
def test_one_batch_of_all_rows_is_the_fit_in_memory() -> None:
    # What is drawn depends on the batch's size, so that it has to be that of arrays.
    given: dict[str, Any] = {"optimizer": "sgd", "batch_size": 100, "epochs": 1, "transform": add_noise}
    found = fit(NET, stream_from_chunks([DATA]), key=KEY, **given)
    assert same_bits(found.state, fit(NET, DATA, key=KEY, **given).state)


def test_grain_reads_what_the_arrays_hold() -> None:
    given: dict[str, Any] = TWO_EPOCHS | {"shuffle": False}
    found = fit(NET, source_stream(), key=KEY, **given)
    assert same_bits(found.state, fit(NET, DATA, key=KEY, **given).state)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_the_share_explained_adds_up_over_windows_far_from_zero(weighted: bool) -> None:
    # The mean is far larger than the spread, and wanders, so that squares would cancel.
    values = (VALUES + 3000 + np.arange(EXAMPLES)[:, None]).astype(np.float32)
    weight = WEIGHT if weighted else None
    given: dict[str, Any] = {"loss": "squared_error", "optimizer": STILL, "epochs": 1}
    state = init_state(NET, given["optimizer"], KEY)
    # Outputs near the targets, so that the score is no large negative number.
    last: Any = state.params[-1]
    state = state._replace(params=(*state.params[:-1], last._replace(b=last.b + 3004)))
    found = fit(
        NET,
        stream_from_chunks([(INPUTS, values) if weight is None else (INPUTS, values, weight)], window=3),
        state=state,
        batch_size=3,
        **given,
    )
    expected = fit(NET, (INPUTS, values), state=state, batch_size=EXAMPLES, sample_weight=weight, **given)
    assert found.metric == "r2"
    assert found.history[0].train_score == pytest.approx(expected.history[0].train_score, rel=1e-3)
    spread = np.average(
        (values - np.average(values, axis=0, weights=weight)) ** 2, axis=0, weights=weight
    )  # in float32 as well: of the targets about their mean
    position: list[windows.Position] = []
    fit(
        NET,
        stream_from_chunks([(INPUTS, values) if weight is None else (INPUTS, values, weight)] * 2, window=10),
        state=state,
        batch_size=10,
        save=lambda each: position.append(each.position) if each.position else None,
        **given,
    )
    np.testing.assert_allclose(position[0].target_variance, spread, rtol=1e-3)


def test_weights_may_be_zero_throughout_a_window_but_not_throughout_an_epoch() -> None:
    weight = np.where(np.arange(EXAMPLES) < BATCH, 0, WEIGHT).astype(np.float32)
    given: dict[str, Any] = TWO_EPOCHS | {"shuffle": False}
    found = fit(NET, stream_from_chunks([(*DATA, weight)], window=BATCH), key=KEY, **given)
    assert same_bits(found.state, fit(NET, DATA, sample_weight=weight, key=KEY, **given).state)
    with pytest.raises(ArgumentError, match="all sample weights are 0"):
        fit(NET, stream_from_chunks([(*DATA, 0 * WEIGHT)], window=BATCH), key=KEY, **given)


# --- order ---


def test_every_example_is_seen_once_and_every_window_is_shuffled_its_own_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The order of a window is drawn from its key alone.
    state = init_state(NET, "sgd", KEY)
    keys = {
        jax.random.key_data(windows._window_key(each, jnp.asarray(number))).tobytes()
        for each in (state, state._replace(epoch=state.epoch + 1))
        for number in range(4)
    }
    assert len(keys) == 8
    still: dict[str, Any] = {"optimizer": STILL, "batch_size": 2, "epochs": 1}
    found = fit(NET, stream_from_chunks([DATA], window=6), key=KEY, **still)
    whole = fit(NET, DATA, key=KEY, **still)
    assert found.history[0].train_loss == pytest.approx(whole.history[0].train_loss, rel=1e-6)
    assert found.history[0].train_score == pytest.approx(whole.history[0].train_score, rel=1e-6)
    moving = TWO_EPOCHS | {"epochs": 1}
    ordered = fit(NET, stream_from_chunks([DATA], window=8), key=KEY, shuffle=False, **moving)
    assert not same_bits(
        fit(NET, stream_from_chunks([DATA], window=8), key=KEY, **moving).state, ordered.state
    )


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


@pytest.mark.parametrize("name", ["chunks", "source"])
def test_a_checkpoint_holds_the_position(name: str, tmp_path: Path) -> None:
    regression: dict[str, Any] = TWO_EPOCHS | {"loss": "squared_error"} if name == "chunks" else TWO_EPOCHS
    stream = stream_from_chunks([(INPUTS, VALUES)], window=BATCH) if name == "chunks" else source_stream()
    saved: list[FitState] = []
    whole = fit(NET, stream, key=KEY, save=saved.append, **regression)
    path = write_checkpoint(tmp_path, len(saved[3].history), fit_arrays(saved[3]), None)
    arrays = read_checkpoint(path).arrays
    like = FitState(init_state(NET, "adam", KEY))
    restored = restore_fit(arrays, like)
    assert same_bits(restored.train, saved[3].train)
    assert repr(restored.position) == repr(saved[3].position)
    found = fit(NET, stream, resume=restored, **regression | {"epochs": 1})
    assert same_bits(found.state, whole.state)
    assert rows_of(found) == rows_of(whole)
    del arrays["position.statistic"]
    with pytest.raises(ArgumentError, match=r"lacks position\.statistic"):
        restore_fit(arrays, like)


def test_a_position_that_does_not_fit_is_refused() -> None:
    saved: list[FitState] = []
    one = TWO_EPOCHS | {"epochs": 1}
    fit(NET, STREAMS["chunks"](), key=KEY, save=saved.append, **one)
    with pytest.raises(ArgumentError, match=r"after 1 windows of 4 rows, and the stream's have 8 here"):
        fit(NET, stream_from_chunks([DATA], window=8), resume=saved[0], **one)
    with pytest.raises(ArgumentError, match="the stream ends before row 4"):
        fit(NET, stream_from_chunks(chunked(DATA, 4)[:1], window=BATCH), resume=saved[0], **one)
    with pytest.raises(ArgumentError, match="give the stream, not arrays"):
        fit(NET, DATA, resume=saved[0], **one)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_place_in_another_kind_of_stream_or_beyond_a_source_is_refused(threads: int) -> None:
    one = TWO_EPOCHS | {"epochs": 1}
    of_chunks: list[FitState] = []
    of_source: list[FitState] = []
    fit(NET, STREAMS["chunks"](), key=KEY, save=of_chunks.append, **one)
    fit(NET, source_stream(threads=threads), key=KEY, save=of_source.append, **one)
    short = stream_from_source(
        list(zip(INPUTS[:3], LABELS[:3], strict=True)), lambda record: record, window=BATCH, threads=threads
    )
    for stream, saved in [
        (source_stream(threads=threads), of_chunks[0]),
        (STREAMS["chunks"](), of_source[0]),
        (short, of_source[0]),
    ]:
        with pytest.raises(ArgumentError, match=r"a place that this stream does not have: give the stream"):
            fit(NET, stream, resume=saved, **one)


# --- ends ---


def test_a_window_that_diverges_ends_the_fit_with_the_state_before_it() -> None:
    huge = INPUTS.copy()
    huge[8:] = 3e38
    saved: list[FitState] = []
    result = fit(
        NET,
        stream_from_chunks([(huge, LABELS)], window=BATCH),
        DATA,
        key=KEY,
        shuffle=False,
        save=saved.append,
        **TWO_EPOCHS | {"transform": lambda key, inputs: inputs * 10},
    )
    assert (result.stopped, len(result.history)) == ("diverged", 1)
    assert same_bits(result.state, saved[-1].train)
    assert int(result.state.step) == 2


def test_epochs_may_differ_in_length() -> None:
    stream = stream_from_chunks(lambda epoch: chunked(DATA, 4 + 2 * epoch)[:1], window=BATCH)
    result = fit(NET, stream, key=KEY, **TWO_EPOCHS)
    assert int(result.state.step) == 1 + 2
    assert all(np.isfinite(row.train_loss) for row in result.history)


# --- devices ---


# One that is divided by 3 devices, and goes on from a position that another number of them has left.
ON_DEVICES = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 3)
from training_cases import INPUTS, KEY, NET, VALUES, WEIGHT, assert_close
from jaxmlp import fit, stream_from_chunks
stream = stream_from_chunks([(INPUTS, VALUES, WEIGHT)], window=4)
given = {"loss": "squared_error", "optimizer": "adam", "batch_size": 4}
saved = []
one = fit(NET, stream, (INPUTS, VALUES), epochs=2, key=KEY, save=saved.append, **given)
three = fit(NET, stream, (INPUTS, VALUES), epochs=2, key=KEY, devices=jax.devices(), **given)
again = fit(NET, stream, (INPUTS, VALUES), epochs=2, resume=saved[1], devices=jax.devices(), **given)
assert len(three.state.params[0].w.sharding.device_set) == 3
for found in (three, again):
    assert_close(found.state.params, one.state.params)
    for left, right in zip(found.history, one.history, strict=True):
        np.testing.assert_allclose(left[1:6], right[1:6], rtol=1e-4)
"""


@pytest.mark.slow
def test_devices_share_the_minibatches_of_a_stream() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_DEVICES],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
