"""The model file: a trained network in one safetensors file, its JSON description in the file's header.

`write_tensors` and `read_tensors` serve checkpoints too. Nothing is ever unpickled.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp.checks import check_finite
from jaxmlp.files import AnyPath, parse_json, whole_file
from jaxmlp.layers import LAYERS, Layer
from jaxmlp.network import Network, check_network, layer_shapes
from jaxmlp.types import ArgumentError, Params

FORMAT = "jaxmlp-1"


def write_tensors(
    path: AnyPath, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str], *, sync: bool = False
) -> None:
    """Write arrays and texts as one safetensors file; an array of a type that it lacks is a TypeError."""
    import safetensors.numpy

    # It takes memory as it lies, so views with other strides are copied first.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        content = safetensors.numpy.save(contiguous, metadata=dict(texts))
    except safetensors.SafetensorError as error:
        raise TypeError(str(error)) from None
    with whole_file(path, sync=sync) as file:
        file.write_bytes(content)


def read_tensors(path: AnyPath) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read arrays and texts; what is no whole safetensors file is a ValueError, a disk that fails an OSError.

    No memory is taken before the declared sizes are held against the file's.
    """
    import safetensors

    try:
        # Not mapped into memory, where a disk that fails would end the process.
        with safetensors.safe_open(os.fspath(path), framework="numpy", backend="pread") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OverflowError) as error:  # the latter of an axis that is too long
        raise ValueError(str(error)) from None


def describe_network(net: Network) -> dict[str, Any]:
    """Describe a network in plain data, for JSON."""
    return {"in_features": net.in_features, "layers": [_describe_layer(layer) for layer in net.layers]}


def _describe_layer(layer: Any) -> dict[str, Any]:
    kind: Any = type(layer)
    name = kind.__name__
    if LAYERS.get(name) is not kind:
        raise ArgumentError(
            f"a network with a layer of another kind, {name}, cannot be saved: use {', '.join(LAYERS)}"
        )
    found = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    settings = {
        name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()
    }
    if "layers" in settings:
        settings["layers"] = [_describe_layer(inner) for inner in layer.layers]
    return {"layer": name, **settings}


def rebuild_network(description: Mapping[str, Any]) -> Network:
    """Build the network that `describe_network` described."""
    return Network(description["in_features"], [_rebuild_layer(each) for each in description["layers"]])


def _rebuild_layer(description: Mapping[str, Any]) -> Layer:
    settings = dict(description)
    kind = LAYERS[settings.pop("layer")]
    if "layers" in settings:
        settings["layers"] = [_rebuild_layer(inner) for inner in settings["layers"]]
    return kind(**settings)


def save_model(
    path: AnyPath, net: Network, params: Params, preprocessing: Mapping[str, Any] | None = None
) -> None:
    """Save a network, its parameters and its preprocessing; an interrupted save leaves the old file whole.

    Args:
        path: the file, usually ending in .safetensors.
        net: the network, of registered layers.
        params: its parameters.
        preprocessing: what prepares its inputs and names its outputs: NumPy arrays and JSON-able
            values by name, given back as they are by `load_model`.

    Raises:
        ArgumentError: a layer is not a registered one, none has parameters, they are not this network's or
            not finite, the preprocessing is not plain data, or the path is a folder.
        OSError: the file cannot be written.

    Example:
        >>> from jaxmlp import init, mlp
        >>> net = mlp([2, 3])
        >>> save_model("model.safetensors", net, init(net, jax.random.key(0)), {"shift": np.ones(2)})
        >>> loaded, _, preprocessing = load_model("model.safetensors")
        >>> loaded == net, preprocessing["shift"].tolist()
        (True, [1.0, 1.0])
    """
    check_network(net)
    if not isinstance(path, str | os.PathLike) or Path(path).is_dir():
        raise ArgumentError(f"path must be that of a file, given {path!r}: give its name as text or Path")
    if not isinstance(preprocessing, Mapping | None):
        raise ArgumentError(f"preprocessing must map names to values, given {type(preprocessing).__name__}")
    preprocessing = dict(preprocessing or {})
    arrays = {name: value for name, value in preprocessing.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in preprocessing.items() if name not in arrays}
    tensors = {_name(place): np.asarray(leaf) for place, leaf in jax.tree_util.tree_leaves_with_path(params)}
    tensors |= {f"preprocessing.{name}": value for name, value in arrays.items()}
    _params_of(net, tensors, path)  # nothing is saved that could not be loaded
    description = {"format": FORMAT, "network": describe_network(net), "preprocessing": plain}
    try:
        write_tensors(path, tensors, {"jaxmlp": json.dumps(description)})
    except TypeError as error:
        told = f"preprocessing must be NumPy arrays of numbers and JSON-able values: {error}"
        raise ArgumentError(told) from None


def load_model(path: AnyPath) -> tuple[Network, Params, dict[str, Any]]:
    """Load what `save_model` saved.

    Args:
        path: the file.

    Returns:
        The network, its parameters, and the preprocessing.

    Raises:
        ArgumentError: the file is not there, is truncated or damaged, or holds something else.

    Example:
        >>> load_model("nowhere.safetensors")
        Traceback (most recent call last):
        jaxmlp.types.ArgumentError: no model file at nowhere.safetensors: give the path of a saved model
    """
    where = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not Path(where).is_file():
        raise ArgumentError(f"no model file at {path}: give the path of a saved model")
    try:
        tensors, texts = read_tensors(path)
        description = parse_json(texts["jaxmlp"])
        found_format = description["format"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ArgumentError(
            f"{where} is no whole jaxmlp model file ({type(error).__name__}): save the model again"
        ) from None
    if found_format != FORMAT:
        raise ArgumentError(
            f"{where} has format {found_format!r}, not {FORMAT!r}: use the version that saved it"
        )
    try:
        net = rebuild_network(description["network"])
        preprocessing = dict(description["preprocessing"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # ArgumentError is a ValueError
        found = str(error) if isinstance(error, ArgumentError) else f"{type(error).__name__}: {error}"
        raise ArgumentError(
            f"{where} does not describe a network that can be built ({found}): save the model again"
        ) from None
    prefix = "preprocessing."
    preprocessing |= {
        name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
    }
    return net, jax.tree.map(jnp.asarray, _params_of(net, tensors, path)), preprocessing


def _name(place: Any) -> str:
    return f"params.{jax.tree_util.keystr(place, simple=True, separator='.')}"


def _params_of(net: Network, tensors: Mapping[str, np.ndarray], path: AnyPath) -> Params:
    """Take a network's parameters from among tensors; what is missing, misshapen or not finite is refused."""
    expected = tuple(shape.params for shape in layer_shapes(net))
    if not jax.tree.leaves(expected):
        raise ArgumentError(f"{path}: a network without parameters predicts nothing: add a Dense layer")

    def take(place: Any, shape: Any) -> np.ndarray:
        tensor = tensors.get(_name(place))
        which = f"{os.fspath(path)}: parameter {_name(place).removeprefix('params.')}"
        if tensor is None or tensor.shape != shape.shape:
            found = "none" if tensor is None else f"shape {list(tensor.shape)}"
            raise ArgumentError(f"{which} should have shape {list(shape.shape)}, found {found}")
        check_finite(tensor, "number(s)", which)
        return tensor

    return jax.tree_util.tree_map_with_path(take, expected)
