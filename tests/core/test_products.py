"""A weight's gradient is xᵀ·δ, whichever way round the product is computed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp.layers import NARROW, weight_gradient

WIDTHS = [1, 2, NARROW, NARROW + 1, 2 * NARROW]


def example(
    features: int, batch_size: int = 5, inputs: int = 7, dtype: Any = np.float64, seed: int = 0
) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    drawn = random.normal(size=(batch_size, inputs)), random.normal(size=(batch_size, features))
    return drawn[0].astype(dtype), drawn[1].astype(dtype)


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("features", WIDTHS)
def test_it_is_the_sum_over_the_batch(features: int, batch_size: int, x64: None) -> None:
    inputs, output_grad = example(features, batch_size)
    expected = np.einsum("bi,bo->io", inputs, output_grad)
    for multiply in (weight_gradient, jax.jit(weight_gradient)):
        found = multiply(jnp.asarray(inputs), jnp.asarray(output_grad))
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("features", WIDTHS)
def test_many_models_multiply_side_by_side(features: int) -> None:
    models = [example(features, dtype=np.float32, seed=seed) for seed in (0, 1)]
    inputs, output_grad = (jnp.stack([jnp.asarray(model[part]) for model in models]) for part in (0, 1))
    found = jax.jit(jax.vmap(weight_gradient))(inputs, output_grad)
    expected = jnp.einsum("mbi,mbo->mio", inputs, output_grad)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-5)


def test_a_few_outputs_go_the_other_way_round_and_many_do_not() -> None:
    def barriers(features: int, platform: str) -> int:
        arrays = map(jnp.asarray, example(features, dtype=np.float32))
        lowered = jax.jit(weight_gradient).trace(*arrays).lower(lowering_platforms=(platform,))
        return lowered.as_text().count("optimization_barrier")

    assert barriers(NARROW, "cpu") == 2
    assert barriers(NARROW + 1, "cpu") == 0
    assert barriers(NARROW, "cuda") == 0
