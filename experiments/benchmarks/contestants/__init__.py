"""The programs that are timed against each other, by name, so that a benchmark can choose among them."""

import importlib.util
from typing import NamedTuple

from jaxmlp.registry import Registry


class Entry(NamedTuple):
    """One contestant, as the benchmark knows it before anything of it is imported.

    Attributes:
        title: what it is called in tables.
        module: the module of this package that holds it.
        kind: "ours", "reference" (the same program with one thing exchanged) or "peer".
        packages: what it needs besides what jaxmlp needs.
        devices: where it can compute.
    """

    title: str
    module: str
    kind: str
    packages: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu", "gpu", "tpu")


OURS, AUTODIFF, CEILING = "jaxmlp", "jax_grad", "matmul"

CONTESTANTS: Registry[Entry] = Registry(
    "contestant",
    {
        OURS: Entry("jaxmlp", "jaxmlp_scan", "ours"),
        AUTODIFF: Entry("the same scan with jax.grad", "autodiff_scan", "reference"),
        "jax": Entry("jitted JAX step in a Python loop", "jax_step", "peer"),
        "flax": Entry("flax.nnx and optax", "flax_nnx", "peer", ("flax",)),
        "torch": Entry("PyTorch, eager", "torch_eager", "peer", ("torch",), ("cpu", "gpu")),
        "torch_compile": Entry(
            "PyTorch, torch.compile", "torch_compiled", "peer", ("torch",), ("cpu", "gpu")
        ),
        "torch_cuda_graph": Entry("PyTorch, CUDA graph", "torch_cuda_graph", "peer", ("torch",), ("gpu",)),
        "numpy": Entry("NumPy by hand on BLAS", "numpy_blas", "peer", (), ("cpu",)),
        "sklearn": Entry("scikit-learn", "sklearn_mlp", "peer", (), ("cpu",)),
    },
)


def peers_on(device: str) -> tuple[str, ...]:
    """Name the peers that can compute on a device."""
    return tuple(
        name for name, entry in CONTESTANTS.items() if entry.kind == "peer" and device in entry.devices
    )


def missing_packages(name: str) -> tuple[str, ...]:
    """Name the packages that a contestant needs and that are not installed."""
    return tuple(package for package in CONTESTANTS[name].packages if not importlib.util.find_spec(package))
