"""InferenceX's golden acceptance lengths: YAML of mean acceptance lengths for k = 1, 2, ... .

The difference of two neighbours, AL(k) - AL(k - 1), is the share of steps whose k-th token was accepted.
Each k was measured on its own, so differences are noisy; they are levelled, the sum at the largest k kept.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from svsim.errors import InputError, printable
from svsim.importing.record import AcceptanceRecord, ImportOptions
from svsim.reading import text_lines
from svsim.synthetic.reported import profile_of_increments

EXPECTED = "YAML such as model: / thinking_on: / 1: 1.79 / 2: 2.27 ..., the mean acceptance length by k"


def read_golden_al(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """The series of one model and mode; the first one unless the user names another."""
    (file,) = files
    where = printable(file)
    series = _series(file)
    name = options.series or next(iter(series))
    matches = [key for key in series if name in (key, *key.split("/"))]
    if len(matches) != 1:
        known = ", ".join(printable(key, 60) for key in series)
        raise InputError(
            f"{where}: `series` {printable(name, 60)} is not one of its series; choose from: {known}"
        )
    lengths = series[matches[0]]
    k = options.k or len(lengths)
    if k > len(lengths):
        raise InputError(
            f"{where}: `k` {k} is beyond the largest measured k, {len(lengths)}; give a smaller one"
        )
    increments = np.diff([1.0, *lengths[:k]])
    notes: tuple[str, ...] = ()
    if options.series is None and len(series) > 1:
        others = ", ".join(printable(key, 60) for key in series if key != matches[0])
        notes = (f"{where}: series {printable(matches[0], 60)} is taken; others (`series`): {others}",)
    model = {"target": {"name": matches[0].split("/")[0]}}
    profile = profile_of_increments(increments, where)
    return AcceptanceRecord(profile=profile, k=k, models=model, notes=notes)


def _series(file: Path) -> dict[str, list[float]]:
    """``model/mode`` -> lengths for k = 1, 2, ...: nested maps of numbers, indented, with comments."""
    found: dict[str, list[float]] = {}
    path: list[tuple[int, str]] = []  # indentation, key
    for number, text in text_lines(file, EXPECTED):
        line = text.split("#")[0].rstrip()
        if not line.strip():
            continue
        where = f"{printable(file)}, line {number}"
        key, colon, value = line.strip().partition(":")
        if not colon:
            raise InputError(
                f"{where}: {printable(line.strip(), 60)!r} is no `key: value`; expected {EXPECTED}"
            )
        indentation = len(line) - len(line.lstrip())
        while path and path[-1][0] >= indentation:
            path.pop()
        key = key.strip().strip("\"'")
        if not value.strip():
            path.append((indentation, key))
            continue
        series = found.setdefault("/".join(name for _, name in path), [])
        if key != str(len(series) + 1):
            raise InputError(
                f"{where}: key {printable(key, 40)}, expected k = {len(series) + 1} next; give every k"
            )
        series.append(_length(value.strip(), len(series) + 1, where))
    if not found:
        raise InputError(f"{printable(file)}: holds no acceptance length; expected {EXPECTED}")
    return found


def _length(text: str, k: int, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1.0 <= value <= k + 1.0:
        raise InputError(
            f"{where}: {printable(text, 40)} is no acceptance length of k = {k}, expected 1 to {k + 1}"
        )
    return value
