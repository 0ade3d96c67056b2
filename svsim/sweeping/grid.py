"""A grid file: one command, what all cells share, axes, further cells, and what is left out.

::

    [command]
    name = "replay"                      # a command with rows
    trace = "llama70b.parquet"           # paths are relative to the file
    method = ["td", "sd:k=3"]            # a list: several values in every cell

    [grid]                               # the product of all axes, the last one fastest
    batch = [1, 8, 64]
    seed = { from = 0, to = 4 }          # or step = 2, factor = 2, num = 5
    hardware = ["h100_sxm:tp=4", "h200_sxm:tp=4"]

    [[cells]]                            # a further cell: what differs from [command]
    batch = 256

    [[exclude]]                          # cells whose axes all have (one of) these values
    batch = [64]
    hardware = "h200_sxm:tp=4"
"""

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svsim.errors import InputError, printable
from svsim.reading import read_bytes, shown
from svsim.sweeping.commands import Command, command_named, nearest

EXPECTED = "a grid: TOML with [command] and [grid]; docs/sweep.md has one"
TABLES = ("command", "grid", "cells", "exclude")
MAX_GRID_BYTES = 16 << 20
MAX_AXIS = 10_000_000
Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid read and checked. ``folder``: where relative paths begin."""

    command: Command
    fixed: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]
    more: tuple[Mapping[str, Any], ...]
    excluded: tuple[Mapping[str, tuple[Any, ...]], ...]
    folder: Path

    @classmethod
    def from_file(cls, path: str | Path) -> "Grid":
        """Raises InputError, one line, for anything that is no grid."""
        file = printable(path)
        try:
            values = tomllib.loads(read_bytes(path, EXPECTED, MAX_GRID_BYTES).decode("utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeError, RecursionError) as error:
            raise InputError(
                f"{file}: not valid TOML ({printable(error, 80)}); expected {EXPECTED}"
            ) from None
        return cls.from_values(values, Path(path).resolve().parent, file)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], folder: Path, file: str = "grid") -> "Grid":
        """The same of what a grid file holds."""
        for name in values:
            if name not in TABLES:
                raise InputError(f"{file}: no table is called {printable(name, 40)}; {nearest(name, TABLES)}")
        fixed = dict(_table(values, "command", file))
        if "name" not in fixed:
            raise InputError(f'{file}: [command] has no name; give one, as name = "replay"')
        command = command_named(fixed.pop("name"))
        fixed = _options(command, fixed, f"{file}: [command]")
        written = _options(command, _table(values, "grid", file), f"{file}: [grid]", are_axes=True)
        axes = {name: axis_values(given, f"{file}: [grid] {name}") for name, given in written.items()}
        for name in axes.keys() & fixed.keys():
            raise InputError(f"{file}: {name} is in [command] and in [grid]; leave it in one of them")
        more = [_options(command, one, f"{file}: [[cells]]") for one in _tables(values, "cells", file)]
        grid = cls(command, fixed, axes, tuple(more), (), folder)
        return cls(command, fixed, axes, tuple(more), grid._exclusions(values, file), folder)

    @property
    def columns(self) -> tuple[str, ...]:
        """Options that tell cells apart: axes, then what further cells set."""
        return tuple(dict.fromkeys([*self.axes, *(name for one in self.more for name in one)]))

    @property
    def num_points(self) -> int:
        """Cells, those that are excluded or appear twice included."""
        product = math.prod(len(values) for values in self.axes.values()) if self.axes else 0
        return product + len(self.more) or 1

    def points(self) -> Iterator[Options]:
        """Per cell what differs from ``fixed``, in their order; a grid without axes is one cell."""
        if self.axes or not self.more:
            for values in itertools.product(*self.axes.values()):
                point = dict(zip(self.axes, values, strict=True))
                if not self._is_excluded(point):
                    yield point
        yield from (dict(one) for one in self.more)

    def diagonal(self, num: int) -> list[Options]:
        """So many cells from the first values of all axes to the last: small ones and large ones."""
        return [
            {name: values[i * (len(values) - 1) // max(num - 1, 1)] for name, values in self.axes.items()}
            for i in range(num)
        ]

    def options(self, point: Mapping[str, Any]) -> Options:
        """All options of a cell."""
        return {**self.fixed, **point}

    def to_dict(self) -> dict[str, Any]:
        """The grid as plain values, as the file has it."""
        return {
            "command": {"name": self.command.name, **self.fixed},
            "grid": {name: list(values) for name, values in self.axes.items()},
            "cells": [dict(one) for one in self.more],
            "exclude": [{name: list(values) for name, values in one.items()} for one in self.excluded],
        }

    def _exclusions(self, values: Mapping[str, Any], file: str) -> tuple[Mapping[str, tuple[Any, ...]], ...]:
        found = []
        for table in _tables(values, "exclude", file):
            named = _options(self.command, table, f"{file}: [[exclude]]")
            for name in named:
                if name not in self.axes:
                    raise InputError(
                        f"{file}: [[exclude]] {name} is no axis; {nearest(name, tuple(self.axes))}"
                    )
            if not named:
                raise InputError(f"{file}: an empty [[exclude]] would leave out every cell; name axes in it")
            found.append({name: _several(given) for name, given in named.items()})
        return tuple(found)

    def _is_excluded(self, point: Mapping[str, Any]) -> bool:
        return any(all(point[name] in given for name, given in one.items()) for one in self.excluded)


def axis_values(given: Any, where: str) -> tuple[Any, ...]:
    """The values of an axis: a list, a range ``{ from, to, step | factor | num }``, or one value."""
    if isinstance(given, Mapping):
        return tuple(_range(given, where))
    values = _several(given)
    if not values:
        raise InputError(f"{where} is empty; give it values, or leave it out")
    seen: set[str] = set()
    for value in values:
        _check_value(value, where)
        if (key := repr(value)) in seen:
            raise InputError(f"{where} has {shown(value)} twice; leave it in once")
        seen.add(key)
    return values


def _range(given: Mapping[str, Any], where: str) -> list[int | float]:
    """``from`` to ``to``, both included: in steps (default 1), by a factor, or a number of them."""
    steps = [name for name in ("step", "factor", "num") if name in given]
    unknown = [name for name in given if name not in ("from", "to", "step", "factor", "num")]
    if unknown or len(steps) > 1 or not {"from", "to"} <= given.keys():
        raise InputError(
            f"{where} is no range; expected a list, or {{ from = 1, to = 64 }} with step, factor or num"
        )
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{where}: {name} is {shown(value)}; expected a number")
    first, last, kind = given["from"], given["to"], (steps or ["step"])[0]
    by = given.get(kind, 1)
    is_sound = {"step": by > 0, "factor": by > 1 and first > 0, "num": isinstance(by, int) and by > 1}[kind]
    if first > last or not is_sound:
        raise InputError(
            f"{where}: a range from {first} to {last} with {kind} {by} has no values; expected from <= to, "
            "step above 0, factor above 1 (of numbers above 0), num of at least 2"
        )
    if kind == "num":
        count = by
        made = [first + (last - first) * i / (count - 1) for i in range(min(count, MAX_AXIS + 1))]
    else:
        steps_in = math.log(last / first) / math.log(by) if kind == "factor" else (last - first) / by
        count = math.floor(steps_in + 1e-9) + 1
        made = [
            first * by**i if kind == "factor" else first + by * i for i in range(min(count, MAX_AXIS + 1))
        ]
    if count > MAX_AXIS:
        raise InputError(f"{where}: {count:,} values; expected at most {MAX_AXIS:,} on an axis")
    whole = all(isinstance(value, int) for value in (first, last)) and kind == "num"
    return [_tidy(value, whole) for value in made]


def _tidy(value: float, whole: bool) -> int | float:
    """0.30000000000000004 as 0.3; of whole ends whole numbers where they are."""
    if isinstance(value, int):
        return value
    tidy = float(f"{value:.12g}")
    return int(tidy) if whole and tidy.is_integer() else tidy


def _options(command: Command, given: Mapping[str, Any], where: str, are_axes: bool = False) -> Options:
    """Options by their names, each said once, with values that a command can take."""
    found: Options = {}
    for name, value in given.items():
        option = command.option(name, where)
        if option in found:
            raise InputError(f"{where}: {option} is given twice; leave it in once")
        if not are_axes:
            _check_value(value, f"{where} {option}")
        found[option] = value
    return found


def _check_value(value: Any, where: str) -> None:
    """InputError for what is no text, number, switch, or list of them."""
    for one in _several(value):
        is_plain = isinstance(one, str | bool | int) or (isinstance(one, float) and math.isfinite(one))
        if not is_plain:
            raise InputError(f"{where} is {shown(value)}; expected texts, numbers, true or false")
        if isinstance(one, str) and not one.strip():
            raise InputError(f"{where} is an empty text; give it a value, or leave it out")


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)


def _table(values: Mapping[str, Any], name: str, file: str) -> Mapping[str, Any]:
    table = values.get(name, {})
    if not isinstance(table, Mapping):
        raise InputError(f"{file}: {name} is {shown(table)}; expected a table [{name}]")
    return table


def _tables(values: Mapping[str, Any], name: str, file: str) -> list[Mapping[str, Any]]:
    tables = values.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(one, Mapping) for one in tables):
        raise InputError(f"{file}: {name} is {shown(tables)}; expected tables [[{name}]]")
    return tables
