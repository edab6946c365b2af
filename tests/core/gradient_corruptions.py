"""Every way in which the tests break a hand-written rule, so that the list can be read and printed.

Each corruption takes the right rule and returns a wrong one of the same signature.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxmlp.activations import ACTIVATIONS
from jaxmlp.layers import (
    LAYERS,
    Activate,
    Committee,
    Dense,
    Dropout,
    Embed,
    Maxout,
    ParametricActivate,
    PeriodicEmbedding,
    Residual,
)

Rule = Callable[..., Any]
Corruption = Callable[[Rule], Rule]


def _times(factor: float) -> Corruption:
    return lambda rule: lambda *arguments: factor * rule(*arguments)


def _nan_once(array: Any) -> Any:
    return jnp.reshape(jnp.ravel(array).at[0].set(jnp.nan), jnp.shape(array))


# --- of an activation's derivative, (z, a) -> dσ/dz ---

DERIVATIVE_CORRUPTIONS: Mapping[str, Corruption] = {
    "sign": _times(-1.0),
    "doubled": _times(2.0),
    "halved": _times(0.5),
    "off_by_1e-8": _times(1 + 1e-8),
    "arguments_swapped": lambda rule: lambda z, a: rule(a, z),
    "of_a_for_z": lambda rule: lambda z, a: rule(a, a),
    "of_z_for_a": lambda rule: lambda z, a: rule(z, z),
    "dropped": lambda rule: lambda z, a: jnp.ones_like(z),
    "nan_once": lambda rule: lambda z, a: _nan_once(rule(z, a)),
}

_ONLY_Z = "its derivative reads z alone"
_SAME_SIGN = "its derivative asks for the sign of z, and a has the same"
# Corruptions that are none: they leave the derivative as it is, and a test shows that they do.
WITHOUT_EFFECT: Mapping[tuple[str, str], str] = {
    ("identity", "arguments_swapped"): "a is z",
    ("identity", "of_a_for_z"): "a is z",
    ("identity", "of_z_for_a"): "a is z",
    ("identity", "dropped"): "its derivative is 1",
    ("relu", "arguments_swapped"): _SAME_SIGN,
    ("relu", "of_a_for_z"): _SAME_SIGN,
    ("leaky_relu", "arguments_swapped"): _SAME_SIGN,
    ("leaky_relu", "of_a_for_z"): _SAME_SIGN,
    ("relu6", "arguments_swapped"): "z and a lie strictly between 0 and 6 together",
    ("relu6", "of_a_for_z"): "z and a lie strictly between 0 and 6 together",
    ("elu", "of_a_for_z"): "it asks for the sign of z, and a has the same",
    ("selu", "of_a_for_z"): "it asks for the sign of z, and a has the same",
    ("sigmoid", "of_a_for_z"): "its derivative reads a alone",
    ("tanh", "of_a_for_z"): "its derivative reads a alone",
    ("scaled_tanh", "of_a_for_z"): "its derivative reads a alone",
    **{
        (name, "of_z_for_a"): _ONLY_Z
        for name in (
            *("relu", "leaky_relu", "relu6", "hard_tanh", "gelu", "gelu_tanh"),
            *("mish", "softplus", "softsign"),
        )
    },
}


# --- of a loss's gradient, (outputs [B, K], targets) -> [B, K] ---


def _hits(outputs: Any, targets: Any) -> Any:
    return targets if targets.ndim == 2 else jax.nn.one_hot(targets, outputs.shape[1], dtype=outputs.dtype)


def _of_loss(change: Callable[[Any], Any]) -> Corruption:
    return lambda rule: lambda outputs, targets: change(rule(outputs, targets))


LOSS_CORRUPTIONS: Mapping[str, Corruption] = {
    "sign": _times(-1.0),
    "doubled": _times(2.0),
    "halved": _times(0.5),
    "off_by_1e-8": _times(1 + 1e-8),
    "at_targets_for_outputs": lambda rule: lambda outputs, targets: rule(_hits(outputs, targets), targets),
    "examples_shifted": _of_loss(lambda grad: jnp.roll(grad, 1, axis=0)),
    "outputs_shifted": _of_loss(lambda grad: jnp.roll(grad, 1, axis=1)),
    "first_output_dropped": _of_loss(lambda grad: grad.at[:, 0].set(0)),
    "nan_once": _of_loss(_nan_once),
}


# --- of the mean's derivative, backprop.mean_loss_gradient(pair, outputs, batch, total) ---

MEAN_CORRUPTIONS: Mapping[str, Corruption] = {
    "missing_1/B": lambda rule: lambda pair, outputs, batch, _: outputs.shape[0] * rule(pair, outputs, batch),
    "extra_1/K": lambda rule: lambda pair, outputs, batch, _: rule(pair, outputs, batch) / outputs.shape[1],
    "weights_dropped": lambda rule: (
        lambda pair, outputs, batch, _: rule(pair, outputs, batch._replace(weight=None))
    ),
    "weights_summed_not_averaged": lambda rule: (
        lambda pair, outputs, batch, _: jnp.sum(batch.weight) * rule(pair, outputs, batch)
    ),
}


# --- of the penalty's derivative, backprop.add_l2_gradient(net, params, grads, l2) ---


def _on_every_leaf(rule: Rule) -> Rule:
    return lambda net, params, grads, l2: jax.tree.map(lambda grad, leaf: grad + l2 * leaf, grads, params)


PENALTY_CORRUPTIONS: Mapping[str, Corruption] = {
    "missing": lambda rule: lambda net, params, grads, l2: grads,
    "on_biases_too": _on_every_leaf,
    "sign": lambda rule: lambda net, params, grads, l2: rule(net, params, grads, -l2),
    "doubled": lambda rule: lambda net, params, grads, l2: rule(net, params, grads, 2 * l2),
    "halved": lambda rule: lambda net, params, grads, l2: rule(net, params, grads, 0.5 * l2),
}


# --- of a layer's backward, (self, params, residuals, output_grad) -> (param_grads, input_grad) ---


def _after(change: Callable[[Any, Any], tuple[Any, Any]]) -> Corruption:
    """Change what the right rule found: (param_grads, input_grad) to a wrong pair."""
    return lambda rule: lambda *arguments: change(*rule(*arguments))


def _on_inputs(change: Callable[[Any], Any]) -> Corruption:
    return _after(lambda grads, back: (grads, change(back)))


def _on_params(change: Callable[[Any], Any]) -> Corruption:
    return _after(lambda grads, back: (jax.tree.map(change, grads), back))


# For every layer of the registry, whatever it does.
ANY_LAYER: Mapping[str, Corruption] = {
    "input_grad_sign": _on_inputs(lambda grad: -grad),
    "input_grad_doubled": _on_inputs(lambda grad: 2 * grad),
    "input_grad_off_by_1e-8": _on_inputs(lambda grad: (1 + 1e-8) * grad),
    "input_grad_missing": _on_inputs(jnp.zeros_like),
    "input_grad_averaged_over_the_batch": _on_inputs(lambda grad: grad / grad.shape[0]),
    "input_grad_nan_once": _on_inputs(_nan_once),
    "output_grad_dropped": lambda rule: (
        lambda layer, params, kept, delta: rule(layer, params, kept, jnp.ones_like(delta))
    ),
}

# For every layer that has parameters.
LAYER_WITH_PARAMETERS: Mapping[str, Corruption] = {
    "param_grads_sign": _on_params(lambda grad: -grad),
    "param_grads_doubled": _on_params(lambda grad: 2 * grad),
    "param_grads_missing": _on_params(jnp.zeros_like),
    "param_grads_nan_once": _on_params(_nan_once),
}


def _on_w(change: Callable[[Any], Any]) -> Corruption:
    return _after(lambda grads, back: (grads._replace(w=change(grads.w)), back))


def _on_b(change: Callable[[Any], Any]) -> Corruption:
    return _after(lambda grads, back: (grads._replace(b=change(grads.b)), back))


def _dense(change: Callable[[Any, Any, Any, Any, Any], Any]) -> Corruption:
    """Corrupt Dense: `change(params, inputs, output_grad, grads, input_grad)` makes the wrong result."""
    return lambda rule: (
        lambda layer, params, x, delta: change(params, x, delta, *rule(layer, params, x, delta))
    )


DENSE: Mapping[str, Corruption] = {
    "w_not_transposed": _dense(lambda params, x, delta, grads, back: (grads, delta @ params.w)),
    "w_dropped": _dense(lambda params, x, delta, grads, back: (grads, delta)),
    "w_grad_transposed": _on_w(jnp.transpose),
    "w_grad_inputs_dropped": _dense(
        lambda params, x, delta, grads, back: (grads._replace(w=jnp.ones_like(x).T @ delta), back)
    ),
    "w_grad_output_grad_dropped": _dense(
        lambda params, x, delta, grads, back: (grads._replace(w=x.T @ jnp.ones_like(delta)), back)
    ),
    "w_grad_averaged": _dense(lambda _, x, delta, grads, back: (grads._replace(w=grads.w / len(x)), back)),
    "w_grad_sign": _on_w(jnp.negative),
    "b_grad_missing": _on_b(jnp.zeros_like),
    "b_grad_averaged": _dense(lambda _, x, delta, grads, back: (grads._replace(b=grads.b / len(x)), back)),
    "b_grad_of_one_example": _dense(lambda params, x, delta, grads, back: (grads._replace(b=delta[0]), back)),
    "b_grad_sign": _on_b(jnp.negative),
}

ACTIVATE: Mapping[str, Corruption] = {
    "derivative_dropped": lambda rule: lambda layer, params, kept, delta: ((), delta),
    "residuals_swapped": lambda rule: (
        lambda layer, params, kept, delta: rule(layer, params, kept[::-1], delta)
    ),
    "value_for_derivative": lambda rule: lambda layer, params, kept, delta: ((), delta * kept[1]),
}


def _softmax(change: Callable[[Any, Any], Any]) -> Corruption:
    return lambda rule: lambda layer, params, p, g: ((), change(p, g))


SOFTMAX: Mapping[str, Corruption] = {
    "mean_term_dropped": _softmax(lambda p, g: p * g),
    "mean_unweighted": _softmax(lambda p, g: p * (g - jnp.mean(g, axis=1, keepdims=True))),
    "mean_over_the_batch": _softmax(lambda p, g: p * (g - jnp.sum(p * g, axis=0, keepdims=True))),
    "diagonal_only": _softmax(lambda p, g: p * (1 - p) * g),
    "probabilities_dropped": _softmax(lambda p, g: g - jnp.sum(p * g, axis=1, keepdims=True)),
}


def _changed(change: Callable[..., Any]) -> Corruption:
    """Corrupt any layer: `change(layer, params, residuals, output_grad, right)` makes the wrong result."""
    return lambda rule: lambda *given: change(*given, rule(*given))


def _kept(change: Callable[[Any], Any]) -> Corruption:
    """Let the right rule read residuals that were changed."""
    return lambda rule: lambda layer, params, kept, delta: rule(layer, params, change(kept), delta)


SCALE: Mapping[str, Corruption] = {
    "inputs_dropped": _kept(jnp.ones_like),
    "factor_dropped": _changed(lambda layer, params, kept, delta, right: (right[0], delta)),
    "grad_averaged": _changed(lambda layer, params, kept, delta, right: (right[0] / len(delta), right[1])),
}

PARAMETRIC: Mapping[str, Corruption] = {
    "inputs_not_subtracted": _changed(
        lambda layer, params, kept, delta, right: (jnp.sum(delta * kept[1], axis=0), right[1])
    ),
    "strength_dropped": _changed(
        lambda layer, params, kept, delta, right: (right[0], rule_of(layer, kept) * delta)
    ),
    "inputs_slope_dropped": _changed(
        lambda layer, params, kept, delta, right: (right[0], rule_of(layer, kept) * params[None] * delta)
    ),
    "residuals_swapped": _kept(lambda kept: kept[::-1]),
}


def rule_of(layer: Any, kept: Any) -> Any:
    """The derivative of a layer's activation at its residuals."""
    return ACTIVATIONS[layer.activation].derivative(*kept)


def _on_leaf(name: str, change: Callable[[Any], Any]) -> Corruption:
    return _after(lambda grads, back: (grads._replace(**{name: change(getattr(grads, name))}), back))


PERIODIC: Mapping[str, Corruption] = {
    "sine_and_cosine_swapped": _kept(lambda kept: (kept[0], kept[2], kept[1], kept[3])),
    "sine_of_the_other_sign": _kept(lambda kept: (kept[0], kept[1], -kept[2], kept[3])),
    "2π_dropped": _on_leaf("w1", lambda grad: grad / (2 * jnp.pi)),
    "x_dropped": _kept(lambda kept: (jnp.ones_like(kept[0]), *kept[1:])),
    "b1_grad_missing": _on_leaf("b1", jnp.zeros_like),
    "w2_grad_averaged": _on_leaf("w2", lambda grad: grad / 5),
    "b2_grad_sign": _on_leaf("b2", jnp.negative),
    "columns_shifted": _on_inputs(lambda grad: jnp.roll(grad, 1, axis=1)),
}

EMBED: Mapping[str, Corruption] = {
    "rows_shifted": _kept(lambda rows: rows + 1),
    "all_in_one_row": _kept(jnp.zeros_like),
    "unknown_not_dropped": _kept(lambda rows: jnp.minimum(rows, 4)),
    "codes_have_a_gradient": _on_inputs(lambda grad: grad + 1),
    "others_shifted": _on_inputs(lambda grad: jnp.roll(grad, 1, axis=1)),
}

DROPOUT: Mapping[str, Corruption] = {
    "mask_dropped": _changed(lambda layer, params, mask, delta, right: ((), delta)),
    "not_divided": _kept(lambda mask: None if mask is None else (mask > 0).astype(mask.dtype)),
    "mask_of_other_examples": _kept(lambda mask: None if mask is None else jnp.roll(mask, 1, axis=0)),
}


def _norm(change: Callable[[Any, Any, Any], Any]) -> Corruption:
    """Corrupt a norm's input gradient: `change(g, normal, right)` with g = γ ⊙ δ, before the division by √(v + ε)."""
    return _changed(
        lambda layer, params, kept, delta, right: (
            right[0],
            kept[1] * change(params.scale[None] * delta, kept[0], right[1] / kept[1]),
        )
    )


ANY_NORM: Mapping[str, Corruption] = {
    "statistics_taken_for_constants": _norm(lambda g, normal, right: g),
    "not_divided": _norm(lambda g, normal, right: right * (1 + jnp.square(normal))),
    "scale_grad_missing": _on_leaf("scale", jnp.zeros_like),
    "bias_grad_averaged": _on_leaf("bias", lambda grad: grad / 5),
}
LAYER_NORM: Mapping[str, Corruption] = {
    **ANY_NORM,
    "mean_kept": _norm(lambda g, normal, right: right + jnp.mean(g, axis=1, keepdims=True)),
    "variance_kept": _norm(
        lambda g, normal, right: right + normal * jnp.mean(g * normal, axis=1, keepdims=True)
    ),
    "over_the_batch": _norm(lambda g, normal, right: g - jnp.mean(g, axis=0, keepdims=True)),
}
BATCH_NORM: Mapping[str, Corruption] = {
    **ANY_NORM,
    "statistics_learnt": _on_leaf("mean", lambda grad: grad + 1),
    "weights_dropped": _kept(lambda kept: (*kept[:2], jnp.full_like(kept[2], 1 / len(kept[2])))),
    "shares_dropped": _kept(lambda kept: (*kept[:2], jnp.ones_like(kept[2]))),
}

RESIDUAL: Mapping[str, Corruption] = {
    "skip_dropped": _changed(lambda layer, params, kept, delta, right: (right[0], right[1] - delta)),
    "stack_dropped": _changed(lambda layer, params, kept, delta, right: (right[0], delta)),
    "skip_doubled": _changed(lambda layer, params, kept, delta, right: (right[0], right[1] + delta)),
}

MAXOUT: Mapping[str, Corruption] = {
    "to_every_piece": _kept(jnp.ones_like),
    "to_the_first_piece": _kept(lambda shares: jnp.ones_like(shares).at[:, :, 1:].set(0)),
    "to_the_others": _kept(lambda shares: 1 - shares),
}

COMMITTEE: Mapping[str, Corruption] = {
    "members_swapped": _kept(lambda kept: (jax.tree.map(lambda leaf: leaf[::-1], kept[0]), kept[1])),
    "inputs_averaged": _changed(
        lambda layer, params, kept, delta, right: (right[0], right[1] / layer.members)
    ),
    "members_grads_summed": _after(
        lambda grads, back: (jax.tree.map(lambda leaf: leaf + leaf[::-1], grads), back)
    ),
}

# How a layer of the registry stands in the tests: it takes three features. One not named here is made bare.
INSTANCES: Mapping[str, Callable[[], Any]] = {
    "Dense": lambda: Dense(3),
    "Activate": lambda: Activate("tanh"),
    "ParametricActivate": lambda: ParametricActivate("mish"),
    "PeriodicEmbedding": lambda: PeriodicEmbedding(columns=2, frequencies=5, sigma=0.3),
    "Embed": lambda: Embed(columns=(2, 0), codes=(2, 3), size=2),
    "Dropout": lambda: Dropout(0.4, "flat_cos"),
    "Residual": lambda: Residual([Dense(3), Activate("tanh"), Dense(3)]),
    "Maxout": lambda: Maxout(3),
    "Committee": lambda: Committee([Dense(4), Activate("tanh"), Dense(3)], 2),
}
SPECIFIC: Mapping[str, Mapping[str, Corruption]] = {
    "Dense": DENSE,
    "Activate": ACTIVATE,
    "Softmax": SOFTMAX,
    "Scale": SCALE,
    "ParametricActivate": PARAMETRIC,
    "PeriodicEmbedding": PERIODIC,
    "Embed": EMBED,
    "Dropout": DROPOUT,
    "LayerNorm": LAYER_NORM,
    "BatchNorm": BATCH_NORM,
    "Residual": RESIDUAL,
    "Maxout": MAXOUT,
    "Committee": COMMITTEE,
}


def make_layer(name: str) -> Any:
    """Make the layer of a name, which takes three features."""
    return INSTANCES.get(name, LAYERS[name])()


def layer_corruptions(name: str) -> Mapping[str, Corruption]:
    """Collect what can be corrupted in a layer's backward; for a new layer, at least what any layer has."""
    params, _ = make_layer(name).init(jax.random.key(0), 3)
    with_parameters = LAYER_WITH_PARAMETERS if jax.tree.leaves(params) else {}
    return {**ANY_LAYER, **with_parameters, **SPECIFIC.get(name, {})}
