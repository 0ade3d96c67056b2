"""Writes trace files in chunks of whole requests, with memory flat in the trace's length."""

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from svsim.errors import InputError, TraceError, printable
from svsim.files import replacing
from svsim.trace.digest import digest_of
from svsim.trace.metadata import encode_metadata
from svsim.trace.schema import (
    DIGEST_KEY,
    METADATA_KEY,
    NUM_ACCEPTED,
    NUM_CONTEXT_TOKENS,
    POSITION,
    REQUEST_ID,
    STEP_TIMES_KEY,
    TASK,
    SignalDtype,
    trace_schema,
)
from svsim.trace.step_times import encode_step_times
from svsim.trace.token_trace import TokenTrace, TraceMetadata
from svsim.trace.validation import check_trace, signal_columns

DEFAULT_ROWS_PER_GROUP = 65536


class TraceWriter:
    """``with TraceWriter(path, metadata) as writer: writer.write(chunk)``; the file is there at the end.

    Rows go to a temporary file beside ``path`` that takes its name only when complete: after an error
    or an interrupt nothing is left, and a file already there is untouched. The bytes depend on the
    rows, the metadata and the options, not on how the rows were cut into chunks. Row groups end where
    a request ends, unless a request is longer than ``rows_per_group``. Signals are stored as
    ``signal_dtype``; raises TraceError for a chunk that breaks the format, InputError where the file
    cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metadata: TraceMetadata,
        *,
        step_times: Mapping[str, NDArray[Any]] | None = None,
        rows_per_group: int = DEFAULT_ROWS_PER_GROUP,
        signal_dtype: SignalDtype = "float16",
    ) -> None:
        if rows_per_group < 1:
            raise InputError(f"rows_per_group is {rows_per_group}; expected at least 1")
        self._file = printable(path)
        self._path = _output_path(path, self._file)
        self._metadata = metadata
        self._rows_per_group = rows_per_group
        self._signal_dtype: SignalDtype = signal_dtype
        self._stored = {METADATA_KEY: encode_metadata(metadata, self._file)}
        if step_times is not None:
            self._stored[STEP_TIMES_KEY] = encode_step_times(step_times, self._file)
        self._stored[DIGEST_KEY] = digest_of(self._stored)
        self._unfinished = ExitStack()
        self._sink: BinaryIO | None = None
        self._parquet: Any = None
        self._schema: Any = None
        self._ids: set[str] = set()
        self._pending = _PendingRows()

    def __enter__(self) -> Self:
        try:
            self._sink = self._unfinished.enter_context(replacing(self._path))
            self._unfinished.callback(self._discard)
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def write(self, chunk: TokenTrace) -> None:
        """Append the requests of ``chunk``; its metadata may differ from the file's in anything but K."""
        check_trace(chunk, self._file)
        self._check_fits(chunk)
        bounds = chunk.first_position
        first = 0
        while first < chunk.num_requests:  # in slices, so that a long chunk is not held twice
            end_row = bounds[first] + self._rows_per_group
            last = max(first + 1, int(np.searchsorted(bounds, end_row, side="right")) - 1)
            self._pending.add(self._table(chunk, first, last), np.diff(bounds[first : last + 1]))
            first = last
            while self._pending.num_rows >= self._rows_per_group:
                self._write_group()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name; after an error, of the caller or here, leave nothing of it."""
        if kind is not None:
            self._unfinished.__exit__(kind, error, trace)
            return
        try:
            with self._unfinished:
                self._finish()
        except OSError as failed:
            raise self._unwritable(failed) from failed

    def _finish(self) -> None:
        while self._pending.num_rows:
            self._write_group()
        if self._parquet is None:
            raise TraceError(f"{self._file}: no positions were written; a trace needs at least one")
        for key, value in self._stored.items():
            self._parquet.add_key_value_metadata({key: value})
        self._parquet.close()

    def _discard(self) -> None:
        """Let go of the unfinished Parquet file."""
        with suppress(OSError, ValueError, pa.ArrowException):
            if self._parquet is not None:
                self._parquet.close()

    def _check_fits(self, chunk: TokenTrace) -> None:
        k = self._metadata.num_speculative_tokens
        if chunk.num_speculative_tokens != k:
            raise TraceError(
                f"{self._file}: a chunk has K = {chunk.num_speculative_tokens}, the file K = {k}; "
                "write them to different files"
            )
        if chunk.metadata.widths != self._metadata.widths:
            raise TraceError(
                f"{self._file}: a chunk has other exits, blocks or trees than the file; write them to "
                "different files"
            )
        names = list(signal_columns(chunk))
        schema = trace_schema(self._metadata.widths, names, self._signal_dtype, chunk.tasks is not None)
        if self._schema is not None and schema != self._schema:
            raise TraceError(
                f"{self._file}: a chunk has the columns {', '.join(schema.names)}, "
                f"the file {', '.join(self._schema.names)}; write chunks with the same columns"
            )
        for request_id in chunk.request_ids:
            if request_id in self._ids:
                name = printable(request_id, 60)
                raise TraceError(
                    f'{self._file}: column {REQUEST_ID}: "{name}" occurs twice; rename one of them'
                )
            self._ids.add(request_id)
        self._schema = schema

    def _table(self, chunk: TokenTrace, first: int, last: int) -> Any:
        """The rows of requests ``first`` to ``last`` (exclusive); tasks still as plain texts."""
        rows = slice(int(chunk.first_position[first]), int(chunk.first_position[last]))
        lengths = np.diff(chunk.first_position[first : last + 1])
        of_row = np.repeat(np.arange(last - first), lengths)
        position = np.arange(rows.start, rows.stop) - np.repeat(chunk.first_position[first:last], lengths)
        columns = {
            REQUEST_ID: pa.array(chunk.request_ids[first:last], pa.string()).take(pa.array(of_row)),
            POSITION: pa.array(position.astype(np.int32)),
            NUM_CONTEXT_TOKENS: pa.array(
                (position + chunk.num_prompt_tokens[first:last][of_row]).astype(np.int32)
            ),
            NUM_ACCEPTED: pa.array(chunk.target.num_accepted[rows].astype(np.int16)),
        }
        if chunk.tasks is not None:
            columns[TASK] = pa.array(chunk.tasks[first:last], pa.string()).take(pa.array(of_row))
        for name, values in signal_columns(chunk).items():
            columns[name] = self._lists(name, values[rows])
        return pa.table(columns)

    def _lists(self, name: str, values: NDArray[np.float32]) -> Any:
        kind = self._schema.field(name).type
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(values, dtype=kind.value_type.to_pandas_dtype())
        if not np.isfinite(stored).all():
            raise TraceError(
                f"{self._file}: column {name} holds {np.abs(values).max():g}, "
                f'too large for {self._signal_dtype}; choose signal_dtype="float32"'
            )
        return pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), type=kind)

    def _write_group(self) -> None:
        table = self._pending.take(self._rows_per_group)
        if TASK in table.column_names:
            index = table.column_names.index(TASK)
            table = table.set_column(index, TASK, table.column(TASK).combine_chunks().dictionary_encode())
        try:
            if self._parquet is None:
                self._parquet = self._open_parquet()
            self._parquet.write_table(table.cast(self._schema), row_group_size=table.num_rows)
        except OSError as error:
            raise self._unwritable(error) from error

    def _open_parquet(self) -> Any:
        signals = [field.name for field in self._schema if pa.types.is_fixed_size_list(field.type)]
        return pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=[REQUEST_ID, NUM_ACCEPTED, TASK],
            column_encoding={
                POSITION: "DELTA_BINARY_PACKED",
                NUM_CONTEXT_TOKENS: "DELTA_BINARY_PACKED",
                **{f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in signals},
            },
            write_statistics=False,
            write_page_checksum=True,  # a flipped bit is then found when the page is read
        )

    def _unwritable(self, error: OSError) -> InputError:
        reason = printable(error.strerror or error, 80)
        return InputError(f"{self._file}: cannot be written ({reason}); free space or choose another file")


class _PendingRows:
    """Rows not yet written, and where their requests end."""

    def __init__(self) -> None:
        self._tables: list[Any] = []
        self._lengths: list[NDArray[np.int64]] = []
        self.num_rows = 0

    def add(self, table: Any, lengths: NDArray[np.int64]) -> None:
        self._tables.append(table)
        self._lengths.append(lengths)
        self.num_rows += table.num_rows

    def take(self, rows_per_group: int) -> Any:
        """The next row group: as many whole requests as fit, or a full group out of a longer one."""
        ends = np.cumsum(np.concatenate(self._lengths))
        num_whole = int(np.searchsorted(ends, rows_per_group, side="right"))
        cut = int(ends[num_whole - 1]) if num_whole else rows_per_group
        table = pa.concat_tables(self._tables)
        rest = np.diff(np.concatenate([[cut], ends[num_whole:]]))
        self._tables, self._lengths, self.num_rows = [table.slice(cut)], [rest], table.num_rows - cut
        return table.slice(0, cut).combine_chunks()


def _output_path(path: str | os.PathLike[str], file: str) -> Path:
    """Where the bytes go; InputError for anything but a (possibly new) regular file in a folder."""
    try:
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            raise InputError(f"{file}: is a folder or a device; choose the path of a file")
        if not target.parent.is_dir():
            raise InputError(f"{file}: its folder does not exist; create it or choose another path")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: cannot be written ({printable(error, 80)}); choose another path"
        ) from error
    return target
