"""Selection rules: which drafted tokens are worth verifying. Compiled, one call per step.

A rule sees what a server sees: the believed survival of every candidate and the price of every
verification size. It never sees the target's answer.

Survival is held in NUM_LEVELS steps (``encode_survival``): rules compare integers, sums are exact and
ties are real ties. Survival never increases with depth, so any cut by survival keeps prefixes. A token
of level 0 is worth nothing and is never chosen.

Signature of every rule (``RULE``)::

    rule(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths) -> tokens selected

    n            int                sequences in the batch
    candidates   uint16 [B, K]      encoded survival of (sequence, depth); rows n.. are unused
    verify_s     float64 [n K + 1]  seconds of a verification of e draft tokens, never decreasing
    fixed_s      float              seconds of the rest of the step
    options      float64 []         constants of the rule
    memory       float64 [MEMORY_SIZE]   the rule's own state, kept between steps; zeros at first
    scratch      int64 [SCRATCH_SIZE]    work space
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

_BAND_BITS = 5
_BAND = 1 << _BAND_BITS  # levels that are searched, or remembered, together
_NUM_BANDS = NUM_LEVELS >> _BAND_BITS
_COUNT = (1 << 32) - 1
_MAX_CHAINS_LEARNT = 2048.0

SCRATCH_SIZE = NUM_LEVELS + _NUM_BANDS
MEMORY_SIZE = 1 + 2 * _NUM_BANDS


def encode_survival(survival: ArrayLike) -> NDArray[np.uint16]:
    """Survival probabilities in [0, 1] as levels 0 .. TOP_LEVEL, uint16, same shape (rounded)."""
    return np.asarray(np.rint(np.asarray(survival) * TOP_LEVEL), np.uint16)


def decode_survival(levels: ArrayLike) -> NDArray[np.float64]:
    """The survival probability each level stands for."""
    return np.asarray(levels, np.float64) / TOP_LEVEL


@compiled()
def _count_levels(n, candidates, forced, levels):  # type: ignore[no-untyped-def]
    """Candidates of every level but 0 behind the first ``forced``: their levels' sum << 32 | their number."""
    levels[:] = 0
    for i in range(n):
        for d in range(forced, candidates.shape[1]):
            level = np.int64(candidates[i, d])
            levels[level] += level << 32 | 1
    levels[0] = 0


@compiled()
def _count_bands(levels, bands):  # type: ignore[no-untyped-def]
    """The counts of levels, summed by band."""
    for band in range(_NUM_BANDS):
        inside = 0
        for level in range(band << _BAND_BITS, (band + 1) << _BAND_BITS):
            inside += levels[level]
        bands[band] = inside


@compiled()
def _forced_levels(n, candidates, forced):  # type: ignore[no-untyped-def]
    """Sum of the levels of the first ``forced`` candidates of every sequence."""
    total = np.int64(0)
    for i in range(n):
        for d in range(forced):
            total += np.int64(candidates[i, d])
    return total


@compiled()
def _take_prefixes(n, candidates, forced, cut, num_at_cut, lengths):  # type: ignore[no-untyped-def]
    """Lengths that keep all levels above `cut` and `num_at_cut` tokens at it, lowest sequence first."""
    k = candidates.shape[1]
    for i in range(n):
        g = 0
        for d in range(k):
            g += candidates[i, d] > cut
        lengths[i] = max(g, forced)
    i = 0
    while num_at_cut > 0:
        g = lengths[i]
        while g < k and num_at_cut > 0 and candidates[i, g] == cut:
            g += 1
            num_at_cut -= 1
        lengths[i] = g
        i += 1


@compiled(RULE)
def best_goodput(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """Speculative Verification's batch selection, best of all prefixes (arXiv 2509.24328, section 4).

    Candidates are ordered by survival w, largest first; the goodput of the first e of them is
    (n + sum w) / (fixed_s + verify_s[e]) for objective EMITTED, sum w / verify_s[e] for ACCEPTED (the
    paper's literal form, which never selects nothing). Exact for any non-decreasing verify_s.
    Ties: fewer tokens, then the lowest sequence. options = [objective, min_verify].

    What keeps it fast: candidates are counted by level; the prefixes that end with a band of levels come
    first, then only bands are searched where two lines above the value (as if all tokens up to e had the
    band's top level, all after it the bottom one) leave hope for a prefix that ends inside.
    """
    k = candidates.shape[1]
    forced = max(min(int(options[1]), k), 0)
    base = n * TOP_LEVEL if options[0] == EMITTED else 0
    other_s = fixed_s if options[0] == EMITTED else 0.0
    base += _forced_levels(n, candidates, forced)
    levels, bands = scratch[:NUM_LEVELS], scratch[NUM_LEVELS:]
    _count_levels(n, candidates, forced, levels)
    _count_bands(levels, bands)

    first = n * forced
    best_tokens, best_value, best_s = first, float(base), other_s + verify_s[first]
    cut, num_at_cut = NUM_LEVELS, 0
    tokens, value = first, base
    for band in range(_NUM_BANDS - 1, -1, -1):
        tokens += bands[band] & _COUNT
        value += bands[band] >> 32
        seconds = other_s + verify_s[tokens]
        if value * best_s > best_value * seconds:
            best_tokens, best_value, best_s = tokens, float(value), seconds
            cut = (band << _BAND_BITS) - 1

    tokens, value = first, base
    for band in range(_NUM_BANDS - 1, -1, -1):
        count, after = bands[band] & _COUNT, value + (bands[band] >> 32)
        bottom = band << _BAND_BITS
        top = bottom + _BAND - 1
        may_improve = False
        if (
            count > 1
            and verify_s[tokens + 1] < verify_s[tokens + count]
            and (after - bottom) * best_s >= best_value * (other_s + verify_s[tokens + 1])
        ):
            for j in range(1, count):
                e = tokens + j
                hope = min(value + j * top, after - (count - j) * bottom)
                rises = verify_s[e] < verify_s[e + 1]  # else one token more is better
                may_improve |= rises & (hope * best_s >= best_value * (other_s + verify_s[e]))
        if may_improve:
            e, reached = tokens, value
            for level in range(top, bottom - 1, -1):
                for taken in range(1, (levels[level] & _COUNT) + 1):
                    e += 1
                    reached += level
                    lead = reached * best_s - best_value * (other_s + verify_s[e])
                    if lead > 0.0 or (lead == 0.0 and e < best_tokens):
                        best_tokens, best_value, best_s = e, float(reached), other_s + verify_s[e]
                        cut, num_at_cut = level, taken
        tokens += count
        value = after
    if best_tokens == 0 and options[0] == ACCEPTED:
        best_tokens, cut, num_at_cut = 1, 0, 1
    _take_prefixes(n, candidates, forced, cut, num_at_cut, lengths)
    return best_tokens


@compiled(RULE)
def first_drop_goodput(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """The SV paper's stopping rule: take tokens by survival until goodput first falls.

    Equal to ``best_goodput`` where step time is convex in tokens; loses where it has stairs. Same
    objectives, ties and options.
    """
    k = candidates.shape[1]
    forced = max(min(int(options[1]), k), 0)
    base = float(n * TOP_LEVEL) if options[0] == EMITTED else 0.0
    other_s = fixed_s if options[0] == EMITTED else 0.0
    base += _forced_levels(n, candidates, forced)
    levels = scratch[:NUM_LEVELS]
    _count_levels(n, candidates, forced, levels)

    tokens = best_tokens = n * forced
    value = best_value = base
    best_s = other_s + verify_s[tokens]
    cut, num_at_cut = NUM_LEVELS, 0
    falling = False
    for level in range(TOP_LEVEL, 0, -1):
        for taken in range(1, (levels[level] & _COUNT) + 1):
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
    if best_tokens == 0 and options[0] == ACCEPTED:
        best_tokens, cut, num_at_cut = 1, 0, 1
    _take_prefixes(n, candidates, forced, cut, num_at_cut, lengths)
    return best_tokens


@compiled()
def _learn(n, bands, memory):  # type: ignore[no-untyped-def]
    """Move the remembered law of survival towards what n chains showed, by n of the chains it stands for."""
    memory[0] = min(memory[0] + n, _MAX_CHAINS_LEARNT)
    share = min(n / memory[0], 1.0)
    num_tokens, sum_levels = memory[1 : 1 + _NUM_BANDS], memory[1 + _NUM_BANDS :]
    for band in range(_NUM_BANDS):
        num_tokens[band] += share * ((bands[band] & _COUNT) / n - num_tokens[band])
        sum_levels[band] += share * ((bands[band] >> 32) / n - sum_levels[band])


@compiled()
def _planned_goodput(n, max_tokens, verify_s, fixed_s, memory):  # type: ignore[no-untyped-def]
    """Levels per second that the best threshold brings under the remembered law, at this step's prices."""
    num_tokens, sum_levels = memory[1 : 1 + _NUM_BANDS], memory[1 + _NUM_BANDS :]
    tokens, value = 0.0, float(n * TOP_LEVEL)
    best = value / (fixed_s + verify_s[0])
    for band in range(_NUM_BANDS - 1, -1, -1):
        tokens += n * num_tokens[band]
        value += n * sum_levels[band]
        e = min(int(tokens), max_tokens - 1)
        seconds = verify_s[e] + (tokens - e) * (verify_s[e + 1] - verify_s[e])
        best = max(best, value / (fixed_s + seconds))
    return best


@compiled()
def _worth_buying(n, tokens, level, max_tokens, verify_s, goodput, memory):  # type: ignore[no-untyped-def]
    """The first number of tokens above ``tokens`` that is expected to pay for its seconds, or 0.

    The next token has ``level``; those after it are expected as the remembered law spreads them below.
    """
    num_tokens, sum_levels = memory[1 : 1 + _NUM_BANDS], memory[1 + _NUM_BANDS :]
    band = level >> _BAND_BITS
    expected = n * num_tokens[band] * ((level & (_BAND - 1)) / _BAND)
    gain = float(level)
    for e in range(tokens + 1, max_tokens + 1):
        if gain >= goodput * (verify_s[e] - verify_s[tokens]):
            return e
        while expected < 1.0 and band > 0:
            band -= 1
            expected += n * num_tokens[band]
        if expected <= 0.0:
            return 0
        gain += min(expected, 1.0) * min(sum_levels[band] / num_tokens[band], float(level))
        expected -= 1.0
    return 0


@compiled(RULE)
def learned_threshold(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """doc"""
    k = candidates.shape[1]
    levels, bands = scratch[:NUM_LEVELS], scratch[NUM_LEVELS:]
    _count_levels(n, candidates, 0, levels)
    _count_bands(levels, bands)
    goodput = 0.0
    if memory[0] > 0.0:
        goodput = _planned_goodput(n, n * k, verify_s, fixed_s, memory)

    tokens, bought = 0, 0
    cut, num_at_cut, declined = 0, 0, False
    for band in range(_NUM_BANDS - 1, -1, -1):
        count, bottom = bands[band] & _COUNT, band << _BAND_BITS
        steep = False
        for e in range(max(tokens, bought), tokens + count):
            steep |= bottom < goodput * (verify_s[e + 1] - verify_s[e])
        if not steep:
            tokens += count
            continue
        for level in range(bottom + _BAND - 1, bottom - 1, -1):
            for taken in range(levels[level] & _COUNT):
                if tokens >= bought and level < goodput * (verify_s[tokens + 1] - verify_s[tokens]):
                    bought = _worth_buying(n, tokens, level, n * k, verify_s, goodput, memory)
                    if bought == 0:
                        cut, num_at_cut, declined = level, taken, True
                        break
                tokens += 1
            if declined:
                break
        if declined:
            break
    _learn(n, bands, memory)
    _take_prefixes(n, candidates, 0, cut, num_at_cut, lengths)
    return tokens
