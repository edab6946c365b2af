"""The network: a tuple of layers, its parameters, and what it predicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxmlp.checks import as_array, check_finite, check_key
from jaxmlp.layers import LAYERS, Activate, BatchNorm, Committee, Dense, Layer, Residual, Softmax
from jaxmlp.layers.layer import check_layers, draw_layers, is_scheduled, layer_title
from jaxmlp.losses import Loss, resolve_loss
from jaxmlp.registry import unknown_name
from jaxmlp.types import ArgumentError, Key, Params, check_whole

TASKS = ("classification", "multilabel", "regression")


@dataclass(frozen=True)
class Network:
    """A static description: the number of inputs and the layers they go through.

    Two networks described alike are equal and hash alike, so a compiled function serves both.

    Args:
        in_features: I of the first layer, at least 1.
        layers: the layers in order, first to last; any sequence, kept as a tuple.

    Raises:
        ArgumentError: `in_features` is not a positive integer, there is no layer, or something
            among the layers is not one.

    Example:
        >>> net = Network(2, [Dense(3), Activate("tanh"), Dense(2), Softmax()])
        >>> net == Network(2, [Dense(3), Activate("tanh"), Dense(2), Softmax()])
        True
    """

    in_features: int
    layers: tuple[Layer, ...]

    def __init__(self, in_features: int, layers: Sequence[Layer]) -> None:
        in_features = int(in_features) if isinstance(in_features, np.integer) else in_features
        object.__setattr__(self, "in_features", in_features)
        object.__setattr__(self, "layers", tuple(layers))
        check_whole("a network's number of inputs", in_features)
        if not self.layers:
            raise ArgumentError(
                "a network needs at least one layer, given none: for instance Network(2, [Dense(1)])"
            )
        check_layers(self.layers)

    @property
    def scheduled(self) -> bool:
        """Whether a layer asks how far training is."""
        return is_scheduled(self.layers)

    def __str__(self) -> str:
        """A table: layer, output shape, parameters; the total below it."""
        shapes = layer_shapes(self)
        rows = [("layer", "output", "parameters"), ("input", f"[B, {self.in_features}]", "")]
        for layer, shape in zip(self.layers, shapes, strict=True):
            count = f"{shape.parameters:,}" if shape.parameters else ""
            rows.append((layer_title(layer), f"[B, {shape.out_features}]", count))
        rows.append(("total", "", f"{sum(shape.parameters for shape in shapes):,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        return "\n".join(line.rstrip() for line in lines)


class LayerShape(NamedTuple):
    """What a layer makes of its inputs."""

    out_features: int
    parameters: int  # how many numbers its parameters hold
    params: Params  # their shapes and types, as `jax.ShapeDtypeStruct` leaves


def layer_shapes(net: Network) -> tuple[LayerShape, ...]:
    """Work out every layer's output size and parameter shapes without drawing anything."""
    widths: list[int] = []

    def draw(key: Key) -> Params:
        params, found = draw_layers(net.layers, key, net.in_features)
        widths.extend(found)
        return params

    params = jax.eval_shape(draw, jax.random.key(0))
    counts = [sum(prod(leaf.shape) for leaf in jax.tree.leaves(layer_params)) for layer_params in params]
    return tuple(map(LayerShape, widths, counts, params))


def mlp(
    sizes: Sequence[int],
    *,
    activation: str = "relu",
    output_activation: str | None = None,
    init: str = "he_normal",
    bias_init: str = "zeros",
    bias: bool = True,
    precision: str | None = "float32",
) -> Network:
    """Describe the usual stack: dense layers with an activation between them.

    The outputs are logits or predictions, on which the losses are defined. An `output_activation`
    of "softmax" ends the stack with a `Softmax` layer, for negative log-likelihood.

    Args:
        sizes: features of input, hidden layers and output, as [784, 300, 10]; at least two.
        activation: the hidden layers' activation, by name.
        output_activation: what follows the last dense layer; None for nothing.
        init: initialiser of the weights, by name.
        bias_init: initialiser of the biases, by name.
        bias: whether the dense layers have a bias.
        precision: of matrix products, see `Dense`.

    Returns:
        The network's description; `init` draws its parameters.

    Raises:
        ArgumentError: fewer than two sizes, a size below 1, or an unknown name.

    Example:
        >>> print(mlp([784, 300, 10]))
        layer  output    parameters
        input  [B, 784]
        dense  [B, 300]     235,500
        relu   [B, 300]
        dense  [B, 10]        3,010
        total               238,510
    """
    if len(sizes) < 2:
        raise ArgumentError(
            f"sizes must name at least inputs and outputs, as [784, 300, 10]: given {list(sizes)}"
        )
    make_dense = partial(Dense, bias=bias, weight_init=init, bias_init=bias_init, precision=precision)
    activate = Activate(activation)  # also where no hidden layer uses it: a misspelt name is told
    layers: list[Layer] = []
    for features in sizes[1:-1]:
        layers += [make_dense(features), activate]
    layers.append(make_dense(sizes[-1]))
    if output_activation is not None:
        layers.append(Softmax() if output_activation == "softmax" else Activate(output_activation))
    return Network(sizes[0], layers)


@partial(jax.jit, static_argnums=0)
def init(net: Network, key: Key) -> Params:
    """Draw a network's parameters.

    Args:
        net: the network.
        key: random key.

    Returns:
        A tuple with one entry a layer: `DenseParams` for a dense layer, () for one without parameters;
        in JAX's default float type (float32, or float64 when x64 is enabled).

    Example:
        >>> params = init(mlp([2, 3, 1]), jax.random.key(0))
        >>> params[0].w.shape, params[1]
        ((2, 3), ())
    """
    check_network(net)
    check_key(key)
    return draw_layers(net.layers, key, net.in_features)[0]


# Runs once, and compiling is what it costs.
@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def init_from_data(net: Network, key: Key, inputs: Float[Array, "N I"]) -> Params:
    """Draw a network's parameters and fit those of its dense layers to data, first layer to last.

    Each unit's weights are scaled to give its pre-activation w·x a standard deviation of 1 over the examples. Its
    bias is −w·x̄, where x̄ is a random convex combination of 5 examples, so its kink lies among them. A unit that is
    constant over the examples keeps its weights. A `BatchNorm` is calibrated.

    Source: "he+5" of Steinwart 2019, with the scaling of RealMLP (Holzmüller, Grinsztajn and Steinwart 2024).

    Args:
        net: the network.
        key: random key.
        inputs: [N, I], training examples, at least one.

    Returns:
        Parameters as those of `init`.

    Raises:
        ArgumentError: the inputs do not fit the network.

    Example:
        >>> net, inputs = mlp([2, 3, 1]), jax.random.normal(jax.random.key(1), (50, 2))
        >>> first = init_from_data(net, jax.random.key(0), inputs)[0]
        >>> (inputs @ first.w).std(axis=0).round(3).tolist()
        [1.0, 1.0, 1.0]
    """
    check_key(key)
    draw_key, fit_key = jax.random.split(key)
    params = draw_layers(net.layers, draw_key, net.in_features)[0]
    check_fit(net, params, inputs)
    return _adapt(net.layers, params, inputs, _fitting(fit_key))


def _fitting(key: Key) -> Callable[[Layer, Params, Array], Params]:
    """Make what fits drawn parameters of a layer to its inputs."""
    places = count()

    def fit(layer: Layer, params: Params, inputs: Array) -> Params:
        own = jax.random.fold_in(key, next(places))
        if isinstance(layer, Committee):

            def member(params: Params, member_key: Key) -> Params:
                return _adapt(layer.layers, params, inputs, _fitting(member_key))

            return jax.vmap(member)(params, jax.random.split(own, layer.members))
        if isinstance(layer, Dense):
            return layer.init_from_data(params, own, inputs)
        return _measure(layer, params, inputs)

    return fit


@partial(jax.jit, static_argnums=0)
def calibrate(
    net: Network, params: Params, inputs: Float[Array, "N I"], sample_weight: Float[Array, "N"] | None = None
) -> Params:
    """Measure the population's mean and variance for each `BatchNorm`, which inference takes in place of a batch's.

    Source: Ioffe and Szegedy 2015, algorithm 2, over all examples at once.

    Args:
        net: the network.
        params: its parameters, after training.
        inputs: [N, I], the training data.
        sample_weight: [N], what each example counts; None means 1 for each.

    Returns:
        The parameters with mean and variance set; all others as they were.

    Raises:
        ArgumentError: the inputs or the parameters do not fit the network.

    Example:
        >>> net = Network(1, [BatchNorm()])
        >>> calibrate(net, init(net, jax.random.key(0)), jnp.array([[1.0], [3.0]]))[0].mean.tolist()
        [2.0]
    """
    check_fit(net, params, inputs)
    return _adapt(net.layers, params, inputs, partial(_measure, weight=sample_weight))


def _measure(layer: Layer, params: Params, inputs: Array, weight: Any = None) -> Params:
    if isinstance(layer, Committee):
        measure = partial(_measure, weight=weight)
        return jax.vmap(lambda own: _adapt(layer.layers, own, inputs, measure))(params)
    return layer.calibrate(params, inputs, weight) if isinstance(layer, BatchNorm) else params


def _adapt(layers: Sequence[Layer], params: Params, inputs: Array, change: Callable[..., Params]) -> Params:
    """Go through layers at inference, after `change(layer, params, inputs)` has set the parameters of each."""
    adapted = []
    for layer, layer_params in zip(layers, params, strict=True):
        if isinstance(layer, Residual):
            layer_params = _adapt(layer.layers, layer_params, inputs, change)
        else:
            layer_params = change(layer, layer_params, inputs)
        adapted.append(layer_params)
        inputs, _ = layer.forward(layer_params, inputs)
    return tuple(adapted)


def check_network(net: Any) -> None:
    """Raise an ArgumentError unless what is given is a network."""
    if not isinstance(net, Network):
        raise ArgumentError(f"net must be a Network, as mlp([4, 8, 3]) makes one, given {type(net).__name__}")


def check_head(net: Network, loss: str | Loss, *, trains: bool = True) -> None:
    """Raise an ArgumentError where the last layer does not make what a loss takes; logits, only where it `trains`."""
    takes, last = resolve_loss(loss).takes, net.layers[-1]
    is_own = not isinstance(last, tuple(LAYERS.values()))  # of the user: what it makes is not known
    if takes == "probabilities" and not (is_own or isinstance(last, Softmax)):
        remedy = "end it in Softmax() (output_activation='softmax'), or choose softmax_cross_entropy"
    elif takes == "logits" and trains and outputs_are_probabilities(net):
        remedy = "leave that layer out, or choose negative_log_likelihood after a softmax"
    elif takes == "rates" and not (is_own or outputs_are_probabilities(net) or last == Activate("softplus")):
        remedy = "end it in Activate('softplus'), as mlp(…, output_activation='softplus') does"
    else:
        return
    raise ArgumentError(f"this loss takes {takes}, and the network ends in {layer_title(last)}: {remedy}")


@cache
def count_outputs(net: Network) -> int:
    """Count a network's outputs: K."""
    return layer_shapes(net)[-1].out_features


def check_fit(net: Network, params: Params, inputs: Float[Array, "B I"]) -> None:
    """Raise an ArgumentError unless inputs and parameters have the shapes that a network takes."""
    check_network(net)
    if jnp.ndim(inputs) != 2 or jnp.shape(inputs)[1] != net.in_features:
        raise ArgumentError(
            f"inputs must have shape [B, {net.in_features}] for this network, given {list(jnp.shape(inputs))}"
            + ("; reshape one example to [1, I]" if jnp.ndim(inputs) == 1 else "")
        )
    if not isinstance(params, tuple) or len(params) != len(net.layers):
        raise ArgumentError(
            f"params must be a tuple with one entry for each of the network's {len(net.layers)} layers: "
            "make them with init(net, key)"
        )
    structure, shapes = _expected_params(net)
    found = [np.shape(leaf) for leaf in jax.tree.leaves(params)]
    if jax.tree.structure(params) != structure or found != shapes:
        raise ArgumentError(
            f"params are those of another network: this one's have shapes {[list(shape) for shape in shapes]}, "
            f"given {[list(shape) for shape in found]}; make them with init(net, key)"
        )


@cache
def _expected_params(net: Network) -> tuple[Any, list[tuple[int, ...]]]:
    params = tuple(shape.params for shape in layer_shapes(net))
    return jax.tree.structure(params), [leaf.shape for leaf in jax.tree.leaves(params)]


def forward(net: Network, params: Params, inputs: Float[Array, "B I"]) -> Float[Array, "B K"]:
    """Compute the network's outputs at inference.

    Args:
        net: the network.
        params: its parameters.
        inputs: [B, I].

    Returns:
        Logits or predictions, [B, K].

    Raises:
        ArgumentError: the inputs or the parameters do not fit the network.

    Example:
        >>> net = mlp([2, 3, 1])
        >>> forward(net, init(net, jax.random.key(0)), jnp.ones((4, 2))).shape
        (4, 1)
    """
    return _forward(net, params, as_array(inputs, "inputs"))


@partial(jax.jit, static_argnums=0)
def _forward(net: Network, params: Params, inputs: Float[Array, "B I"]) -> Float[Array, "B K"]:
    check_fit(net, params, inputs)
    outputs = inputs
    for layer, layer_params in zip(net.layers, params, strict=True):
        outputs, _ = layer.forward(layer_params, outputs)
    return outputs


def predict(
    net: Network,
    params: Params,
    inputs: Float[Array, "B I"],
    *,
    task: str,
    loss: str | None = None,
    probabilities: bool = False,
) -> Any:
    """Predict classes, probabilities or values.

    Args:
        net: the network.
        params: its parameters.
        inputs: [B, I].
        task: "classification" (one class an example; a single output is the logit of class 1),
            "multilabel" (each output is the logit of one label) or "regression".
        loss: the loss it was trained with; it says how outputs become probabilities.
        probabilities: whether to return probabilities instead of classes.

    Returns:
        classification: classes [B], or probabilities [B, K] ([B, 2] for a single output);
        multilabel: 0 or 1 for each label [B, K], or its probability [B, K]; regression: values [B, K].

    Raises:
        ArgumentError: unknown task or loss, inputs that do not fit, or probabilities asked of a network whose
            outputs are none (a regression, or trained with a squared error or hinge).

    Example:
        >>> net = mlp([2, 3])
        >>> predict(net, init(net, jax.random.key(0)), jnp.zeros((4, 2)), task="classification").tolist()
        [0, 0, 0, 0]
    """
    if not isinstance(task, str) or task not in TASKS:
        raise unknown_name("task", str(task), TASKS)
    inputs = as_array(inputs, "inputs")
    check_fit(net, params, inputs)
    threshold = class_threshold(net, loss)
    if not isinstance(inputs, jax.core.Tracer):
        check_finite(np.asarray(inputs), "feature(s)", "inputs")
    outputs = forward(net, params, inputs)
    if task == "regression":
        if probabilities:
            raise ArgumentError("a regression predicts values and has no probabilities: ask for the values")
        return outputs
    if probabilities:
        return _probabilities(net, outputs, task, loss)
    if task == "multilabel":
        return (outputs > threshold).astype(jnp.int32)
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > threshold).astype(jnp.int32)
    return jnp.argmax(outputs, axis=1)


def class_threshold(net: Network, loss: str | Loss | None) -> float:
    """Halfway between class 0 and class 1: a logit of 0, or 0.5 of probabilities and of outputs fitted to 0 and 1."""
    is_fitted = loss is not None and resolve_loss(loss).targets == "values"
    return 0.5 if is_fitted or outputs_are_probabilities(net) else 0.0


def outputs_are_probabilities(net: Network) -> bool:
    """Tell whether a network ends in a softmax or sigmoid."""
    return net.layers[-1] in (Softmax(), Activate("sigmoid"))


def _probabilities(
    net: Network, outputs: Float[Array, "B K"], task: str, loss: str | None
) -> Float[Array, "B K"]:
    single, loss = task == "multilabel" or outputs.shape[1] == 1, loss and loss.partition(":")[0]
    # One label against the rest, each with its own logit, is brought to a sum of 1 by its logarithms: no 0/0.
    if outputs_are_probabilities(net):
        is_one = single or isinstance(net.layers[-1], Softmax)
        least = jnp.finfo(outputs.dtype).tiny
        probabilities = outputs if is_one else jax.nn.softmax(jnp.log(jnp.maximum(outputs, least)), axis=1)
    elif loss == "sigmoid_cross_entropy" or (loss is None and single):
        probabilities = (
            jax.nn.sigmoid(outputs) if single else jax.nn.softmax(jax.nn.log_sigmoid(outputs), axis=1)
        )
    elif loss == "softmax_cross_entropy" or loss is None:
        probabilities = jax.nn.softmax(outputs, axis=1)
    else:
        raise ArgumentError(
            "this network's outputs are no probabilities: ask for classes, or train it with a cross-entropy"
        )
    if task == "classification" and outputs.shape[1] == 1:
        return jnp.concatenate([1 - probabilities, probabilities], axis=1)
    return probabilities
