"""A step of a batch whose drafter is one of several exits of the target: choose, price, advance; compiled.

All sequences draft equally many tokens at one exit. After verification every exit is known to have been right
or wrong at the rows that were emitted: what their hidden states would have drafted (DEL's shadow tokens).
"""

from svsim.compiled import compiled
from svsim.decoding.exit_rules import EXIT, EXIT_S, MATCHES, SEEN
from svsim.decoding.selection_rules import LAST_ACCEPTED, LAST_VERIFIED
from svsim.engines.prices import PriceSheet, pass_s
from svsim.engines.step import (
    DRAFT,
    NUM_CATCH_UP_TOKENS,
    NUM_CONTEXT_TOKENS,
    NUM_FINISHED,
    OVERHEAD,
    VERIFY,
    take_step,
)


@compiled()
def _sheet_of(sheet, exit_number, num_exits):  # type: ignore[no-untyped-def]
    """The part of stacked sheets that one exit's passes are priced by."""
    rows = len(sheet.places) // num_exits
    first = exit_number * rows
    return PriceSheet(sheet.seconds, sheet.places[first : first + rows], sheet.axis[first : first + rows])


@compiled()
def _price_exits(program, batch, n):  # type: ignore[no-untyped-def]
    """Tell the rule what drafting and verifying 0, 1, ... K tokens of every sequence takes at every exit."""
    k, m, num_exits = program.num_speculative_tokens, program.multiplicity, program.columns.exits.shape[1]
    kv, row_s = batch.counters[NUM_CONTEXT_TOKENS] * m, batch.rule.memory[EXIT_S:]
    for e in range(num_exits):
        draft, target = (
            _sheet_of(program.prices.draft, e, num_exits),
            _sheet_of(program.prices.target, e, num_exits),
        )
        draft_s = 0.0
        for d in range(k + 1):
            row_s[e * (k + 1) + d] = draft_s + pass_s(target, n * m, n * (d + 1) * m, kv)
            draft_s += pass_s(draft, n * m, n * m, kv + d * n * m)


@compiled()
def _advance(program, batch, n, chosen, length):  # type: ignore[no-untyped-def]
    """Emit min(accepted, length) + 1 tokens for every sequence; note what every exit had right there."""
    exits, memory, num_exits = program.columns.exits, batch.rule.memory, program.columns.exits.shape[1]
    emitted, finished = 0, 0
    memory[SEEN] = 0.0
    memory[MATCHES : MATCHES + num_exits] = 0.0
    for i in range(n):
        here = batch.position[i]
        kept = min(int(exits[here, chosen]), length)
        end = min(here + kept + 1, batch.end[i])
        for row in range(here, end):
            for e in range(num_exits):
                memory[MATCHES + e] += exits[row, e] > 0
        memory[SEEN] += end - here
        batch.position[i] = here + kept + 1
        batch.num_verified[i] += length
        batch.num_drafted[i] += length
        emitted += kept + 1
        if here + kept + 1 >= batch.end[i]:
            batch.finished[finished] = i
            finished += 1
    memory[LAST_ACCEPTED], memory[LAST_VERIFIED] = emitted - n, n * length
    batch.counters[NUM_CONTEXT_TOKENS] += emitted
    batch.counters[NUM_CATCH_UP_TOKENS] = 0
    batch.counters[NUM_FINISHED] = finished


@compiled()
def _take_exit_step(program, select, batch, n):  # type: ignore[no-untyped-def]
    """One step of the first n slots at the exit and length that the rule chooses."""
    k, m, prices, space = program.num_speculative_tokens, program.multiplicity, program.prices, batch.rule
    overhead_s = prices.overhead_s + prices.overhead_per_sequence_s * (n * m)
    kv = batch.counters[NUM_CONTEXT_TOKENS] * m
    _price_exits(program, batch, n)
    select(
        n, space.candidates, space.verify_s, overhead_s, program.options, space.memory, space.scratch,
        batch.length,
    )  # fmt: skip
    chosen, length = int(space.memory[EXIT]), batch.length[0]
    target = _sheet_of(prices.target, chosen, program.columns.exits.shape[1])
    verify_s = pass_s(target, n * m, n * (length + 1) * m, kv)
    batch.clocks[OVERHEAD] += overhead_s
    batch.clocks[DRAFT] += max(space.memory[EXIT_S + chosen * (k + 1) + length] - verify_s, 0.0)
    batch.clocks[VERIFY] += verify_s
    _advance(program, batch, n, chosen, length)


@compiled()
def take_any_step(program, select, ask, batch, n):  # type: ignore[no-untyped-def]
    """One step of the first n slots, whatever drafts."""
    if program.columns.exits.shape[0] > 0:
        _take_exit_step(program, select, batch, n)
    else:
        take_step(program, select, ask, batch, n)
