"""Profile and evaluation parts of a trace, in memory or read from the file chunk by chunk.

A trace of up to IN_MEMORY_POSITIONS is loaded whole. A longer one is streamed: the split then decides
request by request, and memory stays flat however long the file is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError
from svsim.trace.file import TraceReader
from svsim.trace.split import profile_mask, profile_mask_by_threshold
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata

IN_MEMORY_POSITIONS = 1 << 21
CHUNK_POSITIONS = 1 << 19
MAX_PROFILE_POSITIONS = 1 << 20  # of a streamed trace: more would not change a belief


@dataclass(frozen=True, slots=True)
class Needed:
    """The [T, K] columns that a run reads."""

    signals: tuple[str, ...]
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationPart:
    """The requests that are replayed.

    context_range: smallest and largest context of any position; context_mean and context_deviation:
    over all positions. ``chunks()`` starts a new pass over traces of whole requests (one chunk if the
    part is in memory).
    """

    metadata: TraceMetadata
    num_requests: int
    num_positions: int
    context_range: tuple[int, int]
    context_mean: float
    context_deviation: float
    chunks: Callable[[], Iterator[TokenTrace]]
    in_memory: bool

    @classmethod
    def of(cls, trace: TokenTrace) -> "EvaluationPart":
        """A part that is one trace in memory."""
        low, high = _context_range(trace)
        mean, deviation = _moments(trace.num_positions, _context_sums(trace))
        return cls(
            trace.metadata,
            trace.num_requests,
            trace.num_positions,
            (low, high),
            mean,
            deviation,
            lambda: iter((trace,)),
            True,
        )


@dataclass(frozen=True, slots=True)
class MemorySource:
    """A trace that is in memory already."""

    trace: TokenTrace

    @property
    def metadata(self) -> TraceMetadata:
        """Provenance of the trace."""
        return self.trace.metadata

    @property
    def step_times(self) -> Mapping[str, NDArray[Any]] | None:
        """Step times of the trace, if any."""
        return self.trace.step_times

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the observable columns."""
        return tuple(self.trace.observable.signals)

    @property
    def has_accept_prob(self) -> bool:
        """Whether acceptance probabilities were recorded."""
        return self.trace.target.accept_prob is not None

    def split(self, share: float, seed: int, needed: Needed) -> tuple[TokenTrace | None, EvaluationPart]:
        """(profile part or None, evaluation part): a share of every task; everything if share is 0."""
        trace = self.trace
        if share == 0:
            return None, EvaluationPart.of(trace)
        mask = profile_mask(trace.request_ids, trace.tasks, share, seed)
        if mask.all() or not mask.any():
            raise _empty_part(share, trace.num_requests)
        slim = _slim(trace, needed)
        return slim.select(np.flatnonzero(mask)), EvaluationPart.of(slim.select(np.flatnonzero(~mask)))


@dataclass(frozen=True, slots=True)
class FileSource:
    """A trace file: loaded with the needed columns if short, else read chunk by chunk, again and again.

    models: in the place of those that the file's metadata names; None: as it says.
    """

    reader: TraceReader
    models: Mapping[str, Any] | None = None

    @property
    def metadata(self) -> TraceMetadata:
        """Provenance of the trace."""
        about = self.reader.metadata
        return about if self.models is None else replace(about, models=self.models)

    @property
    def step_times(self) -> Mapping[str, NDArray[Any]] | None:
        """Step times of the trace, if any."""
        return self.reader.step_times

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the observable columns."""
        return self.reader.signals

    @property
    def has_accept_prob(self) -> bool:
        """Whether acceptance probabilities were recorded."""
        return "accept_prob" in self.reader.target_columns

    def split(self, share: float, seed: int, needed: Needed) -> tuple[TokenTrace | None, EvaluationPart]:
        """As in memory; of a long file, deciding by a hash of each request's id, and a capped profile."""
        if self.reader.num_positions <= IN_MEMORY_POSITIONS:
            return MemorySource(next(self._read(needed, self.reader.num_positions))).split(
                share, seed, needed
            )
        profile = self._profile(share, seed, needed) if share else None
        requests, positions, low, high = 0, 0, np.iinfo(np.int64).max, 0
        sums = np.zeros(2)
        for chunk in self._evaluation_chunks(share, seed, Needed((), ())):
            first, last = _context_range(chunk)
            low, high = min(low, first), max(high, last)
            requests += chunk.num_requests
            positions += chunk.num_positions
            sums += _context_sums(chunk)
        if requests == 0:
            raise _empty_part(share, requests)
        part = EvaluationPart(
            self.metadata,
            requests,
            positions,
            (int(low), high),
            *_moments(positions, sums),
            lambda: self._evaluation_chunks(share, seed, needed),
            False,
        )
        return profile, part

    def _read(self, needed: Needed, positions: int | None = None) -> Iterator[TokenTrace]:
        chunks = self.reader.iter_chunks(
            min_positions=positions or CHUNK_POSITIONS,
            signals=needed.signals,
            target_columns=needed.target_columns,
        )
        return (replace(chunk, metadata=self.metadata) for chunk in chunks)

    def _evaluation_chunks(self, share: float, seed: int, needed: Needed) -> Iterator[TokenTrace]:
        for chunk in self._read(needed):
            mask = profile_mask_by_threshold(chunk.request_ids, share, seed)
            if not mask.all():
                yield chunk.select(np.flatnonzero(~mask)) if mask.any() else chunk

    def _profile(self, share: float, seed: int, needed: Needed) -> TokenTrace:
        """The first profile requests of the file, up to MAX_PROFILE_POSITIONS."""
        parts: list[TokenTrace] = []
        for chunk in self._read(needed):
            mask = profile_mask_by_threshold(chunk.request_ids, share, seed)
            parts.append(chunk.select(np.flatnonzero(mask)))
            if sum(p.num_positions for p in parts) >= MAX_PROFILE_POSITIONS:
                break
        joined = concatenate(parts)
        if joined.num_requests == 0:
            raise _empty_part(share, 0)
        return joined


Source = MemorySource | FileSource


def _slim(trace: TokenTrace, needed: Needed) -> TokenTrace:
    """The trace with the needed columns only."""
    target = trace.target
    return replace(
        trace,
        observable=ObservableColumns({n: trace.observable.signals[n] for n in needed.signals}),
        target=TargetColumns(
            target.num_accepted, target.accept_prob if "accept_prob" in needed.target_columns else None
        ),
    )


def concatenate(traces: Sequence[TokenTrace]) -> TokenTrace:
    """Traces of the same columns, one after another."""
    offsets = np.cumsum([0, *(t.num_positions for t in traces)])
    first = [t.first_position[:-1] + offset for t, offset in zip(traces, offsets, strict=False)]
    head = traces[0]

    def joined(column: str) -> NDArray[np.float32] | None:
        parts = [getattr(t.target, column) for t in traces]
        return None if parts[0] is None else np.concatenate(parts)

    return replace(
        head,
        request_ids=tuple(i for t in traces for i in t.request_ids),
        first_position=np.concatenate([*first, offsets[-1:]]).astype(np.int64),
        num_prompt_tokens=np.concatenate([t.num_prompt_tokens for t in traces]),
        observable=ObservableColumns(
            {
                name: np.concatenate([t.observable.signals[name] for t in traces])
                for name in head.observable.signals
            }
        ),
        target=TargetColumns(
            np.concatenate([t.target.num_accepted for t in traces]),
            joined("accept_prob"),
            joined("target_overlap"),
        ),
        tasks=None if head.tasks is None else tuple(name for t in traces for name in t.tasks or ()),
    )


def _context_range(trace: TokenTrace) -> tuple[int, int]:
    if trace.num_requests == 0:
        return np.iinfo(np.int64).max, 0
    last = trace.num_prompt_tokens + trace.num_output_tokens - 1
    return int(trace.num_prompt_tokens.min()), int(last.max())


def _context_sums(trace: TokenTrace) -> NDArray[np.float64]:
    """Sum and sum of squares of the context over all positions (prompt + 0, 1, ... of each request), [2]."""
    prompt, n = trace.num_prompt_tokens.astype(np.float64), trace.num_output_tokens.astype(np.float64)
    ranks, squares = n * (n - 1) / 2, (n - 1) * n * (2 * n - 1) / 6
    total = n * prompt + ranks
    return np.array([total.sum(), (n * prompt**2 + 2 * prompt * ranks + squares).sum()])


def _moments(count: int, sums: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation from the sums over ``count`` values."""
    mean, mean_square = (sums / max(count, 1)).tolist()
    return mean, max(mean_square - mean**2, 0.0) ** 0.5


def _empty_part(share: float, num_requests: int) -> InputError:
    return InputError(
        f"a profile split of {share:g} leaves one part of {num_requests} requests empty; "
        "use a longer trace or another `profile_split`"
    )
