"""The chain rule: one loop forward that keeps residuals, one loop back that turns them into gradients.

    objective   E = Σ_b s_b·ℓ_b + l2/2 · Σ‖w‖²,   s_b = weight_b / Σ weight, or over a total that is given
    forward     (x_l, residuals_l) = forward_l(params_l, x_{l−1}),   l = 1 … L,   x_0 the inputs
    start       δ_L = ∂E/∂x_L: row b is s_b·∂ℓ_b/∂x_L
    backward    (∂E/∂params_l, δ_{l−1}) = backward_l(params_l, residuals_l, δ_l),   l = L … 1

(Rumelhart, Hinton and Williams 1986.) Nothing here differentiates automatically; `gradcheck.py` proves it.
"""

from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmlp.checks import as_batch, traced_l2
from jaxmlp.layers import Inputs, Weight
from jaxmlp.layers.layer import example_shares, layer_title
from jaxmlp.losses import Loss, Outputs, Targets, loss_for
from jaxmlp.network import Network, check_fit
from jaxmlp.types import L2, Batch, Key, Params, Progress, Residuals, Scalar


def propagate(
    net: Network, params: Params, batch: Batch, *, key: Key | None = None, **training: Any
) -> tuple[list[Array], list[Residuals]]:
    """Go forward through every layer: [x_0 … x_L], and what each layer keeps for the way back."""
    check_fit(net, params, batch.inputs)
    keys = [None] * len(net.layers) if key is None else jax.random.split(key, len(net.layers))
    passed, residuals = [batch.inputs], []
    for layer, layer_params, layer_key in zip(net.layers, params, keys, strict=True):
        # (x_l, residuals_l) = forward_l(params_l, x_{l−1})
        x, kept = layer.forward(layer_params, passed[-1], key=layer_key, weight=batch.weight, **training)
        passed.append(x)
        residuals.append(kept)
    return passed, residuals


def backpropagate(
    net: Network, params: Params, residuals: list[Residuals], output_grad: Outputs
) -> tuple[Params, list[Array]]:
    """Go back through every layer: ∂E/∂params, and [δ_0 … δ_L]."""
    grads, deltas = [], [output_grad]
    for layer, layer_params, kept in reversed(list(zip(net.layers, params, residuals, strict=True))):
        # (∂E/∂params_l, δ_{l−1}) = backward_l(params_l, residuals_l, δ_l)
        layer_grads, delta = layer.backward(layer_params, kept, deltas[-1])
        grads.append(layer_grads)
        deltas.append(delta)
    return tuple(grads[::-1]), deltas[::-1]


def mean_loss(losses: Float[Array, "B"], weight: Weight | None, total: L2 = None) -> Scalar:
    """Average the losses of the examples: Σ_b s_b·ℓ_b."""
    return jnp.sum(example_shares(weight, losses, total) * losses)


def mean_loss_gradient(pair: Loss, outputs: Outputs, batch: Batch, total: L2 = None) -> Outputs:
    """Start the way back with δ_L = ∂E/∂x_L."""
    # row b is s_b·∂ℓ_b/∂x_L
    shares = example_shares(batch.weight, outputs, total).reshape(-1, *[1] * (outputs.ndim - 1))
    return shares * pair.gradient(outputs, batch.targets)


def l2_term(net: Network, params: Params, l2: L2) -> Scalar | float:
    """Penalise large weights: l2/2 · Σ‖w‖²."""
    if l2 is None:
        return 0.0
    named = zip(jax.tree.leaves(params), jax.tree.leaves(kinds(net, params)), strict=True)
    return 0.5 * l2 * sum(jnp.sum(jnp.square(leaf)) for leaf, kind in named if kind == "weight")


def add_l2_gradient(net: Network, params: Params, grads: Params, l2: L2) -> Params:
    """Add the penalty's gradient to that of the loss."""
    if l2 is None:
        return grads

    def with_penalty(grad: Array, w: Array, kind: str) -> Array:
        # ∂/∂w (l2/2 · Σ‖w‖²) = l2·w
        return grad + l2 * w if kind == "weight" else grad

    return jax.tree.map(with_penalty, grads, params, kinds(net, params))


def kinds(net: Network, params: Params) -> Params:
    """Name what each leaf is, see `Layer`: L2 acts on "weight"."""
    return tuple(layer.kinds(layer_params) for layer, layer_params in zip(net.layers, params, strict=True))


class LayerTrace(NamedTuple):
    """What passed through one layer, forwards and backwards."""

    name: str  # its place and kind, as "0 dense"
    params: Params
    inputs: Inputs  # what came in, [B, I]
    outputs: Float[Array, "B O"]  # what went out
    residuals: Residuals  # what it kept for the way back
    output_grad: Float[Array, "B O"]  # ∂E/∂outputs, which came back to it
    param_grads: Params  # ∂E/∂params, L2 included, like the parameters
    input_grad: Inputs  # ∂E/∂inputs, which it passed back, [B, I]


class Trace(NamedTuple):
    """One pass forward and back through a network, layer by layer."""

    layers: tuple[LayerTrace, ...]  # first to last
    outputs: Outputs  # of the network, [B, K]
    losses: Float[Array, "B"]  # ℓ_b of each example
    value: Scalar  # E, the objective
    output_grad: Outputs  # ∂E/∂outputs, where the way back begins, [B, K]
    grads: Params  # ∂E/∂params, like the parameters


def objective(
    net: Network, params: Params, batch: Batch, *, loss: str | Loss, l2: L2, **training: Any
) -> Scalar:
    """Compute E, going forward only; plain, not jitted."""
    passed, _ = propagate(net, params, batch, **training)
    losses = loss_for(passed[-1], loss).value(passed[-1], batch.targets)
    return mean_loss(losses, batch.weight) + l2_term(net, params, l2)


def objective_and_grads(
    net: Network, params: Params, batch: Batch, *, loss: str | Loss, l2: L2, total: L2 = None, **training: Any
) -> Trace:
    """Compute E and ∂E/∂params, going forward and back; plain, and the compiler drops what a caller leaves unused."""
    passed, residuals = propagate(net, params, batch, **training)
    pair = loss_for(passed[-1], loss)
    losses = pair.value(passed[-1], batch.targets)
    value = mean_loss(losses, batch.weight, total) + l2_term(net, params, l2)
    grads, deltas = backpropagate(net, params, residuals, mean_loss_gradient(pair, passed[-1], batch, total))
    grads = add_l2_gradient(net, params, grads, l2)
    names = [f"{place} {layer_title(layer)}" for place, layer in enumerate(net.layers)]
    stations = zip(names, params, passed, passed[1:], residuals, deltas[1:], grads, deltas, strict=False)
    # Of a committee in training, [B, M, K], the mean tells how good it is.
    outputs = passed[-1] if passed[-1].ndim == 2 else jnp.mean(passed[-1], axis=1)
    return Trace(tuple(starmap(LayerTrace, stations)), outputs, losses, value, deltas[-1], grads)


def _value_and_grads(*arguments: Any, **keywords: Any) -> tuple[Scalar, Params]:
    found = objective_and_grads(*arguments, **keywords)
    return found.value, found.grads


def training_keywords(train: bool, key: Key | None, progress: Progress) -> dict[str, Any]:
    """Gather what layers are told; one without a schedule need not take `progress`."""
    known = {"train": train, "key": key}
    return known if progress is None else {**known, "progress": progress}


_compile = partial(jax.jit, static_argnums=0, static_argnames=("loss", "train"))
_compiled_objective, _compiled_value_and_grads = _compile(objective), _compile(_value_and_grads)


def loss(
    net: Network,
    params: Params,
    inputs: Inputs,
    targets: Targets,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    sample_weight: Weight | None = None,
    l2: L2 = 0.0,
    train: bool = False,
    key: Key | None = None,
    progress: Progress = None,
) -> Scalar:
    """Compute the objective of a batch: E = Σ_b weight_b·ℓ_b / Σ_b weight_b + l2/2 · Σ‖w‖².

    Args:
        net: the network (static).
        params: its parameters.
        inputs: [B, I].
        targets: labels [B], or [B, K], as the loss takes them.
        loss: a loss's name or a `Loss` pair (static).
        sample_weight: [B], at least 0; None means 1 for each. A sum of 0 gives a mean of 0.
        l2: strength of the penalty on weights (biases are left out); 0 for none.
        train: whether layers behave as in training (static).
        key: random key for layers that draw in training.
        progress: how far training is, from 0 to 1, for layers with a schedule; None stands for 0.

    Returns:
        E, a scalar; NaN where a label lies outside 0..K−1, which a compiled function cannot refuse.

    Raises:
        ArgumentError: shapes that do not fit, or an unknown loss.

    Example:
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([2, 3], init="zeros")
        >>> value = loss(net, init(net, jax.random.key(0)), jnp.ones((4, 2)), jnp.array([0, 1, 2, 0]))
        >>> round(float(value), 4)  # ln 3
        1.0986
    """
    batch = as_batch((inputs, targets), sample_weight)
    training = training_keywords(train, key, progress)
    return _compiled_objective(net, params, batch, loss=loss, l2=traced_l2(l2), **training)


def value_and_grad(
    net: Network,
    params: Params,
    inputs: Inputs,
    targets: Targets,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    sample_weight: Weight | None = None,
    l2: L2 = 0.0,
    train: bool = False,
    key: Key | None = None,
    progress: Progress = None,
) -> tuple[Scalar, Params]:
    """Compute the objective of a batch and its gradient, by hand-written backpropagation.

    Args and Raises are those of `loss`.

    Returns:
        E, a scalar, and ∂E/∂params, like the parameters.

    Example:
        >>> from jaxmlp.network import init, mlp
        >>> net, key = mlp([2, 1], init="zeros"), jax.random.key(0)
        >>> batch = jnp.array([[1.0, 2.0]]), jnp.array([[3.0]])
        >>> value, grads = value_and_grad(net, init(net, key), *batch, loss="half_squared_error")
        >>> float(value), grads[0].w.tolist(), grads[0].b.tolist()
        (4.5, [[-3.0], [-6.0]], [-3.0])
    """
    batch = as_batch((inputs, targets), sample_weight)
    training = training_keywords(train, key, progress)
    return _compiled_value_and_grads(net, params, batch, loss=loss, l2=traced_l2(l2), **training)


def trace(
    net: Network,
    params: Params,
    inputs: Inputs,
    targets: Targets,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    sample_weight: Weight | None = None,
    l2: L2 = 0.0,
    train: bool = False,
    key: Key | None = None,
    progress: Progress = None,
) -> Trace:
    """Go forward and back through a network and keep every number on the way; plain, not jitted.

    Args and Raises are those of `loss`.

    Returns:
        Every layer's inputs, outputs, residuals and gradients; `value` and `grads` are those of `value_and_grad`.

    Example:
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([2, 3, 1], activation="tanh")
        >>> traced = trace(net, init(net, jax.random.key(0)), jnp.ones((1, 2)), jnp.array([0]))
        >>> [layer.name for layer in traced.layers]
        ['0 dense', '1 tanh', '2 dense']
    """
    batch = as_batch((inputs, targets), sample_weight)
    training = training_keywords(train, key, progress)
    return objective_and_grads(net, params, batch, loss=loss, l2=traced_l2(l2), **training)
