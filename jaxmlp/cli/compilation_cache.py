"""Compiled programs kept on disk, so that the second run of an experiment need not compile.

JAX does the keeping: a program is found again by what it computes, the version of the compiler, its flags
and the machine's features, so that a change to any of them compiles anew.
"""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from jaxmlp.cli.command_line import option

# Every program is kept, however quickly it was compiled: a run has many small ones.
SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
LARGEST = 256 * 2**20  # bytes; a run of train.py leaves less than one MiB


@dataclass(frozen=True)
class CompilationCacheOptions:
    """The option that says whether compiled programs are kept."""

    compilation_cache: bool = option(
        True,
        "keep compiled programs in ~/.cache/jaxmlp/compiled (or in JAX_COMPILATION_CACHE_DIR) for the next run",
        group="device",
    )


def folder() -> Path:
    """Name the folder of compiled programs; in the user's own, because to load a program is to trust it."""
    return Path.home() / ".cache" / "jaxmlp" / "compiled"


@contextlib.contextmanager
def compilation_cache(wanted: bool) -> Iterator[None]:
    """Keep the programs that are compiled inside a `with`, and take those that were kept before.

    JAX's own variables win: a folder in JAX_COMPILATION_CACHE_DIR is used and not trimmed, and nothing is kept with
    JAX_ENABLE_COMPILATION_CACHE=false. A folder that cannot be read or written costs time and nothing else;
    where it was asked for, a line on standard error says so.
    """
    settings: dict[str, Any] = {} if wanted else {"jax_enable_compilation_cache": False}
    if wanted and _setting("jax_enable_compilation_cache"):
        settings = {name: value for name, value in SETTINGS.items() if name.upper() not in os.environ}
        if _setting("jax_compilation_cache_dir"):
            _warn_if_unusable(_setting("jax_compilation_cache_dir"))
        else:
            with contextlib.suppress(RuntimeError):
                _trim(folder())
                settings["jax_compilation_cache_dir"] = str(folder())
    before = {name: _setting(name) for name in settings}
    _apply(settings)
    try:
        with warnings.catch_warnings():
            # JAX warns once a program of a folder that it cannot read or write, and goes on without it.
            warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
            yield
    finally:
        _apply(before)


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def _apply(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    if settings:
        reset_cache()  # JAX looks at its settings once, when it first compiles


def _warn_if_unusable(asked: str) -> None:
    """Say that JAX, which is silent on it, will keep nothing in the folder that was asked for."""
    if "://" in asked:  # a bucket, which JAX reaches by means of its own
        return
    try:
        Path(asked).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=asked):
            pass
    except OSError as error:
        print(
            f"{Path(sys.argv[0]).name}: JAX_COMPILATION_CACHE_DIR {asked} cannot be written ({error.strerror}): "
            "compiled programs are not kept; set it to a folder of yours, or unset it",
            file=sys.stderr,
        )


def _trim(kept: Path) -> None:
    """Remove the programs that were used longest ago, where all together take too much room.

    JAX can do so itself (`jax_compilation_cache_max_size`), but needs one more package for it, locks the folder
    for every program, and keeps nothing any more once a run was stopped between a program and its time stamp.
    """
    with contextlib.suppress(OSError):
        found = [(path, path.stat()) for path in kept.rglob("*") if path.is_file()]
        room = sum(status.st_size for _, status in found)
        for path, status in sorted(found, key=lambda each: max(each[1].st_atime, each[1].st_mtime)):
            if room <= LARGEST:
                return
            path.unlink()
            room -= status.st_size
