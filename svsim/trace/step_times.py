"""Measured step times that travel inside a trace: the Parquet metadata key ``svsim.step_times``.

One row per measured forward pass shape, as an Arrow IPC stream. A row of role ``overhead`` is the host
time of a whole decoding step; its counts may be 0.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from svsim.errors import TraceError, printable
from svsim.trace.schema import STEP_TIMES_KEY

MAX_STEP_TIMES_BYTES = 16 << 20
MAX_ROWS = 1_000_000
MAX_TEXT_CHARS = 256
OVERHEAD_ROLE = "overhead"
ROLES = ("target", "draft", "companion", OVERHEAD_ROLE)

TEXT_COLUMNS = ("role", "hardware", "source")
# column -> lowest value in the row of a pass
COUNT_COLUMNS = {
    "tensor_parallel": 1,
    "num_sequences": 1,
    "num_new_tokens": 1,
    "num_kv_tokens": 0,
    "num_repeats": 0,
}
# NaN in memory and null in the file where a percentile is not known (a database entry)
PERCENTILE_COLUMNS = ("p10_s", "p90_s")
STEP_TIME_COLUMNS = (
    *("role", "hardware", "tensor_parallel", "num_sequences", "num_new_tokens", "num_kv_tokens"),
    *("seconds", "p10_s", "p90_s", "num_repeats", "source"),
)
# what an absent column stands for: nothing was repeated, so no percentiles are known
ABSENT: dict[str, float | int] = {"p10_s": np.nan, "p90_s": np.nan, "num_repeats": 0}


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
    """All columns in file order with their canonical types; TraceError names column and row."""
    missing = [name for name in STEP_TIME_COLUMNS if name not in columns and name not in ABSENT]
    if missing:
        raise TraceError(
            f"{file}: {STEP_TIMES_KEY} lacks the column {missing[0]}; expected {', '.join(STEP_TIME_COLUMNS)}"
        )
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    shapes = {values.shape for values in arrays.values()}
    num_rows = len(arrays["seconds"]) if arrays["seconds"].ndim == 1 else 0
    if shapes != {(num_rows,)} or num_rows == 0:
        raise TraceError(
            f"{file}: {STEP_TIMES_KEY} has columns of shapes {sorted(shapes)}; "
            "expected one value per row, and at least one row"
        )
    arrays.update({name: np.full(num_rows, value) for name, value in ABSENT.items() if name not in arrays})
    texts = {name: _checked_texts(name, arrays[name], file) for name in TEXT_COLUMNS}
    is_pass = texts["role"] != OVERHEAD_ROLE
    return {
        name: texts[name] if name in texts else _checked_numbers(name, arrays[name], is_pass, file)
        for name in STEP_TIME_COLUMNS
    }


def _to_numpy(name: str, column: Any, file: str) -> NDArray[Any]:
    kind = pa.string() if name in TEXT_COLUMNS else pa.int64() if name in COUNT_COLUMNS else pa.float64()
    column = column if column.type == kind else column.cast(kind)  # a cast imports pyarrow.compute
    if column.null_count and name not in PERCENTILE_COLUMNS:
        _fail(file, name, column.is_null().to_pylist().index(True), "null", "a value")
    values = column.to_pylist()
    if name in PERCENTILE_COLUMNS:
        values = [np.nan if value is None else value for value in values]
    # texts stay Python objects until their lengths are checked: NumPy would pad all to the longest
    return np.array(values, dtype=object if name in TEXT_COLUMNS else column.type.to_pandas_dtype())


def _checked_texts(name: str, values: NDArray[Any], file: str) -> NDArray[np.str_]:
    texts = values.tolist()
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT_CHARS:
            _fail(file, name, row, text, f"a text of 1 to {MAX_TEXT_CHARS} characters")
        if name == "role" and text not in ROLES:
            _fail(file, name, row, text, f"one of {', '.join(ROLES)}")
    return np.array(texts, dtype=np.str_)


def _checked_numbers(name: str, values: NDArray[Any], is_pass: NDArray[np.bool_], file: str) -> NDArray[Any]:
    if values.dtype.kind not in ("iu" if name in COUNT_COLUMNS else "iuf"):
        _fail(
            file, name, 0, f"{values[0]} ({values.dtype})", "integers" if name in COUNT_COLUMNS else "seconds"
        )
    if name in COUNT_COLUMNS:
        lowest = np.where(is_pass, COUNT_COLUMNS[name], 0)
        values = values.astype(np.int64)
        bad, expected = values < lowest, f"at least {COUNT_COLUMNS[name]}"
    else:
        values = values.astype(np.float64)
        fine = np.isfinite(values) & ((values > 0) | (~is_pass & (values == 0)))
        unknown = np.isnan(values) if name in PERCENTILE_COLUMNS else np.zeros(len(values), np.bool_)
        bad, expected = ~(fine | unknown), "a positive number of seconds"
    if bad.any():
        row = int(np.argmax(bad))
        _fail(file, name, row, values[row], expected)
    return values


def _fail(file: str, column: str, row: int, got: object, expected: str) -> NoReturn:
    raise TraceError(
        f"{file}: {STEP_TIMES_KEY}, column {column}, row {row}: got {printable(got, 80)}, "
        f"expected {expected}; measure the step times again or leave them out"
    )


def _too_large(num_bytes: int, file: str) -> NoReturn:
    raise TraceError(
        f"{file}: {STEP_TIMES_KEY} holds {num_bytes} bytes, expected at most {MAX_STEP_TIMES_BYTES}; "
        "thin out the grid"
    )
