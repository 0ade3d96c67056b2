"""Replicas behind a router that looks at their loads: all of them up to each arrival, in one compiled loop.

Arrays of all replicas are stacked: the fields of ``Replica`` with a first axis [R].
"""

from typing import Any

import numpy as np
from numba import typeof, types

from svsim.compiled import compiled
from svsim.decoding.pass_rules import PASS_RULE, PassView
from svsim.decoding.selection_rules import RULE
from svsim.engines.program import empty_program
from svsim.engines.step import Batch, RuleSpace, new_batch
from svsim.serving.chunks import EMPTY_CHUNK_PRICES
from svsim.serving.loop import AT_END, EMPTY_RULES, serve
from svsim.serving.routing import LOAD_RULE
from svsim.serving.serve import new_space
from svsim.serving.state import (
    NUM_DONE,
    NUM_RUNNING,
    NUM_TAKEN,
    NUM_WAITING,
    REQUEST,
    Account,
    Kept,
    Plans,
    Pool,
    Replica,
    Turns,
    new_account,
    new_replica,
    stacked,
)

# where the loop came back: the arrival it has come to, the replica that needs something, and what
AT_ARRIVAL, AT_REPLICA, WHY = range(3)


@compiled(is_hot=True)
def _replica_at(fleet, i):  # type: ignore[no-untyped-def]
    """Views of one replica's arrays."""
    plans, turns, account = fleet.plans, fleet.turns, fleet.account
    return Replica(
        fleet.live[i],
        fleet.free_rows[i],
        fleet.running[i],
        fleet.waiting[i],
        Plans(plans.row[i], plans.new[i], plans.drafts[i]),
        Turns(turns.moment_s[i], turns.row[i]),
        fleet.done[i],
        fleet.counters[i],
        fleet.clock[i],
        fleet.chunk_new[i],
        fleet.chunk_kv[i],
        Account(account.timeline[i], account.step_gaps, account.token_gaps, account.widths),
    )


@compiled(is_hot=True)
def _batch_at(batch, kept, i):  # type: ignore[no-untyped-def]
    """The shared scratch with what a replica's own batch carries from step to step."""
    space, view = batch.rule, batch.asked
    return Batch(
        batch.position, batch.end, batch.context_base, batch.num_owed, batch.length, batch.draft_length,
        batch.num_verified, batch.num_drafted, batch.carried, batch.num_accepted, batch.finished,
        batch.counters, kept.clocks[i],
        RuleSpace(space.candidates, space.verify_s, kept.rule_memory[i], space.scratch),
        PassView(
            view.law, view.token, view.owed, view.limit, view.drafted, view.length, view.kept, view.seat,
            kept.seats[i], view.chosen, view.verify_s, view.draft_s, kept.news[i], kept.asked_memory[i],
            kept.scratch[i],
        ),
    )  # fmt: skip


@compiled(is_hot=True)
def _load(replica, num_given, late_s, now_s):  # type: ignore[no-untyped-def]
    """Requests that run or wait; those that the running step will finish are among them."""
    counters, done = replica.counters, replica.done
    load = counters[NUM_RUNNING] + counters[NUM_WAITING] + num_given - counters[NUM_TAKEN]
    place = counters[NUM_DONE] - 1
    while place >= 0 and done[place].finish_s > now_s:  # in order of their ends
        load += 1
        place -= 1
    for i in range(late_s.size):
        load += late_s[i] > now_s
    return load


def _signature() -> tuple[Any, ...]:
    """One for all programs and routers, which are called through pointers."""
    integers, seconds = np.zeros(1, np.int64), np.zeros((1, 1))
    program, batch, *others = map(
        typeof,
        (
            empty_program(),
            new_batch(1, 1),
            new_space(1, 1),
            EMPTY_CHUNK_PRICES,
            EMPTY_RULES,
            Pool(integers, integers, integers),
            stacked([new_replica(1, 1, 1, 1, new_account(1, 1.0, 1, 1.0))]),
            Kept(seconds, seconds, seconds, np.zeros((1, 1, 1)), seconds, seconds),
            np.zeros(1, bool),
            np.zeros(1, REQUEST),
            np.zeros((1, 1), REQUEST),
            integers,
            seconds,
            integers,
            integers,
        ),
    )
    rules = (types.FunctionType(rule) for rule in (RULE, PASS_RULE, LOAD_RULE))
    return (program, *rules, batch, *others)


@compiled(_signature())
def serve_and_route(  # type: ignore[no-untyped-def]
    program, select, ask, choose, batch, space, prices, rules, pool, fleet, kept, is_up, arrived, coming,
    num_given, late_s, loads, where,
):  # fmt: skip
    """Route requests ``arrived`` [A] from ``where[AT_ARRIVAL]`` on, each replica served up to every arrival.

    kept: of each replica's batch [R, ...]. coming [R, C]: of each its first ``num_given``
    requests, which grow; late_s [R, L]: ends of requests that were taken already. loads [R]: scratch.
    Comes back with ``where`` where a replica needs something, or behind the last arrival.
    """
    for place in range(where[AT_ARRIVAL], arrived.size):
        now_s = arrived[place].arrival_s
        for i in range(is_up.size):
            if not is_up[i]:
                continue
            replica = _replica_at(fleet, i)
            if replica.clock[0] < now_s:
                why = serve(
                    program, select, ask, _batch_at(batch, kept, i), space, prices, rules, pool,
                    coming[i, : num_given[i]], replica, now_s,
                )  # fmt: skip
                if why != AT_END:
                    where[AT_ARRIVAL], where[AT_REPLICA], where[WHY] = place, i, why
                    return
            loads[i] = _load(replica, num_given[i], late_s[i], now_s)
        chosen = choose(loads, is_up)
        coming[chosen, num_given[chosen]] = arrived[place]
        num_given[chosen] += 1
    where[AT_ARRIVAL], where[WHY] = arrived.size, AT_END
