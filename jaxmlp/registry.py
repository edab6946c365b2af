"""Registries: activations, losses, layers and more, asked for, listed and saved by name."""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from jaxmlp.types import ArgumentError

Thing = TypeVar("Thing")
MOST_NAMES = 30  # that a message lists


class UnknownNameError(ArgumentError, KeyError):
    """A name that a registry does not hold; also a KeyError, for mappings to behave as mappings do."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the message in quotes


def unknown_name(kind: str, given: str, allowed: Iterable[str]) -> UnknownNameError:
    """Make the error for a name that is not among the allowed ones; it names the nearest and all of them."""
    names = sorted(allowed)
    nearest = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    more = f", … ({len(names)} in all)" if len(names) > MOST_NAMES else ""
    choices = ", ".join(f"{name:.80}" for name in names[:MOST_NAMES]) + more
    return UnknownNameError(f"unknown {kind} '{given:.80}': {hint}choose one of: {choices}")


class Registry(Mapping[str, Thing], Generic[Thing]):
    """A read-only mapping from names to things, some of which take numbers behind a colon.

    A plain name gives the thing itself. A name with parameters, as "leaky_relu:0.1", gives what its factory makes
    of them, or of its defaults. The same description always gives the same object, to be a static argument of a
    compiled function.
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
            self._check_count(name, numbers, description)
            self._made[name, numbers] = self._factories[name](*numbers)
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

    def _check_count(self, name: str, numbers: tuple[float, ...], description: str) -> None:
        signature = inspect.signature(self._factories[name])
        try:
            signature.bind(*numbers)
        except TypeError:
            wanted = ", ".join(signature.parameters)
            raise ArgumentError(
                f"{self._kind} '{description}' has {len(numbers)} parameter(s): '{name}' takes {wanted}"
            ) from None
