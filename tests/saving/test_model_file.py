"""A saved model comes back bit for bit, and a file that is damaged or something else is one line, never a surprise."""

import dataclasses
import json
import os
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from checkpoint_cases import ARRAYS, LAYER_CASES, Bomb, odd_like
from comparisons import bits, refused

from jaxmlp.layers import Dense, Softmax
from jaxmlp.network import Network, layer_shapes, mlp
from jaxmlp.saving.model_file import (
    load_model,
    read_tensors,
    save_model,
    write_tensors,
)

NET = mlp([4, 3, 2], activation="tanh")


def params_of(net: Network, dtype: Any = jnp.float32) -> Any:
    shapes = tuple(shape.params for shape in layer_shapes(net))
    odd = odd_like(jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape.shape, dtype), shapes))
    return jax.tree.map(
        lambda leaf: jnp.array(np.where(np.isfinite(leaf), leaf, leaf.dtype.type(1 / 7))), odd
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, NET, params_of(NET))
    return path


@pytest.mark.parametrize("layer", LAYER_CASES, ids=repr)
def test_every_layer_comes_back_bit_for_bit(layer: Any, tmp_path: Path) -> None:
    net = Network(3, [layer, Dense(2)])
    params = params_of(net)
    save_model(tmp_path / "model", net, params)
    loaded, loaded_params, preprocessing = load_model(tmp_path / "model")
    assert (loaded, loaded.layers[0], preprocessing) == (net, layer, {})
    structure: Any = jax.tree.structure(params)
    assert jax.tree.structure(loaded_params) == structure
    assert bits(loaded_params) == bits(params)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.float16, jnp.bfloat16])
def test_each_type_comes_back_and_float64_rounded_without_x64(dtype: Any, tmp_path: Path) -> None:
    with jax.enable_x64(dtype == jnp.float64):
        params = params_of(NET, dtype)
        assert params[0].w.dtype == dtype
        save_model(tmp_path / "model", NET, params)
        assert bits(load_model(tmp_path / "model")[1]) == bits(params)
    narrow = jnp.float32 if dtype == jnp.float64 else dtype
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf).astype(narrow), params)
    assert bits(load_model(tmp_path / "model")[1]) == bits(rounded)


def test_preprocessing_comes_back_as_it_is_also_by_a_text_path(tmp_path: Path) -> None:
    values = {"text": "naïve ✓", "list": [1, 2.5, None], "nested": {"deep": {"truth": True}}, "null": None}
    numbers = [name for name, array in ARRAYS.items() if array.dtype.isbuiltin == 1 and name != "complex"]
    arrays = {name: ARRAYS[name] for name in numbers} | {"name with.dots": np.zeros((0, 3), np.uint8)}
    save_model(str(tmp_path / "model"), NET, params_of(NET), values | arrays)
    net, _, found = load_model(str(tmp_path / "model"))
    found_arrays = {name: found.pop(name) for name in arrays}
    assert (net, found) == (NET, values)
    assert all(isinstance(array, np.ndarray) for array in found_arrays.values())
    assert bits(found_arrays) == bits(arrays)


def test_a_file_cut_off_one_byte_too_long_or_of_something_else_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    cuts = [content[: int(share * len(content))] for share in (0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 0.99)]
    others = [b"", b"\0" * 100, b"not a model\n" * 20, b'{"jaxmlp": 1}', b"\xff" * 64, pickle.dumps(Bomb())]
    for wrong in (*cuts, content[:-1], content + b"\0", content[1:], *others):
        saved.write_bytes(wrong)
        refused("no whole jaxmlp model file", load_model, saved)
    saved.write_bytes(content)
    assert load_model(saved)[0] == NET
    for path in (saved.parent / "nowhere", saved.parent):
        refused("no model file at", load_model, path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"jaxmlp": "no json"}, {"jaxmlp": "5"}])
def test_safetensors_of_something_else_is_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"weight": np.ones(3, np.float32)}, path, metadata=metadata)
    refused("no whole jaxmlp model file", load_model, path)


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
        (lambda d: d["network"]["layers"][0].update(featurs=3), "unexpected keyword argument 'featurs'"),
        (lambda d: d["network"]["layers"][0].pop("features"), "missing 1 required"),
        (lambda d: d["network"]["layers"][0].update(features=0), "at least 1, given 0"),
        (lambda d: d["network"]["layers"][0].update(weight_init="he_norml"), "did you mean 'he_normal'"),
        (lambda d: d["network"]["layers"][1].update(activation="tan"), "did you mean 'tanh'"),
        (lambda d: d["network"]["layers"][1].update(activation=3), "does not describe a network"),
        (lambda d: d["network"].update(in_features=5), "0.w should have shape [5, 3], found shape [4, 3]"),
        (lambda d: d["network"]["layers"].append({"layer": "Dense", "features": 1}), "found none"),
        (
            lambda d: d["network"].update(layers=[{"layer": "Activate", "activation": "tanh"}]),
            "without parameters",
        ),
        (lambda d: d["network"].update(in_features=2**62), "0.w should have shape [4611686018427387904, 3]"),
        (
            lambda d: d["network"]["layers"][0].update(features=10**30),
            "0.w should have shape [4, 1000000",
        ),
    ],
)
def test_an_altered_description_is_refused(saved: Path, alter: Any, words: str) -> None:
    tensors, texts = read_tensors(saved)
    description = json.loads(texts["jaxmlp"])
    assert json.dumps(description) == texts["jaxmlp"], "nothing else is altered"
    alter(description)
    write_tensors(saved, tensors, {"jaxmlp": json.dumps(description)})
    refused(words, load_model, saved)


def test_missing_and_misshapen_parameters_are_refused(saved: Path) -> None:
    tensors, texts = read_tensors(saved)
    write_tensors(saved, {name: each for name, each in tensors.items() if name != "params.2.b"}, texts)
    refused("parameter 2.b should have shape [2], found none", load_model, saved)
    write_tensors(saved, tensors | {"params.2.b": np.ones((1, 2))}, texts)
    refused("parameter 2.b should have shape [2], found shape [1, 2]", load_model, saved)
    for value in (np.nan, np.inf):
        write_tensors(saved, tensors | {"params.2.b": np.array([1, value], np.float32)}, texts)
        refused("parameter 2.b: 1 number(s) are NaN or infinite in float32", load_model, saved)


@dataclasses.dataclass(frozen=True)
class HomeMade(Softmax):
    """A layer that no registry knows."""


@dataclasses.dataclass(frozen=True)
class Impostor(Softmax):
    """A layer that bears a registered one's name."""


Impostor.__name__ = "Softmax"
NO_NUMBERS = [np.array(["a", "b"]), np.array([None]), np.arange(2) * 1j, jnp.ones(2), np.float32(1), {1, 2}]


@pytest.mark.parametrize(
    ("net", "params_net", "preprocessing", "words"),
    [
        *((Network(4, [Dense(2), each()]), None, {}, "of another kind") for each in (HomeMade, Impostor)),
        *((NET, None, {"odd": each}, "preprocessing must be NumPy arrays of numbers") for each in NO_NUMBERS),
        (NET, mlp([5, 3, 2]), {}, "parameter 0.w should have shape [4, 3], found shape [5, 3]"),
        (Network(4, [Softmax()]), None, {}, "a network without parameters predicts nothing"),
        (NET, None, [1, 2], "preprocessing must map names to values, given list"),
        (None, NET, {}, "net must be a Network, as mlp([4, 8, 3]) makes one, given NoneType"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_what_was_there(
    saved: Path, net: Network, params_net: Network | None, preprocessing: Any, words: str
) -> None:
    before = saved.read_bytes()
    refused(words, save_model, saved, net, params_of(params_net or net), preprocessing)
    assert (saved.read_bytes(), list(saved.parent.iterdir())) == (before, [saved])


def test_a_folder_that_cannot_be_written_is_an_os_error(saved: Path) -> None:
    with pytest.raises(OSError, match="No such file or directory"):
        save_model(saved.parent / "nowhere" / "model", NET, params_of(NET))
    with pytest.raises(OSError, match="Not a directory"):
        save_model(saved / "model", NET, params_of(NET))


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("owner", "name"), [(Path, "write_bytes"), (os, "replace")])
def test_a_failing_save_leaves_the_old_file_whole(
    owner: Any, name: str, raised: BaseException, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, params = saved.read_bytes(), jax.tree.map(jnp.ones_like, params_of(NET))
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, Mock(side_effect=raised))
        with pytest.raises(type(raised)):
            save_model(saved, NET, params)
    assert (saved.read_bytes(), list(saved.parent.iterdir())) == (before, [saved])
    save_model(saved, NET, params)
    assert saved.read_bytes() != before


def test_a_header_that_nests_or_counts_too_far_is_refused(saved: Path) -> None:
    tensors, _ = read_tensors(saved)
    write_tensors(saved, tensors, {"jaxmlp": "[" * 100_000})
    refused("no whole jaxmlp model file", load_model, saved)
    header = json.dumps({"x": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}).encode()
    saved.write_bytes(len(header).to_bytes(8, "little") + header)
    refused("no whole jaxmlp model file", load_model, saved)


@pytest.mark.parametrize("path", [None, 3, b"model", "", ["model"], "."])
def test_what_is_no_path_is_refused(path: Any) -> None:
    refused(f"no model file at {path}: give", load_model, path)
    refused(f"path must be that of a file, given {path!r}", save_model, path, NET, params_of(NET))
