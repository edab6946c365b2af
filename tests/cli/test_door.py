"""The outermost door: where and how a program runs, it works or ends with one line and a status, never a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_runs import BRIEF, run_experiment, train_ok

from jaxmlp import door
from jaxmlp.cli.run import CONFIG, MODEL

CHECK = "gradcheck --sizes 2 2 --batch-size 2"
TRAIN = f"train {' '.join(BRIEF)} --dataset moons --out run"
# A line of a shell where J is jaxmlp, its status, and what it says on standard error; "" for nothing.
RUNS = [
    (f"J {CHECK} > /dev/full", 2, "standard output cannot be written (No space left on device)"),
    (f"J {CHECK} 2> /dev/full", 0, ""),
    (f"J {TRAIN} | true", 0, ""),
    (f"J {TRAIN} 2>&- >&- <&-", 0, ""),
    (f"LC_ALL=C PYTHONUTF8=0 J {TRAIN} --dataset sine", 0, ""),
    (f"HOME=/nowhere/x J {TRAIN}", 0, ""),
    (f"J {TRAIN} --data-dir '~nouser/x' --dataset a", 2, "unknown data set 'a'"),
    (f"MPLBACKEND=wrong J {TRAIN}", 0, ""),
    (f"JAX_PLATFORMS=wrong J {TRAIN}", 2, "JAX does not start (Unable to initialize backend 'wrong'"),
    (f"JAX_ENABLE_X64=perhaps J {CHECK}", 2, "invalid truth value 'perhaps'"),
    (f"(ulimit -n 32; J {TRAIN})", 0, ""),
    (f"(ulimit -v 1000000; J {TRAIN})", 2, "ulimit -v leaves 976 MiB: JAX needs 2048"),
    (f"(ulimit -f 1; J {TRAIN})", 2, "run/config.json: File too large"),
    (f"J {CHECK} --batch-size {'9' * 5000}", 2, " … "),
]


# The runs that train take seconds each: the first stands for the others by default.
@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        pytest.param(*run, marks=pytest.mark.slow if place and "train" in run[0] else (), id=f"{run[0]:.60}")
        for place, run in enumerate(RUNS)
    ],
)
def test_wherever_it_runs_it_works_or_says_in_a_line_why_not(
    line: str, status: int, said: str, tmp_path: Path
) -> None:
    shell = ["bash", "-o", "pipefail", "-c", line.replace("J ", f"{sys.executable} -m jaxmlp ")]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (status, int(bool(said))), done.stderr
    assert said in done.stderr
    assert (tmp_path / "run" / MODEL).exists() == ("train" in line and status == 0)


@pytest.mark.slow
@pytest.mark.parametrize("command", [f"{TRAIN} --epochs 40000", f"sweep {TRAIN[6:]} --grid seed=0..9999"])
def test_at_any_moment_an_interruption_is_one_line_and_130(command: str, tmp_path: Path) -> None:
    for number in range(15):
        given = [*command.split(), "--out", str(tmp_path / f"run {number}")]
        with subprocess.Popen(
            [sys.executable, "-m", "jaxmlp", *given], stderr=subprocess.PIPE, text=True
        ) as run:
            time.sleep(0.6 + 0.3 * number)  # Python itself begins before that
            run.send_signal(signal.SIGINT)
            said = run.communicate(timeout=60)[1]
        assert run.returncode == 130, said
        assert "Traceback" not in said
        assert said.splitlines()[-1].startswith("python -m jaxmlp"), said


def test_a_standard_stream_that_fails_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with door._Dropping(writer, "w") as stream:
        assert stream.write(b"abc") == 3


def test_debug_shows_where_an_error_arose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(door.DEBUG, raising=False)
    line = run_experiment("train", "--epochs", "0").error_line
    monkeypatch.setenv(door.DEBUG, "")  # to be as before afterwards
    traced = run_experiment("train", "--epochs", "0", "--debug").err
    assert traced.startswith("Traceback")
    assert traced.endswith(f"{line}\n")


def test_what_is_no_run_folder_and_what_fails_in_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is the root of all folders" in run_experiment("train", "--out", "/..").error_line

    def fail(*given: object) -> None:
        raise MemoryError("no memory")

    monkeypatch.setattr("jaxmlp.saving.checkpoint.write_checkpoint", fail)
    outcome = train_ok(tmp_path / "run", *BRIEF, "--dataset", "moons")
    assert "a checkpoint could not be written (no memory): those before it are kept" in outcome.err
    assert (tmp_path / "run" / MODEL).exists()


DAMAGE = [b"[" * 10_000, b"[]", b'{"options": []}', b'{"options": {"hidden": {}}}', b"\xff"]


@pytest.mark.parametrize("text", DAMAGE, ids=range(len(DAMAGE)))
def test_a_configuration_changed_by_hand_is_one_line(text: bytes, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_bytes(text)
    for name, *arguments in (("train", "--resume"), ("sweep", "--resume"), ("compare",)):
        outcome = run_experiment(name, *arguments, tmp_path)
        assert outcome.status == 2
        assert str(tmp_path) in outcome.error_line
