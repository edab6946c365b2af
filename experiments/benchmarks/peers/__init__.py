"""The programs that are timed against each other, by name, for a benchmark to choose among."""

import importlib
import importlib.util
from typing import Any, NamedTuple

from jaxmlp.registry import Registry


class Entry(NamedTuple):
    """One program, as the benchmark knows it before anything of it is imported."""

    title: str
    short: str  # a column's heading
    program: str  # the module of this package and the class in it
    kind: str = "peer"  # or "ours", or "reference": ours with one thing exchanged
    packages: tuple[str, ...] = ()  # besides those that jaxmlp needs
    devices: tuple[str, ...] = ("cpu", "gpu", "tpu")


OURS, AUTODIFF, MATMUL = "jaxmlp", "jax_grad", "matmul"
_TORCH: dict[str, Any] = {"packages": ("torch",), "devices": ("cpu", "gpu")}

PEERS: Registry[Entry] = Registry(
    "peer",
    {
        OURS: Entry("jaxmlp", "jaxmlp", "jaxmlp_scan.Jaxmlp", "ours"),
        AUTODIFF: Entry("the same scan with jax.grad", "`jax.grad`", "jaxmlp_scan.Autodiff", "reference"),
        "jax": Entry("jitted JAX step in a Python loop", "JAX step", "jax_step.JaxStep"),
        "flax": Entry("flax.nnx and optax", "flax.nnx", "flax_nnx.Flax", packages=("flax",)),
        "torch": Entry("PyTorch, eager", "PyTorch", "torch_loop.Eager", **_TORCH),
        "torch_compile": Entry("PyTorch, torch.compile", "compiled", "torch_loop.Compiled", **_TORCH),
        "numpy": Entry("NumPy by hand on BLAS", "NumPy", "numpy_blas.NumPy", devices=("cpu",)),
        "sklearn": Entry("scikit-learn", "scikit-learn", "sklearn_mlp.Sklearn", devices=("cpu",)),
    },
)


def peers_on(device: str) -> tuple[str, ...]:
    """Name the peers that can compute on a device."""
    return tuple(name for name, entry in PEERS.items() if entry.kind == "peer" and device in entry.devices)


def missing_packages(name: str) -> tuple[str, ...]:
    """Name the packages that a peer needs and that are not installed."""
    return tuple(package for package in PEERS[name].packages if not importlib.util.find_spec(package))


def program_of(name: str) -> Any:
    """Import a peer's class, or that of the matrix products by themselves."""
    module, _, kind = ("matmul.Matmul" if name == MATMUL else PEERS[name].program).partition(".")
    return getattr(importlib.import_module(f"peers.{module}"), kind)
