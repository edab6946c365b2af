from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from command_runs import FILES
from PIL import Image
from slow_cases import others_slow

from jaxmlp import init, mlp, predict
from jaxmlp.cli import pictures
from jaxmlp.datasets import Dataset, load
from jaxmlp.datasets.problem import make_problem

# Drawn for every task, and drawn for what a data set has besides.
ALWAYS = {"curves.png", "gradients.png", "weights.png"}
DRAWN = {
    "moons": {"confusion.png", "boundary.png"},
    "sine": {"predicted.png"},
    "pets.csv": {"confusion.png"},
    "films.csv": {"labels.png"},
    "houses.csv": {"predicted.png"},
    "images.npz": {"confusion.png", "mistakes.png"},
}


def a_dataset(name: str, folder: Path) -> Dataset:
    if name not in FILES:
        return load(name, examples=60)
    write, target = FILES[name]
    return load(write(folder / name), target=target or None)


def a_history(metric: str) -> dict[str, np.ndarray]:
    names = [f"{part}_{name}" for part in ("train", "valid") for name in ("loss", metric)]
    columns = dict.fromkeys([*names, "gradient_norm", "max_weight_1"], np.linspace(1, 0.2, 3))
    return {"epoch": np.arange(1, 4), **columns}


def draw(name: str, folder: Path, loss: str | None = None, **changes: Any) -> set[str]:
    """Draw the pictures of a network that was never trained; returns the names of the files."""
    dataset = a_dataset(name, folder)
    problem = make_problem(dataset, loss=loss)
    net = mlp([problem.in_features, 4, problem.outputs], output_activation=problem.output_activation)
    run = folder / "run"
    run.mkdir(exist_ok=True)
    columns = a_history(problem.metric) | changes
    pictures.draw_pictures(run, net, init(net, jax.random.key(0)), problem, dataset, columns)
    for path in run.iterdir():
        check_picture(path)
    return {path.name for path in run.iterdir()}


def check_picture(path: Path) -> None:
    """Insist that a file is a picture on which something is drawn."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) > 100
    assert len(np.unique(pixels)) > 10
    assert np.mean(pixels != pixels[0, 0]) > 0.005


def test_a_blank_picture_is_noticed(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "white").save(tmp_path / "blank.png")
    with pytest.raises(AssertionError):
        check_picture(tmp_path / "blank.png")


@pytest.mark.parametrize("name", others_slow(DRAWN, kept=2))
def test_every_task_has_its_pictures(name: str, tmp_path: Path) -> None:
    assert draw(name, tmp_path) == ALWAYS | DRAWN[name]


@pytest.mark.parametrize("loss", ["negative_log_likelihood", "multiclass_hinge"])
def test_pictures_are_drawn_for_losses_with_other_outputs(loss: str, tmp_path: Path) -> None:
    assert draw("images.npz", tmp_path, loss) == ALWAYS | DRAWN["images.npz"]


def test_an_epoch_that_diverged_is_left_out_of_the_curves(tmp_path: Path) -> None:
    diverged = np.array([1.0, 0.5, np.nan])
    assert "curves.png" in draw("sine", tmp_path, train_loss=diverged)


def test_a_run_that_diverged_at_once_has_no_curves(tmp_path: Path) -> None:
    names = draw("sine", tmp_path, train_loss=np.full(3, np.nan))
    assert names == {"weights.png"} | DRAWN["sine"]


@pytest.mark.parametrize("probabilities", [False, True])
def test_chunks_change_nothing(probabilities: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net = mlp([3, 4])
    params = init(net, jax.random.key(0))
    inputs = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    ask: dict[str, Any] = {"task": "classification", "loss": "softmax_cross_entropy"}
    ask["probabilities"] = probabilities
    monkeypatch.setattr(pictures, "CHUNK", 4)
    in_chunks = pictures.predict_in_chunks(net, params, inputs, **ask)
    at_once = np.asarray(predict(net, params, inputs, **ask))
    assert in_chunks.shape == at_once.shape
    np.testing.assert_allclose(in_chunks, at_once, rtol=1e-6)
