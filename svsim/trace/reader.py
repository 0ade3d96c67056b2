"""Reads trace files in chunks of whole requests, with memory flat in the trace's length."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from svsim.errors import MissingSignalError, TraceError, printable
from svsim.trace.digest import check_columns, check_digest
from svsim.trace.metadata import decode_metadata
from svsim.trace.method_columns import is_outcome_name
from svsim.trace.rows import Piece, RequestAssembler, RequestChecker, rows_of
from svsim.trace.schema import (
    METADATA_KEY,
    REQUEST_ID,
    SCALAR_TYPES,
    STEP_TIMES_KEY,
    TASK,
    check_schema,
    is_target_name,
)
from svsim.trace.step_times import decode_step_times
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata

MAX_FOOTER_BYTES = 64 << 20
# One row group is decoded at a time: a bound on what a file may ask for, 512 MiB per float32 column.
MAX_VALUES_PER_ROW_GROUP = 1 << 27
VALUES_PER_BATCH = 1 << 19
DEFAULT_CHUNK_POSITIONS = 65536


class TraceReader:
    """A trace file by its footer: metadata, sizes and step times, without reading the columns.

    No file stays open between calls. ``num_positions`` is T, ``num_row_groups`` the Parquet row groups,
    ``signals`` and ``target_columns`` the names of the [T, K] columns of the two halves.
    """

    path: Path
    metadata: TraceMetadata
    step_times: dict[str, NDArray[Any]] | None
    num_positions: int
    num_row_groups: int
    file_bytes: int
    signals: tuple[str, ...]
    target_columns: tuple[str, ...]
    has_tasks: bool

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = printable(self.path)
        self.file_bytes = _check_envelope(self.path, self._file)
        with _open(self.path, self._file) as parquet:
            footer, schema = parquet.metadata, parquet.schema_arrow
            stored = {key.decode("utf-8", "replace"): value for key, value in (footer.metadata or {}).items()}
            if METADATA_KEY not in stored:
                raise TraceError(
                    f"{self._file}: a Parquet file without the metadata key {METADATA_KEY}, not a trace; "
                    "expected a file written by svsim (synth, import or capture)"
                )
            check_digest(stored, self._file)
            check_columns(schema, stored, self._file)
            self.metadata = decode_metadata(stored[METADATA_KEY], self._file)
            k = self.metadata.num_speculative_tokens
            lists = check_schema(schema, self.metadata.widths, self._file)
            packed = stored.get(STEP_TIMES_KEY)
            self.step_times = None if packed is None else decode_step_times(packed, self._file)
            self.num_positions, self.num_row_groups = footer.num_rows, footer.num_row_groups
            _check_sizes(footer, k, self._file)
            self.has_tasks = TASK in schema.names
        self.signals = tuple(name for name in lists if not is_target_name(name))
        self.target_columns = tuple(name for name in lists if is_target_name(name))

    def iter_chunks(
        self,
        *,
        min_positions: int = DEFAULT_CHUNK_POSITIONS,
        signals: Sequence[str] | None = None,
        target_columns: Sequence[str] | None = None,
    ) -> Iterator[TokenTrace]:
        """Traces of whole requests, in file order, at least ``min_positions`` rows each but the last.

        ``signals`` and ``target_columns`` choose the [T, K] columns to read, None all of them; one the
        trace lacks is a MissingSignalError. Every row is checked as it passes; a request may span row
        groups. Memory: one batch of rows, the chunk being built, and the ids of all requests met.
        """
        wanted = _chosen(signals, self.signals, self._file)
        wanted_target = _chosen(target_columns, self.target_columns, self._file)
        return self._chunks(max(1, min_positions), wanted, wanted_target)

    def _chunks(
        self, min_positions: int, signals: tuple[str, ...], target_columns: tuple[str, ...]
    ) -> Iterator[TokenTrace]:
        columns = [*SCALAR_TYPES, *([TASK] if self.has_tasks else []), *signals, *target_columns]
        checker, assembler = RequestChecker(self._file), RequestAssembler()
        num_read = 0
        for batch in self._batches(columns):
            rows = rows_of(batch, columns, num_read, self.metadata.widths, self._file)
            assembler.add(rows, checker.starts_in(rows))
            num_read += len(rows)
            if assembler.num_complete_rows >= min_positions:
                yield self._trace_of(assembler.take(assembler.num_complete_rows), signals)
        if num_read != self.num_positions:
            raise TraceError(
                f"{self._file}: holds {num_read} rows, expected {self.num_positions} by its footer; "
                "copy the file again"
            )
        yield self._trace_of(assembler.take(assembler.num_rows), signals)

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        batch_rows = max(1, VALUES_PER_BATCH // self.metadata.num_speculative_tokens)
        size = _check_envelope(self.path, self._file)
        with _open(self.path, self._file, encoded=[REQUEST_ID]) as parquet:
            if (size, parquet.metadata.num_rows) != (self.file_bytes, self.num_positions):
                raise TraceError(f"{self._file}: changed while it was read; run again")
            for batch in parquet.iter_batches(batch_rows, columns=columns):
                if batch.num_rows:
                    batch.validate(full=True)
                    yield batch

    def _trace_of(self, piece: Piece, signals: tuple[str, ...]) -> TokenTrace:
        return TokenTrace(
            request_ids=tuple(piece.starts.ids),
            first_position=np.append(piece.starts.rows, piece.num_rows),
            num_prompt_tokens=piece.starts.num_prompt_tokens,
            observable=ObservableColumns({name: piece.signals[name] for name in signals}),
            target=TargetColumns(
                piece.num_accepted,
                piece.signals.get("accept_prob"),
                piece.signals.get("target_overlap"),
                outcomes={name: values for name, values in piece.signals.items() if is_outcome_name(name)},
            ),
            metadata=self.metadata,
            tasks=None if piece.starts.tasks is None else tuple(piece.starts.tasks),
            step_times=self.step_times,
        )


def _chosen(names: Sequence[str] | None, present: tuple[str, ...], file: str) -> tuple[str, ...]:
    if names is None:
        return present
    missing = [name for name in names if name not in present]
    if missing:
        raise MissingSignalError(
            f"{file}: column {printable(missing[0])} is not in this trace "
            f"(it has: {', '.join(present) or 'none'}); record it, or choose a method that does not need it"
        )
    return tuple(dict.fromkeys(names))


def _check_envelope(path: Path, file: str) -> int:
    """The size of a file that may be Parquet, by its first and last bytes; TraceError otherwise."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise TraceError(f"{file}: not a regular file; expected a trace file")
        with path.open("rb") as stream:
            head = stream.read(4)
            stream.seek(-min(8, status.st_size), os.SEEK_END)
            tail = stream.read(8)
    except FileNotFoundError:
        raise TraceError(f"{file}: no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise TraceError(
            f"{file}: cannot be read ({printable(_reason(error))}); check the path and its rights"
        ) from None
    if status.st_size == 0:
        raise TraceError(f"{file}: the file is empty; copy or write it again")
    if head != b"PAR1":
        raise TraceError(f"{file}: not a Parquet file; expected a trace written by svsim (see svsim import)")
    if status.st_size < 12 or tail[4:] != b"PAR1":
        raise TraceError(f"{file}: the end of the file is missing (cut short?); copy or write it again")
    if not 0 < int.from_bytes(tail[:4], "little") <= min(MAX_FOOTER_BYTES, status.st_size - 12):
        raise TraceError(f"{file}: its footer has an impossible length; copy or write it again")
    return status.st_size


def _check_sizes(footer: Any, num_speculative_tokens: int, file: str) -> None:
    if footer.num_rows <= 0:
        raise TraceError(f"{file}: the trace holds no rows; expected at least one output position")
    sizes = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    if min(sizes, default=0) < 0 or sum(sizes) != footer.num_rows:
        raise TraceError(
            f"{file}: its row groups do not add up to its {footer.num_rows} rows; copy the file again"
        )
    limit = MAX_VALUES_PER_ROW_GROUP // num_speculative_tokens
    if max(sizes) > limit:
        raise TraceError(
            f"{file}: a row group of {max(sizes)} rows, expected at most {limit}; "
            "write it with smaller row groups"
        )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _open(path: Path, file: str, encoded: Sequence[str] = ()) -> Iterator[Any]:
    """The Parquet file; whatever goes wrong while it is open becomes a one-line TraceError.

    The text columns ``encoded`` are read as dictionaries, without decoding every row.
    """
    try:
        with (
            pa.OSFile(str(path)) as source,
            pq.ParquetFile(
                source,
                read_dictionary=list(encoded),
                pre_buffer=False,
                page_checksum_verification=True,
                arrow_extensions_enabled=False,
                thrift_string_size_limit=MAX_FOOTER_BYTES,
            ) as parquet,
        ):
            yield parquet
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, MemoryError) as error:
        raise TraceError(
            f"{file}: damaged or not a readable Parquet file ({printable(_reason(error), 120)}); "
            "copy or write it again"
        ) from error
