"""Train a multi-layer perceptron by hand-written backpropagation; the same as `jaxmlp train`."""

from jaxmlp.cli.session import run
from jaxmlp.cli.train import main

if __name__ == "__main__":
    run(main)
