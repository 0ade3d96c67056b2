"""Rules that decide before the draft, from what earlier steps accepted: followed through whole requests.

Such a controller (SmartSpec, AdaEDL) lives by the order of steps: a poor stretch of a request shortens the
very drafts that pass through it. So no law of visited starts states it; n slots walk through the requests
one after another, as in the replay, and every step is a batch.
"""

import numpy as np
from numba import typeof, types

from svsim.analytic_model.batches import (
    BatchPrices,
    BatchSample,
    new_work,
    no_prices,
    verification_row,
)
from svsim.analytic_model.law import reading
from svsim.analytic_model.prices import Counts
from svsim.analytic_model.walks import Paths, owed_beyond
from svsim.compiled import compiled
from svsim.decoding.method import DecodingMethod
from svsim.decoding.selection_rules import DRAFT_S, LAST_ACCEPTED, LAST_VERIFIED, RULE
from svsim.engines.admission import PLACE, Queue, is_used_up, new_queue, queue_of_passes, take_next
from svsim.engines.program import BoundColumns


def follow_controller(
    method: DecodingMethod,
    columns: BoundColumns,
    paths: Paths,
    prices: BatchPrices,
    num_sequences: int,
    rng: np.random.Generator,
    of_copies: bool = False,
) -> BatchSample:
    """The steps of full batches of ``num_sequences``, or of so many copies of one request."""
    k, num_rows = method.num_speculative_tokens, paths.end - paths.first
    queue = queue_of_passes(num_rows, num_sequences, rng, of_copies)
    most = most_steps(num_rows, queue, num_sequences)
    num_verified, num_catch_up = np.zeros((2, most), np.int64)
    num_drafting = np.zeros((most, k), np.int64)
    lengths = np.full(len(columns.accepted), k, np.uint8)
    warm_up, num_steps = follow_queue(
        method.selection.rule.loaded,
        np.asarray(method.selection.options, np.float64),
        paths,
        columns.survival,
        columns.accepted,
        queue,
        prices,
        int(reading(method)),
        new_work(num_sequences, k),
        np.zeros((3, num_sequences), np.int64),
        num_verified,
        num_catch_up,
        num_drafting,
        lengths,
    )
    steps = slice(warm_up, num_steps)
    unscored = np.zeros_like(num_catch_up[steps])  # such rules run no companion
    return BatchSample(lengths, num_verified[steps], num_catch_up[steps], unscored, num_drafting[steps])


def most_steps(num_rows: Counts, queue: Queue, num_sequences: int) -> int:
    """No more steps than these use a queue up: every step moves every sequence."""
    return int(num_rows[queue.order].sum()) // num_sequences + int(num_rows.max())


@compiled()
def _tell_draft_row(catch_up, knot, up, prices, work):  # type: ignore[no-untyped-def]
    """Tell the rule what drafting 0, 1, ... K tokens of every sequence costs."""
    n, k = work.candidates.shape
    total_s = prices.draft_s[knot, catch_up] * (1.0 - up) + prices.draft_s[knot + 1, catch_up] * up
    later = prices.later_draft_s
    work.memory[DRAFT_S] = 0.0
    for j in range(k):
        if j > 0:
            total_s += later[knot, j, n] * (1.0 - up) + later[knot + 1, j, n] * up
        work.memory[DRAFT_S + j + 1] = total_s


_PATHS, _QUEUE, _PRICES, _WORK, _TWO_COUNTS = map(
    typeof,
    (Paths(*np.zeros((3, 0), np.int64)), new_queue(np.zeros(1), (0, 0)), no_prices(), new_work(1, 1), (0, 0)),
)


@compiled(
    _TWO_COUNTS(
        types.FunctionType(RULE),
        types.float64[::1],
        _PATHS,
        types.uint16[:, ::1],
        types.uint8[::1],
        _QUEUE,
        _PRICES,
        types.int64,
        _WORK,
        types.int64[:, ::1],
        types.int64[::1],
        types.int64[::1],
        types.int64[:, ::1],
        types.uint8[::1],
    )
)
def follow_queue(  # type: ignore[no-untyped-def]
    select, options, paths, survival, accepted, queue, prices, reads, work, slots,
    num_verified, num_catch_up, num_drafting, lengths,
):  # fmt: skip
    """Step n slots until the queue is used up; how many steps warm up (until the first measured request:
    the last pass, whose lengths are kept), and how many there are.

    slots: int64 [3, n], of each: its row, its request, tokens that its drafter owes beyond the last.
    """
    n, k = work.candidates.shape
    position, request, owed = slots[0], slots[1], slots[2]
    for i in range(n):
        request[i] = take_next(queue)
        position[i] = paths.first[request[i]]
    step, warm_up = 0, 0
    while step < num_verified.size:
        catch_up, context = 0, 0
        for i in range(n):
            catch_up += owed[i]
            context += position[i] + paths.context_base[request[i]]
            if survival.shape[0] > 0:
                for d in range(k):
                    work.candidates[i, d] = survival[position[i], d]
        catch_up = min(catch_up, prices.draft_s.shape[1] - 1)
        knot, up = verification_row(context / n, prices, work)
        _tell_draft_row(catch_up, knot, up, prices, work)
        num_verified[step] = select(
            n,
            work.candidates,
            work.verify_s,
            prices.overhead_s,
            options,
            work.memory,
            work.scratch,
            work.lengths,
        )
        num_catch_up[step] = catch_up
        num_accepted = 0
        for i in range(n):
            length, here = work.lengths[i], position[i]
            lengths[here] = length
            kept = min(int(accepted[here]), length)
            num_accepted += kept
            for d in range(length):
                num_drafting[step, d] += 1
            owed[i] = owed_beyond(reads, owed[i], length, kept)
            position[i] = here + kept + 1
        work.memory[LAST_ACCEPTED], work.memory[LAST_VERIFIED] = num_accepted, num_verified[step]
        step += 1
        for i in range(n):
            if position[i] >= paths.end[request[i]]:
                if is_used_up(queue):
                    return warm_up, step
                request[i] = take_next(queue)
                position[i], owed[i] = paths.first[request[i]], 0
                if queue.progress[PLACE] == queue.measured[0]:
                    warm_up = step
    return warm_up, step
