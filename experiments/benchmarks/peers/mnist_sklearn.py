"""MNIST to 98 % with scikit-learn's MLPClassifier, as a whole program, in the settings that get there fastest.

Its Adam knows no schedule. Its SGD divides the learning rate by (1 + examples seen) to a power, after every epoch:
with a small power the rate falls at once to about a fifth and hardly further, which got there
first in a search on the 2 cores of the machine that results/benchmark.json names.
Usage: mnist_sklearn.py MNIST.npz SEED; prints the test accuracy.
"""

import sys
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

HIDDEN, BATCH_SIZE, EPOCHS, LEARNING_RATE, POWER = 256, 100, 4, 0.2, 0.14


def main(path: str, seed: int) -> None:
    """Train and print the test accuracy."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are meant to run out
    with np.load(path) as file:
        inputs, test_inputs = (
            file[name].astype(np.float32) / np.float32(255) for name in ("train_inputs", "test_inputs")
        )
        labels, test_labels = file["train_targets"], file["test_targets"]
    model = MLPClassifier(
        (HIDDEN,),
        solver="sgd",
        batch_size=BATCH_SIZE,
        learning_rate="invscaling",
        power_t=POWER,
        learning_rate_init=LEARNING_RATE,
        max_iter=EPOCHS,
        random_state=seed,
    )
    model.fit(inputs, labels)
    print(f"test accuracy {100 * model.score(test_inputs, test_labels):.2f} %")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
