"""Losses, each beside its gradient; of single examples, because the mean is taken in `backprop.py`.

Every loss takes outputs of shape [B, K] and raises unless the targets' shape fits exactly:
[B, 1] − [B] would silently become [B, B].
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from jaxmlp.registry import Registry
from jaxmlp.types import ArgumentError

Outputs: TypeAlias = Float[Array, "B K"]
Targets: TypeAlias = Num[Array, "B ..."]
Labels: TypeAlias = Int[Array, "B"]
PerExample: TypeAlias = Float[Array, "B"]


class Loss(NamedTuple):
    """A loss of each example and its gradient.

    Attributes:
        value: (outputs [B, K], targets) -> [B], the loss ℓ_b of each example.
        gradient: (outputs [B, K], targets) -> [B, K], dℓ_b / d outputs_b.
        targets: what the targets are: "labels" (integers [B] in 0..K−1), "soft_labels" (labels,
            or [B, K] probabilities), "binary" ([B, K] in [0, 1]) or "values" ([B, K]).
        takes: "probabilities", "logits" or "rates", where the outputs have to be those; None for any.
        measured: the loss that an evaluation takes in place of one that only training softens; None for itself.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = LOSSES["half_squared_error"]
        >>> outputs, targets = jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]])
        >>> loss.value(outputs, targets).tolist(), loss.gradient(outputs, targets).tolist()
        ([2.5], [[1.0, -2.0]])
    """

    value: Callable[[Outputs, Targets], PerExample]
    gradient: Callable[[Outputs, Targets], Outputs]
    targets: str = "values"
    takes: str | None = None
    measured: "Loss | None" = None


def _require_values(outputs: Outputs, targets: Targets) -> None:
    if outputs.ndim != 2 or targets.shape != outputs.shape:
        raise ArgumentError(
            f"this loss takes targets of the outputs' shape [B, K]: given outputs {list(outputs.shape)} and "
            f"targets {list(targets.shape)}; reshape the targets (one value an example is [B, 1])"
        )


def _require_labels(outputs: Outputs, targets: Targets) -> None:
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
        raise ArgumentError(
            f"this loss takes outputs [B, K] and integer labels [B]: given outputs {list(outputs.shape)} and "
            f"targets {list(targets.shape)}"
        )
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ArgumentError(
            f"this loss takes integer labels 0..K−1, given labels of type {targets.dtype}: make them integers"
        )


def _are_labels(outputs: Outputs, targets: Targets) -> bool:
    # Soft labels have the outputs' shape; anything else must be integer labels, or raises.
    if targets.ndim == 2:
        _require_values(outputs, targets)
        return False
    _require_labels(outputs, targets)
    return True


def _wide(labels: Labels) -> Labels:
    # Few bits could not hold K, with which labels are compared.
    return labels if labels.dtype.itemsize >= 4 else labels.astype(jnp.int32)


def _chosen(outputs: Outputs, labels: Labels) -> PerExample:
    # A label outside 0..K−1 gives NaN: indexing would silently take another class for it.
    labels = _wide(labels)
    chosen = jnp.take_along_axis(outputs, labels[:, None], axis=1)[:, 0]
    return jnp.where((labels >= 0) & (labels < outputs.shape[1]), chosen, jnp.nan)


def _one_hot(outputs: Outputs, labels: Labels) -> Outputs:
    return jax.nn.one_hot(_wide(labels), outputs.shape[1], dtype=outputs.dtype)


# --- softmax cross-entropy on logits (Bridle 1990) ---


def _softmax_cross_entropy(logits: Outputs, targets: Targets) -> PerExample:
    # ℓ = ln Σ_j exp z_j − z_y; with soft labels t, ℓ = −Σ_k t_k ln softmax(z)_k
    if _are_labels(logits, targets):
        return jax.nn.logsumexp(logits, axis=1) - _chosen(logits, targets)
    return -jnp.sum(targets * jax.nn.log_softmax(logits, axis=1), axis=1)


def _softmax_gradient(logits: Outputs, targets: Targets) -> Outputs:
    # ∂ℓ/∂z_k = p_k Σ_j t_j − t_k, p = softmax(z); Σ_j t_j is 1 for labels
    if _are_labels(logits, targets):
        return jax.nn.softmax(logits, axis=1) - _one_hot(logits, targets)
    return jax.nn.softmax(logits, axis=1) * jnp.sum(targets, axis=1, keepdims=True) - targets


def _smooth_cross_entropy(smoothing: float = 0.0) -> Loss:
    # The cross-entropy with softened labels t̃_k = (1 − ε)·t_k + ε/K·Σ_j t_j (Szegedy et al. 2016)
    hard = Loss(_softmax_cross_entropy, _softmax_gradient, "soft_labels", "logits")
    if not 0 <= smoothing < 1:
        raise ArgumentError(f"label smoothing must be at least 0 and below 1, given {smoothing:g}: try 0.1")

    def soften(logits: Outputs, targets: Targets) -> Targets:
        if _are_labels(logits, targets):
            seen = _chosen(jnp.ones_like(logits), targets)  # 1, or NaN for a label outside 0..K−1
            targets = _one_hot(logits, targets) * seen[:, None]
        return (1 - smoothing) * targets + smoothing * jnp.mean(targets, axis=1, keepdims=True)

    def value(logits: Outputs, targets: Targets) -> PerExample:
        # ℓ = −Σ_k t̃_k ln softmax(z)_k
        return _softmax_cross_entropy(logits, soften(logits, targets))

    def gradient(logits: Outputs, targets: Targets) -> Outputs:
        # ∂ℓ/∂z_k = p_k Σ_j t_j − t̃_k
        return _softmax_gradient(logits, soften(logits, targets))

    return hard._replace(value=value, gradient=gradient, measured=hard) if smoothing else hard


# --- sigmoid cross-entropy on logits, summed over the K labels ---


def _sigmoid_cross_entropy(logits: Outputs, targets: Targets) -> PerExample:
    # ℓ = −Σ_k t_k ln s_k + (1 − t_k) ln(1 − s_k), s = sigmoid(z), which is Σ_k softplus(z_k) − t_k z_k
    _require_values(logits, targets)
    return jnp.sum(jax.nn.softplus(logits) - targets * logits, axis=1)


def _sigmoid_gradient(logits: Outputs, targets: Targets) -> Outputs:
    # ∂ℓ/∂z_k = sigmoid(z_k) − t_k
    _require_values(logits, targets)
    return jax.nn.sigmoid(logits) - targets


# --- negative log-likelihood on probabilities: the unfused partner of a Softmax layer ---


def _negative_log_likelihood(probabilities: Outputs, labels: Targets) -> PerExample:
    # ℓ = −ln p_y, held finite at p = 0 by the smallest normal number
    _require_labels(probabilities, labels)
    chosen = _chosen(probabilities, labels)
    tiny = jnp.finfo(chosen.dtype).tiny
    return -jnp.log(jnp.where(chosen <= tiny, tiny, chosen))


def _likelihood_gradient(probabilities: Outputs, labels: Targets) -> Outputs:
    # ∂ℓ/∂p_k = −[k = y]/p_y, and 0 where the value is held
    _require_labels(probabilities, labels)
    chosen = _chosen(probabilities, labels)
    tiny = jnp.finfo(chosen.dtype).tiny
    slope = jnp.where(chosen <= tiny, 0, -1 / jnp.maximum(chosen, tiny))
    return slope[:, None] * _one_hot(probabilities, labels)


# --- losses of the residual r = f − t, summed (or averaged) over the K outputs ---


def _residuals(predictions: Outputs, values: Targets) -> Outputs:
    _require_values(predictions, values)
    return predictions - values


def _squared(divisor: Callable[[int], float]) -> Loss:
    def value(predictions: Outputs, values: Targets) -> PerExample:
        # ℓ = (1/d) Σ_k r_k², where d is 2, 1 or K
        return jnp.sum(jnp.square(_residuals(predictions, values)), axis=1) / divisor(predictions.shape[1])

    def gradient(predictions: Outputs, values: Targets) -> Outputs:
        # ∂ℓ/∂f_k = (2/d) r_k
        return _residuals(predictions, values) * (2 / divisor(predictions.shape[1]))

    return Loss(value, gradient)


def _absolute_error(predictions: Outputs, values: Targets) -> PerExample:
    # ℓ = Σ_k |r_k|
    return jnp.sum(jnp.abs(_residuals(predictions, values)), axis=1)


def _absolute_error_gradient(predictions: Outputs, values: Targets) -> Outputs:
    # ∂ℓ/∂f_k = sign r_k; 0 at the kink
    return jnp.sign(_residuals(predictions, values))


def _huber(delta: float = 1.0) -> Loss:
    if delta <= 0:
        raise ArgumentError(
            f"huber's delta must be positive, given {delta:g}: write for instance 'huber:1.0'"
        )

    def value(predictions: Outputs, values: Targets) -> PerExample:
        # ℓ = Σ_k ½ r_k² for |r_k| ≤ δ, δ(|r_k| − ½δ) beyond (Huber 1964)
        size = jnp.abs(_residuals(predictions, values))
        near = jnp.minimum(size, delta)
        return jnp.sum(near * (size - 0.5 * near), axis=1)

    def gradient(predictions: Outputs, values: Targets) -> Outputs:
        # ∂ℓ/∂f_k = r_k held to [−δ, δ]
        return jnp.clip(_residuals(predictions, values), -delta, delta)

    return Loss(value, gradient)


def _quantile(level: float = 0.5) -> Loss:
    if not 0 < level < 1:
        raise ArgumentError(f"a quantile must lie between 0 and 1, given {level:g}: try 'quantile:0.9'")

    def value(predictions: Outputs, values: Targets) -> PerExample:
        # ℓ = Σ_k (1 − q) r_k for r_k ≥ 0, −q r_k below: the pinball loss (Koenker and Bassett 1978)
        residuals = _residuals(predictions, values)
        return jnp.sum(jnp.maximum((1 - level) * residuals, -level * residuals), axis=1)

    def gradient(predictions: Outputs, values: Targets) -> Outputs:
        # ∂ℓ/∂f_k = ½ sign r_k + ½ − q: 1 − q above, −q below, their mean at the kink
        return 0.5 * jnp.sign(_residuals(predictions, values)) + (0.5 - level)

    return Loss(value, gradient)


# --- half the Poisson deviance of rates f > 0, as after a layer of softplus, from counts t ≥ 0 ---


def _held(rates: Outputs) -> Outputs:
    # Held finite at 0 by the smallest normal number; below 0 the logarithm gives NaN.
    tiny = jnp.finfo(rates.dtype).tiny
    return jnp.where((rates >= 0) & (rates <= tiny), tiny, rates)


def _poisson(rates: Outputs, counts: Targets) -> PerExample:
    # ℓ = Σ_k f_k − t_k − t_k ln(f_k / t_k), the last term 0 for t_k = 0
    residuals, least = _residuals(rates, counts), jnp.maximum(counts, 0)
    ratio = jnp.log(_held(rates)) - jnp.log(_held(least))
    return jnp.sum(residuals - least * ratio, axis=1)


def _poisson_gradient(rates: Outputs, counts: Targets) -> Outputs:
    # ∂ℓ/∂f_k = 1 − t_k / f_k, and 1 where f_k is held
    _require_values(rates, counts)
    held = _held(rates)
    return jnp.where(held == rates, 1 - jnp.maximum(counts, 0) / held, 1)


# --- multi-class hinge on scores (Crammer and Singer 2001) ---


def _rivals(scores: Outputs, labels: Labels) -> Outputs:
    # The scores of the wrong classes; the right class can never be their largest.
    if scores.shape[1] < 2:
        raise ArgumentError("multiclass_hinge compares classes: give the network at least 2 outputs, not 1")
    return jnp.where(_one_hot(scores, labels) > 0, -jnp.inf, scores)


def _multiclass_hinge(scores: Outputs, labels: Targets) -> PerExample:
    # ℓ = max(0, 1 + max_{j ≠ y} z_j − z_y)
    _require_labels(scores, labels)
    return jnp.maximum(0, 1 + jnp.max(_rivals(scores, labels), axis=1) - _chosen(scores, labels))


def _multiclass_hinge_gradient(scores: Outputs, labels: Targets) -> Outputs:
    # ∂ℓ/∂z = e_j − e_y where ℓ > 0, j the first of the largest rivals; 0 at and beyond the margin
    _require_labels(scores, labels)
    rival = jnp.argmax(_rivals(scores, labels), axis=1)
    active = _multiclass_hinge(scores, labels) > 0
    return active[:, None].astype(scores.dtype) * (_one_hot(scores, rival) - _one_hot(scores, labels))


# What a network ends in for a loss that takes something else than its last products.
HEADS = {"probabilities": "softmax", "rates": "softplus"}

LOSSES: Registry[Loss] = Registry(
    "loss",
    {
        "sigmoid_cross_entropy": Loss(_sigmoid_cross_entropy, _sigmoid_gradient, "binary", "logits"),
        "negative_log_likelihood": Loss(
            _negative_log_likelihood, _likelihood_gradient, "labels", "probabilities"
        ),
        "half_squared_error": _squared(lambda outputs: 2),
        "squared_error": _squared(lambda outputs: 1),
        "mean_squared_error": _squared(lambda outputs: outputs),
        "absolute_error": Loss(_absolute_error, _absolute_error_gradient),
        "multiclass_hinge": Loss(_multiclass_hinge, _multiclass_hinge_gradient, "labels"),
        "poisson": Loss(_poisson, _poisson_gradient, "values", "rates"),
    },
    {"softmax_cross_entropy": _smooth_cross_entropy, "huber": _huber, "quantile": _quantile},
)


def resolve_loss(loss: str | Loss) -> Loss:
    """Take a loss by name, or a pair of the caller's own."""
    if isinstance(loss, str):
        return LOSSES[loss]
    if not isinstance(loss, Loss):
        raise ArgumentError(
            f"not a loss: {loss!r}; give a name such as 'softmax_cross_entropy', or a Loss pair"
        )
    return loss


def loss_for(outputs: Array, loss: str | Loss) -> Loss:
    """Resolve a loss for outputs [B, K], or for those of a committee in training, [B, M, K].

    There ℓ_b = 1/M · Σ_m ℓ_bm, the mean over the members, and the gradient is [B, M, K].
    """
    pair = resolve_loss(loss)
    if outputs.ndim == 2:
        return pair
    value, gradient = (jax.vmap(rule, in_axes=(1, None), out_axes=1) for rule in (pair.value, pair.gradient))
    return pair._replace(
        value=lambda outputs, targets: jnp.mean(value(outputs, targets), axis=1),
        gradient=lambda outputs, targets: gradient(outputs, targets) / outputs.shape[1],
    )
