"""What the machine can do at best: the matrix products of a training step and nothing else, timed.

An epoch cannot be faster than its products; the share of them in an epoch says how much else it does.
"""

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from peers.jax_step import choose_device
from peers.job import Job

BLOCK_SECONDS, BLOCKS = 0.02, 5
LARGE = 1024  # rows and columns of the product that shows the highest rate


class Product(NamedTuple):
    """A matrix product of a training step: [rows, inner] times [inner, columns]."""

    what: str
    rows: int
    inner: int
    columns: int
    left_transposed: bool = False  # it lies transposed in memory, as xᵀ does in xᵀ·∂E/∂z
    right_transposed: bool = False  # likewise, as wᵀ in ∂E/∂z·wᵀ
    is_turned: bool = False  # the product of a step is this one transposed

    @property
    def turned(self) -> "Product":
        """The same numbers, transposed, by the product the other way round: δᵀ·x for xᵀ·δ."""
        transposed = not self.right_transposed, not self.left_transposed
        return Product(self.what, self.columns, self.inner, self.rows, *transposed, is_turned=True)

    @property
    def operations(self) -> int:
        """Floating-point operations: a multiplication and an addition for each of rows·inner·columns."""
        return 2 * self.rows * self.inner * self.columns


def products_of_step(sizes: tuple[int, ...], batch_size: int) -> list[Product]:
    """List the matrix products of a training step.

    Forward z = x·w, back ∂E/∂w = xᵀ·∂E/∂z and ∂E/∂x = ∂E/∂z·wᵀ, each of 2·B·I·O operations; the first layer has no
    need of ∂E/∂x. A step is 2·B·(3·Σ I·O − I₁·O₁) operations; what is done element by element is not counted.
    """
    products = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        products.append(Product("forward", batch_size, inputs, outputs))
        products.append(Product("weight gradient", inputs, batch_size, outputs, left_transposed=True))
        if index > 0:
            products.append(Product("input gradient", batch_size, outputs, inputs, right_transposed=True))
    return products


def operands(product: Product) -> tuple[np.ndarray, np.ndarray]:
    """Draw the two matrices, laid out in memory as they are in training."""
    random, (rows, inner, columns) = np.random.default_rng(0), product[1:4]
    left = random.standard_normal((inner, rows) if product.left_transposed else (rows, inner), np.float32)
    right = random.standard_normal(
        (columns, inner) if product.right_transposed else (inner, columns), np.float32
    )
    return left, right


def _as_multiplied(product: Product, left: Any, right: Any) -> tuple[Any, Any]:
    """Turn those that lie transposed."""
    return left.T if product.left_transposed else left, right.T if product.right_transposed else right


def blas_runner(product: Product) -> Callable[[int], object]:
    """Make a function that does a product so many times by NumPy's BLAS."""
    left, right = _as_multiplied(product, *operands(product))
    out = np.empty((product.rows, product.columns), np.float32)

    def repeat(times: int) -> None:
        for _ in range(times):
            np.matmul(left, right, out=out)

    return repeat


@partial(jax.jit, static_argnames=("product", "precision"))
def _repeated(
    left: jax.Array, right: jax.Array, nothing: jax.Array, times: int, *, product: Product, precision: str
) -> jax.Array:
    left_is_smaller = left.size < right.size

    def body(_: int, carried: Any) -> Any:
        small, last = carried
        # Adding 0 times the last result to one element, which XLA cannot know to be nothing, keeps it from doing
        # the product only once; the rest of the matrix stays where it is.
        small = small.at[0, 0].add(nothing * last[0, 0])
        first, second = _as_multiplied(product, *((small, right) if left_is_smaller else (left, small)))
        if product.is_turned:
            first = jax.lax.optimization_barrier(first)  # transposed in memory first, as `jaxmlp.layers` does
        return small, jnp.matmul(first, second, precision=precision)

    start = jnp.zeros((product.rows, product.columns), left.dtype)
    return jax.lax.fori_loop(0, times, body, (left if left_is_smaller else right, start))[1]


def xla_runner(product: Product, precision: str) -> Callable[[int], object]:
    """Make a function that does a product so many times inside one program of XLA."""
    left, right = map(jnp.asarray, operands(product))

    def repeat(times: int) -> object:
        found = _repeated(left, right, jnp.float32(0), times, product=product, precision=precision)
        return found.block_until_ready()

    return repeat


def seconds_each(repeat: Callable[[int], object], block_seconds: float = BLOCK_SECONDS) -> float:
    """Time one run of what is repeated: the median of some blocks of many."""
    repeat(1)
    started = time.perf_counter()
    repeat(3)
    times = max(1, round(3 * block_seconds / max(time.perf_counter() - started, 1e-9)))
    blocks = []
    for _ in range(BLOCKS):
        started = time.perf_counter()
        repeat(times)
        blocks.append((time.perf_counter() - started) / times)
    return statistics.median(blocks)


class Matmul:
    """The products of a step, each by BLAS and by XLA, and a large one."""

    temporaries: int | None = None

    def __init__(self, job: Job) -> None:
        device, precision = choose_device(job.settings), job.settings.precision
        large = Product("large", LARGE, LARGE, LARGE)
        self.products = [*products_of_step(job.settings.sizes, job.settings.batch_size), large]
        self.runners: list[dict[str, Callable[[int], object]]] = []
        for product in self.products:
            ways = {"": product}
            if product.what == "weight gradient":
                ways[", turned"] = product.turned
            runners = {f"XLA{way}": xla_runner(each, precision) for way, each in ways.items()}
            if device.platform == "cpu":
                runners |= {f"BLAS{way}": blas_runner(each) for way, each in ways.items()}
            self.runners.append(runners)

    def rates(self) -> list[dict[str, Any]]:
        """Time every product once more."""
        return [
            product._asdict()
            | {"operations": product.operations}
            | {"seconds": {library: seconds_each(repeat) for library, repeat in runners.items()}}
            for product, runners in zip(self.products, self.runners, strict=True)
        ]
