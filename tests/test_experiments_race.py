import sys
from pathlib import Path

import pytest
import race
from benchmark_cases import Place
from race import Runner
from train_options import read_options
from worker_process import WorkerFailed


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
    ours = race.runners(Place(manual_dir="archives"))[0]
    script, *flags = ours.command(tmp_path, 4)
    assert Path(script).is_file()
    options = read_options(flags)
    assert (options.seed, options.manual_dir, options.dataset) == (4, "archives", "mnist")
    assert ours.command(tmp_path, 4)[-1] != flags[-1]  # a run folder of its own each time
    assert ours.accuracy("test accuracy   98.10 %\n") == 0.981
    with pytest.raises(WorkerFailed, match="no test accuracy"):
        ours.accuracy("nothing of the kind")


def test_each_seed_is_run_in_turn_and_the_first_run_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run_once(runner: Runner, folder: Path, seed: int) -> tuple[float, float]:
        calls.append((runner.name, seed))
        return float(len(calls)), 0.98

    class Parts:
        inputs = targets = 0

    class Loaded:
        train = test = Parts

    names = ("jaxmlp", "torch")
    fakes = [Runner(name, name, lambda folder, seed: [], float) for name in names]
    monkeypatch.setattr(race, "run_once", run_once)
    monkeypatch.setattr(race, "load", lambda *arguments, **keywords: Loaded)
    monkeypatch.setattr(race, "runners", lambda place: fakes)
    result = race.measure_race(Place(), seeds=(5, 6), tell=lambda line: None)
    assert result is not None
    assert calls == [(name, seed) for seed in (5, 5, 6) for name in names]
    assert [one["seconds"] for one in result["runners"]] == [[3.0, 5.0], [4.0, 6.0]]
    assert result["runners"][0]["median_seconds"] == 4.0


def test_without_mnist_there_is_no_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise race.ArgumentError("not at hand")

    monkeypatch.setattr(race, "load", refuse)
    assert race.measure_race(Place(), seeds=(0,), tell=lambda line: None) is None


def test_the_peers_programs_are_there() -> None:
    for name in ("torch", "sklearn"):
        script = Path(race.FOLDER / "contestants" / f"race_{name}.py")
        compile(script.read_text(encoding="utf-8"), str(script), "exec")
    assert sys.executable
