"""The one door: names, files and options reach the right loader, and what fits none is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from comparisons import refused

from jaxmlp.datasets import DATASETS, load, make_problem
from jaxmlp.datasets.loading import is_at_hand
from jaxmlp.datasets.mnist import IMAGE_SETS, MANUAL_DIR_VARIABLE, TRAIN_FILES
from jaxmlp.datasets.prepared import RECORD

VALUES = {"missing": "refuse", "task": "regression", "examples": 20, "noise": 0.1, "header": True}
VALUES |= {"drop_missing_target": True, "thousands": "'", "decimal": ","}  # all others are names
READY = [name for name in DATASETS if name not in IMAGE_SETS]


def test_the_promised_names_are_there():
    toys = {"moons", "circles", "blobs", "xor", "spirals", "classification", "sine", "friedman"}
    bundled = {"digits", "iris", "wine", "breast_cancer", "diabetes"}
    assert set(DATASETS) == {"mnist", "fashion_mnist", "kmnist"} | bundled | toys
    assert all(source.description for source in DATASETS.values())


@pytest.mark.parametrize("name", READY)
def test_a_name_that_needs_no_file_loads_at_once_and_becomes_a_problem(name, tmp_path):
    assert is_at_hand(name, data_dir=tmp_path)
    dataset = load(name)
    assert dataset.name == name
    assert dataset.train.inputs.shape[1] == np.prod(dataset.feature_shape)
    assert json.loads(json.dumps(dataset.identity))["name"] == name
    assert load(name, test_fraction=0.5).identity["test_fraction"] == 0.5
    problem = make_problem(dataset, validation=0.25)
    assert all(part.inputs.dtype == np.float32 for part in (problem.train, problem.valid, problem.test))


@pytest.mark.parametrize("name", DATASETS)
def test_options_that_would_be_ignored_are_refused(name, tmp_path):
    for option in DATASETS[name].unused:
        given = {option: VALUES.get(option, ";"), "data_dir": tmp_path}
        refused(f"'{option}' does not apply to data set '{name}'", load, name, **given)


@pytest.mark.parametrize("path_type", [str, Path])
@pytest.mark.parametrize("suffix", [".npz", ".NPZ"])
def test_a_file_is_known_by_its_ending(tmp_path, path_type, suffix):
    path = tmp_path / f"own{suffix}"
    with open(path, "wb") as file:
        np.savez(file, inputs=np.zeros((10, 2)), targets=np.arange(10) % 2)
    assert load(path_type(path)).name == path.name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (".", {}, "is a folder"),
        ("./own", {"target": "y"}, "'own' is empty"),
        ("", {}, "unknown data set ''"),
        (" ", {}, "unknown data set ' '"),
        ("digits:3", {}, "takes no parameter"),
        ("moons:0.1", {}, "takes no parameter"),
        ("own.npz", {"target": "y"}, "'target' does not apply"),
        ("own.npz", {"missing": "refuse"}, "'missing' does not apply"),
        ("own.csv", {"target": "y", "noise": 0.1}, "'noise' does not apply"),
    ],
)
def test_a_path_that_cannot_be_loaded_is_refused(tmp_path, monkeypatch, name, options, message):
    monkeypatch.chdir(tmp_path)
    for existing in ("own", "own.npz", "own.csv"):
        Path(existing).touch()
    refused(message, load, name, **options)


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    refused(str(tmp_path / ".cache" / "jaxmlp"), load, "cifar10")


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_an_image_set_is_at_hand_once_it_is_prepared(name, tmp_path, monkeypatch):
    monkeypatch.delenv(MANUAL_DIR_VARIABLE, raising=False)
    (tmp_path / name).mkdir()
    assert not is_at_hand(name, data_dir=tmp_path)
    (tmp_path / name / RECORD).touch()
    assert [other for other in IMAGE_SETS if is_at_hand(other, data_dir=tmp_path)] == [name]


@pytest.mark.parametrize("folder", ["", "mnist"])
def test_archives_laid_by_hand_are_found_by_argument_and_by_variable(folder, tmp_path, monkeypatch):
    monkeypatch.delenv(MANUAL_DIR_VARIABLE, raising=False)
    by_hand, nothing = tmp_path / "by hand", tmp_path / "data"
    (by_hand / folder).mkdir(parents=True)
    assert not is_at_hand("mnist", data_dir=nothing, manual_dir=by_hand)
    (by_hand / folder / TRAIN_FILES[0]).touch()
    assert is_at_hand("mnist", data_dir=nothing, manual_dir=by_hand)
    assert not is_at_hand("mnist", data_dir=nothing)
    monkeypatch.setenv(MANUAL_DIR_VARIABLE, str(by_hand))
    assert is_at_hand("mnist", data_dir=nothing)
    assert not nothing.exists()
    refused("did you mean 'mnist'", is_at_hand, "mnst")
