import dataclasses
import errno
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from command_runs import run_experiment, run_program

from jaxmlp import ArgumentError, __version__, cli
from jaxmlp.cli import session
from jaxmlp.cli.options import DeviceOptions, TrainOptions, option, parse_options
from jaxmlp.cli.session import check_fits, computing, find_device, run
from jaxmlp.cli.text import command, program

SCRIPTS = ("train", "predict", "gradcheck", "benchmark")


@dataclass(frozen=True)
class SmallOptions(DeviceOptions):
    """A few options of every kind."""

    sizes: tuple[int, ...] = option((3, 4), "sizes of layers", group="network", metavar="SIZE")
    rate: float | None = option(None, "a rate", group="network", metavar="X")
    bias: bool = option(True, "add biases", group="network")
    quiet: bool = option(False, "say less", group="output")


def small(*arguments: str) -> SmallOptions:
    options, _ = parse_options(SmallOptions, "Try options.", arguments)
    return options


def test_without_arguments_every_option_has_its_default() -> None:
    assert small() == SmallOptions()


def test_options_are_read_by_their_types() -> None:
    options = small("--sizes", "5", "6", "--rate", "1e-3", "--no-bias", "--quiet", "--device", "cpu")
    assert options == SmallOptions(sizes=(5, 6), rate=1e-3, bias=False, quiet=True, device="cpu")
    assert hash(options) == hash(dataclasses.replace(options))
    assert small("--sizes").sizes == ()


def test_positional_arguments_are_given_back_in_their_order() -> None:
    _, placed = parse_options(SmallOptions, "Try.", ["a", "--quiet", "b"], positionals=("RUN", "FILE"))
    assert placed == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "x"], "argument --sizes: invalid int value: 'x'"),
        (["--rate", "fast"], "argument --rate: invalid float value: 'fast'"),
        (["--rate"], "argument --rate: expected one argument"),
        (["--qui"], "unrecognized arguments: --qui"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        small(*arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert error.rstrip().endswith("--help")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_every_option_with_its_default(script: str) -> None:
    outcome = run_experiment(script, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.split()[1:3] == (
        [f"{script}.py", "[options]"] if script in ("train", "benchmark") else ["jaxmlp", script]
    )
    if script == "train":
        for field in dataclasses.fields(TrainOptions):
            assert f"--{field.name.replace('_', '-')}" in outcome.out
            assert field.metadata["help"].split()[0] in outcome.out
        assert "(default: digits)" in " ".join(outcome.out.split())


def raising(error: BaseException) -> int:
    """Be a `main` that fails."""

    def main(arguments: object) -> int:
        raise error

    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code is not None
    return end.value.code if isinstance(end.value.code, int) else 1


def test_the_exit_status_is_what_main_returns() -> None:
    for status in (0, 1):
        with pytest.raises(SystemExit) as end:
            run(lambda arguments, status=status: status)  # type: ignore[misc]
        assert end.value.code == status


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ArgumentError("wrong\nin two   lines"), "wrong in two lines"),
        (PermissionError(errno.EACCES, "Permission denied", "a.csv"), "a.csv: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("something"), "something"),
    ],
)
def test_what_the_user_can_set_right_is_one_line_with_status_2(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py"])
    assert raising(error) == 2
    assert capsys.readouterr().err == f"train.py: {line}\n"


def test_an_interruption_is_no_success() -> None:
    assert raising(KeyboardInterrupt()) == 130


def test_a_defect_of_ours_is_not_disguised_as_the_users() -> None:
    def main(arguments: object) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_devices_are_found_by_platform_and_number() -> None:
    assert find_device("cpu") == find_device("cpu:0") == jax.devices("cpu")[0]
    assert find_device("auto") == jax.devices()[0]


@pytest.mark.parametrize("name", ["gup", "cpu:99", "cpu:x", "", ":0"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ArgumentError) as refusal:
        find_device(name)
    assert str(refusal.value).startswith(f"device '{name}' is not there: this machine has ")
    assert f"{jax.devices()[0].platform}:0" in str(refusal.value)


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
    with computing("cpu", precision) as yielded:
        assert yielded == products
        assert jnp.ones(1).dtype == computed
        assert jnp.ones(1).devices() == {jax.devices("cpu")[0]}
    assert jnp.ones(1).dtype == jnp.float32


def test_an_unknown_precision_is_named_with_its_nearest() -> None:
    with (
        pytest.raises(ArgumentError, match="unknown precision 'float46': did you mean 'float64'"),
        computing("cpu", "float46"),
    ):
        pass


def test_a_network_larger_than_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_fits([784, 300, 10])
    check_fits([64, 10])
    with pytest.raises(ArgumentError, match=r"64 99999999999999 10 has 7,499,999,999,999,935 parameters"):
        check_fits([64, 99999999999999, 10])
    parameters = 4 * 5 + 6 * 2
    monkeypatch.setattr(session, "memory_of", lambda devices: 12 * parameters)
    check_fits([3, 5, 2])
    monkeypatch.setattr(session, "memory_of", lambda devices: 12 * parameters - 1)
    with pytest.raises(ArgumentError, match="3 5 2 has 32 parameters"):
        check_fits([3, 5, 2])
    monkeypatch.setattr(session, "memory_of", lambda devices: None)  # a device that does not tell
    check_fits([64, 99999999999999, 10])


# --- the command `jaxmlp`, whose messages name it as it was typed ---


def jaxmlp(*arguments: str, typed: str = "/usr/bin/jaxmlp", monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the console script; returns its exit status."""
    monkeypatch.setattr(sys, "argv", [typed, *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "usage: jaxmlp COMMAND [options]; each command has its own --help"),
        (("--help",), "  predict    predict with a trained network"),
        (("--version",), f"jaxmlp {__version__}"),
        (("train", "--help"), "usage: jaxmlp train [options]"),
        (("sweep", "--help"), "usage: jaxmlp sweep [options]"),
    ],
)
def test_the_command_tells_what_there_is(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jaxmlp(*arguments, monkeypatch=monkeypatch) == 0
    assert said in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("typed", "arguments", "line"),
    [
        ("/bin/jaxmlp", ("tran",), "jaxmlp: unknown command 'tran': did you mean 'train'?"),
        ("/bin/jaxmlp", ("train", "--seed", "-1"), "jaxmlp train: --seed must lie in 0"),
        ("/x/jaxmlp/__main__.py", ("train", "--loss", "x"), "python -m jaxmlp train: unknown loss 'x'"),
        (
            "/x/jaxmlp/__main__.py",
            ("train", "x"),
            "python -m jaxmlp train: unrecognized arguments: x; see python",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_status_2_that_names_the_command(
    typed: str,
    arguments: tuple[str, ...],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert jaxmlp(*arguments, typed=typed, monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


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


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_program_refuses_a_stray_argument_without_a_traceback(script: str, tmp_path: Path) -> None:
    outcome = run_program(script, "a", "b", "c", folder=tmp_path)
    assert outcome.status == 2
    assert outcome.out == ""
    name = f"{script}.py" if script in ("train", "benchmark") else f"python -m jaxmlp {script}"
    assert outcome.error_line.startswith(f"{name}: unrecognized arguments: ")
    assert list(tmp_path.iterdir()) == []


def test_the_program_refuses_an_unknown_name_without_a_traceback(tmp_path: Path) -> None:
    outcome = run_program("train", "--activation", "rlu", folder=tmp_path)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.error_line.startswith("train.py: unknown activation 'rlu': did you mean 'relu'?")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),  # met when Python writes all at its end, or in the midst of printing
    [(["--help"], ""), (["--sizes", "2", "2", "--batch-size", "2"], "1")],
)
def test_a_reader_that_stops_reading_is_no_error(
    arguments: list[str], unbuffered: str, tmp_path: Path
) -> None:
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
