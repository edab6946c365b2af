"""Files written whole: a reader finds the old contents of a file or the new ones, never a part."""

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

AnyPath: TypeAlias = str | os.PathLike[str]


@contextlib.contextmanager
def whole_file(path: AnyPath, *, sync: bool = False) -> Iterator[Path]:
    """Yield a new, empty file beside `path`; it takes that name at the end, and is removed after an error.

    A link keeps pointing where it does, and what is no regular file (`/dev/stdout`) is written itself.

    With `sync` it waits until the contents are on the disk, for what must outlive a loss of power.

    Example:
        >>> with whole_file("notes.txt") as file:
        ...     _ = file.write_text("all of it")
        >>> Path("notes.txt").read_text()
        'all of it'
    """
    given = Path(path)
    if given.exists() and not given.is_file() and not given.is_dir():
        yield given
        return
    target = Path(os.path.realpath(path))
    unfinished = target.with_name(f".{target.stem}.{secrets.token_hex(8)}{target.suffix}")
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        with contextlib.suppress(FileNotFoundError):
            unfinished.chmod(stat.S_IMODE(target.stat().st_mode))  # whoever could not read it still cannot
        yield unfinished
        if sync:
            sync_path(unfinished)
        os.replace(unfinished, target)
        if sync:
            sync_path(target.parent)
    except OSError as error:
        error.filename = os.fspath(path)  # and not the unfinished one
        raise
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_text(path: AnyPath, text: str) -> None:
    """Write a text file whole, in UTF-8."""
    with whole_file(path) as file:
        file.write_text(text, encoding="utf-8")


def parse_json(text: str | bytes) -> Any:
    """Read JSON; whatever is wrong with it, too deep a nesting too, is a ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def others_may_write(path: AnyPath) -> bool:
    """Tell whether somebody besides this user and the administrator may change a file or folder."""
    found = os.stat(path)
    return os.name == "posix" and (bool(found.st_mode & 0o022) or found.st_uid not in (0, os.geteuid()))


def sync_path(path: AnyPath) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
