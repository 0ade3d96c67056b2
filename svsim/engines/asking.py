"""A draft whose rule is asked before every pass (``decoding/pass_rules.py``): run, shown and priced;
compiled.

The rule plans with believed prices; the clock charges the others. Of a draft that comes at once (a block, or
tokens found on the host) all passes but the first are free.
"""

import numpy as np

from svsim.compiled import compiled
from svsim.decoding.pass_rules import (
    ADMIT,
    ASK_S,
    BELIEVED_DRAFT_S,
    BELIEVED_VERIFY_S,
    COMMIT,
    DRAFT,
    DRAFT_S,
    FIRST_S,
    FIXED_S,
    HIDDEN,
    NUM_PASSES,
    SEAT_SIZE,
    VERIFY_S,
)
from svsim.decoding.work import Schedule
from svsim.engines.prices import pass_row_s, pass_s


@compiled()
def _block_s(program, sheet, n, kv):  # type: ignore[no-untyped-def]
    """Seconds of a draft that comes at once, of K tokens for each of n sequences."""
    drafting = program.drafting
    if drafting.schedule != Schedule.BLOCK:
        return 0.0
    each = program.num_speculative_tokens + drafting.tokens_beside
    return pass_s(sheet, n, each if drafting.of_one_sequence else n * each, kv)


@compiled()
def show_prices(program, view, n, step, beside):  # type: ignore[no-untyped-def]
    """Believed prices of this step to the view.

    step: context tokens of the batch and those that its drafter reads; tokens that the drafter owes beyond
    the last ones; seconds besides drafting and verification.
    """
    kv, draft_kv, owed, fixed_s = step
    believed, news = program.believed, view.news
    pass_row_s(believed.target, n, kv, view.verify_s)
    for e in range(beside.verify_s.size):
        view.verify_s[e] += beside.verify_s[e]
    view.draft_s[0] = 0.0
    if program.drafting.schedule == Schedule.SEQUENTIAL:
        for m in range(1, n + 1):
            view.draft_s[m] = pass_s(believed.later_draft, m, m, draft_kv * m / n)
        news[FIRST_S] = pass_s(believed.draft, n, n + owed, draft_kv)
    else:
        view.draft_s[1 : n + 1] = 0.0
        news[FIRST_S] = _block_s(program, believed.draft, n, draft_kv)
    news[FIXED_S], news[ASK_S] = fixed_s, program.ask_s


@compiled()
def _hide(program, view, batch, n):  # type: ignore[no-untyped-def]
    """Nothing is drafted, and nothing shown."""
    for i in range(n):
        view.drafted[i], view.length[i] = 0, 0
        view.owed[i] = batch.num_owed[i]
        for d in range(program.num_speculative_tokens):
            view.law[i, d], view.token[i, d] = HIDDEN, HIDDEN


@compiled()
def _run_pass(program, view, batch, n, d):  # type: ignore[no-untyped-def]
    """Pass d over the chosen that may run: (sequences, charged seconds, believed seconds); shows their
    laws."""
    columns, prices, budget = program.columns, program.prices, program.drafting.kv_budget
    sequences, tokens, kv = 0, 0, 0
    for i in range(n):
        if view.chosen[i] and view.length[i] == d and view.drafted[i] == d and d < view.limit[i]:
            sequences += 1
            tokens += batch.num_owed[i] if d == 0 else 1
            context = batch.position[i] + batch.context_base[i] + d
            kv += context if budget == 0 else min(context, budget)
            view.drafted[i] = d + 1
            view.law[i, d] = columns.survival[batch.position[i], d]
    if sequences == 0:
        return 0, 0.0, 0.0
    if program.drafting.schedule == Schedule.SEQUENTIAL:
        sheet, believed = prices.later_draft, program.believed.later_draft
        if d == 0:
            sheet, believed = prices.draft, program.believed.draft
        return sequences, pass_s(sheet, sequences, tokens, kv), pass_s(believed, sequences, tokens, kv)
    if d > 0:
        return sequences, 0.0, 0.0
    believed_s = _block_s(program, program.believed.draft, sequences, kv)
    return sequences, _block_s(program, prices.draft, sequences, kv), believed_s


@compiled()
def _settle(program, view, batch, n):  # type: ignore[no-untyped-def]
    """Chosen heads will be verified, and may be looked at; how many."""
    num = 0
    for i in range(n):
        head = view.length[i]
        if view.chosen[i] and view.drafted[i] == head + 1:
            view.token[i, head] = program.columns.looked_at[batch.position[i], head]
            view.length[i] = head + 1
            num += 1
    return num


@compiled()
def draft_by_rule(program, ask, batch, n):  # type: ignore[no-untyped-def]
    """Draft and settle what is verified: (tokens to verify, seconds of drafting, seconds of asking).

    Lengths are in ``batch.length`` and ``batch.draft_length``. After ``show_prices``.
    """
    k, view, options = program.num_speculative_tokens, batch.asked, program.options
    _hide(program, view, batch, n)
    seconds, believed_s, tokens, num_passes = 0.0, 0.0, 0, 0
    for d in range(k):
        if ask(DRAFT, d, n, view, options) == 0:
            break
        sequences, pass_seconds, pass_believed_s = _run_pass(program, view, batch, n, d)
        if sequences == 0:
            break
        num_passes += 1
        seconds, believed_s = seconds + pass_seconds, believed_s + pass_believed_s
        if d + 1 == k or ask(COMMIT, d, n, view, options) == 0:
            break
        committed = _settle(program, view, batch, n)
        tokens += committed
        if committed == 0:
            break
    ask(ADMIT, max(num_passes - 1, 0), n, view, options)
    tokens += _settle(program, view, batch, n)
    for i in range(n):
        batch.length[i], batch.draft_length[i] = view.length[i], view.drafted[i]
        if program.drafting.schedule != Schedule.SEQUENTIAL and num_passes > 0:
            batch.draft_length[i] = k
    news = view.news
    news[NUM_PASSES], news[DRAFT_S], news[BELIEVED_DRAFT_S] = num_passes, seconds, believed_s
    return tokens, seconds, (1 + num_passes) * program.ask_s


@compiled()
def charge_verification(program, batch, n, kv, tokens):  # type: ignore[no-untyped-def]
    """Seconds of the verification; the rule is shown them, and those it believed in."""
    news = batch.asked.news
    news[VERIFY_S] = pass_s(program.prices.target, n, n + tokens, kv)
    news[BELIEVED_VERIFY_S] = pass_s(program.believed.target, n, n + tokens, kv)
    return news[VERIFY_S]


@compiled()
def note_outcomes(program, batch, n):  # type: ignore[no-untyped-def]
    """What was accepted, before positions move on."""
    for i in range(n):
        accepted = program.columns.accepted[batch.position[i]]
        batch.asked.kept[i] = min(np.int64(accepted), batch.length[i])


@compiled()
def forget(batch, seat):  # type: ignore[no-untyped-def]
    """Another sequence takes a seat: nothing is known of it."""
    for column in range(SEAT_SIZE):
        batch.asked.seats[seat, column] = 0.0
