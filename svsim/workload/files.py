"""Workload files of other projects. The unit of time is the format's own, or the user's; never guessed.

``read_workload(path, "mooncake")`` reads one; ``FORMATS`` lists them. Names and units as the projects
write them: Azure (AzurePublicDataset), BurstGPT, Mooncake, Qwen-Bailian, AIPerf, GuideLLM, Vidur.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from svsim.errors import InputError, printable
from svsim.reading import Record, csv_records, json_document, json_lines
from svsim.workload.requests import RequestWorkload
from svsim.workload.rows import Clock, WorkloadRow, tokens, workload_of

Rows = Iterator[WorkloadRow]
SECONDS, MILLISECONDS = Clock(), Clock(1e-3)
TIME_UNITS: Mapping[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
MAX_DELAY_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class WorkloadFormat:
    """A file format: what its rows look like (``example``), its clock, its reader, its hash blocks."""

    name: str
    example: str
    read: Callable[[Path, Clock], Rows]
    clock: Clock = SECONDS
    block_size: int | None = None


def read_workload(
    path: str | Path,
    format_name: str,
    *,
    time_unit: str | None = None,
    block_size: int | None = None,
    limit: int | None = None,
) -> RequestWorkload:
    """The requests of a file.

    time_unit: ``s``, ``ms`` or ``us``, instead of the format's own; block_size: tokens of one hash id,
    instead of the format's; limit: only the first so many requests. Raises InputError: one line with file
    and row, what was wrong and what was expected.
    """
    known = FORMATS.get(format_name)
    if known is None:
        raise InputError(f"unknown workload format {printable(format_name, 40)}; known: {', '.join(FORMATS)}")
    clock = known.clock
    if time_unit is not None:
        if time_unit not in TIME_UNITS:
            raise InputError(
                f"time unit {printable(time_unit, 20)} is unknown; known: {', '.join(TIME_UNITS)}"
            )
        if format_name == "azure":
            raise InputError("azure: times are dates and have no unit; leave the time unit out")
        clock = replace(clock, second=TIME_UNITS[time_unit])
    if limit is not None and limit < 1:
        raise InputError(f"workload limit {limit} is out of range; expected at least 1")
    if block_size is not None and block_size < 1:
        raise InputError(f"block size {block_size} is out of range; expected at least 1")
    source = {"format": format_name, "file": Path(path).name, "seconds_per_unit": clock.second}
    rows = known.read(Path(path), clock)
    size = block_size or known.block_size
    return workload_of(rows, printable(path), source, clock, size, limit)


def _own_csv(path: Path, clock: Clock) -> Rows:
    columns = ("arrival_s", "prompt_tokens", "output_tokens")
    for record in csv_records(path, columns, FORMATS["csv"].example):
        delay = _delay(record, "delay_s", 1.0)
        yield WorkloadRow(
            record.where,
            clock.seconds(record, "arrival_s") if record.has("arrival_s") or delay is None else None,
            tokens(record, "prompt_tokens"),
            tokens(record, "output_tokens"),
            record.text("task") if record.has("task") else None,
            record.text("session_id") if record.has("session_id") else None,
            delay,
            tokens(record, "cached_tokens", 0) if record.has("cached_tokens") else None,
        )


def _azure(path: Path, clock: Clock) -> Rows:
    columns = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
    for record in csv_records(path, columns, FORMATS["azure"].example):
        yield WorkloadRow(
            record.where,
            _date_s(record, "TIMESTAMP"),
            tokens(record, "ContextTokens"),
            tokens(record, "GeneratedTokens", 0),
        )


def _date_s(record: Record, name: str) -> float:
    """Seconds of a date with time, UTC where it names no zone; fractions of any length."""
    text = record.text(name)
    head, dot, fraction = text.partition(".")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    try:
        if len(text) < 11:
            raise ValueError
        found = datetime.fromisoformat(head + (fraction[digits:] if dot else ""))
        part = float(f"0.{fraction[:digits]}") if digits else 0.0
    except ValueError:
        record.fail(name, "a date with time, as 2023-11-16 18:17:03.9799600 (numbers are another format)")
    zoned = found if found.tzinfo else found.replace(tzinfo=UTC)
    return zoned.timestamp() + part


def _burstgpt(path: Path, clock: Clock) -> Rows:
    columns = ("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type")
    for record in csv_records(path, columns, FORMATS["burstgpt"].example):
        output = tokens(record, "Response tokens", 0)
        yield WorkloadRow(
            record.where,
            clock.seconds(record, "Timestamp"),
            tokens(record, "Request tokens", 0 if output == 0 else 1),
            output,
            record.text("Log Type") if record.has("Log Type") else None,
        )


def _mooncake(path: Path, clock: Clock) -> Rows:
    for record in json_lines(path, FORMATS["mooncake"].example):
        yield _lengths(record, clock.seconds(record, "timestamp"))


def _lengths(record: Record, time_s: float | None) -> WorkloadRow:
    """A row of the names that Mooncake's traces and their kin share."""
    return WorkloadRow(
        record.where,
        time_s,
        tokens(record, "input_length"),
        tokens(record, "output_length"),
        hash_ids=tuple(record.integers("hash_ids", -(1 << 63), 1 << 64)) if record.has("hash_ids") else None,
    )


def _bailian(path: Path, clock: Clock) -> Rows:
    root: dict[int, int] = {}  # chat -> the first chat of its conversation
    for record in json_lines(path, FORMATS["bailian"].example):
        chat, parent = record.integer("chat_id"), record.integer("parent_chat_id", -1)
        root[chat] = root.get(parent, parent if parent >= 0 else chat)
        row = _lengths(record, clock.seconds(record, "timestamp"))
        task = record.text("type") if record.has("type") else None
        yield replace(row, task=task, session_id=str(root[chat]))


def _aiperf(path: Path, clock: Clock) -> Rows:
    for record in json_lines(path, FORMATS["aiperf"].example):
        time_s = clock.seconds(record, "timestamp") if record.has("timestamp") else None
        if time_s is None and not record.has("delay"):
            record.fail("timestamp", "milliseconds of arrival, or a delay after the session's turn before")
        row = _lengths(record, time_s)
        session = record.text("session_id") if record.has("session_id") else None
        yield replace(row, session_id=session, delay_s=_delay(record, "delay", clock.second))


def _delay(record: Record, name: str, second: float) -> float | None:
    return record.number(name, 0.0, MAX_DELAY_S / second) * second if record.has(name) else None


def _guidellm(path: Path, clock: Clock) -> Rows:
    for record in _guidellm_records(path):
        yield _lengths(record, clock.seconds(record, "timestamp"))


def _guidellm_records(path: Path) -> Iterator[Record]:
    """JSON lines, a JSON list, CSV or Parquet, told apart by the file's ending."""
    example, ending = FORMATS["guidellm"].example, path.suffix.lower()
    if ending == ".csv":
        yield from csv_records(path, ("timestamp", "input_length", "output_length"), example)
    elif ending == ".parquet":
        yield from _parquet_records(path, example)
    elif ending == ".json":
        rows = json_document(path, f"a list of {example}")
        if isinstance(rows, dict) and isinstance(rows.get("data"), list):
            rows = rows["data"]
        if not isinstance(rows, list):
            raise InputError(f"{printable(path)}: holds no list; expected a list of {example}")
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise InputError(f"{printable(path)}, item {number}: is no object; expected {example}")
            yield Record(f"{printable(path)}, item {number}", row)
    else:
        yield from json_lines(path, example)


def _parquet_records(path: Path, example: str) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, file = ["timestamp", "input_length", "output_length"], printable(path)
    if not path.is_file():
        raise InputError(f"{file}: no such file, or not a regular one; check the path")
    try:
        table = pq.ParquetFile(path)
        missing = [name for name in columns if name not in table.schema_arrow.names]
        if missing:
            raise InputError(f"{file}: column {missing[0]} is missing; expected {example}")
        number = 0
        for batch in table.iter_batches(columns=columns):
            for row in batch.to_pylist():
                yield Record(f"{file}, row {number}", row)
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: not a Parquet file ({printable(error, 80)}); expected {example}") from None


def _vidur(path: Path, clock: Clock) -> Rows:
    columns = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
    for record in csv_records(path, columns, FORMATS["vidur"].example):
        yield WorkloadRow(
            record.where,
            clock.seconds(record, "arrived_at"),
            tokens(record, "num_prefill_tokens"),
            tokens(record, "num_decode_tokens"),
        )


_JSON_LENGTHS = '"input_length": 100, "output_length": 20'
FORMATS: Mapping[str, WorkloadFormat] = {
    made.name: made
    for made in (
        WorkloadFormat(
            "csv",
            "a header arrival_s,prompt_tokens,output_tokens[,task][,session_id][,delay_s][,cached_tokens]",
            _own_csv,
            Clock(from_first=False),
        ),
        WorkloadFormat("azure", "a header TIMESTAMP,ContextTokens,GeneratedTokens (dates with time)", _azure),
        WorkloadFormat(
            "burstgpt",
            "a header Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type (seconds)",
            _burstgpt,
        ),
        WorkloadFormat(
            "mooncake",
            f'lines {{"timestamp": 27482, {_JSON_LENGTHS}, "hash_ids": [...]}} (milliseconds)',
            _mooncake,
            MILLISECONDS,
            512,
        ),
        WorkloadFormat(
            "bailian",
            f'lines {{"chat_id": 1, "parent_chat_id": -1, "timestamp": 1.5, {_JSON_LENGTHS}}} (seconds)',
            _bailian,
            block_size=16,
        ),
        WorkloadFormat(
            "aiperf",
            f'lines {{"timestamp": 0 or "delay": 100, {_JSON_LENGTHS}, "session_id": "a"}} (milliseconds)',
            _aiperf,
            MILLISECONDS,
            512,
        ),
        WorkloadFormat(
            "guidellm",
            f'{{"timestamp": 1.5, {_JSON_LENGTHS}}} (seconds; JSON lines, JSON, CSV, Parquet)',
            _guidellm,
        ),
        WorkloadFormat("vidur", "a header arrived_at,num_prefill_tokens,num_decode_tokens (seconds)", _vidur),
    )
}  # format name of ``--workload FILE --format NAME`` -> how it is read
