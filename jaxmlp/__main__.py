"""`python -m jaxmlp`: the command `jaxmlp`."""

from jaxmlp.cli import main

if __name__ == "__main__":
    main()
