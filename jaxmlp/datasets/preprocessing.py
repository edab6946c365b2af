"""Features and regression targets on one scale, measured on the training part and kept with the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxmlp.datasets.dataset import Part, check_task, row_chunks
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

METHODS = ("auto", "standardise", "scale", "none")


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """An affine map of each feature, and of each regression target: (raw − shift) / scale.

    Attributes:
        feature_shift: [I] float32.
        feature_scale: [I] float32, not 0.
        target_shift: [K] float32, or None where targets stay as they are.
        target_scale: [K] float32, or None where targets stay as they are.
        method: "auto", "standardise", "scale" or "none", as it was asked for.

    Raises:
        ArgumentError: an unknown method, shapes that do not fit together, or a statistic that is
            not finite or a scale of 0.

    Example:
        >>> halved = Preprocessing(np.zeros(2), np.full(2, 2.0))
        >>> halved.inputs(np.array([[4.0, 6.0]])).tolist()
        [[2.0, 3.0]]
    """

    feature_shift: np.ndarray
    feature_scale: np.ndarray
    target_shift: np.ndarray | None = None
    target_scale: np.ndarray | None = None
    method: str = "auto"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown_name("preprocessing method", str(self.method), METHODS)
        _check_statistics("feature", self.feature_shift, self.feature_scale)
        if (self.target_shift is None) != (self.target_scale is None):
            raise ArgumentError(
                "preprocessing has one of target_shift and target_scale: give both or neither"
            )
        if self.target_shift is not None and self.target_scale is not None:
            _check_statistics("target", self.target_shift, self.target_scale)

    def inputs(self, raw: np.ndarray) -> np.ndarray:
        """Bring raw features to the scale that the network was trained on.

        Args:
            raw: [N, I] features as stored.

        Returns:
            [N, I] float32.

        Raises:
            ArgumentError: another number of features than in training.

        Example:
            >>> Preprocessing(np.ones(1), np.ones(1)).inputs(np.array([[3.0]])).tolist()
            [[2.0]]
        """
        return _forward(raw, self.feature_shift, self.feature_scale, "features")

    def targets(self, raw: np.ndarray) -> np.ndarray:
        """Bring raw targets to the scale that the network is trained on; classes and labels stay as they are.

        Args:
            raw: [N, K] values; or [N] classes or [N, K] labels.

        Returns:
            [N, K] float32 for regression; otherwise the same array.

        Raises:
            ArgumentError: another number of values than in training.

        Example:
            >>> doubled = Preprocessing(np.zeros(1), np.ones(1), np.zeros(1), np.full(1, 0.5))
            >>> doubled.targets(np.array([[3.0]])).tolist()
            [[6.0]]
        """
        if self.target_shift is None or self.target_scale is None:
            return raw
        return _forward(raw, self.target_shift, self.target_scale, "target values")

    def restore_targets(self, standardised: np.ndarray) -> np.ndarray:
        """Bring predicted values back to the units of the raw targets: value · scale + shift.

        Args:
            standardised: [N, K] values as the network predicts them.

        Returns:
            [N, K] float32 in raw units; the same array where targets were left as they are.

        Raises:
            ArgumentError: another number of values than in training.

        Example:
            >>> doubled = Preprocessing(np.zeros(1), np.ones(1), np.zeros(1), np.full(1, 0.5))
            >>> doubled.restore_targets(np.array([[6.0]])).tolist()
            [[3.0]]
        """
        if self.target_shift is None or self.target_scale is None:
            return standardised
        _check_columns(standardised, len(self.target_shift), "target values")
        return (standardised * self.target_scale + self.target_shift).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Give the statistics as plain arrays and text, to be saved without pickling.

        Returns:
            The fields by name; NumPy arrays, text or None.

        Example:
            >>> sorted(Preprocessing(np.zeros(1), np.ones(1)).to_dict())
            ['feature_scale', 'feature_shift', 'method', 'target_scale', 'target_shift']
        """
        return {
            "method": self.method,
            "feature_shift": self.feature_shift,
            "feature_scale": self.feature_scale,
            "target_shift": self.target_shift,
            "target_scale": self.target_scale,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """Rebuild the statistics from what `to_dict` gave; lists of numbers serve as well as arrays.

        Args:
            fields: the fields by name; the target's may be left out.

        Returns:
            The same map.

        Raises:
            ArgumentError: a field is missing or wrong.

        Example:
            >>> same = Preprocessing.from_dict({"method": "none", "feature_shift": [0], "feature_scale": [1]})
            >>> same.method
            'none'
        """
        wanted = ("method", "feature_shift", "feature_scale")
        absent = [name for name in wanted if name not in fields]
        if absent:
            raise ArgumentError(f"saved preprocessing lacks {', '.join(absent)}: save the model again")
        return cls(
            feature_shift=_statistic(fields["feature_shift"]),
            feature_scale=_statistic(fields["feature_scale"]),
            target_shift=_optional_statistic(fields.get("target_shift")),
            target_scale=_optional_statistic(fields.get("target_scale")),
            method=fields["method"],
        )


def fit_preprocessing(
    part: Part, *, method: str = "auto", feature_shape: tuple[int, ...], task: str
) -> Preprocessing:
    """Measure shifts and scales on the training part, and on nothing else.

    | method | features | targets of a regression |
    | --- | --- | --- |
    | `auto` | images (two axes or more): divided by the largest value; others: standardised | standardised |
    | `standardise` | mean 0, standard deviation 1, each by itself | standardised |
    | `scale` | smallest value 0, largest 1, each by itself | standardised |
    | `none` | as they are | as they are |

    A feature that never changes gets the scale 1. scikit-learn's StandardScaler and MinMaxScaler
    compute the statistics, block by block.

    Args:
        part: the training part.
        method: one of the above.
        feature_shape: shape of one example, which tells images from tables.
        task: "classification", "multilabel" or "regression".

    Returns:
        The map, to be saved with the model.

    Raises:
        ArgumentError: an unknown method or task, or a shape that does not fit the features.

    Example:
        >>> part = Part(np.array([[1.0], [3.0]], np.float32), np.array([0, 1]))
        >>> fitted = fit_preprocessing(part, feature_shape=(1,), task="classification")
        >>> fitted.inputs(part.inputs).ravel().tolist()
        [-1.0, 1.0]
    """
    if method not in METHODS:
        raise unknown_name("preprocessing method", str(method), METHODS)
    check_task(task)
    features = part.inputs.shape[1]
    if int(np.prod(feature_shape)) != features:
        raise ArgumentError(
            f"feature shape {feature_shape} does not fit {features} features: give the data set's own"
        )
    feature_shift, feature_scale = _feature_statistics(part.inputs, method, is_image=len(feature_shape) > 1)
    if task != "regression" or method == "none":
        return Preprocessing(feature_shift, feature_scale, method=method)
    return Preprocessing(feature_shift, feature_scale, *_standardising(part.targets), method)


def _feature_statistics(inputs: np.ndarray, method: str, *, is_image: bool) -> tuple[np.ndarray, np.ndarray]:
    features = inputs.shape[1]
    zeros, ones = np.zeros(features, np.float32), np.ones(features, np.float32)
    if method == "none":
        return zeros, ones
    if method == "scale":
        return _scaling(inputs)
    if method == "auto" and is_image:
        # One divisor for all pixels: their relative brightness is what the picture shows.
        largest = max(float(np.abs(block).max()) for block in row_chunks(inputs))
        return zeros, ones * np.float32(largest or 1.0)
    return _standardising(inputs)


def _standardising(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for block in row_chunks(values):
        scaler.partial_fit(block.astype(np.float64))
    return _statistic(scaler.mean_), _statistic(scaler.scale_)


def _scaling(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import MinMaxScaler

    scaler = MinMaxScaler()
    for block in row_chunks(values):
        scaler.partial_fit(block.astype(np.float64))
    return _statistic(scaler.data_min_), _statistic(1.0 / scaler.scale_)  # its scale_ multiplies


def _forward(raw: np.ndarray, shift: np.ndarray, scale: np.ndarray, what: str) -> np.ndarray:
    _check_columns(raw, len(shift), what)
    scaled = np.subtract(raw, shift, dtype=np.float32)
    return np.divide(scaled, scale, out=scaled, dtype=np.float32)


def _check_columns(values: np.ndarray, columns: int, what: str) -> None:
    if values.ndim != 2 or values.shape[1] != columns:
        raise ArgumentError(
            f"got {what} of shape {values.shape}, the training data had {columns}: give [N, {columns}]"
        )


def _statistic(values: Any) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise ArgumentError("saved preprocessing holds something other than numbers: save it again") from None


def _optional_statistic(values: Any) -> np.ndarray | None:
    return None if values is None else _statistic(values)


def _check_statistics(kind: str, shift: np.ndarray, scale: np.ndarray) -> None:
    if shift.ndim != 1 or shift.shape != scale.shape:
        raise ArgumentError(
            f"preprocessing has {kind}_shift of shape {shift.shape} and {kind}_scale of shape {scale.shape}: "
            f"give one number a {kind} in each"
        )
    if not (np.isfinite(shift).all() and np.isfinite(scale).all() and np.all(scale != 0)):
        raise ArgumentError(
            f"preprocessing has a {kind} statistic that is not finite or a scale of 0: fit it again"
        )
