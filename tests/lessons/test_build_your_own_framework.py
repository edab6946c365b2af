"""The lesson's runs are those of an independent NumPy program, and its studies show what they say."""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import build_your_own_framework
import jax.numpy as jnp
import lesson_pictures
import lesson_studies
import numpy as np
import pytest
from comparisons import refused
from lesson_runs import RUNS, SIZES, Run, draw_lesson, lesson_network, train_run
from sklearn.datasets import make_classification
from slow_cases import others_slow

from jaxmlp import Batch, forward, mlp

LESSON = draw_lesson()


# --- the lesson again, in NumPy alone, weights [O, I] as the lesson has them ---


def draw_by_numpy() -> tuple[np.ndarray, np.ndarray, list[Any]]:
    before = np.random.get_state()
    try:
        np.random.seed(0)
        inputs, labels = make_classification(
            n_samples=100, n_features=2, n_redundant=0, n_informative=2, flip_y=0.2
        )
        nets = [
            [(np.random.normal(0, 1 / np.sqrt(i), (o, i)), np.zeros(o)) for i, o in pairwise(sizes)]
            for sizes in [(2, 2)] * 4 + [(2, 10, 2)]
        ]
    finally:
        np.random.set_state(before)
    return inputs.astype(np.float32), labels, nets


INPUTS, LABELS, NETS = draw_by_numpy()


def probabilities(net: Any, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    activities = [x]
    for place, (w, b) in enumerate(net):
        x = x @ w.T + b
        x = np.tanh(x) if place < len(net) - 1 else x
        activities.append(x)
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True), activities


def epoch_by_numpy(net: Any, learning_rate: float, divisor: int) -> Any:
    for start in range(0, 80, 4):
        x, y = INPUTS[start : start + 4], LABELS[start : start + 4]
        p, activities = probabilities(net, x)
        delta = (p - np.eye(2)[y]) / divisor
        after = []
        for (w, b), came_in in zip(net[::-1], activities[-2::-1], strict=True):
            after.append((w - learning_rate * delta.T @ came_in, b - learning_rate * delta.sum(axis=0)))
            delta = (delta @ w) * (1 - came_in**2)  # read only where a tanh came before
        net = after[::-1]
    return net


def measure_by_numpy(net: Any) -> list[float]:
    numbers = []
    for part in (slice(80), slice(80, 100)):
        p, _ = probabilities(net, INPUTS[part])
        y = LABELS[part]
        numbers += [-np.mean(np.log(p[np.arange(len(y)), y])), np.mean(p.argmax(axis=1) == y)]
    return numbers


def run_by_numpy(run: Run, divisor: int = 4) -> np.ndarray:
    net = NETS[run.number]
    rows = [measure_by_numpy(net)]
    for _ in range(run.epochs):
        net = epoch_by_numpy(net, run.learning_rate, divisor)
        rows.append(measure_by_numpy(net))
    return np.array(rows)


def rows_of(columns: dict[str, np.ndarray]) -> np.ndarray:
    names = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
    return np.stack([columns[name] for name in names], axis=1)


def test_the_draws_are_the_lessons() -> None:
    drawn = Batch(*(np.concatenate(parts) for parts in zip(LESSON.train[:2], LESSON.test[:2], strict=True)))
    np.testing.assert_array_equal(drawn.inputs, INPUTS)
    np.testing.assert_array_equal(drawn.targets, LABELS)
    assert (drawn.inputs.dtype, drawn.targets.dtype) == (np.float32, np.int32)
    for start, net in zip(LESSON.starts, NETS, strict=True):
        dense = [layer for layer in start if layer != ()]
        for layer, (w, b) in zip(dense, net, strict=True):
            np.testing.assert_array_equal(layer.w, w.T.astype(np.float32))
            np.testing.assert_array_equal(layer.b, b)


@pytest.mark.parametrize("run", others_slow(RUNS, kept=2), ids=lambda run: run.title)
def test_a_run_is_the_numpy_programs(run: Run) -> None:
    net, start = lesson_network(SIZES[run.number]), LESSON.starts[run.number]
    found = rows_of(train_run(net, start, LESSON, run).columns)
    np.testing.assert_allclose(found, run_by_numpy(run), rtol=1e-5, atol=1e-6)
    # The gradient added up over the minibatch, and another order of the examples, would be seen.
    assert np.abs(found - run_by_numpy(run, divisor=1)).max() > 0.01
    backwards = LESSON._replace(train=Batch(LESSON.train.inputs[::-1], LESSON.train.targets[::-1]))
    assert np.abs(found - rows_of(train_run(net, start, backwards, run).columns)).max() > 1e-4


def test_layers_called_by_hand_give_the_same_weights() -> None:
    by_hand = build_your_own_framework.train_by_hand(LESSON, RUNS[0].learning_rate)
    trained = train_run(lesson_network(SIZES[1]), LESSON.starts[1], LESSON, RUNS[0]).params[-1][0]
    assert build_your_own_framework.largest_difference(by_hand, trained) < 1e-6
    assert build_your_own_framework.largest_difference(LESSON.starts[1][0], trained) > 0.1


@pytest.mark.slow
def test_the_fused_route_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = build_your_own_framework.show_layers(LESSON)
    apart, joined, gradient, largest, weight = numbers.values()
    assert apart == pytest.approx(joined, rel=1e-6)
    assert max(gradient, weight) < 1e-5 < 0.1 < largest
    assert "softmax  [B, 2]" in capsys.readouterr().out


# --- what the studies show ---


@pytest.mark.slow
def test_outliers_move_the_squared_error_and_not_the_absolute() -> None:
    fits = lesson_studies.fit_curves(seeds=2, steps=300)
    assert fits.outliers.sum(axis=1).tolist() == [8, 8]
    moved = np.asarray(fits.points.targets)[..., 0] - np.sin(np.asarray(fits.points.inputs)[..., 0])
    assert np.all((moved > 1.5) == fits.outliers)
    errors = {key: np.median(values) for key, values in fits.errors.items()}
    assert errors["squared error", True] > 3 * errors["absolute error", True]
    assert errors["squared error", True] > 3 * errors["squared error", False]


@pytest.mark.slow
def test_two_layers_separate_what_one_cannot() -> None:
    found = lesson_studies.separate("circles", seeds=2, steps=200)
    assert found.accuracy["one layer"].max() < 0.7
    assert found.accuracy["two layers"].min() > 0.95
    assert [panel[0] for panel in found.panels] == [
        f"circles, {title}: {100 * accuracy[0]:.0f} %" for title, accuracy in found.accuracy.items()
    ]


@pytest.mark.slow
def test_more_units_fit_the_training_examples_better_and_then_others_worse() -> None:
    curve = lesson_studies.vary_hidden_size(seeds=4, steps=400, sizes=(1, 4, 64))
    assert np.all(np.diff(np.median(curve.train, axis=0)) < 0)
    few, right, many = np.median(curve.valid, axis=0)
    assert right < min(few, many)


def test_narrowing_keeps_the_variance_that_belongs_to_the_size() -> None:
    net = mlp([2, 256, 2], activation="tanh", init="lecun_normal")
    first, _, second = lesson_studies.narrow(lesson_studies.draw_params(net, 3), 64)
    assert (first.w.shape, first.b.shape, second.w.shape) == ((3, 2, 64), (3, 64), (3, 64, 2))
    assert float(jnp.var(second.w)) == pytest.approx(1 / 64, rel=0.25)


@pytest.mark.slow
def test_more_examples_close_the_gap() -> None:
    curve = lesson_studies.vary_examples(seeds=2, steps=100, counts=(8, 200))
    wide, close = np.median(curve.valid - curve.train, axis=0)
    assert close < wide / 2


# --- the program ---


@pytest.mark.slow
def test_the_program_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    for module in (build_your_own_framework, lesson_pictures):
        monkeypatch.setattr(module, "RUNS", [run._replace(epochs=min(run.epochs, 3)) for run in RUNS])
    fewer = {"vary_hidden_size": {"sizes": (1, 4)}, "vary_examples": {"counts": (10, 20)}}
    for name, settings in fewer.items():
        study = partial(getattr(lesson_studies, name), **settings)
        monkeypatch.setattr(build_your_own_framework, name, study)
    assert build_your_own_framework.main(["--out", str(folder), "--seeds", "2", "--steps", "3"]) == 0
    printed = capsys.readouterr().out
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert f"first 10 training points: {results['first network']:.6f}" in printed
    assert "1.429665" in printed
    for title, columns in results["runs"].items():
        assert f"{columns['train_loss'][0]:.4f} → {columns['train_loss'][-1]:.4f}" in printed
        assert title in printed
    for errors in results["regression"].values():
        assert build_your_own_framework.digits(errors) in printed
    for name in lesson_pictures.PICTURES:
        for each in name.replace(" … ", ", ").split(", "):
            assert (folder / each).stat().st_size > 5000, each
    refused("holds a run already", build_your_own_framework.main, ["--out", str(folder)])


def test_an_animation_shows_each_epochs_own_boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RUNS[-1]._replace(epochs=2)
    net = lesson_network(SIZES[run.number])
    progress = train_run(net, LESSON.starts[run.number], LESSON, run)
    frames: list[Any] = []
    monkeypatch.setattr(lesson_pictures.plots, "animate", lambda figures, *_, **__: frames.extend(figures))
    lesson_pictures.draw_run(tmp_path, "run", run, progress, LESSON)
    held = [run.epochs] * lesson_pictures.FRAMES_PER_SECOND
    assert [figure.axes[0].get_title() for figure in frames] == [f"epoch {e}" for e in (0, 1, 2, *held)]
    _, _, points = lesson_pictures.plots.boundary_grid(LESSON.train.inputs, steps=120)
    for epoch, figure in enumerate(frames[: run.epochs + 1]):
        mesh = np.asarray(figure.axes[1].collections[0].get_array()).ravel()
        chances = np.asarray(forward(net, progress.params[epoch], jnp.asarray(points, jnp.float32)))[:, 1]
        np.testing.assert_allclose(mesh, chances, atol=1e-6)
        drawn = [line.get_ydata()[-1] for line in figure.axes[0].lines]
        assert drawn == [100 * progress.columns[f"{part}_accuracy"][epoch] for part in ("train", "valid")]
    assert (tmp_path / "run.png").is_file()
