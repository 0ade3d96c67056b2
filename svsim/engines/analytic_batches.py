"""Batches of visited starts: what a selection rule does to a stationary batch, by drawing them.

A rule sees a whole batch, so where the step time has stairs (or the batch is small) lengths depend on
the company a sequence keeps. Steps of a continuously refilled batch are, to the order 1 / requests,
independent draws of visited starts: they are shuffled, cut into batches and shown to the real rule, the
requests are walked again at the lengths that result, and so on to a fixed point.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import types
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.method import DecodingMethod, SelectByRule
from svsim.decoding.selection_rules import MEMORY_SIZE, RULE, SCRATCH_SIZE
from svsim.engines.analytic_prices import Counts, Floats
from svsim.engines.analytic_walks import Paths, Visits, contexts_at, walk_lengths
from svsim.engines.binding import BoundColumns

NUM_ROUNDS = 3
MIN_BATCHES = 2000  # starts are shuffled again until so many batches were priced

_COUNTS, _FLOATS, _TABLE = types.int64[::1], types.float64[::1], types.float64[:, ::1]


@dataclass(frozen=True, slots=True)
class BatchPrices:
    """Seconds of the parts of a step of n sequences by mean context, all [G, ...] on uniform knots.

    draft_s, companion_s: [G, n + 1] by catch-up tokens; verify_s: [G, n K + 1] by draft tokens verified;
    overhead_s: the rest.
    """

    context_low: float
    knots_per_token: float
    overhead_s: float
    draft_s: Floats
    companion_s: Floats
    verify_s: Floats


@dataclass(frozen=True, slots=True)
class StationaryBatch:
    """The fixed point: lengths at every position, the walk at them, and mean seconds of a step's parts."""

    lengths: NDArray[np.uint8]
    visits: Visits
    draft_s: float
    companion_s: float
    verify_s: float


@compiled(
    types.void(
        types.FunctionType(RULE), _COUNTS, _COUNTS, _COUNTS, types.Array(types.uint16, 2, "C"),
        _FLOATS, _TABLE, _TABLE, _TABLE, _FLOATS,
        types.Array(types.uint16, 2, "C"), _FLOATS, _FLOATS, _COUNTS, _COUNTS,
        types.Array(types.uint8, 1, "C"), _FLOATS,
    )  # fmt: skip
)
def _select_batches(  # type: ignore[no-untyped-def]
    select, starts, catch_up, context, survival,
    axis, draft_s, companion_s, verify_s, options,
    candidates, row, memory, scratch, slot_lengths,
    lengths, seconds,
):  # fmt: skip
    """Show every n consecutive starts to the rule; write their lengths, add up seconds of the parts."""
    n, k = candidates.shape
    last_knot = draft_s.shape[0] - 2
    for b in range(starts.size // n):
        owed, tokens_read = 0, 0
        for i in range(n):
            here = b * n + i
            owed += catch_up[here]
            tokens_read += context[here]
            for d in range(k):
                candidates[i, d] = survival[starts[here], d]
        place = (tokens_read / n - axis[0]) * axis[1]
        g = min(max(int(place), 0), last_knot)
        up = min(max(place - g, 0.0), 1.0)
        drafting = draft_s[g, owed] * (1.0 - up) + draft_s[g + 1, owed] * up
        scoring = companion_s[g, owed] * (1.0 - up) + companion_s[g + 1, owed] * up
        for e in range(row.size):
            row[e] = verify_s[g, e] * (1.0 - up) + verify_s[g + 1, e] * up
        fixed_s = axis[2] + drafting + scoring
        chosen = select(n, candidates, row, fixed_s, options, memory, scratch, slot_lengths)
        seconds[0] += drafting
        seconds[1] += scoring
        seconds[2] += row[chosen]
        for i in range(n):
            lengths[starts[b * n + i]] = slot_lengths[i]
