"""One replica from now on to the end of a window: the compiled loop that takes arrivals in by itself.

Between two windows Python hands over the coming requests, takes the done ones, and makes room. A window's end
changes nothing: a step that has begun is finished, and what comes later is not looked at before its time.
"""

from typing import Any

import numpy as np
from numba import typeof, types

from svsim.compiled import compiled
from svsim.decoding.pass_rules import PASS_RULE
from svsim.decoding.selection_rules import RULE
from svsim.engines.program import empty_program
from svsim.engines.step import new_batch
from svsim.serving.chunks import EMPTY_CHUNK_PRICES
from svsim.serving.scheduler import join_queue, plan_step
from svsim.serving.serve import bucket_of, finish_step, new_space, pop_turn, segment_of, start_step
from svsim.serving.state import (
    ARRIVED,
    LARGEST_BATCH,
    NUM_DONE,
    NUM_FREE_ROWS,
    NUM_RUNNING,
    NUM_TAKEN,
    NUM_TURNS,
    NUM_WAITING,
    PLANNED_A,
    PLANNED_B,
    REQUEST,
    WAITING_S,
    Pool,
    Rules,
    new_account,
    new_replica,
)

# why the loop came back
AT_END, NEEDS_ROOM, NEEDS_DRAIN, NEEDS_PRICES, IS_STUCK = range(5)


@compiled()
def _serve_ahead(program, select, ask, batch, space, prices, rules, pool, replica):  # type: ignore[no-untyped-def]
    """Two steps in flight: the next is planned as this one begins."""
    counters, now_s = replica.counters, replica.clock[0]
    started = start_step(program, batch, space, rules, pool, replica, 0)
    plan_step(rules, replica, 1, now_s)
    finish_step(program, select, ask, batch, space, prices, rules, replica, 0, started)
    plans, num = replica.plans, counters[PLANNED_B]
    for place in range(num):
        plans.row[0, place] = plans.row[1, place]
        plans.new[0, place] = plans.new[1, place]
        plans.drafts[0, place] = plans.drafts[1, place]
    counters[PLANNED_A], counters[PLANNED_B] = num, 0


@compiled()
def _take_in(rules, coming, replica, now_s):  # type: ignore[no-untyped-def]
    """Requests and turns that have arrived join the queue in order of time; False: there is no room."""
    counters = replica.counters
    while True:
        place = counters[NUM_TAKEN]
        while place < coming.size and np.isnan(coming[place].arrival_s):  # another request starts it
            place += 1
        counters[NUM_TAKEN] = place
        next_s = coming[place].arrival_s if place < coming.size else np.inf
        turn_s = replica.turns.moment_s[0] if counters[NUM_TURNS] > 0 else np.inf
        if min(next_s, turn_s) > now_s:
            return True
        if counters[NUM_FREE_ROWS] == 0:
            return False
        if turn_s < next_s:
            place = pop_turn(replica)
        else:
            counters[NUM_TAKEN] += 1
        counters[NUM_FREE_ROWS] -= 1
        row = replica.free_rows[counters[NUM_FREE_ROWS]]
        replica.live[row] = coming[place]
        request = replica.live[row]
        request.arrival_s = min(next_s, turn_s)
        request.segment = segment_of(replica.account, request.arrival_s)
        if rules.is_prefill_free and request.out == 0:
            request.computed, request.draft, request.owed = (
                request.prompt - 1,
                rules.num_speculative_tokens,
                1,
            )
        replica.account.timeline[bucket_of(replica, request.arrival_s), ARRIVED] += 1
        # while the last step ran
        replica.account.timeline[bucket_of(replica, now_s), WAITING_S] += now_s - request.arrival_s
        join_queue(replica, row)


@compiled()
def _next_moment_s(coming, replica):  # type: ignore[no-untyped-def]
    """When the next request or turn arrives."""
    counters, place = replica.counters, replica.counters[NUM_TAKEN]
    while place < coming.size and np.isnan(coming[place].arrival_s):
        place += 1
    next_s = coming[place].arrival_s if place < coming.size else np.inf
    return min(next_s, replica.turns.moment_s[0]) if counters[NUM_TURNS] > 0 else next_s


EMPTY_RULES = Rules(0, 0, 0, False, False, False, 1, 1, 1, 1, 0, 0, True, 1, 0, 0, 0)


def _signature() -> tuple[Any, ...]:
    """One for all programs: a rule is called through a pointer, so a new one compiles alone."""
    integers = np.zeros(1, np.int64)
    values = (
        empty_program(),
        new_batch(1, 1),
        new_space(1, 1),
        EMPTY_CHUNK_PRICES,
        EMPTY_RULES,
        Pool(integers, integers, integers),
        np.zeros(1, REQUEST),
        new_replica(1, 1, 1, 1, new_account(1, 1.0, 1, 1.0)),
    )
    program, batch, *others = map(typeof, values)
    return program, types.FunctionType(RULE), types.FunctionType(PASS_RULE), batch, *others, types.float64


@compiled()
def serve(program, select, ask, batch, space, prices, rules, pool, coming, replica, until_s):  # type: ignore[no-untyped-def]
    """Serve until the replica's clock has reached ``until_s``; why it came back.

    coming: requests [C] in order of arrival (turns, which others start, anywhere), those before ``until_s``
    at least. ``counters[NUM_TAKEN]``: how far it was read.
    """
    counters, clock = replica.counters, replica.clock
    while clock[0] < until_s:
        if not _take_in(rules, coming, replica, clock[0]):
            return NEEDS_ROOM
        if counters[PLANNED_A] == 0 and plan_step(rules, replica, 0, clock[0]) == 0:
            if counters[NUM_WAITING] + counters[NUM_RUNNING] > 0:
                return IS_STUCK
            clock[0] = min(until_s, _next_moment_s(coming, replica))
            continue
        # a plan that is made stays until there is room for what comes of it
        if counters[NUM_DONE] + counters[PLANNED_A] > replica.done.size:
            return NEEDS_DRAIN
        if counters[PLANNED_A] > counters[LARGEST_BATCH]:
            return NEEDS_PRICES
        if rules.is_async:
            _serve_ahead(program, select, ask, batch, space, prices, rules, pool, replica)
        else:
            started = start_step(program, batch, space, rules, pool, replica, 0)
            finish_step(program, select, ask, batch, space, prices, rules, replica, 0, started)
    return AT_END


@compiled(_signature())
def serve_until(program, select, ask, batch, space, prices, rules, pool, coming, replica, until_s):  # type: ignore[no-untyped-def]
    """``serve`` for Python."""
    return serve(program, select, ask, batch, space, prices, rules, pool, coming, replica, until_s)
