"""Backpropagation where it is easiest to get wrong: at kinks, at extremes and in stacks nobody planned."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_cases import (
    FEWEST_OUTPUTS,
    ON_PROBABILITIES,
    WITH_KNOWN_DIFFERENCES,
    Problem,
    check_without_compiling,
    has_known_difference,
    make_problem,
    make_weight,
    plain_pass,
    stack,
    target_kinds,
)
from gradient_corruptions import make_layer
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxmlp.activations import ACTIVATIONS
from jaxmlp.gradcheck import check_gradients
from jaxmlp.layers import (
    LAYERS,
    Activate,
    BatchNorm,
    Dense,
    DenseParams,
    Dropout,
    Embed,
    Layer,
    LayerNorm,
    ParametricActivate,
    PeriodicEmbedding,
    Residual,
    Scale,
    Softmax,
)
from jaxmlp.losses import LOSSES
from jaxmlp.network import Network, forward


@pytest.fixture
def _unjitted_in_float64(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    check_without_compiling(monkeypatch)


in_float64 = pytest.mark.usefixtures("_unjitted_in_float64")


# --- at kinks; those of single activations and losses are in their own tests ---


@in_float64
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_preactivations_on_whole_numbers_stay_within_the_bound(activation: str) -> None:
    # Every kink of the registry lies at a whole number.
    net = Network(1, [Dense(3, bias=False), Activate(activation), Dense(3)])
    params = (DenseParams(jnp.array([[0.0, 1.0, -1.0]])), (), DenseParams(jnp.eye(3), jnp.ones(3)))
    inputs = jnp.array([[0.0], [1.0], [6.0], [-6.0], [2.0]])
    targets = jnp.zeros((5, 3))
    assert check_gradients(
        net, params, inputs, targets, loss="half_squared_error", finite_differences=False
    ).passed


@in_float64
@pytest.mark.parametrize("loss", WITH_KNOWN_DIFFERENCES)
def test_a_known_difference_shows_in_the_report_and_finite_differences_leave_it_out(loss: str) -> None:
    net, params = Network(1, [Dense(3)]), (DenseParams(jnp.zeros((1, 3)), jnp.zeros(3)),)
    targets = jnp.array([0]) if LOSSES[loss].targets == "labels" else jnp.zeros((1, 3))
    report = check_gradients(net, params, jnp.ones((1, 1)), targets, loss=loss)
    assert not report.passed
    assert [row.skipped for row in report.rows] == ([2, 2] if loss == "multiclass_hinge" else [3, 3])


def test_away_from_these_places_there_is_no_known_difference() -> None:
    tied, labels = np.zeros((1, 3)), np.array([0])
    for loss in LOSSES:
        targets = labels if LOSSES[loss].targets == "labels" else tied
        assert has_known_difference(loss, tied, targets) == (loss in WITH_KNOWN_DIFFERENCES)
    for scores in ([2.0, 1.0, 0.0], [0.0, 1.0, 1.0]):  # at the margin, and where rivals tie
        assert has_known_difference("multiclass_hinge", np.array([scores]), labels)
    assert not has_known_difference("multiclass_hinge", np.array([[0.0, 0.5, 0.2]]), labels)
    assert not has_known_difference("absolute_error", tied, tied + 0.1)


# --- extremes ---


def assert_passes_at_extremes(activation: str, loss: str) -> None:
    net = stack(activation, loss)
    problem = make_problem(net, target_kinds(loss)[0], scale=1e4)
    found = plain_pass(*problem, loss=loss)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((found.value, found.grads)))
    report = check_gradients(*problem, loss=loss, finite_differences=False)
    assert report.passed, f"\n{report}"


@in_float64
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_at_inputs_of_ten_thousand(activation: str) -> None:
    assert_passes_at_extremes(activation, "softmax_cross_entropy")


@in_float64
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_at_inputs_of_ten_thousand(loss: str) -> None:
    assert_passes_at_extremes("identity", loss)


# --- every layer, at both ---

TRAINING: dict[str, Any] = {"train": True, "key": jax.random.key(0), "progress": 0.6}


@in_float64
@pytest.mark.parametrize("training", [TRAINING, pytest.param({}, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_at_kinks_ties_and_inputs_of_ten_thousand(name: str, training: dict[str, Any]) -> None:
    above = [] if name == "Committee" else [Dense(3)]  # a committee ends a network
    net = Network(3, [make_layer(name), *above])
    net, params, inputs, targets = make_problem(net, "values", scale=1e4)
    whole = jnp.array([[0.0, 0, 0], [1, 1, 1], [-1, 2, -1], [3, 3, -6], [1e4, -1e4, 1e4]])
    for rows in (inputs, whole):
        keywords = {"loss": "half_squared_error", "sample_weight": make_weight(5), **training}
        report = check_gradients(net, params, rows, targets, finite_differences=False, **keywords)
        assert report.passed, f"\n{report}"


# --- stacks nobody planned ---

FOR_ANY_INPUTS = [
    *(Softmax(), Scale(), ParametricActivate("selu"), Dropout(0.3, "flat_cos"), LayerNorm(), BatchNorm()),
    *(PeriodicEmbedding(columns=1, form=form) for form in ("pbld", "pl", "plr")),
    *(Embed((0,), (2,), size=2), Residual([LayerNorm(), Activate("gelu"), Residual([Dropout(0.1)])])),
]


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Problem, dict[str, Any]]:
    """Draw layers in any order (activations twice in a row, Softmax in the middle), a batch and an objective."""
    plain = {"weight_init": "normal:1", "parametrisation": "ntk"}
    layer = st.one_of(
        st.builds(Dense, st.integers(1, 6), bias=st.booleans()),
        st.builds(Activate, st.sampled_from([*ACTIVATIONS, "leaky_relu:0.1"])),
        st.builds(Dense, st.integers(1, 6), **{name: st.just(value) for name, value in plain.items()}),
        st.sampled_from(FOR_ANY_INPUTS),
    )
    layers: list[Layer] = draw(st.lists(layer, min_size=1, max_size=5))
    loss = draw(st.sampled_from(list(LOSSES)))
    widths = [layer.features for layer in layers if isinstance(layer, Dense)]
    if not widths or widths[-1] < FEWEST_OUTPUTS.get(loss, 1):
        layers.append(Dense(draw(st.integers(FEWEST_OUTPUTS.get(loss, 1), 6))))
    if loss in ON_PROBABILITIES:
        layers.append(Softmax())
    examples = draw(st.integers(1, 6))
    kind = draw(st.sampled_from(target_kinds(loss)))
    net = Network(draw(st.integers(1, 6)), layers)
    problem = make_problem(net, kind, seed=draw(st.integers(0, 2**16)), examples=examples)
    weight = make_weight(examples) if draw(st.booleans()) else None
    training = draw(st.sampled_from([{}, TRAINING]))
    return problem, {
        "loss": loss,
        "sample_weight": weight,
        "l2": draw(st.sampled_from([0.0, 0.1])),
        **training,
    }


@pytest.mark.slow
@settings(derandomize=True, database=None, deadline=None, max_examples=30)
@given(drawn=st.data())
def test_random_stacks_pass(drawn: st.DataObject) -> None:
    # Compiled: each stack has shapes of its own, and one compilation is faster than one an operation.
    with jax.enable_x64(True):
        problem, keywords = drawn.draw(stacks())
        loss = keywords["loss"]
        if loss in WITH_KNOWN_DIFFERENCES:
            assume(not has_known_difference(loss, forward(*problem[:3]), problem.targets))
        report = check_gradients(*problem, **keywords, finite_differences=False)
    assert report.passed, f"\n{report}"
