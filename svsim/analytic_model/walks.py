"""Renewal walks: which positions decoding steps start at, and what happens there.

A step starts only where the last one ended, so means over all positions are wrong: long accepted runs
are jumped over. A walk follows every request from its first position, jumping min(accepted, length) + 1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.selection_rules import NUM_LEVELS, TOP_LEVEL
from svsim.decoding.work import Reading

Counts = NDArray[np.int64]

# columns of the sums of a walk: of both kinds, under thresholds, at given lengths
STEPS, VERIFIED, CATCH_UP, CONTEXT, UNSCORED = 0, 1, 2, 3, 4
BELIEVED, NUM_THRESHOLD_SUMS = 5, 6
DRAFTED, ACCEPTED, NUM_REQUEST_SUMS = 5, 6, 7


class Paths(NamedTuple):
    """Where walks run, int64 [R] each: request r owns the rows first[r] : end[r]; context tokens at a
    row = row + context_base[r]."""

    first: Counts
    end: Counts
    context_base: Counts


class Visits(NamedTuple):
    """What walks at given lengths passed, over R requests and V steps.

    sums:     int64 [R, NUM_REQUEST_SUMS] per request.
    by_step:  int64 [S, 2], requests that take an s-th step, and their context tokens then.
    starts:   int64 [V] rows where steps start, in the order of requests.
    catch_up: int64 [V] tokens that the drafter owes there beyond the last emitted one.
    unscored: int64 [V] those that the companion has not read.
    """

    sums: Counts
    by_step: Counts
    starts: Counts
    catch_up: Counts
    unscored: Counts


@compiled()
def owed_beyond(reading, owed, drafted, kept):  # type: ignore[no-untyped-def]
    """Emitted tokens beyond the last that a drafter reads next, having drafted so many of which some were
    kept (``decoding/work.py``)."""
    if reading == Reading.LAST:
        return 0
    if drafted == 0:
        return owed + 1
    return kept if reading == Reading.ALL else int(kept == drafted)


@compiled()
def _walk_thresholds(paths, accepted, survival, cuts, fewest, reading, sums):  # type: ignore[no-untyped-def]
    k = survival.shape[1]
    for r in range(paths.first.size):
        end, base = paths.end[r], paths.context_base[r]
        for c in range(cuts.size):
            cut = cuts[c]
            here = paths.first[r]
            steps, verified, believed, catch_up, context, owed, unscored, missed = 0, 0, 0, 0, 0, 0, 0, 0
            while here < end:
                length, levels = 0, 0
                for d in range(k):
                    level = int(survival[here, d])
                    if level < cut and d >= fewest:
                        break
                    levels += level
                    length += 1
                kept = min(int(accepted[here]), length)
                steps += 1
                verified += length
                believed += levels
                catch_up += owed
                unscored += missed
                context += here + base
                missed = int(kept == k)
                owed = owed_beyond(reading, owed, k, kept)
                here += kept + 1
            sums[c, STEPS] += steps
            sums[c, VERIFIED] += verified
            sums[c, BELIEVED] += believed
            sums[c, CATCH_UP] += catch_up
            sums[c, CONTEXT] += context
            sums[c, UNSCORED] += unscored


@compiled()
def _walk_lengths(  # type: ignore[no-untyped-def]
    paths, accepted, lengths, row_of_step, drafted, reading, sums, by_step, starts, owed_at, unscored_at
):  # fmt: skip
    visits = 0
    for r in range(paths.first.size):
        here, end, base = paths.first[r], paths.end[r], paths.context_base[r]
        step, owed, unscored = 0, 0, 0
        while here < end:
            length = int(lengths[row_of_step[step], here])
            draft = length if drafted < 0 else drafted
            kept = min(int(accepted[here]), length)
            starts[visits] = here
            owed_at[visits] = owed
            unscored_at[visits] = unscored
            visits += 1
            by_step[step, 0] += 1
            by_step[step, 1] += here + base
            sums[r, VERIFIED] += length
            sums[r, DRAFTED] += draft
            sums[r, ACCEPTED] += kept
            sums[r, CATCH_UP] += owed
            sums[r, UNSCORED] += unscored
            sums[r, CONTEXT] += here + base
            unscored = int(kept == draft)
            owed = owed_beyond(reading, owed, draft, kept)
            here += kept + 1
            step += 1
        sums[r, STEPS] += step
    return visits


def walk_thresholds(
    paths: Paths,
    accepted: NDArray[np.uint8],
    survival: NDArray[np.uint16],
    cuts: Counts,
    fewest: int,
    reading: Reading = Reading.UNSEEN,
) -> Counts:
    """Sums over the steps of all requests, for every cut, int64 [cuts, NUM_THRESHOLD_SUMS].

    At a cut, a step verifies the drafted tokens whose encoded survival (``survival`` [T, K], never
    increasing with depth) is at least the cut, and the first ``fewest`` in any case. BELIEVED sums the
    survival levels of verified tokens; ``reading``: what the drafter reads again.
    """
    sums = np.zeros((len(cuts), NUM_THRESHOLD_SUMS), np.int64)
    _walk_thresholds(paths, accepted, survival, cuts, fewest, int(reading), sums)
    return sums


def walk_lengths(
    paths: Paths,
    accepted: NDArray[np.uint8],
    lengths: NDArray[np.uint8],
    num_drafted: int | None,
    row_of_step: Counts | None = None,
    reading: Reading = Reading.UNSEEN,
) -> Visits:
    """Walk at the verification lengths of row ``row_of_step[s]`` of ``lengths`` [rows, T] in step s.

    num_drafted: tokens drafted in every step; None drafts the verification length.
    """
    num_requests, longest = len(paths.first), int((paths.end - paths.first).max())
    sums = np.zeros((num_requests, NUM_REQUEST_SUMS), np.int64)
    by_step = np.zeros((longest, 2), np.int64)
    starts, owed, unscored = np.empty((3, int((paths.end - paths.first).sum())), np.int64)
    visits = _walk_lengths(
        paths,
        accepted,
        lengths,
        np.zeros(longest, np.int64) if row_of_step is None else row_of_step,
        -1 if num_drafted is None else num_drafted,
        int(reading),
        sums,
        by_step,
        starts,
        owed,
        unscored,
    )
    at = (column[:visits].copy() for column in (starts, owed, unscored))
    return Visits(sums, by_step[by_step[:, 0] > 0], *at)


def contexts_at(paths: Paths, visits: Visits) -> Counts:
    """Context tokens where the steps start, int64 [V]."""
    return visits.starts + np.repeat(paths.context_base, visits.sums[:, STEPS])


def drafts_at(visits: Visits, drafted: NDArray[np.uint8]) -> Counts | None:
    """Tokens drafted where the steps start, int64 [V]; None where that is told by lengths (empty column)."""
    return drafted[visits.starts].astype(np.int64) if drafted.size else None


def with_drafts(visits: Visits, drafted: NDArray[np.uint8]) -> Visits:
    """The same walks with the tokens that a column [T] says were drafted; themselves where it is empty."""
    drafts = drafts_at(visits, drafted)
    if drafts is not None:
        request = np.repeat(np.arange(len(visits.sums)), visits.sums[:, STEPS])
        visits.sums[:, DRAFTED] = np.bincount(request, drafts, len(visits.sums)).astype(np.int64)
    return visits


def even_cuts(survival: NDArray[np.uint16], fewest: int, num_cuts: int) -> Counts:
    """Cuts from nothing kept to all kept, about evenly spaced in the number of tokens kept, int64 [P]."""
    kept = np.bincount(survival[:, fewest:].ravel(), minlength=NUM_LEVELS)[::-1].cumsum()
    wanted = np.linspace(0.0, kept[-1], num_cuts)[1:-1]
    inner = NUM_LEVELS - 1 - np.searchsorted(kept, wanted)
    return np.unique(np.concatenate([[NUM_LEVELS], inner, [1]]))[::-1].astype(np.int64)


def survival_between(survival: NDArray[np.uint16], cuts: Counts) -> NDArray[np.float64]:
    """Mean survival of the tokens that each cut keeps and the cut before did not, float64 [P] (first: 0)."""
    count = np.bincount(survival.ravel(), minlength=NUM_LEVELS + 1)[::-1].cumsum()[::-1]
    level = (np.bincount(survival.ravel(), minlength=NUM_LEVELS + 1) * np.arange(NUM_LEVELS + 1))[::-1]
    kept, sums = count[cuts], level.cumsum()[::-1][cuts]
    more = np.maximum(np.diff(kept, prepend=kept[0]), 1)
    return np.asarray(np.diff(sums, prepend=sums[0]) / more / TOP_LEVEL, np.float64)
