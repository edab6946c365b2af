"""The two-layer study: its call, its modes and stops, its table, and what it refuses."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_runs import Outcome, run_experiment, run_program
from PIL import Image
from slow_cases import others_slow
from two_layer_mnist import MEASURES, read_options

from jaxmlp.datasets.mnist import MANUAL_DIR_VARIABLE

DIGITS = ("--dataset", "digits", "--examples", "300")
SHORT = ("8", "3", "16", "0.2", "--seeds", "2")
VARIANTS = [  # flags, and what the heading says of them
    (
        ["--init", "xavier", "--no-bias", "--mode", "batch"],
        "without biases; init glorot_normal\none update an epoch",
    ),
    (["--init", "xavier"], "init glorot_normal"),
    (["--no-bias"], "without biases"),
    (["--mode", "batch"], "one update an epoch"),
    (["--precision", "float64"], "init he_normal"),
]


def run_study(folder: Path, *arguments: object) -> tuple[Outcome, list[dict]]:
    outcome = run_experiment("two_layer_mnist", *arguments, *DIGITS, "--out", folder)
    return outcome, json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "grid", "epochs"),
    [
        ([], ((300,), (32,), (0.1,)), 20),
        (["50"], ((50,), (32,), (0.1,)), 20),
        (["50", "3", "16", "0.5"], ((50,), (16,), (0.5,)), 3),
        (["50", "3", "--learning-rate", "0.5"], ((50,), (32,), (0.5,)), 3),
        (["--table"], ((30, 100, 300), (32, 128), (0.03, 0.1, 0.3)), 5),
        (["50", "2", "--table", "--batch-sizes", "8", "16"], ((50,), (8, 16), (0.03, 0.1, 0.3)), 2),
        (["--table", "--hidden-sizes", "4", "--learning-rates", "1"], ((4,), (32, 128), (1.0,)), 5),
    ],
)
def test_the_call_of_the_source_and_the_grid(arguments: list[str], grid: tuple, epochs: int) -> None:
    options = read_options(arguments)
    assert (options.init, options.mode, options.bias) == ("he", "minibatch", True)
    assert (tuple(map(tuple, options.grid())), options.epochs_to_train) == (grid, epochs)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, list[dict]]:
    folder = tmp_path_factory.mktemp("single") / "run"
    return (folder, *run_study(folder, *SHORT))


def test_a_run_prints_and_leaves_what_it_was_and_what_came(single: tuple[Path, Outcome, list[dict]]) -> None:
    folder, outcome, (result,) = single
    assert outcome.status == 0
    for name in MEASURES:
        values = np.array(result["final"][name])
        shown = [f"{100 * v:.2f} %" if "accuracy" in name else f"{v:.4f}" for v in values]
        row = next(line for line in outcome.out.splitlines() if line.startswith(name))
        assert all(value in row for value in shown), row
    assert "trained 2 networks for 3 epochs in" in outcome.out
    network = "64 inputs → 8 units, LeakyReLU 0.1 → 10, softmax, cross-entropy; with biases; init he_normal"
    assert network in outcome.out
    assert (result["hidden"], result["batch_size"], result["learning_rate"]) == (8, 16, 0.2)
    assert result["epochs"] == [3, 3]
    assert np.shape(result["test accuracy by epoch"]) == (2, 3)
    assert [row[-1] for row in result["test accuracy by epoch"]] == result["final"]["test accuracy"]
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["options"]["hidden"] == 8
    with Image.open(folder / "accuracy.png") as picture:
        assert len(set(picture.convert("L").get_flattened_data())) > 10


@pytest.mark.slow
def test_the_accuracies_are_of_the_networks_that_were_trained(
    single: tuple[Path, Outcome, list[dict]], tmp_path: Path
) -> None:
    _, (long,) = run_study(tmp_path, "8", "15", "16", "0.2", "--no-pictures", "--quiet")
    assert np.min(long["final"]["test accuracy"]) > np.max(single[2][0]["final"]["test accuracy"])
    assert len(set(long["final"]["test cross-entropy"])) == 3  # three seeds, three networks


@pytest.mark.parametrize(("flags", "text"), others_slow(pytest.param(*each) for each in VARIANTS))
def test_every_variant_of_the_source_runs_and_differs(
    flags: list[str], text: str, single: tuple[Path, Outcome, list[dict]], tmp_path: Path
) -> None:
    outcome, (result,) = run_study(tmp_path / "run", *SHORT, "--no-pictures", *flags)
    assert outcome.status == 0
    assert text in outcome.out
    assert result["batch_size"] == (300 if "batch" in flags else 16)
    assert result["final"]["train cross-entropy"] != single[2][0]["final"]["train cross-entropy"]


@pytest.mark.slow
def test_batch_mode_is_one_update_an_epoch_of_the_mean_error(tmp_path: Path) -> None:
    flags = ["--seeds", "1", "--no-pictures", "--quiet"]
    _, (batch,) = run_study(tmp_path / "batch", "8", "4", "--mode", "batch", *flags)
    _, (full,) = run_study(tmp_path / "full", "8", "4", "300", *flags)
    assert batch["batch_size"] == full["batch_size"] == 300
    for name in MEASURES:
        assert batch["final"][name] == pytest.approx(full["final"][name], rel=1e-4)


@pytest.mark.slow
def test_each_network_stops_at_the_target_by_itself(tmp_path: Path) -> None:
    flags = ["16", "0.2", "--seeds", "4", "--no-pictures", "--target-accuracy", "0.9"]
    outcome, (result,) = run_study(tmp_path / "run", "8", "30", *flags)
    epochs = np.array(result["epochs"])
    assert epochs.max() < 30
    assert len(set(epochs.tolist())) > 1
    assert min(result["final"]["train accuracy"]) >= 0.9 - 1e-6
    assert "or until 90 % of the training examples are right" in outcome.out
    for name in MEASURES:
        for curve, end, stopped in zip(
            result[f"{name} by epoch"], result["final"][name], epochs, strict=True
        ):
            assert curve[stopped - 1] == end
            assert np.isnan(curve).tolist() == [place >= stopped for place in range(len(curve))]
    for curve, stopped in zip(result["train accuracy by epoch"], epochs, strict=True):
        assert [share >= 0.9 - 1e-6 for share in curve[:stopped]] == [False] * (stopped - 1) + [True]


@pytest.mark.slow
def test_the_table_holds_every_setting_as_its_own_run_and_is_drawn(
    single: tuple[Path, Outcome, list[dict]], tmp_path: Path
) -> None:
    grid = ["--table", "--hidden-sizes", "4", "8", "--batch-sizes", "16", "--learning-rates", "0.01", "0.2"]
    outcome, results = run_study(tmp_path / "run", *grid, "--epochs", "3", "--seeds", "2")
    settings = [(r["hidden"], r["batch_size"], r["learning_rate"]) for r in results]
    assert settings == [(4, 16, 0.01), (4, 16, 0.2), (8, 16, 0.01), (8, 16, 0.2)]
    rows = [line.split() for line in outcome.out.splitlines() if line.strip().startswith(("4 ", "8 "))]
    assert [(int(row[0]), int(row[1]), float(row[2])) for row in rows] == settings
    medians = [np.median(r["final"]["test accuracy"]) for r in results]
    assert [row[6] for row in rows] == [f"{100 * median:.2f}" for median in medians]
    assert f"highest test accuracy: {100 * max(medians):.2f} %" in outcome.out
    assert results[1]["final"] != results[0]["final"]
    for name, values in results[3]["final"].items():
        assert values == pytest.approx(single[2][0]["final"][name], rel=1e-5)
    with (tmp_path / "run" / "table.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 8
    with Image.open(tmp_path / "run" / "table.png") as picture:
        assert len(set(picture.convert("L").get_flattened_data())) > 10


@pytest.mark.slow
def test_divergence_is_told_with_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = [*DIGITS, "--no-pictures", "--quiet", "--seeds", "2"]
    outcome = run_experiment("two_layer_mnist", "8", "3", "16", "1e30", *flags)
    assert outcome.status == 1
    assert "NaN or infinite with η = 1e+30: try a smaller learning rate" in outcome.error_line
    grid = ["--table", "--learning-rates", "0.1", "1e30", "--batch-sizes", "16"]
    outcome = run_experiment("two_layer_mnist", "8", "3", *grid, *flags)
    assert outcome.status == 0
    assert "–" in outcome.out
    assert "η 0.1" in outcome.out


def test_the_help_explains_the_call_and_the_two_names_of_the_weights() -> None:
    said = run_experiment("two_layer_mnist", "--help").out
    assert "[HIDDEN [EPOCHS [BATCH [LEARNING_RATE]]]]" in said
    assert "N(0, √(2/I))" in said


@pytest.mark.slow
def test_it_runs_as_a_program(tmp_path: Path) -> None:
    outcome = run_program("two_layer_mnist", "8", "2", *DIGITS, "--no-pictures", folder=tmp_path)
    assert outcome.status == 0
    assert "test accuracy" in outcome.out
    assert len(list((tmp_path / "runs").glob("two-layer-digits-*/results.json"))) == 1


@pytest.mark.slow
@pytest.mark.skipif(
    MANUAL_DIR_VARIABLE not in os.environ,
    reason=f"{MANUAL_DIR_VARIABLE} names no folder with MNIST's archives",
)
def test_on_mnist_two_epochs_beat_a_linear_classifier(tmp_path: Path) -> None:
    flags = ["--seeds", "1", "--no-pictures", "--quiet", "--out", tmp_path]
    assert run_experiment("two_layer_mnist", "100", "2", *flags).status == 0
    (result,) = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert result["final"]["test accuracy"][0] > 0.94
