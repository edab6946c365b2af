from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from command_runs import FILES
from PIL import Image
from slow_cases import others_slow

from jaxmlp import init, mlp, predict
from jaxmlp.cli import pictures, scores
from jaxmlp.datasets import load, make_problem

# Drawn for every task, and drawn for what a data set has besides.
ALWAYS = {"curves.png", "gradients.png"}
DRAWN = {
    "moons": {"confusion.png", "boundary.png", "ranking.png", "importances.png"},
    "sine": {"predicted.png", "residuals.png", "importances.png"},
    "pets.csv": {"confusion.png", "ranking.png", "importances.png"},
    "films.csv": {"labels.png", "importances.png"},
    "houses.csv": {"predicted.png", "residuals.png", "importances.png"},
    "images.npz": {"confusion.png", "mistakes.png", "weights.png"},
}


def draw(name: str, folder: Path, loss: str | None = None, train_loss: Any = (1, 0.6, 0.2)) -> set[str]:
    """Draw the pictures of a network that was never trained; returns the names of the files."""
    if name in FILES:
        write, target = FILES[name]
        dataset = load(write(folder / name), target=target or None)
    else:
        dataset = load(name, examples=60)
    problem = make_problem(dataset, loss=loss)
    net = mlp([problem.in_features, 4, problem.outputs], output_activation=problem.output_activation)
    names = (
        "valid_loss",
        f"train_{problem.metric}",
        f"valid_{problem.metric}",
        "gradient_norm",
        "max_weight_1",
    )
    columns = dict.fromkeys(names, np.linspace(1, 0.2, 3)) | {"train_loss": np.array(train_loss)}
    columns["epoch"] = np.arange(1, 4)
    params = init(net, jax.random.key(0))
    answers = scores.answers_of(net, params, problem.test.inputs, task=dataset.task, loss=problem.loss)
    pictures.draw_pictures(folder, net, params, problem, dataset, columns, answers)
    drawn = list(folder.glob("*.png"))
    for path in drawn:
        check_picture(path)
    return {path.name for path in drawn}


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


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        pytest.param("images.npz", "negative_log_likelihood", marks=pytest.mark.slow),
        ("images.npz", "multiclass_hinge"),  # with scores that are no probabilities
        *others_slow([pytest.param(name, None) for name in DRAWN], kept=2),
    ],
)
def test_every_task_and_loss_has_its_pictures(name: str, loss: str | None, tmp_path: Path) -> None:
    of_two = {"ranking.png"} if name == "images.npz" and loss != "multiclass_hinge" else set()
    assert draw(name, tmp_path, loss) == ALWAYS | DRAWN[name] | of_two


def test_an_epoch_that_diverged_is_left_out_of_the_curves(tmp_path: Path) -> None:
    assert draw("sine", tmp_path, train_loss=(np.nan, np.nan, np.nan)) == DRAWN["sine"]
    assert draw("sine", tmp_path, train_loss=(1.0, 0.5, np.nan)) == ALWAYS | DRAWN["sine"]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = mlp([3, 4])
    params = init(net, jax.random.key(0))
    inputs = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    monkeypatch.setattr(scores, "CHUNK", 4)
    for ask in ({}, {"probabilities": True}):
        ask |= {"task": "classification", "loss": "softmax_cross_entropy"}
        in_chunks = scores.predict_in_chunks(net, params, inputs, **ask)
        np.testing.assert_allclose(in_chunks, predict(net, params, inputs, **ask), rtol=1e-6, strict=True)
