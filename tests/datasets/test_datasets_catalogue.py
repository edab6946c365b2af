"""Other TFDS data sets: tiny ones are prepared here and read back, the others refused in one line."""

import contextlib
import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxmlp.datasets import catalogue, load
from jaxmlp.types import ArgumentError

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (12, 4, 5), np.uint8)
LABELS = np.arange(12) % 3


PIXELS = tfds.features.Tensor(shape=(4, 5), dtype=np.uint8)
CLASSES = tfds.features.ClassLabel(names=["ant", "bee", "cow", "dog"])


class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Twelve examples of the features, keys and splits that a subclass names."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(self.features),
            supervised_keys=self.keys,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(rows) for name, rows in self.splits.items()}

    def _generate_examples(self, rows):
        for row in rows:
            yield row, {key: example(key, row) for key in self.features}


def example(key, row):
    label, row = (int(LABELS[row]) if row < 12 else -1), row % 12
    return {
        "image": IMAGES[row],
        "vector": IMAGES[row, 0].astype(np.float32),
        "label": label,
        "value": label / 2,
        "text": "hello",
        "varying": IMAGES[row, 0, : row % 4 + 1],
    }[key]


def tiny(name, features, keys, splits):
    fields = {"features": features, "keys": keys, "splits": splits}
    return type(Tiny)(name, (Tiny,), fields, skip_registration=True)


BOTH = {"train": range(8), "test": range(8, 12)}
LABELLED = {"image": PIXELS, "label": CLASSES}
VECTOR = tfds.features.Tensor(shape=(5,), dtype=np.float32)
VARYING = tfds.features.Tensor(shape=(None,), dtype=np.uint8)
VALUE = tfds.features.Scalar(dtype=np.float32)

TinyImages = tiny("TinyImages", LABELLED, ("image", "label"), BOTH)
TinyValues = tiny("TinyValues", {"vector": VECTOR, "value": VALUE}, ("vector", "value"), {"train": range(12)})
TinyUnsupervised = tiny("TinyUnsupervised", LABELLED, None, BOTH)
TinyText = tiny("TinyText", {"text": tfds.features.Text(), "label": CLASSES}, ("text", "label"), BOTH)
TinyVarying = tiny("TinyVarying", {"varying": VARYING, "label": CLASSES}, ("varying", "label"), BOTH)
TinyUnlabelled = tiny(
    "TinyUnlabelled", LABELLED, ("image", "label"), {"train": range(8), "test": range(11, 14)}
)
TinyTestOnly = tiny("TinyTestOnly", LABELLED, ("image", "label"), {"test": range(8)})


@pytest.fixture
def prepared(tmp_path):
    def prepare(builder_class, file_format="array_record"):
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            builder_class(data_dir=tmp_path, file_format=file_format).download_and_prepare()
        return tmp_path

    return prepare


@pytest.fixture(autouse=True)
def _empty_tfds_folder(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("tfds")))


def refused(name, message, **options):
    with pytest.raises(ArgumentError, match=message) as caught:
        load(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tiny_images", "tiny_images/1.0.0", "tiny_images:1.0.0"])
def test_a_prepared_set_is_loaded_by_name(prepared, name, monkeypatch):
    folder = prepared(TinyImages)
    dataset = load(name, data_dir=folder)
    assert np.array_equal(dataset.train.inputs, IMAGES[:8].reshape(8, 20))
    assert dataset.train.inputs.dtype == np.uint8
    assert np.array_equal(dataset.train.targets, LABELS[:8])
    assert np.array_equal(dataset.test.inputs, IMAGES[8:].reshape(4, 20))
    assert np.array_equal(dataset.test.targets, LABELS[8:])
    assert dataset.feature_shape == (4, 5)
    assert dataset.class_names == ("ant", "bee", "cow", "dog")  # the last without an example
    assert dataset.identity == {"name": name, "tfds": "tiny_images/1.0.0"}
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))  # TFDS's own folder
    assert load(name, data_dir=folder / "elsewhere").identity == dataset.identity


def test_values_are_regressed_and_a_single_split_is_divided(prepared):
    dataset = load("tiny_values", data_dir=prepared(TinyValues), test_fraction=0.25, seed=2)
    assert dataset.task == "regression"
    assert dataset.train.inputs.shape == (9, 5)
    assert dataset.test.targets.shape == (3, 1)
    assert dataset.identity["seed"] == 2


@pytest.mark.parametrize(
    ("builder_class", "name", "message"),
    [
        (TinyUnsupervised, "tiny_unsupervised", "features image: Tensor, label: ClassLabel, with .* None"),
        (TinyText, "tiny_text", "features label: ClassLabel, text: Text, with"),
        (TinyVarying, "tiny_varying", "features label: ClassLabel, varying: Tensor"),
        (TinyUnlabelled, "tiny_unlabelled", r"has labels from -1 to 2: give integers in 0\.\.3"),
        (TinyTestOnly, "tiny_test_only", "has the splits test: one named 'train' is needed"),
    ],
)
def test_a_set_of_another_kind_is_refused(prepared, builder_class, name, message):
    refused(name, message, data_dir=prepared(builder_class))


def test_files_that_need_tensorflow_are_refused(prepared):
    folder = prepared(TinyImages)
    info = folder / "tiny_images" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    refused("tiny_images", "stored as tfrecord, which needs TensorFlow", data_dir=folder)


RECORDS, INFO, FEATURES = "*train.array_record*", "dataset_info.json", "features.json"


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        *((RECORDS, kept) for kept in (0, 0.5, None)),
        (INFO, 0),
        (INFO, 0.5),
        (FEATURES, 0.5),
        (FEATURES, None),
    ],
)
def test_damaged_files_are_refused(prepared, file, kept):
    folder = prepared(TinyImages)
    path = next((folder / "tiny_images" / "1.0.0").glob(file))
    content = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(content[: int(len(content) * kept)])
    refused("tiny_images", "prepare it again", data_dir=folder)


@pytest.mark.parametrize(
    ("name", "nearest"), [("mnits", "mnist"), ("moon", "moons"), ("cifar01", "cifar10"), ("Digits", "digits")]
)
def test_a_misspelt_name_gets_the_nearest(tmp_path, name, nearest):
    refused(name, f"unknown data set '{name}': did you mean '{nearest}'", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar10/3.0.2"])
def test_a_catalogue_set_that_is_not_prepared_says_what_it_needs(tmp_path, name):
    refused(name, "prepared neither in .* needs TensorFlow", data_dir=tmp_path)


class TinyRegistered(Tiny):
    """One that TFDS knows by name, as it knows its catalogue."""

    features, keys, splits = LABELLED, ("image", "label"), BOTH


class TinyUnreachable(TinyRegistered):
    """One whose download fails."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host\nsecond line")


def test_with_tensorflow_a_set_is_prepared_first(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(catalogue, "_has_tensorflow", lambda: True)  # this set does not really need it
    dataset = load("tiny_registered", data_dir=tmp_path, quiet=True)
    assert np.array_equal(dataset.train.inputs, IMAGES[:8].reshape(8, 20))
    assert list((tmp_path / "tiny_registered" / "1.0.0").glob("*.array_record*"))
    assert capfd.readouterr() == ("", "")


def test_a_preparation_that_fails_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "_has_tensorflow", lambda: True)
    message = r"'tiny_unreachable' cannot be prepared \(no route to host\)"
    refused("tiny_unreachable", message, data_dir=tmp_path, quiet=True)
    assert catalogue.find_prepared("tiny_unreachable", [tmp_path]) is None


def test_options_that_would_be_ignored_are_refused(prepared):
    refused("tiny_images", "'noise' does not apply", data_dir=prepared(TinyImages), noise=1.0)
