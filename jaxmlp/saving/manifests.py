"""The manifest: size and SHA-256 sum of every file of a folder, so that damage is noticed before anything is loaded."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from jaxmlp.types import ArgumentError

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Write down size and sum of every file in a folder."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sum_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"files": files, "sha256": _sum_of_list(files)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def verify(folder: Path, only: str | None = None) -> None:
    """Hold the files of a folder against its manifest; files that it does not list do not matter."""

    def damaged(what: str) -> ArgumentError:
        return ArgumentError(f"checkpoint {folder.name} is damaged ({what})")

    if not (folder / MANIFEST).is_file():
        raise damaged(f"{MANIFEST} is missing")
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files, whole = manifest["files"], manifest["sha256"] == _sum_of_list(manifest["files"])
    except (
        OSError
    ) as error:  # a disk that fails is damage too, and an older checkpoint may lie elsewhere on it
        raise damaged(f"{MANIFEST} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise damaged(f"{MANIFEST} is not what was written")
    if only is not None and only not in files:
        raise damaged(f"{MANIFEST} does not list {only}")
    for name, written in files.items():
        if only not in (None, name):
            continue
        try:
            wrong = _wrong_with(folder / name, written)
        except OSError as error:
            raise damaged(f"{name} cannot be read: {error.strerror}") from None
        if wrong is not None:
            raise damaged(f"{name} {wrong}")


def _wrong_with(path: Path, written: dict[str, Any]) -> str | None:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != written["bytes"]:
        return f"has {size:,} bytes where {written['bytes']:,} were written"
    if _sum_of(path) != written["sha256"]:
        return "does not have the SHA-256 sum that was written"
    return None


def sync(folder: Path, *, inside: bool = True) -> None:
    """Wait until the disk has a folder: a rename may otherwise survive a loss of power that the files do not."""
    paths = [*sorted(folder.rglob("*"), reverse=True), folder] if inside else [folder]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_of_list(files: Any) -> str:
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
