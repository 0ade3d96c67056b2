"""Batches of identical copies that do everything alike: every step of a walk is priced as it is."""

import numpy as np

from svsim.analytic_model.prices import ContextKnots, Counts, Floats, StepTables
from svsim.decoding.method import DecodingMethod
from svsim.decoding.work import Schedule
from svsim.engines.prices import PricedWork


def lockstep_seconds(
    method: DecodingMethod,
    tables: StepTables,
    lengths: Counts,
    catch_up: Counts,
    unscored: Counts,
    context: Counts,
    drafts: Counts | None = None,
) -> Floats:
    """Seconds of drafting, companion and verification of every step, float64 [V, 3].

    lengths, catch_up, unscored, context: int64 [V], of one copy. tables: of one deployment and batch size
    1, with that many copies. drafts: tokens drafted, int64 [V], where they are not the lengths.
    """
    if method.stops_draft:
        priced = tables.priced(method)[0]
        drafted = lengths if drafts is None else drafts
        draft_s = _exact_draft_s(priced, tables.copies, drafted, catch_up, context)
    else:
        by_owed_s = tables.draft_by_catch_up_s(0, method)[0]
        owed = np.minimum(catch_up, by_owed_s.shape[1] - 1)
        draft_s = _at(by_owed_s, tables.knots, owed, context)
    companion_s = _at(tables.companion_by_unscored_s(0, method)[0], tables.knots, unscored, context)
    verify_s = _at(tables.verify_s(0, method)[0], tables.knots, lengths, context)
    return np.column_stack([draft_s, companion_s, verify_s])


def _at(table: Floats, knots: ContextKnots, column: Counts, context: Counts) -> Floats:
    """Entries of a table [G, N] at columns and contexts [V]."""
    below, share = knots.locate(context)
    return np.asarray(table[below, column] * (1 - share) + table[below + 1, column] * share)


def _exact_draft_s(
    priced: PricedWork,
    copies: int,
    lengths: Counts,
    catch_up: Counts,
    context: Counts,
) -> Floats:
    """Drafting of exactly the planned lengths, [V]."""
    draft, seconds = priced.work.draft, np.zeros(len(lengths))
    if draft.schedule is Schedule.NONE:
        return seconds
    if draft.schedule is Schedule.BLOCK:
        drafted = (
            np.full_like(lengths, priced.work.num_speculative_tokens) if draft.is_paid_whole else lengths
        )
        all_tokens = (drafted + draft.tokens_beside) * (1 if draft.of_one_sequence else copies)
        return priced.draft_s(copies, all_tokens, context * copies)
    if draft.schedule is Schedule.TREE:
        return priced.first_draft_s(copies, (1 + catch_up) * copies, context * copies)
    for j in range(int(lengths.max(initial=0))):
        longer = lengths > j
        tokens = 1 + catch_up[longer] * (j == 0)
        draft_s = priced.first_draft_s if j == 0 else priced.draft_s
        seconds[longer] += draft_s(copies, tokens * copies, (context[longer] + j) * copies)
    return seconds
