"""The TFDS builder: what it writes, TFDS itself reads back."""

import contextlib
import gzip
import io

import numpy as np
import tensorflow_datasets as tfds

from jaxmlp.datasets.image_builders import IdxConfig, prepare_records, read_examples, read_records

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 3, 2), np.uint8)
LABELS = np.array([0, 1, 1, 0, 1, 0, 0], np.uint8)


def prepared(tmp_path):
    for name, array in {"images.gz": IMAGES, "labels.gz": LABELS}.items():
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (tmp_path / name).write_bytes(gzip.compress(header + array.tobytes()))
    files = ("images.gz", "labels.gz")
    config = IdxConfig(
        name="small",
        description="A small set.",
        train_files=files,
        test_files=files,
        image_shape=(3, 2),
        class_names=("no", "yes"),
    )
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return prepare_records(config, tmp_path, tmp_path / "records")


def test_records_come_back_in_the_archives_order(tmp_path):
    builder = prepared(tmp_path)
    for split in ("train", "test"):
        images, labels = read_records(builder, split)
        assert np.array_equal(images, IMAGES)
        assert np.array_equal(labels, LABELS)


def test_tfds_reads_the_folder_by_itself(tmp_path):
    prepared(tmp_path)
    builder = tfds.builder_from_directory(tmp_path / "records" / "idx_images" / "small" / "1.0.0")
    assert builder.info.supervised_keys == ("image", "label")
    assert builder.info.features["label"].names == ["no", "yes"]
    assert builder.info.file_format.value == "array_record"
    examples = list(read_examples(builder.as_data_source(split="test")))
    assert np.array_equal([example["image"] for example in examples], IMAGES)
