"""Reads trace files: whole, or in chunks of whole requests with memory flat in the trace's length."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from svsim.errors import MissingSignalError, TraceError, printable
from svsim.workload.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata
from svsim.workload.trace_metadata import decode_metadata
from svsim.workload.trace_schema import (
    METADATA_KEY,
    NUM_ACCEPTED,
    NUM_CONTEXT_TOKENS,
    POSITION,
    REQUEST_ID,
    SCALAR_TYPES,
    STEP_TIMES_KEY,
    TARGET_COLUMNS,
    TASK,
    check_schema,
)
from svsim.workload.trace_step_times import decode_step_times
from svsim.workload.trace_validation import (
    RequestChecker,
    RequestStarts,
    RowLocator,
    Rows,
    check_num_accepted,
    check_signal,
)

MAX_FOOTER_BYTES = 64 << 20
# One row group is decoded at a time: a bound on what a file may ask for, 512 MiB per float32 column.
MAX_VALUES_PER_ROW_GROUP = 1 << 27
VALUES_PER_BATCH = 1 << 19
DEFAULT_CHUNK_POSITIONS = 65536


def load_trace(
    path: str | os.PathLike[str],
    *,
    signals: Sequence[str] | None = None,
    target_columns: Sequence[str] | None = None,
) -> TokenTrace:
    """The whole trace in memory, every row checked.

    ``signals`` and ``target_columns`` (``accept_prob``, ``target_overlap``) choose the [T, K] columns
    to read, None all of them. Raises TraceError for anything that is not a valid trace file and
    MissingSignalError for a column the trace lacks.
    """
    reader = TraceReader(path)
    return next(
        reader.iter_chunks(min_positions=reader.num_positions, signals=signals, target_columns=target_columns)
    )


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
            stored = footer.metadata or {}
            if METADATA_KEY.encode() not in stored:
                raise TraceError(
                    f"{self._file}: a Parquet file without the metadata key {METADATA_KEY}, not a trace; "
                    "expected a file written by svsim (synth, import or capture)"
                )
            self.metadata = decode_metadata(stored[METADATA_KEY.encode()], self._file)
            k = self.metadata.num_speculative_tokens
            lists = check_schema(schema, k, self._file)
            packed = stored.get(STEP_TIMES_KEY.encode())
            self.step_times = None if packed is None else decode_step_times(packed, self._file)
            self.num_positions, self.num_row_groups = footer.num_rows, footer.num_row_groups
            _check_sizes(footer, k, self._file)
            self.has_tasks = TASK in schema.names
        self.signals = tuple(name for name in lists if name not in TARGET_COLUMNS)
        self.target_columns = tuple(name for name in lists if name in TARGET_COLUMNS)

    def iter_chunks(
        self,
        *,
        min_positions: int = DEFAULT_CHUNK_POSITIONS,
        signals: Sequence[str] | None = None,
        target_columns: Sequence[str] | None = None,
    ) -> Iterator[TokenTrace]:
        """Traces of whole requests, in file order, at least ``min_positions`` rows each but the last.

        Every row is checked as it passes; a request may span row groups. Memory: one batch of rows,
        the chunk being built, and the ids of all requests met.
        """
        wanted = _chosen(signals, self.signals, self._file)
        wanted_target = _chosen(target_columns, self.target_columns, self._file)
        columns = [*SCALAR_TYPES, *([TASK] if self.has_tasks else []), *wanted, *wanted_target]
        checker, assembler = RequestChecker(self._file), _RequestAssembler()
        num_read = 0
        for batch in self._batches(columns):
            rows = _rows_of(batch, columns, self.metadata.num_speculative_tokens, self._file)
            assembler.add(rows, checker.starts_in(rows))
            num_read += len(rows)
            if assembler.num_complete_rows >= min_positions:
                yield self._trace_of(assembler.take(assembler.num_complete_rows), wanted)
        if num_read != self.num_positions:
            raise TraceError(
                f"{self._file}: holds {num_read} rows, its footer says {self.num_positions}; copy the file again"
            )
        yield self._trace_of(assembler.take(assembler.num_rows), wanted)

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        batch_rows = max(1, VALUES_PER_BATCH // self.metadata.num_speculative_tokens)
        with _open(self.path, self._file) as parquet:
            if parquet.metadata.num_rows != self.num_positions:
                raise TraceError(f"{self._file}: changed while it was read; run again")
            for batch in parquet.iter_batches(batch_rows, columns=columns):
                if batch.num_rows:
                    batch.validate(full=True)
                    yield batch

    def _trace_of(self, piece: "_Piece", signals: tuple[str, ...]) -> TokenTrace:
        return TokenTrace(
            request_ids=tuple(piece.starts.ids),
            first_position=np.append(piece.starts.rows, piece.num_rows),
            num_prompt_tokens=piece.starts.num_prompt_tokens,
            observable=ObservableColumns({name: piece.signals[name] for name in signals}),
            target=TargetColumns(piece.num_accepted, *(piece.signals.get(name) for name in TARGET_COLUMNS)),
            metadata=self.metadata,
            tasks=None if piece.starts.tasks is None else tuple(piece.starts.tasks),
            step_times=self.step_times,
        )


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows on their way into a chunk, and the requests that begin among them."""

    starts: RequestStarts
    num_accepted: NDArray[np.int16]
    signals: dict[str, NDArray[np.float32]]

    @property
    def num_rows(self) -> int:
        return len(self.num_accepted)


class _RequestAssembler:
    """Gathers blocks of rows and hands out whole requests."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self.num_rows = 0
        self.num_complete_rows = 0  # before the last request begun, which may go on

    def add(self, rows: Rows, starts: RequestStarts) -> None:
        self._pieces.append(_Piece(starts, rows.num_accepted.astype(np.int16), rows.signals))
        if len(starts.rows):
            self.num_complete_rows = self.num_rows + int(starts.rows[-1])
        self.num_rows += len(rows)

    def take(self, num_rows: int) -> _Piece:
        """The first ``num_rows`` rows as one piece, which must end where a request ends."""
        merged = _merge(self._pieces)
        cut = int(np.searchsorted(merged.starts.rows, num_rows))
        taken, rest = _split(merged, num_rows, cut)
        self._pieces, self.num_rows, self.num_complete_rows = [rest], rest.num_rows, 0
        return taken


def _merge(pieces: list[_Piece]) -> _Piece:
    """All pieces as one; column by column, so that little is held twice."""
    if len(pieces) == 1:
        return pieces[0]
    offsets = np.cumsum([0, *(piece.num_rows for piece in pieces)])
    starts = [piece.starts for piece in pieces]
    has_tasks = starts[0].tasks is not None
    return _Piece(
        RequestStarts(
            np.concatenate([s.rows + offset for s, offset in zip(starts, offsets, strict=False)]),
            [name for s in starts for name in s.ids],
            np.concatenate([s.num_prompt_tokens for s in starts]),
            [task for s in starts for task in s.tasks or ()] if has_tasks else None,
        ),
        np.concatenate([piece.num_accepted for piece in pieces]),
        {
            name: np.concatenate([piece.signals.pop(name) for piece in pieces])
            for name in list(pieces[0].signals)
        },
    )


def _split(piece: _Piece, row: int, request: int) -> tuple[_Piece, _Piece]:
    """The rows before ``row`` (requests before ``request``), and a copy of the others."""
    starts = piece.starts
    head = RequestStarts(
        starts.rows[:request],
        starts.ids[:request],
        starts.num_prompt_tokens[:request],
        starts.tasks[:request] if starts.tasks is not None else None,
    )
    tail = RequestStarts(
        starts.rows[request:] - row,
        starts.ids[request:],
        starts.num_prompt_tokens[request:],
        starts.tasks[request:] if starts.tasks is not None else None,
    )
    return (
        _Piece(head, piece.num_accepted[:row], {name: v[:row] for name, v in piece.signals.items()}),
        _Piece(tail, piece.num_accepted[row:].copy(), {name: v[row:].copy() for name, v in piece.signals.items()}),
    )


def _chosen(names: Sequence[str] | None, present: tuple[str, ...], file: str) -> tuple[str, ...]:
    if names is None:
        return present
    missing = [name for name in names if name not in present]
    if missing:
        raise MissingSignalError(
            f"{file}: column {printable(missing[0])} is not in this trace (it has: {', '.join(present) or 'none'}); "
            "record a trace with it, or choose a method that does not need it"
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
        raise TraceError(f"{file}: cannot be read ({printable(_reason(error))}); check the path and its rights") from None
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
        raise TraceError(f"{file}: its row groups do not add up to its {footer.num_rows} rows; copy the file again")
    limit = MAX_VALUES_PER_ROW_GROUP // num_speculative_tokens
    if max(sizes) > limit:
        raise TraceError(
            f"{file}: a row group of {max(sizes)} rows, expected at most {limit}; write it with smaller row groups"
        )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _open(path: Path, file: str) -> Iterator[Any]:
    """The Parquet file; whatever goes wrong while it is open becomes a one-line TraceError."""
    try:
        with (
            pa.OSFile(str(path)) as source,
            pq.ParquetFile(
                source,
                read_dictionary=[REQUEST_ID],
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


def _rows_of(batch: Any, columns: list[str], num_speculative_tokens: int, file: str) -> Rows:
    """A record batch as arrays, its values checked one by one (their order is RequestChecker's)."""
    column = {name: batch.column(batch.schema.get_field_index(name)) for name in columns}
    by_row = RowLocator(file, lambda row: f"row {row} of a batch")
    for name in columns:
        _check_no_nulls(name, column[name], by_row)
    rows = Rows(
        request_id=_encoded(column[REQUEST_ID]),
        position=_integers(column[POSITION]),
        num_context_tokens=_integers(column[NUM_CONTEXT_TOKENS]),
        num_accepted=_integers(column[NUM_ACCEPTED]),
        task=_encoded(column[TASK]) if TASK in columns else None,
        signals={},
    )
    locator = rows.locator(file)
    check_num_accepted(rows.num_accepted, num_speculative_tokens, locator)
    for name in columns:
        if name not in SCALAR_TYPES and name != TASK:
            values = _list_values(name, column[name], num_speculative_tokens, locator)
            rows.signals[name] = check_signal(name, values, locator)
    return rows
