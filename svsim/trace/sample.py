"""A sample of whole requests of a trace of any length, with the sizes of all of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from svsim.trace.parts import IN_MEMORY_POSITIONS, FileSource, Source, concatenate
from svsim.trace.split import request_ranks
from svsim.trace.token_trace import TokenTrace

SAMPLE_POSITIONS = 1 << 20  # of a trace that does not fit in memory, on average
# Another key than any seed of a split: sample and split decide independently.
_SAMPLE_KEY = 2**64 - 1


@dataclass(frozen=True, slots=True)
class RequestSizes:
    """Tokens of every request of the whole trace, [R] each; requests and positions of its tasks."""

    num_prompt_tokens: NDArray[np.int32]
    num_output_tokens: NDArray[np.int64]
    requests_of_task: Counter[str]
    positions_of_task: Counter[str]


@dataclass(frozen=True, slots=True)
class TraceSample:
    """All requests if they fit in memory, else a pseudo-random share of them, in file order."""

    trace: TokenTrace
    sizes: RequestSizes
    is_whole: bool


def sample_requests(source: Source, max_positions: int = IN_MEMORY_POSITIONS) -> TraceSample:
    """The trace with all columns where it has up to ``max_positions``, else about SAMPLE_POSITIONS of it.

    A request is in the sample by a hash of its id: the same requests every time. One pass over the file.
    """
    if not isinstance(source, FileSource):
        return TraceSample(source.trace, _sizes_of(source.trace), True)
    reader = source.reader
    if reader.num_positions <= max_positions:
        trace = next(reader.iter_chunks(min_positions=reader.num_positions))
        trace = replace(trace, metadata=source.metadata)
        return TraceSample(trace, _sizes_of(trace), True)
    threshold = np.uint64(min(SAMPLE_POSITIONS, max_positions) / reader.num_positions * 2.0**64)
    kept, sizes = [], []
    for chunk in reader.iter_chunks():
        sizes.append(_sizes_of(chunk))
        chosen = np.flatnonzero(request_ranks(chunk.request_ids, _SAMPLE_KEY) < threshold)
        if len(chosen):
            kept.append(chunk.select(chosen))
    trace = concatenate(kept or [chunk.select(np.arange(1))])
    return TraceSample(replace(trace, metadata=source.metadata), _join_sizes(sizes), False)


def _sizes_of(trace: TokenTrace) -> RequestSizes:
    requests, positions = Counter(trace.tasks or ()), Counter[str]()
    for task, length in zip(trace.tasks or (), trace.num_output_tokens.tolist(), strict=False):
        positions[task] += length
    return RequestSizes(trace.num_prompt_tokens, trace.num_output_tokens, requests, positions)


def _join_sizes(sizes: Sequence[RequestSizes]) -> RequestSizes:
    return RequestSizes(
        np.concatenate([part.num_prompt_tokens for part in sizes]),
        np.concatenate([part.num_output_tokens for part in sizes]),
        sum((part.requests_of_task for part in sizes), Counter()),
        sum((part.positions_of_task for part in sizes), Counter()),
    )
