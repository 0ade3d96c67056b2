"""A planned step of a replica: price it, verify, emit, account; compiled.

Decoding requests take the slots of a ``Batch`` for the step, so that lengths and prices are those of the
closed loop (``engines/step.py``); chunks of prompts stand beside it. All tokens of a step appear at its end.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.pass_rules import LEARN
from svsim.decoding.selection_rules import LAST_ACCEPTED, LAST_VERIFIED
from svsim.decoding.selections import Plan
from svsim.engines.asking import forget, note_outcomes
from svsim.engines.prices import pass_s
from svsim.engines.program import Beside
from svsim.engines.step import (
    COMPANION,
    DRAFT,
    NUM_CATCH_UP_TOKENS,
    NUM_CONTEXT_TOKENS,
    NUM_UNSCORED_TOKENS,
    OVERHEAD,
    PREFILL,
    VERIFY,
    owed_after,
    plan_step,
)
from svsim.serving import state
from svsim.serving.chunks import (
    companion_added_s,
    draft_added_s,
    price_prompts_alone,
    target_added_s,
    target_row_added_s,
)
from svsim.serving.parallel import accepted_run, price_parallel
from svsim.serving.scheduler import leave_running
from svsim.serving.state import (
    FREE_BLOCKS,
    NUM_CHUNK_STEPS,
    NUM_CUT,
    NUM_DONE,
    NUM_FREE_ROWS,
    NUM_RUNNING,
    NUM_SEQUENCE_STEPS,
    NUM_STEPS,
    NUM_TURNS,
    NUM_WAITING,
    PLANNED_A,
    PREEMPTED_NOW,
)

FIRST_GAP_S, GAP_GROWTH, NUM_GAP_BINS = state.FIRST_GAP_S, state.GAP_GROWTH, state.NUM_GAP_BINS
_LOG_GROWTH = float(np.log(GAP_GROWTH))
RUNNING_S, WAITING_S, KV_BLOCKS_S, BUSY_S = state.RUNNING_S, state.WAITING_S, state.KV_BLOCKS_S, state.BUSY_S
EMITTED, ACCEPTED, VERIFIED, STEPS = state.EMITTED, state.ACCEPTED, state.VERIFIED, state.STEPS
CHUNK_TOKENS, PREEMPTIONS, FINISHED = state.CHUNK_TOKENS, state.PREEMPTIONS, state.FINISHED
SEQUENCE_STEPS, HOST_S, DRAFT_S, COMPANION_S = (
    state.SEQUENCE_STEPS,
    state.HOST_S,
    state.DRAFT_S,
    state.COMPANION_S,
)
VERIFY_S, PREFILL_S = state.VERIFY_S, state.PREFILL_S


class Space(NamedTuple):
    """Scratch of a step of up to N decoding requests: their rows of the live table, the most drafts that each
    may verify, what chunks add to verifications [N K + 1]; the last gap between steps [1] of requests of the
    last segment [1], and how many of these emitted 0 .. K + 1 tokens, not counted in the account yet."""

    row: NDArray[np.int64]
    limit: NDArray[np.int64]
    added_s: NDArray[np.float64]
    last_gap: NDArray[np.float64]
    last_segment: NDArray[np.int64]
    gap_count: NDArray[np.int64]


def new_space(num_slots: int, num_speculative_tokens: int) -> Space:
    """Scratch for ``num_slots`` decoding requests."""
    rows, limits = (np.zeros(num_slots, np.int64) for _ in range(2))
    added_s, counts = np.zeros(num_slots * num_speculative_tokens + 1), num_speculative_tokens + 2
    return Space(rows, limits, added_s, np.full(1, -1.0), np.zeros(1, np.int64), np.zeros(counts, np.int64))


@compiled(is_hot=True)
def acceptance_row(pool, request):  # type: ignore[no-untyped-def]
    """Row of the trace that a verification reads: that of ``out``, in the piece the request has come to.

    A request longer than the one it borrows from goes on in the next of the pool, at its row 1. One that has
    ended, and is computed once more, stays at its last row.
    """
    if request.is_over > 0:
        return request.piece_first + min(request.out - request.piece_out, request.piece_rows - 1)
    while request.out - request.piece_out >= request.piece_rows:
        borrowed = pool.order[request.chain % pool.order.size]
        request.chain += 1
        request.piece_out += request.piece_rows - 1
        request.piece_first, request.piece_rows = pool.first[borrowed], pool.rows[borrowed]
    return request.piece_first + request.out - request.piece_out


@compiled(is_hot=True)
def is_decode(rules, request):  # type: ignore[no-untyped-def]
    """Whether all tokens but the last have KV, and the last was emitted here (or prompts are free)."""
    has_emitted = request.out > 0 or rules.is_prefill_free
    return has_emitted and request.computed == request.prompt + request.out - 1


@compiled()
def start_step(program, batch, space, rules, pool, replica, side):  # type: ignore[no-untyped-def]
    """Decoding requests into the batch, chunks beside it: (decodes, chunks, prompts that end, drafts cut)."""
    k, plans, counters = program.num_speculative_tokens, replica.plans, batch.counters
    n, num_chunks, ending, num_cut = 0, 0, 0, 0
    context, catch_up, unscored = 0, 0, 0
    for place in range(replica.counters[PLANNED_A + side]):
        row, new = plans.row[side, place], plans.new[side, place]
        request = replica.live[row]
        tokens = request.prompt + request.out
        request.planned -= 1
        request.in_flight = new
        request.steps += 1
        if request.is_over > 0 or is_decode(rules, request):
            position = acceptance_row(pool, request)
            batch.position[n], batch.context_base[n] = position, tokens - position
            batch.num_owed[n], space.row[n] = request.owed, row
            space.limit[n] = min(plans.drafts[side, place], k)
            batch.asked.limit[n], batch.asked.seat[n] = space.limit[n], row
            if request.decode_steps == 0:
                forget(batch, row)
            if program.turn.gammas.size > 0:
                num_tested = min(max(request.carried, 1), space.limit[n] + 1)
                batch.carried[n], batch.draft_length[n] = num_tested, max(request.carried, 1)
                batch.length[n] = accepted_run(program.columns.accepted, pool, request, num_tested)
                num_cut += batch.draft_length[n] - num_tested
            else:
                num_cut += k - space.limit[n]
            context += tokens
            catch_up += request.owed - 1
            unscored += request.unscored
            n += 1
        else:
            replica.chunk_new[num_chunks], replica.chunk_kv[num_chunks] = new, request.computed
            ending += request.computed + new >= tokens
            num_chunks += 1
    counters[NUM_CONTEXT_TOKENS], counters[NUM_CATCH_UP_TOKENS] = context, catch_up
    counters[NUM_UNSCORED_TOKENS] = unscored
    return n, num_chunks, ending, num_cut


@compiled()
def finish_step(program, select, ask, batch, space, prices, rules, replica, side, started):  # type: ignore[no-untyped-def]
    """Price what ``start_step`` returned, move the clock to the step's end, emit and account."""
    n, num_chunks, ending, num_cut = started
    counters, clocks = replica.counters, batch.clocks
    new, context = replica.chunk_new[:num_chunks], replica.chunk_kv[:num_chunks]
    host_s, draft_s, companion_s = clocks[OVERHEAD], clocks[DRAFT], clocks[COMPANION]
    verify_s, prefill_s, before_s = clocks[VERIFY], clocks[PREFILL], clocks.sum()
    if program.turn.gammas.size > 0:
        price_parallel(program, batch, prices, n, ending, new, context)
    elif n == 0:
        price_prompts_alone(program, batch, prices, ending, new, context)
    else:
        _price(program, select, ask, batch, space, prices, n, num_cut, ending, new, context)
    step_s, host_s = clocks.sum() - before_s, clocks[OVERHEAD] - host_s
    if rules.is_async:  # the host plans the next step while the GPU runs this one
        device_s = step_s - host_s
        step_s = max(device_s, host_s)
        host_s = step_s - device_s
    replica.clock[0] += step_s
    now_s = replica.clock[0]

    line = replica.account.timeline[bucket_of(replica, now_s)]
    line[RUNNING_S] += counters[NUM_RUNNING] * step_s
    line[WAITING_S] += counters[NUM_WAITING] * step_s
    line[KV_BLOCKS_S] += (rules.num_blocks - counters[FREE_BLOCKS]) * step_s
    line[BUSY_S] += step_s
    line[HOST_S] += host_s
    line[DRAFT_S] += clocks[DRAFT] - draft_s
    line[COMPANION_S] += clocks[COMPANION] - companion_s
    line[VERIFY_S] += clocks[VERIFY] - verify_s
    line[PREFILL_S] += clocks[PREFILL] - prefill_s
    line[STEPS] += 1
    line[SEQUENCE_STEPS] += n
    line[CHUNK_TOKENS] += new.sum()
    line[PREEMPTIONS] += counters[PREEMPTED_NOW]
    counters[NUM_STEPS] += 1
    counters[NUM_SEQUENCE_STEPS] += n
    counters[NUM_CUT] += num_cut
    counters[NUM_CHUNK_STEPS] += num_chunks > 0
    if program.turn.gammas.size > 0:
        _advance_parallel(program, batch, space, replica, n, now_s, line)
    else:
        _advance(program, ask, batch, space, replica, n, now_s, line)
    if num_chunks > 0:
        _advance_prompts(program, space, replica, side, now_s, line)
    _count_gaps(space, replica.account)
    counters[PLANNED_A + side] = 0


@compiled()
def _price(program, select, ask, batch, space, prices, n, num_cut, ending, new, context):  # type: ignore[no-untyped-def]
    """Lengths and seconds of a step with n decodes; the chunks' part of verification is prefill."""
    k, clocks = program.num_speculative_tokens, batch.clocks
    kv = batch.counters[NUM_CONTEXT_TOKENS]
    draft_s, companion_s, row_s = 0.0, 0.0, space.added_s[:0]
    if new.size > 0:
        draft_s = draft_added_s(program, batch, prices, n, ending, new, context)
        companion_s = companion_added_s(program, batch, prices, n, new, context)
        if program.plan >= Plan.SELECTED:  # a rule that asks for prices
            row_s = space.added_s[: n * k + 1]
            target_row_added_s(prices, n, k, float(kv), ending, new, context, row_s)
    tokens = plan_step(program, select, ask, batch, n, Beside(draft_s, companion_s, row_s))
    if num_cut > 0:
        kept = 0
        for i in range(n):
            length = k if program.plan == Plan.UNIFORM else batch.length[i]
            kept += min(length, space.limit[i])
        slowdown = program.turn.verify_slowdown
        clocks[VERIFY] += slowdown * (
            pass_s(program.prices.target, n, n + kept, kv) - pass_s(program.prices.target, n, n + tokens, kv)
        )
        tokens = kept
    if new.size > 0:
        clocks[PREFILL] += target_added_s(prices, n, n + tokens, float(kv), ending, new, context)


@compiled()
def _advance_parallel(program, batch, space, replica, n, now_s, line):  # type: ignore[no-untyped-def]
    """Decodes emit what was accepted and, where a token was rejected, the target's own."""
    gamma, accepted, verified = program.turn.gammas[n], 0, 0
    for i in range(n):
        request = replica.live[space.row[i]]
        num_tested, kept = batch.carried[i], batch.length[i]
        is_rejected = kept < num_tested
        request.accepted += kept
        request.verified += num_tested
        request.drafted += gamma
        request.decode_steps += 1
        request.own_tokens += is_rejected
        request.computed += kept + is_rejected
        left = batch.draft_length[i] - num_tested  # that the budget kept from this pass
        request.carried = 0 if is_rejected else (left if left > 0 else gamma)
        accepted += kept
        verified += num_tested
        drafts = max(request.carried - 1, 0)
        _emit(drafts, space, replica, space.row[i], kept + is_rejected, now_s, line)
    line[ACCEPTED] += accepted
    line[VERIFIED] += verified


@compiled()
def _advance(program, ask, batch, space, replica, n, now_s, line):  # type: ignore[no-untyped-def]
    """Decodes emit min(accepted, length) + 1 tokens, at most those that are left to write."""
    k, reading, memory = program.num_speculative_tokens, program.drafting.reading, batch.rule.memory
    is_uniform = program.plan == Plan.UNIFORM
    accepted, verified = 0, 0
    if program.plan == Plan.ASKED:
        _tell_outcomes(program, ask, batch, space, replica, n)
    for i in range(n):
        request = replica.live[space.row[i]]
        if request.is_over > 0:  # planned before it had ended
            _release(replica, space.row[i])
            continue
        if request.in_flight == 0:  # preempted while it was computed: what came of it is dropped
            continue
        length = min(k if is_uniform else batch.length[i], space.limit[i])
        drafted = k if is_uniform else batch.draft_length[i]
        kept = min(np.int64(program.columns.accepted[batch.position[i]]), length)
        request.accepted += kept
        request.verified += length
        request.drafted += drafted
        request.decode_steps += 1
        request.own_tokens += 1
        request.owed = owed_after(reading, request.owed, drafted, kept)
        request.unscored = kept == drafted
        request.computed += 1 + kept
        accepted += kept
        verified += length
        _emit(k, space, replica, space.row[i], kept + 1, now_s, line)
    memory[LAST_ACCEPTED], memory[LAST_VERIFIED] = accepted, verified
    line[ACCEPTED] += accepted
    line[VERIFIED] += verified


@compiled()
def _tell_outcomes(program, ask, batch, space, replica, n):  # type: ignore[no-untyped-def]
    """What was accepted; nobody knows where what came of it is dropped."""
    note_outcomes(program, batch, n)
    for i in range(n):
        request = replica.live[space.row[i]]
        if request.is_over > 0 or request.in_flight == 0:
            batch.asked.kept[i] = -1
    ask(LEARN, 0, n, batch.asked, program.options)


@compiled()
def _advance_prompts(program, space, replica, side, now_s, line):  # type: ignore[no-untyped-def]
    """Chunks are computed; one that reaches its request's last token emits the next."""
    plans = replica.plans
    for place in range(replica.counters[PLANNED_A + side]):
        row, new = plans.row[side, place], plans.new[side, place]
        request = replica.live[row]
        if request.in_flight == 0 or request.is_over > 0:
            continue
        request.computed += new
        request.in_flight = 0
        if request.computed >= request.prompt + request.out:
            request.owed, request.unscored, request.carried = 1, 0, 0
            drafts = program.num_speculative_tokens if program.turn.gammas.size == 0 else 0
            _emit(drafts, space, replica, row, 1, now_s, line)


@compiled(is_hot=True)
def _emit(k, space, replica, row, num_tokens, now_s, line):  # type: ignore[no-untyped-def]
    """Tokens appear; the request goes on, or ends."""
    request = replica.live[row]
    num_tokens = min(num_tokens, request.output - request.out)
    if request.out == 0:
        request.first_token_s = now_s
    else:
        gap_s = now_s - request.last_token_s
        if gap_s != space.last_gap[0] or request.segment != space.last_segment[0]:
            _count_gaps(space, replica.account)  # sequences that decode together share both
            space.last_gap[0], space.last_segment[0] = gap_s, request.segment
        space.gap_count[num_tokens] += 1
    request.last_token_s = now_s
    request.out += num_tokens
    request.draft = k
    request.in_flight = 0
    line[EMITTED] += num_tokens
    if request.out >= request.output:
        line[FINISHED] += 1
        _finish(replica, row, now_s)


@compiled()
def _finish(replica, row, now_s):  # type: ignore[no-untyped-def]
    """Blocks are free, the next turn is on its way, the row moves to the done table."""
    counters, request = replica.counters, replica.live[row]
    request.finish_s, request.is_over = now_s, 1
    counters[FREE_BLOCKS] += request.blocks
    request.blocks = 0
    for place in range(counters[NUM_RUNNING]):
        if replica.running[place] == row:
            leave_running(replica, place)
            break
    replica.done[counters[NUM_DONE]] = request
    counters[NUM_DONE] += 1
    if request.next_turn >= 0:
        push_turn(replica, now_s + request.delay_s, request.next_turn)
    if request.planned == 0:
        _release(replica, row)


@compiled()
def _release(replica, row):  # type: ignore[no-untyped-def]
    """The row of the live table is free."""
    replica.free_rows[replica.counters[NUM_FREE_ROWS]] = row
    replica.counters[NUM_FREE_ROWS] += 1


@compiled()
def push_turn(replica, moment_s, row):  # type: ignore[no-untyped-def]
    """A turn begins at a later moment: onto the heap."""
    moments, rows = replica.turns.moment_s, replica.turns.row
    place = replica.counters[NUM_TURNS]
    replica.counters[NUM_TURNS] += 1
    while place > 0:
        parent = (place - 1) // 2
        if moments[parent] < moment_s or (moments[parent] == moment_s and rows[parent] < row):
            break
        moments[place], rows[place] = moments[parent], rows[parent]
        place = parent
    moments[place], rows[place] = moment_s, row


@compiled()
def pop_turn(replica):  # type: ignore[no-untyped-def]
    """The row of the earliest turn, taken off the heap."""
    moments, rows = replica.turns.moment_s, replica.turns.row
    first = rows[0]
    replica.counters[NUM_TURNS] -= 1
    num = replica.counters[NUM_TURNS]
    moment_s, row, place = moments[num], rows[num], 0
    while 2 * place + 1 < num:
        child = 2 * place + 1
        if child + 1 < num and (
            moments[child + 1] < moments[child]
            or (moments[child + 1] == moments[child] and rows[child + 1] < rows[child])
        ):
            child += 1
        if moment_s < moments[child] or (moment_s == moments[child] and row < rows[child]):
            break
        moments[place], rows[place] = moments[child], rows[child]
        place = child
    moments[place], rows[place] = moment_s, row
    return first


@compiled()
def bucket_of(replica, now_s):  # type: ignore[no-untyped-def]
    """The bucket of the timeline that a moment lies in; the last holds all that comes later."""
    return min(int(now_s / replica.account.widths[0]), len(replica.account.timeline) - 1)


@compiled()
def _count_gaps(space, account):  # type: ignore[no-untyped-def]
    """The gaps noted since the last call, into the account."""
    gap_s, segment = space.last_gap[0], space.last_segment[0]
    for num in range(1, space.gap_count.size):
        count = space.gap_count[num]
        if count > 0:
            account.step_gaps[segment, _gap_bin(gap_s)] += count
            account.token_gaps[segment, _gap_bin(gap_s / num)] += count * num
            space.gap_count[num] = 0


@compiled()
def _gap_bin(gap_s):  # type: ignore[no-untyped-def]
    """Quarter percents above a microsecond."""
    place = int(np.log(max(gap_s, FIRST_GAP_S) / FIRST_GAP_S) / _LOG_GROWTH)
    return min(place, NUM_GAP_BINS - 1)


@compiled()
def segment_of(account, arrival_s):  # type: ignore[no-untyped-def]
    """The segment that a moment lies in; the last holds all that comes later."""
    return min(int(arrival_s / account.widths[1]), len(account.step_gaps) - 1)
