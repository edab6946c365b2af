"""Array aliases, the axis legend and the minibatch, so that every shape is spelled one way.

The axis legend, used in every docstring:

| axis | counts |
| --- | --- |
| `N` | examples in a data set |
| `B` | examples in a batch |
| `I` | inputs of one layer |
| `O` | outputs of one layer |
| `K` | outputs of the network (classes, labels or regressed values) |
| `L` | layers |
| `S` | steps in an epoch |
| `E` | epochs |
| `M` | models trained side by side |
"""

from typing import Any, NamedTuple, TypeAlias

from jaxtyping import Array, Float, Num, PRNGKeyArray, PyTree

Key: TypeAlias = PRNGKeyArray
Params: TypeAlias = PyTree
Scalar: TypeAlias = Float[Array, ""]
Residuals: TypeAlias = Any


class Batch(NamedTuple):
    """Examples that are seen together: a minibatch, or a whole data set.

    Attributes:
        inputs: [B, I] features.
        targets: [B] integer labels, or [B, K] soft labels, binary labels or values.
        weight: [B] how much each example counts in the mean, at least 0; None means 1 for each.

    Example:
        >>> import numpy as np
        >>> Batch(np.zeros((4, 2)), np.zeros(4, int)).weight is None
        True
    """

    inputs: Float[Array, "B I"]
    targets: Num[Array, "B ..."]
    weight: Float[Array, "B"] | None = None
