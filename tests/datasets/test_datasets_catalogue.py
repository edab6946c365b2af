"""Other TFDS data sets: tiny ones are prepared here and read back, the others refused in one line."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from comparisons import refused

from jaxmlp.datasets import catalogue, load

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 5), np.uint8)
LABELS = np.arange(12) % 3
BOTH = {"train": range(8), "test": range(8, 12)}
CLASSES = ("ant", "bee", "cow", "dog")
FEATURES = {
    "image": tfds.features.Tensor(shape=(4, 5), dtype=np.uint8),
    "vector": tfds.features.Tensor(shape=(5,), dtype=np.float32),
    "varying": tfds.features.Tensor(shape=(None,), dtype=np.uint8),
    "text": tfds.features.Text(),
    "label": tfds.features.ClassLabel(names=CLASSES),
    "value": tfds.features.Scalar(dtype=np.float32),
}


class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Twelve images with labels; subclasses have other features and splits, or no labels."""

    VERSION = tfds.core.Version("1.0.0")
    features, is_supervised = ("image", "label"), True
    splits = BOTH

    def _info(self):
        fields = tfds.features.FeaturesDict({key: FEATURES[key] for key in self.features})
        keys = self.features if self.is_supervised else None
        return tfds.core.DatasetInfo(
            builder=self, features=fields, supervised_keys=keys, disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(rows) for name, rows in self.splits.items()}

    def _generate_examples(self, rows):
        for row in rows:
            label, image = int(LABELS[row]) if row < 12 else -1, IMAGES[row % 12]
            example = {"image": image, "label": label, "value": label / 2, "text": "hello"}
            example |= {"vector": image[0].astype(np.float32), "varying": image[0, : row % 4 + 1]}
            yield row, {key: example[key] for key in self.features}


@pytest.fixture
def prepare(tmp_path):
    """Prepare a tiny set with other fields than these, and give the folder that holds it."""

    def prepare_tiny(**fields):
        builder_class = type(Tiny)("Tiny", (Tiny,), fields, skip_registration=True)
        with catalogue.silenced(True):
            builder_class(data_dir=tmp_path, file_format="array_record").download_and_prepare()
        return tmp_path

    return prepare_tiny


@pytest.fixture(autouse=True)
def _empty_tfds_folder(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("tfds")))


@pytest.mark.parametrize("name", ["tiny", "tiny/1.0.0", "tiny:1.0.0"])
def test_a_prepared_set_is_loaded_by_name(prepare, name, monkeypatch):
    folder = prepare()
    dataset = load(name, data_dir=folder)
    assert dataset.train.inputs.dtype == np.uint8
    saved = (IMAGES[:8].reshape(8, 20), LABELS[:8], IMAGES[8:].reshape(4, 20), LABELS[8:])
    for read, array in zip((*dataset.train, *dataset.test), saved, strict=True):
        assert np.array_equal(read, array)
    assert dataset.feature_shape == (4, 5)
    assert dataset.class_names == CLASSES  # the last without an example
    assert dataset.identity == {"name": name, "tfds": "tiny/1.0.0"}
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))  # TFDS's own folder
    assert load(name, data_dir=folder / "elsewhere").identity == dataset.identity
    refused("'noise' does not apply", load, name, data_dir=folder, noise=1.0)


def test_values_are_regressed_a_single_split_is_divided_and_another_format_needs_tensorflow(prepare):
    folder = prepare(features=("vector", "value"), splits={"train": range(12)})
    dataset = load("tiny", data_dir=folder, test_fraction=0.25, seed=2)
    assert dataset.task == "regression"
    assert dataset.train.inputs.shape == (9, 5)
    assert dataset.test.targets.shape == (3, 1)
    assert dataset.identity["seed"] == 2
    info = folder / "tiny" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    refused("stored as tfrecord, which needs TensorFlow", load, "tiny", data_dir=folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"is_supervised": False}, "features image: Tensor, label: ClassLabel, with ... None"),
        ({"features": ("text", "label")}, "features label: ClassLabel, text: Text, with"),
        ({"features": ("varying", "label")}, "features label: ClassLabel, varying: Tensor"),
        ({"splits": BOTH | {"test": range(11, 14)}}, "has labels from -1 to 2: give integers in 0..3"),
        ({"splits": {"test": range(8)}}, "has the splits test: one named 'train' is needed"),
    ],
)
def test_a_set_of_another_kind_is_refused(prepare, fields, message):
    refused(message, load, "tiny", data_dir=prepare(**fields))


# What is kept of each file: a share, or not even the file.
KEPT = {"*train.array_record*": (0, 0.5, None), "dataset_info.json": (0, 0.5), "features.json": (0.5, None)}


@pytest.mark.parametrize(("file", "kept"), [(file, kept) for file in KEPT for kept in KEPT[file]])
def test_damaged_files_are_refused(prepare, file, kept):
    folder = prepare()
    path = next((folder / "tiny" / "1.0.0").glob(file))
    content = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(content[: int(len(content) * kept)])
    refused("prepare it again", load, "tiny", data_dir=folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "unknown data set 'mnits': did you mean 'mnist'"),
        ("moon", "unknown data set 'moon': did you mean 'moons'"),
        ("cifar01", "unknown data set 'cifar01': did you mean 'cifar10'"),
        ("Digits", "unknown data set 'Digits': did you mean 'digits'"),
        ("cifar10", "prepared neither in ... needs TensorFlow"),
        ("cifar10/3.0.2", "prepared neither in ... needs TensorFlow"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_and_a_set_not_prepared_says_what_it_needs(tmp_path, name, message):
    refused(message, load, name, data_dir=tmp_path)


class TinyRegistered(Tiny):
    """One that TFDS knows by name, as it knows its catalogue."""


class TinyUnreachable(Tiny):
    """One whose download fails."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host\nsecond line")


def test_with_tensorflow_a_set_is_prepared_first_and_a_line_says_if_that_fails(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(catalogue, "_has_tensorflow", lambda: True)  # these sets do not really need it
    dataset = load("tiny_registered", data_dir=tmp_path, quiet=True)
    assert np.array_equal(dataset.train.inputs, IMAGES[:8].reshape(8, 20))
    assert list((tmp_path / "tiny_registered" / "1.0.0").glob("*.array_record*"))
    assert capfd.readouterr() == ("", "")
    message = "'tiny_unreachable' cannot be prepared (no route to host)"
    refused(message, load, "tiny_unreachable", data_dir=tmp_path, quiet=True)
    assert catalogue.find_prepared("tiny_unreachable", [tmp_path]) is None


@pytest.mark.parametrize(
    "named", ["intruder.Label", "tensorflow_datasets.intruder.Label", "tensorflow_datasets"]
)
def test_no_module_that_the_files_name_is_imported(prepare, named, tmp_path, monkeypatch):
    folder = prepare()
    (tmp_path / "intruder.py").write_text("raise SystemExit('code of others was run')")
    monkeypatch.syspath_prepend(tmp_path)
    (features,) = folder.rglob("features.json")
    own = "tensorflow_datasets.core.features.class_label_feature.ClassLabel"
    text = features.read_text()
    features.write_text(text.replace(own, named))
    assert text != features.read_text()
    refused(f"features.json names the class '{named}'", load, "tiny", data_dir=folder)
