import errno
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from command_runs import BRIEF, FILES, contents, program, run_experiment, train_ok, write_pets
from slow_cases import others_slow

from jaxmlp import load_model, predict
from jaxmlp.datasets import Part, Preprocessing, load, split_indices


def flags_of(file: Path) -> tuple[object, ...]:
    target = FILES[file.name][1]
    return ("--dataset", file, *(("--target", target) if target else ()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every task and a run on each, named as the file without its ending."""
    folder = tmp_path_factory.mktemp("trained")
    for name, (write, _) in FILES.items():
        file = write(folder / name)
        told = train_ok(folder / file.stem, *BRIEF, "--epochs", "20", *flags_of(file)).out
        (folder / f"{file.stem}.txt").write_text(told, encoding="utf-8")
    return folder


def predicted(*arguments: object) -> pd.DataFrame:
    """What the command prints, as a table of text."""
    outcome = run_experiment("predict", *arguments)
    assert outcome.status == 0, outcome.err
    return pd.read_csv(io.StringIO(outcome.out), dtype=str)


def refused(*arguments: object) -> str:
    outcome = run_experiment("predict", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    return outcome.error_line


def parts_of(file: Path) -> Iterator[tuple[Part, np.ndarray]]:
    """Both parts of a file, as training splits it, with the numbers of their rows in the file."""
    dataset = load(file, target=FILES[file.name][1] or None)
    count, labels = len(dataset.train.inputs) + len(dataset.test.inputs), None
    if dataset.task == "classification":
        names = pd.read_csv(file)["pet"] if file.suffix == ".csv" else np.load(file)["targets"]
        labels = np.array([dataset.class_names.index(name) for name in names])
    rows = split_indices(count, test_fraction=0.2, seed=0, labels=labels)
    yield from zip((dataset.train, dataset.test), rows, strict=True)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("pets.csv", "pet probability_cat probability_dog"),
        ("films.csv", "funny sad probability_funny probability_sad"),
        ("houses.csv", "price tax"),
        ("images.npz", "class probability_above probability_below"),
    ],
)
def test_predictions_are_the_librarys_with_the_printed_score(name: str, columns: str, trained: Path) -> None:
    file, run = trained / name, trained / Path(name).stem
    table = predicted(run, file)
    assert " ".join(table) == columns
    net, params, saved = load_model(run / "model.safetensors")
    preprocessing, ask = Preprocessing.from_dict(saved), {"task": saved["task"], "loss": saved["loss"]}
    for part, rows in parts_of(file):
        inputs = jnp.asarray(preprocessing.inputs(part.inputs))
        here, names = table.iloc[rows], np.asarray(saved["class_names"])
        told = here.filter(like="probability_").to_numpy(float)
        if saved["task"] == "regression":
            told = here.to_numpy(float)  # in the units of the file
            rest = np.sum((told - part.targets) ** 2, axis=0)
            score = np.mean(1 - rest / np.sum((part.targets - part.targets.mean(axis=0)) ** 2, axis=0))
            values = preprocessing.restore_targets(np.asarray(predict(net, params, inputs, **ask)))
        else:
            values = np.asarray(predict(net, params, inputs, probabilities=True, **ask))
            if saved["task"] == "multilabel":
                answers, truth, sure = here[names].to_numpy(int), part.targets, told > 0.5
            else:
                answers, truth, sure = (
                    here.iloc[:, 0].to_numpy(),
                    names[part.targets],
                    names[told.argmax(axis=1)],
                )
                np.testing.assert_allclose(told.sum(axis=1), 1, rtol=1e-5)
            assert np.array_equal(answers, sure)
            score = np.mean(answers == truth)
        np.testing.assert_allclose(told, values, rtol=1e-4, atol=1e-6)
        assert score > 0.6  # it has learned: shuffled rows would give another score
    line = f"test R² {score:.4f}" if saved["task"] == "regression" else f"accuracy {100 * score:.2f} %"
    assert line in (trained / f"{run.name}.txt").read_text(
        encoding="utf-8"
    )  # of the last part, the test part


@pytest.mark.parametrize(
    "loss", others_slow(["sigmoid_cross_entropy", "negative_log_likelihood", "squared_error"])
)
def test_other_losses_predict_classes_too(loss: str, trained: Path, tmp_path: Path) -> None:
    outcome = train_ok(tmp_path / "run", *BRIEF, *flags_of(trained / "pets.csv"), "--loss", loss)
    table = predicted(tmp_path / "run", trained / "pets.csv")
    _, (part, rows) = parts_of(trained / "pets.csv")
    accuracy = np.mean(table["pet"].to_numpy()[rows] == np.array(["cat", "dog"])[part.targets])
    assert f"test accuracy {100 * accuracy:.2f} %" in outcome.out
    assert ("probability_dog" in table) == (loss != "squared_error")


def test_columns_are_found_by_name_and_images_may_lie_flat(trained: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(trained / "pets.csv", dtype=str)
    expected = predicted(trained / "pets", trained / "pets.csv")
    for name, text in {
        "without target": frame.drop(columns="pet").to_csv(index=False),
        "reversed": frame[frame.columns[::-1]].to_csv(index=False),
        "with more": frame.assign(notes="n").to_csv(index=False),
        "of Windows ☃": "\ufeff" + frame.to_csv(index=False, lineterminator="\r\n"),
        "other": frame.assign(size="0").to_csv(index=False),  # the comparison can fail
    }.items():
        (tmp_path / f"{name}.csv").write_bytes(text.encode())
        table = predicted(trained / "pets", tmp_path / f"{name}.csv")
        assert table.equals(expected) == (name != "other"), name
    images = np.load(trained / "images.npz")["inputs"]
    np.savez(tmp_path / "flat.npz", x=images.reshape(len(images), 12))
    expected = predicted(trained / "images", trained / "images.npz")
    assert predicted(trained / "images", tmp_path / "flat.npz").equals(expected)


def test_gaps_are_filled_as_in_training_or_on_demand(trained: Path, tmp_path: Path) -> None:
    gaps = write_pets(tmp_path / "gaps.csv", gaps=True)
    assert len(predicted(trained / "pets", gaps)) == 40
    said = "missing values in 'age' (6), the first in line 5"
    assert said in refused(trained / "pets", gaps, "--missing", "refuse")
    train_ok(tmp_path / "run", *BRIEF, *flags_of(trained / "pets.csv"), "--missing", "refuse")
    assert said in refused(tmp_path / "run", gaps)
    assert len(predicted(tmp_path / "run", gaps, "--missing", "impute")) == 40


def test_a_model_file_serves_too_and_out_takes_what_would_be_printed(trained: Path, tmp_path: Path) -> None:
    out, pets = tmp_path / "my predictions.csv", trained / "pets.csv"
    out.write_text("older\n")
    printed = run_experiment("predict", trained / "pets/model.safetensors", pets)
    assert run_experiment("predict", trained / "pets", pets, "--out", out) == printed._replace(out="")
    assert contents(tmp_path) == {out.name: printed.out.encode()}
    assert list(predicted(trained / "pets", pets, "--no-probabilities")) == ["pet"]
    for name in ("new/folder/it.parquet", "it.tsv"):
        assert run_experiment("predict", trained / "pets", pets, "--out", tmp_path / name).status == 0
    other = pd.read_parquet(tmp_path / "new/folder/it.parquet")
    assert other["pet"].equals(pd.read_csv(tmp_path / "it.tsv", sep="\t")["pet"])


def test_the_targets_own_file_is_scored_beside_guessing_and_columns_are_carried_along(trained: Path) -> None:
    outcome = run_experiment("predict", trained / "pets", trained / "pets.csv", "--keep-columns", "hue, pet")
    table, file = pd.read_csv(io.StringIO(outcome.out)), pd.read_csv(trained / "pets.csv")
    assert list(table) == ["hue", "pet", "predicted_pet", "probability_cat", "probability_dog"]
    assert table[["hue", "pet"]].equals(file[["hue", "pet"]])
    accuracy = np.mean(table["pet"] == table["predicted_pet"])
    assert f"accuracy             {accuracy:.4g}" in outcome.err
    for score in ("balanced accuracy", "F1 macro", "log loss", "ROC AUC", "average precision", "Brier score"):
        assert score in outcome.err
    assert "guessing the most frequent" in outcome.err
    assert "guessing the mean" in run_experiment("predict", trained / "houses", trained / "houses.csv").err
    kept = predicted(trained / "pets", trained / "pets.csv", "--keep-columns", "1,-1")
    assert [*kept][:2] == ["hue", "pet"]
    kept = predicted(trained / "houses", trained / "houses.csv", "--keep-columns", "all")
    assert list(kept) == ["area", "street", "price", "tax", "predicted_price", "predicted_tax"]
    assert "did you mean 'hue'" in refused(trained / "pets", trained / "pets.csv", "--keep-columns", "hu")
    assert "is for tables" in refused(trained / "images", trained / "images.npz", "--keep-columns", "all")


def test_rows_whose_target_is_not_known_are_left_out_of_the_scores(trained: Path, tmp_path: Path) -> None:
    for name, target, unknown in (("pets", "pet", "dodo"), ("houses", "price", "NA")):
        frame = pd.read_csv(trained / f"{name}.csv").astype({target: object})
        whole = run_experiment("predict", trained / name, trained / f"{name}.csv").err
        frame.loc[[3, 5], target] = unknown
        frame.to_csv(tmp_path / "gaps.csv", index=False)
        told = run_experiment("predict", trained / name, tmp_path / "gaps.csv")
        assert f"and known of {len(frame) - 2} of {len(frame)} rows" in told.err
        assert "and known of" not in whole
        assert len(told.err.splitlines()) == len(whole.splitlines())


def test_what_is_no_table_to_write_and_what_is_beyond_float32_is_refused(
    trained: Path, tmp_path: Path
) -> None:
    for name in ("p.xlsx", "p.json"):
        assert "name a .csv, .tsv, .parquet" in refused(trained / "pets", trained / "pets.csv", "--out", name)
    (tmp_path / "far.csv").write_text("hue,size,age\nred,1.5,3\nred,1e60,3\n")
    assert "row 2 of the examples has a number beyond float32" in refused(
        trained / "pets", tmp_path / "far.csv"
    )


@pytest.mark.slow
def test_a_pipe_is_written_and_a_closed_output_is_told(trained: Path) -> None:
    words = [sys.executable, *program("predict"), trained / "pets", trained / "pets.csv"]
    piped = subprocess.run([*words, "--out", "/dev/stdout"], capture_output=True, text=True, check=True)
    assert len(piped.stdout.splitlines()) == 41
    shell = shlex.join(map(str, words))
    closed = subprocess.run(["sh", "-c", f"{shell} >&-"], stderr=subprocess.PIPE, text=True, check=False)
    assert (closed.returncode, "standard output is closed" in closed.stderr) == (2, True)


def test_one_strange_row_does_not_stop_the_others_unless_it_is_to_be_refused(
    trained: Path, tmp_path: Path
) -> None:
    strange = tmp_path / "strange.csv"
    strange.write_text("hue,size,age\nred,1.5,3\nviolet,1.5,3\n")
    outcome = run_experiment("predict", trained / "pets", strange, "--no-probabilities")
    assert len(outcome.out.splitlines()) == 3
    assert "column 'hue': 1 unseen texts count as none of its categories" in outcome.error_line
    line = refused(trained / "pets", strange, "--unseen", "refuse")
    assert "line 3 of file" in line
    assert "'violet' was not in the training data, which had 'blue', 'grey', 'red'" in line
    assert "did you mean 'refuse'" in refused(trained / "pets", strange, "--unseen", "refus")


@pytest.mark.slow
def test_a_model_of_float64_is_read_in_either_precision(trained: Path, tmp_path: Path) -> None:
    houses = trained / "houses.csv"
    train_ok(tmp_path / "run", *BRIEF, *flags_of(houses), "--precision", "float64")
    single = predicted(tmp_path / "run", houses).astype(float)
    double = predicted(tmp_path / "run", houses, "--precision", "float64").astype(float)
    np.testing.assert_allclose(single, double, rtol=1e-4)
    assert not np.array_equal(single, double)


def test_an_older_csv_survives_a_refusal_and_a_full_disk(trained: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.csv"
    old.write_text("precious\n")
    assert "does not exist" in refused(trained / "pets", tmp_path / "nowhere.csv", "--out", old)
    with mock.patch.object(os, "replace", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        line = refused(trained / "pets", trained / "pets.csv", "--out", old)
    assert "old.csv: No space left on device" in line
    assert contents(tmp_path) == {"old.csv": b"precious\n"}
