"""Fits on several devices held against the same fits on one; a program, as JAX counts its CPU devices at its start.

`python -m training.data_parallel_cases DEVICES < questions.json` writes an answer a question.
"""

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import largest_difference

from jaxmlp.layers import LAYERS, BatchNorm, Committee, Dense
from jaxmlp.network import Network, mlp
from jaxmlp.training import steps as training
from jaxmlp.training.fit import FitResult, fit
from jaxmlp.training.optimizers import make_optimizer
from jaxmlp.training.parallel import batch_mesh, place_whole, share_rows
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
    needed: dict[str, tuple[Any, ...]] = {
        "Dense": (5,),
        "Activate": ("gelu",),
        "ParametricActivate": ("gelu",),
        "Embed": ((1, 2), (2, 3)),
        "Dropout": (0.3,),
        "Residual": ([Dense(WIDTH, bias=False), BatchNorm()],),
        "Maxout": (WIDTH,),
    }
    if layer == "Committee":  # ends a network
        return Network(FEATURES, [Committee([Dense(3)])])
    # Below a batch norm a bias has a gradient of 0, and what it becomes is rounding.
    below = Dense(WIDTH, bias=layer != "BatchNorm")
    return Network(FEATURES, [below, LAYERS[layer](*needed.get(layer, ())), Dense(3)])


def problem(dtype: Any, loss: str) -> tuple[Batch, Batch]:
    """Draw examples of three classes, or of three numbers, to train on and to validate with."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, EXAMPLES + 10)
    inputs = (random.normal(size=(len(labels), FEATURES)) + labels[:, None]).astype(dtype)
    targets = labels if loss == "softmax_cross_entropy" else np.sin(inputs[:, :3])
    return Batch(inputs[:EXAMPLES], targets[:EXAMPLES]), Batch(inputs[EXAMPLES:], targets[EXAMPLES:])


def fit_case(name: str, epochs: int, dtype: str, devices: Any) -> FitResult:
    """Train a case of `CASES`, or "layer:NAME" for a network with such a layer."""
    net, usual = (network_with(name.partition(":")[2]), "sgd") if ":" in name else (NET, name)
    case = {"loss": "softmax_cross_entropy", "batch_size": 8} | CASES.get(name, {})
    train, valid = problem(dtype, case["loss"])
    settings = {key: case.pop(key) for key in ("schedule", "clip_norm") if key in case}
    optimizer = make_optimizer(case.pop("optimizer", usual), 0.02, horizon=(24, 4), **settings)
    weight = np.random.default_rng(1).uniform(0.1, 2, EXAMPLES).astype(dtype)
    weight[:5] = 0
    case["sample_weight"] = weight if case.pop("weighted", False) else None
    given = {"optimizer": optimizer, "epochs": epochs, "key": jax.random.key(3), "devices": devices}
    return fit(net, train, valid, **case | given)


def columns(result: FitResult) -> list[np.ndarray]:
    """Collect a history's columns but for its timings."""
    found = history_columns(result.history, result.metric)
    return [found[name].astype(float) for name in found if name not in ("seconds", "examples_per_second")]


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
            largest_difference(many.state.params, one.state.params, relative=True),
            largest_difference(*floats, relative=True),
            largest_difference(columns(many), columns(one), relative=True),
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
    rows = {int(found) for found in re.findall(rf"f32\[(\d+),{WIDTH}\]", text)}
    weights = {FEATURES, 3}
    return {"rows": sorted(rows - weights), "sums": len(re.findall(r"all-reduce(?:-start)?\(", text))}


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
    ends = [(each.state.params, columns(each)) for each in (one, three, again)]
    return max(largest_difference(end, ends[0], relative=True) for end in ends[1:])


def corrupt_shares(corrupt: Callable[..., Any]) -> Callable[..., Any]:
    """Make a `share_rows` of (indices, held) that are corrupted, given a share's columns and those before filling."""

    def share(mesh: Any, *blocks: Any) -> Any:
        if mesh is None:
            return blocks
        indices, held = share_rows(mesh, *blocks)
        return corrupt(indices, held, held.shape[1] // mesh.size, blocks[1].shape[1])

    return share


FAULTS: dict[str, Callable[..., Any]] = {
    # What the last device holds is left out of every sum.
    "lose_a_device": lambda indices, held, share, filled: (indices, held.at[:, -share:].set(False)),
    # The places that fill up what is uneven count as examples.
    "count_filling": lambda indices, held, share, filled: (indices, held.at[:, filled:].set(True)),
    # The second device gets the first one's rows too.
    "count_twice": lambda indices, held, share, filled: (
        indices.at[:, share : 2 * share].set(indices[:, :share]),
        held,
    ),
}
KINDS = {"compare": compare, "divided": divided, "placed": placed, "stream": stream}


def answer(question: dict[str, Any]) -> Any:
    """Answer a question of a kind, perhaps with a fault in the place of `share_rows`, compiled anew."""
    kind, fault = question.pop("kind"), question.pop("fault", None)
    training.jitted_epoch.clear_cache()
    with pytest.MonkeyPatch.context() as patched, jax.enable_x64(question.get("dtype") == "float64"):
        if fault == "forget_constraint":  # the columns stay whole on every device
            patched.setattr(training, "share_rows", lambda mesh, *blocks: blocks)
        elif fault is not None:
            patched.setattr(training, "share_rows", corrupt_shares(FAULTS[fault]))
        return KINDS[kind](**question)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    assert len(jax.devices()) == int(sys.argv[1])
    for asked in json.load(sys.stdin):
        print(json.dumps(answer(asked)), flush=True)
