"""Selection rules done slowly: exhaustive search, literal readings, a sort in NumPy.

Prices are whole numbers here, so that every goodput is an exact fraction and every tie a real one.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

from svsim.decoding.selection_rules import EMITTED, MEMORY_SIZE, NUM_LEVELS, SCRATCH_SIZE, TOP_LEVEL

KINDS = ("line", "convex", "stairs", "flat", "steps")


def chains(rng, n, k, num_distinct):
    """Levels that never increase along a chain, from few distinct values: many ties, zeros among them."""
    values = rng.choice(NUM_LEVELS, num_distinct, replace=False)
    values[0] *= rng.random() < 0.5
    return -np.sort(-rng.choice(values, (n, k)).astype(np.int64), axis=1).astype(np.uint16)


def prices(rng, kind, n, k):
    """Whole seconds of 0 .. n K verified tokens."""
    e = np.arange(n * k + 1)
    if kind == "line":
        return 40 + int(rng.integers(0, 30)) * e
    if kind == "convex":
        return 40 + int(rng.integers(1, 4)) * e + e**2
    if kind == "stairs":
        width = int(rng.integers(2, 6))
        return 40 + int(rng.integers(1, 60)) * -(-(n + e) // width)
    if kind == "flat":
        return np.full(n * k + 1, 100)
    return 40 + np.cumsum(rng.integers(0, 60, n * k + 1) * (rng.random(n * k + 1) < 0.4))


@dataclass(frozen=True)
class Case:
    """One step: levels uint16 [n, K] that never increase along K, prices [n K + 1] that never fall."""

    levels: np.ndarray
    verify_s: np.ndarray
    fixed_s: int
    objective: float = EMITTED
    min_verify: int = 0

    @property
    def forced(self):
        return min(self.min_verify, self.levels.shape[1])

    def goodput(self, lengths):
        """The goodput of verification lengths, exact; 0/0 counts as 0."""
        taken = sum(int(row[:g].sum()) for row, g in zip(self.levels, lengths, strict=True))
        verify_s = int(self.verify_s[int(np.sum(lengths))])
        if self.objective == EMITTED:
            return Fraction(len(self.levels) * TOP_LEVEL + taken, self.fixed_s + verify_s)
        return Fraction(taken, verify_s)

    def in_order(self):
        """(sequence, depth) of the candidates behind the forced ones, best first."""
        n, k = self.levels.shape
        places = [(i, d) for i in range(n) for d in range(self.forced, k)]
        return sorted(places, key=lambda place: (-int(self.levels[place]), *place))

    def greedy_lengths(self, num_tokens):
        """Lengths after the first ``num_tokens`` candidates."""
        lengths = [self.forced] * len(self.levels)
        for i, _ in self.in_order()[:num_tokens]:
            lengths[i] += 1
        return lengths


def run(rule, case, memory=None, spare_rows=0):
    """(tokens, lengths) of a compiled rule; spare rows of the candidates hold rubbish."""
    n, k = case.levels.shape
    candidates = np.full((n + spare_rows, k), TOP_LEVEL, np.uint16)
    candidates[:n] = case.levels
    lengths = np.full(n + spare_rows, -1, np.int64)
    tokens = rule(
        n,
        candidates,
        np.asarray(case.verify_s, np.float64),
        float(case.fixed_s),
        np.array([case.objective, case.min_verify], np.float64),
        np.zeros(MEMORY_SIZE) if memory is None else memory,
        np.full(SCRATCH_SIZE, -7, np.int64),
        lengths,
    )
    assert (lengths[n:] == -1).all(), "rows beyond the batch were written"
    return tokens, lengths[:n].tolist()


def best_of_all(case):
    """The largest goodput over every choice of prefixes that keeps ``min_verify``."""
    n, k = case.levels.shape
    chains = product(range(case.forced, k + 1), repeat=n)
    return max(case.goodput(g) for g in chains if case.objective == EMITTED or sum(g) > 0)


def best_of_greedy(case):
    """Lengths of the best prefix of the greedy order: the shortest of equals, never an empty ratio."""
    fewest = 0 if case.objective == EMITTED or case.forced > 0 else 1
    counts = range(fewest, len(case.in_order()) + 1)
    return case.greedy_lengths(max(counts, key=lambda e: (case.goodput(case.greedy_lengths(e)), -e)))


def until_the_first_drop(case):
    """The paper's rule, read literally: add the next best token while goodput does not fall."""
    best = 0
    for e in range(1, len(case.in_order()) + 1):
        now, before = (case.goodput(case.greedy_lengths(x)) for x in (e, best))
        if now < before:
            break
        best = e if now > before else best
    if case.objective != EMITTED and case.forced == 0:
        best = max(best, 1)
    return case.greedy_lengths(best)


def best_by_sorting(levels, verify_s, fixed_s):
    """Tokens and value (levels) of the best prefixes for many cases at once, objective EMITTED.

    levels: [cases, n, K]; verify_s: whole numbers [cases, n K + 1]; exact in int64.
    """
    cases, n, _ = levels.shape
    ordered = -np.sort(-levels.reshape(cases, -1).astype(np.int64), axis=1)
    values = n * TOP_LEVEL + np.concatenate([np.zeros((cases, 1), np.int64), ordered.cumsum(axis=1)], axis=1)
    seconds = verify_s + fixed_s
    best = np.zeros(cases, np.int64)
    every = np.arange(cases)
    for e in range(1, values.shape[1]):
        better = values[:, e] * seconds[every, best] > values[every, best] * seconds[:, e]
        best = np.where(better, e, best)
    return best, values[every, best]
