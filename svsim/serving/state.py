"""The state of one replica as flat arrays: what the compiled scheduler, step and loop read and write.

Words
-----
out        tokens that a request has emitted; ``prompt + out`` are its tokens.
computed   tokens whose KV is in the cache. In decode it is one less than the tokens.
draft      draft tokens that wait to be verified.
in_flight  new tokens that the step now running computes (asynchronous scheduling plans ahead of them).
live       the table of requests in the system, one row each, in no order; ``running`` and ``waiting``
           hold rows of it, in order of admission and of the queue.
turn       a request that begins when another ends: of a session, or of a user of a closed loop.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# What a request brings, where it stands, and what became of it. A row moves from the coming to the live to
# the done table. What every step touches comes first, and small: it fills two lines of the processor's cache.
REQUEST = np.dtype(
    [
        ("prompt", np.int32),
        ("output", np.int32),
        ("out", np.int32),
        ("draft", np.int32),
        ("computed", np.int32),
        ("in_flight", np.int32),
        ("blocks", np.int32),
        ("planned", np.int32),  # plans that hold it
        ("is_over", np.int32),  # it has ended; it may be planned once more
        ("owed", np.int32),
        ("unscored", np.int32),
        ("carried", np.int32),  # of a parallel pipeline: drafted tokens whose first was accepted
        ("steps", np.int32),
        ("decode_steps", np.int32),
        ("own_tokens", np.int32),  # of those steps that emitted one of the target's own
        ("segment", np.int32),  # of arrival times, see ``Account``
        # acceptance: rows of the trace, see ``acceptance_row``
        ("piece_rows", np.int32),
        ("piece_out", np.int32),
        ("piece_first", np.int64),
        ("last_token_s", np.float64),
        ("accepted", np.int64),
        ("verified", np.int64),
        ("drafted", np.int64),
        ("chain", np.int64),
        ("row", np.int64),  # of the demand
        ("arrival_s", np.float64),
        ("priority", np.int64),
        ("cached", np.int64),  # leading prompt tokens that a prefix cache holds
        ("next_turn", np.int64),  # row of the coming table that follows this one, -1: none
        ("delay_s", np.float64),  # after the end of the turn before
        ("scheduled_s", np.float64),
        ("first_token_s", np.float64),
        ("finish_s", np.float64),
        ("preemptions", np.int64),
    ],
    align=True,
)
Requests = NDArray[np.void]

# counters of a replica
(NUM_RUNNING, FIRST_WAITING, NUM_WAITING, NUM_FREE_ROWS, FREE_BLOCKS, NUM_DONE, NUM_TAKEN, NUM_TURNS,
 NUM_STEPS, NUM_PREEMPTIONS, NUM_CUT, NUM_CHUNK_STEPS, NUM_SEQUENCE_STEPS, PREEMPTED_NOW, PLANNED_A,
 PLANNED_B, NUM_SINCE_PREEMPTION, LARGEST_BATCH, NUM_COUNTERS) = range(19)  # fmt: skip
# columns of the timeline: sums per bucket; the first three are weighted by seconds. The seconds of steps and
# their parts: host (what it adds to a step), drafter, companion, target's verification, target's prompts
(RUNNING_S, WAITING_S, KV_BLOCKS_S, BUSY_S, EMITTED, ACCEPTED, VERIFIED, STEPS, CHUNK_TOKENS, PREEMPTIONS,
 ARRIVED, FINISHED, SEQUENCE_STEPS, HOST_S, DRAFT_S, COMPANION_S, VERIFY_S, PREFILL_S,
 NUM_COLUMNS) = range(19)  # fmt: skip

# gaps between tokens are counted in bins of a quarter of a percent, by when their request arrived
FIRST_GAP_S, GAP_GROWTH, NUM_GAP_BINS = 1e-6, 1.0025, 11_100


class Rules(NamedTuple):
    """How a replica schedules (``serving.md`` of the documentation); enumerations as integers.

    slots: charged per scheduled request to the second token budget. kept_blocks: the watermark.
    """

    order: int
    admission: int
    victim: int
    is_priority: bool
    is_async: bool
    is_prefill_free: bool
    max_num_seqs: int
    max_tokens: int
    block_size: int
    num_blocks: int
    kept_blocks: int
    threshold: int
    reserve_whole: bool
    max_model_len: int
    num_speculative_tokens: int
    lookahead: int
    slots: int


class Plans(NamedTuple):
    """What steps run, int64 [2, rows]: of the step now running, and (asynchronous) of the next."""

    row: Ints
    new: Ints
    drafts: Ints


class Turns(NamedTuple):
    """A heap of turns that begin later: their moments, float64, and their rows of the coming table."""

    moment_s: Floats
    row: Ints


class Pool(NamedTuple):
    """The trace's requests that acceptance is borrowed from: rows of the trace, and an order to go on in."""

    first: Ints
    rows: Ints
    order: Ints


class Account(NamedTuple):
    """What is counted on the way: the timeline [buckets, NUM_COLUMNS] and gaps [segments, NUM_GAP_BINS].

    step_gaps: between the steps of a sequence that emit; token_gaps: the same, shared among the tokens of a
    step. widths: seconds of a bucket and of a segment (of arrival times).
    """

    timeline: Floats
    step_gaps: Ints
    token_gaps: Ints
    widths: Floats


class Replica(NamedTuple):
    """One replica; see the module's words. clock: float64 [1], its present."""

    live: Requests
    free_rows: Ints
    running: Ints
    waiting: Ints
    plans: Plans
    turns: Turns
    done: Requests
    counters: Ints
    clock: Floats
    chunk_new: Ints
    chunk_kv: Floats
    account: Account


class Kept(NamedTuple):
    """What a batch carries from step to step, float64: seconds by part, memory of the rule that selects, and
    of the one that is asked before every draft pass its memory, seats of sequences, news and scratch."""

    clocks: Floats
    rule_memory: Floats
    asked_memory: Floats
    seats: Floats
    news: Floats
    scratch: Floats


def new_replica(
    num_rows: int, num_done: int, num_blocks: int, num_turns: int, account: Account, now_s: float = 0.0
) -> Replica:
    """An empty replica of at most ``num_rows`` requests in the system."""
    counters = np.zeros(NUM_COUNTERS, np.int64)
    counters[NUM_FREE_ROWS], counters[FREE_BLOCKS] = num_rows, num_blocks
    running, waiting, chunk_new = (np.zeros(num_rows, np.int64) for _ in range(3))
    return Replica(
        np.zeros(num_rows, REQUEST),
        np.arange(num_rows)[::-1].copy(),
        running,
        waiting,
        Plans(*(np.zeros((2, num_rows), np.int64) for _ in range(3))),
        Turns(np.zeros(num_turns), np.zeros(num_turns, np.int64)),
        np.zeros(num_done, REQUEST),
        counters,
        np.array([now_s]),
        chunk_new,
        np.zeros(num_rows),
        account,
    )


def new_account(num_buckets: int, bucket_s: float, num_segments: int, segment_s: float) -> Account:
    """Nothing counted yet."""
    steps, tokens = (np.zeros((num_segments, NUM_GAP_BINS), np.int64) for _ in range(2))
    return Account(np.zeros((num_buckets, NUM_COLUMNS)), steps, tokens, np.array([bucket_s, segment_s]))


def larger(replica: Replica, num_rows: int) -> Replica:
    """The same replica with room for more requests."""
    old, counters = len(replica.live), replica.counters
    grown = new_replica(num_rows, len(replica.done), 0, len(replica.turns.row), replica.account)
    grown.live[:old] = replica.live
    grown.running[:old] = replica.running
    places = (counters[FIRST_WAITING] + np.arange(counters[NUM_WAITING])) % old
    grown.waiting[: len(places)] = replica.waiting[places]
    for mine, theirs in zip(grown.plans, replica.plans, strict=True):
        mine[:, :old] = theirs
    free = counters[NUM_FREE_ROWS]
    grown.free_rows[: num_rows - old] = np.arange(old, num_rows)[::-1]
    grown.free_rows[num_rows - old : num_rows - old + free] = replica.free_rows[:free]
    counters[FIRST_WAITING] = 0
    counters[NUM_FREE_ROWS] += num_rows - old
    return grown._replace(turns=replica.turns, done=replica.done, counters=counters, clock=replica.clock)


def stacked(replicas: Sequence[Replica]) -> Replica:
    """The arrays of several replicas one after another, first axis [R]; gaps and widths, which they share,
    as they are. All have as many rows; shorter lists of the done and of turns are lengthened first."""
    account = replicas[0].account

    def joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        length = max(map(len, arrays))
        return np.stack([np.concatenate([a, np.zeros(length - len(a), a.dtype)]) for a in arrays])

    def field(i: int) -> NDArray[Any]:
        return np.stack([one[i] for one in replicas])

    return Replica._make(
        [
            *map(field, range(4)),
            Plans._make(np.stack([one.plans[i] for one in replicas]) for i in range(3)),
            Turns._make(joined([one.turns[i] for one in replicas]) for i in range(2)),
            joined([one.done for one in replicas]),
            *map(field, range(7, 11)),
            account._replace(timeline=np.stack([one.account.timeline for one in replicas])),
        ]
    )


def one_of(fleet: Replica, i: int) -> Replica:
    """Views of replica ``i`` of stacked ones."""
    account = fleet.account
    plans, turns = Plans._make(a[i] for a in fleet.plans), Turns._make(a[i] for a in fleet.turns)
    last = account._replace(timeline=account.timeline[i])
    return Replica._make([*(a[i] for a in fleet[:4]), plans, turns, *(a[i] for a in fleet[6:11]), last])
