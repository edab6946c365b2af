"""The recipe for tables: the network it describes, and the optimiser that goes with it."""

import jax
import numpy as np
import optax
import pytest
from comparisons import refused

from jaxmlp import Stopping, evaluate, fit, init_from_data, init_state, tabular, tabular_optimizer
from jaxmlp.backprop import kinds
from jaxmlp.layers import Committee, Dense, Dropout, Embed, PeriodicEmbedding
from jaxmlp.training.optimizers import telling

RANDOM = np.random.default_rng(0)
X = np.column_stack([RANDOM.normal(size=(900, 2)), RANDOM.integers(0, 6, 900)]).astype(np.float32)
Y = ((np.sin(4 * X[:, 0]) + (X[:, 2] > 3)) > 0.5).astype(int)
KEY = jax.random.key(0)


def test_the_network_is_that_of_realmlp_in_a_committee():
    net = tabular(9, 3, task="classification", numbers=4, codes={2: 7, 5: 30}, members=3)
    (committee,) = net.layers
    assert isinstance(committee, Committee)
    assert (committee.members, committee.average, committee.sigmas) == (
        3,
        "probabilities",
        (0.1, 0.4, 1.2, 4.0),
    )
    embed, waves, *_ = committee.layers
    assert embed == Embed((2, 5), (7, 30))
    assert waves == PeriodicEmbedding(4)
    dense = [layer for layer in committee.layers if isinstance(layer, Dense)]
    assert [layer.features for layer in dense] == [256, 256, 256, 3]
    assert {layer.parametrisation for layer in dense} == {"ntk"}
    plain = tabular(9, 1, task="regression", embedding=None, members=1, dropout=0.0, hidden=[8]).layers[0]
    assert isinstance(plain, Committee)
    assert (plain.average, plain.sigmas, len(plain.layers)) == ("values", (), 4)
    assert not any(isinstance(layer, PeriodicEmbedding | Dropout) for layer in plain.layers)
    refused("unknown activation", tabular, 3, 2, task="regression", activation="realu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "rate"), [("classification", 0.04), pytest.param("regression", 0.2, marks=pytest.mark.slow)]
)
def test_each_kind_of_leaf_has_its_rate_and_decay(task, rate):
    net, steps, epochs = tabular(3, 2, task=task, codes={2: 5}, hidden=[4], members=2), 10, 10
    optimizer = tabular_optimizer(task, steps, epochs)
    state = init_state(net, optimizer, KEY)
    grads = jax.tree.map(np.ones_like, state.params)
    named, step = kinds(net, state.params), 3
    factor = 0.5 - 0.5 * np.cos(2 * np.pi * np.log2(1 + 15 * step / (steps * epochs)))  # coslog:4
    with telling():
        held = optax.tree.set(state.opt_state, count=step)
        update = optax.with_extra_args_support(optimizer).update
        found, _ = update(grads, held, state.params, kinds=named, value=0.0)
    factors = {"weight": 1.0, "scale": 6.0, "bias": 0.1, "activation": 0.1, "embedding": 0.1}
    for leaf, own, kind in zip(*map(jax.tree.leaves, (found, state.params, named)), strict=True):
        decay = 0.0 if kind == "bias" else 0.02 * own
        expected = (
            -rate * factor * factors[kind] * (1 + decay)
        )  # Adam's direction is that of the gradients, 1
        np.testing.assert_allclose(leaf, np.broadcast_to(expected, leaf.shape), rtol=1e-4)
    assert len({*jax.tree.leaves(named)}) == 5


@pytest.mark.slow
def test_it_learns_what_a_plain_column_of_numbers_hides():
    net, epochs = tabular(3, 2, task="classification", numbers=2, codes={2: 5}, hidden=[32, 32]), 60
    optimizer = tabular_optimizer("classification", 3, epochs)
    state = init_state(net, optimizer, KEY)
    state = state._replace(params=init_from_data(net, KEY, X[:600]))
    stopping = Stopping(keep_best=True, monitor="score", ties="last")
    data = (X[:600], Y[:600]), (X[600:750], Y[600:750])
    how = {"optimizer": optimizer, "batch_size": 256, "epochs": epochs, "state": state, "stopping": stopping}
    result = fit(net, *data, loss="softmax_cross_entropy:0.1", **how)
    assert result.best is not None
    assert float(evaluate(net, result.state.params, (X[750:], Y[750:])).score) >= 0.9
