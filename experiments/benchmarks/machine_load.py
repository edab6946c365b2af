"""How busy the machine is before a measurement, because other programs make times too long."""

import os
import sys
from pathlib import Path

from jaxmlp.cli.session import available_cores


def tell_load() -> float | None:
    """Warn where other programs are at work; returns the load average of the last minute, if there is one."""
    if not hasattr(os, "getloadavg"):
        return None
    load = os.getloadavg()[0]
    if load > available_cores() / 4:
        print(
            f"{Path(sys.argv[0]).name}: the machine is busy (load average {load:.2f} on {available_cores()} cores): "
            "times will be too long, and unevenly so",
            file=sys.stderr,
        )
    return load
