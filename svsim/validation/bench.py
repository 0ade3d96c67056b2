"""A user's measured results against the replay's prediction of them.

The file is CSV with a header and at least the columns ``method`` (as on the command line: ``td``,
``sd:k=5``), ``batch`` (sequences running at once) and ``tok_s`` (emitted tokens per second of the whole
batch). Other columns are ignored. Rows of the same method and batch are repeats: their mean counts.
"""

import csv
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from svsim.decoding.method import DecodingMethod
from svsim.decoding.presets import parse_method
from svsim.errors import InputError, MethodError, printable
from svsim.metrics.accuracy import Accuracy, GoodputPair, accuracy
from svsim.metrics.rows import ResultRow
from svsim.reading import read_bytes

COLUMNS = ("method", "batch", "tok_s")
EXAMPLE = "expected a header and rows such as method,batch,tok_s / sd:k=5,8,412.5"
MAX_FILE_BYTES = 16 << 20
MAX_BATCH_SIZE = 4096


@dataclass(frozen=True, slots=True)
class BenchResults:
    """Measured goodputs: tokens per second of every repeat, by (method label, batch size)."""

    methods: tuple[DecodingMethod, ...]
    batch_sizes: tuple[int, ...]
    repeats_tok_s: Mapping[tuple[str, int], tuple[float, ...]]


def read_bench(path: str | Path, num_speculative_tokens: int, signals: Collection[str] = ()) -> BenchResults:
    """Read measured results for a trace of that K and those signals (they complete method names).

    Raises InputError or MethodError: one line with the file and line, what was wrong, what was expected.
    """
    methods: dict[str, DecodingMethod] = {}
    repeats: dict[tuple[str, int], list[float]] = {}
    for where, row in _rows(Path(path)):
        try:
            method = parse_method(row["method"], num_speculative_tokens, signals)
        except MethodError as error:
            raise MethodError(f"{where}: {printable(error)}") from None
        if method.is_bound:
            raise InputError(f"{where}: {method.label} is a bound that no server can run; leave the row out")
        methods.setdefault(method.label, method)
        batch = _batch(where, row["batch"])
        repeats.setdefault((method.label, batch), []).append(_goodput(where, row["tok_s"]))
    if not repeats:
        raise InputError(f"{path}: holds no result; {EXAMPLE}")
    return BenchResults(
        tuple(methods.values()),
        tuple(sorted({batch for _, batch in repeats})),
        {cell: tuple(values) for cell, values in repeats.items()},
    )


def compare_with_bench(rows: Iterable[ResultRow], bench: BenchResults) -> Accuracy:
    """Errors of predicted rows (one deployment) at every measured method and batch size.

    Raises InputError if a measured pair was not predicted or the rows are of several deployments.
    """
    known = {(row.label, row.batch_size): row for row in rows}
    deployments = sorted({row.deployment for row in known.values()})
    if len(deployments) > 1:
        raise InputError(
            f"the prediction is for {' and '.join(deployments)}; results are measured on one of them: "
            "give one `hardware`"
        )
    return accuracy([_pair(cell, values, known.get(cell)) for cell, values in bench.repeats_tok_s.items()])


def _pair(cell: tuple[str, int], values: tuple[float, ...], row: ResultRow | None) -> GoodputPair:
    label, batch = cell
    if row is None or row.goodput_tok_s is None:
        reason = "does not fit into the hardware's memory" if row is not None else "was not predicted"
        raise InputError(f"{label} at batch {batch} {reason}; predict it too, or leave the measured row out")
    mean = sum(values) / len(values)
    error = None
    if len(values) > 1:
        variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
        error = math.sqrt(variance / len(values))
    return GoodputPair(label, batch, row.goodput_tok_s, mean, error)


def _rows(path: Path) -> Iterable[tuple[str, dict[str, str]]]:
    """(``file:line``, the three cells) of every row that is not blank."""
    reader = csv.reader(_text(path).splitlines(), skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        places = {name: header.index(name) for name in COLUMNS if header.count(name) == 1}
        if len(places) < len(COLUMNS):
            name = next(n for n in COLUMNS if n not in places)
            what = "appears twice" if name in header else "is missing"
            raise InputError(f"{path}: column {name} {what}; {EXAMPLE}")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}:{reader.line_num}"
            if len(cells) != len(header):
                raise InputError(
                    f"{where}: {len(cells)} cells; expected {len(header)}, as in the header "
                    '(quote a method with commas: "sv:k=7,stop=first-drop")'
                )
            yield where, {name: cells[place].strip() for name, place in places.items()}
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not CSV ({error}); {EXAMPLE}") from None


def _text(path: Path) -> str:
    data = read_bytes(path, EXAMPLE.removeprefix("expected "), MAX_FILE_BYTES)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; {EXAMPLE}") from None


def _batch(where: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MAX_BATCH_SIZE):
        raise InputError(
            f"{where}: batch is {printable(text, 40)!r}; expected a whole number from 1 to {MAX_BATCH_SIZE}"
        )
    return int(text)


def _goodput(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise InputError(
            f"{where}: tok_s is {printable(text, 40)!r}; expected tokens per second, a number above 0"
        )
    return value
