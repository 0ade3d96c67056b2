"""Planned lengths (draft stops, filters, bounds): laws of what a batch of them verifies and drafts.

Sequences of a continuously refilled batch are independent: it verifies the sum of n lengths of one law,
and the number of sequences still drafting at a depth is binomial.
"""

from dataclasses import dataclass

import numpy as np

from svsim.analytic_model.prices import Counts, Floats, StepTables, binomial_law, law_of_sum
from svsim.decoding.method import DecodingMethod
from svsim.decoding.work import Schedule
from svsim.engines.prices import PricedWork


@dataclass(frozen=True, slots=True)
class PlannedLengths:
    """Planned lengths 0 .. K over the steps of walks.

    share: float64 [K + 1], of steps by length; drafted_share: by tokens drafted. context_ahead: float64 [K],
    mean context of the steps longer than j, less the mean of all. owed: mean tokens that the first pass takes
    where one is made.
    """

    method: DecodingMethod
    share: Floats
    drafted_share: Floats
    context_ahead: Floats
    owed: float

    @classmethod
    def of(
        cls, method: DecodingMethod, lengths: Counts, drafted: Counts, catch_up: Counts, context: Counts
    ) -> "PlannedLengths":
        """From planned length, tokens drafted, catch-up tokens and context of every step, int64 [V] each."""
        k = method.num_speculative_tokens
        longer = drafted[:, None] > np.arange(k)
        ahead = longer.T @ (context - context.mean()) / np.maximum(longer.sum(axis=0), 1)
        drafting = drafted > 0
        owed = 1.0 + float(catch_up[drafting].mean()) if drafting.any() else 1.0
        share, drafted_share = (np.bincount(c, minlength=k + 1) / len(c) for c in (lengths, drafted))
        return cls(method, share, drafted_share, ahead, owed)

    def verify_s(self, tables: StepTables, i: int) -> Floats:
        """Expected verification at batch size i, [H, G]."""
        law = law_of_sum(self.share, int(tables.batch_sizes[i]))
        return np.asarray(tables.verify_s(i, self.method)[:, :, : len(law)] @ law)

    def draft_s(self, tables: StepTables, i: int, catch_up: float) -> Floats:
        """Expected drafting at batch size i, [H, G]: all K tokens, or exactly the planned ones."""
        n = int(tables.batch_sizes[i])
        if not self.method.stops_draft:
            return np.asarray(tables.draft_s(i, self.method, catch_up)[0])
        priced = tables.priced(self.method)
        return np.stack([self._exact_draft_s(each, n, tables.knots.values) for each in priced])

    def _exact_draft_s(self, priced: PricedWork, n: int, context: Floats) -> Floats:
        draft, k = priced.work.draft, self.method.num_speculative_tokens
        if draft.schedule is Schedule.NONE:
            return np.zeros(len(context))
        if draft.schedule is Schedule.SEQUENTIAL:
            depths = range(len(self.context_ahead))
            return np.asarray(np.stack([self._pass_s(priced, n, context, j) for j in depths]).sum(axis=0))
        kv = context[:, None] * n
        if draft.is_paid_whole:
            return priced.draft_s(n, n * (k + draft.tokens_beside), kv)[:, 0]
        if draft.of_one_sequence:  # priced at the longest draft of one sequence
            tokens, law = 1, np.diff(np.cumsum(self.drafted_share) ** n, prepend=0.0)
        else:
            tokens, law = n * draft.tokens_beside, law_of_sum(self.drafted_share, n)
        return np.asarray(priced.draft_s(n, tokens + np.arange(len(law)), kv) @ law)

    def _pass_s(self, priced: PricedWork, n: int, context: Floats, depth: int) -> Floats:
        """Pass ``depth`` over the sequences that draft more than that: none pay nothing."""
        law = binomial_law(n, [self.drafted_share[depth + 1 :].sum()])[0, 1:]
        counts = np.arange(1, n + 1)
        kv = counts * np.maximum(context[:, None] + self.context_ahead[depth] + depth, 0.0)
        tokens = counts * (self.owed if depth == 0 else 1.0)
        fewer = np.floor(tokens)
        draft_s = priced.first_draft_s if depth == 0 else priced.draft_s
        low, high = (draft_s(counts, t, kv) for t in (fewer, fewer + 1))
        return np.asarray((low + (high - low) * (tokens - fewer)) @ law)
