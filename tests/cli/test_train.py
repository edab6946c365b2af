import csv
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
from command_runs import BRIEF, FILES, Outcome, inside, no_room, run_experiment, train_ok, write_pets
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
LEFT = {"config.json", "metrics.csv", "model.safetensors", "checkpoints"}


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


def leaves_match(params: Any, others: Any, **tolerance: float) -> bool:
    """Whether all leaves are equal, bit by bit unless a tolerance is given."""
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(others), strict=True)
    return all(np.allclose(a, b, **(tolerance or {"rtol": 0, "atol": 0})) for a, b in pairs)


def same_params(left: Path, right: Path) -> bool:
    return leaves_match(params_of(left), params_of(right))


def accuracy_of(folder: Path, inputs: Any, targets: Any) -> float:
    """The share of examples that a saved network tells rightly."""
    net, params, saved = load_model(folder / "model.safetensors")
    classes = predict(net, params, jnp.asarray(inputs), task=saved["task"], loss=saved["loss"])
    return float(np.mean(np.asarray(classes) == targets))


def printed(outcome: Outcome, start: str) -> str:
    """The rest of the one line that begins so."""
    (line,) = (line for line in outcome.out.splitlines() if line.startswith(start))
    return line.removeprefix(start).strip()


def test_without_options_it_prints_the_table_the_check_and_the_accuracy(default_run: Run) -> None:
    outcome, folder = default_run
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "digits: classification, 1,437 examples to train on, 360 to test on"
    rate = "optimizer sgd, learning rate 0.2, schedule constant, batch size 32, epochs 40, seed 0"
    assert printed(outcome, "settings: ") == f"task classification, loss softmax_cross_entropy, {rate}"
    assert [line.split() for line in lines[2:8]] == [
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
    assert "40/40" not in outcome.err  # a bar is for terminals


def test_without_options_the_run_folder_is_complete(default_run: Run) -> None:
    names = {path.name for path in default_run.folder.iterdir()}
    assert names == LEFT | PICTURES | {"confusion.png", "mistakes.png", "report.html"}
    for path in default_run.folder.glob("*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert len(np.unique(pixels)) > 10, f"{path.name} is blank"


def test_the_configuration_says_how_to_make_the_run_again(default_run: Run) -> None:
    config = json.loads((default_run.folder / "config.json").read_text(encoding="utf-8"))
    assert config["command"] == ["python", "train.py"]
    assert (config["loss"], config["metric"]) == ("softmax_cross_entropy", "accuracy")
    options = vars(read_options([])) | {"hidden": [128]}
    assert config["options"] == {name: value for name, value in options.items() if value is not None}
    assert config["settings"]["learning_rate"] == 0.2
    assert config["dataset"] == load("digits").identity
    assert set(config["machine"]["versions"]) >= {"jax", "numpy", "optax"}


def test_the_metrics_have_a_row_an_epoch(default_run: Run) -> None:
    rows = rows_of(default_run.folder)
    measured = (
        "epoch train_loss train_accuracy test_loss test_accuracy gradient_norm max_weight_1 max_weight_2"
    )
    assert list(rows[0]) == [*measured.split(), "seconds", "examples_per_second"]
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
    test, saved = load("digits").test, load_model(default_run.folder / "model.safetensors")[2]
    inputs = Preprocessing.from_dict(saved).inputs(test.inputs)
    accuracy = accuracy_of(default_run.folder, inputs, test.targets)
    assert f"{100 * accuracy:.2f} %" == printed(default_run.outcome, "test accuracy ")
    assert column(default_run.folder, "test_accuracy")[-1] == pytest.approx(accuracy, rel=1e-6)
    assert saved["class_names"] == [str(digit) for digit in range(10)]
    # The comparison can fail: other inputs give another accuracy.
    assert accuracy_of(default_run.folder, np.zeros_like(inputs), test.targets) < 0.2


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
    assert {path.name for path in (tmp_path / "run").iterdir()} == LEFT


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    models = []
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        train_ok(tmp_path / name, *BRIEF, *MOONS, "--seed", seed)
        models.append((tmp_path / name / "model.safetensors").read_bytes())
    assert models[0] == models[1] != models[2]


def test_a_target_accuracy_stops_the_run_when_it_is_reached_and_not_before(tmp_path: Path) -> None:
    arguments = (*BRIEF, *MOONS, "--epochs", "60", "--learning-rate", "0.05")
    outcome = train_ok(tmp_path / "run", *arguments, "--target-accuracy", "0.8")
    scores = column(tmp_path / "run", "test_accuracy")
    assert 1 < len(scores) < 60
    assert scores[-1] >= 0.8
    assert max(scores[:-1]) < 0.8
    assert printed(outcome, f"trained {len(scores)} epochs in ").endswith("s, stopped at 80 % accuracy")
    never = ("--epochs", "3", "--learning-rate", "1e-6", "--target-accuracy", "1")
    assert "stopped" not in train_ok(tmp_path / "never", *arguments, *never).out
    assert len(rows_of(tmp_path / "never")) == 3


def test_a_validation_part_is_what_is_measured_every_epoch(tmp_path: Path) -> None:
    shares = ("--test-fraction", "0.5", "--validation", "0.2")
    outcome = train_ok(tmp_path / "run", *BRIEF[1:], *MOONS, *shares, "--hidden", "5", "3")
    assert "moons: classification, 24 examples to train on, 30 to test on" in outcome.out
    problem = make_problem(load("moons", examples=60, test_fraction=0.5), validation=0.2)
    net, _, saved = load_model(tmp_path / "run/model.safetensors")
    assert [layer.features for layer in net.layers if isinstance(layer, Dense)] == [5, 3, 2]
    assert problem.valid is not None
    validation, test = (
        accuracy_of(tmp_path / "run", part.inputs, part.targets) for part in (problem.valid, problem.test)
    )
    assert column(tmp_path / "run", "valid_accuracy")[-1] == pytest.approx(validation, rel=1e-6)
    assert printed(outcome, "test accuracy ") == f"{100 * test:.2f} %"
    assert "valid_loss" in rows_of(tmp_path / "run")[0]
    assert np.array_equal(saved["feature_shift"], problem.preprocessing.feature_shift)


@pytest.mark.parametrize(
    ("flags", "library"),
    [
        ((), {}),
        pytest.param(("--no-shuffle",), {"shuffle": False}, marks=pytest.mark.slow),
        pytest.param(("--l2", "0.5"), {"l2": 0.5}, marks=pytest.mark.slow),
        pytest.param(("--batch-size", "7"), {"batch_size": 7}, marks=pytest.mark.slow),
        pytest.param(("--batch-size", "full"), {"batch_size": 48}, marks=pytest.mark.slow),
        pytest.param(("--batch-size", "1000"), {"batch_size": 48}, marks=pytest.mark.slow),
    ],
)
def test_a_run_is_the_librarys_fit(flags: tuple[str, ...], library: dict[str, Any], tmp_path: Path) -> None:
    train_ok(tmp_path / "run", *BRIEF, *MOONS, "--learning-rate", "0.2", *flags)
    problem = make_problem(load("moons", examples=60))
    net, optimizer = mlp([2, 4, 2]), make_optimizer("sgd", 0.2)

    def fitted(**keywords: Any) -> Any:
        state = init_state(net, optimizer, jax.random.key(0))
        settings = {"batch_size": 32, "epochs": 1} | keywords
        return fit(net, problem.train, loss=problem.loss, optimizer=optimizer, state=state, **settings)

    near, trained = {"rtol": 1e-6, "atol": 1e-8}, params_of(tmp_path / "run")
    assert leaves_match(fitted(**library).state.params, trained, **near)
    if library:
        assert not leaves_match(fitted().state.params, trained, **near)


# What a run on each file of the user's own prints its score as.
SAID = {
    "pets.csv": "test accuracy ",
    "films.csv": "test label accuracy ",
    "houses.csv": "test R² ",
    "images.npz": "test accuracy ",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", others_slow(FILES, kept=2))
def test_ones_own_file_is_learned(name: str, tmp_path: Path) -> None:
    # A folder with spaces and letters beyond ASCII, as people have them.
    folder = tmp_path / "my dätä ☃"
    folder.mkdir()
    write, target = FILES[name]
    flags = ("--epochs", "60", "--hidden", "16", *(("--target", target) if target else ()))
    outcome = train_ok(folder / "a run", *BRIEF, "--dataset", write(folder / name), *flags)
    score = printed(outcome, SAID[name])
    assert float(score.removesuffix(" %")) / (100 if score.endswith("%") else 1) >= 0.75
    losses = column(folder / "a run", "train_loss")
    assert losses[-1] < losses[0] / 2


def test_a_csv_keeps_its_names_categories_and_fills(tmp_path: Path) -> None:
    path = write_pets(tmp_path / "pets.csv", gaps=True)
    train_ok(tmp_path / "run", *BRIEF, "--dataset", path, "--target", "pet")
    _, _, saved = load_model(tmp_path / "run/model.safetensors")
    assert saved["class_names"] == ["cat", "dog"]
    assert saved["feature_names"] == [
        *("hue=NA", "hue=blue", "hue=grey", "hue=red", "size", "age", "age (missing)"),
    ]
    assert saved["table"]["missing"] == "impute"
    assert (saved["task"], saved["dataset"]) == ("classification", "pets.csv")


@pytest.mark.parametrize(
    ("name", "change"),
    others_slow(
        [
            pytest.param("OTHER.CSV", lambda text: text),
            pytest.param("other.csv", lambda text: "\ufeff" + text),
            pytest.param("other.csv", lambda text: text.replace("\n", "\r\n")),
            pytest.param("other.csv", lambda text: text.replace(",", ";")),
        ]
    ),
    ids=["upper case", "a byte order mark", "Windows line endings", "semicolons"],
)
def test_other_programs_files_are_read_alike(name: str, change: Callable[[str], str], tmp_path: Path) -> None:
    plain, other = write_pets(tmp_path / "pets.csv"), tmp_path / name
    other.write_bytes(change(plain.read_text(encoding="utf-8")).encode())
    for path in (plain, other):
        train_ok(tmp_path / path.stem, *BRIEF, "--dataset", path, "--target", "pet")
    assert same_params(tmp_path / "pets", tmp_path / other.stem)


@pytest.mark.parametrize(
    ("words", "name", "shown"),
    [
        (("--dataset", "moons", "--metric", "balanced_accuracy"), "balanced_accuracy", " %"),
        (("--dataset", "sine", "--metric", "mae", "--validation", "0.2"), "mae", ""),
    ],
)
def test_another_metric_is_reported_every_epoch(
    words: tuple[str, ...], name: str, shown: str, tmp_path: Path
) -> None:
    outcome = train_ok(tmp_path / "run", *words, "--examples", "60", *BRIEF[1:])
    (row,) = rows_of(tmp_path / "run")
    part = "valid" if "--validation" in words else "test"
    assert float(row[f"{part}_{name}"]) > 0
    assert printed(outcome, f"test {name.replace('_', ' ')} ").endswith(shown)


def test_scores_count_rows_by_their_weight_as_the_summary_does(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = (f"{row % 7},{'uv'[row % 2]},{1000 if row % 2 else 1}\n" for row in range(100))
    path.write_text("x,y,w\n" + "".join(rows))
    words = "--dataset", path, "--target", "y", "--weight-column", "w", *BRIEF[1:]
    outcome = train_ok(tmp_path / "run", *words)
    summary = float(printed(outcome, "test accuracy ").rstrip(" %")) / 100
    (row,) = (line.split() for line in outcome.out.splitlines() if line.startswith("accuracy "))
    assert float(row[1]) == pytest.approx(summary, abs=1e-4)
    assert float(row[2]) == pytest.approx(1000 / 1001, abs=1e-4)


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


def test_a_full_disk_is_a_line_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "save_model", no_room)
    outcome = run_experiment("train", *BRIEF, *MOONS, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert outcome.error_line == (
        "train.py: the result could not be written (No space left on device): when it can be, go on with: "
        f"python train.py --resume {tmp_path / 'run'} (its last checkpoint is of epoch 1)"
    )
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_wrong_derivative_stops_the_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ACTIVATIONS["relu"]
    wrong = right._replace(derivative=lambda z, a: 1.01 * right.derivative(z, a))
    monkeypatch.setitem(ACTIVATIONS._things, "relu", wrong)
    with jax.disable_jit():  # so that no rule outlives its corruption
        outcome = run_experiment("train", *BRIEF, *MOONS, "--out", tmp_path / "run")
    assert outcome.status == 1
    assert "OVER ITS BOUND in 0.w: a defect of jaxmlp" in outcome.err
    assert not (tmp_path / "run/model.safetensors").exists()
