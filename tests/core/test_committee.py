"""Committees: each member as a network by itself in training, and the average of all at inference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparisons import refused

from jaxmlp import (
    Batch,
    Network,
    check_gradients,
    fit,
    forward,
    init,
    load_model,
    loss,
    save_model,
    value_and_grad,
)
from jaxmlp.layers import Activate, BatchNorm, Committee, Dense, PeriodicEmbedding
from jaxmlp.network import calibrate, init_from_data

KEY = jax.random.key(0)
STACK = (Dense(4), Activate("tanh"), Dense(3))
RANDOM = np.random.default_rng(0)
INPUTS, LABELS = RANDOM.normal(size=(7, 2)), np.array([0, 1, 2, 0, 1, 2, 0])
VALUES = RANDOM.normal(size=(7, 3))
AVERAGES = pytest.mark.parametrize(
    ("average", "targets", "kind"),
    [("probabilities", LABELS, "softmax_cross_entropy"), ("values", VALUES, "half_squared_error")],
)
pytestmark = pytest.mark.usefixtures("x64")


def committee(average="probabilities", layers=STACK, members=3, **settings):
    net = Network(2, [Committee(layers, members, average, **settings)])
    params = init(net, KEY)
    each = [jax.tree.map(lambda leaf, place=place: leaf[place], params[0]) for place in range(members)]
    return net, params, each


@AVERAGES
def test_each_member_learns_as_a_network_by_itself(average, targets, kind):
    net, params, each = committee(average)
    value, grads = value_and_grad(net, params, INPUTS, targets, loss=kind, train=True, l2=0.1)
    single = [value_and_grad(Network(2, STACK), own, INPUTS, targets, loss=kind) for own in each]
    penalty = sum(0.05 * jnp.sum(jnp.square(own[place].w)) for own in each for place in (0, 2))
    np.testing.assert_allclose(value, np.mean([each for each, _ in single]) + penalty, rtol=1e-12)
    plain = value_and_grad(net, params, INPUTS, targets, loss=kind, train=True)[1]
    for place, (_, own) in enumerate(single):
        jax.tree.map(
            lambda all_members, alone, place=place: np.testing.assert_allclose(
                3 * all_members[place], alone, rtol=1e-9, atol=1e-14
            ),
            plain[0],
            own,
        )
    assert jax.tree.structure(grads) == jax.tree.structure(params)


def test_predictions_are_averaged():
    net, params, each = committee()
    outputs = np.stack([forward(Network(2, STACK), own, INPUTS) for own in each])
    mean = np.mean(jax.nn.softmax(outputs, axis=2), axis=0)
    np.testing.assert_allclose(jax.nn.softmax(forward(net, params, INPUTS)), mean, rtol=1e-12)
    net, params, each = committee("values")
    outputs = np.stack([forward(Network(2, STACK), own, INPUTS) for own in each])
    np.testing.assert_allclose(forward(net, params, INPUTS), outputs.mean(axis=0), rtol=1e-12)


@AVERAGES
@pytest.mark.parametrize("train", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_gradient_is_that_of_autodiff(average, targets, kind, train, scale):
    net, params, _ = committee(average)
    weight = np.array([1, 0, 2, 0.5, 1, 1, 3])
    report = check_gradients(
        net, params, scale * INPUTS, targets, loss=kind, train=train, sample_weight=weight, l2=0.1
    )
    assert report.passed


@pytest.mark.parametrize("fault", ["not averaged", "averaged alike", "not normalised"])
def test_a_wrong_way_back_through_the_average_is_caught(monkeypatch, fault):
    right = Committee._average_backward

    def wrong(layer, averaged, output_grad):
        if fault == "not averaged":
            return right(layer, averaged, output_grad) * layer.members
        if fault == "averaged alike":
            return jnp.broadcast_to(output_grad[:, None] / layer.members, averaged.shape)
        return jax.nn.softmax(averaged, axis=1) * output_grad[:, None]

    monkeypatch.setattr(Committee, "_average_backward", wrong)
    net, params, _ = committee(members=4)
    assert not check_gradients(net, params, INPUTS, LABELS, finite_differences=False).passed


def test_members_differ_in_what_they_draw_and_in_their_first_frequencies():
    layers = (PeriodicEmbedding(frequencies=400), *STACK)
    _, params, _ = committee(layers=layers, members=4, sigmas=(0.1, 10.0))
    deviations = np.std(params[0][0].w1, axis=(1, 2))
    np.testing.assert_allclose(deviations, [0.1, 10, 0.1, 10], rtol=0.2)
    assert len({float(weight) for weight in params[0][1].w[:, 0, 0]}) == 4


@pytest.mark.slow
def test_each_member_is_fitted_to_data_and_calibrated():
    net = Network(2, [Committee((BatchNorm(), *STACK), 3)])
    params = init_from_data(net, KEY, INPUTS * 9 + 4)
    for place in range(3):
        own = jax.tree.map(lambda leaf, place=place: leaf[place], params[0])
        hidden = forward(Network(2, (BatchNorm(), STACK[0])), own[:2], INPUTS * 9 + 4)
        np.testing.assert_allclose(np.std(hidden, axis=0), 1, rtol=1e-3)
    assert not np.allclose(params[0][1].w[0], params[0][1].w[1])
    again = calibrate(net, init(net, KEY), INPUTS * 9 + 4)
    np.testing.assert_allclose(again[0][0].mean, np.tile(np.mean(INPUTS * 9 + 4, axis=0), (3, 1)), rtol=1e-12)


@pytest.mark.slow
def test_a_committee_is_fitted_and_saved_like_any_network(tmp_path):
    net, *_ = committee(sigmas=(0.1, 1.0))
    data = Batch(jnp.asarray(np.tile(INPUTS, (9, 1))), jnp.asarray(np.tile(LABELS, 9)))
    result = fit(net, data, data, optimizer="adam", batch_size=16, epochs=40, key=KEY)
    first, last = result.history[0], result.history[-1]
    assert last.valid_loss < first.valid_loss
    assert last.train_score >= 0.5
    params = result.state.params
    assert last.valid_loss == pytest.approx(float(loss(net, params, *data[:2])), abs=1e-9)
    save_model(tmp_path / "model.safetensors", net, params)
    again, loaded, _ = load_model(tmp_path / "model.safetensors")
    assert again == net
    assert np.array_equal(forward(again, loaded, INPUTS), forward(net, params, INPUTS))


def test_what_makes_no_committee_is_refused():
    refused("at least one layer", Committee, ())
    refused("number of members must be a whole number of at least 1, given 0", Committee, STACK, 0)
    refused("unknown average of a committee 'value': did you mean 'values'", Committee, STACK, 2, "value")
