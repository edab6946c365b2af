"""The command `jaxmlp`: one program, a subcommand for each thing it does."""

import importlib
import sys

COMMANDS = ("train", "predict", "sweep", "compare", "gradcheck")


def main() -> None:
    """Run the subcommand that the command line names; only its own modules are imported."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in COMMANDS:
        print(f"usage: jaxmlp {{{','.join(COMMANDS)}}} [options]; each has its own --help")
        sys.exit(0 if name in ("-h", "--help") else 2)
    from jaxmlp.cli.session import run

    sys.argv = [f"jaxmlp {name}", *sys.argv[2:]]
    run(importlib.import_module(f"jaxmlp.cli.{name}").main)
