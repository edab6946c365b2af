"""Any other data set of the TFDS catalogue that is prepared, or can be because TensorFlow is there."""

import contextlib
import difflib
import functools
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from jaxmlp.datasets.dataset import CHUNK_ROWS, Dataset, Options, from_arrays
from jaxmlp.datasets.targets import Targets, encode_targets
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

INFO_FILE = "dataset_info.json"
# The first of these splits that exists is the test part.
TEST_SPLITS = ("test", "validation")


def load_from_catalogue(name: str, options: Options, known: Iterable[str]) -> Dataset:
    """Load a data set by its TFDS name, as "cifar10" or "patch_camelyon/2.0.0".

    It is looked for in `data_dir` and in TFDS's own folder. array_record files are read without
    TensorFlow; other files, and data sets not yet prepared, need it. Only supervised sets of one image
    or one vector of numbers with a label or a value are understood.
    """
    folder = find_prepared(name, (options.data_dir, tfds_folder()))
    if folder is None:
        builder = _prepare_with_tensorflow(name, options, known)
    else:
        import tensorflow_datasets as tfds

        # TFDS has no other way to choose which classes it may build.
        guard = mock.patch.object(tfds.features.FeatureConnector, "cls_from_name", _known_feature)
        with _failure_is_an_argument_error(_damaged(name)), guard:
            builder = tfds.builder_from_directory(folder)
    return _read_builder(name, builder, options)


def _known_feature(described: str) -> Any:
    """Find a feature's class among TFDS's own; TFDS would import the module that features.json names, and run it."""
    import tensorflow_datasets as tfds

    kind = getattr(tfds.features, described.rpartition(".")[2], None)
    if kind is None or not described.startswith("tensorflow_datasets."):
        raise ArgumentError(
            f"features.json names the class '{described:.80}', which is not of tfds.features: code of others is not run"
        )
    return kind


def tfds_folder() -> Path:
    """Give the folder where TFDS keeps its data sets."""
    return Path(os.path.expanduser(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"))


def find_prepared(name: str, roots: Iterable[Path]) -> Path | None:
    """Find the folder of a prepared data set, without importing TFDS."""
    relative = Path(name.replace(":", "/"))
    if relative.is_absolute() or ".." in relative.parts:
        return None
    for root in roots:
        folder = root / relative
        if (folder / INFO_FILE).is_file():
            return folder
        versions = [info.parent for info in folder.glob(f"*/{INFO_FILE}")]
        if versions:
            return max(versions, key=_version)
    return None


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in folder.name.split("."))


@contextlib.contextmanager
def silenced(quiet: bool) -> Iterator[None]:
    """Keep a library from printing: TFDS cannot be told not to without changing it for the whole program."""
    with open(os.devnull, "w") as nowhere:
        out, err = (nowhere, nowhere) if quiet else (sys.stdout, sys.stderr)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield


def _prepare_with_tensorflow(name: str, options: Options, known: Iterable[str]) -> Any:
    import tensorflow_datasets as tfds

    catalogue = tfds.list_builders(with_community_datasets=False)
    plain = name.replace(":", "/").split("/")[0]
    if plain not in catalogue:
        nearest = difflib.get_close_matches(plain, catalogue, n=1, cutoff=0.8)
        raise unknown_name("data set", name, {*known, *nearest})
    if not _has_tensorflow():
        raise ArgumentError(
            f"data set '{name}' of the TFDS catalogue is prepared neither in '{options.data_dir}' nor in "
            f"'{tfds_folder()}', and preparing it needs TensorFlow: install tensorflow, or prepare it "
            f"elsewhere with file_format='array_record' and name its folder as data_dir"
        )
    with silenced(options.quiet), _failure_is_an_argument_error(f"data set '{name}' cannot be prepared"):
        builder = tfds.builder(name, data_dir=options.data_dir, file_format="array_record")
        builder.download_and_prepare()
    return builder


def _read_builder(name: str, builder: Any, options: Options) -> Dataset:
    keys = _supervised_keys(name, builder)
    splits = [split for split in builder.info.splits if builder.info.splits[split].num_examples]
    if "train" not in splits:
        raise ArgumentError(
            f"data set '{name}' has the splits {', '.join(splits)}: one named 'train' is needed"
        )
    test_splits = [split for split in TEST_SPLITS if split in splits]
    parts = [read_split(name, builder, split, keys) for split in ("train", *test_splits[:1])]
    return from_arrays(
        parts,
        options,
        functools.partial(_encode, f"data set '{name}'", builder.info.features[keys[1]]),
        origin=f"data set '{name}'",
        identity={"name": name, "tfds": builder.info.full_name},
    )


def _supervised_keys(name: str, builder: Any) -> tuple[str, str]:
    features, keys = builder.info.features, builder.info.supervised_keys
    fits = (
        keys is not None
        and len(keys) == 2
        and all(isinstance(key, str) and key in features for key in keys)
        and _is_fixed_numbers(features[keys[0]], least_axes=1)
        and _is_fixed_numbers(features[keys[1]], least_axes=0)
    )
    if not fits:
        described = ", ".join(f"{key}: {type(feature).__name__}" for key, feature in sorted(features.items()))
        raise ArgumentError(
            f"data set '{name}' has the features {described}, with supervised keys {keys}: only sets "
            f"of one image or vector of a fixed shape with a label or a value are understood"
        )
    return keys[0], keys[1]


def _is_fixed_numbers(feature: Any, least_axes: int) -> bool:
    shape, dtype = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
    if shape is None or dtype is None or isinstance(shape, Mapping) or isinstance(dtype, Mapping):
        return False
    is_fixed = len(shape) >= least_axes and None not in shape
    return is_fixed and np.dtype(dtype).kind in "buif"


def read_split(name: str, builder: Any, split: str, keys: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Read two features of a prepared split, and refuse files that are damaged."""
    with _failure_is_an_argument_error(_damaged(name)):
        examples = list(_examples(name, builder, split))
        inputs, targets = (np.stack([np.asarray(example[key]) for example in examples]) for key in keys)
        # A file that was cut off is read without complaint, as fewer examples or as empty ones.
        promised = (builder.info.splits[split].num_examples, *builder.info.features[keys[0]].shape)
        if inputs.shape != promised:
            raise ValueError(f"features of shape {inputs.shape} in split '{split}', {promised} are promised")
    return inputs, targets


def _examples(name: str, builder: Any, split: str) -> Iterator[Mapping[str, Any]]:
    if builder.info.file_format is not None and builder.info.file_format.value == "array_record":
        source = builder.as_data_source(split=split)
        for start in range(0, len(source), CHUNK_ROWS):  # blocks take half the time of one by one
            yield from source.__getitems__(range(start, min(start + CHUNK_ROWS, len(source))))
        return
    if not _has_tensorflow():
        raise ArgumentError(
            f"data set '{name}' is stored as {getattr(builder.info.file_format, 'value', 'other files')}, "
            f"which needs TensorFlow: install tensorflow, or prepare it again with file_format='array_record'"
        )
    import tensorflow_datasets as tfds

    yield from tfds.as_numpy(builder.as_dataset(split=split))


def _has_tensorflow() -> bool:
    return importlib.util.find_spec("tensorflow") is not None


def _damaged(name: str) -> str:
    return f"data set '{name}' cannot be read, its files are damaged or missing: prepare it again"


@contextlib.contextmanager
def _failure_is_an_argument_error(message: str) -> Iterator[None]:
    """TFDS and its file formats raise errors of many kinds for what is one thing to the user."""
    try:
        yield
    except ArgumentError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:100] or type(error).__name__
        raise ArgumentError(f"{message} ({reason})") from error


def _encode(origin: str, feature: Any, raw: np.ndarray) -> Targets:
    class_names = tuple(getattr(feature, "names", None) or ())
    if not class_names or raw.ndim != 1:
        return encode_targets(raw, origin=origin)
    # The catalogue numbers its classes itself, those without an example too.
    if raw.min() < 0 or raw.max() >= len(class_names):
        raise ArgumentError(
            f"{origin} has labels from {raw.min()} to {raw.max()}: give integers in 0..{len(class_names) - 1}"
        )
    return Targets("classification", raw.astype(np.int32), class_names)
