"""A saved model comes back bit for bit, and a file that is damaged or something else is one line, never a surprise."""

import dataclasses
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from checkpoint_cases import Bomb, bits, odd_like

from jaxmlp.layers import LAYERS, Activate, Dense, Softmax
from jaxmlp.network import Network, forward, init, layer_shapes, mlp
from jaxmlp.saving.model_file import (
    describe_network,
    load_model,
    read_tensors,
    rebuild_network,
    save_model,
    write_tensors,
)
from jaxmlp.types import ArgumentError

# Layers whose settings have no default need an example; any other is tested by its bare name.
LAYER_EXAMPLES: dict[str, Any] = {
    "Dense": Dense(3, bias_init="normal:1.0"),
    "Activate": Activate("leaky_relu:0.1"),
}
LAYER_CASES = [LAYER_EXAMPLES.get(name) or LAYERS[name]() for name in LAYERS]
LAYER_CASES += [
    Dense(2, bias=False, weight_init="uniform:-0.05,0.05", precision=None),
    Dense(2, precision="bfloat16"),
    Activate("gelu_tanh"),
]
NET = mlp([4, 3, 2], activation="tanh")


def shapes_of(net: Network) -> Any:
    return tuple(shape.params for shape in layer_shapes(net))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, NET, init(NET, jax.random.key(0)), {"shift": np.arange(4.0), "classes": ["a", "b"]})
    return path


def refusal(path: Path) -> str:
    """Load a wrong file and return the message, which must be one line that names the file."""
    with pytest.raises(ArgumentError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


# --- round trips ---


@pytest.mark.parametrize("layer", LAYER_CASES, ids=repr)
def test_every_layer_comes_back_bit_for_bit(layer: Any, tmp_path: Path) -> None:
    net = Network(3, [layer, Dense(2)])
    params = odd_like(shapes_of(net))
    save_model(tmp_path / "model", net, params)
    loaded, loaded_params, preprocessing = load_model(tmp_path / "model")
    assert loaded == net
    assert loaded.layers[0] == layer
    structure: Any = jax.tree.structure(params)
    assert jax.tree.structure(loaded_params) == structure
    assert bits(loaded_params) == bits(params)
    assert preprocessing == {}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_each_type_comes_back_bit_for_bit(dtype: Any, tmp_path: Path) -> None:
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), init(NET, jax.random.key(1)))
    save_model(tmp_path / "model", NET, params)
    assert bits(load_model(tmp_path / "model")[1]) == bits(params)


def test_float64_comes_back_bit_for_bit(x64: None, tmp_path: Path) -> None:
    params = odd_like(shapes_of(NET))
    assert params[0].w.dtype == jnp.float64
    save_model(tmp_path / "model", NET, params)
    assert bits(load_model(tmp_path / "model")[1]) == bits(params)


def test_float64_is_rounded_where_jax_computes_in_float32(tmp_path: Path) -> None:
    with jax.enable_x64(True):
        params = init(NET, jax.random.key(0))
        save_model(tmp_path / "model", NET, params)
    loaded = load_model(tmp_path / "model")[1]
    assert loaded[0].w.dtype == jnp.float32
    np.testing.assert_array_equal(loaded[0].w, np.asarray(params[0].w).astype(np.float32))


def test_a_loaded_network_computes_the_same(saved: Path) -> None:
    net, params, _ = load_model(saved)
    inputs = jax.random.normal(jax.random.key(2), (5, 4))
    expected = forward(NET, init(NET, jax.random.key(0)), inputs)
    np.testing.assert_array_equal(forward(net, params, inputs), expected)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float64).reshape(2, 3),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.arange(10, dtype=np.int64)[::-2],
        np.array(True),
        np.zeros((0, 3), np.uint8),
        np.array([np.nan, -0.0], np.float32),
    ],
    ids=["float64", "transposed", "reversed", "scalar", "empty", "nan"],
)
def test_preprocessing_arrays_come_back_as_they_are(value: np.ndarray, tmp_path: Path) -> None:
    save_model(tmp_path / "model", NET, init(NET, jax.random.key(0)), {"name with.dots": value})
    found = load_model(tmp_path / "model")[2]["name with.dots"]
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape, found.tobytes()) == (value.dtype, value.shape, value.tobytes())


def test_preprocessing_values_come_back_as_they_are(tmp_path: Path) -> None:
    values = {"text": "naïve ✓", "list": [1, 2.5, None], "nested": {"deep": {"truth": True}}, "nothing": None}
    save_model(tmp_path / "model", NET, init(NET, jax.random.key(0)), {**values, "array": np.ones(2)})
    found = load_model(tmp_path / "model")[2]
    assert found.pop("array").tolist() == [1.0, 1.0]
    assert found == values


def test_a_text_path_serves_too(tmp_path: Path) -> None:
    save_model(str(tmp_path / "model"), NET, init(NET, jax.random.key(0)))
    assert load_model(str(tmp_path / "model"))[0] == NET


# --- damaged files ---


def test_a_file_cut_off_one_byte_too_long_or_of_something_else_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    cuts = [content[: int(share * len(content))] for share in (0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 0.99)]
    others = [b"", b"\0" * 100, b"not a model\n" * 20, b'{"jaxmlp": 1}', b"\xff" * 64]
    for wrong in (*cuts, content[:-1], content + b"\0", content[1:], *others):
        saved.write_bytes(wrong)
        assert "no whole jaxmlp model file" in refusal(saved)
    saved.write_bytes(content)
    assert load_model(saved)[0] == NET


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"jaxmlp": "no json"}, {"jaxmlp": "5"}])
def test_safetensors_of_something_else_is_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"weight": np.ones(3, np.float32)}, path, metadata=metadata)
    assert "no whole jaxmlp model file" in refusal(path)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb()))
    assert "no whole jaxmlp model file" in refusal(tmp_path / "model.pkl")
    with pytest.raises(SystemExit):
        pickle.loads((tmp_path / "model.pkl").read_bytes())  # the bomb does work


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no model file at" in refusal(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    assert "no model file at" in refusal(tmp_path / "folder")


# --- altered descriptions ---


def rewrite(path: Path, alter: Callable[[dict[str, Any]], Any]) -> None:
    """Alter the description in a model file and leave its tensors."""
    tensors, texts = read_tensors(path)
    description = json.loads(texts["jaxmlp"])
    alter(description)
    write_tensors(path, tensors, {"jaxmlp": json.dumps(description)})


def test_an_unaltered_description_still_loads(saved: Path) -> None:
    rewrite(saved, lambda description: None)
    assert load_model(saved)[0] == NET


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda d: d.update(format="jaxmlp-0"), "has format 'jaxmlp-0'"),
        (lambda d: d.pop("format"), "no whole jaxmlp model file (KeyError)"),
        (lambda d: d.pop("network"), "does not describe a network"),
        (lambda d: d.pop("preprocessing"), "does not describe a network"),
        (lambda d: d.update(network=[1, 2]), "does not describe a network"),
        (lambda d: d.update(preprocessing=3), "does not describe a network"),
        (lambda d: d["network"].pop("layers"), "does not describe a network"),
        (lambda d: d["network"].pop("in_features"), "does not describe a network"),
        (lambda d: d["network"].update(in_features="4"), "number of inputs must be a whole number"),
        (lambda d: d["network"].update(layers=[]), "needs at least one layer"),
        (lambda d: d["network"]["layers"][0].pop("layer"), "does not describe a network"),
        (lambda d: d["network"]["layers"][0].update(layer="Dens"), "did you mean 'Dense'"),
        (lambda d: d["network"]["layers"][0].update(layer=7), "does not describe a network"),
        (lambda d: d["network"]["layers"][0].update(featurs=3), "does not take these settings"),
        (lambda d: d["network"]["layers"][0].pop("features"), "does not take these settings"),
        (lambda d: d["network"]["layers"][0].update(features=0), "at least 1, given 0"),
        (lambda d: d["network"]["layers"][0].update(weight_init="he_norml"), "did you mean 'he_normal'"),
        (lambda d: d["network"]["layers"][1].update(activation="tan"), "did you mean 'tanh'"),
        (lambda d: d["network"]["layers"][1].update(activation=3), "does not describe a network"),
        (lambda d: d["network"].update(in_features=5), "0.w should have shape [5, 3], found shape [4, 3]"),
        (lambda d: d["network"]["layers"].append({"layer": "Dense", "features": 1}), "found none"),
    ],
)
def test_an_altered_description_is_refused(
    saved: Path, alter: Callable[[dict[str, Any]], Any], words: str
) -> None:
    rewrite(saved, alter)
    assert words in refusal(saved)


def test_missing_and_misshapen_parameters_are_refused(saved: Path) -> None:
    tensors, texts = read_tensors(saved)
    write_tensors(saved, {name: each for name, each in tensors.items() if name != "params.2.b"}, texts)
    assert "parameter 2.b should have shape [2], found none" in refusal(saved)
    write_tensors(saved, tensors | {"params.2.b": np.ones((1, 2))}, texts)
    assert "parameter 2.b should have shape [2], found shape [1, 2]" in refusal(saved)


def test_rebuilding_refuses_wrong_settings_by_itself() -> None:
    description = describe_network(NET)
    assert rebuild_network(description) == NET
    description["layers"][0]["slope"] = 1
    with pytest.raises(ArgumentError, match="layer Dense does not take these settings"):
        rebuild_network(description)


# --- refusals and failures of saving ---


@dataclasses.dataclass(frozen=True)
class HomeMade(Softmax):
    """A layer that no registry knows."""


@dataclasses.dataclass(frozen=True)
class Impostor(Softmax):
    """A layer that bears a registered one's name."""


Impostor.__name__ = "Softmax"


@pytest.mark.parametrize("layer", [HomeMade(), Impostor()])
def test_an_unregistered_layer_is_refused(layer: Any, tmp_path: Path) -> None:
    net = Network(2, [Dense(2), layer])
    with pytest.raises(ArgumentError, match="a layer of its own kind") as caught:
        save_model(tmp_path / "model", net, init(net, jax.random.key(0)))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value", [np.array(["a", "b"]), np.array([None]), np.arange(2) * 1j, jnp.ones(2), np.float32(1), {1, 2}]
)
def test_preprocessing_that_is_not_plain_data_is_refused(value: Any, saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(ArgumentError, match="preprocessing must be NumPy arrays of numbers") as caught:
        save_model(saved, NET, init(NET, jax.random.key(0)), {"odd": value})
    assert "\n" not in str(caught.value)
    assert saved.read_bytes() == before


def test_parameters_of_another_network_are_refused(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(
        ArgumentError, match=r"parameter 0\.w should have shape \[4, 3\], found shape \[5, 3\]"
    ):
        save_model(saved, NET, init(mlp([5, 3, 2]), jax.random.key(0)))
    assert saved.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    params = init(NET, jax.random.key(0))
    with pytest.raises(OSError, match="No such file or directory"):
        save_model(tmp_path / "nowhere" / "model", NET, params)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        save_model(tmp_path / "file" / "model", NET, params)


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("owner", "name"), [(Path, "write_bytes"), (os, "replace")])
def test_a_failing_save_leaves_the_old_file_whole(
    saved: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, raised: BaseException
) -> None:
    def fail(*arguments: Any) -> None:
        raise raised

    before, params = saved.read_bytes(), init(NET, jax.random.key(9))
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fail)
        with pytest.raises(type(raised)):
            save_model(saved, NET, params)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved], "no unfinished file is left behind"
    save_model(saved, NET, params)
    assert saved.read_bytes() != before
