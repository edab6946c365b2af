"""Hold backpropagation to autodiff: every activation, loss, depth, batch, width, weighting and penalty."""

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from gradient_cases import (
    FEWEST_OUTPUTS,
    ON_PROBABILITIES,
    WITH_PARAMETERS,
    assert_close,
    check_without_compiling,
    largest_difference,
    make_params,
    make_problem,
    make_targets,
    make_weight,
    plain_pass,
    plain_value,
    stack,
    target_kinds,
)
from slow_cases import others_slow

from jaxmlp.activations import ACTIVATIONS
from jaxmlp.backprop import loss as objective_of
from jaxmlp.backprop import propagate, value_and_grad
from jaxmlp.gradcheck import check_gradients
from jaxmlp.layers import Softmax
from jaxmlp.losses import LOSSES
from jaxmlp.network import Network, init, mlp
from jaxmlp.types import Batch

pytestmark = pytest.mark.usefixtures("x64")

L2 = 0.1
LOSSES_AND_KINDS = [(loss, kind) for loss in (*LOSSES, *WITH_PARAMETERS) for kind in target_kinds(loss)]


# --- the grid ---


def gradients_by_autodiff(net: Network, params: Any, inputs: Any, cases: list[tuple[str, Any]]) -> list[Any]:
    """Differentiate every example's loss, for all losses on one forward pass: leaves [losses, B, ...]."""

    def per_example(candidate: Any) -> Any:
        outputs = propagate(net, candidate, Batch(inputs, None))[0][-1]
        probabilities, _ = Softmax().forward((), outputs)
        values = [
            LOSSES[name].value(probabilities if name in ON_PROBABILITIES else outputs, targets)
            for name, targets in cases
        ]
        return jnp.stack(values)

    return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jacrev(per_example)(params))]


def mean_and_penalty(slopes: Any, leaf: Any, weight: Any, l2: float | None) -> Any:
    """Average a tensor's gradients per example and add l2·w where it is a weight; in NumPy."""
    mean = np.average(slopes, axis=0, weights=weight)
    return mean if l2 is None or leaf.ndim == 1 else mean + l2 * np.asarray(leaf)


def bound_by_terms(net: Network, params: Any, inputs: Any, targets: Any, **keywords: Any) -> list[float]:
    """Take the whole bound, 1e-10·‖auto‖∞ + 1e-14·s, tensor by tensor; only near-cancellations need it."""
    report = check_gradients(net, params, inputs, targets, finite_differences=False, **keywords)
    return [row.autodiff_bound for row in report.rows]


@pytest.mark.parametrize("depth", others_slow([2, 1, 4]))
@pytest.mark.parametrize("activation", others_slow(ACTIVATIONS, kept=6))
def test_by_hand_equals_autodiff_for_every_loss_batch_width_weighting_and_penalty(
    activation: str, depth: int
) -> None:
    # Un-jitted, and autodiff goes forward once for all losses and batches: some 7,300 cases in half a minute.
    # The mean and the penalty are taken in NumPy: no reduction of the package judges itself.
    random = np.random.default_rng(0)
    compared = 0
    for outputs in (1, 3):
        net = stack(activation, "", depth=depth, outputs=outputs)
        params, inputs = make_params(net, random), jnp.asarray(random.normal(size=(5, 3)))
        cases = [
            (loss, make_targets(kind, random, 5, outputs))
            for loss, kind in LOSSES_AND_KINDS
            if outputs >= FEWEST_OUTPUTS.get(loss, 1)
        ]
        by_autodiff = gradients_by_autodiff(net, params, inputs, cases)
        for (number, (loss, targets)), examples, weighted, l2 in product(
            enumerate(cases), (1, 5), (False, True), (None, L2)
        ):
            weight = make_weight(examples) if weighted else None
            on_probabilities = loss in ON_PROBABILITIES
            case_net = Network(3, (*net.layers, Softmax())) if on_probabilities else net
            case_params = (*params, ()) if on_probabilities else params
            batch = (case_net, case_params, inputs[:examples], targets[:examples])
            keywords = {"loss": loss, "sample_weight": weight, "l2": l2}
            grads = jax.tree.leaves(plain_pass(*batch, **keywords).grads)
            rows = zip(grads, by_autodiff, jax.tree.leaves(params), strict=True)
            for tensor, (by_hand, slopes, leaf) in enumerate(rows):
                expected = mean_and_penalty(slopes[number, :examples], leaf, weight, l2)
                error = largest_difference(by_hand, expected)
                if not error <= 1e-10 * np.max(np.abs(expected)):
                    case = f"{loss}, B={examples}, K={outputs}, weighted={weighted}, l2={l2}, tensor {tensor}"
                    assert error <= bound_by_terms(*batch, **keywords)[tensor], case
                compared += 1
    kinds_at_one_output = len(LOSSES_AND_KINDS) - len(FEWEST_OUTPUTS)
    assert compared == 2 * (len(LOSSES_AND_KINDS) + kinds_at_one_output) * 4 * (2 * depth)


def test_losses_that_compare_classes_refuse_a_single_output() -> None:
    for loss, fewest in FEWEST_OUTPUTS.items():
        problem = make_problem(stack("tanh", loss, outputs=fewest - 1), LOSSES[loss].targets)
        refused("at least 2 outputs", value_and_grad, *problem, loss=loss)


def test_soft_labels_need_not_sum_to_one() -> None:
    net, params, inputs, targets = make_problem(stack("tanh", "softmax_cross_entropy"), "soft_labels")
    assert check_gradients(net, params, inputs, 1.7 * targets, finite_differences=False).passed


# --- float32 at training size ---


@pytest.mark.parametrize(
    ("sizes", "examples"),
    [((784, 512, 512, 10), 128), ((784, 300, 10), 32)],
    ids=["784-512-512-10", "784-300-10"],
)
def test_float32_at_training_size_is_near_the_float64_gradient(sizes: tuple[int, ...], examples: int) -> None:
    random = np.random.default_rng(0)
    net = mlp(sizes)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), init(net, jax.random.key(0)))
    wide = jax.tree.map(lambda leaf: leaf + 0.01 * (leaf.ndim == 1), wide)
    inputs, targets = random.uniform(size=(examples, 784)), jnp.asarray(random.integers(0, 10, examples))
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), wide)
    wide, inputs = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (narrow, jnp.float32(inputs)))
    _, in_float64 = value_and_grad(net, wide, inputs, targets)
    _, in_float32 = value_and_grad(net, narrow, inputs.astype(jnp.float32), targets)
    for short, long in zip(jax.tree.leaves(in_float32), jax.tree.leaves(in_float64), strict=True):
        assert short.dtype == jnp.float32
        assert np.linalg.norm(np.asarray(short, np.float64) - np.asarray(long)) <= 5e-6 * np.linalg.norm(long)


# --- under jit, vmap and scan ---


@pytest.fixture
def problem() -> tuple[Any, ...]:
    """A weighted, penalised problem with B = 5 and K = 3."""
    return make_problem(stack("gelu", "softmax_cross_entropy", depth=2), "labels")


def test_value_is_the_loss_and_gradients_have_the_parameters_structure(problem: Any) -> None:
    keywords = {"sample_weight": make_weight(5), "l2": L2}
    value, grads = value_and_grad(*problem, **keywords)
    assert float(value) == pytest.approx(float(objective_of(*problem, **keywords)), rel=1e-14)
    assert jax.tree.structure(grads) == jax.tree.structure(problem.params)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), grads)
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), problem.params)


def test_jitted_equals_unjitted(problem: Any) -> None:
    keywords = {"sample_weight": make_weight(5), "l2": L2}
    plain = plain_pass(*problem, **keywords)
    inside = jax.jit(lambda params: value_and_grad(problem.net, params, *problem[2:], **keywords))(
        problem.params
    )
    assert_close(inside, (plain.value, plain.grads))
    assert_close(value_and_grad(*problem, **keywords), (plain.value, plain.grads))


def test_batch_gradient_is_the_weighted_mean_of_gradients_per_example(problem: Any) -> None:
    net, params, inputs, targets = problem
    weight = make_weight(5)

    def of_one(row: Any, target: Any) -> Any:
        return value_and_grad(net, params, row[None], target[None])

    each = jax.vmap(of_one)(inputs, targets)
    averaged = jax.tree.map(lambda leaf: np.average(leaf, axis=0, weights=weight), each)
    assert_close(value_and_grad(*problem, sample_weight=weight), averaged)


def test_gradients_of_several_networks_under_vmap_are_those_of_each(problem: Any) -> None:
    net, params, inputs, targets = problem
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf, -leaf]), params)
    together = jax.vmap(lambda one: value_and_grad(net, one, inputs, targets, l2=L2))(several)
    for number in range(3):
        one = jax.tree.map(lambda leaf, number=number: leaf[number], several)
        found = jax.tree.map(lambda leaf, number=number: leaf[number], together)
        assert_close(found, value_and_grad(net, one, inputs, targets, l2=L2))


def test_gradients_inside_a_scan_equal_those_outside(problem: Any) -> None:
    net, params, inputs, targets = problem

    def step(carried: Any, batch: Any) -> Any:
        value, grads = value_and_grad(net, carried, *batch, l2=L2)
        return jax.tree.map(lambda leaf, grad: leaf - 0.1 * grad, carried, grads), (value, grads)

    batches = (jnp.stack([inputs, 2 * inputs, -inputs]), jnp.stack([targets, (targets + 1) % 3, targets]))
    _, scanned = jax.lax.scan(step, params, batches)
    carried = params
    for number in range(3):
        carried, outside = step(carried, (batches[0][number], batches[1][number]))
        assert_close(jax.tree.map(lambda leaf, number=number: leaf[number], scanned), outside)


# --- one reduction for loss and gradient ---


@pytest.mark.parametrize(("loss", "kind"), LOSSES_AND_KINDS)
def test_value_is_the_weighted_mean_plus_the_penalty_on_weights(loss: str, kind: str) -> None:
    net, params, inputs, targets = make_problem(stack("tanh", loss), kind)
    weight = make_weight(5)
    outputs = propagate(net, params, Batch(inputs, targets))[0][-1]
    each = np.asarray(LOSSES[loss].value(outputs, targets))
    penalty = L2 / 2 * sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
    plain = plain_value(net, params, inputs, targets, loss=loss)
    assert float(plain) == pytest.approx(np.mean(each), rel=1e-13)
    full = plain_value(net, params, inputs, targets, loss=loss, sample_weight=weight, l2=L2)
    assert float(full) == pytest.approx(np.average(each, weights=weight) + penalty, rel=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_count_by_their_share_of_the_sum(loss: str) -> None:
    net, params, inputs, targets = make_problem(stack("tanh", loss), target_kinds(loss)[-1])

    def run(inputs: Any, targets: Any, weight: Any) -> Any:
        found = plain_pass(net, params, inputs, targets, loss=loss, sample_weight=weight)
        return found.value, found.grads

    plain = run(inputs, targets, None)
    # Scaled weights are the same shares.
    weight = make_weight(5)
    assert_close(run(inputs, targets, 7 * weight), run(inputs, targets, weight), relative=1e-13)
    assert_close(run(inputs, targets, 7 * jnp.ones(5)), plain, relative=1e-13)
    # An example given twice counts as weight 2.
    twice = jnp.array([0, 1, 2, 3, 4, 2])
    doubled = run(inputs, targets, jnp.array([1.0, 1.0, 2.0, 1.0, 1.0]))
    assert_close(run(inputs[twice], targets[twice], None), doubled, relative=1e-12)
    # Appended rows of weight 0 change nothing.
    rows = jnp.concatenate([inputs, 100 + 0 * inputs[:1]])
    padded = run(rows, targets[jnp.array([0, 1, 2, 3, 4, 0])], jnp.concatenate([jnp.ones(5), jnp.zeros(1)]))
    assert_close(padded, plain, relative=1e-12)
    # Weights that are all 0 give no loss and no gradient.
    value, grads = run(inputs, targets, jnp.zeros(5))
    assert float(value) == 0
    assert all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(grads))


def test_weights_of_another_shape_are_refused_and_one_that_is_nan_is_seen(problem: Any) -> None:
    for weight in (jnp.ones(4), jnp.ones((5, 1)), jnp.ones(())):
        refused("sample_weight must have shape [5]", value_and_grad, *problem, sample_weight=weight)
    assert np.isnan(objective_of(*problem, sample_weight=jnp.ones(5).at[0].set(jnp.nan))), (
        "a NaN must be seen"
    )


# --- the penalty ---


@pytest.mark.parametrize("loss", LOSSES)
def test_penalty_acts_on_weights_and_not_on_biases(loss: str) -> None:
    net, params, inputs, targets = make_problem(stack("relu", loss), target_kinds(loss)[0])
    with_penalty = plain_pass(net, params, inputs, targets, loss=loss, l2=L2)
    without = plain_pass(net, params, inputs, targets, loss=loss)
    dense = [entry for entry in params if entry != ()]
    expected = L2 / 2 * sum(np.sum(np.square(entry.w)) for entry in dense)
    assert float(with_penalty.value - without.value) == pytest.approx(expected, rel=1e-12)
    for found, plain, entry in zip(with_penalty.grads, without.grads, params, strict=True):
        if entry != ():
            assert_close(found.w - plain.w, L2 * entry.w, relative=1e-12)
            assert largest_difference(found.b, plain.b) == 0


def test_penalty_may_be_traced(problem: Any) -> None:
    traced = jax.jit(lambda l2: value_and_grad(*problem, l2=l2))(jnp.asarray(L2))
    assert_close(traced, value_and_grad(*problem, l2=L2))
    assert_close(value_and_grad(*problem, l2=0.0), value_and_grad(*problem, l2=jnp.asarray(0.0)))


# --- fused and unfused ---


@pytest.mark.parametrize("weight", [None, [0.7, 0.0, 2.0, 0.3, 1.1]], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_softmax_layer_and_likelihood_equal_the_fused_cross_entropy(outputs: int, weight: Any) -> None:
    fused = make_problem(stack("tanh", "softmax_cross_entropy", depth=2, outputs=outputs), "labels")
    unfused_net = Network(3, (*fused.net.layers, Softmax()))
    keywords = {"sample_weight": None if weight is None else jnp.asarray(weight), "l2": L2}
    one = value_and_grad(*fused, loss="softmax_cross_entropy", **keywords)
    two = value_and_grad(
        unfused_net, (*fused.params, ()), *fused[2:], loss="negative_log_likelihood", **keywords
    )
    assert_close(two, (one[0], (*one[1], ())), relative=1e-12, absolute=1e-15)


# --- against finite differences ---

# No kink anywhere near the sampled stencils of these: smooth everywhere.
SMOOTH = (
    *("identity", "gelu", "gelu_tanh", "silu", "mish", "softplus", "sigmoid", "tanh", "scaled_tanh"),
    *("softmax_cross_entropy", "sigmoid_cross_entropy", "negative_log_likelihood"),
    *("half_squared_error", "squared_error", "mean_squared_error", "poisson", "softmax_cross_entropy:0.1"),
)
LARGEST_SKIPPED_SHARE = 0.05


@pytest.fixture
def unjitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile the finite differences alone."""
    check_without_compiling(monkeypatch)


def assert_differences_agree(name: str, net: Network, loss: str, kind: str) -> None:
    problem = make_problem(net, kind)
    report = check_gradients(*problem, loss=loss, sample_weight=make_weight(5), l2=L2)
    assert report.passed, f"\n{report}"
    assert report.direction is not None
    entries = [min(64, leaf.size) for leaf in jax.tree.leaves(problem.params)]
    assert [row.sampled + row.skipped for row in report.rows] == entries
    skipped = sum(row.skipped for row in report.rows)
    assert skipped <= (0 if name in SMOOTH else LARGEST_SKIPPED_SHARE * sum(entries))
    assert report.direction.sampled == 1 or name not in SMOOTH


@pytest.mark.parametrize("activation", others_slow([*ACTIVATIONS, "leaky_relu:0.1", "elu:0.5"], kept=4))
def test_every_activation_agrees_with_finite_differences(unjitted: None, activation: str) -> None:
    net = mlp([6, 11, 3], activation=activation)
    assert_differences_agree(activation, net, "half_squared_error", "values")


@pytest.mark.parametrize(
    ("loss", "kind"),
    others_slow((pytest.param(*case) for case in [*LOSSES_AND_KINDS, ("huber:0.3", "values")]), kept=5),
)
def test_every_loss_agrees_with_finite_differences(unjitted: None, loss: str, kind: str) -> None:
    end = "softmax" if loss in ON_PROBABILITIES else None
    net = mlp([6, 11, 3], activation="tanh", output_activation=end)
    assert_differences_agree(loss, net, loss, kind)
