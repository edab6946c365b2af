import json
import re
from itertools import cycle, islice
from pathlib import Path

import jax
import numpy as np
import pytest
from command_runs import BRIEF, Outcome, train_ok
from slow_cases import others_slow

from jaxmlp import load_model
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.initializers import INITIALIZERS
from jaxmlp.losses import LOSSES
from jaxmlp.training.optimizers import OPTIMIZERS, SCHEDULES

MOONS = ("--dataset", "moons", "--examples", "60", "--batch-size", "full")


def train_unjitted(out: Path, *arguments: object) -> Outcome:
    """Train a single step without compiling it, which is faster where each run is another program."""
    with jax.disable_jit():
        return train_ok(out, *arguments)


# Every name of a registry goes through the command line; each run takes one of each, to be fast.
MOST = max(map(len, (ACTIVATIONS, OPTIMIZERS, SCHEDULES, INITIALIZERS)))
PARAMETERS = {
    "exponential": "exponential:0.9",
    "step": "step:0.5,1",
    "warmup_cosine": "warmup_cosine:0.1",
    "normal": "normal:0.1",
    "uniform": "uniform:-0.1,0.1",
}
FLAGS = ("activation", "optimizer", "schedule", "init")


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [*islice(zip(*map(cycle, (ACTIVATIONS, OPTIMIZERS, SCHEDULES, INITIALIZERS)), strict=True), MOST)],
    ids="-".join,
)
def test_every_name_trains_from_the_command_line(names: tuple[str, ...], tmp_path: Path) -> None:
    given = {flag: PARAMETERS.get(name, name) for flag, name in zip(FLAGS, names, strict=True)}
    words = [word for flag, name in given.items() for word in (f"--{flag}", name)]
    train_unjitted(tmp_path / "run", *BRIEF, *MOONS, *words)
    config = json.loads((tmp_path / "run/config.json").read_text(encoding="utf-8"))
    assert {flag: config["options"][flag] for flag in FLAGS} == given
    net, params, _ = load_model(tmp_path / "run/model.safetensors")
    assert net.layers[1].activation == given["activation"]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(params))


@pytest.mark.slow
@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_trains_from_the_command_line(loss: str, tmp_path: Path) -> None:
    outcome = train_unjitted(tmp_path / "run", *BRIEF, *MOONS, "--loss", loss)
    assert re.search(r"^test accuracy \d+\.\d\d %$", outcome.out, re.MULTILINE)
    net, _, saved = load_model(tmp_path / "run/model.safetensors")
    assert saved["loss"] == loss
    assert (type(net.layers[-1]).__name__ == "Softmax") == (loss == "negative_log_likelihood")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a run without further options."""
    run = tmp_path_factory.mktemp("plain") / "run"
    train_unjitted(run, *BRIEF, *MOONS)
    return run / "model.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    others_slow(
        [
            ("--activation", "leaky_relu:0.1"),
            ("--hidden",),
            ("--noise", "0"),
            ("--no-bias",),
            ("--bias-init", "uniform:-0.1,0.1"),
            ("--clip-norm", "0.1"),
            ("--optimizer", "adamw:0.01"),
            ("--device", "cpu"),
            ("--scaling", "scale"),
        ],
        kept=3,
    ),
    ids=" ".join,
)
def test_other_options_are_heeded(flags: tuple[str, ...], plain: Path, tmp_path: Path) -> None:
    train_unjitted(tmp_path / "run", *BRIEF, *MOONS, *flags)
    (net, params, _), (other, others, _) = map(load_model, (plain, tmp_path / "run/model.safetensors"))
    assert (net == other and all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(others)))) == (
        flags == ("--device", "cpu")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "dtype", "products"),
    [
        ("float32", "float32", "float32"),
        ("float64", "float64", "float32"),
        pytest.param("tensorfloat32", "float32", "tensorfloat32", marks=pytest.mark.slow),
    ],
)
def test_a_precision_computes_and_is_kept(precision: str, dtype: str, products: str, tmp_path: Path) -> None:
    train_ok(tmp_path / "run", *BRIEF, *MOONS, "--precision", precision)
    with jax.enable_x64(True):
        net, params, _ = load_model(tmp_path / "run/model.safetensors")
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {dtype}
    assert net.layers[0].precision == products
