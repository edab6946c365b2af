"""An evaluation is the objective and the score of the whole set, however it is cut into chunks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_cases import others_slow
from training_cases import add_noise

import jaxmlp
from jaxmlp.layers import DenseParams
from jaxmlp.losses import HEADS, LOSSES
from jaxmlp.network import Network, forward, init, mlp, predict
from jaxmlp.training import evaluation
from jaxmlp.training.batching import gather
from jaxmlp.training.evaluation import evaluate
from jaxmlp.training.metrics import METRICS, score
from jaxmlp.types import Batch

EXAMPLES, FEATURES, OUTPUTS = 23, 3, 3
# Chunks of one, of no divisor of the set, and of more than the set; each with weights or without.
CHUNKS = [(1, True), (5, False), (1024, True)]

RANDOM = np.random.default_rng(0)
INPUTS: Any = RANDOM.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
WEIGHT: Any = RANDOM.uniform(0, 2, EXAMPLES).astype(np.float32)
TARGETS: dict[str, Any] = {
    "labels": RANDOM.integers(0, OUTPUTS, EXAMPLES),
    "soft_labels": RANDOM.dirichlet(np.ones(OUTPUTS), EXAMPLES).astype(np.float32),
    "binary": RANDOM.integers(0, 2, (EXAMPLES, OUTPUTS)).astype(np.float32),
    "values": RANDOM.normal(size=(EXAMPLES, OUTPUTS)).astype(np.float32),
}
DATA = (INPUTS, TARGETS["labels"])


def make_net(loss: str = "softmax_cross_entropy") -> tuple[Network, Any]:
    last = HEADS.get(LOSSES[loss].takes or "")
    net = mlp([FEATURES, 5, OUTPUTS], activation="tanh", bias_init="normal:0.1", output_activation=last)
    return net, init(net, jax.random.key(3))


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=2e-6, atol=1e-6)


# --- the loss, whole and in chunks ---


@pytest.mark.parametrize("loss", others_slow(LOSSES, kept=4))
def test_loss_in_chunks_is_the_objective_of_the_whole(loss: str) -> None:
    net, params = make_net(loss)
    targets = jnp.asarray(TARGETS[LOSSES[loss].targets])
    targets = jnp.abs(targets) if loss == "poisson" else targets
    options: dict[str, Any] = {"loss": loss, "sample_weight": jnp.asarray(WEIGHT), "l2": 0.01}
    expected = jaxmlp.loss(net, params, jnp.asarray(INPUTS), targets, **options)
    found = evaluate(net, params, (INPUTS, targets), batch_size=5, **options)
    close(found.loss, expected)
    close(found.weight, WEIGHT.sum())
    assert found.gradient_norm is None


@pytest.mark.parametrize(("chunk", "weighted"), others_slow(pytest.param(*case) for case in CHUNKS))
@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_in_chunks_is_that_of_the_whole(metric: str, chunk: int, weighted: bool) -> None:
    net, params = make_net()
    data = Batch(INPUTS, TARGETS["binary"], WEIGHT if weighted else None)  # targets that fit every metric
    found = evaluate(net, params, data, loss="sigmoid_cross_entropy", metric=metric, batch_size=chunk)
    outputs = forward(net, params, jnp.asarray(INPUTS))
    expected = score(metric, outputs, *(None if part is None else jnp.asarray(part) for part in data[1:]))
    close(found.score, expected)


def test_float64_is_kept(x64: None) -> None:
    net, params = make_net()
    data = (INPUTS.astype(np.float64), TARGETS["values"].astype(np.float64))
    found = evaluate(net, params, data, loss="squared_error")
    assert found.loss.dtype == found.score.dtype == jnp.float64
    outputs = np.asarray(forward(net, params, jnp.asarray(INPUTS, jnp.float64)))
    expected = ((outputs - TARGETS["values"]) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(float(found.loss), expected, rtol=1e-13)


def test_label_smoothing_is_left_out_of_what_is_measured() -> None:
    net, params = make_net()
    soft, hard = (
        evaluate(net, params, DATA, loss=f"softmax_cross_entropy{end}", batch_size=5) for end in (":0.2", "")
    )
    assert float(soft.loss) == float(hard.loss)
    smooth = jaxmlp.loss(net, params, *DATA, loss="softmax_cross_entropy:0.2")
    assert abs(float(smooth) - float(hard.loss)) > 1e-3


# --- chunks ---


def test_gathering_keeps_rows_together_and_weighs_empty_places_nothing() -> None:
    data = Batch(jnp.asarray(INPUTS), jnp.asarray(TARGETS["labels"]), jnp.asarray(WEIGHT))
    chosen = jnp.array([4, 2, 0])
    batch = gather(data, chosen, jnp.array([True, True, False]))
    np.testing.assert_array_equal(batch.inputs, INPUTS[[4, 2, 0]])
    np.testing.assert_array_equal(batch.targets, TARGETS["labels"][[4, 2, 0]])
    assert batch.weight is not None
    np.testing.assert_array_equal(batch.weight, [WEIGHT[4], WEIGHT[2], 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_integer_inputs_leave_fractional_weights_alone(dtype: Any) -> None:
    data = Batch(jnp.ones((2, 1), dtype), jnp.zeros(2, int), jnp.array([0.5, 0.25]))
    batch = gather(data, jnp.array([0, 1]), jnp.array([True, True]))
    assert batch.weight is not None
    assert batch.weight.tolist() == [0.5, 0.25]


def test_a_lost_mask_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: Any = evaluation.jitted_evaluation

    # Without the mask, the last chunk counts its filling.
    def forgetful(data: Batch, indices: Any, held: Any) -> Batch:
        return gather(data, indices, jnp.ones_like(held))

    monkeypatch.setattr(evaluation, "gather", forgetful)
    compiled.clear_cache()
    with pytest.raises(AssertionError):
        test_every_metric_in_chunks_is_that_of_the_whole("accuracy", 5, False)
    monkeypatch.undo()
    compiled.clear_cache()
    test_every_metric_in_chunks_is_that_of_the_whole("accuracy", 5, False)


def test_equal_descriptions_compile_once() -> None:
    def programs(scale: float, batch_size: int) -> int:
        evaluate(*make_net(), (scale * INPUTS, TARGETS["labels"]), batch_size=batch_size)
        return evaluation.jitted_evaluation._cache_size()

    before = programs(1.0, 6)
    assert [programs(1.0, 6), programs(2.0, 6), programs(1.0, 7)] == [before, before, before + 1]


@pytest.mark.slow
def test_evaluations_of_many_networks_run_side_by_side() -> None:
    net, _ = make_net()
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.vmap(lambda key: init(net, key))(keys)
    together = jax.vmap(lambda params: evaluate(net, params, DATA, batch_size=5))(many)
    alone = [evaluate(net, init(net, key), DATA, batch_size=5) for key in keys]
    close(together.loss, [metrics.loss for metrics in alone])
    close(together.score, [metrics.score for metrics in alone])


# --- transforms ---


def test_a_transform_is_applied_to_every_chunk() -> None:
    net, params = make_net()
    found = evaluate(net, params, DATA, transform=lambda key, x: 2 * x, key=jax.random.key(0), batch_size=5)
    expected = evaluate(net, params, (2 * INPUTS, TARGETS["labels"]), batch_size=5)
    plain = evaluate(net, params, DATA, batch_size=5)
    assert float(found.loss) == float(expected.loss) != float(plain.loss)


def test_a_drawing_transform_follows_its_key_and_differs_from_chunk_to_chunk() -> None:
    net, params = make_net()

    def loss_of(examples: int, seed: int) -> float:
        same = (np.zeros((examples, FEATURES), np.float32), np.zeros(examples, int))
        key = jax.random.key(seed)
        return float(evaluate(net, params, same, transform=add_noise, key=key, batch_size=2).loss)

    assert loss_of(6, 0) == loss_of(6, 0) != loss_of(6, 1)
    assert loss_of(6, 0) != pytest.approx(loss_of(2, 0), rel=1e-4)


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "half_squared_error"])
@pytest.mark.parametrize("metric", ["label_accuracy", "accuracy"])
@pytest.mark.parametrize("end", ["sigmoid", None])
def test_the_score_splits_outputs_where_predict_does(loss: str, metric: str, end: str | None) -> None:
    net = mlp([1, 1], bias=False, output_activation=end)
    params: Any = (DenseParams(np.ones((1, 1), np.float32), None), ())[: len(net.layers)]
    inputs = np.array([[-3.0], [0.3], [3.0]], np.float32)
    predicted = predict(net, params, inputs, task="multilabel", loss=loss).astype(np.float32)
    assert predicted.tolist() == [[0], [int(end is not None or loss == "sigmoid_cross_entropy")], [1]]
    assert float(evaluate(net, params, (inputs, predicted), loss=loss, metric=metric).score) == 1
    assert float(evaluate(net, params, (inputs, predicted), loss=loss, metric=f"{metric}:-9").score) < 1
