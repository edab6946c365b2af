"""A fit's state as arrays by name and back, its history in columns, so that a fit goes on to the last bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmlp.saving.trees import named_arrays, restore_tree
from jaxmlp.training.fit import FitState
from jaxmlp.training.stopping import Best
from jaxmlp.training.stream import Position
from jaxmlp.types import ArgumentError, EpochReport

# NaN is a measurement that failed, so that what was not measured needs a column of its own.
OPTIONAL = ("valid_loss", "valid_score")
GIVEN = "_given"


def fit_arrays(state: FitState) -> dict[str, Any]:
    """Name all arrays of a fit's state, without waiting for those that are still computed.

    Args:
        state: what `fit` hands to `save`.

    Returns:
        Arrays of JAX or NumPy by name: `train.…`, `best.…` where there is a best epoch, and a column
        `history['…']` of [E] for every field of EpochReport, that of `max_weight` of [E, layers with weights].

    Example:
        >>> from jaxmlp.network import mlp
        >>> from jaxmlp.training.steps import init_state
        >>> import jax
        >>> state = FitState(init_state(mlp([2, 3]), "sgd", jax.random.key(0)))
        >>> sorted(name for name in fit_arrays(state) if name.startswith("train.params"))
        ['train.params[0].b', 'train.params[0].w']
        >>> restore_fit(fit_arrays(state), state).history
        ()
    """
    return named_arrays(state._replace(history=_columns(state.history)))  # type: ignore[arg-type]


def restore_fit(arrays: Mapping[str, np.ndarray], like: FitState) -> FitState:
    """Put the arrays of a checkpoint back into a fit's state.

    Args:
        arrays: arrays by name, as `fit_arrays` named them.
        like: a state of the same network and optimiser, as that of a fit which starts; its arrays may be
            `jax.ShapeDtypeStruct`s. Best epoch, history and position in a stream are those of the checkpoint.

    Returns:
        The state, for `fit(..., resume=...)`.

    Raises:
        ArgumentError: the arrays are of another network or optimiser; the first difference is named.

    Example:
        >>> from jaxmlp.network import mlp
        >>> from jaxmlp.training.steps import init_state
        >>> import jax
        >>> small, large = (FitState(init_state(mlp([2, n]), "sgd", jax.random.key(0))) for n in (3, 4))
        >>> try:
        ...     restore_fit(fit_arrays(small), large)
        ... except ArgumentError as error:
        ...     print(str(error).partition(":")[0])
        train.params[0].w has shape [2, 3] in the checkpoint, wanted [2, 4]
    """
    best = Best(like.train.params, 0, 0.0) if any(name.startswith("best.") for name in arrays) else None
    columns = _columns(())
    for field, empty in columns.items():
        # As many rows as there are; the type is checked with the rest.
        found = np.asarray(arrays.get(f"history['{field}']", empty))
        columns[field] = np.zeros(found.shape, empty.dtype)
    lengths = {column.shape[:1] for column in columns.values()}
    flat = all(column.ndim == (2 if field == "max_weight" else 1) for field, column in columns.items())
    if len(lengths) != 1 or not flat:
        raise ArgumentError(
            "the history of the checkpoint has columns of several lengths or shapes: it is no fit's"
        )
    wanted = like._replace(best=best, history=columns, position=_position_like(arrays))  # type: ignore[arg-type]
    restored = restore_tree(arrays, wanted)
    return restored._replace(history=_rows(restored.history))


def _position_like(arrays: Mapping[str, np.ndarray]) -> Position | None:
    """Make a position of the lengths that are there, with the types that it must have."""
    if not any(name.startswith("position.") for name in arrays):
        return None
    numbers = np.zeros(0)
    empty = Position(
        windows=0,
        rows=0,
        seconds=0.0,
        weight=0.0,
        loss=0.0,
        statistic=numbers,
        gradient_norm=0.0,
        target_mean=numbers,
        target_variance=numbers,
    )
    of_lengths: dict[str, Any] = {
        field: np.zeros(np.shape(arrays.get(f"position.{field}", value)), value.dtype)
        for field, value in empty._asdict().items()
        if isinstance(value, np.ndarray)
    }
    return empty._replace(**of_lengths)


def _columns(history: tuple[EpochReport, ...]) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for field in EpochReport._fields:
        values: list[Any] = [getattr(row, field) for row in history]
        if field in OPTIONAL:
            columns[field + GIVEN] = np.array([value is not None for value in values], np.bool_)
            values = [np.nan if value is None else value for value in values]
        columns[field] = np.array(values, np.int64 if field == "epoch" else np.float64)
    if not history:
        columns["max_weight"] = np.zeros((0, 0))
    return columns


def _rows(columns: Mapping[str, np.ndarray]) -> tuple[EpochReport, ...]:
    fields = {field: columns[field].tolist() for field in EpochReport._fields}
    fields["max_weight"] = [tuple(row) for row in fields["max_weight"]]
    for field in OPTIONAL:
        given = columns[field + GIVEN]
        fields[field] = [value if there else None for value, there in zip(fields[field], given, strict=True)]
    return tuple(EpochReport(*row) for row in zip(*fields.values(), strict=True))
