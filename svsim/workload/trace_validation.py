"""What must hold in a trace, checked on whole columns; the message names the first offending row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from svsim.errors import TraceError, printable
from svsim.workload.token_trace import TokenTrace
from svsim.workload.trace_schema import (
    MAX_CONTEXT_TOKENS,
    MAX_REQUEST_ID_CHARS,
    NUM_ACCEPTED,
    NUM_CONTEXT_TOKENS,
    POSITION,
    PROBABILITY_TOLERANCE,
    REQUEST_ID,
    TASK,
    domain,
    is_signal_name,
)

REMEDY = "write the trace again from whole, ordered requests"


@dataclass(frozen=True, slots=True)
class RowLocator:
    """Names rows in messages: the file, and how to say where row i is."""

    file: str
    describe: Callable[[int], str]

    def fail(self, column: str, row: int, got: object, expected: str, remedy: str = REMEDY) -> NoReturn:
        """Raise the TraceError of one offending row."""
        raise TraceError(
            f"{self.file}: column {column}, {self.describe(row)}: "
            f"got {printable(got, 80)}, expected {expected}; {remedy}"
        )


def check_signal(name: str, values: NDArray[np.float32], locator: RowLocator) -> NDArray[np.float32]:
    """``values`` [n, K] if finite and inside the column's domain; rounding excess is clipped off."""
    low, high = domain(name)
    if values.size == 0:
        return values
    least, most = values.min(), values.max()  # both NaN if any value is
    if low <= least and most <= high and np.isfinite(least) and np.isfinite(most):
        return values
    slack = PROBABILITY_TOLERANCE
    fine = np.isfinite(values) & (values >= low - slack) & (values <= high + slack)
    if not fine.all():
        row, depth = divmod(int(np.argmin(fine)), values.shape[1])
        expected = "a finite number" if low == -np.inf else f"a number in [{low:g}, {high:g}]"
        locator.fail(f"{name} (depth {depth + 1})", row, values[row, depth], expected, "record the column again")
    return np.clip(values, low, high)


def check_num_accepted(values: NDArray[Any], num_speculative_tokens: int, locator: RowLocator) -> None:
    """Every recorded accepted length lies in 0..K."""
    if values.size and not (values.min() >= 0 and values.max() <= num_speculative_tokens):
        row = int(np.argmax((values < 0) | (values > num_speculative_tokens)))
        locator.fail(NUM_ACCEPTED, row, values[row], f"an integer in 0..{num_speculative_tokens}", "record it again")


def check_request_id(request_id: str, file: str) -> None:
    """Request ids are non-empty and of bounded length."""
    if not request_id or len(request_id) > MAX_REQUEST_ID_CHARS:
        raise TraceError(
            f"{file}: request id {printable(request_id, 40)!r} has {len(request_id)} characters, "
            f"expected 1 to {MAX_REQUEST_ID_CHARS}; give the request a shorter id"
        )


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
            locator.fail(REQUEST_ID, row, "the same id for two requests", "ids that occur once", "rename one of them")
        expected = 0 if new_id[row] else previous[row] + 1
        locator.fail(POSITION, row, rows.position[row], f"{expected} (positions 0, 1, 2, ... within a request)")

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
        row = next(row for row, name in zip(starts, ids, strict=True) if name in met or met.add(name))
        locator.fail(
            REQUEST_ID, int(row), "an id that occurred before", "the rows of a request next to each other",
            "sort the rows by request, or rename one of the requests",
        )  # fmt: skip


def _changes(texts: Any, before: str | None) -> NDArray[np.bool_]:
    """Where a dictionary-encoded text differs from the row above; ``before`` is above the first."""
    codes = texts.indices.to_numpy(zero_copy_only=False)
    changed = np.empty(len(codes), np.bool_)
    changed[0] = texts[0].as_py() != before
    np.not_equal(codes[1:], codes[:-1], out=changed[1:])
    return changed


def _texts_at(texts: Any, rows: NDArray[np.int64]) -> list[str]:
    found: list[str] = pc.take(texts.dictionary, pc.take(texts.indices, pa.array(rows))).to_pylist()
    return found


def check_trace(trace: TokenTrace, file: str) -> None:
    """A TokenTrace in memory obeys the rules of the file; TraceError names ``file`` and the row."""
    k, bounds = trace.num_speculative_tokens, trace.first_position
    if trace.num_requests == 0 or len(bounds) != trace.num_requests + 1 or bounds[0] != 0:
        raise TraceError(f"{file}: the trace holds no requests or its bounds do not fit them; {REMEDY}")
    if (np.diff(bounds) < 1).any():
        empty = trace.request_ids[int(np.argmax(np.diff(bounds) < 1))]
        raise TraceError(f'{file}: request "{printable(empty, 60)}" has no output positions; leave it out')
    for request_id in trace.request_ids:
        check_request_id(request_id, file)
    columns = signal_columns(trace)
    for name in trace.observable.signals:
        if not is_signal_name(name):
            raise TraceError(f"{file}: {printable(name, 60)!r} cannot name a signal; use letters, digits and _")
    for name, values in columns.items():
        if values.shape != (trace.num_positions, k):
            raise TraceError(
                f"{file}: column {name} has shape {values.shape}, expected {(trace.num_positions, k)}; record it again"
            )
    if trace.target.num_accepted.shape != (trace.num_positions,):
        raise TraceError(f"{file}: column {NUM_ACCEPTED} does not hold one value per position; record it again")
    if trace.num_prompt_tokens.min() < 0 or (trace.num_prompt_tokens + np.diff(bounds)).max() > MAX_CONTEXT_TOKENS:
        raise TraceError(f"{file}: column {NUM_CONTEXT_TOKENS}: a request leaves 0..{MAX_CONTEXT_TOKENS}; leave it out")

    def describe(row: int) -> str:
        request = int(np.searchsorted(bounds, row, side="right")) - 1
        return f'request "{printable(trace.request_ids[request], 60)}", position {row - bounds[request]}'

    locator = RowLocator(file, describe)
    check_num_accepted(trace.target.num_accepted, k, locator)
    for name, values in columns.items():
        check_signal(name, values, locator)


def signal_columns(trace: TokenTrace) -> dict[str, NDArray[np.float32]]:
    """All [T, K] columns of both halves in file order: observable signals first, target columns last."""
    target = {"accept_prob": trace.target.accept_prob, "target_overlap": trace.target.target_overlap}
    return {
        **{name: trace.observable.signals[name] for name in sorted(trace.observable.signals)},
        **{name: values for name, values in target.items() if values is not None},
    }
