import errno
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import BRIEF, train_ok

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


def kept(home: Path) -> list[Path]:
    """The programs that are on disk."""
    return sorted((home / ".cache/jaxmlp/compiled").glob("*-cache"))


def compile_once(wanted: bool = True) -> Counter[str]:
    """Compile a small program as in a new process; returns what JAX told of it."""
    jax.clear_caches()
    EVENTS.clear()
    with keeping(wanted):
        assert float(jax.jit(lambda x: jnp.sin(x) * 3 + 1)(np.zeros(()))) == 1
    return Counter(EVENTS)


def settings() -> dict[str, Any]:
    return {name: value for name, value in jax.config.values.items() if "cache" in name}


def test_a_program_is_compiled_once_and_then_taken_from_disk(home: Path) -> None:
    first = compile_once()
    assert (first["cache_misses"], first["cache_hits"], len(kept(home))) == (1, 0, 1)
    second = compile_once()
    assert (second["cache_misses"], second["cache_hits"], len(kept(home))) == (0, 1, 1)


@pytest.mark.slow
def test_a_second_run_of_train_compiles_nothing(home: Path, tmp_path: Path) -> None:
    jax.clear_caches()  # or what other tests have compiled would not be kept
    EVENTS.clear()
    train_ok(tmp_path / "first", *BRIEF)
    compiled, programs = EVENTS["cache_misses"], kept(home)
    assert compiled == len(programs) > 0
    jax.clear_caches()
    EVENTS.clear()
    train_ok(tmp_path / "second", *BRIEF)
    assert (EVENTS["cache_misses"], EVENTS["cache_hits"]) == (0, compiled)
    assert kept(home) == programs
    first, second = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert second.read_bytes() == first.read_bytes()


def test_the_flag_keeps_nothing(home: Path, tmp_path: Path) -> None:
    train_ok(tmp_path / "run", *BRIEF, "--no-compilation-cache")
    assert not session.compiled_folder().exists()


def test_what_the_user_set_for_jax_wins(home: Path, tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    try:
        compile_once()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
        assert len(list((tmp_path / "mine").glob("*-cache"))) == 1  # however quickly it was compiled
        assert not home.exists()
        assert not compile_once(wanted=False)["compile_requests_use_cache"]
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    compile_once()
    assert not home.exists()


@pytest.fixture
def asked(home: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder that the user asks JAX to keep programs in."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "asked"))
    try:
        yield tmp_path / "asked"
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


@pytest.mark.slow
def test_a_folder_that_was_asked_for_and_is_a_file_is_told_in_a_line(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.write_text("no folder")
    compile_once()
    line = capsys.readouterr().err
    assert f"JAX_COMPILATION_CACHE_DIR {asked} cannot be written (File exists)" in line
    assert line.count("\n") == 1
    train_ok(tmp_path / "run", *BRIEF)  # goes on
    assert asked.read_text() == "no folder"


def test_a_folder_that_was_asked_for_and_may_not_be_written_is_told(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(dir: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", dir)

    # Permissions alone do not stop the superuser.
    monkeypatch.setattr(session.tempfile, "TemporaryFile", refuse)
    compile_once()
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


def test_nothing_is_said_of_a_folder_that_serves_or_is_not_wanted(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compile_once()
    assert len(list(asked.glob("*-cache"))) == 1
    session._warn_if_unusable("gs://bucket/folder")
    jax.config.update("jax_compilation_cache_dir", str(asked / "one-cache"))
    (asked / "one-cache").write_text("no folder")
    compile_once(wanted=False)
    assert capsys.readouterr().err == ""


def test_a_threshold_that_the_user_set_for_jax_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")  # JAX read its variables before
    compile_once()
    assert not kept(home)


def test_settings_are_as_before_afterwards(home: Path) -> None:
    before = settings()
    with keeping(True):
        assert settings() != before
    assert settings() == before
    with pytest.raises(ZeroDivisionError), keeping(False):
        raise ZeroDivisionError
    assert settings() == before


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_costs_nothing_else(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (home / ".cache").write_text("in the way")
    assert compile_once()["cache_misses"] == 0
    assert train_ok(tmp_path / "run", *BRIEF).err == ""


def test_without_a_home_nothing_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(session, "compiled_folder", no_home)
    assert compile_once()["cache_misses"] == 0


@pytest.mark.parametrize("left", [b"", b"no program", None])
def test_a_damaged_program_is_compiled_again(home: Path, left: bytes | None) -> None:
    compile_once()
    (program,) = kept(home)
    program.write_bytes(program.read_bytes()[:-100] if left is None else left)
    assert compile_once()["cache_hits"] == 0


def test_a_folder_that_takes_no_program_costs_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def full(self: Any, name: str, program: bytes) -> None:
        tried.append(name)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jax._src.lru_cache.LRUCache.put", full)
    compile_once()
    assert tried
    assert not kept(home)


def test_the_room_is_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_once()
    (first,) = kept(home)
    monkeypatch.setattr(session, "MOST_ROOM", first.stat().st_size + 10)
    jax.clear_caches()
    with keeping(True):
        assert float(jax.jit(lambda x: jnp.cos(x) * 3 + 1)(np.zeros(()))) == 4
    (second,) = kept(home)
    assert second != first


def test_a_program_whose_time_stamp_is_missing_stops_no_keeping(home: Path) -> None:
    compile_once()
    (program,) = kept(home)
    program.with_name(
        program.name.removesuffix("cache") + "atime"
    ).unlink()  # as of a run killed between the two
    compile_once()
    assert compile_once()["cache_hits"] == 1
