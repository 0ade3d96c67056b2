"""From record batches of a trace file to whole requests: rows as arrays, checked and reassembled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from svsim.errors import printable
from svsim.trace.method_columns import Width, width_of
from svsim.trace.schema import (
    MAX_CONTEXT_TOKENS,
    NUM_ACCEPTED,
    NUM_CONTEXT_TOKENS,
    POSITION,
    REQUEST_ID,
    SCALAR_TYPES,
    TASK,
)
from svsim.trace.validation import RowLocator, check_num_accepted, check_request_id, check_signal


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a file: ids and tasks dictionary-encoded, counts int64 [n], signals [n, K]."""

    request_id: Any
    position: NDArray[np.int64]
    num_context_tokens: NDArray[np.int64]
    num_accepted: NDArray[np.int64]
    task: Any | None
    signals: dict[str, NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.position)

    def locator(self, file: str) -> RowLocator:
        """Names a row by its request id and position."""

        def describe(row: int) -> str:
            return f'request "{printable(self.request_id[row].as_py(), 60)}", position {self.position[row]}'

        return RowLocator(file, describe)


@dataclass(frozen=True, slots=True)
class RequestStarts:
    """The requests that begin inside a block of rows."""

    rows: NDArray[np.int64]
    ids: list[str]
    num_prompt_tokens: NDArray[np.int32]
    tasks: list[str] | None

    def split(self, request: int, row: int) -> "tuple[RequestStarts, RequestStarts]":
        """The first ``request`` requests, and the others counted from ``row``."""
        tasks = (None, None) if self.tasks is None else (self.tasks[:request], self.tasks[request:])
        prompts = self.num_prompt_tokens
        return (
            RequestStarts(self.rows[:request], self.ids[:request], prompts[:request], tasks[0]),
            RequestStarts(self.rows[request:] - row, self.ids[request:], prompts[request:], tasks[1]),
        )


class RequestChecker:
    """Checks block after block that rows are whole requests, each once, positions 0, 1, 2, ...

    It remembers the last row and the ids met, so a request may span any number of blocks.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._ids: set[str] = set()
        self._last_id: str | None = None
        self._last_task: str | None = None
        self._last_position = -1
        self._last_context = 0

    def starts_in(self, rows: Rows) -> RequestStarts:
        """The requests that begin in the next block, or TraceError at the first broken row."""
        locator = rows.locator(self._file)
        new_id = _changes(rows.request_id, self._last_id)
        is_start = rows.position == 0
        self._check_order(rows, new_id, is_start, locator)
        self._check_context(rows, is_start, locator)
        starts = np.flatnonzero(is_start)
        tasks = None
        if rows.task is not None:
            moved = _changes(rows.task, self._last_task) & ~is_start
            if moved.any():
                row = int(np.argmax(moved))
                locator.fail(TASK, row, rows.task[row].as_py(), "one task per request")
            tasks = _texts_at(rows.task, starts)
            self._last_task = rows.task[len(rows) - 1].as_py()
        ids = _texts_at(rows.request_id, starts)
        self._remember(ids, starts, locator)
        self._last_id = rows.request_id[len(rows) - 1].as_py()
        self._last_position = int(rows.position[-1])
        self._last_context = int(rows.num_context_tokens[-1])
        return RequestStarts(starts, ids, rows.num_context_tokens[starts].astype(np.int32), tasks)

    def _check_order(
        self, rows: Rows, new_id: NDArray[np.bool_], is_start: NDArray[np.bool_], locator: RowLocator
    ) -> None:
        previous = np.concatenate([[self._last_position], rows.position[:-1]])
        fine = np.where(new_id, is_start, rows.position == previous + 1)
        if fine.all():
            return
        row = int(np.argmin(fine))
        if not new_id[row] and is_start[row]:
            locator.fail(
                REQUEST_ID, row, "the same id for two requests", "ids that occur once", "rename one of them"
            )
        expected = 0 if new_id[row] else previous[row] + 1
        locator.fail(
            POSITION, row, rows.position[row], f"{expected} (positions 0, 1, 2, ... within a request)"
        )

    def _check_context(self, rows: Rows, is_start: NDArray[np.bool_], locator: RowLocator) -> None:
        context = rows.num_context_tokens
        previous = np.concatenate([[self._last_context], context[:-1]])
        fine = np.where(is_start, context >= 0, context == previous + 1) & (context <= MAX_CONTEXT_TOKENS)
        if not fine.all():
            row = int(np.argmin(fine))
            grows = not is_start[row] and previous[row] < MAX_CONTEXT_TOKENS
            expected = f"{previous[row] + 1} (one more per position)" if grows else f"0..{MAX_CONTEXT_TOKENS}"
            locator.fail(NUM_CONTEXT_TOKENS, row, context[row], expected)

    def _remember(self, ids: list[str], starts: NDArray[np.int64], locator: RowLocator) -> None:
        for request_id in ids:
            check_request_id(request_id, self._file)
        new = set(ids)
        if len(new) == len(ids) and self._ids.isdisjoint(new):
            self._ids |= new
            return
        met = set(self._ids)
        for row, request_id in zip(starts, ids, strict=True):
            if request_id in met:
                locator.fail(
                    REQUEST_ID,
                    int(row),
                    "an id that occurred before",
                    "the rows of a request next to each other",
                    "sort the rows by request, or rename one of the requests",
                )
            met.add(request_id)


def _changes(texts: Any, before: str | None) -> NDArray[np.bool_]:
    """Where a dictionary-encoded text differs from the row above; ``before`` is above the first."""
    codes = _numpy(texts.indices)
    changed = np.empty(len(codes), np.bool_)
    changed[0] = texts[0].as_py() != before
    np.not_equal(codes[1:], codes[:-1], out=changed[1:])
    return changed


def _texts_at(texts: Any, rows: NDArray[np.int64]) -> list[str]:
    at = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
    found: list[str] = texts.dictionary.take(texts.indices.take(at)).to_pylist()
    return found


def _numpy(array: Any) -> NDArray[Any]:
    """An Arrow array of numbers without nulls, not copied (``to_numpy`` would import pandas)."""
    return np.from_dlpack(array)


def rows_of(batch: Any, columns: list[str], first_row: int, widths: Mapping[Width, int], file: str) -> Rows:
    """A record batch as arrays, each value checked by itself (their order is RequestChecker's).

    ``first_row`` is the batch's first row in the file; the signals are ``columns`` but the scalar ones.
    """
    column = {name: batch.column(batch.schema.get_field_index(name)) for name in columns}
    by_row = RowLocator(file, lambda row: f"row {first_row + row} of the file")
    for name in columns:
        if column[name].null_count:
            nulls = column[name].is_null().to_numpy(zero_copy_only=False)
            by_row.fail(name, int(np.argmax(nulls)), "null", "a value")
    rows = Rows(
        request_id=_encoded(REQUEST_ID, column[REQUEST_ID], by_row),
        position=_integers(POSITION, column[POSITION], by_row),
        num_context_tokens=_integers(NUM_CONTEXT_TOKENS, column[NUM_CONTEXT_TOKENS], by_row),
        num_accepted=_integers(NUM_ACCEPTED, column[NUM_ACCEPTED], by_row),
        task=_encoded(TASK, column[TASK], by_row) if TASK in column else None,
        signals={},
    )
    locator = rows.locator(file)
    check_num_accepted(rows.num_accepted, widths[Width.CHAIN], locator)
    for name in columns:
        if name not in SCALAR_TYPES and name != TASK:
            values = _list_values(name, column[name], width_of(name, widths), locator)
            rows.signals[name] = check_signal(name, values, locator)
    return rows


def _integers(name: str, column: Any, locator: RowLocator) -> NDArray[np.int64]:
    try:
        return _numpy(column.cast(pa.int64()))
    except pa.ArrowInvalid:  # uint64 beyond int64
        large = column.to_numpy(zero_copy_only=False) > np.iinfo(np.int64).max
        row = int(np.argmax(large))
        locator.fail(name, row, column[row].as_py(), f"at most {MAX_CONTEXT_TOKENS}")


def _encoded(name: str, column: Any, locator: RowLocator) -> Any:
    """The texts dictionary-encoded: codes are compared, only the first of each request is decoded."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    if encoded.dictionary.null_count:
        locator.fail(name, 0, "null among the values", "texts")
    return encoded


def _list_values(name: str, column: Any, length: int, locator: RowLocator) -> NDArray[np.float32]:
    """A column of lists as float32 [n, length]."""
    if not pa.types.is_fixed_size_list(column.type):
        lengths = _numpy(column.value_lengths())
        if (lengths != length).any():
            row = int(np.argmax(lengths != length))
            locator.fail(
                name, row, f"a list of {lengths[row]} values", f"{length} (K)", "record the column again"
            )
    values = column.flatten()
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False))) // length
        locator.fail(name, row, "null inside the list", "numbers", "record the column again")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes an infinity, refused by check_signal
        array = _numpy(values).astype(np.float32, copy=False)
    return array.reshape(-1, length)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows on their way into a chunk, and the requests that begin among them."""

    starts: RequestStarts
    num_accepted: NDArray[np.int16]
    signals: dict[str, NDArray[np.float32]]

    @property
    def num_rows(self) -> int:
        return len(self.num_accepted)


class RequestAssembler:
    """Gathers blocks of rows and hands out whole requests."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self.num_rows = 0
        self.num_complete_rows = 0  # before the last request begun, which may go on

    def add(self, rows: Rows, starts: RequestStarts) -> None:
        self._pieces.append(Piece(starts, rows.num_accepted.astype(np.int16), rows.signals))
        if len(starts.rows):
            self.num_complete_rows = self.num_rows + int(starts.rows[-1])
        self.num_rows += len(rows)

    def take(self, num_rows: int) -> Piece:
        """The first ``num_rows`` rows as one piece, which must end where a request ends."""
        merged = _merge(self._pieces)
        head, tail = merged.starts.split(int(np.searchsorted(merged.starts.rows, num_rows)), num_rows)
        # the rest is copied, so that it does not keep all rows alive
        rest = {name: values[num_rows:].copy() for name, values in merged.signals.items()}
        self._pieces = [Piece(tail, merged.num_accepted[num_rows:].copy(), rest)]
        self.num_rows, self.num_complete_rows = self._pieces[0].num_rows, 0
        taken = {name: values[:num_rows] for name, values in merged.signals.items()}
        return Piece(head, merged.num_accepted[:num_rows], taken)


def _merge(pieces: list[Piece]) -> Piece:
    """All pieces as one; column by column, so that little is held twice."""
    if len(pieces) == 1:
        return pieces[0]
    offsets = np.cumsum([0, *(piece.num_rows for piece in pieces)])
    starts = [piece.starts for piece in pieces]
    has_tasks = starts[0].tasks is not None
    return Piece(
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
