"""Text files of other tools, one record at a time: every complaint names file, line and field.

``json_lines``, ``json_document`` and ``csv_records`` yield ``Record`` objects; their getters check kind and
range. Files are regular ones of bounded size: a pipe or a device never blocks a command.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from svsim.errors import InputError, printable

MAX_FILE_BYTES = 1 << 30
MAX_DOCUMENT_BYTES = 128 << 20
MAX_LINE_BYTES = 64 << 20


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


def shown(value: object) -> str:
    """A value as a message shows it."""
    if value is None:
        return "missing"
    try:
        return printable(json.dumps(value), 60)
    except (TypeError, ValueError, RecursionError):
        return printable(repr(value), 60)


def text_lines(path: str | Path, expected: str) -> Iterator[tuple[int, str]]:
    """(line number, line without its end) of a UTF-8 file; ``expected`` completes every complaint."""
    file = printable(path)
    try:
        _require_regular(Path(path), file, MAX_FILE_BYTES)
        with Path(path).open("rb") as stream:
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
    except OSError as error:
        reason = printable(error.strerror or error)
        raise InputError(f"{file}: cannot be read ({reason}); check the path and its rights") from None


def json_lines(path: str | Path, expected: str = "one JSON object a line") -> Iterator[Record]:
    """The objects of a JSON-lines file; blank lines are skipped."""
    file = printable(path)
    for number, text in text_lines(path, expected):
        if text.strip():
            where = f"{file}, line {number}"
            value = _parsed(text, where, expected)
            if not isinstance(value, dict):
                raise InputError(f"{where}: holds no JSON object; expected {expected}")
            yield Record(where, value)


def json_document(path: str | Path, expected: str = "a JSON document") -> Any:
    """The value of a file that is one JSON document."""
    file = printable(path)
    try:
        _require_regular(Path(path), file, MAX_DOCUMENT_BYTES)
        data = Path(path).read_bytes()
    except OSError as error:
        reason = printable(error.strerror or error)
        raise InputError(f"{file}: cannot be read ({reason}); check the path and its rights") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8 text; expected {expected}") from None
    if not text.strip():
        raise InputError(f"{file}: is empty; expected {expected}")
    return _parsed(text, file, expected)


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


def _require_regular(path: Path, file: str, most_bytes: int) -> None:
    if not path.is_file():
        raise InputError(f"{file}: no such file, or not a regular one; check the path")
    if path.stat().st_size > most_bytes:
        raise InputError(f"{file}: larger than {most_bytes >> 20} MiB; split it")


def _parsed(text: str, where: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({printable(error, 80)}); expected {expected}") from None


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
