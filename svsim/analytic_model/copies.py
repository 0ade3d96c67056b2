"""Batches of identical copies that do everything alike: every step of a walk is priced as it is."""

import numpy as np

from svsim.analytic_model.prices import ContextKnots, Counts, Floats, StepTables
from svsim.decoding.drafters import HeadDrafter
from svsim.decoding.method import DecodingMethod
from svsim.engines.binding import Deployment
from svsim.engines.step import Draft
from svsim.latency.shape import Role, StepShape


def lockstep_seconds(
    method: DecodingMethod,
    tables: StepTables,
    lengths: Counts,
    catch_up: Counts,
    context: Counts,
    mean_accepted: float,
) -> Floats:
    """Seconds of drafting, companion and verification of every step, float64 [V, 3].

    lengths, catch_up, context: int64 [V], of one copy. tables: of one deployment and batch size 1, with
    that many copies. mean_accepted: per step, what a head reads again (its first pass is priced there).
    """
    k, either, owes = method.num_speculative_tokens, np.eye(2), np.minimum(catch_up, 1)
    if method.stops_draft:
        deployment = tables.deployments[0]
        draft_s = _exact_draft_s(deployment, method, tables.copies, lengths, catch_up, context)
    elif isinstance(method.drafter, HeadDrafter):
        passes_s = tables.head_draft_s(0, method, mean_accepted)[0, 0, :, None]
        draft_s = _at(passes_s, tables.knots, np.zeros_like(owes), context)
    else:
        draft_s = _at(tables.draft_s(0, k, either)[:, 0].T, tables.knots, owes, context)
    companion_s = _at(tables.companion_s(0, method, either)[:, 0].T, tables.knots, owes, context)
    verify_s = _at(tables.verify_s(0)[0], tables.knots, lengths, context)
    return np.column_stack([draft_s, companion_s, verify_s])


def _at(table: Floats, knots: ContextKnots, column: Counts, context: Counts) -> Floats:
    """Entries of a table [G, N] at columns and contexts [V]."""
    below, share = knots.locate(context)
    return np.asarray(table[below, column] * (1 - share) + table[below + 1, column] * share)


def _exact_draft_s(
    deployment: Deployment,
    method: DecodingMethod,
    copies: int,
    lengths: Counts,
    catch_up: Counts,
    context: Counts,
) -> Floats:
    """Drafting of exactly the planned lengths, [V]."""
    kind, price = deployment.draft_kind(method), deployment.latency.predict_s
    if kind != Draft.SEQUENTIAL:
        all_tokens = (lengths + 1) * (copies if kind == Draft.ONE_PASS else 1)
        return price(StepShape(Role.DRAFT, copies, all_tokens, context * copies))
    seconds = np.zeros(len(lengths))
    for j in range(int(lengths.max(initial=0))):
        longer = lengths > j
        tokens = 1 + catch_up[longer] * (j == 0)
        seconds[longer] += price(
            StepShape(Role.DRAFT, copies, tokens * copies, (context[longer] + j) * copies)
        )
    return seconds
