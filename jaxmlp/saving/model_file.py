"""The model file: a trained network in one safetensors file, its description in the file's metadata.

Nothing is ever unpickled: tensors are safetensors', the description is JSON.
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
import safetensors
import safetensors.numpy

from jaxmlp.layers import LAYERS, Layer
from jaxmlp.network import Network, layer_shapes
from jaxmlp.types import ArgumentError, Params

FORMAT = "jaxmlp-1"


def describe_network(net: Network) -> dict[str, Any]:
    """Describe a network in plain data, for JSON."""
    return {"in_features": net.in_features, "layers": [_describe_layer(layer) for layer in net.layers]}


def _describe_layer(layer: Layer) -> dict[str, Any]:
    name = type(layer).__name__
    if LAYERS.get(name) is not type(layer):
        raise ArgumentError(
            f"a network with a layer of its own kind, {name}, cannot be saved: use {', '.join(LAYERS)}"
        )
    return {"layer": name, **dataclasses.asdict(layer)}  # type: ignore[call-overload]


def rebuild_network(description: Mapping[str, Any]) -> Network:
    """Build the network that `describe_network` described."""
    layers = []
    for described in description["layers"]:
        settings = dict(described)
        kind = LAYERS[settings.pop("layer")]
        try:
            layers.append(kind(**settings))
        except TypeError as error:
            raise ArgumentError(f"layer {kind.__name__} does not take these settings: {error}") from None
    return Network(description["in_features"], layers)


def save_model(
    path: str | os.PathLike[str],
    net: Network,
    params: Params,
    preprocessing: Mapping[str, Any] | None = None,
) -> None:
    """Save a network, its parameters and its preprocessing; an interrupted save leaves the old file whole.

    Args:
        path: the file, usually ending in .safetensors.
        net: the network, of registered layers.
        params: its parameters.
        preprocessing: what prepares its inputs and names its outputs: NumPy arrays and JSON-able
            values by name, given back as they are by `load_model`.

    Raises:
        ArgumentError: a layer is not a registered one, the parameters are not this network's, or
            the preprocessing is not plain data.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([2, 3])
        >>> params = init(net, jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(f"{folder}/model.safetensors", net, params, {"shift": np.ones(2)})
        ...     loaded, _, preprocessing = load_model(f"{folder}/model.safetensors")
        >>> loaded == net, preprocessing["shift"].tolist()
        (True, [1.0, 1.0])
    """
    preprocessing = dict(preprocessing or {})
    arrays = {name: value for name, value in preprocessing.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in preprocessing.items() if name not in arrays}
    tensors = {f"params.{name}": np.asarray(leaf) for name, leaf in _named_leaves(params)}
    tensors |= {f"preprocessing.{name}": value for name, value in arrays.items()}
    _fitting_tensors(net, tensors, path)  # nothing is saved that could not be loaded
    try:
        description = json.dumps({"format": FORMAT, "network": describe_network(net), "preprocessing": plain})
        # safetensors writes memory as it lies, so views with other strides are copied first.
        contiguous = {
            name: np.ascontiguousarray(value).reshape(value.shape) for name, value in tensors.items()
        }
        content = safetensors.numpy.save(contiguous, metadata={"jaxmlp": description})
    except (TypeError, safetensors.SafetensorError) as error:
        raise ArgumentError(
            f"preprocessing must be NumPy arrays of numbers and JSON-able values: {error}"
        ) from None
    unfinished = Path(f"{os.fspath(path)}.{os.getpid()}.unfinished")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_model(path: str | os.PathLike[str]) -> tuple[Network, Params, dict[str, Any]]:
    """Load what `save_model` saved.

    Args:
        path: the file.

    Returns:
        The network, its parameters, and the preprocessing.

    Raises:
        ArgumentError: the file is not there, is truncated or damaged, or holds something else.

    Example:
        >>> try:
        ...     load_model("nowhere.safetensors")
        ... except ArgumentError as error:
        ...     print(error)
        no model file at nowhere.safetensors: give the path of a saved model
    """
    if not Path(path).is_file():
        raise ArgumentError(f"no model file at {os.fspath(path)}: give the path of a saved model")
    try:
        with safetensors.safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(metadata["jaxmlp"])
        found_format = description["format"]
    except (safetensors.SafetensorError, KeyError, TypeError, json.JSONDecodeError, OSError) as error:
        raise ArgumentError(
            f"{os.fspath(path)} is no whole jaxmlp model file ({type(error).__name__}): save the model again"
        ) from None
    if found_format != FORMAT:
        raise ArgumentError(
            f"{os.fspath(path)} has format {found_format!r}, this version reads {FORMAT!r}: "
            "use the version of jaxmlp that saved it"
        )
    try:
        net = rebuild_network(description["network"])
        preprocessing = dict(description["preprocessing"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # ArgumentError is a ValueError
        found = str(error) if isinstance(error, ArgumentError) else f"{type(error).__name__}: {error}"
        raise ArgumentError(
            f"{os.fspath(path)} does not describe a network that can be built ({found}): save the model again"
        ) from None
    prefix = "preprocessing."
    preprocessing |= {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }
    return net, _restore_params(net, tensors, path), preprocessing


def _named_leaves(params: Params) -> list[tuple[str, Any]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]


def _fitting_tensors(
    net: Network, tensors: Mapping[str, np.ndarray], path: str | os.PathLike[str]
) -> list[np.ndarray]:
    fitting = []
    for name, expected in _named_leaves(tuple(shape.params for shape in layer_shapes(net))):
        tensor = tensors.get(f"params.{name}")
        if tensor is None or tensor.shape != expected.shape:
            found = "none" if tensor is None else f"shape {list(tensor.shape)}"
            raise ArgumentError(
                f"{os.fspath(path)}: parameter {name} should have shape {list(expected.shape)}, found {found}"
            )
        fitting.append(tensor)
    return fitting


def _restore_params(net: Network, tensors: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> Params:
    structure = jax.tree.structure(tuple(shape.params for shape in layer_shapes(net)))
    return jax.tree.unflatten(structure, map(jnp.asarray, _fitting_tensors(net, tensors, path)))
