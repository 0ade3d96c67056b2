"""The closed loop: slots that always hold a sequence (continuous), or batches that drain (static).

Measured requests are followed from admission to their last token; sums per bootstrap group go to
``tallies`` (float64 [groups, NUM_TALLIES]), in units of the whole batch: a request in one of B slots
counts 1/B of the batch's steps and seconds while it is there, so tokens / seconds is goodput.
"""

from typing import NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.pass_rules import PASS_RULE
from svsim.decoding.selection_rules import RULE
from svsim.decoding.selections import Plan
from svsim.engines.admission import (
    NUM_DONE,
    PLACE,
    TAKEN,
    Requests,
    free_slot,
    is_done,
    is_measured,
    is_used_up,
    new_queue,
    num_skipped,
    take_next,
)
from svsim.engines.exits import take_any_step
from svsim.engines.program import empty_program
from svsim.engines.step import (
    NUM_CLOCKS,
    NUM_CONTEXT_TOKENS,
    NUM_FINISHED,
    PREFILL,
    new_batch,
    place,
)

# columns of the tallies; the clocks follow from FIRST_CLOCK on
TOKENS, SEQUENCE_STEPS, STEPS, ACCEPTED, VERIFIED, DRAFTED, FIRST_CLOCK = 0, 1, 2, 3, 4, 5, 6
NUM_TALLIES = FIRST_CLOCK + NUM_CLOCKS


class Slots(NamedTuple):
    """Per slot of the closed loop: its request's account, and since when it is there.

    first, num_tokens, group: int64 [B], copied from the request; measured: bool [B];
    since_step: int64 [B]; since: float64 [B, NUM_CLOCKS]; step: int64 [1], steps taken.
    """

    first: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    group: NDArray[np.int64]
    measured: NDArray[np.bool_]
    since_step: NDArray[np.int64]
    since: NDArray[np.float64]
    step: NDArray[np.int64]


def new_slots(num_slots: int) -> Slots:
    """Slots before the first admission."""
    first, num_tokens, group, since_step = (np.zeros(num_slots, np.int64) for _ in range(4))
    since = np.zeros((num_slots, NUM_CLOCKS))
    return Slots(
        first, num_tokens, group, np.zeros(num_slots, np.bool_), since_step, since, np.zeros(1, np.int64)
    )


# One signature for all programs: a rule is called through a pointer, so a new one compiles alone.
_RULE, _PASS_RULE = types.FunctionType(RULE), types.FunctionType(PASS_RULE)
_NONE = np.zeros(0, np.int64)
_NO_REQUESTS = Requests(_NONE, _NONE, _NONE, _NONE, np.zeros(0), _NONE)
PROGRAM, BATCH, SLOTS, REQUESTS, QUEUE = map(
    typeof,
    (empty_program(), new_batch(1, 1), new_slots(1), _NO_REQUESTS, new_queue(np.zeros(1), (0, 0))),
)
TALLIES = types.float64[:, ::1]


@compiled()
def _admit(program, batch, slots, requests, slot, request, skip, measured):  # type: ignore[no-untyped-def]
    """Place a request, `skip` rows after its start, and note when it came."""
    slots.first[slot] = requests.first[request]
    slots.num_tokens[slot] = requests.num_tokens[request]
    slots.group[slot] = requests.group[request]
    slots.measured[slot] = measured
    slots.since_step[slot] = slots.step[0]
    for c in range(NUM_CLOCKS):
        slots.since[slot, c] = batch.clocks[c]
    batch.clocks[PREFILL] += requests.prefill_s[request] * program.multiplicity
    first = requests.first[request] + skip
    place(batch, slot, first, requests.end[request], requests.num_context_tokens[request] + skip)


@compiled()
def _tally_tokens(program, batch, slots, slot, row):  # type: ignore[no-untyped-def]
    """Count what a finished sequence emitted, accepted, verified and drafted."""
    m = program.multiplicity
    steps = slots.step[0] - slots.since_step[slot]
    row[TOKENS] += slots.num_tokens[slot] * m
    row[SEQUENCE_STEPS] += steps * m
    if program.turn.gammas.size > 0:
        row[ACCEPTED] += batch.num_accepted[slot] * m
    else:
        row[ACCEPTED] += (batch.position[slot] - slots.first[slot] - steps) * m
    if program.plan == Plan.UNIFORM and program.turn.gammas.size == 0:
        row[VERIFIED] += steps * program.num_speculative_tokens * m
        row[DRAFTED] += steps * program.num_speculative_tokens * m
    else:
        row[VERIFIED] += batch.num_verified[slot] * m
        row[DRAFTED] += batch.num_drafted[slot] * m


@compiled()
def _tally_share(batch, slots, slot, row):  # type: ignore[no-untyped-def]
    """Count a finished sequence's share of the batch's steps and seconds while it was there."""
    num_slots = slots.first.size
    row[STEPS] += (slots.step[0] - slots.since_step[slot]) / num_slots
    for c in range(NUM_CLOCKS):
        row[FIRST_CLOCK + c] += (batch.clocks[c] - slots.since[slot, c]) / num_slots


@compiled()
def _leave(program, batch, slots, slot, tallies):  # type: ignore[no-untyped-def]
    """The last sequence that ended gives up its slot; True if it was measured, and is counted."""
    batch.counters[NUM_FINISHED] -= 1
    batch.counters[NUM_CONTEXT_TOKENS] -= batch.position[slot] + batch.context_base[slot]
    if slots.measured[slot]:
        _tally_tokens(program, batch, slots, slot, tallies[slots.group[slot]])
        _tally_share(batch, slots, slot, tallies[slots.group[slot]])
    return slots.measured[slot]


@compiled()
def refill(program, batch, slots, requests, queue, tallies):  # type: ignore[no-untyped-def]
    """Give every free slot the next request of the queue; False if that is used up before."""
    num_slots = slots.first.size
    slot = free_slot(queue, batch)
    while slot >= 0:
        if is_used_up(queue):
            return False
        if queue.progress[PLACE] >= num_slots:
            queue.progress[NUM_DONE] += _leave(program, batch, slots, slot, tallies)
        measured, request = is_measured(queue), queue.order[queue.progress[TAKEN]]
        skip = num_skipped(queue, requests.end[request] - requests.first[request])
        _admit(program, batch, slots, requests, slot, take_next(queue), skip, measured)
        slot = free_slot(queue, batch)
    return True


@compiled((PROGRAM, _RULE, _PASS_RULE, BATCH, SLOTS, REQUESTS, QUEUE, TALLIES))
def run_continuous(program, select, ask, batch, slots, requests, queue, tallies):  # type: ignore[no-untyped-def]
    """Refill every slot at once until all measured requests have finished or the queue is used up.

    Returns True when every measured request has finished; False asks for the next stretch.
    """
    while refill(program, batch, slots, requests, queue, tallies):
        if is_done(queue):
            return True
        take_any_step(program, select, ask, batch, slots.first.size)
        slots.step[0] += 1
    return is_done(queue)


@compiled()
def _remove(batch, slots, slot, n):  # type: ignore[no-untyped-def]
    """Close the gap of a finished slot, keeping the order of the others."""
    batch.counters[NUM_CONTEXT_TOKENS] -= batch.position[slot] + batch.context_base[slot]
    seat = batch.asked.seat[slot]
    for i in range(slot, n - 1):
        batch.asked.seat[i] = batch.asked.seat[i + 1]
        batch.position[i] = batch.position[i + 1]
        batch.end[i] = batch.end[i + 1]
        batch.context_base[i] = batch.context_base[i + 1]
        batch.num_owed[i] = batch.num_owed[i + 1]
        batch.num_verified[i] = batch.num_verified[i + 1]
        batch.num_drafted[i] = batch.num_drafted[i + 1]
        batch.carried[i] = batch.carried[i + 1]
        batch.num_accepted[i] = batch.num_accepted[i + 1]
        slots.first[i] = slots.first[i + 1]
        slots.num_tokens[i] = slots.num_tokens[i + 1]
    batch.asked.seat[n - 1] = seat


@compiled(
    (
        PROGRAM,
        _RULE,
        _PASS_RULE,
        BATCH,
        SLOTS,
        REQUESTS,
        types.int64[:, ::1],
        types.float64[::1],
        types.int64,
        TALLIES,
    )
)
def run_static(program, select, ask, batch, slots, requests, batches, prefill_s, first_batch, tallies):  # type: ignore[no-untyped-def]
    """Batches of requests run until empty. Finished sequences leave and cost nothing.

    batches: int64 [N, B]; prefill_s: float64 [N]; batch b counts in the tallies' row (first_batch + b)
    modulo their number.
    """
    num_slots = slots.first.size
    for b in range(len(batches)):
        row = tallies[(first_batch + b) % len(tallies)]
        batch.clocks[:] = 0.0
        batch.counters[:] = 0
        slots.step[0] = 0
        for slot in range(num_slots):
            _admit(program, batch, slots, requests, slot, batches[b, slot], 0, True)
        batch.clocks[PREFILL] = prefill_s[b]
        n = num_slots
        while n > 0:
            take_any_step(program, select, ask, batch, n)
            slots.step[0] += 1
            for f in range(batch.counters[NUM_FINISHED] - 1, -1, -1):
                slot = batch.finished[f]
                _tally_tokens(program, batch, slots, slot, row)
                _remove(batch, slots, slot, n)
                n -= 1
        row[STEPS] += slots.step[0]
        for c in range(NUM_CLOCKS):
            row[FIRST_CLOCK + c] += batch.clocks[c]
