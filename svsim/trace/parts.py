"""Profile and evaluation parts of a trace, in memory or read from the file chunk by chunk.

A trace of up to IN_MEMORY_POSITIONS is loaded whole. A longer one is streamed, and memory stays flat but for
some bytes a request. The parts are the same either way, and come in the same chunks: so do all numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError
from svsim.trace.file import TraceReader
from svsim.trace.split import lowest_ranks, profile_mask, request_ranks
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata

IN_MEMORY_POSITIONS = 1 << 21
CHUNK_POSITIONS = 1 << 19
MAX_PROFILE_POSITIONS = 1 << 20  # more would not change a belief


@dataclass(frozen=True, slots=True)
class Needed:
    """The list columns that a run reads."""

    signals: tuple[str, ...]
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationPart:
    """The requests that are replayed.

    context_range: smallest and largest context of any position; context_mean and context_deviation:
    over all positions. ``chunks()`` starts a new pass over whole requests, CHUNK_POSITIONS or a little more
    at a time; ``trace``: all of them, if they are in memory.
    """

    metadata: TraceMetadata
    num_requests: int
    num_positions: int
    context_range: tuple[int, int]
    context_mean: float
    context_deviation: float
    chunks: Callable[[], Iterator[TokenTrace]]
    trace: TokenTrace | None

    @classmethod
    def of(cls, trace: TokenTrace) -> "EvaluationPart":
        """A part that is one trace in memory."""
        sizes = trace.num_prompt_tokens, trace.num_output_tokens
        return cls(
            trace.metadata,
            trace.num_requests,
            trace.num_positions,
            _context_range(*sizes),
            *_moments(trace.num_positions, _context_sums(*sizes)),
            lambda: _in_chunks(iter((trace,))),
            trace,
        )

    @property
    def in_memory(self) -> bool:
        """Whether all of it is in memory."""
        return self.trace is not None

    @property
    def is_one_chunk(self) -> bool:
        """Whether a pass over it has a single chunk for sure."""
        return self.num_positions <= CHUNK_POSITIONS


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
    def target_columns(self) -> tuple[str, ...]:
        """Names of the target's list columns that can be loaded."""
        target = self.trace.target
        known = (("accept_prob", target.accept_prob), ("target_overlap", target.target_overlap))
        return (*(name for name, values in known if values is not None), *target.outcomes)

    def split(self, share: float, seed: int, needed: Needed) -> tuple[TokenTrace | None, EvaluationPart]:
        """(profile part or None, evaluation part): a share of every task; everything if share is 0."""
        trace = self.trace
        if share == 0:
            return None, EvaluationPart.of(trace)
        mask = profile_mask(trace.request_ids, trace.tasks, share, seed)
        if mask.all() or not mask.any():
            raise _empty_part(share, trace.num_requests)
        slim = _slim(trace, needed)
        profile = _first_of(trace.num_output_tokens, np.flatnonzero(mask))
        return slim.select(profile), EvaluationPart.of(slim.select(np.flatnonzero(~mask)))


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
    def target_columns(self) -> tuple[str, ...]:
        """Names of the target's list columns that can be loaded."""
        return self.reader.target_columns

    def split(self, share: float, seed: int, needed: Needed) -> tuple[TokenTrace | None, EvaluationPart]:
        """As in memory; a long file is read once for its requests, and again in every pass."""
        if self.reader.num_positions <= IN_MEMORY_POSITIONS:
            return MemorySource(next(self._read(needed, self.reader.num_positions))).split(
                share, seed, needed
            )
        sizes = _RequestSizes.of(self._read(Needed((), ())), seed)
        mask = lowest_ranks(sizes.ranks, sizes.labels, share)
        if mask.all() or (share and not mask.any()):
            raise _empty_part(share, len(mask))
        profile = None
        if share:
            chosen = _first_of(sizes.num_output_tokens, np.flatnonzero(mask))
            profile = concatenate(list(self._selected(np.isin(np.arange(len(mask)), chosen), needed)))
        prompts, outputs = sizes.num_prompt_tokens[~mask], sizes.num_output_tokens[~mask]
        positions = int(outputs.sum())
        part = EvaluationPart(
            self.metadata,
            len(outputs),
            positions,
            _context_range(prompts, outputs),
            *_moments(positions, _context_sums(prompts, outputs)),
            lambda: _in_chunks(self._selected(~mask, needed)),
            None,
        )
        return profile, part

    def _read(self, needed: Needed, positions: int | None = None) -> Iterator[TokenTrace]:
        chunks = self.reader.iter_chunks(
            min_positions=positions or CHUNK_POSITIONS,
            signals=needed.signals,
            target_columns=needed.target_columns,
        )
        return (replace(chunk, metadata=self.metadata) for chunk in chunks)

    def _selected(self, mask: NDArray[np.bool_], needed: Needed) -> Iterator[TokenTrace]:
        """The requests of a mask over the whole file, in its order; reading ends with the last of them."""
        first, end = 0, int(np.flatnonzero(mask)[-1]) + 1
        for chunk in self._read(needed):
            chosen = np.flatnonzero(mask[first : first + chunk.num_requests])
            first += chunk.num_requests
            if len(chosen):
                yield chunk if len(chosen) == chunk.num_requests else chunk.select(chosen)
            if first >= end:
                return


Source = MemorySource | FileSource


def _slim(trace: TokenTrace, needed: Needed) -> TokenTrace:
    """The trace with the needed columns only."""
    target = trace.target
    return replace(
        trace,
        observable=ObservableColumns({n: trace.observable.signals[n] for n in needed.signals}),
        target=TargetColumns(
            target.num_accepted,
            target.accept_prob if "accept_prob" in needed.target_columns else None,
            outcomes={n: s for n, s in target.outcomes.items() if n in needed.target_columns},
        ),
    )


def concatenate(traces: Sequence[TokenTrace]) -> TokenTrace:
    """Traces of the same columns, one after another."""
    if len(traces) == 1:
        return traces[0]
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
            outcomes={
                name: np.concatenate([t.target.outcomes[name] for t in traces])
                for name in head.target.outcomes
            },
        ),
        tasks=None if head.tasks is None else tuple(name for t in traces for name in t.tasks or ()),
    )


@dataclass(frozen=True, slots=True)
class _RequestSizes:
    """What a split needs of every request of a file, [R] each: a rank, a number for its task, its tokens."""

    ranks: NDArray[np.uint64]
    labels: NDArray[np.int64]
    num_prompt_tokens: NDArray[np.int32]
    num_output_tokens: NDArray[np.int64]

    @classmethod
    def of(cls, chunks: Iterator[TokenTrace], seed: int) -> "_RequestSizes":
        ranks, labels, prompts, outputs = [], [], [], []
        label_of: dict[str, int] = {}
        for chunk in chunks:
            ranks.append(request_ranks(chunk.request_ids, seed))
            tasks = chunk.tasks or ("",) * chunk.num_requests
            labels.append(np.array([label_of.setdefault(task, len(label_of)) for task in tasks], np.int64))
            prompts.append(chunk.num_prompt_tokens)
            outputs.append(chunk.num_output_tokens)
        return cls(*map(np.concatenate, (ranks, labels, prompts, outputs)))  # type: ignore[arg-type]


def _first_of(num_output_tokens: NDArray[np.int64], requests: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first of ``requests``, until they hold MAX_PROFILE_POSITIONS."""
    before = np.cumsum(num_output_tokens[requests]) - num_output_tokens[requests]
    return requests[before < MAX_PROFILE_POSITIONS]


def _in_chunks(pieces: Iterator[TokenTrace]) -> Iterator[TokenTrace]:
    """The requests of all pieces in chunks, each ending as soon as it holds CHUNK_POSITIONS."""
    held: list[TokenTrace] = []
    for piece in pieces:
        first = 0
        for end in _chunk_ends(piece.first_position, sum(trace.num_positions for trace in held)):
            yield concatenate([*held, _slice(piece, first, end)])
            first, held = end, []
        if first < piece.num_requests:
            held.append(_slice(piece, first, piece.num_requests))
    if held:
        yield concatenate(held)


def _chunk_ends(first_position: NDArray[np.int64], num_held: int) -> Iterator[int]:
    """One past the last request of every chunk that ends in a piece, ``num_held`` positions before it."""
    start = -num_held
    while (last := int(np.searchsorted(first_position[1:], start + CHUNK_POSITIONS))) < len(
        first_position
    ) - 1:
        yield last + 1
        start = int(first_position[last + 1])


def _slice(trace: TokenTrace, first: int, end: int) -> TokenTrace:
    return trace if (first, end) == (0, trace.num_requests) else trace.select(np.arange(first, end))


def _context_range(
    num_prompt_tokens: NDArray[np.int32], num_output_tokens: NDArray[np.int64]
) -> tuple[int, int]:
    return int(num_prompt_tokens.min()), int((num_prompt_tokens + num_output_tokens - 1).max())


def _context_sums(
    num_prompt_tokens: NDArray[np.int32], num_output_tokens: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum and sum of squares of the context over all positions (prompt + 0, 1, ... of each request), [2]."""
    prompt, n = num_prompt_tokens.astype(np.float64), num_output_tokens.astype(np.float64)
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
