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
from svsim.decoding.selection_rules import RULE
from svsim.engines.step import (
    NUM_CLOCKS,
    NUM_CONTEXT_TOKENS,
    NUM_FINISHED,
    PREFILL,
    Plan,
    empty_program,
    new_batch,
    place,
    take_step,
)

# columns of the tallies; the clocks follow from FIRST_CLOCK on
TOKENS, SEQUENCE_STEPS, STEPS, ACCEPTED, VERIFIED, DRAFTED, FIRST_CLOCK = 0, 1, 2, 3, 4, 5, 6
NUM_TALLIES = FIRST_CLOCK + NUM_CLOCKS


class Requests(NamedTuple):
    """The requests that programs draw from, [R] each.

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


class Slots(NamedTuple):
    """Per slot of the closed loop: its request's account, and since when it is there.

    first, num_tokens, group: int64 [B], copied from the request; measured: bool [B];
    since_step: int64 [B]; since: float64 [B, NUM_CLOCKS]; progress: int64 [4], see below.
    """

    first: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    group: NDArray[np.int64]
    measured: NDArray[np.bool_]
    since_step: NDArray[np.int64]
    since: NDArray[np.float64]
    progress: NDArray[np.int64]


# progress: next place of the queue, steps taken, measured requests finished, slots filled
QUEUED, STEP, NUM_MEASURED, NUM_FILLED = 0, 1, 2, 3


def new_slots(num_slots: int) -> Slots:
    """Slots before the first admission."""
    first, num_tokens, group, since_step = (np.zeros(num_slots, np.int64) for _ in range(4))
    since = np.zeros((num_slots, NUM_CLOCKS))
    return Slots(
        first, num_tokens, group, np.zeros(num_slots, np.bool_), since_step, since, np.zeros(4, np.int64)
    )


def _no_requests() -> Requests:
    first, end, context, tokens, group = (np.zeros(0, np.int64) for _ in range(5))
    return Requests(first, end, context, tokens, np.zeros(0), group)


# One signature for all programs: a rule is called through a pointer, so a new one compiles alone.
_RULE = types.FunctionType(RULE)
_PROGRAM, _BATCH, _SLOTS, _REQUESTS = map(
    typeof, (empty_program(), new_batch(1, 1), new_slots(1), _no_requests())
)
_INTEGERS, _FLOATS, _TALLIES = types.int64[::1], types.float64[::1], types.float64[:, ::1]


@compiled()
def _admit(program, batch, slots, requests, slot, request, skip, measured):  # type: ignore[no-untyped-def]
    """Place a request, `skip` rows after its start, and note when it came."""
    slots.first[slot] = requests.first[request]
    slots.num_tokens[slot] = requests.num_tokens[request]
    slots.group[slot] = requests.group[request]
    slots.measured[slot] = measured
    slots.since_step[slot] = slots.progress[STEP]
    for c in range(NUM_CLOCKS):
        slots.since[slot, c] = batch.clocks[c]
    batch.clocks[PREFILL] += requests.prefill_s[request] * program.multiplicity
    first = requests.first[request] + skip
    place(batch, slot, first, requests.end[request], requests.num_context_tokens[request] + skip)


@compiled()
def _tally_tokens(program, batch, slots, slot, row):  # type: ignore[no-untyped-def]
    """Count what a finished sequence emitted, accepted, verified and drafted."""
    m = program.multiplicity
    steps = slots.progress[STEP] - slots.since_step[slot]
    row[TOKENS] += slots.num_tokens[slot] * m
    row[SEQUENCE_STEPS] += steps * m
    row[ACCEPTED] += (batch.position[slot] - slots.first[slot] - steps) * m
    if program.plan == Plan.UNIFORM:
        row[VERIFIED] += steps * program.num_speculative_tokens * m
        row[DRAFTED] += steps * program.num_speculative_tokens * m
    else:
        row[VERIFIED] += batch.num_verified[slot] * m
        row[DRAFTED] += batch.num_drafted[slot] * m


@compiled()
def _tally_share(batch, slots, slot, row):  # type: ignore[no-untyped-def]
    """Count a finished sequence's share of the batch's steps and seconds while it was there."""
    num_slots = slots.first.size
    row[STEPS] += (slots.progress[STEP] - slots.since_step[slot]) / num_slots
    for c in range(NUM_CLOCKS):
        row[FIRST_CLOCK + c] += (batch.clocks[c] - slots.since[slot, c]) / num_slots


@compiled(
    (_PROGRAM, _RULE, _BATCH, _SLOTS, _REQUESTS, _INTEGERS, _FLOATS, types.int64, types.int64, _TALLIES)
)
def run_continuous(  # type: ignore[no-untyped-def]
    program, select, batch, slots, requests, order, skips, measured_from, measured_to, tallies
):
    """Refill every slot at once until all measured requests have finished or ``order`` is used up.

    order: int64 [], requests in the order of admission (this stretch of the queue);
    skips: float64 [slots], where in its request each slot's first sequence starts (0 to 1);
    measured_from, measured_to: places of the whole queue that are measured.
    Returns True when every measured request has finished; False asks for the next stretch.
    """
    num_slots = slots.first.size
    progress = slots.progress
    taken = 0
    while progress[NUM_FILLED] < num_slots and taken < order.size:
        slot, request = progress[NUM_FILLED], order[taken]
        skip = int(skips[slot] * (requests.end[request] - requests.first[request]))
        _admit(program, batch, slots, requests, slot, request, skip, False)
        progress[NUM_FILLED] += 1
        progress[QUEUED] += 1
        taken += 1
    if progress[NUM_FILLED] < num_slots:
        return False
    # slots that ended when the last stretch was used up wait for this one
    while progress[NUM_MEASURED] < measured_to - measured_from:
        waiting = batch.counters[NUM_FINISHED]
        while waiting > 0 and taken < order.size:
            waiting -= 1
            slot = batch.finished[waiting]
            batch.counters[NUM_CONTEXT_TOKENS] -= batch.position[slot] + batch.context_base[slot]
            if slots.measured[slot]:
                _tally_tokens(program, batch, slots, slot, tallies[slots.group[slot]])
                _tally_share(batch, slots, slot, tallies[slots.group[slot]])
                progress[NUM_MEASURED] += 1
            place_in_queue = progress[QUEUED]
            measured = measured_from <= place_in_queue < measured_to
            _admit(program, batch, slots, requests, slot, order[taken], 0, measured)
            progress[QUEUED] += 1
            taken += 1
        batch.counters[NUM_FINISHED] = waiting
        if waiting > 0:
            return False
        take_step(program, select, batch, num_slots)
        progress[STEP] += 1
    return True


@compiled()
def _remove(batch, slots, slot, n):  # type: ignore[no-untyped-def]
    """Close the gap of a finished slot, keeping the order of the others."""
    batch.counters[NUM_CONTEXT_TOKENS] -= batch.position[slot] + batch.context_base[slot]
    for i in range(slot, n - 1):
        batch.position[i] = batch.position[i + 1]
        batch.end[i] = batch.end[i + 1]
        batch.context_base[i] = batch.context_base[i + 1]
        batch.num_owed[i] = batch.num_owed[i + 1]
        batch.num_verified[i] = batch.num_verified[i + 1]
        batch.num_drafted[i] = batch.num_drafted[i + 1]
        slots.first[i] = slots.first[i + 1]
        slots.num_tokens[i] = slots.num_tokens[i + 1]


@compiled((_PROGRAM, _RULE, _BATCH, _SLOTS, _REQUESTS, _INTEGERS, _FLOATS, types.int64, _TALLIES))
def run_static(program, select, batch, slots, requests, order, batch_prefill_s, first_batch, tallies):  # type: ignore[no-untyped-def]
    """Batches of consecutive requests of ``order`` run until empty; a short last one is dropped.

    batch_prefill_s: float64 [batches]; batch b counts in the tallies' row (first_batch + b) modulo their
    number. Finished sequences leave and cost nothing.
    """
    num_slots = slots.first.size
    for b in range(order.size // num_slots):
        row = tallies[(first_batch + b) % len(tallies)]
        batch.clocks[:] = 0.0
        batch.counters[:] = 0
        slots.progress[STEP] = 0
        for slot in range(num_slots):
            _admit(program, batch, slots, requests, slot, order[b * num_slots + slot], 0, True)
        batch.clocks[PREFILL] = batch_prefill_s[b]
        n = num_slots
        while n > 0:
            take_step(program, select, batch, n)
            slots.progress[STEP] += 1
            for f in range(batch.counters[NUM_FINISHED] - 1, -1, -1):
                slot = batch.finished[f]
                _tally_tokens(program, batch, slots, slot, row)
                _remove(batch, slots, slot, n)
                n -= 1
        row[STEPS] += slots.progress[STEP]
        for c in range(NUM_CLOCKS):
            row[FIRST_CLOCK + c] += batch.clocks[c]
