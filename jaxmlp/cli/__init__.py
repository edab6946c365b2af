"""The command `jaxmlp`: one program, a subcommand for each thing it does."""

import importlib
import sys

import jaxmlp
from jaxmlp.registry import unknown_name

COMMANDS = {
    "train": "train a network on digits, MNIST, a csv of your own, …",
    "predict": "predict with a trained network",
    "sweep": "train many networks side by side, and rank them",
    "compare": "compare runs, ended or not",
    "gradcheck": "check the hand-written gradient against jax.grad and finite differences",
}


def main() -> None:
    """Run the subcommand that the command line names; only its own modules are imported."""
    typed = "python -m jaxmlp" if sys.argv[0].endswith("__main__.py") else "jaxmlp"
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS)) + 2
        lines = (f"  {command:{width}}{does}" for command, does in COMMANDS.items())
        print(f"usage: {typed} COMMAND [options]; each command has its own --help\n", *lines, sep="\n")
        print(f"\n  {'--version':{width}}print the version")
        return
    if name == "--version":
        print(f"jaxmlp {jaxmlp.__version__}")
        return
    if name not in COMMANDS:
        print(f"{typed}: {unknown_name('command', name, COMMANDS)}; see {typed} --help", file=sys.stderr)
        sys.exit(2)
    from jaxmlp.cli.session import run

    sys.argv = [f"{typed} {name}", *arguments]
    run(importlib.import_module(f"jaxmlp.cli.{name}").main)
