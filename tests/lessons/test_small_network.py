"""A file of weights is read as it is meant, or refused in one line that says where it is wrong."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from small_network import POST, drawn_numbers, make_network, numbers_as_json, read_numbers

from jaxmlp import Activate, Dense, Softmax


@pytest.fixture(autouse=True)
def _float64(x64: None) -> None:
    return


LAYERS = [{"w": [[1, 2, 3], [4, 5, 6]], "b": [0.1, 0.2, 0.3]}, {"w": [[1.5], [2.5], [3.5]]}]
CONTENT = {"layers": LAYERS, "inputs": [1, 2], "targets": [0.5]}


def written(folder: Path, content: Any) -> str:
    path = folder / "network.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_weights_are_read_as_inputs_by_outputs(tmp_path: Path) -> None:
    numbers: Any = read_numbers(written(tmp_path, CONTENT))
    (w, b), (last, no_bias) = numbers.weights
    assert (w.shape, w[1, 0], last.shape, no_bias) == ((2, 3), 4.0, (3, 1), None)
    assert b.tolist() == [0.1, 0.2, 0.3]
    assert numbers.sizes == (2, 3, 1)
    assert (numbers.inputs.tolist(), numbers.targets.tolist()) == ([1.0, 2.0], [0.5])
    example = make_network(numbers, activation="tanh", output_activation="none", loss="squared_error", seed=0)
    again: Any = read_numbers(written(tmp_path, numbers_as_json(example)))
    jax.tree.map(np.testing.assert_array_equal, numbers, again)
    assert read_numbers(written(tmp_path, {"layers": LAYERS}))[1:] == (None, None)


REFUSALS: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "is no JSON"),
    "too deep": ("[" * 100_000, "is no JSON"),
    "a list": ([1], "must hold 'layers'"),
    "no layers": ({"inputs": [1]}, "must hold 'layers'"),
    "another key": ({**CONTENT, "weights": 1}, "nothing besides"),
    "empty": ({"layers": []}, "at least one layer"),
    "layer of numbers": ({"layers": [[1]]}, "layer 1 must hold 'w'"),
    "bias alone": ({"layers": [{"b": [1]}]}, "layer 1 must hold 'w'"),
    "ragged": ({"layers": [{"w": [[1, 2], [3]]}]}, "layer 1: 'w' must be a list of rows"),
    "vector": ({"layers": [{"w": [1, 2]}]}, "layer 1: 'w' must be a list of rows"),
    "no numbers": ({"layers": [{"w": [["a"]]}]}, "layer 1: 'w' must be a list of rows"),
    "truth": ({"layers": [{"w": [[True]]}]}, "layer 1: 'w' must be a list of rows"),
    "no rows": ({"layers": [{"w": []}]}, "layer 1: 'w' must be a list of rows"),
    "NaN": ('{"layers": [{"w": [[NaN]]}]}', "layer 1: 'w' holds NaN"),
    "huge": ({"layers": [{"w": [[10**400]]}]}, "layer 1: 'w' must be a list of rows"),
    "short bias": ({"layers": [{"w": [[1, 2]], "b": [1]}]}, "'b' has 1 numbers and 'w' 2 columns"),
    "matrix bias": ({"layers": [{"w": [[1]], "b": [[1]]}]}, "layer 1: 'b' must be a list of numbers"),
    "unfit": ({"layers": [LAYERS[1], LAYERS[1]]}, "layer 1 has 1 outputs and layer 2 takes 3 inputs"),
    "matrix inputs": ({**CONTENT, "inputs": [[1, 2]]}, "'inputs' must be a list of numbers"),
    "infinite targets": ('{"layers": [{"w": [[1]]}], "targets": [Infinity]}', "'targets' holds NaN"),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_a_wrong_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    content, complaint = REFUSALS[case]
    path = written(tmp_path, content)
    message = refused(complaint, read_numbers, path)
    assert message.startswith(path)
    assert "give " in message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "network.json").write_bytes(b"\xff\xfe\x00")
    refused("is no JSON", read_numbers, str(tmp_path / "network.json"))
    refused("directory", read_numbers, str(tmp_path))


def test_activations_stand_between_the_layers() -> None:
    functions = {"activation": "tanh", "output_activation": "softmax", "loss": "negative_log_likelihood"}
    example = make_network(drawn_numbers([2, 3, 4, 2], 0), **functions, seed=0)
    kinds = [type(layer) for layer in example.net.layers]
    assert kinds == [Dense, Activate, Dense, Activate, Dense, Softmax]
    assert (example.inputs.shape, example.targets.shape, example.targets.dtype) == ((1, 2), (1,), jnp.int64)
    assert example.params[0].w.dtype == jnp.float64


def test_inputs_that_are_drawn_are_not_the_weights_again() -> None:
    numbers = drawn_numbers([4, 1], 5)
    example = make_network(numbers, activation="relu", output_activation="none", loss="squared_error", seed=5)
    w = numbers.weights[0][0][:, 0] / np.sqrt(2 / 4)
    assert not np.allclose(np.asarray(example.inputs[0]), w, atol=0.02)


def test_the_posts_weights_are_transposed_to_inputs_by_outputs() -> None:
    (first, _), (second, _) = POST.weights
    assert first.T.tolist() == [[0.1, 0.3], [0.5, 0.1], [0.4, 0.2]]
    assert second.T.tolist() == [[0.5, 0.3, 0.2], [0.1, 0.5, 0.2]]
