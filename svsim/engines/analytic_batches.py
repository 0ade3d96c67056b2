"""Batches of visited starts: what a selection rule does to a full batch, found by drawing batches.

A rule sees a whole batch, so where the step time has stairs, or the batch is small, a sequence's length
depends on the company it keeps. A step of a continuously refilled batch is, nearly, an independent draw
of visited starts: they are shuffled, cut into batches and shown to the real rule; the requests are walked
again at the lengths that result; and so on to a fixed point.
"""

from dataclasses import dataclass

import numpy as np
from numba import types
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.method import DecodingMethod, SelectByRule
from svsim.decoding.selection_rules import MEMORY_SIZE, NUM_LEVELS, RULE, SCRATCH_SIZE
from svsim.engines.analytic_law import MethodLaw, fewest_verified
from svsim.engines.analytic_prices import Counts, Floats
from svsim.engines.analytic_walks import STEPS, Paths, walk_lengths
from svsim.engines.binding import BoundColumns

Lengths = NDArray[np.uint8]

NUM_ROUNDS = 3
MIN_BATCHES = 2000  # fewer starts than these batches hold are shuffled several times


@dataclass(frozen=True, slots=True)
class BatchPrices:
    """What the rule is told a step of n sequences costs, by mean context on G uniform knots.

    other_s: [G, n + 1], everything but verification, by catch-up tokens; verify_s: [G, n K + 1], by
    draft tokens verified.
    """

    context_low: float
    knots_per_token: float
    other_s: Floats
    verify_s: Floats


@dataclass(frozen=True, slots=True)
class BatchSample:
    """Steps of full batches once selection has settled: tokens verified and catch-up tokens, int64 [M].

    lengths: uint8 [T], the verification length that each position met in a batch.
    """

    lengths: Lengths
    num_verified: Counts
    num_catch_up: Counts


def sample_batches(
    method: DecodingMethod,
    columns: BoundColumns,
    paths: Paths,
    prices: BatchPrices,
    num_sequences: int,
    rng: np.random.Generator,
    of_copies: bool = False,
) -> BatchSample:
    """The fixed point of selection and walks for batches of ``num_sequences``.

    ``of_copies``: a batch holds steps of one request only. The first round shows every position; later
    ones those where steps start, and any other position is given the threshold of some batch.
    """
    assert isinstance(method.selection, SelectByRule)
    k, num_rows = method.num_speculative_tokens, paths.end - paths.first
    lengths = np.zeros(len(columns.accepted), np.uint8)
    request = np.repeat(np.arange(len(num_rows)), num_rows)
    starts = np.arange(num_rows.sum()) + np.repeat(paths.first - np.cumsum(num_rows) + num_rows, num_rows)
    catch_up = np.zeros(len(starts), np.int64)
    memory = np.zeros(MEMORY_SIZE)
    for round_number in range(NUM_ROUNDS + 1):
        if round_number > 0:
            visits = walk_lengths(paths, columns.accepted, lengths[None, :], k)
            starts, catch_up = visits.starts, visits.catch_up
            request = np.repeat(np.arange(len(num_rows)), visits.sums[:, STEPS])
        order = _shuffled(request if of_copies else None, len(starts), num_sequences, rng)
        num_verified, num_catch_up, cuts = np.empty((3, len(order) // num_sequences), np.int64)
        _select_batches(
            method.selection.rule,
            starts[order],
            catch_up[order],
            (starts + paths.context_base[request])[order],
            columns.survival,
            np.array([prices.context_low, prices.knots_per_token]),
            prices.other_s,
            prices.verify_s,
            np.asarray(method.selection.options, np.float64),
            np.zeros((num_sequences, k), np.uint16),
            np.empty(prices.verify_s.shape[1]),
            memory,
            np.zeros(SCRATCH_SIZE, np.int64),
            np.zeros(num_sequences, np.int64),
            rng.random(len(cuts)),
            lengths,
            num_verified,
            num_catch_up,
            cuts,
        )
        elsewhere = np.ones(len(lengths), np.bool_)
        elsewhere[starts] = False
        any_batch = cuts[rng.integers(len(cuts), size=len(lengths))]
        _apply_cuts(columns.survival, any_batch, elsewhere, fewest_verified(method), lengths)
    return BatchSample(lengths, num_verified, num_catch_up)


def threshold_lengths(
    law: MethodLaw, columns: BoundColumns, verified: float, rng: np.random.Generator
) -> Lengths:
    """Lengths under the law's thresholds that verify ``verified`` tokens in the mean, uint8 [T].

    Between two thresholds every position takes either, by chance.
    """
    below, share = law.place(np.array([verified]))
    above = min(int(below[0]) + 1, len(law.cuts) - 1)
    num_rows = len(columns.accepted)
    cuts = np.where(rng.random(num_rows) < share[0], law.cuts[above], law.cuts[below[0]])
    lengths = np.empty(num_rows, np.uint8)
    _apply_cuts(columns.survival, cuts, np.ones(num_rows, np.bool_), fewest_verified(law.method), lengths)
    return lengths


def _shuffled(group: Counts | None, num: int, num_sequences: int, rng: np.random.Generator) -> Counts:
    """Places 0 .. num - 1 shuffled (within groups, if given) as whole batches, all about equally often."""
    rounds = max(1, -(-MIN_BATCHES * num_sequences // num))
    orders = [
        rng.permutation(num) if group is None else np.lexsort((rng.random(num), group)) for _ in range(rounds)
    ]
    order = np.concatenate(orders)
    return np.resize(order, -(-len(order) // num_sequences) * num_sequences)


_COUNTS, _FLOATS, _TABLE = types.int64[::1], types.float64[::1], types.float64[:, ::1]
_LEVELS = types.Array(types.uint16, 2, "C")


@compiled(
    types.void(
        types.FunctionType(RULE), _COUNTS, _COUNTS, _COUNTS, _LEVELS, _FLOATS, _TABLE, _TABLE, _FLOATS,
        _LEVELS, _FLOATS, _FLOATS, _COUNTS, _COUNTS, _FLOATS, types.uint8[::1], _COUNTS, _COUNTS, _COUNTS,
    )
)  # fmt: skip
def _select_batches(  # type: ignore[no-untyped-def]
    select, starts, catch_up, context, survival, axis, other_s, verify_s, options,
    candidates, row_s, memory, scratch, slot_lengths, uniform, lengths, num_verified, num_catch_up, cuts,
):  # fmt: skip
    """Show every n consecutive starts to the rule and keep what it chose."""
    n, k = candidates.shape
    fewest = min(int(options[1]), k)
    for b in range(num_verified.size):
        owed, num_context = 0, 0
        for i in range(n):
            owed += catch_up[b * n + i]
            num_context += context[b * n + i]
            for d in range(k):
                candidates[i, d] = survival[starts[b * n + i], d]
        place = max((num_context / n - axis[0]) * axis[1], 0.0)
        knot = min(int(place), other_s.shape[0] - 2)
        up = place - knot
        for e in range(row_s.size):
            row_s[e] = verify_s[knot, e] * (1.0 - up) + verify_s[knot + 1, e] * up
        fixed_s = other_s[knot, owed] * (1.0 - up) + other_s[knot + 1, owed] * up
        num_verified[b] = select(n, candidates, row_s, fixed_s, options, memory, scratch, slot_lengths)
        num_catch_up[b] = owed
        kept, dropped = NUM_LEVELS, 0
        for i in range(n):
            length = slot_lengths[i]
            lengths[starts[b * n + i]] = length
            if length > fewest:
                kept = min(kept, np.int64(candidates[i, length - 1]))
            if length < k:
                dropped = max(dropped, np.int64(candidates[i, length]))
        # the threshold lies anywhere above what was dropped, up to what was kept
        cuts[b] = kept - int(uniform[b] * (kept - dropped)) if kept > dropped else kept + (uniform[b] < 0.5)


@compiled()
def _apply_cuts(survival, cuts, chosen, fewest, lengths):  # type: ignore[no-untyped-def]
    """Lengths under a threshold per position, where ``chosen``."""
    for p in range(lengths.size):
        if chosen[p]:
            length = fewest
            while length < survival.shape[1] and survival[p, length] >= cuts[p]:
                length += 1
            lengths[p] = length
