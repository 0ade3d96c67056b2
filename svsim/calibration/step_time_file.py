"""Writes step-time tables: the columns of ``svsim.step_time_format`` and what is known beside them."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from svsim.errors import InputError
from svsim.files import write_atomically
from svsim.reading import parse_json
from svsim.step_time_format import COUNT_COLUMNS, STEP_TIME_COLUMNS, TEXT_COLUMNS

NOTES_KEY = "svsim.calibration"


def kind_of(column: str) -> Any:
    """The Arrow type of a column of the step-time format."""
    if column in TEXT_COLUMNS:
        return pa.string()
    return pa.int64() if column in COUNT_COLUMNS else pa.float64()


COLUMNS = {
    **{name: kind_of(name) for name in STEP_TIME_COLUMNS},
    "model": pa.string(),
    "longest_query": pa.int32(),
    "num_padded_tokens": pa.int32(),
    "forward_s": pa.float64(),
    "logits_s": pa.float64(),
    "sampling_s": pa.float64(),
}


def write_step_times(path: Path, rows: Sequence[Mapping[str, Any]], notes: Mapping[str, Any]) -> None:
    """One Parquet file, whole or not at all; ``notes`` as JSON under the key ``svsim.calibration``."""
    schema = pa.schema(list(COLUMNS.items()))
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    table = table.replace_schema_metadata({NOTES_KEY: json.dumps(notes, sort_keys=True)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_statistics=False)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another path") from error


def combine_tables(out: Path, tables: Sequence[Path]) -> None:
    """One table of all rows, in order; its notes list those of the parts."""
    rows = [row for table in tables for row in pq.read_table(table).to_pylist()]
    write_step_times(out, rows, {"parts": [read_notes(table) for table in tables]})


def read_notes(path: Path) -> dict[str, Any]:
    """The notes of a table written here; empty for any other Parquet file."""
    stored = pq.read_schema(path).metadata or {}
    notes = parse_json(stored.get(NOTES_KEY.encode(), b"{}"), f"{path}: {NOTES_KEY}", "an object")
    return dict(notes)
