"""The renewal and threshold laws: goodput of a continuously refilled batch in closed form.

A method's walks over the trace are summed up once in a ``MethodLaw``; after that, any batch size on any
hardware is arithmetic (``throughput_grid``). Derivation: docs/analytic.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from svsim.compiled import compiled
from svsim.decoding.method import DecodingMethod, SelectByRule, VerifyAll
from svsim.decoding.selection_rules import EMITTED, TOP_LEVEL, first_drop_goodput
from svsim.engines.analytic_prices import (
    ContextKnots,
    Counts,
    Floats,
    StepTables,
    binomial_law,
    law_of_sum,
)
from svsim.engines.analytic_walks import (
    BELIEVED,
    CATCH_UP,
    CONTEXT,
    STEPS,
    VERIFIED,
    Paths,
    even_cuts,
    walk_lengths,
    walk_thresholds,
)
from svsim.engines.binding import BoundColumns, drafts_as_planned

NUM_CUTS = 100
NUM_SEARCHES = 3  # a search prices the catch-up tokens that follow from the last one's answer


@dataclass(frozen=True, slots=True)
class MethodLaw:
    """Means per sequence and step over the steps that a method's walks take, at P thresholds.

    verified: mean verification length, increasing; believed: mean believed survival kept (expected
    accepted tokens); tokens_per_step: output tokens / steps; catch_up: mean tokens the drafter owes
    beyond the last; context: mean context tokens. float64 [P]; P = 1 unless lengths are selected.
    cuts: int64 [P], encoded survival from which on tokens are verified (selected lengths only).
    length_law: P(verification length), float64 [K + 1] (planned lengths only).
    """

    method: DecodingMethod
    verified: Floats
    believed: Floats
    tokens_per_step: Floats
    catch_up: Floats
    context: Floats
    cuts: Counts
    length_law: Floats

    def between(self, values: Floats, verified: Floats) -> Floats:
        """``values`` [P] at mean verification lengths between the thresholds'."""
        return np.interp(verified, self.verified, values)


def method_law(
    method: DecodingMethod, paths: Paths, replicates: Sequence[BoundColumns], num_tokens: int
) -> MethodLaw:
    """Walk a method over its columns, one set per replicate of the coins; a walk emits ``num_tokens``."""
    cuts, length_law = np.zeros(0, np.int64), np.zeros(0)
    if isinstance(method.selection, SelectByRule):
        fewest = fewest_verified(method)
        cuts = even_cuts(replicates[0].survival, fewest, NUM_CUTS)
        sums = sum(walk_thresholds(paths, c.accepted, c.survival, cuts, fewest) for c in replicates)
        distinct = np.append(np.diff(sums[:, VERIFIED] / sums[:, STEPS]) > 1e-9, True)
        sums, cuts = sums[distinct], cuts[distinct]
    else:
        visits = [walk_lengths(paths, c.accepted, *length_plan(method, c)) for c in replicates]
        total = sum(v.sums.sum(axis=0) for v in visits)
        sums = total[None, [0, 1, 0, 3, 4]]
        if not isinstance(method.selection, VerifyAll):
            ...
