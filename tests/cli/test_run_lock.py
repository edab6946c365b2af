import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxmlp import ArgumentError
from jaxmlp.cli.run import LOCK, locked

HOLD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from jaxmlp.cli.run import locked
with locked(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_is_held_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    with locked(tmp_path) as lock:
        assert lock.is_held
        with pytest.raises(ArgumentError, match="is in use by a run that has not ended"), locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists(), "the refused one leaves the lock alone"
        assert lock.is_held
    assert not lock.is_held
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_a_lock_is_gone_with_its_process(tmp_path: Path) -> None:
    experiments = Path(__file__).parents[2] / "experiments"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(experiments), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(ArgumentError, match="in use"), locked(tmp_path):
                pass
        finally:
            process.kill()
            process.wait(30)
    assert (tmp_path / LOCK).exists()  # what is left holds nobody
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with locked(tmp_path):
                return
        except ArgumentError:
            time.sleep(0.01)
    pytest.fail("the folder of a killed run stays locked")


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_that_is_deleted_is_not_held_and_that_of_another_run_is_left_alone(
    tmp_path: Path, anew: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with locked(run) as lock:
        (run / LOCK).unlink()
        run.rmdir()
        assert not lock.is_held
        if anew:
            run.mkdir()
            with locked(run) as other:
                assert (lock.is_held, other.is_held) == (False, True)
            (run / LOCK).touch()
    assert (run / LOCK).exists() == anew


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied", str(tmp_path / LOCK))

    with monkeypatch.context() as patched:
        patched.setattr("jaxmlp.cli.run.filelock.FileLock.acquire", refuse)
        with pytest.raises(ArgumentError, match=r"cannot be written \(Permission denied\)"), locked(tmp_path):
            pass
    assert os.listdir(tmp_path) == []
