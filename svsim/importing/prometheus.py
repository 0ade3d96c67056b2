"""Prometheus text expositions: samples with labels, the difference of two scrapes.

Format: github.com/prometheus/docs, exposition_formats.md (text, version 0.0.4; OpenMetrics' ``# EOF`` too).
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from svsim.errors import InputError, printable
from svsim.reading import text_lines

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s+(\S+)(?:\s+[-\d.]+)?\s*(?:#.*)?")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
EXPECTED = 'lines such as vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 43221.0'

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: name without ``_total``, labels in order of their names, value."""

    name: str
    labels: Labels
    value: float
    where: str

    def label(self, name: str) -> str | None:
        """The label's value, None where there is none."""
        return dict(self.labels).get(name)


def read_scrape(path: Path, names: Iterable[str], expected: str = EXPECTED) -> list[Sample]:
    """The samples of these names (without ``_total``); InputError for a line that is none, or cut off."""
    wanted, found = frozenset(names), []
    file = printable(path)
    number = 0
    for number, text in text_lines(path, expected):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        where = f"{file}, line {number}"
        if match is None:
            raise InputError(f"{where}: no metric ({printable(line, 60)!r}); expected {expected}")
        name = match[1].removesuffix("_total")
        if name in wanted:
            found.append(Sample(name, _labels(match[2] or "", where), _value(match[3], where), where))
    if number and not _ends_with_a_line(path):
        raise InputError(
            f"{file}, line {number}: the last line has no end, expected a whole scrape; scrape again"
        )
    if not found:
        raise InputError(
            f"{file}: holds none of {', '.join(sorted(wanted))}; expected {expected} (is speculative "
            "decoding on?)"
        )
    return found


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def _labels(text: str, where: str) -> Labels:
    found, rest = {}, text
    while rest.strip():
        match = _LABEL.match(rest)
        if match is None:
            raise InputError(
                f'{where}: labels {printable(text, 60)!r} cannot be read; expected name="value",...'
            )
        found[match[1]] = match[2]
        rest = rest[match.end() :]
    return tuple(sorted(found.items()))


def _value(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(
            f"{where}: the value is {printable(text, 40)}, expected a number of at least 0; mend it"
        )
    return value


def counted(scrapes: list[list[Sample]]) -> list[Sample]:
    """Counters since the start (one scrape), or between two; InputError where one goes backwards."""
    if len(scrapes) == 1:
        return scrapes[0]
    before: Mapping[tuple[str, Labels], Sample] = {(s.name, s.labels): s for s in scrapes[0]}
    found = []
    for sample in scrapes[1]:
        earlier = before.get((sample.name, sample.labels))
        start = earlier.value if earlier else 0.0
        if sample.value < start:
            raise InputError(
                f"{sample.where}: {sample.name} goes back from {start:g} to {sample.value:g}, expected "
                "counters "
                "that only grow; was the server restarted, or are the files swapped (before, then after)?"
            )
        found.append(Sample(sample.name, sample.labels, sample.value - start, sample.where))
    gone = sorted(set(before) - {(s.name, s.labels) for s in scrapes[1]})
    if gone:
        raise InputError(
            f"{before[gone[0]].where}: {gone[0][0]} is missing in the second scrape; expected two of one "
            "server"
        )
    return found


def of_series(
    samples: list[Sample], series: str | None, label: str = "model_name"
) -> tuple[list[Sample], str | None]:
    """The samples of one model and its name; InputError where several are there and none is chosen."""
    names = sorted({name for s in samples if (name := s.label(label)) is not None})
    if series is not None:
        if series not in names:
            known = ", ".join(printable(name, 40) for name in names) or "none"
            raise InputError(f"`series` {printable(series, 40)} is not in the scrape; choose from: {known}")
        return [s for s in samples if s.label(label) == series], series
    if len(names) > 1:
        known = ", ".join(printable(name, 40) for name in names)
        raise InputError(f"{samples[0].where}: holds counters of {known}; choose one with `series`")
    return samples, names[0] if names else None
