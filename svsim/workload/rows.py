"""From the rows of a file to a workload: order, units and lengths, checked with the row's place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from svsim.errors import InputError
from svsim.reading import Record
from svsim.workload.requests import (
    MAX_REQUESTS,
    MAX_SPAN_S,
    MAX_TOKENS,
    RequestWorkload,
    cached_prefix_tokens,
)


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """One request as a file tells it.

    time_s: on the file's own clock, None for a turn that follows another after ``delay_s``; output tokens
    of 0: the request failed, and is left out.
    """

    where: str
    time_s: float | None
    num_prompt_tokens: int
    num_output_tokens: int
    task: str | None = None
    session_id: str | None = None
    delay_s: float | None = None
    num_cached_tokens: int | None = None
    hash_ids: tuple[int, ...] | None = None


def tokens(record: Record, name: str, least: int = 1) -> int:
    """A token count; a number too large for one names the column as of another meaning."""
    return record.integer(name, least, MAX_TOKENS)


@dataclass(frozen=True, slots=True)
class Clock:
    """How a file counts time: the seconds of one unit, and whether its first request is at 0."""

    second: float = 1.0  # seconds per unit
    from_first: bool = True

    def seconds(self, record: Record, name: str) -> float:
        """The time in that field."""
        return record.number(name) * self.second


def workload_of(
    rows: Iterator[WorkloadRow],
    file: str,
    source: dict[str, Any],
    clock: Clock,
    block_size: int | None = None,
    limit: int | None = None,
) -> RequestWorkload:
    """The workload of the rows in their order; ``limit``: of the first so many requests.

    Raises InputError naming the row: time that goes back, a span of more than a year, a turn without
    its session, and a file without a request.
    """
    kept: list[WorkloadRow] = []
    num_left_out = 0
    first: WorkloadRow | None = None
    before: WorkloadRow | None = None
    sessions: set[str] = set()
    for row in rows:
        if limit is not None and len(kept) == limit:
            break
        if row.num_output_tokens == 0:
            num_left_out += 1
            continue
        if len(kept) == MAX_REQUESTS:
            raise InputError(f"{row.where}: more than {MAX_REQUESTS:,} requests; split the file")
        if row.time_s is not None:
            first = first or row
            _check_order(row, before, first, clock)
            before = row
        elif row.session_id not in sessions or row.delay_s is None:
            raise InputError(
                f"{row.where}: has no time of arrival; expected one, or a session with an earlier turn and "
                "a delay"
            )
        if row.session_id is not None:
            sessions.add(row.session_id)
        kept.append(row)
    if not kept:
        told = f" ({num_left_out:,} without output)" if num_left_out else ""
        raise InputError(f"{file}: holds no request{told}; expected at least one row")
    start = first.time_s if clock.from_first and first is not None and first.time_s is not None else 0.0
    about = {**source, "first_time_s": start, "num_without_output": num_left_out}
    return _columns(kept, start, about, block_size)


def _check_order(row: WorkloadRow, before: WorkloadRow | None, first: WorkloadRow, clock: Clock) -> None:
    assert row.time_s is not None and first.time_s is not None
    if before is not None and before.time_s is not None and row.time_s < before.time_s:
        raise InputError(
            f"{row.where}: arrives {before.time_s - row.time_s:g} s before the request in front of it; "
            "sort the file by time"
        )
    span = row.time_s - (first.time_s if clock.from_first else 0.0)
    if span < 0 or span > MAX_SPAN_S:
        raise InputError(
            f"{row.where}: arrives at {span:g} s, expected 0 to {MAX_SPAN_S:,.0f} (a year); is the format, "
            "and with it the unit of time, the right one?"
        )


def _columns(
    rows: list[WorkloadRow], start_s: float, source: dict[str, Any], block_size: int | None
) -> RequestWorkload:
    prompts = np.array([row.num_prompt_tokens for row in rows], np.int64)
    hashes = None
    if block_size is not None and any(row.hash_ids for row in rows):  # without a size they say nothing
        hashes = tuple(row.hash_ids or () for row in rows)
    cached = None
    if any(row.num_cached_tokens is not None for row in rows):
        cached = np.array([row.num_cached_tokens or 0 for row in rows], np.int64)
    elif hashes is not None and block_size is not None:
        cached = cached_prefix_tokens(hashes, block_size, prompts)
    sessions = [row.session_id for row in rows]
    if any(sessions):  # a request of no session is one of its own
        sessions = [name if name is not None else f"request {r}" for r, name in enumerate(sessions)]
    delays = np.array([np.nan if row.delay_s is None else row.delay_s for row in rows])
    return RequestWorkload(
        arrival_s=np.array([np.nan if row.time_s is None else row.time_s - start_s for row in rows]),
        num_prompt_tokens=prompts,
        num_output_tokens=np.array([row.num_output_tokens for row in rows], np.int64),
        tasks=tuple(row.task or "" for row in rows) if any(row.task for row in rows) else None,
        session_ids=tuple(str(name) for name in sessions) if any(sessions) else None,
        delay_s=delays if np.isfinite(delays).any() else None,
        num_cached_tokens=cached,
        hash_ids=hashes,
        block_size=block_size if hashes is not None else None,
        source=source,
    )
