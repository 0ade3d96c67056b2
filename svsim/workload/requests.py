"""One workload of requests, whatever file it came from: columns with checked units.

Words
-----
arrival_s           seconds from the start of the clock at which a request arrives. NaN: it is a later turn
                    of a session and follows the turn before by ``delay_s``.
session             requests of one conversation, in order; a turn is sent after the turn before has ended.
num_cached_tokens   leading prompt tokens that an endless prefix cache would hold already when the request
                    is the next in the file: whole blocks, at most the prompt less one token. An upper
                    bound: what a server really holds is the engine's to say.
hash_ids            one id per block of ``block_size`` prompt tokens; equal ids at equal places are equal
                    prefixes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError, printable

MAX_TOKENS = 10_000_000  # of one prompt or one output; more is a column of another meaning
MAX_SPAN_S = 366 * 86_400.0  # longer recordings are milliseconds read as seconds
MAX_REQUESTS = 20_000_000


@dataclass(frozen=True, slots=True)
class RequestWorkload:
    """R requests in order of arrival.

    arrival_s: float64 [R], NaN for a turn that follows another; num_prompt_tokens, num_output_tokens:
    int64 [R], at least 1; tasks, session_ids: [R] texts or None; delay_s: float64 [R] seconds after the
    end of the session's turn before, NaN where there is none, or None; num_cached_tokens: int64 [R] or
    None; hash_ids: [R] block ids or None, of ``block_size`` tokens; source: format, file, what was left
    out. Raises InputError naming the first request that breaks a rule.
    """

    arrival_s: NDArray[np.float64]
    num_prompt_tokens: NDArray[np.int64]
    num_output_tokens: NDArray[np.int64]
    tasks: tuple[str, ...] | None = None
    session_ids: tuple[str, ...] | None = None
    delay_s: NDArray[np.float64] | None = None
    num_cached_tokens: NDArray[np.int64] | None = None
    hash_ids: tuple[tuple[int, ...], ...] | None = None
    block_size: int | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_times(self)
        for name in ("num_prompt_tokens", "num_output_tokens"):
            values = getattr(self, name)
            wrong = (values < 1) | (values > MAX_TOKENS)
            if wrong.any():
                r = int(np.argmax(wrong))
                raise InputError(
                    f"workload, request {r}: {name} is {values[r]}, expected 1 to {MAX_TOKENS:,}; mend it"
                )

    @property
    def num_requests(self) -> int:
        """R."""
        return len(self.arrival_s)

    @property
    def duration_s(self) -> float:
        """Seconds from 0 to the last known arrival."""
        known = self.arrival_s[np.isfinite(self.arrival_s)]
        return float(known[-1]) if len(known) else 0.0

    @property
    def rate(self) -> float | None:
        """Mean requests per second between the first and the last known arrival; None without a gap."""
        known = self.arrival_s[np.isfinite(self.arrival_s)]
        span = float(known[-1] - known[0]) if len(known) else 0.0
        return (len(known) - 1) / span if span > 0 else None

    def describe(self) -> str:
        """One line: how many, how long, how fast. Lets a person see a wrong unit."""
        rate = "all at once" if self.rate is None else f"{self.rate:.3g} requests/s"
        return (
            f"{self.num_requests:,} requests in {self.duration_s:,.1f} s ({rate}), "
            f"mean prompt {self.num_prompt_tokens.mean():,.0f} and output "
            f"{self.num_output_tokens.mean():,.0f} tokens"
        )


def cached_prefix_tokens(
    hash_ids: Sequence[Sequence[int]], block_size: int, num_prompt_tokens: NDArray[np.int64]
) -> NDArray[np.int64]:
    """What an endless prefix cache holds of each prompt when the requests before have run, int64 [R].

    Counts leading blocks whose id was seen in an earlier request; at most the prompt less one token,
    cut to whole blocks (the last token is always computed).
    """
    seen: set[int] = set()
    found = np.zeros(len(hash_ids), np.int64)
    for r, ids in enumerate(hash_ids):
        hits = 0
        while hits < len(ids) and ids[hits] in seen:
            hits += 1
        found[r] = min(hits, (int(num_prompt_tokens[r]) - 1) // block_size) * block_size
        seen.update(ids)
    return found


def _check_shapes(w: RequestWorkload) -> None:
    if not 1 <= w.num_requests <= MAX_REQUESTS:
        raise InputError(f"workload: {w.num_requests} requests, expected 1 to {MAX_REQUESTS:,}; give another")
    columns: dict[str, Any] = {
        "num_prompt_tokens": w.num_prompt_tokens,
        "num_output_tokens": w.num_output_tokens,
        "tasks": w.tasks,
        "session_ids": w.session_ids,
        "delay_s": w.delay_s,
        "num_cached_tokens": w.num_cached_tokens,
        "hash_ids": w.hash_ids,
    }
    for name, column in columns.items():
        if column is not None and len(column) != w.num_requests:
            raise InputError(f"workload: {name} holds {len(column)} values for {w.num_requests} requests")
    if (w.hash_ids is None) != (w.block_size is None):
        raise InputError("workload: hash_ids and block_size go together; give both or neither")


def _check_times(w: RequestWorkload) -> None:
    """Arrivals are finite, in order and plausible; a turn without one has a delay and a turn before."""
    known = np.isfinite(w.arrival_s)
    times = w.arrival_s[known]
    rows = np.flatnonzero(known)
    if len(times) and times.min() < 0:
        r = int(rows[np.argmax(times < 0)])
        raise InputError(f"workload, request {r}: arrival_s is {w.arrival_s[r]:g}, expected at least 0")
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        r = int(rows[back[0] + 1])
        raise InputError(
            f"workload, request {r}: arrives at {w.arrival_s[r]:g} s, before the request in front of it; "
            "sort the requests by arrival"
        )
    if len(times) and times[-1] > MAX_SPAN_S:
        raise InputError(
            f"workload: the last request arrives after {times[-1]:g} s, more than a year; check the unit"
        )
    if w.delay_s is not None and (w.delay_s[np.isfinite(w.delay_s)] < 0).any():
        raise InputError("workload: a delay_s is negative, expected at least 0; mend it")
    seen: set[str] = set()
    for r in range(w.num_requests) if not known.all() or w.session_ids else ():
        session = w.session_ids[r] if w.session_ids else None
        if not known[r]:
            follows = session is not None and session in seen
            if not follows or w.delay_s is None or not np.isfinite(w.delay_s[r]):
                raise InputError(
                    f"workload, request {r}: has no arrival time; expected one, or a session "
                    f"({printable(session, 40)}) with an earlier turn and a delay"
                )
        if session is not None:
            seen.add(session)
