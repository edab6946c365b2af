"""A fit whose minibatches several devices share is the fit on one, and the work is really divided."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from data_parallel_cases import CASES, FAULTS

from jaxmlp.layers import LAYERS
from jaxmlp.training.fit import fit
from jaxmlp.training.parallel import batch_mesh, keep_whole, largest_of_processes, place_whole, share_rows

BOUNDS = {"float32": 1e-5, "float64": 1e-12}  # after an epoch, at the end
COUNTS = [2, 3, 8]


def ask(*questions: dict[str, Any]) -> list[Any]:
    """Let a process with eight CPU devices answer."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "training.data_parallel_cases", "8"],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def comparison(name: str, dtype: str, **changes: Any) -> dict[str, Any]:
    """A question: a case in float32 after an epoch, or in float64 after several."""
    epochs = 1 if dtype == "float32" else 6
    return {"kind": "compare", "name": name, "counts": COUNTS, "epochs": epochs, "dtype": dtype} | changes


def assert_equal(found: dict[str, list[float]], question: dict[str, Any]) -> None:
    """Assert that parameters, optimiser's state and history are those of one device, on any number of them."""
    assert list(found) == [str(count) for count in question["counts"]]
    for differences in found.values():
        assert len(differences) == 3
        assert all(each <= BOUNDS[question["dtype"]] for each in differences), found  # not so for NaN


# --- equal on any number of devices ---

QUESTIONS: dict[str, dict[str, Any]] = {
    "float32": comparison("momentum", "float32", counts=[8]),
    "float64": comparison("adam", "float64", counts=[3]),
    "whole": {"kind": "divided", "batch_size": 32, "count": 1},
    "even": {"kind": "divided", "batch_size": 32, "count": 8},
    "uneven": {"kind": "divided", "batch_size": 33, "count": 8},
    "alone": {"kind": "placed", "place": 5},
    "stream": {"kind": "stream"},
    "forgotten": {"kind": "divided", "batch_size": 32, "count": 8, "fault": "forget_constraint"},
    **{fault: comparison("sgd", "float64", counts=[3], epochs=1, fault=fault) for fault in FAULTS},
}


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What one process with eight devices answers to all that is asked by default."""
    return dict(zip(QUESTIONS, ask(*QUESTIONS.values()), strict=True))


@pytest.mark.slow
def test_a_fit_on_several_devices_is_the_fit_on_one(answers: dict[str, Any]) -> None:
    for dtype in BOUNDS:
        assert_equal(answers[dtype], QUESTIONS[dtype])
    assert answers["stream"] <= 1e-4
    assert answers["alone"] == [5]  # a single device that is named is the one that computes


@pytest.mark.slow
@pytest.mark.parametrize("dtype", BOUNDS)
def test_every_case_and_every_layer_is_equal_on_2_3_and_8_devices(dtype: str) -> None:
    questions = [comparison(name, dtype) for name in [*CASES, *(f"layer:{layer}" for layer in LAYERS)]]
    for found, question in zip(ask(*questions), questions, strict=True):
        assert_equal(found, question)


@pytest.mark.slow
def test_each_device_has_its_rows_and_the_sums_go_over_all(answers: dict[str, Any]) -> None:
    assert answers["whole"] == {"rows": [32], "sums": 0}
    assert (answers["even"]["rows"], answers["uneven"]["rows"]) == ([4], [5])
    assert min(answers["even"]["sums"], answers["uneven"]["sums"]) > 0
    assert answers["forgotten"] == {"rows": [32], "sums": 0}, "it would be seen that nothing is divided"


@pytest.mark.slow
def test_a_corrupted_sum_is_caught(answers: dict[str, Any]) -> None:
    for fault in FAULTS:
        params, _, history = answers[fault]["3"]
        assert min(params, history) > 1e-4, fault


# --- the parts ---


@pytest.mark.parametrize("devices", [[], jax.devices()[:1] * 2])
def test_no_device_and_one_twice_are_refused(devices: Any) -> None:
    refused(f"at least one and each once, given {len(devices)}", batch_mesh, devices)
    given: dict[str, Any] = {"optimizer": "sgd", "batch_size": 1, "epochs": 1, "devices": devices}
    refused("at least one and each once", fit, None, None, **given)
    assert batch_mesh(None) is batch_mesh(jax.devices()[:1]) is None  # one device needs no mesh


def test_a_mesh_of_one_process_agrees_with_itself_and_without_one_nothing_changes() -> None:
    block = jnp.arange(6).reshape(2, 3)
    assert share_rows(None, block)[0] is keep_whole(None, block) is block
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("batch",))
    assert [largest_of_processes(3, each) for each in (None, mesh)] == [3, 3]
    key, numbers = place_whole((jax.random.key(5), np.arange(4)), mesh)
    assert bool(key == jax.random.key(5))
    assert numbers.tolist() == [0, 1, 2, 3]
    assert numbers.sharding.mesh == mesh
