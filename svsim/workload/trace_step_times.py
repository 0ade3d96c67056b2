"""Measured step times that travel inside a trace: the Parquet metadata key ``svsim.step_times``.

One row per measured forward pass shape, as an Arrow IPC stream.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from svsim.errors import TraceError, printable
from svsim.workload.trace_schema import STEP_TIMES_KEY

MAX_STEP_TIMES_BYTES = 16 << 20
MAX_ROWS = 1_000_000
MAX_TEXT_CHARS = 256
ROLES = ("target", "draft", "companion")

TEXT_COLUMNS = ("role", "hardware", "source")
# column -> lowest value
COUNT_COLUMNS = {"tensor_parallel": 1, "num_sequences": 1, "num_new_tokens": 1, "num_kv_tokens": 0, "num_repeats": 0}
# NaN in memory and null in the file where a percentile is not known (a database entry)
PERCENTILE_COLUMNS = ("p10_s", "p90_s")
STEP_TIME_COLUMNS = (
    *("role", "hardware", "tensor_parallel", "num_sequences", "num_new_tokens", "num_kv_tokens"),
    *("seconds", "p10_s", "p90_s", "num_repeats", "source"),
)


def encode_step_times(columns: Mapping[str, NDArray[Any]], file: str) -> bytes:
    """The Arrow IPC stream of the step times; TraceError if they break the format."""
    checked = check_step_times(columns, file)
    arrays = [
        pa.array(values, pa.float64(), mask=np.isnan(values))
        if name in PERCENTILE_COLUMNS
        else pa.array(values.tolist() if name in TEXT_COLUMNS else values)
        for name, values in checked.items()
    ]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(checked))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    if len(data) > MAX_STEP_TIMES_BYTES:
        _too_large(len(data), file)
    return data


def decode_step_times(data: bytes, file: str) -> dict[str, NDArray[Any]]:
    """The step times of an Arrow IPC stream: str, int64 or float64 arrays [N] by column name."""
    if len(data) > MAX_STEP_TIMES_BYTES:
        _too_large(len(data), file)
    try:
        table = pa.ipc.open_stream(pa.py_buffer(data)).read_all()
        if table.num_rows > MAX_ROWS:
            raise ValueError(f"{table.num_rows} rows, expected at most {MAX_ROWS}")
        table.validate(full=True)
        columns = {
            name: _to_numpy(name, table.column(name).combine_chunks(), file)
            for name in STEP_TIME_COLUMNS
            if name in table.column_names
        }
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise TraceError(
            f"{file}: metadata key {STEP_TIMES_KEY} is not an Arrow IPC stream of step times "
            f"({printable(error, 80)}); write the trace again with svsim"
        ) from None
    return check_step_times(columns, file)


def check_step_times(columns: Mapping[str, NDArray[Any]], file: str) -> dict[str, NDArray[Any]]:
    """The columns in file order with their canonical types; TraceError names column and row."""
    lengths = {len(values) for values in columns.values()}
    missing = [name for name in STEP_TIME_COLUMNS if name not in columns]
    if missing:
        raise TraceError(
            f"{file}: {STEP_TIMES_KEY} lacks the column {missing[0]}; expected {', '.join(STEP_TIME_COLUMNS)}"
        )
    if len(lengths) != 1 or lengths == {0}:
        raise TraceError(
            f"{file}: {STEP_TIMES_KEY} has columns of lengths {sorted(lengths)}; expected one length of at least 1"
        )
    return {name: _checked(name, np.asarray(columns[name]), file) for name in STEP_TIME_COLUMNS}


def _to_numpy(name: str, column: Any, file: str) -> NDArray[Any]:
    if name in TEXT_COLUMNS:
        column = column.cast(pa.string())
        longest = max((len(text) for text in column.to_pylist() if text is not None), default=0)
        if longest > MAX_TEXT_CHARS:
            _fail(file, name, 0, f"a text of {longest} characters", f"at most {MAX_TEXT_CHARS}")
    elif name in COUNT_COLUMNS:
        column = column.cast(pa.int64())
    else:
        column = column.cast(pa.float64())
    if column.null_count and name not in PERCENTILE_COLUMNS:
        _fail(file, name, int(np.argmax(column.is_null().to_numpy(zero_copy_only=False))), "null", "a value")
    if name in TEXT_COLUMNS:
        return np.array(column.to_pylist(), dtype=np.str_)
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _checked(name: str, values: NDArray[Any], file: str) -> NDArray[Any]:
    if name in TEXT_COLUMNS:
        if not all(isinstance(text, str) and len(text) <= MAX_TEXT_CHARS for text in values.tolist()):
            raise TraceError(f"{file}: {STEP_TIMES_KEY}, column {name}: expected texts of at most 256 characters")
        values = values.astype(np.str_)
        bad, expected = (~np.isin(values, ROLES), ", ".join(ROLES)) if name == "role" else (values == "", "a name")
    elif name in COUNT_COLUMNS:
        lowest = COUNT_COLUMNS[name]
        if values.dtype.kind not in "iu":
            raise TraceError(f"{file}: {STEP_TIMES_KEY}, column {name}: expected integers, got {values.dtype}")
        values = values.astype(np.int64)
        bad, expected = values < lowest, f"an integer of at least {lowest}"
    else:
        if values.dtype.kind not in "fiu":
            raise TraceError(f"{file}: {STEP_TIMES_KEY}, column {name}: expected seconds, got {values.dtype}")
        values = values.astype(np.float64)
        known = ~np.isnan(values) if name in PERCENTILE_COLUMNS else np.ones(len(values), np.bool_)
        bad, expected = known & ~((values > 0) & (values < np.inf)), "a positive number of seconds"
    if bad.any():
        row = int(np.argmax(bad))
        _fail(file, name, row, values[row], expected)
    return values


def _fail(file: str, column: str, row: int, got: object, expected: str) -> NoReturn:
    raise TraceError(
        f"{file}: {STEP_TIMES_KEY}, column {column}, row {row}: got {printable(got, 80)}, expected {expected}; "
        "measure the step times again or leave them out"
    )


def _too_large(num_bytes: int, file: str) -> NoReturn:
    raise TraceError(
        f"{file}: {STEP_TIMES_KEY} holds {num_bytes} bytes, expected at most {MAX_STEP_TIMES_BYTES}; thin out the grid"
    )
