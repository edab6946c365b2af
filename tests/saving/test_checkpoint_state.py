"""Trees and fits come back from named arrays bit for bit; any other one is refused by its first difference."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_cases import ARRAYS, LAYER_CASES, odd_like
from comparisons import bits, refused, same_bits

from jaxmlp import OPTIMIZERS, EpochReport, fit, init_state, mlp
from jaxmlp.layers import Dense
from jaxmlp.network import Network
from jaxmlp.saving.checkpoint import (
    KEY_KINDS,
    check_description,
    fit_arrays,
    named_arrays,
    read_checkpoint,
    restore_fit,
    restore_tree,
    write_checkpoint,
)
from jaxmlp.training.fit import FitState
from jaxmlp.training.stopping import Best, Stopping

NET = mlp([3, 4, 2])
DATA = (np.linspace(-1, 1, 18, dtype=np.float32).reshape(6, 3), np.array([0, 1] * 3))
ROWS = (
    EpochReport(1, 0.1, 1 / 3, None, None, 5e-324, (0.1, 0.2), 1e300, -0.0),
    EpochReport(2, math.nan, math.inf, math.nan, 0.5, -math.inf, (math.nan, 0.0), 1.0, 2.0),
    EpochReport(3, 0.1, 0.2, 0.3, None, 0.4, (0.5, 0.6), 0.7, 0.8),
)


class Pair(NamedTuple):
    """A tree's node with names."""

    first: Any
    second: Any


def on_host(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in named_arrays(tree).items()}


def abstract(tree: Any) -> Any:
    return jax.eval_shape(lambda: tree)


@pytest.mark.parametrize("layer", LAYER_CASES, ids=repr)
def test_a_state_of_every_layer_comes_back(layer: Any) -> None:
    net = Network(3, [layer, Dense(2)])
    shapes = jax.eval_shape(lambda: init_state(net, "adam", jax.random.key(0)))
    state = odd_like(shapes)
    for like in (odd_like(shapes), shapes):
        restored = restore_tree(on_host(state), like)
        assert same_bits(restored, state)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


@pytest.mark.parametrize("kind", KEY_KINDS.values())
@pytest.mark.parametrize("count", [None, 3])
def test_random_keys_come_back_with_their_kind(kind: str, count: int | None) -> None:
    key = jax.random.key(5, impl=kind)
    keys = {"key": jax.random.split(key, count) if count else key}
    for like in (keys, abstract(keys)):
        assert same_bits(restore_tree(on_host(keys), like), keys)


def test_names_tell_all_paths_apart() -> None:
    tree = {"a.b": 1, "a": {"b": 2}, "['a']": 3, "c": [4, (5, ())], "d": Pair(6, {"first": 7})}
    arrays = on_host(tree)
    assert len(arrays) == 7
    assert restore_tree(arrays, tree) == tree
    assert list(on_host(Pair([jnp.ones(1)], {"b": 1.0}))) == ["first[0]", "second['b']"]
    assert on_host(jnp.ones(1)).keys() == {""}


def test_every_type_comes_back(x64: None) -> None:
    tree = [jnp.array(array) for array in ARRAYS.values()]
    assert bits(restore_tree(on_host(tree), abstract(tree))) == bits(list(ARRAYS.values()))


@pytest.mark.parametrize("value", [True, 3, -0.0, math.inf, 1 + 2j, jnp.asarray(1 / 3), jnp.float32(1 / 3)])
def test_numbers_keep_their_type_and_whether_they_mix_with_others(value: Any) -> None:
    restored = restore_tree(on_host([value]), [value])[0]
    assert (type(restored), repr(restored), bits(restored)) == (type(value), repr(value), bits(value))
    assert jnp.asarray(restored).weak_type == jnp.asarray(value).weak_type


def test_numpy_and_jax_have_copies_of_their_own_kind() -> None:
    arrays = {"['a']": np.arange(3.0), "['b']": np.array(2.5)}
    restored = restore_tree(arrays, {"a": np.zeros(3), "b": np.float64(0)})
    arrays["['a']"][:] = 9
    assert (type(restored["a"]), type(restored["b"])) == (np.ndarray, np.float64)
    assert restored["a"].tolist() == [0, 1, 2]
    # Memory that JAX would share, because it begins at a multiple of 64 bytes.
    memory = np.zeros(5000, np.uint8)
    start = -memory.ctypes.data % 64
    shared = memory[start : start + 4000].view(np.float32)
    of_jax = restore_tree({"": shared}, jnp.zeros(1000))
    shared[:] = 9
    assert of_jax[5] == 0


@pytest.mark.parametrize("tree", [(), {}, [(), None], None])
def test_a_tree_without_leaves_is_no_arrays(tree: Any) -> None:
    assert named_arrays(tree) == {}
    assert restore_tree({}, tree) == tree
    refused("holds w, which", restore_tree, {"w": np.ones(1)}, tree)


KEY = jax.random.key(0)
OTHER_KEY = (
    "the checkpoint lacks ['key']:rbg and holds ['key']:threefry2x32, which does not belong here: "
    "it is of another network, optimiser or version"
)


@pytest.mark.parametrize(
    ("tree", "like", "message"),
    [
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, "the checkpoint lacks ['b']: it is"),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0}, "the checkpoint holds ['b'], which does not belong here"),
        ({"key": KEY}, {"key": jax.random.key(0, impl="rbg")}, OTHER_KEY),
        ({"key": np.zeros(2, np.uint32)}, {"key": KEY}, "lacks ['key']:threefry"),
        ([KEY], [jax.random.split(KEY)], "is uint32[2] in the checkpoint, wanted"),
        ([np.ones(2)], [jax.ShapeDtypeStruct((2,), np.float64)], "JAX has only with jax_enable_x64"),
        ([jnp.ones((2, 3))], [jnp.ones((3, 2))], "float32[2, 3] in the checkpoint, wanted float32[3, 2]"),
        ([jnp.ones(1)], [jnp.ones(())], "[0] is float32[1] in the checkpoint, wanted float32[]"),
        ([jnp.ones(2)], [jnp.ones(2, jnp.int32)], "[0] is float32[2] in the checkpoint, wanted int32[2]"),
        ([jnp.ones(2)], [np.ones(2)], "[0] is float32[2] in the checkpoint, wanted float64[2]"),
        ([jnp.ones(2)], [1.0], "[0] is float32[2] in the checkpoint, wanted float64[]"),
        ([1], [1.0], "[0] is int64[] in the checkpoint, wanted float64[]"),
    ],
)
def test_the_first_difference_is_named(tree: Any, like: Any, message: str) -> None:
    refused(message, restore_tree, on_host(tree), like)


@pytest.mark.parametrize("leaf", ["text", np.array(["text"]), object(), np.array([None]), np.zeros(2, "V3")])
def test_what_is_no_number_is_refused(leaf: Any) -> None:
    refused("only numbers can be saved", named_arrays, {"a": leaf})


def state_of(optimizer: str = "adam", net: Any = NET, **parts: Any) -> FitState:
    return FitState(odd_like(jax.eval_shape(lambda: init_state(net, optimizer, jax.random.key(0)))), **parts)


def through_a_file(state: FitState, folder: Path) -> dict[str, np.ndarray]:
    return read_checkpoint(write_checkpoint(folder, 1, fit_arrays(state), None)).arrays


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_fit_of_every_optimiser_comes_back(optimizer: str, tmp_path: Path) -> None:
    train = state_of(optimizer).train
    state = FitState(train, Best(train.params, 2, 0.1), ROWS)
    restored = restore_fit(through_a_file(state, tmp_path), FitState(jax.eval_shape(lambda: train)))
    assert same_bits(restored[:2], state[:2])
    assert repr(restored.history) == repr(ROWS)  # tells None, NaN, -0.0 and the types of numbers apart
    assert [type(value) for value in restored.best or ()][1:] == [int, float]


@pytest.mark.parametrize("best", [None, Best(state_of().train.params, 1, math.nan)])
@pytest.mark.parametrize("history", [(), ROWS[:1], tuple(row._replace(max_weight=()) for row in ROWS)])
def test_best_and_history_are_the_checkpoint_s(best: Best | None, history: Any, tmp_path: Path) -> None:
    state = state_of(best=best, history=history)
    for like in (state_of(), state_of(best=Best(state.train.params, 9, 9.0), history=ROWS)):
        restored = restore_fit(through_a_file(state, tmp_path), like)
        assert repr(restored.history) == repr(history)
        assert repr(restored.best) == repr(best)


def test_a_resumed_fit_is_the_same_fit(tmp_path: Path) -> None:
    saved: list[FitState] = []
    options: dict[str, Any] = {"optimizer": "adam", "batch_size": 4, "stopping": Stopping(patience=9)}
    whole = fit(NET, DATA, DATA, epochs=3, key=jax.random.key(3), save=saved.append, **options)
    restored = restore_fit(through_a_file(saved[0], tmp_path), state_of())
    resumed = fit(NET, DATA, DATA, epochs=2, resume=restored, **options)
    assert bits(resumed.state) == bits(whole.state)
    assert bits(resumed.best) == bits(whole.best)
    assert bits(resumed.state) != bits(saved[0].train), "it went on"
    untimed = [[row[:-2] for row in run.history] for run in (resumed, whole)]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (state_of("sgd"), "lacks train.opt_state"),
        (state_of("momentum"), "lacks train.opt_state"),
        (state_of(net=mlp([3, 5, 2])), "train.params[0].w is float32[3, 5]"),
        (state_of(net=mlp([3, 4, 4, 2])), "holds train.params[4].w, which does not belong here"),
    ],
)
def test_a_fit_of_something_else_is_refused(saved: FitState, message: str) -> None:
    refused(message, restore_fit, fit_arrays(saved), state_of())


@pytest.mark.parametrize(
    "altered",
    [
        *({"numbers": np.ones(shape)} for shape in ((2, 10), (3, 7), 3)),
        {"numbers": np.ones((3, 10), np.float32)},
        {"missing": np.ones((3, 10), np.int32)},
        {"missing": None},
        {"new": np.ones(3)},
    ],
)
def test_a_history_that_no_fit_wrote_is_refused(altered: dict[str, Any]) -> None:
    arrays = fit_arrays(state_of(history=ROWS))
    restore_fit(arrays, state_of())
    arrays |= {f"history['{name}']": value for name, value in altered.items()}
    kept = {name: array for name, array in arrays.items() if array is not None}
    refused("history", restore_fit, kept, state_of())


DESCRIPTION: dict[str, Any] = {
    "version": "0.1.0",
    "network": {"in_features": 4, "layers": [{"layer": "Dense", "features": 3}, {"layer": "Softmax"}]},
    "rate": 0.1,
    "l2": float("nan"),
    "shuffle": True,
    "stream": None,
}


def test_the_same_description_passes() -> None:
    check_description(DESCRIPTION, DESCRIPTION)
    check_description(json.loads(json.dumps(DESCRIPTION)), dict(reversed(DESCRIPTION.items())))
    check_description({"sizes": [1, 2]}, {"sizes": (1, 2)})
    for plain in (None, 1, "text", [], {}):
        check_description(plain, plain)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("version",), "0.2.0", 'version is "0.2.0" there and "0.1.0" here'),
        (("network", "in_features"), 5, "network.in_features is 5 there and 4 here"),
        (("network", "layers", 0, "features"), 7, "network.layers.0.features is 7 there and 3 here"),
        (("network", "layers"), [], "network.layers.0.features is not told there and 3 here"),
        (("network", "layers", 1, "slope"), 0.5, "network.layers.1.slope is 0.5 there and not told here"),
        (("network",), 3, "network.in_features is not told there and 4 here"),
        (("rate",), 0.1000000001, "rate is 0.1000000001 there and 0.1 here"),
        (("l2",), 0.0, "l2 is 0.0 there and NaN here"),
        (("shuffle",), 1, "shuffle is 1 there and true here"),
        (("stream",), 0, "stream is 0 there and null here"),
        (("new",), "ü" * 200, 'new is "üüü'),
    ],
)
def test_the_first_difference_of_descriptions_is_named(path: tuple[Any, ...], value: Any, told: str) -> None:
    found = inner = json.loads(json.dumps(DESCRIPTION))
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    message = refused("", check_description, found, DESCRIPTION)
    assert message.startswith(f"the checkpoint is of another run: {told}")
    assert message.endswith("; give the same or begin a new run")
    assert len(message) < 300


@pytest.mark.parametrize("description", [object(), {"a": {1, 2}}, b"bytes", {("a", "b"): 1}])
def test_a_description_that_is_not_plain_is_refused(description: Any) -> None:
    refused("must be plain JSON data", check_description, {}, description)
