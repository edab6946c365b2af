"""The file that --out names, checked before the work is done and written when it is."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from jaxmlp import ArgumentError


def check_out(out: str | None, kind: str = "json") -> None:
    """Refuse a file that cannot be written, before anything is computed."""
    if out is None:
        return
    if not out or Path(out).is_dir():
        raise ArgumentError(f"--out '{out}' is no file: give the name of a {kind} to write")
    if not Path(out).absolute().parent.is_dir():
        raise ArgumentError(f"the folder of {out} is not there: make it, or choose another file with --out")


def write_result(out: str | None, result: dict[str, Any]) -> None:
    """Write a result as JSON."""
    if out is not None:
        write_whole(Path(out), json.dumps(result, indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, so that an older one is not lost to a full disk."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise ArgumentError(
            f"{path} cannot be written ({error.strerror}): choose another file with --out"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
