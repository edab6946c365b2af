import errno
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import BRIEF, run_experiment, train_ok

from jaxmlp import ArgumentError
from jaxmlp.cli import session
from jaxmlp.cli.session import compilation_cache as keeping

EVENTS: Counter[str] = Counter()
jax.monitoring.register_event_listener(lambda event, **_: EVENTS.update([event.rpartition("/")[2]]))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own, in which JAX may keep programs."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    jax.config.update("jax_enable_compilation_cache", True)
    try:
        yield tmp_path / "home"
    finally:
        jax.config.update("jax_enable_compilation_cache", False)


@pytest.fixture
def asked(home: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder that the user asks JAX to keep programs in."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "asked"))
    try:
        yield tmp_path / "asked"
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


def kept(home: Path) -> list[Path]:
    """The programs that are on disk."""
    return sorted((home / ".cache/jaxmlp/compiled").glob("*-cache"))


def compile_once(wanted: bool = True, times: int = 3) -> Counter[str]:
    """Compile a small program as in a new process; returns what JAX told of it."""
    jax.clear_caches()
    EVENTS.clear()
    with keeping(wanted):
        assert float(jax.jit(lambda x: jnp.sin(x) * times + 1)(np.zeros(()))) == 1
    return Counter(EVENTS)


def test_a_program_is_compiled_once_and_then_taken_from_disk(home: Path) -> None:
    for told in ((1, 0), (0, 1)):
        events = compile_once()
        assert (events["cache_misses"], events["cache_hits"], len(kept(home))) == (*told, 1)


@pytest.mark.slow
def test_a_second_run_of_train_compiles_nothing(home: Path, tmp_path: Path) -> None:
    told, programs, models = [], [], []
    for name in ("first", "second"):
        jax.clear_caches()  # or what other tests have compiled would not be kept
        EVENTS.clear()
        train_ok(tmp_path / name, *BRIEF)
        told.append((EVENTS["cache_misses"], EVENTS["cache_hits"]))
        programs.append(kept(home))
        models.append((tmp_path / name / "model.safetensors").read_bytes())
    compiled = len(programs[0])
    assert told[0][0] == compiled > 0
    assert told[1] == (0, compiled)
    assert programs[1] == programs[0]
    assert models[1] == models[0]


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_flag_keeps_nothing(command: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(wanted: bool) -> None:
        raise ArgumentError(f"keeping is {wanted}")

    monkeypatch.setattr(f"jaxmlp.cli.{command}.compilation_cache", stop)
    assert run_experiment(command).error_line.endswith("keeping is True")
    assert run_experiment(command, "--no-compilation-cache").error_line.endswith("keeping is False")
    compile_once(wanted=False)
    assert not home.exists()


def test_what_the_user_set_for_jax_wins(
    home: Path, asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compile_once()
    assert len(list(asked.glob("*-cache"))) == 1  # however quickly it was compiled
    assert not compile_once(wanted=False)["compile_requests_use_cache"]
    session._warn_if_unusable("gs://bucket/folder")
    (asked / "one-cache").write_text("no folder")
    jax.config.update("jax_compilation_cache_dir", str(asked / "one-cache"))
    compile_once(wanted=False)
    assert capsys.readouterr().err == "", "nothing is said of a folder that serves or is not wanted"
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    compile_once()
    assert not home.exists()
    jax.config.update("jax_enable_compilation_cache", True)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")  # JAX read its variables before
    compile_once()
    assert not kept(home)


def test_a_folder_that_was_asked_for_and_cannot_be_written_is_told_in_a_line(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.write_text("no folder")
    compile_once()
    line = capsys.readouterr().err
    assert f"JAX_COMPILATION_CACHE_DIR {asked} cannot be written (File exists)" in line
    assert line.count("\n") == 1
    assert asked.read_text() == "no folder"

    def refuse(dir: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", dir)

    # Permissions alone do not stop the superuser.
    asked.unlink()
    monkeypatch.setattr(session.tempfile, "TemporaryFile", refuse)
    compile_once()
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


def test_settings_are_as_before_afterwards(home: Path) -> None:
    def settings() -> dict[str, Any]:
        return {name: value for name, value in jax.config.values.items() if "cache" in name}

    before = settings()
    with keeping(True):
        assert settings() != before
    assert settings() == before
    with pytest.raises(ZeroDivisionError), keeping(False):
        raise ZeroDivisionError
    assert settings() == before


@pytest.mark.parametrize("why", ["a file is in the way", "no home", "the disk is full"])
def test_where_nothing_can_be_kept_it_costs_nothing_else(
    why: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    def full(self: Any, name: str, program: bytes) -> None:
        tried.append(name)
        raise OSError(errno.ENOSPC, "No space left on device")

    if why == "a file is in the way":
        home.mkdir()
        (home / ".cache").write_text("in the way")
    elif why == "no home":
        monkeypatch.setattr(session, "compiled_folder", no_home)
    else:
        monkeypatch.setattr("jax._src.lru_cache.LRUCache.put", full)
    events = compile_once()
    assert (events["cache_misses"] == 0, len(tried)) == (
        (False, 1) if why == "the disk is full" else (True, 0)
    )
    assert not kept(home)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("left", [b"", b"no program", None])
def test_a_damaged_program_is_compiled_again(home: Path, left: bytes | None) -> None:
    compile_once()
    (program,) = kept(home)
    program.write_bytes(program.read_bytes()[:-100] if left is None else left)
    assert compile_once()["cache_hits"] == 0


def test_the_room_is_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_once()
    (first,) = kept(home)
    monkeypatch.setattr(session, "MOST_ROOM", first.stat().st_size + 10)
    compile_once(times=4)
    (second,) = kept(home)
    assert second != first


def test_a_program_whose_time_stamp_is_missing_stops_no_keeping(home: Path) -> None:
    compile_once()
    (program,) = kept(home)
    program.with_name(program.name.removesuffix("cache") + "atime").unlink()  # as of a run killed between
    compile_once()
    assert compile_once()["cache_hits"] == 1


def test_the_folder_is_of_the_user_alone_or_not_used(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = os.umask(0)
    try:
        compile_once()
    finally:
        os.umask(before)
    (program,) = kept(home)
    assert program.parent.stat().st_mode & 0o777 == 0o700
    program.parent.chmod(0o770)
    assert compile_once()["cache_hits"] == 0
    assert "is not used, as others may write programs into it: delete it\n" in capsys.readouterr().err
