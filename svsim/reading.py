"""Files from outside: bytes, JSON, CSV. Every complaint is one line that names file, line and field.

``parse_json`` is the only reader of JSON that svsim did not ship; ``json_object`` and ``json_document`` read
whole files, ``json_lines`` and ``csv_records`` yield ``Record`` objects, whose getters check kind and range.
Files are regular ones of bounded size: a pipe or a device never blocks a command.
"""

import csv
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from svsim.errors import InputError, printable

MAX_FILE_BYTES = 1 << 30
MAX_DOCUMENT_BYTES = 128 << 20
MAX_SMALL_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
MAX_INTEGER_DIGITS = 40  # any of them fits a float
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Record:
    """One record: where it stands (``file, line 3``) and its values; ``is_text``: all of them are texts."""

    where: str
    values: Mapping[str, Any]
    is_text: bool = False

    def fail(self, name: str, expected: str, remedy: str = "mend or remove it") -> NoReturn:
        """Raise the InputError of one field that is not as expected."""
        got = shown(self.values.get(name))
        raise InputError(f"{self.where}: {printable(name, 60)} is {got}, expected {expected}; {remedy}")

    def has(self, name: str) -> bool:
        """Whether the field is there and says something (an empty CSV cell does not)."""
        value = self.values.get(name)
        return value is not None and not (self.is_text and not value.strip())

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float:
        """A finite number of the given range."""
        value = self.values.get(name)
        if self.is_text and isinstance(value, str):
            value = _number(value)
        expected = "a number" + _range(least, most)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(name, expected)
        if not (math.isfinite(value) and least <= value <= most):
            self.fail(name, expected)
        return float(value)

    def integer(self, name: str, least: int = 0, most: int = 1 << 53) -> int:
        """A whole number of the given range (3.0 is one, 3.5 is not)."""
        value = self.values.get(name)
        if self.is_text and isinstance(value, str):
            value = _number(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not least <= value <= most:
            self.fail(name, "a whole number" + _range(least, most))
        return value

    def text(self, name: str) -> str:
        """A text, or a number's digits, as ids have either."""
        value = self.values.get(name)
        if type(value) is int:
            return str(value)
        if not isinstance(value, str) or not value.strip():
            self.fail(name, "a text")
        return value.strip()

    def integers(self, name: str, least: int = 0, most: int = 1 << 53) -> list[int]:
        """A list of whole numbers of the given range."""
        values = self.values.get(name)
        expected = "a list of whole numbers" + _range(least, most)
        if not isinstance(values, list):
            self.fail(name, expected)
        for value in values:
            if type(value) is not int or not least <= value <= most:
                raise InputError(
                    f"{self.where}: {printable(name, 60)} is a list with {shown(value)}, "
                    f"expected {expected}; mend or remove it"
                )
        return values

    def numbers(self, name: str, least: float = -math.inf, most: float = math.inf) -> list[float]:
        """A list of finite numbers of the given range."""
        values = self.values.get(name)
        expected = "a list of numbers" + _range(least, most)
        if not isinstance(values, list):
            self.fail(name, expected)
        for value in values:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not (math.isfinite(value) and least <= value <= most):
                raise InputError(
                    f"{self.where}: {printable(name, 60)} is a list with {shown(value)}, "
                    f"expected {expected}; mend or remove it"
                )
        return [float(value) for value in values]


def shown(value: object, none: str = "missing") -> str:
    """A value as a message shows it."""
    if value is None:
        return none
    try:
        return printable(json.dumps(value), 60)
    except (TypeError, ValueError, RecursionError):
        return printable(repr(value), 60)


@contextmanager
def open_regular(
    path: str | os.PathLike[str], expected: str = "a file", error: type[InputError] = InputError
) -> Iterator[BinaryIO]:
    """A regular file, open for reading; whatever goes wrong while it is open is a one-line ``error``."""
    file = printable(os.fspath(path))
    try:
        # without waiting for the other end of a pipe, which is then refused
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise error(f"{file}: no such file; check the path (expected {expected})") from None
    except (OSError, ValueError) as failed:  # ValueError: a NUL in the path
        raise error(f"{file}: cannot be read ({_reason(failed)}); expected {expected}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{file}: cannot be read (no regular file, but a folder, a pipe or a device); "
                    f"expected {expected}")  # fmt: skip
    try:
        with os.fdopen(descriptor, "rb") as stream:
            yield stream
    except OSError as failed:
        raise error(f"{file}: cannot be read ({_reason(failed)}); expected {expected}") from None


def read_bytes(
    path: str | os.PathLike[str],
    expected: str,
    most_bytes: int = MAX_DOCUMENT_BYTES,
    error: type[InputError] = InputError,
) -> bytes:
    """The bytes of a regular file of at most ``most_bytes``; ``expected`` completes every complaint."""
    with open_regular(path, expected, error) as stream:
        data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        size = f"{most_bytes >> 20} MiB" if most_bytes >= 1 << 20 else f"{most_bytes} bytes"
        raise error(f"{printable(os.fspath(path))}: larger than {size}; expected {expected}")
    return data


def parse_json(
    data: bytes | str,
    where: str,
    expected: str,
    error: type[InputError] = InputError,
    *,
    strict: bool = True,
) -> Any:
    """The value of a JSON text in UTF-8. Raises ``error``, one line that begins with ``where``.

    Whole numbers have at most 40 digits and nesting is at most 64 deep, so that whoever takes the value can
    compute with it. ``strict``, for formats of our own, also refuses keys that appear twice, numbers that
    are not finite (``NaN``, ``1e999``) and text that no file can hold (lone surrogates).
    """
    hooks: dict[str, Any] = {"parse_int": _whole_number}
    if strict:
        hooks |= {"parse_float": _finite, "parse_constant": _no_constant, "object_pairs_hook": _once_each}
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text, **hooks)
        _check_depth(value)
        if strict:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeError as failed:
        reason = f"no UTF-8 text, {failed.reason}" if hasattr(failed, "reason") else "no UTF-8 text"
    except RecursionError:
        reason = f"nested more than {MAX_DEPTH} deep"
    except ValueError as failed:
        reason = printable(" ".join(str(failed).split()), 80)
    raise error(f"{where}: not valid JSON ({reason}); expected {expected}")


def json_object(
    path: str | os.PathLike[str],
    expected: str,
    error: type[InputError] = InputError,
    *,
    strict: bool = True,
) -> dict[str, Any]:
    """The object in a small JSON file (at most 1 MiB); as ``parse_json``."""
    value = parse_json(
        read_bytes(path, expected, MAX_SMALL_BYTES, error),
        printable(os.fspath(path)),
        expected,
        error,
        strict=strict,
    )
    if not isinstance(value, dict):
        raise error(f"{printable(os.fspath(path))}: must hold a JSON object; expected {expected}")
    return value


def text_lines(path: str | Path, expected: str) -> Iterator[tuple[int, str]]:
    """(line number, line without its end) of a UTF-8 file; ``expected`` completes every complaint."""
    file = printable(path)
    with open_regular(path, expected) as stream:
        if os.fstat(stream.fileno()).st_size > MAX_FILE_BYTES:
            raise InputError(f"{file}: larger than {MAX_FILE_BYTES >> 20} MiB; split it")
        number = 0
        while data := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(data) > MAX_LINE_BYTES:
                raise InputError(
                    f"{file}, line {number}: longer than {MAX_LINE_BYTES} bytes; expected {expected}"
                )
            try:
                text = data.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{file}, line {number}: not UTF-8 text; expected {expected}") from None
            yield number, text.rstrip("\r\n")


def json_lines(path: str | Path, expected: str = "one JSON object a line") -> Iterator[Record]:
    """The objects of a JSON-lines file; blank lines are skipped."""
    file = printable(path)
    for number, text in text_lines(path, expected):
        if text.strip():
            where = f"{file}, line {number}"
            value = parse_json(text, where, expected, strict=False)
            if not isinstance(value, dict):
                raise InputError(f"{where}: holds no JSON object; expected {expected}")
            yield Record(where, value)


def json_document(path: str | Path, expected: str = "a JSON document") -> Any:
    """The value of a file that is one JSON document."""
    data = read_bytes(path, expected)
    file = printable(path)
    if not data.strip():
        raise InputError(f"{file}: is empty; expected {expected}")
    return parse_json(data, file, expected, strict=False)


def json_records(path: str | Path, expected: str, lists: Sequence[str] = ()) -> Iterator[Record]:
    """The objects of a file that is JSON lines, one list of objects, or one object.

    ``lists``: keys under which one object may hold the list of them.
    """
    file = printable(path)
    first = next((text.strip() for _, text in text_lines(path, expected) if text.strip()), "")
    if not first:
        raise InputError(f"{file}: is empty; expected {expected}")
    if first.startswith("{") and _is_json(first):
        records: Iterator[Record] = json_lines(path, expected)
    else:
        records = _items(json_document(path, expected), file, expected)
    for record in records:
        held = next(
            (record.values[name] for name in lists if isinstance(record.values.get(name), list)), None
        )
        if held is None:
            yield record
        else:
            yield from _items(held, record.where, expected)


def _items(values: object, where: str, expected: str) -> Iterator[Record]:
    if isinstance(values, dict):
        yield Record(where, values)
        return
    if not isinstance(values, list):
        raise InputError(f"{where}: holds no JSON object or list; expected {expected}")
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise InputError(f"{where}, item {number}: is no object; expected {expected}")
        yield Record(f"{where}, item {number}", value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def csv_records(path: str | Path, columns: Sequence[str], expected: str) -> Iterator[Record]:
    """The rows of a CSV file whose header has at least ``columns``; other columns are kept, too."""
    file = printable(path)
    lines = (text for _, text in text_lines(path, expected))
    reader = csv.reader(lines, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in columns:
            if header.count(name) != 1:
                what = "appears twice" if name in header else "is missing"
                raise InputError(f"{file}, line 1: column {name} {what}; expected {expected}")
        for cells in reader:
            if any(cell.strip() for cell in cells):
                where = f"{file}, line {reader.line_num}"
                if len(cells) != len(header):
                    raise InputError(
                        f"{where}: {len(cells)} cells, expected {len(header)} as in the header; "
                        "mend or remove it (quote a cell with commas)"
                    )
                yield Record(where, dict(zip(header, cells, strict=True)), is_text=True)
    except csv.Error as error:
        raise InputError(
            f"{file}, line {reader.line_num}: not CSV ({printable(error, 80)}); expected {expected}"
        ) from None


def _reason(error: OSError | ValueError) -> str:
    return printable(getattr(error, "strerror", None) or error, 80)


def _whole_number(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not finite")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {shown(twice)} appears twice")
    return found


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise RecursionError


def _number(text: str) -> float | int | str:
    """The number that a CSV cell spells, or the text itself."""
    stripped = text.strip()
    if "_" in stripped or not stripped.isascii():
        return text
    try:
        return int(stripped) if len(stripped) < 40 else float(stripped)
    except ValueError:
        pass
    try:
        return float(stripped)
    except ValueError:
        return text


def _range(least: float, most: float) -> str:
    if most in (math.inf, 1 << 53):
        return "" if least == -math.inf else f" of at least {least:g}"
    return f" in {least:,.15g}..{most:,.15g}"
