"""Named things, so that an activation, a loss or a layer can be asked for, listed and saved by its name."""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from jaxmlp.types import ArgumentError

Thing = TypeVar("Thing")


class UnknownNameError(ArgumentError, KeyError):
    """A name that a registry does not hold; also a KeyError, so that mappings behave as mappings do."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the message in quotes


def unknown_name(kind: str, given: str, allowed: Iterable[str]) -> UnknownNameError:
    """Make the error for a name that is not among the allowed ones.

    Args:
        kind: what the name should have named, as "activation".
        given: the name as it was given.
        allowed: every right name.

    Returns:
        The exception, to be raised by the caller; it names the nearest right name and all of them.

    Example:
        >>> print(unknown_name("colour", "gren", ["green", "red"]))
        unknown colour 'gren': did you mean 'green'? Choose one of: green, red
    """
    names = sorted(allowed)
    nearest = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return UnknownNameError(f"unknown {kind} '{given}': {hint}Choose one of: {', '.join(names)}")


class Registry(Mapping[str, Thing], Generic[Thing]):
    """A read-only mapping from names to things, some of which take numbers behind a colon.

    A plain name gives the thing itself. A name with parameters, as "leaky_relu:0.1" or
    "uniform:-0.05,0.05", gives what its factory makes of them; the same description always gives
    the same object, so that it can be a static argument of a compiled function. Iteration
    goes over the names alone.

    Args:
        kind: what is registered, for error messages, as "activation".
        things: the things that take no parameters, by name.
        factories: functions of numbers that return a thing, by name; their defaults serve the bare name.

    Example:
        >>> powers = Registry("power", {"one": 1.0}, {"square": lambda base=2.0: base**2})
        >>> powers["square"], powers["square:3"], sorted(powers)
        (4.0, 9.0, ['one', 'square'])
    """

    def __init__(
        self,
        kind: str,
        things: Mapping[str, Thing],
        factories: Mapping[str, Callable[..., Thing]] | None = None,
    ) -> None:
        self._kind = kind
        self._things = dict(things)
        self._factories = dict(factories or {})
        self._made: dict[tuple[str, tuple[float, ...]], Thing] = {}

    def __getitem__(self, description: str) -> Thing:
        if not isinstance(description, str):
            raise ArgumentError(
                f"{self._kind} must be given by name, given {description!r}: write one of {', '.join(self)}"
            )
        name, _, parameters = description.partition(":")
        if name in self._things:
            if parameters:
                raise ArgumentError(
                    f"{self._kind} '{name}' takes no parameter, given '{description}': write '{name}'"
                )
            return self._things[name]
        if name not in self._factories:
            raise unknown_name(self._kind, description, self)
        numbers = self._numbers(description, parameters)
        if (name, numbers) not in self._made:
            self._made[name, numbers] = self._make(name, numbers, description)
        return self._made[name, numbers]

    def __iter__(self) -> Iterator[str]:
        yield from self._things
        yield from self._factories

    def __len__(self) -> int:
        return len(self._things) + len(self._factories)

    def __repr__(self) -> str:
        return f"Registry({self._kind!r}: {', '.join(self)})"

    def _numbers(self, description: str, parameters: str) -> tuple[float, ...]:
        if not parameters:
            return ()
        try:
            numbers = tuple(float(part) for part in parameters.split(","))
        except ValueError:
            numbers = (math.nan,)
        if not all(math.isfinite(number) for number in numbers):
            raise ArgumentError(
                f"{self._kind} '{description}' has parameters that are not finite numbers: "
                f"write numbers behind the colon, with commas between them"
            )
        return numbers

    def _make(self, name: str, numbers: tuple[float, ...], description: str) -> Thing:
        factory = self._factories[name]
        signature = inspect.signature(factory)
        try:
            signature.bind(*numbers)
        except TypeError:
            wanted = ", ".join(signature.parameters)
            raise ArgumentError(
                f"{self._kind} '{description}' has {len(numbers)} parameter(s): '{name}' takes {wanted}"
            ) from None
        return factory(*numbers)
