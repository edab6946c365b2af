import csv
import errno
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import (
    BRIEF,
    Outcome,
    contents,
    inside,
    run_experiment,
    train_ok,
    write_films,
    write_houses,
    write_images,
    write_pets,
)
from PIL import Image
from slow_cases import others_slow

from jaxmlp import Dense, fit, init_state, load_model, make_optimizer, mlp, predict
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.cli import train
from jaxmlp.cli.resume import read_options
from jaxmlp.datasets import Preprocessing, load
from jaxmlp.datasets.problem import make_problem

MOONS = ("--dataset", "moons", "--examples", "60")
PICTURES = {"curves.png", "gradients.png", "weights.png"}
FILES = {"config.json", "metrics.csv", "model.safetensors", "checkpoints"}


class Run(NamedTuple):
    """A finished run: what it printed, and its folder."""

    outcome: Outcome
    folder: Path


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command without a single option."""
    here = tmp_path_factory.mktemp("default")
    with inside(here):
        outcome = run_experiment("train")
    (folder,) = (here / "runs").iterdir()
    return Run(outcome, folder)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in rows_of(folder)]


def params_of(folder: Path) -> Any:
    return load_model(folder / "model.safetensors")[1]


def same_params(left: Path, right: Path) -> bool:
    pairs = zip(jax.tree.leaves(params_of(left)), jax.tree.leaves(params_of(right)), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def printed(outcome: Outcome, start: str) -> str:
    """The rest of the one line that begins so."""
    (line,) = (line for line in outcome.out.splitlines() if line.startswith(start))
    return line.removeprefix(start).strip()


def test_without_options_it_prints_the_table_the_check_and_the_accuracy(default_run: Run) -> None:
    outcome, folder = default_run
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "digits: classification, 1,437 examples to train on, 360 to test on"
    table = [line.split() for line in lines[2:8]]
    assert table == [
        ["layer", "output", "parameters"],
        ["input", "[B,", "64]"],
        ["dense", "[B,", "128]", "8,320"],
        ["relu", "[B,", "128]"],
        ["dense", "[B,", "10]", "1,290"],
        ["total", "9,610"],
    ]
    check = printed(outcome, "gradient check, hand-written against jax.grad on the first batch: ")
    error = re.fullmatch(r"largest relative error (\S+), within its bound", check)
    assert error is not None
    assert 0 <= float(error.group(1)) < 1e-10
    assert re.fullmatch(r"\d+\.\d s", printed(outcome, "trained 40 epochs in "))
    assert re.fullmatch(r"9\d\.\d\d %", printed(outcome, "test accuracy "))
    assert re.fullmatch(r"0\.\d{4}", printed(outcome, "test loss "))
    assert printed(outcome, "run folder ") == f"runs/{folder.name}"
    assert folder.name.startswith("digits-")
    assert "40/40" in outcome.err  # the progress bar


def test_without_options_the_run_folder_is_complete(default_run: Run) -> None:
    names = {path.name for path in default_run.folder.iterdir()}
    assert names == FILES | PICTURES | {"confusion.png", "mistakes.png"}
    for path in default_run.folder.glob("*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert len(np.unique(pixels)) > 10, f"{path.name} is blank"


def test_the_configuration_says_how_to_make_the_run_again(default_run: Run) -> None:
    config = json.loads((default_run.folder / "config.json").read_text(encoding="utf-8"))
    assert config["command"] == ["python", "train.py"]
    assert (config["loss"], config["metric"]) == ("softmax_cross_entropy", "accuracy")
    options = vars(read_options([])) | {"hidden": [128]}
    assert config["options"] == options
    assert config["dataset"] == load("digits").identity
    assert set(config["machine"]["versions"]) >= {"jax", "numpy", "optax"}


def test_the_metrics_have_a_row_an_epoch(default_run: Run) -> None:
    rows = rows_of(default_run.folder)
    assert list(rows[0]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "valid_loss",
        "valid_accuracy",
        "gradient_norm",
        "max_weight_1",
        "max_weight_2",
        "seconds",
        "examples_per_second",
    ]
    assert [int(row["epoch"]) for row in rows] == list(range(1, 41))
    values = np.array([[float(value) for value in row.values()] for row in rows])
    assert np.all(np.isfinite(values))
    assert np.all(values[:, 5:] > 0)
    assert values[-1, 1] < values[0, 1] / 10
    rates = np.array(column(default_run.folder, "examples_per_second"))
    np.testing.assert_allclose(rates * column(default_run.folder, "seconds"), 1437, rtol=1e-6)
    largest = [float(np.abs(layer.w).max()) for layer in params_of(default_run.folder) if layer != ()]
    assert largest == [column(default_run.folder, f"max_weight_{place}")[-1] for place in (1, 2)]


def test_the_saved_model_reproduces_the_printed_accuracy(default_run: Run) -> None:
    net, params, saved = load_model(default_run.folder / "model.safetensors")
    test = load("digits").test
    inputs = Preprocessing.from_dict(saved).inputs(test.inputs)
    classes = predict(net, params, jnp.asarray(inputs), task=saved["task"], loss=saved["loss"])
    accuracy = np.mean(np.asarray(classes) == test.targets)
    assert f"{100 * accuracy:.2f} %" == printed(default_run.outcome, "test accuracy ")
    assert column(default_run.folder, "valid_accuracy")[-1] == pytest.approx(accuracy, rel=1e-6)
    assert saved["class_names"] == [str(digit) for digit in range(10)]
    # The comparison can fail: other parameters give another accuracy.
    others = jax.tree.map(jnp.zeros_like, params)
    wrong = predict(net, others, jnp.asarray(inputs), task=saved["task"], loss=saved["loss"])
    assert np.mean(np.asarray(wrong) == test.targets) < 0.2


@pytest.mark.slow
def test_without_options_digits_are_told_apart(tmp_path: Path) -> None:
    shares = []
    for seed in range(5):
        outcome = train_ok(tmp_path / str(seed), "--no-pictures", "--quiet", "--seed", seed)
        shares.append(float(printed(outcome, "test accuracy ").removesuffix(" %")))
    assert statistics.median(shares) >= 97
    assert len(set(shares)) > 1  # the seeds are no single run five times over


def test_quiet_prints_the_summary_alone(tmp_path: Path) -> None:
    outcome = train_ok(tmp_path / "run", *BRIEF, *MOONS)
    starts = ["trained 1 epoch in ", "train accuracy ", "test accuracy ", "test loss ", "run folder "]
    lines = outcome.out.splitlines()
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    assert outcome.err == ""
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        train_ok(tmp_path / name, *BRIEF, *MOONS, "--seed", seed)
    first, again, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "again", "other")
    )
    assert first == again
    assert first != other


def test_a_target_accuracy_stops_the_run_when_it_is_reached(tmp_path: Path) -> None:
    arguments = (*BRIEF, *MOONS, "--epochs", "60")
    rate = ("--learning-rate", "0.05")
    outcome = train_ok(tmp_path / "run", *arguments, *rate, "--target-accuracy", "0.8")
    scores = column(tmp_path / "run", "valid_accuracy")
    assert 1 < len(scores) < 60
    assert scores[-1] >= 0.8
    assert max(scores[:-1]) < 0.8
    assert printed(outcome, f"trained {len(scores)} epochs in ").endswith("s, stopped at 80 % accuracy")


def test_a_target_accuracy_out_of_reach_stops_nothing(tmp_path: Path) -> None:
    arguments = (*BRIEF, *MOONS, "--epochs", "3", "--learning-rate", "1e-6")
    outcome = train_ok(tmp_path / "run", *arguments, "--target-accuracy", "1")
    assert "stopped" not in outcome.out
    assert len(rows_of(tmp_path / "run")) == 3


def test_a_validation_part_is_what_is_measured_every_epoch(tmp_path: Path) -> None:
    shares = ("--test-fraction", "0.5", "--validation", "0.2")
    outcome = train_ok(tmp_path / "run", *BRIEF[1:], *MOONS, *shares, "--hidden", "5", "3")
    assert "moons: classification, 24 examples to train on, 30 to test on" in outcome.out
    problem = make_problem(load("moons", examples=60, test_fraction=0.5), validation=0.2)
    net, params, saved = load_model(tmp_path / "run/model.safetensors")
    assert [layer.features for layer in net.layers if isinstance(layer, Dense)] == [5, 3, 2]
    accuracies = {}
    for name, part in (("validation", problem.valid), ("test", problem.test)):
        assert part is not None
        classes = predict(net, params, jnp.asarray(part.inputs), task=saved["task"], loss=saved["loss"])
        accuracies[name] = float(np.mean(np.asarray(classes) == part.targets))
    assert column(tmp_path / "run", "valid_accuracy")[-1] == pytest.approx(accuracies["validation"], rel=1e-6)
    assert printed(outcome, "test accuracy ") == f"{100 * accuracies['test']:.2f} %"
    assert "validation accuracy" in outcome.err
    assert np.array_equal(saved["feature_shift"], problem.preprocessing.feature_shift)


@pytest.mark.slow
def test_full_is_a_batch_of_all_examples(tmp_path: Path) -> None:
    for size in ("full", "48", "1000", "24"):
        train_ok(tmp_path / size, *BRIEF, *MOONS, "--batch-size", size)
    assert same_params(tmp_path / "full", tmp_path / "48")
    assert same_params(tmp_path / "full", tmp_path / "1000")
    assert not same_params(tmp_path / "full", tmp_path / "24")


@pytest.mark.parametrize(
    ("flags", "library"),
    [
        ((), {}),
        pytest.param(("--no-shuffle",), {"shuffle": False}, marks=pytest.mark.slow),
        pytest.param(("--l2", "0.5"), {"l2": 0.5}, marks=pytest.mark.slow),
        (("--batch-size", "7"), {"batch_size": 7}),
    ],
)
def test_a_run_is_the_librarys_own_fit(
    flags: tuple[str, ...], library: dict[str, Any], tmp_path: Path
) -> None:
    train_ok(tmp_path / "run", *BRIEF, *MOONS, "--learning-rate", "0.2", *flags)
    problem = make_problem(load("moons", examples=60))
    net, optimizer = mlp([2, 4, 2]), make_optimizer("sgd", 0.2)

    def fitted(**keywords: Any) -> Any:
        state = init_state(net, optimizer, jax.random.key(0))
        settings = {"batch_size": 32, "epochs": 1} | keywords
        return fit(net, problem.train, loss=problem.loss, optimizer=optimizer, state=state, **settings)

    def agrees(params: Any) -> bool:
        pairs = zip(jax.tree.leaves(params), jax.tree.leaves(params_of(tmp_path / "run")), strict=True)
        return all(np.allclose(a, b, rtol=1e-6, atol=1e-8) for a, b in pairs)

    assert agrees(fitted(**library).state.params)
    if library:
        assert not agrees(fitted().state.params)


class Own(NamedTuple):
    """A file of the user's own, how it is trained on, and what comes out."""

    write: Callable[[Path], Path]
    name: str
    flags: tuple[str, ...]
    said: str


OWN = {
    "classes in a csv": Own(write_pets, "pets.csv", ("--target", "pet"), "test accuracy "),
    "labels in a csv": Own(write_films, "films.csv", ("--target", "funny,sad"), "test label accuracy "),
    "values in a csv": Own(write_houses, "houses.csv", ("--target", "price,tax"), "test R² "),
    "images in an npz": Own(write_images, "images.npz", (), "test accuracy "),
}


@pytest.mark.parametrize("own", others_slow(OWN.values(), kept=2), ids=list(OWN))
def test_ones_own_file_is_learned(own: Own, tmp_path: Path) -> None:
    # A folder with spaces and letters beyond ASCII, as people have them.
    folder = tmp_path / "my dätä ☃"
    folder.mkdir()
    path = own.write(folder / own.name)
    arguments = (*BRIEF, "--epochs", "60", "--hidden", "16", "--dataset", path, *own.flags)
    outcome = train_ok(folder / "a run", *arguments)
    score = printed(outcome, own.said)
    assert float(score.removesuffix(" %")) / (100 if score.endswith("%") else 1) >= 0.75
    losses = column(folder / "a run", "train_loss")
    assert losses[-1] < losses[0] / 2


def test_a_csv_keeps_its_names_categories_and_fills(tmp_path: Path) -> None:
    path = write_pets(tmp_path / "pets.csv", gaps=True)
    train_ok(tmp_path / "run", *BRIEF, "--dataset", path, "--target", "pet", "--missing", "impute")
    _, _, saved = load_model(tmp_path / "run/model.safetensors")
    assert saved["class_names"] == ["cat", "dog"]
    assert saved["feature_names"] == ["hue=blue", "hue=grey", "hue=red", "size", "age"]
    assert saved["table"]["missing"] == "impute"
    assert (saved["task"], saved["dataset"]) == ("classification", "pets.csv")


@pytest.mark.parametrize(
    "name", others_slow(["a byte order mark", "Windows line endings", "semicolons", "upper case"])
)
def test_files_of_other_programs_are_read_alike(name: str, tmp_path: Path) -> None:
    plain = write_pets(tmp_path / "pets.csv")
    text = plain.read_text(encoding="utf-8")
    other = tmp_path / ("OTHER.CSV" if name == "upper case" else "other.csv")
    changed = {
        "a byte order mark": "\ufeff" + text,
        "Windows line endings": text.replace("\n", "\r\n"),
        "semicolons": text.replace(",", ";"),
    }.get(name, text)
    other.write_bytes(changed.encode())
    for path in (plain, other):
        train_ok(tmp_path / path.stem, *BRIEF, "--dataset", path, "--target", "pet")
    assert same_params(tmp_path / "pets", tmp_path / other.stem)


def test_a_diverged_run_ends_with_status_1_and_keeps_finite_parameters(tmp_path: Path) -> None:
    out = tmp_path / "run"
    flags = ("--learning-rate", "1e6", "--loss", "squared_error", "--epochs", "5")
    outcome = run_experiment("train", *BRIEF, *flags, "--out", out)
    assert outcome.status == 1
    epoch = len(rows_of(out))
    assert outcome.error_line.startswith(
        f"train.py: epoch {epoch}: the loss or a parameter became NaN or infinite; the parameters before it"
    )
    assert outcome.error_line.endswith("try a smaller --learning-rate than 1e+06, or --clip-norm 1")
    assert "stopped because the loss was not finite any more" in outcome.out
    assert epoch < 5
    last = rows_of(out)[-1]
    assert not all(np.isfinite(float(last[name])) for name in ("train_loss", "max_weight_1", "max_weight_2"))
    leaves = jax.tree.leaves(params_of(out))
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
    assert any(np.any(np.asarray(leaf) != 0) for leaf in leaves)


def test_a_full_disk_is_one_line_and_loses_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_ok(tmp_path / "old", *BRIEF, *MOONS)
    before = contents(tmp_path / "old")

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    monkeypatch.setattr(train, "save_model", refuse)
    outcome = run_experiment("train", *BRIEF, *MOONS, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert outcome.error_line == (
        "train.py: the result could not be written (model.safetensors: No space left on device): when it can be, "
        f"go on with: python train.py --resume {tmp_path / 'run'} (its last checkpoint is of epoch 1)"
    )
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert contents(tmp_path / "old") == before


def test_a_wrong_derivative_stops_the_run_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ACTIVATIONS["relu"]
    wrong = right._replace(derivative=lambda z, a: 1.01 * right.derivative(z, a))
    monkeypatch.setitem(ACTIVATIONS._things, "relu", wrong)
    with jax.disable_jit():  # so that no rule outlives its corruption
        outcome = run_experiment("train", *BRIEF, *MOONS, "--out", tmp_path / "run")
    assert outcome.status == 1
    assert "OVER ITS BOUND in 0.w: a defect of jaxmlp" in outcome.err
    assert not (tmp_path / "run/model.safetensors").exists()
