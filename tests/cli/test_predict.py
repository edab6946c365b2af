import errno
import io
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from command_runs import (
    BRIEF,
    Outcome,
    contents,
    run_experiment,
    train_ok,
    write_films,
    write_houses,
    write_images,
    write_pets,
)
from slow_cases import others_slow

from jaxmlp import evaluate, load_model, predict
from jaxmlp.datasets import Preprocessing, load
from jaxmlp.datasets.problem import make_problem

FLAGS = {
    "pets.csv": ("--target", "pet"),
    "films.csv": ("--target", "funny,sad"),
    "houses.csv": ("--target", "price,tax"),
    "images.npz": (),
}
WRITE = {
    "pets.csv": write_pets,
    "films.csv": write_films,
    "houses.csv": write_houses,
    "images.npz": write_images,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every task and a run on each, named as the file without its ending."""
    folder = tmp_path_factory.mktemp("trained")
    for name, write in WRITE.items():
        path = write(folder / name)
        train_ok(folder / path.stem, *BRIEF, "--epochs", "20", "--dataset", path, *FLAGS[name])
    return folder


def predicted(*arguments: object) -> pd.DataFrame:
    """What predict.py prints, as a table of text."""
    outcome = run_experiment("predict", *arguments)
    assert (outcome.status, outcome.err) == (0, "")
    return pd.read_csv(io.StringIO(outcome.out), dtype=str)


def refused(*arguments: object) -> str:
    outcome = run_experiment("predict", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    return outcome.error_line


def printed_score(folder: Path, name: str) -> float:
    """The score on the test part, of the run's own parameters."""
    target = dict(zip(FLAGS[name][::2], FLAGS[name][1::2], strict=True)).get("--target")
    problem = make_problem(load(folder / name, target=target))
    net, params, saved = load_model(folder / Path(name).stem / "model.safetensors")
    return float(evaluate(net, params, problem.test, loss=saved["loss"], metric=problem.metric).score)


def own_test_part(folder: Path, name: str) -> tuple[Path, Any]:
    """Write the rows that training held out into a file of their own, without targets; returns these too."""
    target = dict(zip(FLAGS[name][::2], FLAGS[name][1::2], strict=True)).get("--target")
    test = load(folder / name, target=target).test
    if name.endswith(".npz"):
        np.savez(folder / "held_out.npz", inputs=test.inputs)
        return folder / "held_out.npz", test.targets
    frame = pd.read_csv(folder / name, dtype=str)
    dataset = load(folder / name, target=target)
    everything = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    assert len(everything) == len(frame)
    from jaxmlp.datasets import split_indices

    labels = None
    if dataset.task == "classification":
        labels = frame[target].map(list(dataset.class_names).index).to_numpy()
    _, rows = split_indices(len(frame), test_fraction=0.2, seed=0, labels=labels)
    path = folder / f"held_out_{name}"
    frame.iloc[rows].drop(columns=str(target).split(",")).to_csv(path, index=False)
    return path, test.targets


@pytest.mark.parametrize("name", others_slow(FLAGS, kept=2))
def test_predictions_of_the_held_out_examples_have_the_runs_own_score(name: str, trained: Path) -> None:
    path, targets = own_test_part(trained, name)
    table = predicted(trained / Path(name).stem, path)
    _, _, saved = load_model(trained / Path(name).stem / "model.safetensors")
    assert len(table) == len(targets)
    if saved["task"] == "classification":
        truth = np.asarray(saved["class_names"])[targets]
        score = np.mean(table["class"].to_numpy() == truth)
    elif saved["task"] == "multilabel":
        score = np.mean(table[saved["class_names"]].to_numpy(int) == targets)
    else:
        values = table.to_numpy(float)
        assert list(table) == ["price", "tax"]
        residuals = np.sum((values - targets) ** 2, axis=0)
        score = np.mean(1 - residuals / np.sum((targets - targets.mean(axis=0)) ** 2, axis=0))
    assert score == pytest.approx(printed_score(trained, name), abs=1e-5)
    assert score > 0.6  # it has learned, so that shuffled rows would give another score


@pytest.mark.parametrize("name", list(FLAGS))
def test_predictions_are_the_librarys_own(name: str, trained: Path) -> None:
    run = trained / Path(name).stem
    table = predicted(run, trained / name)
    net, params, saved = load_model(run / "model.safetensors")
    preprocessing = Preprocessing.from_dict(saved)
    target = dict(zip(FLAGS[name][::2], FLAGS[name][1::2], strict=True)).get("--target")
    dataset = load(trained / name, target=target)
    for part in (dataset.train, dataset.test):
        inputs = jnp.asarray(preprocessing.inputs(part.inputs))
        ask = {"task": saved["task"], "loss": saved["loss"]}
        if saved["task"] == "regression":
            values = preprocessing.restore_targets(np.asarray(predict(net, params, inputs, **ask)))
            columns = saved["target_names"]
        else:
            values = np.asarray(predict(net, params, inputs, probabilities=True, **ask))
            columns = [f"probability_{name}" for name in saved["class_names"]]
        # The table keeps the file's order; the parts are shuffled, so each of their rows is looked for.
        there = table[columns].to_numpy(float)
        for row in values:
            assert np.isclose(there, row, rtol=1e-4, atol=1e-6).all(axis=1).any()


def test_values_are_in_the_units_of_the_file(trained: Path) -> None:
    table = predicted(trained / "houses", trained / "houses.csv").astype(float)
    truth = pd.read_csv(trained / "houses.csv")
    for name in ("price", "tax"):
        assert abs(table[name].mean() / truth[name].mean() - 1) < 0.1


def test_probabilities_are_shares_of_one_and_name_the_class(trained: Path) -> None:
    table = predicted(trained / "pets", trained / "pets.csv")
    assert list(table) == ["class", "probability_cat", "probability_dog"]
    chances = table[["probability_cat", "probability_dog"]].to_numpy(float)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    assert np.array_equal(np.array(["cat", "dog"])[chances.argmax(axis=1)], table["class"])


def test_each_label_has_a_probability_of_its_own(trained: Path) -> None:
    table = predicted(trained / "films", trained / "films.csv")
    assert list(table) == ["funny", "sad", "probability_funny", "probability_sad"]
    for label in ("funny", "sad"):
        above = table[f"probability_{label}"].astype(float) > 0.5
        assert np.array_equal(table[label].astype(int), above.astype(int))


def test_probabilities_can_be_left_out(trained: Path) -> None:
    assert list(predicted(trained / "pets", trained / "pets.csv", "--no-probabilities")) == ["class"]


@pytest.mark.parametrize(
    "loss", others_slow(["sigmoid_cross_entropy", "negative_log_likelihood", "squared_error"])
)
def test_other_losses_predict_classes_too(loss: str, trained: Path, tmp_path: Path) -> None:
    flags = ("--dataset", trained / "pets.csv", "--target", "pet", "--loss", loss)
    outcome = train_ok(tmp_path / "run", *BRIEF, *flags)
    path, targets = own_test_part(trained, "pets.csv")
    table = predicted(tmp_path / "run", path)
    accuracy = np.mean(table["class"].to_numpy() == np.array(["cat", "dog"])[targets])
    assert f"test accuracy {100 * accuracy:.2f} %" in outcome.out
    has_probabilities = loss != "squared_error"
    assert ("probability_dog" in table) == has_probabilities


def test_columns_are_found_by_name_in_any_order_with_or_without_the_target(
    trained: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(trained / "pets.csv", dtype=str)
    expected = predicted(trained / "pets", trained / "pets.csv")
    changed = {
        "without_target": frame.drop(columns="pet"),
        "reversed": frame[frame.columns[::-1]],
        "with_more": frame.assign(notes="n"),
    }
    for name, table in changed.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        assert predicted(trained / "pets", tmp_path / f"{name}.csv").equals(expected)
    # The comparison can fail: a value that changes is noticed.
    frame.assign(size="0").to_csv(tmp_path / "other.csv", index=False)
    assert not predicted(trained / "pets", tmp_path / "other.csv").equals(expected)


def test_files_of_windows_programs_are_read_alike(trained: Path, tmp_path: Path) -> None:
    text = (trained / "pets.csv").read_text(encoding="utf-8")
    other = tmp_path / "with spaces ☃.csv"
    other.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    expected = predicted(trained / "pets", trained / "pets.csv")
    assert predicted(trained / "pets", other).equals(expected)


def test_images_keep_their_axes_or_lie_flat(trained: Path, tmp_path: Path) -> None:
    images = np.load(trained / "images.npz")["inputs"]
    np.savez(tmp_path / "flat.npz", x=images.reshape(len(images), 12))
    expected = predicted(trained / "images", trained / "images.npz")
    assert predicted(trained / "images", tmp_path / "flat.npz").equals(expected)


def test_gaps_are_filled_as_in_training_or_on_demand(trained: Path, tmp_path: Path) -> None:
    gaps = write_pets(tmp_path / "gaps.csv", gaps=True)
    assert "missing values in 'hue' (4), 'age' (6)" in refused(trained / "pets", gaps)
    filled = predicted(trained / "pets", gaps, "--missing", "impute")
    assert len(filled) == 40
    train_ok(tmp_path / "run", *BRIEF, "--dataset", gaps, "--target", "pet", "--missing", "impute")
    assert len(predicted(tmp_path / "run", gaps)) == 40
    assert "missing values" in refused(tmp_path / "run", gaps, "--missing", "refuse")


def test_the_csv_is_what_would_be_printed(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "my predictions.csv"
    out.write_text("older\n")
    assert run_experiment("predict", trained / "pets", trained / "pets.csv", "--out", out) == Outcome(
        0, "", ""
    )
    printed = run_experiment("predict", trained / "pets", trained / "pets.csv").out
    assert out.read_text(encoding="utf-8") == printed
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_model_file_serves_as_well_as_its_folder(trained: Path) -> None:
    by_folder = predicted(trained / "pets", trained / "pets.csv")
    assert predicted(trained / "pets/model.safetensors", trained / "pets.csv").equals(by_folder)


def test_a_model_of_float64_is_read_in_either_precision(trained: Path, tmp_path: Path) -> None:
    flags = ("--dataset", trained / "houses.csv", *FLAGS["houses.csv"])
    train_ok(tmp_path / "run", *BRIEF, *flags, "--precision", "float64")
    single = predicted(tmp_path / "run", trained / "houses.csv").astype(float)
    double = predicted(tmp_path / "run", trained / "houses.csv", "--precision", "float64").astype(float)
    np.testing.assert_allclose(single, double, rtol=1e-4)
    assert not np.array_equal(single, double)


def test_an_older_csv_survives_a_full_disk(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.csv").write_text("precious\n")

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    line = refused(trained / "pets", trained / "pets.csv", "--out", tmp_path / "old.csv")
    assert line.endswith(
        "old.csv cannot be written (No space left on device): choose another file with --out"
    )
    assert contents(tmp_path) == {"old.csv": b"precious\n"}


def test_a_refusal_leaves_an_older_csv_alone(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("precious\n")
    assert "does not exist" in refused(
        trained / "pets", tmp_path / "nowhere.csv", "--out", tmp_path / "old.csv"
    )
    assert contents(tmp_path) == {"old.csv": b"precious\n"}
