"""One decoding step of a running batch: plan, price, advance. The only truth about a step.

A step drafts up to K tokens for every sequence, optionally scores them with the companion, chooses
verification lengths (some methods before they draft), verifies, and emits accepted + 1 tokens per
sequence (recovered or bonus token included). ``StepProgram`` is a decoding method bound to a trace and a
latency model: arrays only. ``Batch`` is the state of the running sequences. The closed loop and the
serving simulation plan and price a step by the same functions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.exit_rules import EXIT_MEMORY_SIZE
from svsim.decoding.pass_rules import LEARN, PassView, new_view
from svsim.decoding.selection_rules import DRAFT_S, LAST_ACCEPTED, LAST_VERIFIED, SCRATCH_SIZE
from svsim.decoding.selections import Plan
from svsim.decoding.work import Reading, Schedule
from svsim.engines.asking import charge_verification, draft_by_rule, forget, note_outcomes, show_prices
from svsim.engines.parallel_step import advance_parallel, parallel_sides_s
from svsim.engines.prices import growing_passes_s, pass_row_s, pass_s
from svsim.engines.program import Beside
from svsim.engines.switching import switched_s

# counters of a batch
NUM_CONTEXT_TOKENS, NUM_CATCH_UP_TOKENS, NUM_FINISHED, NUM_UNSCORED_TOKENS, NUM_COUNTERS = range(5)
# clocks of a batch, seconds since its start
OVERHEAD, DRAFT, COMPANION, VERIFY, PREFILL = 0, 1, 2, 3, 4
NUM_CLOCKS = 5


class RuleSpace(NamedTuple):
    """What a selection rule is handed and keeps: see ``selection_rules.RULE``."""

    candidates: NDArray[np.uint16]
    verify_s: NDArray[np.float64]
    memory: NDArray[np.float64]
    scratch: NDArray[np.int64]


class Batch(NamedTuple):
    """Running sequences, one slot each; int64 [slots] unless said.

    position, end: row of the trace the sequence is at, and one past its last row.
    context_base:  context tokens at a position = position + context_base.
    num_owed:      emitted tokens that the drafter reads in its first pass of a step.
    length, draft_length: plan of this step. num_verified, num_drafted: since admission.
    carried, num_accepted: of a parallel pipeline: tokens to verify that were drafted in the last step (0:
                   none of them stands), and those accepted since admission.
    finished:      slots that ended in the last step (the first counters[NUM_FINISHED]).
    counters:      of the batch: context tokens; tokens that the drafter owes beyond the last ones; number
                   finished; emitted tokens that the companion has not read, beyond the last ones.
    clocks:        float64 [NUM_CLOCKS].
    asked:         what a rule is shown that is asked before every draft pass.
    """

    position: NDArray[np.int64]
    end: NDArray[np.int64]
    context_base: NDArray[np.int64]
    num_owed: NDArray[np.int64]
    length: NDArray[np.int64]
    draft_length: NDArray[np.int64]
    num_verified: NDArray[np.int64]
    num_drafted: NDArray[np.int64]
    carried: NDArray[np.int64]
    num_accepted: NDArray[np.int64]
    finished: NDArray[np.int64]
    counters: NDArray[np.int64]
    clocks: NDArray[np.float64]
    rule: RuleSpace
    asked: PassView


def new_batch(num_slots: int, num_speculative_tokens: int, num_seats: int | None = None) -> Batch:
    """An empty batch of ``num_slots`` slots; ``num_seats``: sequences that are remembered, else as many."""
    slots = (np.zeros(num_slots, np.int64) for _ in range(11))
    space = RuleSpace(
        candidates=np.zeros((num_slots, max(num_speculative_tokens, 1)), np.uint16),
        verify_s=np.zeros(num_slots * num_speculative_tokens + 1),
        memory=np.zeros(EXIT_MEMORY_SIZE),
        scratch=np.zeros(SCRATCH_SIZE, np.int64),
    )
    view = new_view(num_slots, num_speculative_tokens, num_seats or num_slots)
    return Batch._make([*slots, np.zeros(NUM_COUNTERS, np.int64), np.zeros(NUM_CLOCKS), space, view])


@compiled()
def _draft_kv(program, batch, n, ahead):  # type: ignore[no-untyped-def]
    """KV tokens that a pass of the drafter over all sequences reads, ``ahead`` tokens into the draft."""
    budget = program.drafting.kv_budget
    if budget == 0:
        return batch.counters[NUM_CONTEXT_TOKENS] + ahead * n
    kv = 0
    for i in range(n):
        kv += min(batch.position[i] + batch.context_base[i] + ahead, budget)
    return kv


@compiled()
def _sequential_draft_s(program, prices, batch, n):  # type: ignore[no-untyped-def]
    """Pass j runs over the sequences that draft more than j tokens, at their context + j."""
    k = program.num_speculative_tokens
    m = program.multiplicity
    first, later, budget = prices.draft, prices.later_draft, program.drafting.kv_budget
    if not program.drafting.as_planned:
        kv = _draft_kv(program, batch, n, 0) * m
        first_s = pass_s(first, n * m, (n + batch.counters[NUM_CATCH_UP_TOKENS]) * m, kv)
        if budget == 0:
            return first_s + growing_passes_s(later, n * m, kv + n * m, k - 1)
        for j in range(1, k):
            first_s += pass_s(later, n * m, n * m, _draft_kv(program, batch, n, j) * m)
        return first_s
    seconds = 0.0
    for j in range(k):
        sequences, tokens, kv = 0, 0, 0
        for i in range(n):
            if batch.draft_length[i] > j:
                sequences += 1
                tokens += batch.num_owed[i] if j == 0 else 1
                context = batch.position[i] + batch.context_base[i] + j
                kv += context if budget == 0 else min(context, budget)
        if sequences == 0:
            break
        seconds += pass_s(first if j == 0 else later, sequences * m, tokens * m, kv * m)
    return seconds


@compiled()
def _block_draft_s(program, prices, batch, n):  # type: ignore[no-untyped-def]
    """One pass over all drafted tokens, and those beside them."""
    drafting, m, k = program.drafting, program.multiplicity, program.num_speculative_tokens
    beside = drafting.tokens_beside
    tokens, longest = n * (k + beside), k + beside
    if drafting.as_planned and not drafting.is_whole:
        tokens, longest = n * beside, beside
        for i in range(n):
            tokens += batch.draft_length[i]
            longest = max(longest, batch.draft_length[i] + beside)
    # a rule that drafts nothing runs no drafter; a plan of 0 (the reference simulator's oracle) does
    if longest == beside and program.plan != Plan.PLANNED:
        return 0.0
    tokens = longest if drafting.of_one_sequence else tokens * m
    return pass_s(prices.draft, n * m, tokens, _draft_kv(program, batch, n, 0) * m)


@compiled()
def _draft_row_s(program, batch, n):  # type: ignore[no-untyped-def]
    """Tell the rule what drafting 0, 1, ... K tokens of every sequence would cost."""
    drafting, m, prices = program.drafting, program.multiplicity, program.believed
    row_s = batch.rule.memory[DRAFT_S:]
    row_s[0], total_s = 0.0, 0.0
    for j in range(program.num_speculative_tokens):
        if drafting.schedule == Schedule.SEQUENTIAL:
            tokens = (n + (batch.counters[NUM_CATCH_UP_TOKENS] if j == 0 else 0)) * m
            sheet = prices.draft if j == 0 else prices.later_draft
            total_s += pass_s(sheet, n * m, tokens, _draft_kv(program, batch, n, j) * m)
        elif drafting.schedule == Schedule.BLOCK:
            each = j + 1 + drafting.tokens_beside
            tokens = each if drafting.of_one_sequence else n * m * each
            total_s = pass_s(prices.draft, n * m, tokens, _draft_kv(program, batch, n, 0) * m)
        row_s[j + 1] = total_s


@compiled()
def _select_lengths(program, select, batch, n, beside, fixed_s, hidden_s):  # type: ignore[no-untyped-def]
    """Ask the rule: lengths to ``batch.length``. A turn of an overlap lasts ``hidden_s`` at least."""
    k, space, survival = program.num_speculative_tokens, batch.rule, program.columns.survival
    if survival.shape[0] > 0:
        for i in range(n):
            for d in range(k):
                space.candidates[i, d] = survival[batch.position[i], d]
    kv = batch.counters[NUM_CONTEXT_TOKENS] * program.multiplicity
    pass_row_s(program.believed.target, n, kv, space.verify_s)
    for e in range(beside.verify_s.size):
        space.verify_s[e] += beside.verify_s[e]
    if program.turn.overlaps:
        for e in range(n * k + 1):
            space.verify_s[e] = max(space.verify_s[e] * program.turn.verify_slowdown, hidden_s)
    return select(
        n,
        space.candidates,
        space.verify_s,
        fixed_s,
        program.options,
        space.memory,
        space.scratch,
        batch.length,
    )


@compiled()
def _draft_s(program, prices, batch, n):  # type: ignore[no-untyped-def]
    """Seconds of drafting this step at these prices, and of the companion's pass over the drafted tokens."""
    m, schedule = program.multiplicity, program.drafting.schedule
    draft_s, companion_s = 0.0, 0.0
    if schedule == Schedule.SEQUENTIAL:
        draft_s = _sequential_draft_s(program, prices, batch, n)
    elif schedule == Schedule.BLOCK:
        draft_s = _block_draft_s(program, prices, batch, n)
    elif schedule == Schedule.TREE:
        tokens = n + batch.counters[NUM_CATCH_UP_TOKENS]
        draft_s = pass_s(prices.draft, n * m, tokens * m, _draft_kv(program, batch, n, 0) * m)
    if program.uses_companion:
        kv = batch.counters[NUM_CONTEXT_TOKENS] * m
        tokens = n * program.num_speculative_tokens + batch.counters[NUM_UNSCORED_TOKENS]
        companion_s = pass_s(prices.companion, n * m, tokens * m, kv)
    return draft_s, companion_s


@compiled()
def _advance_uniform(program, batch, n):  # type: ignore[no-untyped-def]
    """Emit min(accepted, K) + 1 tokens for every sequence."""
    k, reading = program.num_speculative_tokens, program.drafting.reading
    accepted, position, end = program.columns.accepted, batch.position, batch.end
    emitted, unseen, read_again, finished = 0, 0, 0, 0
    for i in range(n):
        here = position[i]
        kept = min(np.int64(accepted[np.uint64(here)]), k)
        position[i] = here + kept + 1
        emitted += kept
        unseen += kept == k
        if here + kept + 1 >= end[i]:
            unseen -= kept == k
            read_again -= kept
            batch.finished[finished] = i
            finished += 1
    batch.counters[NUM_CONTEXT_TOKENS] += emitted + n
    batch.counters[NUM_UNSCORED_TOKENS] = unseen if k > 0 else 0
    batch.counters[NUM_CATCH_UP_TOKENS] = unseen if k > 0 else 0
    if reading == Reading.ALL:
        batch.counters[NUM_CATCH_UP_TOKENS] = emitted + read_again
    elif reading == Reading.LAST:
        batch.counters[NUM_CATCH_UP_TOKENS] = 0
    batch.counters[NUM_FINISHED] = finished


@compiled()
def owed_after(reading, owed, drafted, kept):  # type: ignore[no-untyped-def]
    """Emitted tokens that a drafter reads next, having drafted so many of which some were kept."""
    if reading == Reading.LAST:
        return 1
    if drafted == 0:
        return owed + 1
    if reading == Reading.ALL:
        return kept + 1
    return 1 + (kept == drafted)


@compiled()
def _advance_planned(program, batch, n):  # type: ignore[no-untyped-def]
    """Emit min(accepted, length) + 1 tokens for every sequence."""
    accepted, reading = program.columns.accepted, program.drafting.reading
    emitted, verified, catch_up, unscored, finished = 0, 0, 0, 0, 0
    for i in range(n):
        here = batch.position[i]
        length, drafted = batch.length[i], batch.draft_length[i]
        kept = min(np.int64(accepted[here]), length)
        verified += length
        batch.position[i] = here + kept + 1
        batch.num_verified[i] += length
        batch.num_drafted[i] += drafted
        batch.num_owed[i] = owed_after(reading, batch.num_owed[i], drafted, kept)
        emitted += kept + 1
        if here + kept + 1 >= batch.end[i]:
            batch.finished[finished] = i
            finished += 1
        else:
            catch_up += batch.num_owed[i] - 1
            unscored += kept == drafted
    memory = batch.rule.memory
    memory[LAST_ACCEPTED], memory[LAST_VERIFIED] = emitted - n, verified
    batch.counters[NUM_CONTEXT_TOKENS] += emitted
    batch.counters[NUM_CATCH_UP_TOKENS] = catch_up
    batch.counters[NUM_UNSCORED_TOKENS] = unscored
    batch.counters[NUM_FINISHED] = finished


@compiled()
def _believed_rest_s(program, batch, n, beside, overhead_s, draft_s, companion_s):  # type: ignore[no-untyped-def]
    """What a rule believes: seconds that hide verification, and seconds of the step besides it."""
    turn = program.turn
    if program.is_mispriced:
        draft_s, companion_s = _draft_s(program, program.believed, batch, n)
        draft_s = (draft_s + beside.draft_s) * turn.draft_slowdown
        companion_s = (companion_s + beside.companion_s) * turn.draft_slowdown
    hidden_s = draft_s + companion_s if turn.overlaps else 0.0
    return hidden_s, overhead_s if turn.overlaps else overhead_s + draft_s + companion_s


@compiled()
def _plan_asked(program, ask, batch, n, beside):  # type: ignore[no-untyped-def]
    """``plan_step`` of a rule that is asked before every draft pass."""
    prices, kv, clocks = program.prices, batch.counters[NUM_CONTEXT_TOKENS], batch.clocks
    overhead_s = prices.overhead_s + prices.overhead_per_sequence_s * n
    owed, fixed_s = batch.counters[NUM_CATCH_UP_TOKENS], overhead_s + beside.draft_s
    draft_kv = _draft_kv(program, batch, n, 0)
    show_prices(program, batch.asked, n, (kv, draft_kv, owed, fixed_s), beside)
    tokens, draft_s, ask_s = draft_by_rule(program, ask, batch, n)
    clocks[OVERHEAD] += overhead_s + ask_s
    clocks[DRAFT] += draft_s + beside.draft_s
    clocks[VERIFY] += charge_verification(program, batch, n, kv, tokens)
    return tokens


@compiled()
def plan_step(program, select, ask, batch, n, beside):  # type: ignore[no-untyped-def]
    """Choose lengths and price the step of the first n slots; returns the draft tokens to verify.

    The lengths are in ``batch.length`` and ``batch.draft_length``, but for K for all, which is not written.
    """
    if program.plan == Plan.ASKED:
        return _plan_asked(program, ask, batch, n, beside)
    k, m, prices, turn = program.num_speculative_tokens, program.multiplicity, program.prices, program.turn
    kv = batch.counters[NUM_CONTEXT_TOKENS] * m
    tokens, overhead_s = n * k, prices.overhead_s + prices.overhead_per_sequence_s * (n * m)
    if program.plan == Plan.PLANNED:
        tokens = 0
        for i in range(n):
            batch.length[i] = min(np.int64(program.columns.planned[batch.position[i]]), k)
            batch.draft_length[i] = batch.length[i] if program.drafting.as_planned else k
            if program.columns.drafted.size > 0:
                batch.draft_length[i] = program.columns.drafted[batch.position[i]]
            tokens += batch.length[i]
    elif program.plan == Plan.SELECTED and program.drafting.as_planned:
        _draft_row_s(program, batch, n)
        tokens = _select_lengths(program, select, batch, n, beside, overhead_s, 0.0)
        for i in range(n):
            batch.draft_length[i] = batch.length[i]

    draft_s, companion_s = _draft_s(program, prices, batch, n)
    draft_s, companion_s = draft_s + beside.draft_s, companion_s + beside.companion_s
    draft_s, companion_s = draft_s * turn.draft_slowdown, companion_s * turn.draft_slowdown
    if program.plan == Plan.SELECTED and not program.drafting.as_planned:
        batch.draft_length[:n] = k
        hidden_s, fixed_s = _believed_rest_s(program, batch, n, beside, overhead_s, draft_s, companion_s)
        tokens = _select_lengths(program, select, batch, n, beside, fixed_s, hidden_s)
    verify_s = pass_s(prices.target, n * m, (n + tokens) * m, kv) * turn.verify_slowdown
    if program.columns.turns.size > 0:
        draft_s, verify_s = switched_s(prices, program.columns.turns, batch, n, m)
        draft_s += beside.draft_s
    if turn.overlaps and draft_s + companion_s > 0.0:  # what verification hides costs nothing
        seen = max(1.0 - verify_s / (draft_s + companion_s), 0.0)
        draft_s, companion_s = draft_s * seen, companion_s * seen

    batch.clocks[OVERHEAD] += overhead_s
    batch.clocks[DRAFT] += draft_s
    batch.clocks[COMPANION] += companion_s
    batch.clocks[VERIFY] += verify_s
    return tokens


@compiled()
def spend_parallel(program, batch, n, draft_s, verify_s, prompts_s):  # type: ignore[no-untyped-def]
    """Add a step's seconds to the clocks: of drafting what lasts beyond the target's side."""
    prices, clocks = program.prices, batch.clocks
    overhead_s = prices.overhead_s + prices.overhead_per_sequence_s * (n * program.multiplicity)
    clocks[OVERHEAD] += overhead_s + program.turn.sync_s
    clocks[DRAFT] += max(draft_s - verify_s - prompts_s, 0.0)
    clocks[VERIFY] += verify_s
    clocks[PREFILL] += prompts_s


@compiled()
def take_step(program, select, ask, batch, n):  # type: ignore[no-untyped-def]
    """One step of the first n slots: adds its seconds to ``batch.clocks`` and moves the sequences.

    Finished slots are listed in ``batch.finished``; their positions are left untruncated (past
    ``end``), and their context is still counted until the caller removes them.
    """
    if program.turn.gammas.size > 0:
        draft_s, verify_s = parallel_sides_s(program, batch, n, batch.counters[NUM_CONTEXT_TOKENS])
        spend_parallel(program, batch, n, draft_s, verify_s, 0.0)
        emitted, finished = advance_parallel(program, batch, n)
        batch.counters[NUM_CONTEXT_TOKENS] += emitted
        batch.counters[NUM_FINISHED] = finished
        return
    plan_step(program, select, ask, batch, n, Beside(0.0, 0.0, batch.rule.verify_s[:0]))
    if program.plan == Plan.UNIFORM:
        _advance_uniform(program, batch, n)
    else:
        if program.plan == Plan.ASKED:
            note_outcomes(program, batch, n)
            ask(LEARN, 0, n, batch.asked, program.options)
        _advance_planned(program, batch, n)


@compiled()
def place(batch, slot, position, end, num_context_tokens):  # type: ignore[no-untyped-def]
    """Put a sequence into a slot; its drafter owes the last emitted token only."""
    batch.position[slot] = position
    batch.end[slot] = end
    batch.context_base[slot] = num_context_tokens - position
    batch.num_owed[slot] = 1
    batch.num_verified[slot] = 0
    batch.num_drafted[slot] = 0
    batch.carried[slot] = 0
    batch.num_accepted[slot] = 0
    batch.counters[NUM_CONTEXT_TOKENS] += num_context_tokens
    forget(batch, batch.asked.seat[slot])
