"""One decoding step of a running batch: plan, price, advance. The only truth about a step.

A step drafts up to K tokens for every sequence, optionally scores them with the companion, chooses
verification lengths (some methods before they draft), verifies, and emits accepted + 1 tokens per
sequence (recovered or bonus token included). ``StepProgram`` is a decoding method bound to a trace and a
latency model: arrays only. ``Batch`` is the state of the running sequences. The closed loop and the
serving simulation call ``take_step`` and nothing else to know what a step did and how long it took.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.selection_rules import (
    DRAFT_S,
    LAST_ACCEPTED,
    LAST_VERIFIED,
    MEMORY_SIZE,
    SCRATCH_SIZE,
)
from svsim.engines.prices import EMPTY_SHEET, PriceSheet, growing_passes_s, pass_row_s, pass_s


class Draft(IntEnum):
    """What drafting costs."""

    NONE = 0
    SEQUENTIAL = 1  # one pass per depth over the sequences still drafting
    ONE_PASS = 2  # one pass over all drafted tokens plus one per sequence
    ONE_PASS_OF_ONE_SEQUENCE = 3  # as ONE_PASS, but priced at the tokens of a single sequence


class Plan(IntEnum):
    """Where verification lengths come from."""

    UNIFORM = 0  # K for every sequence
    PLANNED = 1  # looked up per output position
    SELECTED = 2  # the selection rule, every step


class StepProgram(NamedTuple):
    """A decoding method on a trace and a latency model. T positions, K draft tokens.

    accepted:  uint8 [T], accepted draft tokens of the whole chain (the target's answer).
    planned:   uint8 [T] for Plan.PLANNED, else empty.
    survival:  uint16 [T, K] encoded believed survival for Plan.SELECTED, else (or without belief) [0, K].
    draft_as_planned: draft only the length that is verified (else always K); a rule is then asked
        before the draft.
    reads_all: the drafter reads every token emitted in the last step, not only those it did not draft.
    overlaps:  drafting and companion run beside the verification of another micro-batch like this one.
    draft_slowdown, verify_slowdown: factors on the seconds of drafting and companion, and of verification.
    multiplicity: identical copies that every slot stands for (1: none).
    """

    num_speculative_tokens: int
    draft: int
    plan: int
    draft_as_planned: bool
    uses_companion: bool
    reads_all: bool
    overlaps: bool
    draft_slowdown: float
    verify_slowdown: float
    accepted: NDArray[np.uint8]
    planned: NDArray[np.uint8]
    survival: NDArray[np.uint16]
    options: NDArray[np.float64]
    overhead_s: float
    target_prices: PriceSheet
    draft_prices: PriceSheet
    companion_prices: PriceSheet
    multiplicity: int


def empty_program() -> StepProgram:
    """A program of no work: its field types are those of every program."""
    return StepProgram(
        0, 0, 0, False, False, False, False, 1.0, 1.0,
        np.zeros(0, np.uint8), np.zeros(0, np.uint8), np.zeros((0, 1), np.uint16), np.zeros(0),
        0.0, EMPTY_SHEET, EMPTY_SHEET, EMPTY_SHEET, 1,
    )  # fmt: skip


# counters of a batch
NUM_CONTEXT_TOKENS, NUM_CATCH_UP_TOKENS, NUM_FINISHED = 0, 1, 2
# clocks of a batch, seconds since its start
OVERHEAD, DRAFT, COMPANION, VERIFY, PREFILL = 0, 1, 2, 3, 4
NUM_CLOCKS = 5


class Batch(NamedTuple):
    """Running sequences, one slot each; int64 [slots] unless said.

    position, end: row of the trace the sequence is at, and one past its last row.
    context_base:  context tokens at a position = position + context_base.
    num_owed:      emitted tokens the drafter has not seen; its first pass of a step takes them.
    length, draft_length: plan of this step. num_verified, num_drafted: since admission.
    finished:      slots that ended in the last step (the first counters[NUM_FINISHED]).
    counters:      context and catch-up tokens of the batch, number finished.
    clocks:        float64 [NUM_CLOCKS].
    """

    position: NDArray[np.int64]
    end: NDArray[np.int64]
    context_base: NDArray[np.int64]
    num_owed: NDArray[np.int64]
    length: NDArray[np.int64]
    draft_length: NDArray[np.int64]
    num_verified: NDArray[np.int64]
    num_drafted: NDArray[np.int64]
    finished: NDArray[np.int64]
    counters: NDArray[np.int64]
    clocks: NDArray[np.float64]
    candidates: NDArray[np.uint16]
    verify_s: NDArray[np.float64]
    memory: NDArray[np.float64]
    scratch: NDArray[np.int64]


def new_batch(num_slots: int, num_speculative_tokens: int) -> Batch:
    """An empty batch of ``num_slots`` slots."""
    position, end, base, owed, length, draft_length, verified, drafted, finished = (
        np.zeros(num_slots, np.int64) for _ in range(9)
    )
    return Batch(
        position,
        end,
        base,
        owed,
        length,
        draft_length,
        verified,
        drafted,
        finished,
        counters=np.zeros(3, np.int64),
        clocks=np.zeros(NUM_CLOCKS),
        candidates=np.zeros((num_slots, max(num_speculative_tokens, 1)), np.uint16),
        verify_s=np.zeros(num_slots * num_speculative_tokens + 1),
        memory=np.zeros(MEMORY_SIZE),
        scratch=np.zeros(SCRATCH_SIZE, np.int64),
    )


@compiled()
def _sequential_draft_s(program, batch, n):  # type: ignore[no-untyped-def]
    """Pass j runs over the sequences that draft more than j tokens, at their context + j."""
    k = program.num_speculative_tokens
    m = program.multiplicity
    sheet = program.draft_prices
    if not program.draft_as_planned:
        kv = batch.counters[NUM_CONTEXT_TOKENS] * m
        first_s = pass_s(sheet, n * m, (n + batch.counters[NUM_CATCH_UP_TOKENS]) * m, kv)
        return first_s + growing_passes_s(sheet, n * m, kv + n * m, k - 1)
    seconds = 0.0
    for j in range(k):
        sequences, tokens, kv = 0, 0, 0
        for i in range(n):
            if batch.draft_length[i] > j:
                sequences += 1
                tokens += batch.num_owed[i] if j == 0 else 1
                kv += batch.position[i] + batch.context_base[i] + j
        if sequences == 0:
            break
        seconds += pass_s(sheet, sequences * m, tokens * m, kv * m)
    return seconds


@compiled()
def _draft_row_s(program, batch, n):  # type: ignore[no-untyped-def]
    """Tell the rule what drafting 0, 1, ... K tokens of every sequence would cost."""
    m, sheet, row_s = program.multiplicity, program.draft_prices, batch.memory[DRAFT_S:]
    kv = batch.counters[NUM_CONTEXT_TOKENS] * m
    row_s[0], total_s = 0.0, 0.0
    for j in range(program.num_speculative_tokens):
        if program.draft == Draft.SEQUENTIAL:
            tokens = (n + (batch.counters[NUM_CATCH_UP_TOKENS] if j == 0 else 0)) * m
            total_s += pass_s(sheet, n * m, tokens, kv + j * n * m)
        else:
            each = j + 2
            tokens = each if program.draft == Draft.ONE_PASS_OF_ONE_SEQUENCE else n * m * each
            total_s = pass_s(sheet, n * m, tokens, kv)
        row_s[j + 1] = total_s


@compiled()
def _select_lengths(program, select, batch, n, fixed_s, hidden_s):  # type: ignore[no-untyped-def]
    """Ask the rule: lengths to ``batch.length``. A turn of an overlap lasts ``hidden_s`` at least."""
    k = program.num_speculative_tokens
    if program.survival.shape[0] > 0:
        for i in range(n):
            for d in range(k):
                batch.candidates[i, d] = program.survival[batch.position[i], d]
    kv = batch.counters[NUM_CONTEXT_TOKENS] * program.multiplicity
    pass_row_s(program.target_prices, n, kv, batch.verify_s)
    if program.overlaps:
        for e in range(n * k + 1):
            batch.verify_s[e] = max(batch.verify_s[e] * program.verify_slowdown, hidden_s)
    return select(
        n,
        batch.candidates,
        batch.verify_s,
        fixed_s,
        program.options,
        batch.memory,
        batch.scratch,
        batch.length,
    )


@compiled()
def _draft_s(program, batch, n):  # type: ignore[no-untyped-def]
    """Seconds of drafting this step, and of the companion's pass over the drafted tokens."""
    m = program.multiplicity
    k = program.num_speculative_tokens
    kv = batch.counters[NUM_CONTEXT_TOKENS] * m
    draft_s, companion_s = 0.0, 0.0
    if program.draft == Draft.SEQUENTIAL:
        draft_s = _sequential_draft_s(program, batch, n)
    elif program.draft != Draft.NONE:
        tokens, longest = n * (k + 1), k + 1
        if program.draft_as_planned:
            tokens, longest = n, 1
            for i in range(n):
                tokens += batch.draft_length[i]
                longest = max(longest, batch.draft_length[i] + 1)
        tokens = longest if program.draft == Draft.ONE_PASS_OF_ONE_SEQUENCE else tokens * m
        # a rule that drafts nothing runs no drafter; a plan of 0 (the reference simulator's oracle) does
        if longest > 1 or program.plan == Plan.PLANNED:
            draft_s = pass_s(program.draft_prices, n * m, tokens, kv)
    if program.uses_companion:
        tokens = n * k + batch.counters[NUM_CATCH_UP_TOKENS]
        companion_s = pass_s(program.companion_prices, n * m, tokens * m, kv)
    return draft_s, companion_s


@compiled()
def _advance_uniform(program, batch, n):  # type: ignore[no-untyped-def]
    """Emit min(accepted, K) + 1 tokens for every sequence."""
    k = program.num_speculative_tokens
    accepted, position, end = program.accepted, batch.position, batch.end
    emitted, catch_up, read_again, finished = 0, 0, 0, 0
    for i in range(n):
        here = position[i]
        kept = min(np.int64(accepted[np.uint64(here)]), k)
        position[i] = here + kept + 1
        emitted += kept
        catch_up += kept == k
        if here + kept + 1 >= end[i]:
            catch_up -= kept == k
            read_again -= kept
            batch.finished[finished] = i
            finished += 1
    batch.counters[NUM_CONTEXT_TOKENS] += emitted + n
    batch.counters[NUM_CATCH_UP_TOKENS] = catch_up if k > 0 else 0
    if program.reads_all:
        batch.counters[NUM_CATCH_UP_TOKENS] = emitted + read_again
    batch.counters[NUM_FINISHED] = finished


@compiled()
def _advance_planned(program, batch, n):  # type: ignore[no-untyped-def]
    """Emit min(accepted, length) + 1 tokens for every sequence."""
    emitted, verified, catch_up, finished = 0, 0, 0, 0
    for i in range(n):
        here = batch.position[i]
        length, drafted = batch.length[i], batch.draft_length[i]
        kept = min(np.int64(program.accepted[here]), length)
        verified += length
        batch.position[i] = here + kept + 1
        batch.num_verified[i] += length
        batch.num_drafted[i] += drafted
        batch.num_owed[i] = batch.num_owed[i] + 1 if drafted == 0 else 1 + (kept == drafted)
        emitted += kept + 1
        if here + kept + 1 >= batch.end[i]:
            batch.finished[finished] = i
            finished += 1
        else:
            catch_up += batch.num_owed[i] - 1
    batch.memory[LAST_ACCEPTED], batch.memory[LAST_VERIFIED] = emitted - n, verified
    batch.counters[NUM_CONTEXT_TOKENS] += emitted
    batch.counters[NUM_CATCH_UP_TOKENS] = catch_up
    batch.counters[NUM_FINISHED] = finished


@compiled()
def take_step(program, select, batch, n):  # type: ignore[no-untyped-def]
    """One step of the first n slots: adds its seconds to ``batch.clocks`` and moves the sequences.

    Finished slots are listed in ``batch.finished``; their positions are left untruncated (past
    ``end``), and their context is still counted until the caller removes them.
    """
    k = program.num_speculative_tokens
    m = program.multiplicity
    kv = batch.counters[NUM_CONTEXT_TOKENS] * m
    tokens, overhead_s = n * k, program.overhead_s
    if program.plan == Plan.PLANNED:
        tokens = 0
        for i in range(n):
            batch.length[i] = min(np.int64(program.planned[batch.position[i]]), k)
            batch.draft_length[i] = batch.length[i] if program.draft_as_planned else k
            tokens += batch.length[i]
    elif program.plan == Plan.SELECTED and program.draft_as_planned:
        _draft_row_s(program, batch, n)
        tokens = _select_lengths(program, select, batch, n, overhead_s, 0.0)
        for i in range(n):
            batch.draft_length[i] = batch.length[i]

    draft_s, companion_s = _draft_s(program, batch, n)
    draft_s, companion_s = draft_s * program.draft_slowdown, companion_s * program.draft_slowdown
    if program.plan == Plan.SELECTED and not program.draft_as_planned:
        batch.draft_length[:n] = k
        hidden_s = draft_s + companion_s if program.overlaps else 0.0
        fixed_s = overhead_s if program.overlaps else overhead_s + draft_s + companion_s
        tokens = _select_lengths(program, select, batch, n, fixed_s, hidden_s)
    verify_s = pass_s(program.target_prices, n * m, (n + tokens) * m, kv) * program.verify_slowdown
    if program.overlaps:  # what verification hides costs nothing
        seen = max(1.0 - verify_s / (draft_s + companion_s), 0.0)
        draft_s, companion_s = draft_s * seen, companion_s * seen

    batch.clocks[OVERHEAD] += overhead_s
    batch.clocks[DRAFT] += draft_s
    batch.clocks[COMPANION] += companion_s
    batch.clocks[VERIFY] += verify_s
    if program.plan == Plan.UNIFORM:
        _advance_uniform(program, batch, n)
    else:
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
    batch.counters[NUM_CONTEXT_TOKENS] += num_context_tokens
