"""The handwritten digits that ship with scikit-learn: real data that need no download."""

from typing import Any

import numpy as np

from jaxmlp.datasets.dataset import Dataset, Part, check_dataset
from jaxmlp.datasets.options import Options
from jaxmlp.datasets.splitting import split_indices


def load_digits(options: Options) -> Dataset:
    """Load 1797 grey images of handwritten digits, 8 by 8 pixels, with values 0 to 16.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49 (its test set, as scikit-learn bundles it).

    Args:
        options: `test_fraction` and `seed` are read.

    Returns:
        The data set, split by class in the same proportions.

    Example:
        >>> from jaxmlp.datasets import load
        >>> load("digits").train.inputs.shape
        (1437, 64)
    """
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    inputs, targets = images.astype(np.float32), labels.astype(np.int32)
    train, test = split_indices(
        len(inputs), test_fraction=options.test_fraction, seed=options.seed, labels=targets
    )
    identity: dict[str, Any] = {
        "name": "digits",
        "test_fraction": options.test_fraction,
        "seed": options.seed,
    }
    return check_dataset(
        Dataset(
            name="digits",
            task="classification",
            train=Part(inputs[train], targets[train]),
            test=Part(inputs[test], targets[test]),
            feature_shape=(8, 8),
            feature_names=(),
            class_names=tuple(str(digit) for digit in range(10)),
            target_names=(),
            table=None,
            identity=identity,
        )
    )
