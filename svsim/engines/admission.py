"""Admission: which request a free slot takes next, where it starts, and which requests are measured.

Words
-----
queue     requests in the order of admission, without an end: a warm-up, then cycle after cycle.
place     a number in the queue, from 0 on.
warm-up   the first 2 B places of B slots: one permutation of the requests, over and over.
stagger   the first sequence of each slot starts at a random point of its request, as in a server that has
          run for long: else slots would end together, in waves.
cycle     one pass over the evaluation part, each in a permutation of its own, or in the order of the file.
stretch   the part of the queue that a loop is handed at once: a chunk of the evaluation part, or some cycles
          of a part of one chunk. A loop that has used it up asks for the next; what runs is carried over.
          Cycles are shuffled within chunks, so that a file need not fit in memory.
measured  the places of the cycles that count, from admission to the last token; then others run on, so
          that the batch is full to the end.

``Admission`` makes the queue in NumPy, once per stretch; the compiled functions below take from it, once
per sequence. A slot that ended is given the next request at once, the last slot first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.engines.step import NUM_FINISHED
from svsim.random_streams import RandomStreams
from svsim.trace.parts import EvaluationPart
from svsim.trace.token_trace import TokenTrace

WARM_UP_PER_SLOT = 2
MIN_POSITIONS = 400_000  # a short trace is cycled until about this many positions were passed
MAX_CYCLES = 16
REQUESTS_PER_STRETCH = 1 << 16  # short cycles are handed to the compiled loop together

Order = NDArray[np.int64]


class Requests(NamedTuple):
    """The requests of a stretch, [R] each.

    first, end: rows of the trace that are decoded; num_context_tokens: context at the first row;
    num_tokens: output tokens credited when it finishes; prefill_s: seconds to prefill it (0 if
    excluded); group: the row of the tallies it counts in.
    """

    first: NDArray[np.int64]
    end: NDArray[np.int64]
    num_context_tokens: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    prefill_s: NDArray[np.float64]
    group: NDArray[np.int64]


class Queue(NamedTuple):
    """A stretch of the queue of B slots, and how far it is used up.

    order: int64 [Q], requests of this stretch. skips: float64 [B], the share of its request that each
    slot's first sequence skips. measured: int64 [2], the first measured place and the one past the last.
    progress: int64 [3], see below.
    """

    order: Order
    skips: NDArray[np.float64]
    measured: NDArray[np.int64]
    progress: NDArray[np.int64]


# progress: places taken of the whole queue, places taken of this stretch, measured sequences that ended
PLACE, TAKEN, NUM_DONE = 0, 1, 2


def new_queue(skips: NDArray[np.float64], measured: tuple[int, int], order: Order | None = None) -> Queue:
    """A queue that nothing was taken from."""
    first = np.zeros(0, np.int64) if order is None else order
    return Queue(first, skips, np.array(measured, np.int64), np.zeros(3, np.int64))


def next_stretch(queue: Queue, order: Order) -> Queue:
    """The queue going on with ``order``."""
    queue.progress[TAKEN] = 0
    return queue._replace(order=order)


@compiled()
def free_slot(queue, batch):  # type: ignore[no-untyped-def]
    """The slot of the next request: one that was never filled, else the last that ended; -1: none is free."""
    if queue.progress[PLACE] < queue.skips.size:
        return queue.progress[PLACE]
    num_ended = batch.counters[NUM_FINISHED]
    return batch.finished[num_ended - 1] if num_ended > 0 else np.int64(-1)


@compiled()
def is_used_up(queue):  # type: ignore[no-untyped-def]
    """Whether the next request lies beyond this stretch."""
    return queue.progress[TAKEN] >= queue.order.size


@compiled()
def is_done(queue):  # type: ignore[no-untyped-def]
    """Whether every measured sequence has ended."""
    return queue.progress[NUM_DONE] >= queue.measured[1] - queue.measured[0]


@compiled()
def is_measured(queue):  # type: ignore[no-untyped-def]
    """Whether the next request is measured."""
    return queue.measured[0] <= queue.progress[PLACE] < queue.measured[1]


@compiled()
def num_skipped(queue, num_rows):  # type: ignore[no-untyped-def]
    """Of the ``num_rows`` of the next request, those before its sequence starts."""
    place = queue.progress[PLACE]
    return int(queue.skips[place] * num_rows) if place < queue.skips.size else 0


@compiled()
def take_next(queue):  # type: ignore[no-untyped-def]
    """The next request; its place is taken."""
    request = queue.order[queue.progress[TAKEN]]
    queue.progress[TAKEN] += 1
    queue.progress[PLACE] += 1
    return request


@dataclass(frozen=True, slots=True)
class Stretch:
    """A chunk of the evaluation part, and where it lies there.

    first_request, first_row: numbers in the whole part. cycles: passes over the part in which it is replayed
    now (several, if there is no other chunk). index: of the chunk in its pass. is_new: its columns are not
    those of the last stretch.
    """

    trace: TokenTrace
    first_request: int
    first_row: int
    cycles: range
    index: int
    is_new: bool

    @property
    def is_first(self) -> bool:
        """Whether the queue begins here."""
        return (self.cycles.start, self.index) == (0, 0)

    def requests(
        self,
        offset: int,
        prefill_s: NDArray[np.float64] | None = None,
        num_groups: int = 1,
        num_prefilled: int = 0,
    ) -> Requests:
        """Its requests, whose columns begin ``offset`` rows into those of a loop.

        num_prefilled: output tokens that the prefill emits itself, so that decoding starts behind them.
        """
        trace = self.trace
        return Requests(
            first=trace.first_position[:-1] + offset,
            end=trace.first_position[1:] + offset - num_prefilled,
            num_context_tokens=trace.num_prompt_tokens.astype(np.int64) + num_prefilled,
            num_tokens=trace.num_output_tokens.astype(np.int64),
            prefill_s=np.zeros(trace.num_requests) if prefill_s is None else prefill_s,
            group=(self.first_request + np.arange(trace.num_requests)) % num_groups,
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """Queues over an evaluation part: the same requests in the same order for every method.

    in_file_order: warm-up and cycles keep the order of the file, else they are shuffled. Copies of a request
    (1: none) follow one another.
    """

    part: EvaluationPart
    seed: int
    in_file_order: bool = False
    max_cycles: int = MAX_CYCLES

    @property
    def num_cycles(self) -> int:
        """Passes that are measured: several over a short part."""
        return min(max(1, -(-MIN_POSITIONS // self.part.num_positions)), self.max_cycles)

    def stretches(self) -> Iterator[Stretch]:
        """The evaluation part over and over."""
        if self.part.is_one_chunk:
            trace = next(self.part.chunks())
            together = max(1, min(self.num_cycles, REQUESTS_PER_STRETCH // self.part.num_requests))
            for start in count(0, together):
                yield Stretch(trace, 0, 0, range(start, start + together), 0, start == 0)
        for cycle in count():
            first_request = first_row = 0
            for index, trace in enumerate(self.part.chunks()):
                yield Stretch(trace, first_request, first_row, range(cycle, cycle + 1), index, True)
                first_request += trace.num_requests
                first_row += trace.num_positions

    def queue(self, num_slots: int, copies: int = 1) -> Queue:
        """The queue of ``num_slots`` before its first stretch."""
        skips = RandomStreams(self.seed).generator("stagger").random(num_slots)
        begin = WARM_UP_PER_SLOT * num_slots
        return new_queue(skips, (begin, begin + self.num_cycles * self.part.num_requests * copies))

    def order(self, stretch: Stretch, num_slots: int, copies: int = 1) -> Order:
        """What a stretch adds to the queue of ``num_slots``, the warm-up first, int64 [Q]."""
        order = np.repeat(np.concatenate([self._cycle(stretch, cycle) for cycle in stretch.cycles]), copies)
        if not stretch.is_first:
            return order
        warm_up = np.arange(stretch.trace.num_requests)
        if not self.in_file_order:
            warm_up = RandomStreams(self.seed).generator("warm-up").permutation(warm_up)
        return np.concatenate([np.resize(np.repeat(warm_up, copies), WARM_UP_PER_SLOT * num_slots), order])

    def batches(
        self, stretch: Stretch, num_slots: int, copies: int = 1, num_left: int = 0
    ) -> tuple[Order, Order]:
        """Batches of consecutive requests of the first cycle, int64 [N, B], and those too few for another.

        num_left: requests left over from the stretch before; they are numbered first, and come first.
        """
        order = np.repeat(num_left + self._cycle(stretch, 0), copies)
        order = np.concatenate([np.arange(num_left), order])
        full = len(order) // num_slots * num_slots
        return order[:full].reshape(-1, num_slots), order[full:]

    def _cycle(self, stretch: Stretch, cycle: int) -> Order:
        if self.in_file_order:
            return np.arange(stretch.trace.num_requests)
        rng = RandomStreams(self.seed).generator("order", cycle, stretch.index)
        return rng.permutation(stretch.trace.num_requests).astype(np.int64)


def queue_of_passes(
    num_rows: NDArray[np.int64], num_slots: int, rng: np.random.Generator, of_copies: bool
) -> Queue:
    """A whole queue at once, without stagger, of requests of ``num_rows`` [R]: passes, the last measured.

    They hold MIN_POSITIONS positions, and two requests a slot, or more; those before the last warm up. Then
    more requests keep the batch full. ``of_copies``: as many of each request as there are slots, which end
    together.
    """
    warm_up = WARM_UP_PER_SLOT * num_slots
    rounds = max(-(-MIN_POSITIONS // int(num_rows.sum())), -(-warm_up // len(num_rows)))
    requests = np.concatenate([rng.permutation(len(num_rows)) for _ in range(rounds)]).astype(np.int64)
    measured_from = max(warm_up, (rounds - 1) * len(num_rows))
    if of_copies:
        order, measured_from = np.repeat(requests, num_slots), measured_from * num_slots
    else:
        order = np.concatenate([requests, np.resize(requests, warm_up)])
    return new_queue(np.zeros(num_slots), (measured_from, len(order)), order)
