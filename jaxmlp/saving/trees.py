"""Trees of arrays as a flat mapping from names to arrays and back, bit for bit: what a file can hold."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp.types import ArgumentError

KEY_KINDS = ("threefry2x32", "rbg", "unsafe_rbg")


def named_arrays(tree: Any) -> dict[str, Any]:
    """Flatten a tree to arrays named by their paths, without waiting for those that are still computed.

    A random key becomes its data, [..., 2] or [..., 4] of uint32, and its name ends in its kind, so that it
    is never taken for one of another kind.

    Args:
        tree: any pytree of arrays, random keys and numbers.

    Returns:
        The arrays of JAX or NumPy by name, in the tree's order.

    Raises:
        ArgumentError: a leaf is neither an array of numbers nor a number, or is divided among processes.

    Example:
        >>> arrays = named_arrays({"w": [jnp.ones(2), 3.0], "key": jax.random.key(0)})
        >>> {name: array.shape for name, array in arrays.items()}
        {"['key']:threefry2x32": (2,), "['w'][0]": (2,), "['w'][1]": ()}
    """
    return {name: _storable(name, leaf) for name, leaf in _named_leaves(tree)}


def restore_tree(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """Put arrays that `named_arrays` named back into a tree.

    Args:
        arrays: arrays by name.
        like: a tree of the wanted structure, of arrays or `jax.ShapeDtypeStruct`s.

    Returns:
        A tree like it: arrays of JAX (on the default device), of NumPy, random keys and numbers, each where
        `like` has one.

    Raises:
        ArgumentError: a name is missing or too many, or an array has another shape or type; the first is named.

    Example:
        >>> like = {"w": jax.ShapeDtypeStruct((2,), jnp.float32)}
        >>> restore_tree({"['w']": np.float32([1, 2])}, like)["w"].tolist()
        [1.0, 2.0]
    """
    wanted = _named_leaves(like)
    surplus = sorted(arrays.keys() - {name for name, _ in wanted})
    restored = []
    for name, leaf in wanted:
        if name not in arrays:
            instead = f" and holds {surplus[0]}, which does not belong here" if surplus else ""
            raise ArgumentError(
                f"the checkpoint lacks {name}{instead}: it is of another network, optimiser or version"
            )
        restored.append(_like(name, arrays[name], leaf))
    if surplus:
        raise ArgumentError(
            f"the checkpoint holds {surplus[0]}, which does not belong here: it is of another network, "
            "optimiser or version"
        )
    return jax.tree.unflatten(jax.tree.structure(like), restored)


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(_name(path, leaf), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: Any, leaf: Any) -> str:
    # Written as in Python, `params[0].w` or `['a.b']`, so that no two paths have one name.
    name = jax.tree_util.keystr(path).removeprefix(".")
    return f"{name}:{_key_kind(leaf)}" if _is_key(leaf) else name


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_kind(key: Any) -> str:
    # A `jax.ShapeDtypeStruct` tells its kind by its type alone.
    for kind in KEY_KINDS:
        if jax.eval_shape(lambda kind=kind: jax.random.key(0, impl=kind)).dtype == key.dtype:
            return kind
    raise ArgumentError(f"random keys of type {key.dtype} cannot be saved: use {', '.join(KEY_KINDS)}")


def _storable(name: str, leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated:
            raise ArgumentError(f"{name} is divided among processes: only what each has whole can be saved")
        leaf = leaf.addressable_data(0)  # so that nothing is computed that other processes take part in
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    # ml_dtypes' types, bfloat16 among them, are of kind "V" and have names of their own.
    if array.dtype.kind in "OSUMm" or array.dtype.name.startswith("void"):
        raise ArgumentError(f"{name or 'the tree'} has type {array.dtype}: only numbers can be saved")
    return array


def _like(name: str, array: np.ndarray, like: Any) -> Any:
    if _is_key(like):
        data = jax.eval_shape(jax.random.key_data, like)
        _check(name, array, data.shape, np.dtype(data.dtype))
        return jax.random.wrap_key_data(jnp.array(array), impl=_key_kind(like))
    if type(like) in (bool, int, float, complex):  # and no subclass, as np.float64 is
        _check(name, array, (), np.asarray(like).dtype)
        return array.item()
    _check(name, array, tuple(like.shape), np.dtype(like.dtype))
    if isinstance(like, np.ndarray | np.generic):
        return array.copy() if isinstance(like, np.ndarray) else array[()]
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ArgumentError(
            f"{name} is of {array.dtype}, which JAX has only with jax_enable_x64: switch it on"
        )
    # A number of Python's own type mixes otherwise with other types than one of a type of its own.
    weak = getattr(like, "weak_type", False) and array.ndim == 0
    return jnp.asarray(array.item()) if weak else jnp.array(array)


def _check(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    for what, found, wanted in (
        ("shape", list(array.shape), list(shape)),
        ("type", array.dtype.name, dtype.name),
    ):
        if found != wanted:
            raise ArgumentError(
                f"{name} has {what} {found} in the checkpoint, wanted {wanted}: "
                "it is of another network, optimiser or version"
            )
