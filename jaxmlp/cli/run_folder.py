"""The run folder: what a training run leaves behind, and where."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmlp import ArgumentError

CONFIG, MODEL, CHECKPOINTS = "config.json", "model.safetensors", "checkpoints"


def make_run_folder(out: str | None, name: str) -> Path:
    """Make the folder of a new run; a folder that holds a run already is refused, so that nothing is lost."""
    folder = _fresh_folder(name) if out is None else Path(out)
    if (folder / CONFIG).exists() or (folder / MODEL).exists():
        has_checkpoints = (folder / CONFIG).exists() and any((folder / CHECKPOINTS).glob("epoch-*"))
        go_on = f", or go on with it by --resume {folder}" if has_checkpoints else ""
        raise ArgumentError(f"{folder} holds a run already: choose another folder with --out{go_on}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ArgumentError(
            f"the run folder {folder} cannot be written ({error.strerror}): choose another with --out"
        ) from None
    return folder


def _fresh_folder(name: str) -> Path:
    plain = re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-.") or "run"
    stamp = f"{plain}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    return free_folder(Path("runs") / stamp)


def free_folder(wanted: Path) -> Path:
    """Name a folder that is not there yet."""
    candidate, number = wanted, 2
    while candidate.exists():
        candidate, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return candidate


def holds_files(folder: Path) -> bool:
    """Tell whether a folder holds any file, or folders of it do."""
    return any(not path.is_dir() for path in folder.rglob("*"))


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json, all at once."""
    unfinished = folder / f"{CONFIG}.unfinished"
    unfinished.write_text(json.dumps(config, indent=2, default=_plain) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / CONFIG)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


def describe_machine() -> dict[str, Any]:
    """Name the machine and the versions that a result was made with."""
    versions = {}
    for package in ("jaxmlp", "jax", "jaxlib", "optax", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "devices": [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()],
        "versions": versions,
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = re.findall(r"model name\s*: (.+)", text)
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()
