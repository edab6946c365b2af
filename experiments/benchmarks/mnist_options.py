"""The options of a measurement that takes MNIST too: whether it does, where that is, and where the result goes."""

from dataclasses import dataclass

from jaxmlp.cli.options import option


@dataclass(frozen=True)
class MnistOptions:
    """The options, one field a flag."""

    mnist: bool = option(True, "measure MNIST too", group="runs")
    data_dir: str | None = option(
        None, "where MNIST is prepared (default: ~/.cache/jaxmlp)", group="data", metavar="FOLDER"
    )
    manual_dir: str | None = option(
        None, "folder of MNIST's archives (default: JAXMLP_MANUAL_DIR)", group="data", metavar="FOLDER"
    )
    out: str | None = option(None, "json file for the result (default: none)", group="output", metavar="FILE")
