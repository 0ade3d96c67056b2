"""Parameters of a reproduction: what may be asked of a system's law beside what its paper prints."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from svsim.errors import InputError, printable

Value = float | str
Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: a number (whole where ``is_integer``) of a range or ``or_word``, or one of ``words``.

    default None: it must be given as soon as any other is.
    """

    name: str
    meaning: str
    at_least: float = 0.0
    at_most: float = math.inf
    default: Value | None = None
    is_integer: bool = False
    words: tuple[str, ...] = ()
    or_word: str = ""

    @property
    def domain(self) -> str:
        """``a whole number, 1 to 64``."""
        if self.words:
            return " or ".join(self.words)
        number = f"a {'whole ' * self.is_integer}number, {self.at_least:g} to {self.at_most:g}"
        return f"{number}, or {self.or_word}" if self.or_word else number

    def read(self, given: object) -> Value:
        """The value given, a text or a number; InputError outside its domain."""
        if not isinstance(given, bool) and str(given) in (*self.words, *filter(None, [self.or_word])):
            return str(given)
        number = _number(given)
        is_whole = number is not None and (not self.is_integer or float(number).is_integer())
        if self.words or number is None or not is_whole or not self.at_least <= number <= self.at_most:
            raise InputError(f"`{self.name}` {printable(given, 40)} is out of range; expected {self.domain}")
        return int(number) if self.is_integer else number


def read_parameters(system: str, parameters: Sequence[Parameter], given: Mapping[str, object]) -> Values:
    """Every parameter's value: given, else its default; InputError for unknown, missing or absurd ones."""
    known = {parameter.name for parameter in parameters}
    for name in given:
        if name not in known:
            raise InputError(unknown_parameter(system, f"`{printable(name, 40)}`", known))
    return dict(_values(system, parameters, given))


def unknown_parameter(system: str, shown: str, known: Collection[str]) -> str:
    """The complaint about a parameter that a system lacks; ``shown`` as the caller spelt it."""
    has = ", ".join(f"`{name}`" for name in sorted(known))
    return f"{system} has no {shown}; it has {has or 'no parameters'}"


def _values(
    system: str, parameters: Sequence[Parameter], given: Mapping[str, object]
) -> Iterator[tuple[str, Value]]:
    for parameter in parameters:
        value = given.get(parameter.name)
        if value is not None:
            yield parameter.name, parameter.read(value)
        elif parameter.default is not None:
            yield parameter.name, parameter.default
        else:
            raise InputError(f"{system} needs `{parameter.name}` ({parameter.meaning}): {parameter.domain}")


def _number(given: object) -> float | None:
    """A finite number, or None; True is none."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
