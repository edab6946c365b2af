"""A tree comes back from its named arrays bit for bit, and any other tree is refused in one line."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_cases import ARRAYS, bits, odd_like

from jaxmlp import LAYERS, OPTIMIZERS, init_state, mlp
from jaxmlp.layers import Activate, Dense
from jaxmlp.network import Network
from jaxmlp.saving import named_arrays, restore_tree
from jaxmlp.saving.checkpoint import KEY_KINDS
from jaxmlp.types import ArgumentError

# Layers whose settings have no default need an example; any other is tested by its bare name.
LAYER_EXAMPLES: dict[str, Any] = {"Dense": Dense(4, bias=False), "Activate": Activate("tanh")}


class Pair(NamedTuple):
    """A tree's node with names."""

    first: Any
    second: Any


def on_host(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in named_arrays(tree).items()}


def abstract(tree: Any) -> Any:
    return jax.eval_shape(lambda: tree)


def refusal(tree: Any, like: Any) -> str:
    with pytest.raises(ArgumentError) as caught:
        restore_tree(on_host(tree), like)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_of_every_optimiser_comes_back(optimizer: str) -> None:
    net = mlp([3, 4, 2])
    shapes = jax.eval_shape(lambda: init_state(net, optimizer, jax.random.key(1)))
    state = odd_like(shapes)
    for like in (odd_like(shapes), shapes):
        restored = restore_tree(on_host(state), like)
        structure: Any = jax.tree.structure(state)
        assert jax.tree.structure(restored) == structure
        assert bits(restored) == bits(state)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


@pytest.mark.parametrize("name", LAYERS)
def test_a_state_of_every_layer_comes_back(name: str) -> None:
    layer: Any = LAYER_EXAMPLES.get(name) or LAYERS[name]()
    net = Network(3, [layer, Dense(2)])
    shapes = jax.eval_shape(lambda: init_state(net, "adam", jax.random.key(0)))
    state = odd_like(shapes)
    assert bits(restore_tree(on_host(state), shapes)) == bits(state)


@pytest.mark.parametrize("kind", KEY_KINDS.values())
@pytest.mark.parametrize("shape", [(), (3,)])
def test_random_keys_come_back_with_their_kind(kind: str, shape: tuple[int, ...]) -> None:
    keys = jax.random.key(5, impl=kind)
    keys = jax.random.split(keys, shape) if shape else keys
    for like in (keys, abstract(keys)):
        restored = restore_tree(on_host({"key": keys}), {"key": like})["key"]
        assert restored.dtype == keys.dtype
        assert restored.shape == shape
        assert bits(restored) == bits(keys)
        assert np.array_equal(jax.random.key_data(restored), jax.random.key_data(keys))


def test_a_key_of_another_kind_is_refused() -> None:
    message = refusal({"key": jax.random.key(0)}, {"key": jax.random.key(0, impl="rbg")})
    assert message == (
        "the checkpoint lacks ['key']:rbg and holds ['key']:threefry2x32, which does not belong here: "
        "it is of another network, optimiser or version"
    )
    assert "lacks ['key']:threefry2x32" in refusal(
        {"key": np.zeros(2, np.uint32)}, {"key": jax.random.key(0)}
    )


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


@pytest.mark.parametrize("value", [True, 3, -0.0, float("inf"), 1 + 2j])
def test_numbers_of_python_stay_such(value: Any) -> None:
    restored = restore_tree(on_host([value]), [value])[0]
    assert type(restored) is type(value)
    assert repr(restored) == repr(value)


def test_an_array_of_numpy_stays_one_and_is_a_copy() -> None:
    arrays = {"['a']": np.arange(3.0), "['b']": np.arange(3.0)}
    restored = restore_tree(arrays, {"a": np.zeros(3), "b": np.zeros(3)})
    arrays["['a']"][:] = 9
    assert type(restored["a"]) is np.ndarray
    assert restored["a"].tolist() == [0, 1, 2]
    assert type(restore_tree({"": np.array(2.5)}, np.float64(0))) is np.float64


def test_jax_has_a_copy_too() -> None:
    # Memory that JAX would share, because it begins at a multiple of 64 bytes.
    memory = np.zeros(5000, np.uint8)
    start = -memory.ctypes.data % 64
    arrays = {"": memory[start : start + 4000].view(np.float32)}
    restored = restore_tree(arrays, jnp.zeros(1000))
    arrays[""][:] = 9
    assert restored[5] == 0


def test_a_number_that_mixes_with_all_types_still_does() -> None:
    weak = jnp.asarray(1 / 3)
    assert weak.weak_type
    restored = restore_tree(on_host(weak), weak)
    assert restored.weak_type
    assert bits(restored) == bits(weak)
    strong = jnp.float32(1 / 3)
    assert not restore_tree(on_host(strong), strong).weak_type


@pytest.mark.parametrize("tree", [(), {}, [(), None], None])
def test_a_tree_without_leaves_is_no_arrays(tree: Any) -> None:
    assert named_arrays(tree) == {}
    assert restore_tree({}, tree) == tree
    with pytest.raises(ArgumentError, match="holds w, which"):
        restore_tree({"w": np.ones(1)}, tree)


@pytest.mark.parametrize(
    ("tree", "like", "message"),
    [
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, "the checkpoint lacks ['b']: it is"),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0}, "the checkpoint holds ['b'], which does not belong here"),
        (
            [jnp.ones((2, 3))],
            [jnp.ones((3, 2))],
            "[0] is float32[2, 3] in the checkpoint, wanted float32[3, 2]",
        ),
        ([jnp.ones(1)], [jnp.ones(())], "[0] is float32[1] in the checkpoint, wanted float32[]"),
        ([jnp.ones(2)], [jnp.ones(2, jnp.int32)], "[0] is float32[2] in the checkpoint, wanted int32[2]"),
        ([jnp.ones(2)], [np.ones(2)], "[0] is float32[2] in the checkpoint, wanted float64[2]"),
        ([jnp.ones(2)], [1.0], "[0] is float32[2] in the checkpoint, wanted float64[]"),
        ([1], [1.0], "[0] is int64[] in the checkpoint, wanted float64[]"),
        (
            [jax.random.key(0)],
            [jax.random.split(jax.random.key(0))],
            "is uint32[2] in the checkpoint, wanted uint32[2, 2]",
        ),
    ],
)
def test_the_first_difference_is_named(tree: Any, like: Any, message: str) -> None:
    assert message in refusal(tree, like)


def test_float64_without_x64_is_refused_and_not_rounded() -> None:
    like = jax.ShapeDtypeStruct((2,), np.float64)
    assert "float64, which JAX has only with jax_enable_x64" in refusal(np.ones(2), like)


@pytest.mark.parametrize("leaf", ["text", np.array(["text"]), object(), np.array([None]), np.zeros(2, "V3")])
def test_what_is_no_number_is_refused(leaf: Any) -> None:
    with pytest.raises(ArgumentError, match="only numbers can be saved"):
        named_arrays({"a": leaf})
