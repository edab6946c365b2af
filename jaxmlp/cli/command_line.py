"""The command line that every experiment shares: one-line errors, devices and precision."""

import argparse
import atexit
import contextlib
import dataclasses
import gc
import itertools
import os
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import jax

from jaxmlp import ArgumentError
from jaxmlp.layers import PRECISIONS
from jaxmlp.registry import unknown_name
from jaxmlp.training.devices import memory_of

USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells tell it
Options = TypeVar("Options")
COMPUTED_IN = ("float32", "float64", "tensorfloat32", "bfloat16")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line on standard error, with status 2."""

    def __init__(self, description: str, positionals: Sequence[str] = ()) -> None:
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            usage=" ".join(["%(prog)s", *positionals, "[options]"]),
        )

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def run(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run an experiment's `main` as a program: what the user can set right is told in one line."""
    # All that is left ends with the process: to look through it for cycles first took a third of a second.
    atexit.register(gc.freeze)
    try:
        try:
            sys.exit(main(None))
        finally:
            sys.stdout.flush()  # so that a closed pipe is met here, and not by Python at its exit
    except KeyboardInterrupt:
        print(f"{os.path.basename(sys.argv[0])}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has closed it, as `head` does; Python's own flush at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (ArgumentError, OSError) as error:
        print(f"{os.path.basename(sys.argv[0])}: {one_line(error)}", file=sys.stderr)
        sys.exit(USAGE_ERROR)


def one_line(error: Exception) -> str:
    """Say what went wrong in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file'}: {error.strerror}"
    return " ".join(str(error).split())


def option(default: Any, help: str, *, group: str, metavar: str | None = None, read: Any = None) -> Any:
    """Declare a command-line option as a field of a frozen dataclass; its name and type are the field's."""
    return dataclasses.field(
        default=default, metadata={"help": help, "group": group, "metavar": metavar, "read": read}
    )


def parse_options(
    kind: type[Options], description: str, arguments: Sequence[str] | None, *, positionals: Sequence[str] = ()
) -> tuple[Options, list[str]]:
    """Read the command line into a dataclass whose fields were declared with `option`."""
    parser = Parser(description, positionals)
    for name in positionals:
        parser.add_argument(name, help=argparse.SUPPRESS)
    groups: dict[str, Any] = {}
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        title = field.metadata["group"]
        group = groups.setdefault(title, parser.add_argument_group(title))
        group.add_argument(f"--{field.name.replace('_', '-')}", **_argument(field, types[field.name]))
    given = vars(parser.parse_args(arguments))
    placed = [given.pop(name) for name in positionals]
    return kind(**given), placed


def explicit_options(kind: type[Any], arguments: Sequence[str] | None) -> list[str]:
    """Tell which options a command line names, whatever their values."""
    parser = argparse.ArgumentParser(allow_abbrev=False, argument_default=argparse.SUPPRESS)
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        argument = _argument(field, types[field.name]) | {"default": argparse.SUPPRESS}
        parser.add_argument(f"--{field.name.replace('_', '-')}", **argument)
    return list(vars(parser.parse_args(arguments)))


def _argument(field: "dataclasses.Field[Any]", annotation: Any) -> dict[str, Any]:
    """Say to argparse what a field declares."""
    shown = field.default
    if isinstance(shown, tuple):
        shown = " ".join(map(str, shown))
    if isinstance(shown, bool):
        shown = "yes" if shown else "no"
    note = "" if field.default in (None, ()) else f" (default: {shown})"
    argument: dict[str, Any] = {
        "default": field.default,
        "help": (field.metadata["help"] + note).replace("%", "%%"),
    }
    if annotation is bool:
        return argument | {"action": argparse.BooleanOptionalAction if field.default else "store_true"}
    argument["metavar"] = field.metadata["metavar"]
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)[0]
        return argument | {"nargs": "*", "action": _StoreTuple, "type": field.metadata["read"] or inner}
    plain = [part for part in (typing.get_args(annotation) or (annotation,)) if part is not type(None)]
    return argument | {"type": field.metadata["read"] or plain[0]}


class _StoreTuple(argparse.Action):
    """Stores the values as a tuple, so that options stay hashable."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(values))


@dataclass(frozen=True)
class DeviceOptions:
    """The options that say where and how exactly to compute."""

    device: str = option(
        "auto",
        "cpu, gpu, tpu, one of several as gpu:1, or auto for JAX's choice",
        group="device",
        metavar="NAME",
    )
    precision: str = option(
        "float32",
        "float32 in full; float64 for everything; tensorfloat32 or bfloat16 for faster matrix products on a GPU",
        group="device",
        metavar="NAME",
    )


def find_device(name: str) -> jax.Device:
    """Find a device by name."""
    if name == "auto":
        return jax.local_devices()[0]
    platform, _, number = name.partition(":")
    try:
        if not platform:  # JAX takes an empty name for its own choice
            raise ValueError
        devices = jax.local_devices(backend=platform)
        return devices[int(number or 0)]
    except (RuntimeError, ValueError, IndexError):
        there = ", ".join(sorted({f"{device.platform}:{device.id}" for device in jax.local_devices()}))
        raise ArgumentError(
            f"device '{name}' is not there: this machine has {there}; choose one or auto"
        ) from None


def check_fits(sizes: Sequence[int]) -> None:
    """Refuse a network that its device cannot hold: XLA would abort the program, without a line of ours."""
    parameters = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sizes))
    needed, memory = 3 * 4 * parameters, memory_of(list(jax.device_put(0.0).devices()))
    if memory is not None and needed > memory:
        raise ArgumentError(
            f"a network of sizes {' '.join(map(str, sizes))} has {parameters:,} parameters and needs at least "
            f"{needed / 2**30:,.0f} GiB, this device has {memory / 2**30:,.0f}: choose smaller sizes"
        )


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def computing(device: str, precision: str) -> Iterator[str | None]:
    """Compute on a device in a precision, inside a `with`."""
    if precision not in COMPUTED_IN:
        raise unknown_name("precision", precision, COMPUTED_IN)
    with jax.default_device(find_device(device)), jax.enable_x64(precision == "float64"):
        yield precision if precision in PRECISIONS else "float32"
