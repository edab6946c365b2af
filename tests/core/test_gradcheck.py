"""Hold the proof itself: what its report says, and that no wrong rule gets past it."""

from typing import Any

import gradient_corruptions as corruptions
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused
from gradient_cases import (
    WITH_PARAMETERS,
    Scale,
    check_without_compiling,
    make_problem,
    make_weight,
    stack,
    target_kinds,
)
from slow_cases import others_slow

from jaxmlp import backprop
from jaxmlp.activations import ACTIVATIONS, Activation
from jaxmlp.gradcheck import STEP, GradientReport, GradientRow, check_gradients
from jaxmlp.layers import LAYERS, Activate, Dense, DenseParams, elementwise
from jaxmlp.losses import LOSSES, Loss
from jaxmlp.network import Network, init, mlp

L2 = 0.1


@pytest.fixture
def unjitted(x64: None, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Compute in float64 and eagerly, so that no check runs what was compiled before a corruption."""
    check_without_compiling(monkeypatch)
    return monkeypatch


def check(problem: Any, loss: str | Loss = "half_squared_error") -> GradientReport:
    """Check a problem with weights and a penalty in training, against autodiff alone."""
    keywords: dict[str, Any] = {"sample_weight": make_weight(problem.inputs.shape[0]), "l2": L2}
    training: dict[str, Any] = {"train": True, "key": jax.random.key(0), "progress": 0.6}
    return check_gradients(*problem, loss=loss, finite_differences=False, **keywords, **training)


# --- the report ---


@pytest.fixture(scope="module")
def report() -> GradientReport:
    """The report on a network with and without bias, given in float32 and NumPy."""
    net = Network(3, [Dense(30), Activate("tanh"), Dense(2, bias=False)])
    params = init(net, jax.random.key(0))
    random = np.random.default_rng(0)
    inputs = random.normal(size=(5, 3)).astype(np.float32)
    return check_gradients(net, params, inputs, np.array([0, 1, 1, 0, 1]), entries=10, seed=3)


def test_report_has_a_row_a_tensor_with_its_path_and_shape(report: GradientReport) -> None:
    found = [(row.path, row.shape) for row in report.rows]
    assert found == [("0.w", (3, 30)), ("0.b", (30,)), ("2.w", (30, 2))]
    assert report.direction is not None
    assert (report.direction.path, report.direction.shape) == ("direction", (180,))


def test_float32_parameters_are_checked_in_float64(report: GradientReport) -> None:
    assert report.passed
    assert all(row.autodiff_relative < 1e-12 for row in report.rows)
    assert all(0 < row.autodiff_bound < 1e-9 for row in report.rows)
    assert all(row.difference_relative < 1e-6 for row in report.rows)


def test_entries_bound_the_sample_of_each_tensor(report: GradientReport) -> None:
    assert [(row.sampled, row.skipped) for row in report.rows] == [(10, 0), (10, 0), (10, 0)]
    assert report.direction is not None
    assert (report.direction.sampled, report.direction.skipped) == (1, 0)


def test_table_has_a_line_a_row_and_marks_what_is_over_its_bound(report: GradientReport) -> None:
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "tensor",
        "shape",
        "vs",
        "autodiff",
        "vs",
        "differences",
        "sampled",
        "skipped",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["0.w", "0.b", "2.w", "direction"]
    assert "[3, 30]" in lines[1]
    assert "OVER ITS BOUND" not in str(report)
    wrong = report.rows[1]._replace(autodiff_error=1.0)
    marked = str(GradientReport((report.rows[0], wrong, report.rows[2]), None)).splitlines()
    assert ["OVER ITS BOUND" in line for line in marked] == [False, False, True, False]


def row(**changes: Any) -> GradientRow:
    """Make a row that passes but for its changes."""
    good = GradientRow("0.w", (2, 2), 1e-12, 1e-10, 1.0, 1e-8, 1e-6, 4, 0)
    return good._replace(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"autodiff_error": 2e-10},
        {"autodiff_error": np.nan},
        {"autodiff_error": np.inf, "autodiff_bound": np.inf},
        {"autodiff_bound": np.nan},
        {"autodiff_bound": np.inf},
        {"difference_error": 2e-6},
        {"difference_error": np.nan},
    ],
    ids=str,
)
def test_a_row_over_any_bound_or_not_finite_fails_its_report(changes: dict[str, float]) -> None:
    assert row().passed
    assert not row(**changes).passed
    assert GradientReport((row(), row()), row()).passed
    assert not GradientReport((row(), row(**changes)), row()).passed
    assert not GradientReport((row(), row()), row(**changes)).passed


def test_a_row_without_samples_is_judged_by_autodiff_alone() -> None:
    assert row(sampled=0, difference_error=np.nan).passed
    assert not row(sampled=0, difference_error=np.nan, autodiff_error=1.0).passed


def test_worst_row_uses_up_most_of_its_bound_and_nan_is_worse_than_any() -> None:
    rows = (row(path="a"), row(path="b", autodiff_error=1e-11), row(path="c", autodiff_error=1e-13))
    assert GradientReport(rows, None).worst.path == "b"
    assert GradientReport((*rows, row(path="d", autodiff_error=np.nan)), None).worst.path == "d"


def test_relative_errors_of_a_gradient_of_zero_are_absolute() -> None:
    assert row(autodiff_size=0.0, autodiff_error=0.0).autodiff_relative == 0
    assert row(autodiff_size=0.0, autodiff_error=0.25).autodiff_relative == 0.25
    assert row(autodiff_size=4.0, autodiff_error=2.0, difference_error=1.0).autodiff_relative == 0.5
    assert row(autodiff_size=4.0, autodiff_error=2.0, difference_error=1.0).difference_relative == 0.25


def test_unknown_losses_and_wrong_shapes_are_refused() -> None:
    net = mlp([3, 2])
    params = init(net, jax.random.key(0))
    batch = np.ones((2, 3)), np.zeros((2, 2))
    refused("did you mean 'huber'", check_gradients, net, params, *batch, loss="hubert")
    refused("inputs must have shape", check_gradients, net, params, np.ones((2, 4)), np.array([0, 1]))


# --- finite differences ---


def test_without_finite_differences_nothing_is_sampled(unjitted: Any) -> None:
    problem = make_problem(stack("tanh", "half_squared_error"), "values")
    found = check_gradients(*problem, loss="half_squared_error", finite_differences=False)
    assert found.direction is None
    assert found.passed
    assert [entry.sampled for entry in found.rows] == [0, 0, 0, 0]
    assert "direction" not in str(found)


def test_seed_chooses_the_sample_and_the_direction(unjitted: Any) -> None:
    problem = make_problem(stack("tanh", "half_squared_error"), "values")

    def with_seed(seed: int) -> GradientReport:
        return check_gradients(*problem, loss="half_squared_error", entries=3, seed=seed)

    assert with_seed(0) == with_seed(0)
    first, other = with_seed(0), with_seed(1)
    assert first.passed
    assert other.passed
    assert first.rows != other.rows
    assert first.direction != other.direction


@pytest.mark.parametrize(("distance", "skipped"), [(0.25 * STEP, 2), (0.75 * STEP, 2), (10 * STEP, 0)])
def test_stencils_across_a_kink_are_skipped_and_counted(unjitted: Any, distance: float, skipped: int) -> None:
    # z = w·1 + b lies this far above relu's kink, and moving w or b by STEP moves it as far.
    net = Network(1, [Dense(1), Activate("relu"), Dense(1)])
    first = DenseParams(jnp.array([[distance]]), jnp.zeros(1))
    second = DenseParams(jnp.array([[2.0]]), jnp.ones(1))
    found = check_gradients(
        net, (first, (), second), jnp.ones((1, 1)), jnp.zeros((1, 1)), loss="half_squared_error"
    )
    assert found.passed
    assert sum(entry.skipped for entry in found.rows[:2]) == skipped
    assert sum(entry.sampled for entry in found.rows[:2]) == 2 - skipped
    assert [entry.skipped for entry in found.rows[2:]] == [0, 0]


def test_finite_differences_catch_an_error_that_hand_and_autodiff_share(unjitted: pytest.MonkeyPatch) -> None:
    # σ = sin z, with −cos z for its derivative both by hand and in what autodiff is told.
    @jax.custom_jvp
    def sine(z: Any) -> Any:
        return jnp.sin(z)

    sine.defjvps(lambda tangent, a, z: -jnp.cos(z) * tangent)
    wrong = Activation(sine, lambda z, a: -jnp.cos(z))
    unjitted.setattr(elementwise, "ACTIVATIONS", {"sine": wrong})
    problem = make_problem(Network(3, [Dense(3), Activate("sine"), Dense(3)]), "values")
    found = check_gradients(*problem, loss="half_squared_error")
    by_path = {entry.path: entry for entry in found.rows}
    assert all(entry.autodiff_error <= entry.autodiff_bound for entry in found.rows)
    assert {path for path, entry in by_path.items() if not entry.passed} == {"0.w", "0.b"}
    assert not found.passed
    assert check_gradients(*problem, loss="half_squared_error", finite_differences=False).passed


def test_finite_differences_catch_a_wrong_loss_on_their_own(unjitted: Any) -> None:
    pair = LOSSES["half_squared_error"]
    wrong = Loss(pair.value, lambda outputs, values: 1.001 * pair.gradient(outputs, values))
    found = check_gradients(*make_problem(stack("tanh", ""), "values"), loss=wrong)
    assert found.direction is not None
    assert all(entry.difference_error > entry.difference_bound for entry in (*found.rows, found.direction))


# --- a layer of the user's own ---


def own_layer_report(layer: Any) -> GradientReport:
    net = Network(3, [Dense(3), layer, Activate("tanh"), layer, Dense(2)])
    return check(make_problem(net, "values"))


def test_a_layer_of_the_users_own_is_checked(unjitted: Any) -> None:
    found = own_layer_report(Scale())
    assert found.passed
    assert [entry.path for entry in found.rows] == ["0.w", "0.b", "1.s", "3.s", "4.w", "4.b"]


@pytest.mark.parametrize("fault", {**corruptions.ANY_LAYER, **corruptions.LAYER_WITH_PARAMETERS})
def test_a_wrong_layer_of_the_users_own_is_caught(unjitted: pytest.MonkeyPatch, fault: str) -> None:
    corrupt = {**corruptions.ANY_LAYER, **corruptions.LAYER_WITH_PARAMETERS}[fault]
    unjitted.setattr(Scale, "backward", corrupt(Scale.backward))
    assert not own_layer_report(Scale()).passed


# --- the teeth: each rule corrupted in turn, and each corruption caught ---


def activation_problem(activation: str) -> Any:
    """Pre-activations on both sides of 0 and of ±1, which a derivative of the wrong argument needs."""
    return make_problem(stack(activation, "half_squared_error"), "values", scale=2.0)


def loss_problem(loss: str, kind: str) -> Any:
    """A problem that a loss's gradient matters in."""
    return make_problem(stack("tanh", loss), kind)


def layer_problem(name: str) -> Any:
    """A problem whose gradient goes back through a layer, once, and on to the one below it."""
    above = [] if name == "Committee" else [Dense(3)]  # a committee ends a network
    net = Network(3, [Dense(3), corruptions.make_layer(name), *above])
    return make_problem(net, "values")


LOSS_CASES = [(loss, kind) for loss in (*LOSSES, *WITH_PARAMETERS) for kind in target_kinds(loss)]
# Every corruption is caught by default beside jax.vjp in test_layers.py; here by default those of the oldest layers.
LAYER_CASES = [
    pytest.param(name, corruption, marks=() if name in ("Dense", "Activate", "Softmax") else pytest.mark.slow)
    for name in LAYERS
    for corruption in corruptions.layer_corruptions(name)
]


RIGHT = [
    *(pytest.param(activation_problem, (name,), "half_squared_error", id=name) for name in ACTIVATIONS),
    *(pytest.param(loss_problem, case, case[0], id="-".join(case)) for case in LOSS_CASES),
    *(pytest.param(layer_problem, (name,), "half_squared_error", id=name) for name in LAYERS),
]


@pytest.mark.parametrize(("make", "arguments", "loss"), RIGHT)
def test_right_rules_pass(unjitted: Any, make: Any, arguments: tuple[str, ...], loss: str) -> None:
    assert check(make(*arguments), loss).passed


@pytest.mark.parametrize("corruption", corruptions.DERIVATIVE_CORRUPTIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_corrupted_derivative_is_caught(unjitted: Any, activation: str, corruption: str) -> None:
    value, derivative = ACTIVATIONS[activation]
    wrong = corruptions.DERIVATIVE_CORRUPTIONS[corruption](derivative)
    if (activation, corruption) in corruptions.WITHOUT_EFFECT:
        z = jnp.linspace(-8, 8, 129)
        assert np.array_equal(wrong(z, value(z)), derivative(z, value(z)))
        return
    problem = activation_problem(activation)
    unjitted.setattr(elementwise, "ACTIVATIONS", {**ACTIVATIONS, activation: Activation(value, wrong)})
    assert not check(problem).passed


@pytest.mark.parametrize("corruption", corruptions.LOSS_CORRUPTIONS)
@pytest.mark.parametrize(("loss", "kind"), LOSS_CASES)
def test_corrupted_loss_gradient_is_caught(unjitted: Any, loss: str, kind: str, corruption: str) -> None:
    pair = LOSSES[loss]
    wrong = corruptions.LOSS_CORRUPTIONS[corruption](pair.gradient)
    assert not check(loss_problem(loss, kind), pair._replace(gradient=wrong)).passed


@pytest.mark.parametrize("corruption", corruptions.MEAN_CORRUPTIONS)
@pytest.mark.parametrize("loss", others_slow(LOSSES, kept=3))
def test_corrupted_mean_is_caught(unjitted: pytest.MonkeyPatch, loss: str, corruption: str) -> None:
    wrong = corruptions.MEAN_CORRUPTIONS[corruption](backprop.mean_loss_gradient)
    unjitted.setattr(backprop, "mean_loss_gradient", wrong)
    assert not check(loss_problem(loss, target_kinds(loss)[0]), loss).passed


@pytest.mark.parametrize("corruption", corruptions.PENALTY_CORRUPTIONS)
def test_corrupted_penalty_is_caught(unjitted: pytest.MonkeyPatch, corruption: str) -> None:
    wrong = corruptions.PENALTY_CORRUPTIONS[corruption](backprop.add_l2_gradient)
    unjitted.setattr(backprop, "add_l2_gradient", wrong)
    assert not check(loss_problem("half_squared_error", "values")).passed


@pytest.mark.parametrize(("name", "corruption"), LAYER_CASES)
def test_corrupted_layer_is_caught(unjitted: pytest.MonkeyPatch, name: str, corruption: str) -> None:
    wrong = corruptions.layer_corruptions(name)[corruption](LAYERS[name].backward)
    problem = layer_problem(name)
    unjitted.setattr(LAYERS[name], "backward", wrong)
    assert not check(problem).passed
