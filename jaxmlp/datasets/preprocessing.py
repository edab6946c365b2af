"""Features and regression targets on one scale, measured on the training part and kept with the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as fields_of
from typing import Any

import numpy as np

from jaxmlp.datasets.dataset import Part, row_chunks
from jaxmlp.datasets.targets import check_task
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError

METHODS = ("auto", "standardise", "scale", "robust", "quantile", "none")
CLIP = 3.0  # of the smooth clip, where it is asked for (Holzmüller, Grinsztajn and Steinwart 2024)
QUANTILES = 1000


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A map of each feature, and of each regression target: x = (raw − shift) / scale.

    With a clip c a feature then becomes x / √(1 + (x/c)²), which stays within ±c. With quantiles it becomes
    first what a normal variable has at the same quantile.

    Attributes:
        feature_shift: [I] float64.
        feature_scale: [I] float64, not 0.
        target_shift: [K] float64, or None where targets stay as they are.
        target_scale: [K] float64, or None where targets stay as they are.
        method: one of METHODS, as it was asked for.
        feature_clip: [I] float64, infinite for features that are not clipped; None where none is.
        feature_quantiles: [Q, I] float64, NaN for features that are not transformed; None where none is.
        target_range: [2, K] least and largest value, which predictions are held to; None where they are not.

    Raises:
        ArgumentError: an unknown method, shapes that do not fit together, or a statistic that is
            not finite or a scale of 0.

    Example:
        >>> halved = Preprocessing(np.zeros(2), np.full(2, 2.0), np.ones(1), np.full(1, 2.0))
        >>> halved.inputs(np.array([[4.0, 6.0]])).tolist()
        [[2.0, 3.0]]
        >>> halved.targets(np.array([[5.0]])).tolist(), halved.restore_targets(np.array([[2.0]])).tolist()
        ([[2.0]], [[5.0]])
        >>> Preprocessing.from_dict(halved.to_dict()).method
        'auto'
    """

    feature_shift: np.ndarray
    feature_scale: np.ndarray
    target_shift: np.ndarray | None = None
    target_scale: np.ndarray | None = None
    method: str = "auto"
    feature_clip: np.ndarray | None = None
    feature_quantiles: np.ndarray | None = None
    target_range: np.ndarray | None = None

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

    def inputs(self, raw: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Bring raw features [N, I] to the scale that the network was trained on; scaled in float64, then cast."""
        clip, quantiles = self.feature_clip, self.feature_quantiles
        if quantiles is not None:
            chosen = ~np.isnan(quantiles[0])
            raw = raw.astype(np.float64)
            raw[:, chosen] = _to_normal(quantiles[:, chosen]).transform(raw[:, chosen])
        return _forward(raw, self.feature_shift, self.feature_scale, "features", dtype, clip)

    def targets(self, raw: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Bring raw values [N, K] to the scale that the network is trained on; others stay, float64 ones cast."""
        if self.target_shift is None or self.target_scale is None:
            return raw.astype(dtype) if raw.dtype == np.float64 else raw
        return _forward(raw, self.target_shift, self.target_scale, "target values", dtype)

    def restore_targets(self, standardised: np.ndarray) -> np.ndarray:
        """Bring predicted values [N, K] back to raw units, value · scale + shift in float64; others stay the same."""
        if self.target_shift is None or self.target_scale is None:
            return standardised
        _check_columns(standardised, len(self.target_shift), "target values")
        restored = np.asarray(standardised, np.float64) * self.target_scale + self.target_shift
        return restored if self.target_range is None else np.clip(restored, *self.target_range)

    def to_dict(self) -> dict[str, Any]:
        """Give the fields by name, arrays and text, to be saved without pickling."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """Rebuild what `to_dict` gave; lists of numbers serve as well as arrays, the target's may be left out."""
        wanted = ("method", "feature_shift", "feature_scale")
        absent = [name for name in wanted if fields.get(name) is None]
        if absent:
            raise ArgumentError(f"saved preprocessing lacks {', '.join(absent)}: save the model again")
        names = [field.name for field in fields_of(cls) if field.name != "method"]
        statistics = {name: _statistic(fields[name]) for name in names if fields.get(name) is not None}
        return cls(**statistics, method=fields["method"])


def fit_preprocessing(
    part: Part,
    *,
    method: str = "auto",
    feature_shape: tuple[int, ...],
    task: str,
    codes: Sequence[int] = (),
) -> Preprocessing:
    """Measure shifts and scales on the training part, and on nothing else.

    | method | features | targets of a regression |
    | --- | --- | --- |
    | `auto` | images (two axes or more): divided by the largest value; others: standardised | standardised |
    | `standardise` | mean 0, standard deviation 1, each feature | standardised |
    | `scale` | smallest value 0, largest 1, each feature | standardised |
    | `robust` | median 0, interquartile range 1, then the smooth clip at 3 | standardised, held to their range |
    | `quantile` | to a normal distribution; those of two values as `robust` | standardised, held to their range |
    | `none` | as they are | as they are |

    A feature that never changes gets the scale 1; one of which half the values are alike, half its range for
    `robust`. scikit-learn's scalers compute the statistics, those of the first rows block by block.

    Args:
        part: the training part.
        method: one of the above.
        feature_shape: shape of one example, which tells images from tables.
        task: "classification", "multilabel" or "regression".
        codes: features that are numbers of categories, which stay as they are.

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
    check_task(task)
    features = part.inputs.shape[1]
    if int(np.prod(feature_shape)) != features:
        raise ArgumentError(
            f"feature shape {feature_shape} does not fit {features} features: give the data set's own"
        )
    clip, quantiles, held = None, None, None
    if method in ("robust", "quantile"):
        shift, scale, clip, quantiles = _robust(part.inputs, method, list(codes))
        held = np.array([part.targets.min(axis=0), part.targets.max(axis=0)])
    else:
        shift, scale = _feature_statistics(part.inputs, method, is_image=len(feature_shape) > 1)
        shift[list(codes)], scale[list(codes)] = 0, 1
    if task != "regression" or method == "none":
        return Preprocessing(shift, scale, None, None, method, clip, quantiles)
    return Preprocessing(shift, scale, *_standardising(part.targets), method, clip, quantiles, held)


def _robust(inputs: np.ndarray, method: str, codes: list[int]) -> tuple[Any, ...]:
    """Measure medians and interquartile ranges, where to clip, and the quantiles to map by, if asked for."""
    low, shift, high = np.quantile(inputs.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
    half = np.ptp(inputs, axis=0) / 2
    scale = np.where(high > low, high - low, np.where(half > 0, half, 1))
    clip = np.full(len(shift), CLIP)
    shift[codes], scale[codes], clip[codes] = 0, 1, np.inf
    chosen = np.array([method == "quantile" and len(np.unique(column)) > 2 for column in inputs.T])
    chosen[codes] = False
    if not chosen.any():
        return shift, scale, clip, None
    quantiles = np.full((min(QUANTILES, len(inputs)), len(shift)), np.nan)
    references = np.linspace(0, 1, len(quantiles))
    quantiles[:, chosen] = np.quantile(inputs[:, chosen].astype(np.float64), references, axis=0)
    shift[chosen], scale[chosen], clip[chosen] = 0, 1, np.inf
    return shift, scale, clip, quantiles


def _to_normal(quantiles: np.ndarray) -> Any:
    """Rebuild scikit-learn's transformer from the quantiles of each feature, [Q, I]."""
    from sklearn.preprocessing import QuantileTransformer

    transformer = QuantileTransformer(n_quantiles=len(quantiles), output_distribution="normal")
    transformer.quantiles_, transformer.references_ = quantiles, np.linspace(0, 1, len(quantiles))
    transformer.n_features_in_ = quantiles.shape[1]
    return transformer


def _feature_statistics(inputs: np.ndarray, method: str, *, is_image: bool) -> tuple[np.ndarray, np.ndarray]:
    if method == "scale":
        from sklearn.preprocessing import MinMaxScaler

        scaler = _fitted(MinMaxScaler(), inputs)
        return _statistic(scaler.data_min_), _statistic(1.0 / scaler.scale_)  # its scale_ multiplies
    if method == "standardise" or (method == "auto" and not is_image):
        return _standardising(inputs)
    zeros, ones = np.zeros(inputs.shape[1]), np.ones(inputs.shape[1])
    if method == "none":
        return zeros, ones
    # One divisor for all pixels: their relative brightness is what the picture shows.
    largest = max(float(np.abs(block).max()) for block in row_chunks(inputs))
    return zeros, ones * (largest or 1.0)


def _standardising(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import StandardScaler

    scaler = _fitted(StandardScaler(), values)
    return _statistic(scaler.mean_), _statistic(scaler.scale_)


def _fitted(scaler: Any, values: np.ndarray) -> Any:
    for block in row_chunks(values):
        scaler.partial_fit(block.astype(np.float64))
    return scaler


def _forward(
    raw: np.ndarray,
    shift: np.ndarray,
    scale: np.ndarray,
    what: str,
    dtype: Any,
    clip: np.ndarray | None = None,
) -> np.ndarray:
    _check_columns(raw, len(shift), what)
    scaled = _aligned(raw.shape, np.dtype(dtype))
    if not shift.any() and raw.dtype == np.uint8:  # images: bytes are exact in any type
        return np.divide(raw, scale.astype(dtype), out=scaled, dtype=dtype)
    with np.errstate(over="ignore"):  # what is too large for the type is refused where the values are checked
        for block, target in zip(row_chunks(raw), row_chunks(scaled), strict=True):
            moved = (block - shift) / scale
            target[:] = moved if clip is None else moved / np.hypot(1, moved / clip)
    return scaled


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Make an array at a multiple of 64 bytes, which JAX on a CPU uses in place, without a copy."""
    size = dtype.itemsize * int(np.prod(shape))
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def _check_columns(values: np.ndarray, columns: int, what: str) -> None:
    if values.ndim != 2 or values.shape[1] != columns:
        raise ArgumentError(
            f"got {what} of shape {values.shape}, the training data had {columns}: give [N, {columns}]"
        )


def _statistic(values: Any) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError("saved preprocessing holds something other than numbers: save it again") from None


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
