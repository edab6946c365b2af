"""MNIST and its two drop-in replacements: prepared once from the official archives, then mapped."""

import gzip
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmlp.datasets.archives import (
    Archive,
    ArchiveSet,
    check_archive,
    download,
    find_archive,
    find_manual_folder,
    how_to_provide,
)
from jaxmlp.datasets.catalogue import read_split, silenced
from jaxmlp.datasets.dataset import Arrays, Dataset, Options, Part
from jaxmlp.datasets.prepared import RECORD, prepare, read_prepared
from jaxmlp.types import ArgumentError

MANUAL_DIR_VARIABLE = "JAXMLP_MANUAL_DIR"
TRAIN_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
IMAGE_SHAPE = (28, 28)


class ImageSet(NamedTuple):
    """A data set of the MNIST family."""

    description: str  # one line for lists and `--help`; it ends with the source
    archive_set: ArchiveSet
    class_names: tuple[str, ...]


def _archives(*told: tuple[Any, ...]) -> tuple[Archive, ...]:
    names = (*TRAIN_FILES, *TEST_FILES)
    return tuple(Archive(name, *each) for name, each in zip(names, told, strict=True))


_UNPACKED = (  # hashes of what the archives of MNIST unpack to
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)

# Sizes and hashes are those that tensorflow-datasets registers. The three sets share their file names.
IMAGE_SETS: dict[str, ImageSet] = {
    "mnist": ImageSet(
        "70 000 handwritten digits of 28 by 28 pixels (LeCun, Cortes and Burges, 1998)",
        ArchiveSet(
            "mnist",
            _archives(
                (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", _UNPACKED[0]),
                (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", _UNPACKED[1]),
                (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", _UNPACKED[2]),
                (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", _UNPACKED[3]),
            ),
            (
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
            ),
        ),
        tuple(str(digit) for digit in range(10)),
    ),
    "fashion_mnist": ImageSet(
        "70 000 articles of clothing of 28 by 28 pixels (Xiao, Rasul and Vollgraf, 2017)",
        ArchiveSet(
            "fashion_mnist",
            _archives(
                (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
                (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
                (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
                (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
            ),
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            ),
        ),
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    "kmnist": ImageSet(
        "70 000 cursive hiragana of 28 by 28 pixels (Clanuwat et al., 2018)",
        ArchiveSet(
            "kmnist",
            _archives(
                (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
                (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
                (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
                (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
            ),
            (
                "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
                "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            ),
        ),
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
}


def load_images(image_set: ImageSet, options: Options) -> Dataset:
    """Load a data set of the MNIST family, preparing it first where that was not done yet."""
    archive_set = image_set.archive_set
    folder = options.data_dir / archive_set.name
    identity = {"name": archive_set.name, "archives": archive_set.hashes()}
    arrays = read_prepared(folder, identity)
    if arrays is None:
        if importlib.util.find_spec("array_record") is None:
            raise ArgumentError(
                f"package array_record is not installed (it is built for Linux and for macOS on Arm, this is "
                f"{platform.system()} on {platform.machine()}): install it, or choose 'digits' or your own file"
            )
        if str(folder).startswith("~"):
            raise ArgumentError(
                f"no home folder is known to keep '{archive_set.name}' in: give a folder as data_dir"
            )
        archive_folder = _obtain(archive_set, options)
        if not options.quiet:
            print(f"preparing {archive_set.name} in {folder}; this is done once", file=sys.stderr)
        arrays = prepare(folder, identity, lambda unfinished: _make(image_set, archive_folder, unfinished))
    return Dataset(
        name=archive_set.name,
        task="classification",
        train=Part(arrays["train_inputs"], arrays["train_targets"]),
        test=Part(arrays["test_inputs"], arrays["test_targets"]),
        feature_shape=IMAGE_SHAPE,
        class_names=image_set.class_names,
        identity=identity,
    )


def are_images_at_hand(name: str, data_dir: Path, manual_dir: Path | None) -> bool:
    """Tell whether a set is prepared, or its archives are laid by hand."""
    by_hand = _manual_folder(IMAGE_SETS[name].archive_set, manual_dir)
    return (data_dir / name / RECORD).is_file() or by_hand is not None


def _manual_folder(archive_set: ArchiveSet, manual_dir: Path | None) -> Path | None:
    if manual_dir is None and os.environ.get(MANUAL_DIR_VARIABLE):
        manual_dir = Path(os.path.expanduser(os.environ[MANUAL_DIR_VARIABLE]))
    return None if manual_dir is None else find_manual_folder(archive_set, manual_dir)


def _obtain(archive_set: ArchiveSet, options: Options) -> Path:
    """Bring the archives into one folder, from the manual folder or else by download, and check them."""
    folder = _manual_folder(archive_set, options.manual_dir)
    if folder is None and options.manual_dir is not None:
        raise ArgumentError(
            f"manual folder '{options.manual_dir}' holds none of the archives of '{archive_set.name}': "
            f"{how_to_provide(archive_set)}"
        )
    if folder is None:
        folder = options.data_dir / "downloads" / archive_set.name
        download(archive_set, folder, quiet=options.quiet)
    owners = {
        archive.sha256: name
        for name, image_set in IMAGE_SETS.items()
        for archive in image_set.archive_set.archives
    }
    for archive in archive_set.archives:
        check_archive(find_archive(folder, archive.filename), archive, archive_set.name, owners)
    return folder


def _make(image_set: ImageSet, archive_folder: Path, unfinished: Path) -> Arrays:
    # TFDS would speak of a download that does not happen, and of a folder that is renamed a moment later.
    with silenced(True):
        builder = prepare_records(image_set, archive_folder, unfinished)
        arrays: Arrays = {}
        for split in ("train", "test"):
            images, labels = read_split(image_set.archive_set.name, builder, split, ("image", "label"))
            arrays[f"{split}_inputs"] = images.reshape(len(images), -1)
            arrays[f"{split}_targets"] = labels.astype(np.int32)
    return arrays


def prepare_records(image_set: ImageSet, archive_folder: Path, data_dir: Path) -> Any:
    """Write the archives' examples as array_record files, which TFDS reads without TensorFlow.

    The catalogue's own `mnist` unpacks its archives with TensorFlow; this builder parses them with NumPy.
    """
    import tensorflow_datasets as tfds

    class IdxImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """Grey images with one label each, in the archives' own order."""

        name = image_set.archive_set.name
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description=image_set.description,
                features=tfds.features.FeaturesDict(
                    {
                        # A tensor rather than an image: TFDS's image feature needs TensorFlow to encode.
                        "image": tfds.features.Tensor(shape=IMAGE_SHAPE, dtype=np.uint8),
                        "label": tfds.features.ClassLabel(names=image_set.class_names),
                    }
                ),
                supervised_keys=("image", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            files = {"train": TRAIN_FILES, "test": TEST_FILES}
            return {split: self._generate_examples(*names) for split, names in files.items()}

        def _generate_examples(self, images_file: str, labels_file: str) -> Iterator[tuple[int, Any]]:
            images, labels = (
                read_idx(find_archive(archive_folder, name)) for name in (images_file, labels_file)
            )
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield index, {"image": image, "label": int(label)}

    builder = IdxImages(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare()
    return builder


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX archive of unsigned bytes, packed or unpacked, whose hash is right.

    Behind two zero bytes, the type of its numbers (8) and the number of axes stand one big-endian 32-bit
    size an axis, and then the numbers, last axis fastest.
    """
    content = path.read_bytes() if path.suffix != ".gz" else gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
