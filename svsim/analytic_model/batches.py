"""Batches of visited starts: what a selection rule does to a full batch, found by drawing batches.

A rule sees a whole batch, so where the step time has stairs, or the batch is small, a sequence's length
depends on the company it keeps. A step of a continuously refilled batch is, nearly, an independent draw
of visited starts: they are shuffled, cut into batches and shown to the real rule; the requests are walked
again at the lengths that result; and so on to a fixed point.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from svsim.analytic_model.law import MethodLaw, fewest_verified, reading
from svsim.analytic_model.prices import Counts, Floats
from svsim.analytic_model.walks import STEPS, Paths, walk_lengths
from svsim.compiled import compiled
from svsim.decoding.exit_rules import EXIT_MEMORY_SIZE
from svsim.decoding.method import DecodingMethod
from svsim.decoding.selection_rules import (
    NUM_LEVELS,
    RULE,
    SCRATCH_SIZE,
)
from svsim.engines.program import BoundColumns

Lengths = NDArray[np.uint8]

NUM_ROUNDS = 3
MIN_STARTS = 100_000  # fewer starts than these are shuffled several times


class BatchPrices(NamedTuple):
    """What a rule is told a step of n sequences costs, by mean context on G uniform knots.

    axis: the lowest knot, and knots per token; draft_s: [G, C], by tokens that the drafter owes;
    companion_s: [G, n + 1], by tokens that the companion has not read;
    verify_s: [G, n K + 1], by draft tokens verified. Where a rule decides before the draft, draft_s is the
    first pass, and later_draft_s [G, K, n + 1] has pass j by the sequences in it. overlaps: a turn lasts as
    long as the longer of verification, and drafting and companion.
    """

    axis: Floats
    overhead_s: float
    draft_s: Floats
    later_draft_s: Floats
    companion_s: Floats
    verify_s: Floats
    overlaps: bool


@dataclass(frozen=True, slots=True)
class BatchSample:
    """Steps of full batches once selection has settled: tokens verified, owed by the drafter and not read by
    the companion, int64 [M].

    lengths: uint8 [T], the verification length that each position met in a batch. num_drafting: int64
    [M, K], sequences that draft more than j tokens, where that is decided (else empty).
    """

    lengths: Lengths
    num_verified: Counts
    num_catch_up: Counts
    num_unscored: Counts
    num_drafting: Counts


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
    k, num_rows = method.num_speculative_tokens, paths.end - paths.first
    options, fewest = np.asarray(method.selection.options, np.float64), fewest_verified(method)
    work = new_work(num_sequences, k)
    lengths = np.zeros(len(columns.accepted), np.uint8)
    request = np.repeat(np.arange(len(num_rows)), num_rows)
    starts = np.arange(num_rows.sum()) + np.repeat(paths.first - np.cumsum(num_rows) + num_rows, num_rows)
    catch_up = unscored = np.zeros(len(starts), np.int64)
    for round_number in range(NUM_ROUNDS + 1):
        if round_number > 0:
            visits = walk_lengths(paths, columns.accepted, lengths[None, :], k, None, reading(method))
            starts, catch_up, unscored = visits.starts, visits.catch_up, visits.unscored
            request = np.repeat(np.arange(len(num_rows)), visits.sums[:, STEPS])
        order = _shuffled(request if of_copies else None, len(starts), num_sequences, rng)
        context = starts + paths.context_base[request]
        shown = _Shown(starts[order], catch_up[order], unscored[order], context[order])
        chosen = _new_chosen(len(order) // num_sequences)
        select_shown(
            method.selection.rule.loaded,
            options,
            fewest,
            columns.survival,
            prices,
            shown,
            work,
            chosen,
            lengths,
        )
        elsewhere = np.ones(len(lengths), np.bool_)
        elsewhere[starts] = False
        cuts = _any_cut(chosen, rng)
        _apply_cuts(
            columns.survival, cuts[rng.integers(len(cuts), size=len(lengths))], elsewhere, fewest, lengths
        )
    return BatchSample(
        lengths, chosen.num_verified, chosen.num_catch_up, chosen.num_unscored, np.zeros((0, 0), np.int64)
    )


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
    rounds = -(-MIN_STARTS // num)
    orders = [
        rng.permutation(num) if group is None else np.lexsort((rng.random(num), group)) for _ in range(rounds)
    ]
    order = np.concatenate(orders)
    return np.resize(order, -(-len(order) // num_sequences) * num_sequences)


class _Shown(NamedTuple):
    """Starts in the order of batches, with tokens owed, unread by the companion, and context,
    int64 [M n] each."""

    starts: Counts
    catch_up: Counts
    unscored: Counts
    context: Counts


class Work(NamedTuple):
    """What a rule is handed besides: see ``selection_rules.RULE``."""

    candidates: NDArray[np.uint16]
    verify_s: Floats
    memory: Floats
    scratch: Counts
    lengths: Counts


class _Chosen(NamedTuple):
    """Per batch, int64 [M]: tokens verified, owed, unread by the companion; lowest level kept, highest
    level dropped."""

    num_verified: Counts
    num_catch_up: Counts
    num_unscored: Counts
    kept: Counts
    dropped: Counts


def new_work(num_sequences: int, num_drafted: int) -> Work:
    return Work(
        np.zeros((num_sequences, num_drafted), np.uint16),
        np.zeros(num_sequences * num_drafted + 1),
        np.zeros(EXIT_MEMORY_SIZE),
        np.zeros(SCRATCH_SIZE, np.int64),
        np.zeros(num_sequences, np.int64),
    )


def _new_chosen(num_batches: int) -> _Chosen:
    return _Chosen(*np.zeros((5, num_batches), np.int64))


def _any_cut(chosen: _Chosen, rng: np.random.Generator) -> Counts:
    """A threshold per batch: anywhere above what it dropped, up to what it kept; beside ties, by chance."""
    chance, span = rng.random(len(chosen.kept)), chosen.kept - chosen.dropped
    return np.where(span > 0, chosen.kept - (chance * span).astype(np.int64), chosen.kept + (chance < 0.5))


_INTEGERS = np.zeros(0, np.int64)


def no_prices() -> BatchPrices:
    """Prices of nothing: their types are those of all prices."""
    none = np.zeros((0, 0))
    return BatchPrices(np.zeros(0), 0.0, none, np.zeros((0, 0, 0)), none, none, False)


@compiled()
def verification_row(mean_context, prices, work):  # type: ignore[no-untyped-def]
    """Write what verifications cost at a mean context; the knot below it and the weight of the next."""
    place = max((mean_context - prices.axis[0]) * prices.axis[1], 0.0)
    knot = min(int(place), prices.draft_s.shape[0] - 2)
    up = place - knot
    for e in range(work.verify_s.size):
        work.verify_s[e] = prices.verify_s[knot, e] * (1.0 - up) + prices.verify_s[knot + 1, e] * up
    return knot, up


@compiled(
    types.void(
        types.FunctionType(RULE),
        types.float64[::1],
        types.int64,
        types.uint16[:, ::1],
        *map(
            typeof,
            (no_prices(), _Shown(_INTEGERS, _INTEGERS, _INTEGERS, _INTEGERS), new_work(1, 1), _new_chosen(1)),
        ),
        types.uint8[::1],
    )
)
def select_shown(select, options, fewest, survival, prices, shown, work, chosen, lengths):  # type: ignore[no-untyped-def]
    """Show every n consecutive starts to the rule and note what it chose."""
    n, k = work.candidates.shape
    for b in range(chosen.kept.size):
        catch_up, unscored, context = 0, 0, 0
        for i in range(n):
            here = b * n + i
            catch_up += shown.catch_up[here]
            unscored += shown.unscored[here]
            context += shown.context[here]
            for d in range(k):
                work.candidates[i, d] = survival[shown.starts[here], d]
        knot, up = verification_row(context / n, prices, work)
        other_s = (prices.draft_s[knot, catch_up] + prices.companion_s[knot, unscored]) * (1.0 - up)
        other_s += (prices.draft_s[knot + 1, catch_up] + prices.companion_s[knot + 1, unscored]) * up
        if prices.overlaps:
            for e in range(work.verify_s.size):
                work.verify_s[e] = max(work.verify_s[e], other_s)
            other_s = 0.0
        chosen.num_verified[b] = select(
            n,
            work.candidates,
            work.verify_s,
            prices.overhead_s + other_s,
            options,
            work.memory,
            work.scratch,
            work.lengths,
        )
        chosen.num_catch_up[b], chosen.num_unscored[b] = catch_up, unscored
        kept, dropped = NUM_LEVELS, 0
        for i in range(n):
            length = work.lengths[i]
            lengths[shown.starts[b * n + i]] = length
            if length > fewest:
                kept = min(kept, int(work.candidates[i, length - 1]))
            if length < k:
                dropped = max(dropped, int(work.candidates[i, length]))
        chosen.kept[b], chosen.dropped[b] = kept, dropped


@compiled()
def _apply_cuts(survival, cuts, places, fewest, lengths):  # type: ignore[no-untyped-def]
    """Lengths under a threshold per position, at the ``places`` that are true."""
    for p in range(lengths.size):
        if places[p]:
            length = fewest
            while length < survival.shape[1] and survival[p, length] >= cuts[p]:
                length += 1
            lengths[p] = length
