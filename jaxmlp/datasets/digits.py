"""Real data that ship with scikit-learn and need no download: the handwritten digits, and four small tables.

To import scikit-learn takes longer than to train on them: their arrays are kept like those of a download.
"""

import contextlib
import importlib.metadata

import numpy as np

from jaxmlp.datasets.dataset import Arrays, Dataset, Options, Part, divide, split_notes, split_rows
from jaxmlp.datasets.prepared import prepare, read_prepared
from jaxmlp.datasets.targets import Targets
from jaxmlp.types import ArgumentError

# Counts the ways in which this file and `split_indices` have split: arrays split otherwise are not taken.
SPLIT = "1"
DIGITS = tuple(map(str, range(10)))
ARRAYS = ("train_inputs", "train_targets", "test_inputs", "test_targets")

TABLES = {
    "iris": "150 irises of 3 species by 4 lengths, bundled with scikit-learn",
    "wine": "178 wines of 3 growers by 13 measures, bundled with scikit-learn",
    "breast_cancer": "569 tumours, benign or malignant, by 30 measures, bundled with scikit-learn",
    "diabetes": "442 patients: the disease's progress by 10 measures, bundled with scikit-learn",
}


def load_table(name: str, options: Options) -> Dataset:
    """Load one of TABLES and split it."""
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    classes = tuple(map(str, found.get("target_names", ())))
    if classes:
        targets = Targets("classification", found.target.astype(np.int32), classes)
    else:
        targets = Targets("regression", found.target[:, None], (), ("progress",))
    rows = split_rows(targets, options)
    return divide(
        [found.data[chosen] for chosen in rows],
        targets,
        rows,
        name=name,
        feature_shape=found.data.shape[1:],
        feature_names=tuple(found.feature_names),
        identity={"name": name, "scikit-learn": importlib.metadata.version("scikit-learn"), **options.split},
        notes=split_notes(targets, options),
    )


def load_digits(options: Options) -> Dataset:
    """Load 1797 grey images of handwritten digits, 8 by 8 pixels, with values 0 to 16.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49 (its test set, as scikit-learn bundles it).
    """
    identity = {"name": "digits", **options.split}
    made_by = {name: str(value) for name, value in identity.items()}
    made_by |= {"scikit-learn": importlib.metadata.version("scikit-learn"), "split": SPLIT}
    folder = options.data_dir / "digits"
    arrays = read_prepared(folder, made_by)
    if arrays is None:
        arrays = _split(options)
        # A folder that cannot be written costs the next run a second.
        with contextlib.suppress(ArgumentError):
            prepare(folder, made_by, lambda _: arrays)
    # Copied: they can be written to whether they were mapped or not.
    train_inputs, train_targets, test_inputs, test_targets = (np.array(arrays[name]) for name in ARRAYS)
    train, is_whole = Part(train_inputs, train_targets), options.test_fraction == 0
    return Dataset(
        name="digits",
        task="classification",
        train=train,
        test=train if is_whole else Part(test_inputs, test_targets),
        feature_shape=(8, 8),
        class_names=DIGITS,
        identity=identity,
        notes=split_notes(_targets(np.concatenate([train_targets, test_targets])), options),
    )


def _targets(labels: np.ndarray) -> Targets:
    return Targets("classification", labels, DIGITS)


def _split(options: Options) -> Arrays:
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    inputs, targets = images.astype(np.float32), labels.astype(np.int32)
    train, test = split_rows(_targets(targets), options)
    return dict(zip(ARRAYS, (inputs[train], targets[train], inputs[test], targets[test]), strict=True))
