"""A TFDS builder for IDX archives that needs no TensorFlow; to import it is to import TFDS, so do it late.

The catalogue's own `mnist` unpacks its archives with TensorFlow. This one parses them with NumPy and
writes array_record files, which TFDS reads back without TensorFlow.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxmlp.datasets.dataset import CHUNK_ROWS
from jaxmlp.datasets.idx import read_idx
from jaxmlp.types import ArgumentError


@dataclasses.dataclass(kw_only=True)
class IdxConfig(tfds.core.BuilderConfig):
    """One data set of the family.

    Attributes:
        train_files: names of the images' and of the labels' archive to train on.
        test_files: the same to test on.
        image_shape: height and width in pixels.
        class_names: K names.
    """

    train_files: tuple[str, str]
    test_files: tuple[str, str]
    image_shape: tuple[int, int]
    class_names: tuple[str, ...]


class IdxImages(tfds.core.GeneratorBasedBuilder):
    """Grey images with one label each, from four IDX archives laid in the manual folder."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The four archives, whole; jaxmlp.datasets.archives brings and checks them."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return tfds.core.DatasetInfo(
            builder=self,
            description=config.description,
            features=tfds.features.FeaturesDict(
                {
                    # A tensor rather than an image: TFDS's image feature needs TensorFlow to encode.
                    "image": tfds.features.Tensor(shape=config.image_shape, dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=config.class_names),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,  # the archives' own order
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder, config = Path(dl_manager.manual_dir), self.builder_config
        return {
            "train": self._generate_examples(*(folder / name for name in config.train_files)),
            "test": self._generate_examples(*(folder / name for name in config.test_files)),
        }

    def _generate_examples(
        self, images_path: Path, labels_path: Path
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        images, labels = read_idx(images_path), read_idx(labels_path)
        if len(images) != len(labels):
            raise ArgumentError(
                f"archive '{images_path}' has {len(images)} images and '{labels_path}' {len(labels)} labels: "
                f"give the two that belong together"
            )
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": image, "label": int(label)}


def prepare_records(config: IdxConfig, archive_folder: Path, data_dir: Path) -> tfds.core.DatasetBuilder:
    """Write the archives' examples as array_record files."""
    builder = IdxImages(config=config, data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=archive_folder))
    return builder


def read_records(builder: tfds.core.DatasetBuilder, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a prepared split back."""
    source = builder.as_data_source(split=split)
    images = np.empty((len(source), *builder.builder_config.image_shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    for index, example in enumerate(read_examples(source)):
        images[index], labels[index] = example["image"], example["label"]
    return images, labels


def read_examples(source: Any) -> Iterator[dict[str, Any]]:
    """Go through a TFDS data source in blocks, which takes half the time of one by one."""
    for start in range(0, len(source), CHUNK_ROWS):
        yield from source.__getitems__(range(start, min(start + CHUNK_ROWS, len(source))))
