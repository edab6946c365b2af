"""The chain rule: residuals out on the way forward, gradients back on the way home.

    objective  E = Σ_b s_b·ℓ_b + l2/2 · Σ‖w‖²,   s_b = weight_b / Σ weight
    start      δ_L = ∂E/∂outputs = s_b·∂ℓ_b/∂outputs_b
    each layer (∂E/∂params_l, δ_{l−1}) = backward_l(residuals_l, δ_l),   l = L … 1

(Rumelhart, Hinton and Williams 1986.) Nothing here differentiates automatically.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxmlp.losses import Loss, resolve_loss
from jaxmlp.network import Network, layer_title, propagate, propagate_by_layer
from jaxmlp.types import ArgumentError, Key, Params, Residuals, Scalar

Inputs: TypeAlias = Float[Array, "B I"]
Outputs: TypeAlias = Float[Array, "B K"]
Targets: TypeAlias = Num[Array, "B ..."]
Weight: TypeAlias = Float[Array, "B"]
L2: TypeAlias = float | Scalar | None


# What takes the arguments of `objective_and_grads` and gives an `Objective`.
Gradient: TypeAlias = Callable[..., "Objective"]


class LayerTrace(NamedTuple):
    """What passed through one layer, forwards and backwards.

    Attributes:
        name: the layer's place and kind, as "0 dense".
        params: its parameters.
        inputs: what came in, [B, I].
        outputs: what went out, [B, O].
        residuals: what it kept for the way back.
        output_grad: ∂E/∂outputs, which came back to it, [B, O].
        param_grads: ∂E/∂params, L2 included, like the parameters.
        input_grad: ∂E/∂inputs, which it passed back, [B, I].
    """

    name: str
    params: Params
    inputs: Inputs
    outputs: Float[Array, "B O"]
    residuals: Residuals
    output_grad: Float[Array, "B O"]
    param_grads: Params
    input_grad: Inputs


class Trace(NamedTuple):
    """One pass forward and back through a network, layer by layer.

    Attributes:
        layers: a LayerTrace a layer, first to last.
        outputs: the network's outputs, [B, K].
        losses: ℓ_b of each example, [B].
        value: E, the objective.
        output_grad: ∂E/∂outputs, where the way back begins, [B, K].
        grads: ∂E/∂params, like the parameters.
    """

    layers: tuple[LayerTrace, ...]
    outputs: Outputs
    losses: Float[Array, "B"]
    value: Scalar
    output_grad: Outputs
    grads: Params


class Objective(NamedTuple):
    """What one pass forward and back has found.

    Attributes:
        value: E, the weighted mean of the losses plus the L2 term; a scalar.
        grads: ∂E/∂params, like the parameters.
        outputs: the network's outputs, [B, K].
    """

    value: Scalar
    grads: Params
    outputs: Outputs


def example_shares(weight: Weight | None, outputs: Outputs) -> Weight:
    """Share the mean out among the examples: s_b = weight_b / Σ weight, for loss and gradient alike."""
    examples = outputs.shape[0]
    if weight is None:
        return jnp.full(examples, 1 / max(examples, 1), outputs.dtype)
    if jnp.shape(weight) != (examples,):
        raise ArgumentError(f"sample_weight must have shape [{examples}], given {list(jnp.shape(weight))}")
    total = jnp.sum(weight)
    # Only a sum of exactly 0 is held to 0: a weight that is NaN must be seen in the loss.
    return jnp.where(total == 0, 0, weight / jnp.where(total == 0, 1, total)).astype(outputs.dtype)


def objective(
    net: Network,
    params: Params,
    inputs: Inputs,
    targets: Targets,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    sample_weight: Weight | None = None,
    l2: L2 = None,
    train: bool = False,
    key: Key | None = None,
) -> Scalar:
    """Compute the objective going forward only; the plain function beneath `loss`, with its arguments."""
    outputs, _ = propagate(net, params, inputs, train=train, key=key, weight=sample_weight)
    return mean_loss(resolve_loss(loss), outputs, targets, sample_weight) + l2_term(net, params, l2)


def objective_and_grads(
    net: Network,
    params: Params,
    inputs: Inputs,
    targets: Targets,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    sample_weight: Weight | None = None,
    l2: L2 = None,
    train: bool = False,
    key: Key | None = None,
) -> Objective:
    """Go forward and back; the plain function beneath `value_and_grad`, with its arguments."""
    pair = resolve_loss(loss)
    outputs, residuals = propagate(net, params, inputs, train=train, key=key, weight=sample_weight)
    value = mean_loss(pair, outputs, targets, sample_weight) + l2_term(net, params, l2)
    output_grad = mean_loss_gradient(pair, outputs, targets, sample_weight)
    grads, _ = backpropagate(net, params, residuals, output_grad)
    return Objective(value, add_l2_gradient(net, params, grads, l2), outputs)


def mean_loss(pair: Loss, outputs: Outputs, targets: Targets, weight: Weight | None) -> Scalar:
    """Average the examples' losses, Σ_b s_b·ℓ_b; `mean_loss_gradient` is its derivative."""
    return jnp.sum(example_shares(weight, outputs) * pair.value(outputs, targets))


def mean_loss_gradient(pair: Loss, outputs: Outputs, targets: Targets, weight: Weight | None) -> Outputs:
    """Differentiate the mean loss by the outputs: row b is s_b·∂ℓ_b/∂outputs_b, [B, K]."""
    return example_shares(weight, outputs)[:, None] * pair.gradient(outputs, targets)


def backpropagate(
    net: Network, params: Params, residuals: tuple[Residuals, ...], output_grad: Outputs
) -> tuple[Params, Inputs]:
    """Carry the gradient back through every layer, last to first."""
    steps = backpropagate_by_layer(net, params, residuals, output_grad)
    return tuple(layer_grads for layer_grads, _ in steps), steps[0][1]


def backpropagate_by_layer(
    net: Network, params: Params, residuals: tuple[Residuals, ...], output_grad: Outputs
) -> list[tuple[Params, Inputs]]:
    """Carry the gradient back and keep what each layer passes on; the loop beneath `backpropagate`."""
    steps = []
    for layer, layer_params, kept in reversed(list(zip(net.layers, params, residuals, strict=True))):
        layer_grads, output_grad = layer.backward(layer_params, kept, output_grad)
        steps.append((layer_grads, output_grad))
    return steps[::-1]


def decayed(net: Network, params: Params) -> Params:
    """Mark the leaves that L2 acts on: weights, not biases."""
    return tuple(layer.decayed(layer_params) for layer, layer_params in zip(net.layers, params, strict=True))


def l2_term(net: Network, params: Params, l2: L2) -> Scalar | float:
    """Penalise large weights: l2/2 · Σ‖w‖² over decayed leaves; `add_l2_gradient` is its derivative."""
    if l2 is None:
        return 0.0
    marked = zip(jax.tree.leaves(params), jax.tree.leaves(decayed(net, params)), strict=True)
    return 0.5 * l2 * sum(jnp.sum(jnp.square(leaf)) for leaf, is_decayed in marked if is_decayed)


def add_l2_gradient(net: Network, params: Params, grads: Params, l2: L2) -> Params:
    """Add ∂/∂w (l2/2 · Σ‖w‖²) = l2·w to the gradients of decayed leaves."""
    if l2 is None:
        return grads
    return jax.tree.map(
        lambda grad, leaf, is_decayed: grad + l2 * leaf if is_decayed else grad,
        grads,
        params,
        decayed(net, params),
    )


def traced_l2(l2: L2) -> L2:
    """Turn a plain 0 into None, so that an objective without L2 does not compute it."""
    return None if isinstance(l2, int | float) and l2 == 0 else l2


_jitted_objective = partial(jax.jit, static_argnums=0, static_argnames=("loss", "train"))(objective)
_jitted_objective_and_grads = partial(jax.jit, static_argnums=0, static_argnames=("loss", "train"))(
    objective_and_grads
)


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

    Returns:
        E, a scalar.

    Raises:
        ArgumentError: shapes that do not fit, or an unknown loss.

    Example:
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([2, 3], init="zeros")
        >>> params = init(net, jax.random.key(0))
        >>> round(float(loss(net, params, jnp.ones((4, 2)), jnp.array([0, 1, 2, 0]))), 4)  # ln 3
        1.0986
    """
    return _jitted_objective(
        net,
        params,
        inputs,
        targets,
        loss=loss,
        sample_weight=sample_weight,
        l2=traced_l2(l2),
        train=train,
        key=key,
    )


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
) -> tuple[Scalar, Params]:
    """Compute the objective of a batch and its gradient, by hand-written backpropagation.

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

    Returns:
        E, a scalar, and ∂E/∂params, like the parameters. See `loss` for E.

    Raises:
        ArgumentError: shapes that do not fit, or an unknown loss.

    Example:
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([2, 1], init="zeros")
        >>> params = init(net, jax.random.key(0))
        >>> value, grads = value_and_grad(
        ...     net, params, jnp.array([[1.0, 2.0]]), jnp.array([[3.0]]), loss="half_squared_error"
        ... )
        >>> float(value), grads[0].w.tolist(), grads[0].b.tolist()
        (4.5, [[-3.0], [-6.0]], [-3.0])
    """
    found = _jitted_objective_and_grads(
        net,
        params,
        inputs,
        targets,
        loss=loss,
        sample_weight=sample_weight,
        l2=traced_l2(l2),
        train=train,
        key=key,
    )
    return found.value, found.grads


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
) -> Trace:
    """Go forward and back through a network and keep every number on the way; plain, not jitted.

    Args:
        net: the network.
        params: its parameters.
        inputs: [B, I].
        targets: labels [B], or [B, K], as the loss takes them.
        loss: a loss's name or a `Loss` pair.
        sample_weight: [B], at least 0; None means 1 for each.
        l2: strength of the penalty on weights.
        train: whether layers behave as in training.
        key: random key for layers that draw in training.

    Returns:
        Every layer's inputs, outputs, residuals and gradients; `value` and `grads` are those of `value_and_grad`.

    Raises:
        ArgumentError: shapes that do not fit, or an unknown loss.

    Example:
        >>> from jaxmlp.network import init, mlp
        >>> net = mlp([2, 3, 1], activation="tanh")
        >>> params = init(net, jax.random.key(0))
        >>> traced = trace(net, params, jnp.ones((1, 2)), jnp.ones((1, 1)), loss="half_squared_error")
        >>> [layer.name for layer in traced.layers]
        ['0 dense', '1 tanh', '2 dense']
    """
    pair, penalty = resolve_loss(loss), traced_l2(l2)
    steps = propagate_by_layer(net, params, inputs, train=train, key=key, weight=sample_weight)
    outputs, residuals = steps[-1][0], tuple(kept for _, kept in steps)
    value = mean_loss(pair, outputs, targets, sample_weight) + l2_term(net, params, penalty)
    output_grad = mean_loss_gradient(pair, outputs, targets, sample_weight)
    way_back = backpropagate_by_layer(net, params, residuals, output_grad)
    grads = add_l2_gradient(net, params, tuple(layer_grads for layer_grads, _ in way_back), penalty)
    came_in = [inputs, *(layer_outputs for layer_outputs, _ in steps)]
    came_back = [*(input_grad for _, input_grad in way_back[1:]), output_grad]
    layers = tuple(
        LayerTrace(
            name=f"{place} {layer_title(layer)}",
            params=params[place],
            inputs=came_in[place],
            outputs=came_in[place + 1],
            residuals=residuals[place],
            output_grad=came_back[place],
            param_grads=grads[place],
            input_grad=way_back[place][1],
        )
        for place, layer in enumerate(net.layers)
    )
    return Trace(layers, outputs, pair.value(outputs, targets), value, output_grad, grads)
