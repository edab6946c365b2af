"""Arrays and images of a user's own: .npz and .h5 files, which are never unpickled, and folders of images by class."""

import functools
import hashlib
import math
import zipfile
from pathlib import Path

import numpy as np

from jaxmlp.datasets.archives import file_sha256
from jaxmlp.datasets.dataset import OF_TABLES, Arrays, Dataset, Options, from_arrays
from jaxmlp.datasets.reading import check_regular
from jaxmlp.datasets.targets import encode_targets
from jaxmlp.types import ArgumentError

# Spellings that are understood: training features and targets, test features and targets (the second is
# Keras's); features and targets that are yet to be split; features for prediction.
SPLIT_KEYS = (
    ("train_inputs", "train_targets", "test_inputs", "test_targets"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
)
WHOLE_KEYS = (("inputs", "targets"), ("x", "y"), ("X", "y"))
INPUT_KEYS = ("inputs", "x", "X", "x_test", "X_test", "test_inputs")
ARRAY_ENDINGS = (".npz", ".npy", ".h5", ".hdf5")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def read_arrays(path: Path) -> Arrays:
    """Read every array of an .npz or .h5 file without unpickling anything."""
    check_regular(path)
    try:
        if path.suffix.lower() not in (".npz", ".npy"):
            return _read_h5(path)
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise ArgumentError(f"file '{path}' is a single array, not an .npz: save it with numpy.savez")
        with zipfile.ZipFile(path) as archive:
            return {
                Path(member.filename).stem: _read_member(archive, member, path)
                for member in archive.infolist()
            }
    except (ArgumentError, MemoryError):
        raise
    except OSError as error:
        raise ArgumentError(f"file '{path}' cannot be read ({error.strerror or error})") from None
    except Exception:  # bytes that are no arrays make zipfile and NumPy raise errors of many kinds
        raise ArgumentError(f"file '{path}' is not a whole {path.suffix} file: save it again") from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """Read an array whose declared size is that of its bytes: a header may promise more than a machine holds."""
    if member.file_size > 2000 * (member.compress_size + 1):  # deflate makes things smaller by 1032 at most
        raise ValueError
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise ArgumentError(
                f"file '{path}' holds pickled Python objects under '{Path(member.filename).stem}', which are "
                f"never loaded: save plain arrays of numbers or text"
            )
        if file.tell() + dtype.itemsize * math.prod(shape) != member.file_size:
            raise ValueError
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_h5(path: Path) -> Arrays:
    try:
        import h5py
    except ImportError:
        raise ArgumentError(f"file '{path}' needs the package h5py: pip install h5py") from None
    with h5py.File(path) as file:
        return {name: np.asarray(each) for name, each in file.items() if isinstance(each, h5py.Dataset)}


def load_images(folder: Path, options: Options) -> Dataset:
    """Load a folder of images by class: a folder a class, all images of one size and mode."""
    from PIL import Image, UnidentifiedImageError

    names = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    paths = [
        (name, path)
        for name in names
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in IMAGE_ENDINGS
    ]
    if not paths:
        raise ArgumentError(
            f"'{folder}' is a folder without images: give a file, or a folder with a folder of images a class"
        )
    options.refuse(folder.name, (*OF_TABLES, "task"))
    images: list[np.ndarray] = []
    for _, path in paths:
        check_regular(path)
        try:
            with Image.open(path) as image:
                if not image.mode.startswith(("I", "F")):  # which hold more than bytes
                    grey = image.mode in ("1", "L", "LA")
                    images.append(np.asarray(image.convert("L" if grey else "RGB")))
                else:
                    images.append(np.asarray(image))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            raise ArgumentError(f"'{path}' is not a whole image: save it again, or take it away") from None
        if images[-1].shape != images[0].shape:
            raise ArgumentError(
                f"'{path}' has the shape {images[-1].shape}, '{paths[0][1]}' has {images[0].shape}: "
                f"bring all images to one size and to grey or to colour"
            )
    digest = hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()
    identity = {"name": folder.name, "sha256": digest, "classes": names}
    encode = functools.partial(encode_targets, origin=f"folder '{folder}'", task="classification")
    labels = np.array([name for name, _ in paths])
    return from_arrays(
        [(np.stack(images), labels)], options, encode, origin=f"folder '{folder}'", identity=identity
    )


def load_arrays(path: Path, options: Options) -> Dataset:
    """Load the arrays of SPLIT_KEYS or of WHOLE_KEYS; features of more than two axes are flattened."""
    arrays, origin = read_arrays(path), f"file '{path}'"
    keys = next((keys for keys in (*SPLIT_KEYS, *WHOLE_KEYS) if set(keys) <= set(arrays)), None)
    if keys is None:
        raise ArgumentError(
            f"{origin} has the arrays {', '.join(sorted(arrays)) or '(none)'}: give 'inputs' and 'targets', "
            f"or 'train_inputs', 'train_targets', 'test_inputs' and 'test_targets'"
        )
    parts = [(arrays[inputs], arrays[targets]) for inputs, targets in zip(keys[::2], keys[1::2], strict=True)]
    encode = functools.partial(encode_targets, origin=origin, task=options.task)
    identity = {"name": path.name, "sha256": file_sha256(path), "task": options.task}
    return from_arrays(parts, options, encode, origin=origin, identity=identity)


def input_array(arrays: Arrays, origin: str) -> np.ndarray:
    """Find the features among arrays, [N, ...]: by one of INPUT_KEYS, or the only array there is."""
    for key in INPUT_KEYS:
        if key in arrays:
            return arrays[key]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise ArgumentError(
        f"{origin} has the arrays {', '.join(sorted(arrays)) or '(none)'}: name the features 'inputs'"
    )
