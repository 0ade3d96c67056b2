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
    fixed_s      float              seconds of the rest of the step (without drafting, if still to decide)
    options      float64 []         constants of the rule
    memory       float64 [MEMORY_SIZE]   kept between steps, zeros at first: the server's news (draft
                                tokens accepted and verified in the last step and, for a rule that decides
                                before drafting, at DRAFT_S + j the seconds of drafting j tokens), then
                                from NEWS_SIZE on the rule's own state
    scratch      int64 [SCRATCH_SIZE]    work space
    lengths      int64 [B]          written: verification length of each sequence
"""

import numpy as np
from numba import types
from numpy.typing import ArrayLike, NDArray

from svsim.compiled import compiled
from svsim.limits import MAX_SPECULATIVE_TOKENS

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

LAST_ACCEPTED, LAST_VERIFIED, DRAFT_S = 0, 1, 2
NEWS_SIZE = DRAFT_S + MAX_SPECULATIVE_TOKENS + 1

_BAND_BITS = 5
_BAND = 1 << _BAND_BITS  # levels that are searched, or remembered, together
_NUM_BANDS = NUM_LEVELS >> _BAND_BITS
_COUNT = (1 << 32) - 1
_MAX_CHAINS_LEARNT = 2048.0  # of causal_goodput's law: then older ones fade

SCRATCH_SIZE = NUM_LEVELS + _NUM_BANDS
# memory of causal_goodput: four counters, then tokens and sums of levels by band, three times: the law
# (means per chain), chains resting, chains noted (sums)
_CHAINS_LEARNT, _CHAINS_RESTING, _CHAINS_NOTED, _STEPS_NOTED, _LAW = range(NEWS_SIZE, NEWS_SIZE + 5)
_RESTING, _NOTED = _LAW + 2 * _NUM_BANDS, _LAW + 4 * _NUM_BANDS

MEMORY_SIZE = _LAW + 6 * _NUM_BANDS


def encode_survival(survival: ArrayLike) -> NDArray[np.uint16]:
    """Survival probabilities in [0, 1] as levels 0 .. TOP_LEVEL, uint16, same shape (rounded)."""
    return np.asarray(np.rint(np.asarray(survival) * TOP_LEVEL), np.uint16)


def decode_survival(levels: ArrayLike) -> NDArray[np.float64]:
    """The survival probability each level stands for."""
    return np.asarray(levels, np.float64) / TOP_LEVEL


@compiled()
def count_levels(n, candidates, forced, levels):  # type: ignore[no-untyped-def]
    """Candidates of every level but 0 behind the first ``forced``: their levels' sum << 32 | their number."""
    levels[:] = 0
    for i in range(n):
        for d in range(forced, candidates.shape[1]):
            level = np.int64(candidates[i, d])
            levels[level] += level << 32 | 1
    levels[0] = 0


@compiled()
def _count_band(levels, band):  # type: ignore[no-untyped-def]
    """The counts of one band's levels, added up."""
    inside = 0
    for level in range(band << _BAND_BITS, (band + 1) << _BAND_BITS):
        inside += levels[level]
    return inside


@compiled()
def _forced_levels(n, candidates, forced):  # type: ignore[no-untyped-def]
    """Sum of the levels of the first ``forced`` candidates of every sequence."""
    total = np.int64(0)
    for i in range(n):
        for d in range(forced):
            total += np.int64(candidates[i, d])
    return total


@compiled()
def take_prefixes(n, candidates, forced, cut, num_at_cut, lengths):  # type: ignore[no-untyped-def]
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


@compiled()
def _best_band_end(levels, bands, verify_s, other_s, tokens, value):  # type: ignore[no-untyped-def]
    """Best greedy prefix, empty or ending with a band: tokens, value, seconds, cut level, number at it."""
    best_tokens, best_value, best_s, cut = tokens, float(value), other_s + verify_s[tokens], NUM_LEVELS
    for band in range(_NUM_BANDS - 1, -1, -1):
        bands[band] = inside = _count_band(levels, band)
        tokens += inside & _COUNT
        value += inside >> 32
        seconds = other_s + verify_s[tokens]
        if value * best_s > best_value * seconds:
            best_tokens, best_value, best_s = tokens, float(value), seconds
            cut = max((band << _BAND_BITS) - 1, 0)
    return best_tokens, best_value, best_s, cut, 0


@compiled()
def _search_band(levels, band, inside, verify_s, other_s, tokens, value, best):  # type: ignore[no-untyped-def]
    """The best so far, or a better prefix that ends inside the band; ``tokens`` and ``value`` lie above it.

    Where one token more costs nothing a prefix is not the best. Elsewhere its value is at most that of
    tokens all at the band's top level, or short of the band's by tokens all at its bottom level.
    """
    best_tokens, best_value, best_s, cut, num_at_cut = best
    count, after, level = inside & _COUNT, value + (inside >> 32), ((band + 1) << _BAND_BITS) - 1
    first, last = tokens + count, 0  # prefixes with hope
    for j in range(1, count):
        e = tokens + j
        hope = min(value + j * level, after - (count - j) * (band << _BAND_BITS))
        rises = verify_s[e] < verify_s[e + 1]
        if rises & (hope * best_s >= best_value * (other_s + verify_s[e])):
            first, last = min(first, e), e
    while tokens < last:
        here = levels[level] & _COUNT
        if tokens + here >= first:
            for e in range(tokens + 1, tokens + here + 1):
                now, seconds = value + (e - tokens) * level, other_s + verify_s[e]
                lead = now * best_s - best_value * seconds
                if lead > 0.0 or (lead == 0.0 and e < best_tokens):
                    best_tokens, best_value, best_s = e, float(now), seconds
                    cut, num_at_cut = level, e - tokens
        tokens += here
        value += here * level
        level -= 1
    return best_tokens, best_value, best_s, cut, num_at_cut


@compiled()
def select_best(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """``best_goodput``, for other rules."""
    forced = max(min(int(options[1]), candidates.shape[1]), 0)
    value = n * TOP_LEVEL if options[0] == EMITTED else 0
    other_s = fixed_s if options[0] == EMITTED else 0.0
    value += _forced_levels(n, candidates, forced)
    levels, bands = scratch[:NUM_LEVELS], scratch[NUM_LEVELS:]
    count_levels(n, candidates, forced, levels)

    tokens = n * forced
    best = _best_band_end(levels, bands, verify_s, other_s, tokens, value)
    for band in range(_NUM_BANDS - 1, -1, -1):
        inside = bands[band]
        count, after = inside & _COUNT, value + (inside >> 32)
        if count > 1 and verify_s[tokens + 1] < verify_s[tokens + count]:
            _, best_value, best_s, _, _ = best
            most = after - (band << _BAND_BITS)
            if most * best_s >= best_value * (other_s + verify_s[tokens + 1]):
                best = _search_band(levels, band, inside, verify_s, other_s, tokens, value, best)
        tokens += count
        value = after

    best_tokens, _, _, cut, num_at_cut = best
    if best_tokens == 0 and options[0] == ACCEPTED:
        best_tokens, cut, num_at_cut = 1, 0, 1
    take_prefixes(n, candidates, forced, cut, num_at_cut, lengths)
    return best_tokens


@compiled(RULE)
def best_goodput(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """Speculative Verification's batch selection, best of all prefixes (arXiv 2509.24328, section 4).

    Candidates are ordered by survival w, largest first; the goodput of the first e of them is
    (n + sum w) / (fixed_s + verify_s[e]) for objective EMITTED, sum w / verify_s[e] for ACCEPTED (the
    paper's literal form, which never selects nothing). Exact for any non-decreasing verify_s.
    Ties: fewer tokens, then the lowest sequence. options = [objective, min_verify].

    What keeps it fast: candidates are counted by level and not sorted; prefixes that end with a band of
    levels come first, then only bands are searched where a bound leaves hope for one that ends inside.
    """
    return select_best(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths)


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
    count_levels(n, candidates, forced, levels)

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
    take_prefixes(n, candidates, forced, cut, num_at_cut, lengths)
    return best_tokens


@compiled()
def _learn(n, num_drafted, bands, memory):  # type: ignore[no-untyped-def]
    """Note what n chains showed; the law learns it when every position they drafted for is decided.

    ``num_drafted`` steps are collected, then rest for as many steps: each step decides at least one
    position of a sequence, so by then whatever was drafted there is text or gone. A draft that a later
    chain may carry on (coherent chains do) has no say before its own verification.
    """
    law, resting, noted = memory[_LAW:_RESTING], memory[_RESTING:_NOTED], memory[_NOTED:]
    for band in range(_NUM_BANDS):
        noted[band] += bands[band] & _COUNT
        noted[_NUM_BANDS + band] += bands[band] >> 32
    memory[_CHAINS_NOTED] += n
    memory[_STEPS_NOTED] += 1
    if memory[_STEPS_NOTED] < num_drafted:
        return
    if memory[_CHAINS_RESTING] > 0.0:
        memory[_CHAINS_LEARNT] += memory[_CHAINS_RESTING]
        share = memory[_CHAINS_RESTING] / memory[_CHAINS_LEARNT]
        memory[_CHAINS_LEARNT] = min(memory[_CHAINS_LEARNT], _MAX_CHAINS_LEARNT)
        for b in range(2 * _NUM_BANDS):
            law[b] += share * (resting[b] / memory[_CHAINS_RESTING] - law[b])
    for b in range(2 * _NUM_BANDS):
        resting[b], noted[b] = noted[b], 0.0
    memory[_CHAINS_RESTING], memory[_CHAINS_NOTED], memory[_STEPS_NOTED] = memory[_CHAINS_NOTED], 0.0, 0.0


@compiled()
def _planned_goodput(n, max_tokens, verify_s, fixed_s, memory):  # type: ignore[no-untyped-def]
    """Levels per second that the best threshold brings under the remembered law, at this step's prices."""
    num_tokens, sum_levels = memory[_LAW : _LAW + _NUM_BANDS], memory[_LAW + _NUM_BANDS : _RESTING]
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
def _typical_level(num_tokens, sum_levels, most):  # type: ignore[no-untyped-def]
    """Mean level of a band of the remembered law, no more than ``most``."""
    return min(sum_levels / num_tokens, float(most)) if num_tokens > 0.0 else 0.0


@compiled()
def _paid_up_to(n, max_tokens, tokens, level, verify_s, goodput, memory):  # type: ignore[no-untyped-def]
    """The first count above ``tokens`` whose tokens are expected to pay for their seconds, or 0.

    The next token has ``level``; those after it are expected as the remembered law spreads them below.
    """
    num_tokens, sum_levels = memory[_LAW : _LAW + _NUM_BANDS], memory[_LAW + _NUM_BANDS : _RESTING]
    band = level >> _BAND_BITS
    expected = n * num_tokens[band] * ((level & (_BAND - 1)) / _BAND)
    typical = _typical_level(num_tokens[band], sum_levels[band], level)
    gain, base_s = float(level), verify_s[tokens]
    for e in range(tokens + 1, max_tokens + 1):
        if gain >= goodput * (verify_s[e] - base_s):
            return e
        if expected < 1.0:
            while expected < 1.0 and band > 0:
                band -= 1
                expected += n * num_tokens[band]
            if expected <= 0.0:
                return 0
            typical = _typical_level(num_tokens[band], sum_levels[band], level)
        gain += min(expected, 1.0) * typical
        expected -= 1.0
    return 0


@compiled()
def _first_decline(n, max_tokens, levels, bands, verify_s, goodput, memory):  # type: ignore[no-untyped-def]
    """Tokens admitted before one does not pay: their number, the level there, how many of that level."""
    tokens, paid = 0, 0
    for band in range(_NUM_BANDS - 1, -1, -1):
        count, bottom = bands[band] & _COUNT, band << _BAND_BITS
        level = bottom + _BAND - 1
        here = levels[level] & _COUNT
        reached = tokens + here  # tokens of this level or a higher one
        for e in range(tokens, tokens + count):
            price = goodput * (verify_s[e + 1] - verify_s[e])
            if bottom >= price or e < paid:
                continue
            while reached <= e:
                level -= 1
                here = levels[level] & _COUNT
                reached += here
            if level < price:
                paid = _paid_up_to(n, max_tokens, e, level, verify_s, goodput, memory)
                if paid == 0:
                    return e, level, e - (reached - here)
        tokens += count
    return tokens, 0, 0


@compiled(RULE)
def causal_goodput(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """Admission in greedy order, largest survival first, that takes nothing back; the first decline ends it.

    The next tokens are admitted when they are expected to pay for the seconds they add, at the goodput
    that a step like this one brings: one token by its own survival; a stair of the price by the survival
    of its first token and, for the rest, by the law of survival that earlier steps showed. What is paid
    for is used up. Objective EMITTED; no options.

    So {length >= d} of a sequence depends on its survival at depths up to d, on other sequences and on
    text and drafts of the past. Where survival at d is decided by the tokens before d (``CausalBelief``),
    nothing that the sequence drafted at d or later decides whether d is verified. While nothing is
    learnt, all is verified.
    """
    levels, bands = scratch[:NUM_LEVELS], scratch[NUM_LEVELS:]
    count_levels(n, candidates, 0, levels)
    for band in range(_NUM_BANDS):
        bands[band] = _count_band(levels, band)
    k, goodput = candidates.shape[1], 0.0
    if memory[_CHAINS_LEARNT] > 0.0:
        goodput = _planned_goodput(n, n * k, verify_s, fixed_s, memory)
    tokens, cut, num_at_cut = _first_decline(n, n * k, levels, bands, verify_s, goodput, memory)
    _learn(n, k, bands, memory)
    take_prefixes(n, candidates, 0, cut, num_at_cut, lengths)
    return tokens
