"""The MNIST family: a small archive set goes the whole way, and the real one too where it is at hand."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from comparisons import refused

from jaxmlp.datasets import load, mnist
from jaxmlp.datasets.archives import Archive, ArchiveSet, check_archive
from jaxmlp.datasets.dataset import Options
from jaxmlp.datasets.mnist import IMAGE_SETS, MANUAL_DIR_VARIABLE, TEST_FILES, TRAIN_FILES

REAL_FOLDER = os.environ.get(MANUAL_DIR_VARIABLE)
needs_real_archives = pytest.mark.skipif(not REAL_FOLDER, reason=f"{MANUAL_DIR_VARIABLE} names no folder")


@pytest.fixture(autouse=True)
def _no_folder_from_the_environment(monkeypatch):
    monkeypatch.delenv(MANUAL_DIR_VARIABLE, raising=False)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def tiny(tmp_path):
    """A set of 30 and 20 random images, its archives in tmp_path/manual, and no mirror that answers."""
    generator, folder = np.random.default_rng(0), tmp_path / "manual"
    folder.mkdir()
    archives, arrays = [], []
    for names, count in ((TRAIN_FILES, 30), (TEST_FILES, 20)):
        pixels = generator.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) * 7 % 10).astype(np.uint8)
        for name, array in zip(names, (pixels, labels), strict=True):
            content = idx(array)
            (folder / name).write_bytes(content)
            archives.append(Archive(name, len(content), hashlib.sha256(content).hexdigest()))
            arrays.append(array)
    archive_set = ArchiveSet("tiny_set", tuple(archives), ("http://127.0.0.1:1/",))
    return mnist.ImageSet("tiny", archive_set, tuple("abcdefghij")), folder, arrays


def options(tmp_path, manual=None):
    return Options(tmp_path / "data", manual_dir=manual, quiet=True)


def check_same(dataset, arrays):
    for read, array in zip((*dataset.train, *dataset.test), arrays, strict=True):
        assert np.array_equal(read, array.reshape(len(array), -1) if array.ndim == 3 else array)


def test_archives_become_a_data_set_and_are_not_needed_again(tiny, tmp_path, monkeypatch, capfd):
    image_set, manual, arrays = tiny
    dataset = mnist.load_images(image_set, options(tmp_path, manual))
    check_same(dataset, arrays)
    assert (dataset.train.inputs.dtype, dataset.train.targets.dtype) == (np.uint8, np.int32)
    assert dataset.feature_shape == (28, 28)
    assert dataset.class_names == tuple("abcdefghij")
    assert dataset.identity["archives"] == image_set.archive_set.hashes()
    assert capfd.readouterr() == ("", "")  # quiet is quiet

    (info,) = (tmp_path / "data").rglob("dataset_info.json")
    builder = tfds.builder_from_directory(info.parent)  # TFDS reads the folder by itself
    assert builder.info.supervised_keys == ("image", "label")
    assert builder.info.features["label"].names == list("abcdefghij")
    assert builder.info.file_format.value == "array_record"
    assert np.array_equal([example["image"] for example in builder.as_data_source(split="test")], arrays[2])

    for path in manual.iterdir():
        path.unlink()
    monkeypatch.setattr(mnist, "prepare", None)  # to call it would fail
    dataset = mnist.load_images(image_set, options(tmp_path))
    check_same(dataset, arrays)
    assert isinstance(dataset.train.inputs, np.memmap)


@pytest.mark.parametrize("name", ["-idx", ".idx"])
def test_unpacked_archives_are_read_by_their_own_hashes(tiny, tmp_path, name):
    image_set, manual, arrays = tiny
    archives = []
    for archive in image_set.archive_set.archives:
        content = gzip.decompress((manual / archive.filename).read_bytes())
        (manual / archive.filename).unlink()
        (manual / archive.filename.removesuffix(".gz").replace("-idx", name)).write_bytes(content)
        archives.append(archive._replace(unpacked=hashlib.sha256(content).hexdigest()))
    known = image_set._replace(archive_set=image_set.archive_set._replace(archives=tuple(archives)))
    check_same(mnist.load_images(known, options(tmp_path, manual)), arrays)
    unknown = options(tmp_path / "other", manual)
    refused(
        "is not known to be what train-images-idx3-ubyte.gz of 'tiny_set' unpacks to: put that archive there",
        mnist.load_images,
        image_set,
        unknown,
    )


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2), (0, 28, 28), (1, 300)])
def test_an_archive_is_read_as_written(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "a.gz").write_bytes(idx(array))
    read = mnist.read_idx(tmp_path / "a.gz")
    assert (read.dtype, read.shape) == (np.uint8, shape)
    assert np.array_equal(read, array)


def test_the_variable_names_the_manual_folder_and_what_is_damaged_is_made_again(tiny, tmp_path, monkeypatch):
    image_set, manual, arrays = tiny
    (tmp_path / "above").mkdir()
    manual.rename(tmp_path / "above" / "tiny_set")
    monkeypatch.setenv(MANUAL_DIR_VARIABLE, str(tmp_path / "above"))
    check_same(mnist.load_images(image_set, options(tmp_path)), arrays)
    stored = tmp_path / "data" / "tiny_set" / "train_inputs.npy"
    stored.write_bytes(stored.read_bytes()[:-1])
    check_same(mnist.load_images(image_set, options(tmp_path)), arrays)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (TRAIN_FILES[0], lambda content: content[:-5], "' is cut off"),
        (TEST_FILES[1], lambda _: idx(np.zeros(21)), "' is cut off"),
        (TRAIN_FILES[1], None, "' of 'tiny_set' cannot be read"),
    ],
)
def test_a_damaged_or_missing_archive_is_refused(tiny, tmp_path, name, change, message):
    image_set, manual, _ = tiny
    content = (manual / name).read_bytes()
    (manual / name).unlink()
    if change is not None:
        (manual / name).write_bytes(change(content))
    refused(name + message, mnist.load_images, image_set, options(tmp_path, manual))
    assert not (tmp_path / "data" / "tiny_set").exists()


def test_without_network_or_array_record_one_line_says_what_to_do(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    line = refused("cannot be reached...JAXMLP_MANUAL_DIR", mnist.load_images, tiny[0], options(tmp_path))
    assert all(name in line for name in (*TRAIN_FILES, *TEST_FILES))
    monkeypatch.setattr(mnist.importlib.util, "find_spec", lambda name: None)
    refused("array_record is not installed", mnist.load_images, tiny[0], options(tmp_path, tiny[1]))
    assert not (tmp_path / "data" / "tiny_set").exists()


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_registered_archives_are_those_of_tensorflow_datasets(name):
    sums = Path(tfds.__file__).parent / "url_checksums" / f"{name}.txt"
    registered = sorted(line.split("\t") for line in sums.read_text().splitlines())
    archives, (mirror, *_) = IMAGE_SETS[name].archive_set[1:]
    told = [(archive.filename, str(archive.size), archive.sha256) for archive in archives]
    assert registered == sorted([mirror + name, size, sha256, name] for name, size, sha256 in told)


@needs_real_archives
def test_the_real_archives_have_the_registered_checksums_and_are_refused_for_another_set(tmp_path):
    archive_set = IMAGE_SETS["mnist"].archive_set
    folder = mnist.find_manual_folder(archive_set, Path(REAL_FOLDER))
    for archive in archive_set.archives:
        check_archive(folder / archive.filename, archive, "mnist", {})
    message = "is the one of 'mnist', expected that of 'fashion_mnist'"
    refused(message, load, "fashion_mnist", data_dir=tmp_path, manual_dir=folder, quiet=True)


@needs_real_archives
@pytest.mark.slow
def test_real_mnist_is_prepared_whole_and_read_again_without_tfds(tmp_path):
    mnist = load("mnist", data_dir=tmp_path, manual_dir=REAL_FOLDER, quiet=True)
    assert (mnist.train.inputs.shape, mnist.test.inputs.shape) == ((60000, 784), (10000, 784))
    assert mnist.train.inputs.mean() / 255 == pytest.approx(0.1307, abs=1e-4)  # as known from the literature
    assert mnist.train.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist.test.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    program = (
        "import sys; from jaxmlp.datasets import load;"
        "load('mnist', data_dir=sys.argv[1]); assert 'tensorflow_datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
