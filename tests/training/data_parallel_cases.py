"""Fits on several devices held against the same fits on one; a program, as JAX counts its CPU devices at its start.

`python data_parallel_cases.py DEVICES < questions.json` writes an answer a question.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp.layers import LAYERS, Dense, Layer
from jaxmlp.network import Network, mlp
from jaxmlp.training import parallel as data_parallel
from jaxmlp.training import steps as training
from jaxmlp.training.fit import FitResult, fit
from jaxmlp.training.optimizers import make_optimizer
from jaxmlp.training.parallel import batch_mesh, place_whole
from jaxmlp.training.steps import Recipe, init_state
from jaxmlp.training.stream import stream_from_chunks
from jaxmlp.types import Batch, Key, history_columns

EXAMPLES, FEATURES, WIDTH = 41, 6, 13
NET = mlp([FEATURES, WIDTH, 3], activation="tanh")


def add_noise(key: Key, inputs: Any) -> Any:
    """Add noise to the inputs: a transform that draws an own number for every place of a minibatch."""
    return inputs + 0.1 * jax.random.normal(key, inputs.shape, inputs.dtype)


# 41 examples in minibatches of 8 leave one; 12 and 5 are no multiples of 8 or 3; 1 leaves devices without any.
CASES: dict[str, dict[str, Any]] = {
    "sgd": {"l2": 0.01},
    "momentum": {"batch_size": 12, "weighted": True},
    "adam": {"batch_size": 5, "transform": add_noise},
    "adamw": {"batch_size": 12, "schedule": "cosine", "clip_norm": 0.5, "shuffle": False},
    "lion": {"batch_size": 16, "l2": 0.01},
    "one": {"optimizer": "nesterov", "batch_size": 1},
    "full": {"optimizer": "adam", "batch_size": EXAMPLES, "weighted": True, "l2": 0.1},
    "wide": {"optimizer": "sgd", "batch_size": 1000, "shuffle": False},
    "regression": {"optimizer": "adam", "batch_size": 12, "loss": "half_squared_error", "weighted": True},
}


def network_with(layer: str) -> Network:
    """Put a layer of a kind between two dense ones; its settings are its own defaults, where it has them."""
    needed: dict[str, tuple[Any, ...]] = {"Dense": (5,), "Activate": ("gelu",)}
    layers: list[Layer] = [Dense(WIDTH), LAYERS[layer](*needed.get(layer, ())), Dense(3)]
    return Network(FEATURES, layers)


def problem(dtype: Any, loss: str) -> tuple[Batch, Batch]:
    """Draw examples of three classes, or of three numbers, to train on and to validate with."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, EXAMPLES + 10)
    inputs = (random.normal(size=(len(labels), FEATURES)) + labels[:, None]).astype(dtype)
    targets = labels if loss == "softmax_cross_entropy" else np.sin(inputs[:, :3])
    return Batch(inputs[:EXAMPLES], targets[:EXAMPLES]), Batch(inputs[EXAMPLES:], targets[EXAMPLES:])


def fit_case(name: str, epochs: int, dtype: str, devices: Any) -> FitResult:
    """Train a case of `CASES`, or "layer:NAME" for a network with such a layer."""
    net = network_with(name.partition(":")[2]) if ":" in name else NET
    case = dict(CASES.get(name, {}))
    loss = case.pop("loss", "softmax_cross_entropy")
    train, valid = problem(dtype, loss)
    optimizer = make_optimizer(
        case.pop("optimizer", "sgd" if ":" in name else name),
        0.02,
        schedule=case.pop("schedule", "constant"),
        horizon=(24, 4),
        clip_norm=case.pop("clip_norm", None),
    )
    weight = np.random.default_rng(1).uniform(0.1, 2, EXAMPLES).astype(dtype)
    weight[:5] = 0
    if not case.pop("weighted", False):
        weight = None
    return fit(
        net,
        train,
        valid,
        loss=loss,
        optimizer=optimizer,
        batch_size=case.pop("batch_size", 8),
        epochs=epochs,
        key=jax.random.key(3),
        sample_weight=weight,
        devices=devices,
        **case,
    )


def difference(found: Any, expected: Any) -> float:
    """Measure max |a − b| / max |b| of the worst array; NaN where any number is."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return float(
        np.max(
            [np.max(np.abs(np.asarray(a) - b)) / (np.max(np.abs(b)) or 1.0) for a, b in pairs if np.size(b)]
        )
    )


def columns(result: FitResult) -> list[np.ndarray]:
    """Collect a history's columns but for its timings."""
    found = history_columns(result.history, result.metric)
    return [
        found[name].astype(np.float64) for name in found if name not in ("seconds", "examples_per_second")
    ]


def compare(name: str, counts: list[int], epochs: int, dtype: str) -> dict[str, list[float]]:
    """Train a case on one device and on several; how far parameters, optimiser's state and history differ."""
    one = fit_case(name, epochs, dtype, None)
    found = {}
    for count in counts:
        many = fit_case(name, epochs, dtype, jax.devices()[:count])
        floats = [
            [leaf for leaf in jax.tree.leaves(state.opt_state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
            for state in (many.state, one.state)
        ]
        found[str(count)] = [
            difference(many.state.params, jax.device_get(one.state.params)),
            difference(*jax.device_get(floats)) if any(np.size(leaf) for leaf in floats[0]) else 0.0,
            difference(columns(many), columns(one)),
        ]
    return found


def divided(batch_size: int, count: int) -> dict[str, Any]:
    """Compile an epoch for several devices: the hidden layer's rows on each of them, and the sums over all."""
    mesh = batch_mesh(jax.devices()[:count])
    train, _ = problem("float32", "softmax_cross_entropy")
    state = init_state(NET, "sgd", jax.random.key(0))
    if mesh is not None:
        train, state = place_whole((train, state), mesh)
    recipe = Recipe(NET, batch_size=batch_size, mesh=mesh)
    program = training.jitted_epoch.lower(recipe, state, train).compile()
    text = program.as_text()
    rows = {int(found) for found in re.findall(rf"f32\[(\d+),{WIDTH}\]", text)} - {
        FEATURES,
        3,
    }  # weights have those
    return {"rows": sorted(rows), "sums": len(re.findall(r"all-reduce(?:-start)?\(", text))}


def placed(place: int) -> list[int]:
    """Train on one device; where the parameters then are."""
    result = fit_case("sgd", 1, "float32", jax.devices()[place : place + 1])
    return sorted({device.id for leaf in jax.tree.leaves(result.state.params) for device in leaf.devices()})


def stream() -> float:
    """Train on a stream with one device and with 3, and go on with 3 where one stopped; how far the ends differ."""
    train, valid = problem("float32", "half_squared_error")
    given: dict[str, Any] = {"loss": "half_squared_error", "optimizer": "adam", "batch_size": 4, "epochs": 2}
    key, saved = jax.random.key(3), []
    chunks = stream_from_chunks([train], window=8)
    one = fit(NET, chunks, valid, key=key, save=saved.append, **given)
    three = fit(NET, chunks, valid, key=key, devices=jax.devices()[:3], **given)
    again = fit(NET, chunks, valid, resume=saved[1], devices=jax.devices()[:3], **given)
    assert len(three.state.params[0].w.sharding.device_set) == 3
    ends = [(jax.device_get(each.state.params), columns(each)) for each in (one, three, again)]
    return max(difference(end, ends[0]) for end in ends[1:])


# --- faults ---


def forget_constraint(mesh: Any, *blocks: Any) -> Any:
    """Leave the columns whole on every device."""
    return blocks


def lose_a_device(mesh: Any, *blocks: Any) -> Any:
    """Leave what the last device holds out of every sum."""
    if mesh is None:
        return blocks
    indices, held = data_parallel.share_rows(mesh, *blocks)
    share = held.shape[1] // mesh.size
    return indices, held.at[:, -share:].set(False)


def count_filling(mesh: Any, *blocks: Any) -> Any:
    """Count the places that fill up what is uneven as examples."""
    if mesh is None:
        return blocks
    indices, held = data_parallel.share_rows(mesh, *blocks)
    return indices, held.at[:, blocks[1].shape[1] :].set(True)


def count_twice(mesh: Any, *blocks: Any) -> Any:
    """Give the first device's rows to the second one too."""
    if mesh is None:
        return blocks
    indices, held = data_parallel.share_rows(mesh, *blocks)
    share = held.shape[1] // mesh.size
    return indices.at[:, share : 2 * share].set(indices[:, :share]), held


FAULTS: dict[str, Callable[..., Any]] = {
    "lose_a_device": lose_a_device,
    "count_filling": count_filling,
    "count_twice": count_twice,
}


@contextmanager
def faulty(fault: str | None) -> Iterator[None]:
    """Put a fault in the place of `share_rows` in training, compiled anew."""
    if fault is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "share_rows", (FAULTS | {"forget_constraint": forget_constraint})[fault])
        training.jitted_epoch.clear_cache()
        yield
    training.jitted_epoch.clear_cache()


def answer(question: dict[str, Any]) -> Any:
    """Compare or compile, as a question says."""
    kind, fault = question.pop("kind"), question.pop("fault", None)
    with faulty(fault):
        if kind == "divided":
            return divided(**question)
        if kind == "placed":
            return placed(**question)
        if kind == "stream":
            return stream()
        with jax.enable_x64(question["dtype"] == "float64"):
            return compare(**question)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    assert len(jax.devices()) == int(sys.argv[1])
    for asked in json.load(sys.stdin):
        print(json.dumps(answer(asked)), flush=True)
