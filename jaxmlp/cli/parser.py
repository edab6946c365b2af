"""The command line: a parser whose options are the fields of a frozen dataclass."""

import argparse
import dataclasses
import difflib
import itertools
import re
import typing
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from jaxmlp.door import USAGE_ERROR, one_line, program
from jaxmlp.types import ArgumentError

Options = TypeVar("Options")
METAVARS: dict[type, str] = {int: "N", float: "X", str: "NAME"}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line on standard error, with status 2."""

    def __init__(self, description: str, positionals: Sequence[str] = ()) -> None:
        super().__init__(
            prog=program(),
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            epilog="--debug shows where an error arose",
            usage=" ".join(["%(prog)s", *positionals, "[options]"]),
        )

    def error(self, message: str) -> NoReturn:
        unknown = re.split("[ =]", message.partition("unrecognized arguments: ")[2])[0]
        options = self._option_string_actions
        initials = {"--" + "".join(re.findall(r"\b\w", name)): [name] for name in options}  # --lr
        nearest = initials.get(unknown) or difflib.get_close_matches(unknown, options, n=1)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        if unknown[:1] not in ("", "-") and "--grid" in options:
            hint = " (write --grid or --random before what is to be tried)"
        line = one_line(ArgumentError(f"{message}{hint}; see {self.prog} --help"))
        self.exit(USAGE_ERROR, f"{self.prog}: {line}\n")


def option(default: Any, help: str, *, group: str, metavar: str | None = None, read: Any = None) -> Any:
    """Declare a command-line option as a field of a frozen dataclass; its name, type and metavar are the field's."""
    return dataclasses.field(
        default=default, metadata={"help": help, "group": group, "metavar": metavar, "read": read}
    )


def parse_options(
    kind: type[Options], description: str, arguments: Sequence[str] | None, *, positionals: Sequence[str] = ()
) -> tuple[Options, list[str]]:
    """Read the command line into a dataclass whose fields were declared with `option`."""
    given = given_options(kind, description, arguments, positionals)
    placed = [given.pop(name) for name in positionals]
    return kind(**given), placed


def given_options(
    kind: type[Any], description: str, arguments: Sequence[str] | None, positionals: Sequence[str] = ()
) -> dict[str, Any]:
    """Read what the command line says outright, whatever the values; defaults are left out."""
    parser = Parser(description, positionals)
    for name in positionals:
        parser.add_argument(name, help=argparse.SUPPRESS)
    groups: dict[str, Any] = {"options": parser._optionals}  # where --help stands
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        title = field.metadata["group"]
        group = groups.setdefault(title, parser.add_argument_group(title))
        group.add_argument(f"--{field.name.replace('_', '-')}", **_argument(field, types[field.name]))
    given = vars(parser.parse_args(arguments))
    return {name: _flat(value) if isinstance(value, list) else value for name, value in given.items()}


def _flat(values: list[Any]) -> tuple[Any, ...]:
    """Put values that were given singly, or as 64x32, into one tuple."""
    return tuple(
        itertools.chain.from_iterable(each if isinstance(each, tuple) else (each,) for each in values)
    )


def _argument(field: "dataclasses.Field[Any]", annotation: Any) -> dict[str, Any]:
    """Say to argparse what a field declares."""
    shown = field.default
    if isinstance(shown, tuple):
        shown = "x".join(map(str, shown))
    if isinstance(shown, bool):
        shown = "yes" if shown else "no"
    note = "" if field.default in (None, (), "") else f" (default: {shown})"
    argument: dict[str, Any] = {
        "default": argparse.SUPPRESS,
        "help": (field.metadata["help"] + note).replace("%", "%%"),
    }
    if annotation in (bool, bool | None):
        two_ways = field.default is not False
        return argument | {"action": argparse.BooleanOptionalAction if two_ways else "store_true"}
    plain = [part for part in typing.get_args(annotation) or (annotation,) if part not in (type(None), ...)]
    argument["metavar"] = field.metadata["metavar"] or METAVARS[plain[0]]
    argument["type"] = field.metadata["read"] or plain[0]
    return argument | ({"nargs": "*"} if typing.get_origin(annotation) is tuple else {})
