"""Every peer makes the same updates as jaxmlp, or its time would say nothing."""

import dataclasses
from functools import cache, partial
from typing import Any

import cases
import jax
import numpy as np
import pytest
from comparisons import largest_difference
from measurement import PlaceOptions
from peers import AUTODIFF, OURS, PEERS, jaxmlp_scan, matmul, missing_packages, program_of
from peers.job import Job, Peer, Settings, score

TOLERANCE = 2e-5  # relative, of the mean loss of an epoch of float32 steps
RATES = {"sgd": 0.1, "momentum": 0.02, "adam": 1e-3}
# Compiling takes PyTorch too long for a test.
OTHERS = [name for name in PEERS if name not in (OURS, "torch_compile")]


@pytest.fixture(autouse=True)
def settings_of_jax() -> Any:
    """A peer sets JAX up for the whole process it lives in; here it has to be undone."""
    names = ("jax_default_device", "jax_default_matmul_precision")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@cache
def small_job(task: str, optimizer: str) -> Job:
    # 75 examples in batches of 16: the last one has 11.
    is_table = task == "regression"
    data = cases.tabular(PlaceOptions(), 75, 40, 6) if is_table else cases.generated_images(75, 40, 6, 3)
    sizes = (6, 8, 7, 1 if is_table else 3)
    return cases.make_job(data, Settings(sizes, 16, optimizer, RATES[optimizer], task), epochs=2)


def altered(job: Job, **changes: Any) -> Job:
    return job._replace(settings=dataclasses.replace(job.settings, **changes))


def train(name: str, job: Job) -> tuple[list[float], Any]:
    # The tests' strict rules bind our own code; the peers are written as people write them.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        program = program_of(name)(job)
        losses = [program.epoch(order) for order in job.orders]
        return losses, program.layers()


@cache
def trained_by_jaxmlp(task: str, optimizer: str) -> tuple[list[float], Any]:
    return train(OURS, small_job(task, optimizer))


def differences(name: str, job: Job, reference: tuple[list[float], Any]) -> tuple[float, float]:
    """The largest relative difference of the epochs' losses, and the largest one of the parameters."""
    losses, layers = train(name, job)
    of_losses = max(map(partial(largest_difference, relative=True), losses, reference[0]))
    return of_losses, largest_difference(layers, reference[1])


def need(name: str) -> None:
    if missing_packages(name):
        pytest.skip(f"{PEERS[name].title} needs {missing_packages(name)}, of the extra 'bench'")


# Compiling takes its time, so each optimiser is tried once, and each task.
@pytest.mark.parametrize(
    ("task", "optimizer"),
    [
        ("classification", "sgd"),
        pytest.param("classification", "adam", marks=pytest.mark.slow),
        pytest.param("regression", "momentum", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", OTHERS)
def test_it_makes_the_updates_that_jaxmlp_makes(
    name: str, task: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(name)
    reference, traced, right = trained_by_jaxmlp(task, optimizer), [], jaxmlp_scan.autodiff_objective
    monkeypatch.setattr(
        jaxmlp_scan, "autodiff_objective", lambda *given, **more: traced.append(1) or right(*given, **more)
    )
    of_losses, of_parameters = differences(name, small_job(task, optimizer), reference)
    assert of_losses < TOLERANCE
    assert of_parameters < 1e-4
    assert reference[0][1] < reference[0][0]  # and it learns
    assert bool(traced) == (name == AUTODIFF)  # which takes its gradient by jax.grad


WRONG = {
    "learning rate": lambda job: altered(job, learning_rate=1.1 * job.settings.learning_rate),
    "batch size": lambda job: altered(job, batch_size=15),
    "order": lambda job: job._replace(orders=job.orders[:, ::-1].copy()),
    "parameters": lambda job: job._replace(layers=[(1.01 * w, b) for w, b in job.layers]),
    "optimiser": lambda job: altered(job, optimizer="sgd"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["numpy", "sklearn", "torch"])
def test_a_peer_that_trains_otherwise_is_caught(name: str, wrong: str) -> None:
    need(name)
    job = small_job("classification", "adam")
    of_losses, _ = differences(name, WRONG[wrong](job), trained_by_jaxmlp("classification", "adam"))
    assert of_losses > TOLERANCE


def test_jaxmlp_itself_draws_the_orders_that_the_others_get() -> None:
    # With another seed its order is another one, and so are its losses, from the same parameters.
    job = small_job("classification", "sgd")
    assert (np.sort(job.orders, axis=1) == np.arange(75)).all()
    assert (job.orders[0] != job.orders[1]).any()
    of_losses, _ = differences(OURS, altered(job, seed=1), trained_by_jaxmlp("classification", "sgd"))
    assert of_losses > TOLERANCE


def test_the_mean_of_steps_weights_by_examples() -> None:
    class Counting(Peer):
        def step(self, rows: Any) -> Any:
            return float(rows[0])

    job = small_job("classification", "sgd")
    counting = Counting(altered(job, batch_size=2))
    assert counting.epoch(np.array([1, 9, 2, 9, 6])) == pytest.approx((2 * 1 + 2 * 2 + 6) / 5)


def test_scores() -> None:
    layers = [(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))]
    inputs = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]], np.float32)
    assert score(layers, inputs, np.array([0, 1, 1]), "classification", chunk=2) == pytest.approx(2 / 3)
    single = [(np.array([[1.0], [1.0]], np.float32), np.zeros(1, np.float32))]
    values = np.array([[1.0], [1.0], [3.0]], np.float32)
    assert score(single, inputs, values, "regression") == pytest.approx(1)
    assert score(single, inputs, values + 1, "regression") == pytest.approx(1 - 3 / (8 / 3))


# --- matrix products by themselves ---


def test_the_products_of_a_step_are_counted() -> None:
    products = matmul.products_of_step((784, 300, 10), 32)
    pairs = 784 * 300 + 300 * 10
    assert sum(product.operations for product in products) == 2 * 32 * (3 * pairs - 784 * 300)
    assert [product.what for product in products].count("input gradient") == 1


@pytest.mark.parametrize("sizes", [(5, 4, 3), (3, 9, 4)])
def test_what_is_timed_is_that_product_either_way_round(sizes: tuple[int, ...]) -> None:
    for product in matmul.products_of_step(sizes, 7):
        turned = product.turned
        assert turned.operations == product.operations
        assert turned.turned._replace(is_turned=False) == product
        assert (turned.rows, turned.columns) == (product.columns, product.rows)
        for each, times in ((product, 1), (turned, 1), (turned, 3)):  # going on changes nothing
            left, right = matmul.operands(each)
            left = left.T if each.left_transposed else left
            right = right.T if each.right_transposed else right
            assert (left.shape, right.shape) == ((each.rows, each.inner), (each.inner, each.columns))
            once = matmul.xla_runner(each, "float32")(times)
            np.testing.assert_allclose(once, left @ right, rtol=1e-5, atol=1e-5)


def test_narrow_weight_gradients_are_timed_both_ways() -> None:
    program = matmul.Matmul(small_job("classification", "sgd"))
    for product, runners in zip(program.products, program.runners, strict=True):
        turned = {"XLA, turned", "BLAS, turned"} if product.what == "weight gradient" else set()
        assert set(runners) == {"XLA", "BLAS"} | turned


def test_times_add_up() -> None:
    done = []
    matmul.seconds_each(done.append, block_seconds=1e-5)
    assert len(done) == 2 + matmul.BLOCKS
    assert set(done[2:]) == {done[2]}
