"""Selection rules: which drafted tokens are worth verifying. Compiled, one call per step.

A rule sees what a server sees: the believed survival of every candidate and the price of every
verification size. It never sees the target's answer.

Survival is held in NUM_LEVELS steps (``encode_survival``): rules compare integers, sums are exact and
ties are real ties. Survival never increases with depth, so any cut by survival keeps prefixes.

Signature of every rule (``RULE``)::

    rule(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths) -> tokens selected

    n            int                sequences in the batch
    candidates   uint16 [B, K]      encoded survival of (sequence, depth); rows n.. are unused
    verify_s     float64 [n K + 1]  seconds of a verification of e draft tokens, never decreasing
    fixed_s      float              seconds of the rest of the step
    options      float64 []         constants of the rule
    memory       float64 []         the rule's own state, kept between steps
    scratch      int64 [NUM_LEVELS + B K]   work space
    lengths      int64 [B]          written: verification length of each sequence
"""

import numpy as np
from numba import types
from numpy.typing import ArrayLike, NDArray

from svsim.compiled import compiled

NUM_LEVELS = 1024
TOP_LEVEL = NUM_LEVELS - 1

RULE = types.int64(
    types.int64,
    types.Array(types.uint16, 2, "C"),
    types.Array(types.float64, 1, "C"),
    types.float64,
    types.Array(types.float64, 1, "C"),
    types.Array(types.float64, 1, "C"),
    types.Array(types.int64, 1, "C"),
    types.Array(types.int64, 1, "C"),
)

EMITTED, ACCEPTED = 0.0, 1.0  # objectives

_BAND_BITS = 4
_BAND = 1 << _BAND_BITS
_NUM_BANDS = NUM_LEVELS >> _BAND_BITS
_COUNT = (1 << 32) - 1


def encode_survival(survival: ArrayLike) -> NDArray[np.uint16]:
    """Survival probabilities in [0, 1] as levels 0 .. TOP_LEVEL, uint16, same shape (rounded)."""
    return np.asarray(np.rint(np.asarray(survival) * TOP_LEVEL), np.uint16)


def decode_survival(levels: ArrayLike) -> NDArray[np.float64]:
    """The survival probability each level stands for."""
    return np.asarray(levels, np.float64) / TOP_LEVEL


@compiled()
def _take_prefixes(n, candidates, forced, cut, num_at_cut, lengths):  # type: ignore[no-untyped-def]
    """Lengths that keep all levels above `cut` and `num_at_cut` tokens at it, lowest sequence first."""
    k = candidates.shape[1]
    for i in range(n):
        g = forced
        for d in range(forced, k):
            g += candidates[i, d] > cut
        lengths[i] = g
    for i in range(n):
        if num_at_cut == 0:
            break
        g = lengths[i]
        while g < k and num_at_cut > 0 and candidates[i, g] == cut:
            g += 1
            num_at_cut -= 1
        lengths[i] = g


@compiled()
def _collect_band(n, candidates, forced, band, inside):  # type: ignore[no-untyped-def]
    """The levels of one band, largest first, to the front of ``inside``."""
    count = 0
    for i in range(n):
        for d in range(forced, candidates.shape[1]):
            level = np.int64(candidates[i, d])
            inside[count] = level
            count += level >> _BAND_BITS == band
    for last in range(1, count):
        level, j = inside[last], last
        while j > 0 and inside[j - 1] < level:
            inside[j] = inside[j - 1]
            j -= 1
        inside[j] = level


@compiled(RULE)
def best_goodput(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """Speculative Verification's batch selection, best of all prefixes (arXiv 2509.24328, section 4).

    Candidates are ordered by survival w, largest first; the goodput of the first e of them is
    (n + sum w) / (fixed_s + verify_s[e]) for objective EMITTED, sum w / verify_s[e] for ACCEPTED (the
    paper's literal form, which never selects nothing). Exact for any non-decreasing verify_s.
    Ties: fewer tokens, then the lowest sequence. options = [objective, min_verify].

    What keeps it fast: candidates are counted in 64 bands of levels; prefixes that end with a band
    come first, then only bands where a bound (all their tokens at the band's top level) says that a
    better prefix may end inside, at a token after which the price rises, are sorted.
    """
    k = candidates.shape[1]
    forced = min(int(options[1]), k)
    base = float(n) * TOP_LEVEL if options[0] == EMITTED else 0.0
    other_s = fixed_s if options[0] == EMITTED else 0.0

    bands, inside = scratch[:_NUM_BANDS], scratch[_NUM_BANDS:]  # a band: sum of levels << 32 | count
    for band in range(_NUM_BANDS):
        bands[band] = 0
    for i in range(n):
        for d in range(forced):
            base += candidates[i, d]
        for d in range(forced, k):
            level = np.int64(candidates[i, d])
            bands[level >> _BAND_BITS] += level << 32 | 1

    first = n * forced
    best_tokens, best_value, best_s = first, base, other_s + verify_s[first]
    if base == 0.0:
        best_value, best_s = -1.0, 1.0  # anything beats selecting nothing
    cut, num_at_cut = NUM_LEVELS, 0
    tokens, value = first, base
    for band in range(_NUM_BANDS - 1, -1, -1):
        tokens += bands[band] & _COUNT
        value += bands[band] >> 32
        if bands[band] > 0 and value * best_s > best_value * (other_s + verify_s[tokens]):
            best_tokens, best_value, best_s = tokens, value, other_s + verify_s[tokens]
            cut = (band << _BAND_BITS) - 1

    tokens, value = first, base
    for band in range(_NUM_BANDS - 1, -1, -1):
        if bands[band] == 0:
            continue
        count = bands[band] & _COUNT
        after = value + (bands[band] >> 32)
        may_improve = False
        if after * best_s >= best_value * (other_s + verify_s[tokens + 1]):
            top = (band << _BAND_BITS) + _BAND - 1
            for e in range(tokens + 1, tokens + count):
                hope = min(value + (e - tokens) * top, after)
                if verify_s[e] < verify_s[e + 1] and hope * best_s >= best_value * (other_s + verify_s[e]):
                    may_improve = True
        if may_improve:
            _collect_band(n, candidates, forced, band, inside)
            e, reached = tokens, value
            for j in range(count):
                e += 1
                reached += inside[j]
                lead = reached * best_s - best_value * (other_s + verify_s[e])
                if lead > 0.0 or (lead == 0.0 and e < best_tokens):
                    best_tokens, best_value, best_s = e, reached, other_s + verify_s[e]
                    cut, num_at_cut = inside[j], 1
                    while num_at_cut <= j and inside[j - num_at_cut] == cut:
                        num_at_cut += 1
        tokens += count
        value = after
    _take_prefixes(n, candidates, forced, cut, num_at_cut, lengths)
    return best_tokens


@compiled(RULE)
def first_drop_goodput(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """The SV paper's stopping rule: take tokens by survival until goodput first falls.

    Equal to ``best_goodput`` where step time is convex in tokens; loses where it has stairs. Same
    objectives, ties and options.
    """
    k = candidates.shape[1]
    forced = min(int(options[1]), k)
    base = float(n) * TOP_LEVEL if options[0] == EMITTED else 0.0
    other_s = fixed_s if options[0] == EMITTED else 0.0
    count = scratch
    for level in range(NUM_LEVELS):
        count[level] = 0
    for i in range(n):
        for d in range(forced):
            base += candidates[i, d]
        for d in range(forced, k):
            count[candidates[i, d]] += 1

    tokens = best_tokens = n * forced
    value = best_value = base
    best_s = other_s + verify_s[tokens]
    if base == 0.0:
        best_value, best_s = -1.0, 1.0
    cut, num_at_cut = NUM_LEVELS, 0
    falling = False
    for level in range(TOP_LEVEL, -1, -1):
        for taken in range(1, count[level] + 1):
            tokens += 1
            value += level
            lead = value * best_s - best_value * (other_s + verify_s[tokens])
            if lead < 0.0:
                falling = True
                break
            if lead > 0.0:
                best_tokens, best_value, best_s = tokens, value, other_s + verify_s[tokens]
                cut, num_at_cut = level, taken
        if falling:
            break
    _take_prefixes(n, candidates, forced, cut, num_at_cut, lengths)
    return best_tokens
