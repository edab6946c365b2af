"""The small network that a worked example follows: the post's own, one from a file, or one drawn at random."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import LOSSES, Activate, ArgumentError, Batch, Dense, DenseParams, Layer, Network, Softmax
from jaxmlp.checks import check_data

FORMAT = '{"layers": [{"w": [[...], ...] as [I][O], "b": [...]}, ...], "inputs": [...], "targets": [...]}'


class Numbers(NamedTuple):
    """The numbers of a small network and its example, before they are checked against each other."""

    weights: tuple[tuple[np.ndarray, np.ndarray | None], ...]  # a pair (w [I, O], b [O] or None) a layer
    inputs: np.ndarray | None = None  # [I]; None where they are not said
    targets: np.ndarray | None = None  # [K], or one label; None where they are not said

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features of input, hidden layers and output."""
        return (self.weights[0][0].shape[0], *(w.shape[1] for w, _ in self.weights))


class SmallNetwork(NamedTuple):
    """A network, its parameters in float64, and one example: inputs [1, I], targets [1, K], or a label [1]."""

    net: Network
    params: Any
    inputs: Any
    targets: Any
    loss: str


# The example of the post, with w as [I, O]; the post writes its transpose.
POST = Numbers(
    weights=(
        (np.array([[0.1, 0.5, 0.4], [0.3, 0.1, 0.2]]), np.array([0.1, 0.3, 0.5])),
        (np.array([[0.5, 0.1], [0.3, 0.5], [0.2, 0.2]]), np.array([0.4, 0.1])),
    ),
    inputs=np.array([0.6, 0.9]),
    targets=np.array([0.2, 0.4]),
)


def drawn_numbers(sizes: Sequence[int], seed: int) -> Numbers:
    """Draw weights from N(0, 2/I) and biases from N(0, 0.01), rounded to be followed by hand."""
    if len(sizes) < 2 or min(sizes) < 1:
        raise ArgumentError(
            f"--sizes takes at least two numbers of at least 1, as 2 3 2, given {' '.join(map(str, sizes))}"
        )
    random = np.random.default_rng(seed)

    def draw(inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        w = np.round(random.normal(0, np.sqrt(2 / inputs), (inputs, outputs)), 2)
        return w, np.round(random.normal(0, 0.1, outputs), 2)

    return Numbers(tuple(draw(*pair) for pair in itertools.pairwise(sizes)))


def read_numbers(path: str) -> Numbers:
    """Read the numbers of a small network from a JSON file, see FORMAT."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"{path}: {error.strerror}; give a JSON file as {FORMAT}") from None
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path} is no JSON ({str(error).splitlines()[0]}); give {FORMAT}") from None
    _check_keys(content, ("layers", "inputs", "targets"), "layers", path)
    if not isinstance(content["layers"], list) or not content["layers"]:
        raise ArgumentError(f"{path}: 'layers' must be a list of at least one layer; give {FORMAT}")
    weights: list[tuple[np.ndarray, np.ndarray | None]] = []
    for place, layer in enumerate(content["layers"], start=1):
        name = f"{path}: layer {place}"
        _check_keys(layer, ("w", "b"), "w", name)
        w = _read_array(layer["w"], 2, f"{name}: 'w'")
        b = None if layer.get("b") is None else _read_array(layer["b"], 1, f"{name}: 'b'")
        if b is not None and len(b) != w.shape[1]:
            raise ArgumentError(
                f"{name}: 'b' has {len(b)} numbers and 'w' {w.shape[1]} columns; give one bias a column"
            )
        if weights and weights[-1][0].shape[1] != w.shape[0]:
            raise ArgumentError(
                f"{path}: layer {place - 1} has {weights[-1][0].shape[1]} outputs and layer {place} takes "
                f"{w.shape[0]} inputs; give w as [I][O], a row an input"
            )
        weights.append((w, b))
    given = ((name, content.get(name)) for name in ("inputs", "targets"))
    example = (None if each is None else _read_array(each, 1, f"{path}: '{name}'") for name, each in given)
    return Numbers(tuple(weights), *example)


def _check_keys(content: Any, allowed: Sequence[str], needed: str, name: str) -> None:
    if not isinstance(content, dict) or needed not in content or not set(content) <= set(allowed):
        found = ", ".join(map(repr, content)) if isinstance(content, dict) else type(content).__name__
        raise ArgumentError(
            f"{name} must hold '{needed}' and nothing besides {', '.join(map(repr, allowed))}, "
            f"found {found or 'nothing'}; give {FORMAT}"
        )


def _read_array(given: Any, axes: int, name: str) -> np.ndarray:
    try:
        values = np.array(given)
    except ValueError:
        values = np.array(None)  # rows of different lengths
    if values.ndim != axes or values.size == 0 or values.dtype.kind not in "iuf":
        wanted = "a list of numbers" if axes == 1 else "a list of rows of one length, each a list of numbers"
        raise ArgumentError(f"{name} must be {wanted}; give {FORMAT}")
    if not np.all(np.isfinite(values)):
        raise ArgumentError(f"{name} holds NaN or infinite numbers; give finite ones")
    return values.astype(np.float64)


def numbers_as_json(example: SmallNetwork) -> str:
    """Write a small network as `read_numbers` reads it."""
    layers = [
        {"w": layer.w.tolist(), "b": None if layer.b is None else layer.b.tolist()}
        for layer in example.params
        if isinstance(layer, DenseParams)
    ]
    targets = np.ravel(np.asarray(example.targets)).tolist()
    content = {"layers": layers, "inputs": example.inputs[0].tolist(), "targets": targets}
    return json.dumps(content, indent=1) + "\n"


def make_network(
    numbers: Numbers, *, activation: str, output_activation: str, loss: str, seed: int
) -> SmallNetwork:
    """Put a network and its example together, and draw what is not said; needs x64 enabled."""
    kind = LOSSES[loss].targets
    layers: list[Layer] = []
    params: list[Any] = []
    for place, (w, b) in enumerate(numbers.weights, start=1):
        follows = output_activation if place == len(numbers.weights) else activation
        layers.append(Dense(w.shape[1], bias=b is not None))
        params.append(DenseParams(*jax.tree.map(jnp.asarray, (w, b))))
        if follows != "none":
            layers.append(Softmax() if follows == "softmax" else Activate(follows))
            params.append(())
    random = np.random.default_rng((seed, 1))  # other numbers than the weights were drawn from
    inputs = np.round(random.normal(size=numbers.sizes[0]), 2) if numbers.inputs is None else numbers.inputs
    targets = _drawn_targets(kind, numbers.sizes[-1], random) if numbers.targets is None else numbers.targets
    batch = Batch(jnp.asarray(inputs[None]), jnp.asarray(_as_loss_takes_them(targets, kind)))
    check_data(batch, in_features=numbers.sizes[0], outputs=numbers.sizes[-1], loss=loss, name="the example")
    net = Network(numbers.sizes[0], layers)
    return SmallNetwork(net, tuple(params), batch.inputs, batch.targets, loss)


def _drawn_targets(kind: str, outputs: int, random: np.random.Generator) -> np.ndarray:
    if kind in ("labels", "soft_labels"):
        return random.integers(0, outputs, 1).astype(np.float64)
    if kind == "binary":
        return random.integers(0, 2, outputs).astype(np.float64)
    return np.round(random.normal(size=outputs), 2)


def _as_loss_takes_them(targets: np.ndarray, kind: str) -> np.ndarray:
    """Make [1, K] of values, and [1] of a single whole number where the loss takes a label."""
    is_label = kind == "labels" or (kind == "soft_labels" and len(targets) == 1)
    if not is_label:
        return targets[None]
    if np.any(targets != np.round(targets)):
        raise ArgumentError(
            f"the example: this loss takes a label, a whole number from 0, given {targets.tolist()}"
        )
    return targets.astype(np.int64)
