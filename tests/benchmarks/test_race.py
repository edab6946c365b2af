from pathlib import Path

import numpy as np
import pytest
import race
import startup
from benchmark_cases import Place
from contestants import missing_packages
from race import Runner
from worker_process import WorkerFailed

from jaxmlp.cli.run import read_options


def runner(program: str) -> Runner:
    return Runner("one", "One", lambda folder, seed: ["-c", program, str(seed)], lambda text: float(text))


def test_a_run_is_timed_and_its_accuracy_read(tmp_path: Path) -> None:
    seconds, accuracy = race.run_once(runner("import sys; print(float(sys.argv[1]) / 4)"), tmp_path, 3)
    assert accuracy == 0.75
    assert 0 < seconds < 60


def test_a_run_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match=r"One ended with status 1: ValueError: no data"):
        race.run_once(runner("raise ValueError('no data')"), tmp_path, 0)


def test_ours_is_train_py_with_flags_that_it_takes(tmp_path: Path) -> None:
    ours = race.runners(Place(manual_dir="archives"), "cpu:0", "float32")[0]
    script, *flags = ours.command(tmp_path, 4)
    assert Path(script).is_file()
    options = read_options(flags)
    assert (options.seed, options.manual_dir, options.dataset) == (4, "archives", "mnist")
    assert (options.device, options.precision) == ("cpu:0", "float32")
    assert ours.command(tmp_path, 4)[-1] != flags[-1]  # a run folder of its own each time
    assert ours.accuracy("test accuracy   98.10 %\n") == 0.981
    with pytest.raises(WorkerFailed, match="no test accuracy"):
        ours.accuracy("nothing of the kind")


class Parts:
    inputs = targets = 0


class Loaded:
    train = test = Parts


def test_each_seed_is_run_in_turn_and_the_first_run_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run_once(runner: Runner, folder: Path, seed: int, device: str) -> tuple[float, float]:
        calls.append((runner.name, seed))
        return float(len(calls)), 0.98

    names = ("jaxmlp", "torch")
    fakes = [Runner(name, name, lambda folder, seed: [], float) for name in names]
    monkeypatch.setattr(race, "run_once", run_once)
    monkeypatch.setattr(race, "load", lambda *arguments, **keywords: Loaded)
    monkeypatch.setattr(race, "runners", lambda *given: fakes)
    result = race.measure_race(Place(), "cpu", "float32", (5, 6), lambda line: None)
    assert result is not None
    assert calls == [(name, seed) for seed in (5, 5, 6) for name in names]
    assert [one["seconds"] for one in result["runners"]] == [[3.0, 5.0], [4.0, 6.0]]
    assert result["runners"][0]["median_seconds"] == 4.0


def test_a_program_that_fails_leaves_the_others_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run_once(runner: Runner, folder: Path, seed: int, device: str) -> tuple[float, float]:
        calls.append(runner.name)
        if runner.name == "torch" and seed == 6:
            raise WorkerFailed("torch ended with status 1")
        return 1.0, 0.98

    fakes = [Runner(name, name, lambda folder, seed: [], float) for name in ("torch", "jaxmlp")]
    monkeypatch.setattr(race, "run_once", run_once)
    monkeypatch.setattr(race, "load", lambda *arguments, **keywords: Loaded)
    monkeypatch.setattr(race, "runners", lambda *given: fakes)
    result = race.measure_race(Place(), "cpu", "float32", (5, 6, 7), lambda line: None)
    assert result is not None
    failed, ours = result["runners"]
    assert failed == {"name": "torch", "title": "torch", "failure": "torch ended with status 1"}
    assert ours["seconds"] == [1.0] * 3
    assert calls.count("torch") == 3  # not asked again


def test_without_mnist_there_is_no_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise race.ArgumentError("not at hand")

    monkeypatch.setattr(race, "load", refuse)
    assert race.measure_race(Place(), "cpu", "float32", (0,), lambda line: None) is None


@pytest.fixture
def tiny_images(tmp_path: Path) -> Path:
    """200 images of MNIST's shape whose label is where they are bright."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 200).astype(np.uint8)
    inputs = random.integers(0, 50, (200, 784)).astype(np.uint8)
    for image, label in zip(inputs, labels.tolist(), strict=True):
        image[78 * label : 78 * label + 78] += 200
    np.savez(
        tmp_path / "mnist.npz",
        train_inputs=inputs[:150],
        train_targets=labels[:150],
        test_inputs=inputs[150:],
        test_targets=labels[150:],
    )
    return tmp_path


@pytest.mark.parametrize("name", ["torch", "sklearn"])
def test_a_peers_program_trains_and_prints_its_accuracy(name: str, tiny_images: Path) -> None:
    if missing_packages(name):
        pytest.skip(f"{name} is not installed")
    chosen = {runner.name: runner for runner in race.runners(Place(), "cpu:0", "float32")}[name]
    seconds, accuracy = race.run_once(chosen, tiny_images, 0)
    assert seconds > 0
    assert 0.5 < accuracy <= 1  # chance would be a tenth


def test_the_recipe_is_the_one_that_startup_measures() -> None:
    assert startup.RECIPE is race.RECIPE
    assert race.FLAGS[: len(race.RECIPE)] == race.RECIPE
