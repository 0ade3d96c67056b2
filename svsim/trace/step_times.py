"""Step times that travel inside a trace: the Parquet metadata key ``svsim.step_times``.

The columns are those of ``svsim.step_time_format``, as an Arrow IPC stream; a percentile that is not known
is null there and NaN in memory.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from svsim.errors import TraceError, printable
from svsim.step_time_format import (
    ABSENT,
    COUNT_COLUMNS,
    MAX_ROWS,
    PERCENTILE_COLUMNS,
    STEP_TIME_COLUMNS,
    TEXT_COLUMNS,
    checked_columns,
)
from svsim.trace.schema import STEP_TIMES_KEY

MAX_STEP_TIMES_BYTES = 16 << 20
# a trace says where its step times come from
OPTIONAL = {name: value for name, value in ABSENT.items() if name != "source"}


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
    return checked_columns(columns, f"{file}: {STEP_TIMES_KEY}", TraceError, optional=OPTIONAL)


def _to_numpy(name: str, column: Any, file: str) -> NDArray[Any]:
    kind = pa.string() if name in TEXT_COLUMNS else pa.int64() if name in COUNT_COLUMNS else pa.float64()
    column = column if column.type == kind else column.cast(kind)  # a cast imports pyarrow.compute
    if column.null_count and name not in PERCENTILE_COLUMNS:
        row = column.is_null().to_pylist().index(True)
        raise TraceError(
            f"{file}: {STEP_TIMES_KEY}: column {name}, row {row}: got null, expected a value; "
            "measure the step times again or leave them out"
        )
    values = column.to_pylist()
    if name in PERCENTILE_COLUMNS:
        values = [np.nan if value is None else value for value in values]
    # texts stay Python objects until their lengths are checked: NumPy would pad all to the longest
    return np.array(values, dtype=object if name in TEXT_COLUMNS else column.type.to_pandas_dtype())


def _too_large(num_bytes: int, file: str) -> NoReturn:
    raise TraceError(
        f"{file}: {STEP_TIMES_KEY} holds {num_bytes} bytes, expected at most {MAX_STEP_TIMES_BYTES}; "
        "thin out the grid"
    )
