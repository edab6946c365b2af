import dataclasses
import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from command_runs import run_experiment, run_program
from comparisons import refused

from jaxmlp import ArgumentError, __version__, cli
from jaxmlp.cli import session
from jaxmlp.cli.options import DeviceOptions, TrainOptions
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import check_fits, computing, find_device, run
from jaxmlp.cli.text import check_out, command, write_result
from jaxmlp.door import program

SCRIPTS, AS_FILES = ("train", "predict", "gradcheck", "benchmark"), ("train", "benchmark")
MODULE = "/x/jaxmlp/__main__.py"


@dataclass(frozen=True)
class SmallOptions(DeviceOptions):
    """A few options of every kind."""

    sizes: tuple[int, ...] = option((3, 4), "sizes of layers", group="network", metavar="SIZE")
    rate: float | None = option(None, "a rate", group="network", metavar="X")
    bias: bool = option(True, "add biases", group="network")
    quiet: bool = option(False, "say less", group="output")


def small(*arguments: str) -> SmallOptions:
    return parse_options(SmallOptions, "Try options.", arguments)[0]


def test_options_are_read_by_their_types_or_have_their_defaults() -> None:
    assert small() == SmallOptions()
    options = small("--sizes", "5", "6", "--rate", "1e-3", "--no-bias", "--quiet", "--device", "cpu")
    assert options == SmallOptions(sizes=(5, 6), rate=1e-3, bias=False, quiet=True, device="cpu")
    assert hash(options) == hash(dataclasses.replace(options))
    assert small("--sizes").sizes == ()
    _, placed = parse_options(SmallOptions, "Try.", ["a", "--quiet", "b"], positionals=("RUN", "FILE"))
    assert placed == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--sizes x", "argument --sizes: invalid int value: 'x'"),
        ("--rate fast", "argument --rate: invalid float value: 'fast'"),
        ("--rate", "argument --rate: expected one argument"),
        ("--qui", "unrecognized arguments: --qui"),
        ("stray", "unrecognized arguments: stray"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_status_2(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        small(*arguments.split())
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert error.rstrip().endswith("--help")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_every_option_with_its_default(script: str) -> None:
    outcome = run_experiment(script, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    named = [f"{script}.py", "[options]"] if script in AS_FILES else ["jaxmlp", script]
    assert outcome.out.split()[1:3] == named
    if script == "train":
        for field in dataclasses.fields(TrainOptions):
            assert f"--{field.name.replace('_', '-')}" in outcome.out
            assert field.metadata["help"].split()[0] in outcome.out
        assert "(default: digits)" in " ".join(outcome.out.split())


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ArgumentError("wrong\nin two   lines"), 2, "wrong in two lines"),
        (PermissionError(errno.EACCES, "Permission denied", "a.csv"), 2, "a.csv: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device"),
        (OSError("something"), 2, "something"),
        (MemoryError(), 2, "MemoryError"),
        (RuntimeError("no backend"), 2, "no backend"),
        (ArgumentError("x" * 5000), 2, "x" * 400 + " … " + "x" * 400),
        # A defect of ours is not disguised as the user's.
        (ZeroDivisionError(), 1, "a defect of jaxmlp, ZeroDivisionError(); --debug shows where: report it"),
    ],
    ids=repr,
)
def test_a_program_ends_with_what_main_returns_or_one_line_on_what_the_user_can_set_right(
    end: Any,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def main(arguments: object) -> int:
        if isinstance(end, BaseException):
            raise end
        return int(end)

    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py"])
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == status
    assert capsys.readouterr().err == (f"train.py: {said}\n" if said else "")


def test_devices_are_found_by_platform_and_number() -> None:
    assert find_device("cpu") == find_device("cpu:0") == jax.devices("cpu")[0]
    assert find_device("auto") == jax.devices()[0]
    there = f"{jax.devices()[0].platform}:0"
    for name in ("gup", "cpu:99", "cpu:x", "", ":0"):
        words = f"device '{name}' is not there: this machine has ...{there}"
        assert refused(words, find_device, name).startswith("device")


@pytest.mark.parametrize(
    ("precision", "products", "computed"),
    [
        ("float32", "float32", jnp.float32),
        ("float64", "float32", jnp.float64),
        ("tensorfloat32", "tensorfloat32", jnp.float32),
        ("bfloat16", "bfloat16", jnp.float32),
    ],
)
def test_a_precision_holds_inside_and_not_after(precision: str, products: str, computed: object) -> None:
    with computing("cpu", precision) as (yielded, _):
        assert yielded == products
        assert jnp.ones(1).dtype == computed
        assert jnp.ones(1).devices() == {jax.devices("cpu")[0]}
    assert jnp.ones(1).dtype == jnp.float32


def test_a_network_larger_than_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes in ([784, 300, 10], [64, 10]):
        check_fits(sizes)
    refused("64 99999999999999 10 has 7,499,999,999,999,935 parameters", check_fits, [64, 99999999999999, 10])
    needed = 12 * (4 * 5 + 6 * 2)
    monkeypatch.setattr(session, "memory_of", lambda devices: needed)
    check_fits([3, 5, 2])
    monkeypatch.setattr(session, "memory_of", lambda devices: needed - 1)
    refused("3 5 2 has 32 parameters", check_fits, [3, 5, 2])
    monkeypatch.setattr(session, "memory_of", lambda devices: None)  # a device that does not tell
    check_fits([64, 99999999999999, 10])


# --- the file that --out names ---


def test_a_file_that_can_be_written_is_and_none_is_no_file(tmp_path: Path) -> None:
    out = str(tmp_path / "result.json")
    for name in (out, None):
        check_out(name)
        write_result(name, {"seconds": 1.5})
    assert json.loads(Path(out).read_text(encoding="utf-8")) == {"seconds": 1.5}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_what_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    absent = str(tmp_path / "no" / "x.json")
    refused("the folder of ... is not there: make it, or choose another file", check_out, absent)
    for out in ("", str(tmp_path)):
        refused("is no file: give the name of a csv to write", check_out, out, "csv")
    with pytest.raises(IsADirectoryError) as error:
        write_result(str(tmp_path), {})
    assert error.value.filename == str(tmp_path)


# --- the command `jaxmlp`, whose messages name it as it was typed ---


@pytest.mark.parametrize(
    ("typed", "arguments", "status", "said"),
    [
        ("/bin/jaxmlp", "", 0, "usage: jaxmlp COMMAND [options]; each command has its own --help"),
        ("/bin/jaxmlp", "--help", 0, "  predict    predict with a trained network"),
        ("/bin/jaxmlp", "--version", 0, f"jaxmlp {__version__}"),
        ("/bin/jaxmlp", "train --help", 0, "usage: jaxmlp train [options]"),
        ("/bin/jaxmlp", "sweep --help", 0, "usage: jaxmlp sweep [options]"),
        ("/bin/jaxmlp", "tran", 2, "jaxmlp: unknown command 'tran': did you mean 'train'?"),
        ("/bin/jaxmlp", "train --seed -1", 2, "jaxmlp train: --seed must be a whole number from 0"),
        (MODULE, "train --loss x", 2, "python -m jaxmlp train: unknown loss 'x'"),
        (MODULE, "train x", 2, "python -m jaxmlp train: unrecognized arguments: x; see python"),
    ],
)
def test_the_command_tells_what_there_is_or_what_is_wrong_in_one_line(
    typed: str,
    arguments: str,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [typed, *arguments.split()])
    ended: Any = 0
    try:
        cli.main()
    except SystemExit as end:
        ended = end.code or 0
    assert ended == status
    out, err = capsys.readouterr()
    if status == 0:
        assert said in out.splitlines()
    else:
        assert err.startswith(said)
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "name", "again"),
    [
        ("experiments/train.py", "train.py", "python experiments/train.py"),
        ("my runs/train.py", "train.py", "python 'my runs/train.py'"),
        ("jaxmlp train", "jaxmlp train", "jaxmlp train"),
        ("python -m jaxmlp train", "python -m jaxmlp train", "python -m jaxmlp train"),
    ],
)
def test_a_command_is_named_as_it_was_typed(
    typed: str, name: str, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [typed])
    assert (program(), command()) == (name, again)


# --- the programs themselves, in processes of their own ---


@pytest.mark.parametrize("script", ["train", "gradcheck", "benchmark"])
def test_the_program_refuses_a_stray_argument_without_a_traceback(script: str, tmp_path: Path) -> None:
    outcome = run_program(script, "a", "b", "c", folder=tmp_path)
    assert (outcome.status, outcome.out) == (2, "")
    name = f"{script}.py" if script in AS_FILES else f"python -m jaxmlp {script}"
    assert outcome.error_line.startswith(f"{name}: unrecognized arguments: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),  # met when Python writes all at its end, or in the midst of printing
    [(["--help"], ""), (["--sizes", "2", "2", "--batch-size", "2"], "1")],
)
def test_a_reader_that_stops_is_no_error(arguments: list[str], unbuffered: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "jaxmlp", "gradcheck", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == ""
    assert program.returncode == 0
