"""How a law is spelt in an option: ``NAME`` or ``NAME:key=value,...``, each key once, numbers in a range."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from svsim.errors import InputError, printable

NUMBER = re.compile(r"([0-9]{1,15}\.?[0-9]{0,15}|\.[0-9]{1,15})(e[+-]?[0-9]{1,2})?|inf")


@dataclass(frozen=True, slots=True)
class Field:
    """One key: its default (None: it must be given), the range of its number, or its words."""

    default: float | str | None = None
    least: float = 0.0
    most: float = math.inf
    words: tuple[str, ...] = ()
    above: bool = False  # the least value itself is out of range

    def parse(self, where: str, key: str, text: str) -> float | str:
        """The value, or InputError."""
        wrong = f"{where}: {key}={printable(text, 40)} is"
        if self.words:
            if text in self.words:
                return text
            raise InputError(f"{wrong} unknown; choose one of {', '.join(self.words)}")
        number = float(text) if NUMBER.fullmatch(text) else math.nan
        inside = self.least < number if self.above else self.least <= number
        if not (inside and number <= self.most):
            start = f"above {self.least:g}" if self.above else f"from {self.least:g}"
            end = "" if self.most == math.inf else f" to {self.most:g}"
            raise InputError(f"{wrong} no number {start}{end}")
        return number


def parse_law(
    option: str, text: str, laws: Mapping[str, Mapping[str, Field]]
) -> tuple[str, dict[str, float | str]]:
    """Name and values of ``text``; ``laws`` holds the fields of every name. InputError says what is known."""
    name, colon, rest = text.strip().partition(":")
    where = f"`{option}` {printable(name, 40)}"
    if name not in laws:
        raise InputError(f"{where} is unknown; known: {', '.join(spelt(n, f) for n, f in laws.items())}")
    fields = laws[name]
    values: dict[str, float | str] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in fields or not equals or key in values:
            raise InputError(
                f"{where}: {printable(part, 40)} is no option; expected, each once, {spelt(name, fields)}"
            )
        values[key] = fields[key].parse(where, key, value)
    for key, one in fields.items():
        if key not in values:
            if one.default is None:
                raise InputError(f"{where}: {key} is missing; expected {spelt(name, fields)}")
            values[key] = one.default
    return name, values


def spelt(name: str, fields: Mapping[str, Field]) -> str:
    """A law as a message shows it."""
    parts = []
    for key, one in fields.items():
        value = "|".join(one.words) or key[0].upper()
        parts.append(f"{key}={value}" if one.default is None else f"[{key}={value}]")
    return f"{name}:{','.join(parts)}" if parts else name
