"""The rivals' rules read literally: plain objects that are asked once a step and remember in plain lists.

Every rate is an exact fraction, so that a tie is a tie.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from svsim.decoding.selection_rules import (
    DRAFT_S,
    LAST_ACCEPTED,
    LAST_VERIFIED,
    MEMORY_SIZE,
    SCRATCH_SIZE,
    TOP_LEVEL,
)


@dataclass
class Seen:
    """What a server knows when it asks a rule.

    levels: encoded survival (or another score) [n][K]; verify_s(e): seconds of verifying e draft tokens;
    fixed_s: of the rest of the step; draft_s: of drafting 0, 1, ... K tokens of every sequence, where
    nothing is drafted yet; accepted, verified: draft tokens of the last step.
    """

    levels: list
    verify_s: object
    fixed_s: float
    draft_s: list
    accepted: int = 0
    verified: int = 0

    @property
    def shape(self):
        return len(self.levels), len(self.levels[0])

    def ranked(self):
        """(sequence, depth) of all candidates worth something or not, best first."""
        n, k = self.shape
        places = [(i, d) for i in range(n) for d in range(k)]
        return sorted(places, key=lambda at: (-int(self.levels[at[0]][at[1]]), *at))

    def first_of_ranking(self, num_tokens):
        """Lengths when the first ``num_tokens`` of the ranking are taken: they are prefixes."""
        lengths = [0] * len(self.levels)
        for i, d in self.ranked()[:num_tokens]:
            assert d == lengths[i], "not a prefix"
            lengths[i] += 1
        return lengths

    def goodput(self, num_tokens):
        """Believed tokens per second when the best ``num_tokens`` are verified, exact (in levels)."""
        value = len(self.levels) * TOP_LEVEL + sum(
            int(self.levels[i][d]) for i, d in self.ranked()[:num_tokens]
        )
        return Fraction(value) / (Fraction(self.fixed_s) + Fraction(self.verify_s(num_tokens)))

    def best_count(self):
        """The number of tokens with the best goodput, the smallest of equals."""
        n, k = self.shape
        return max(range(n * k + 1), key=lambda e: (self.goodput(e), -e))


class Ladder:
    """[first batch, last batch, length] rungs, as vLLM's configuration has them."""

    def __init__(self, *rungs):
        self.rungs = rungs

    def lengths(self, seen):
        n, k = seen.shape
        for first, last, length in self.rungs:
            if first <= n <= last:
                return [min(length, k)] * n
        return [0] * n


class SmartSpec:
    """One length for all; acceptance is a moving average; lengths are tried while goodput rises."""

    def __init__(self, every=20, smoothing=0.15, start=0.7, caution=1.1, retry=100):
        self.every, self.smoothing, self.start, self.caution, self.retry = (
            every, smoothing, start, caution, retry,
        )  # fmt: skip
        self.alpha, self.length, self.steps, self.without_drafts = start, 0, 0, 0

    def lengths(self, seen):
        n, k = seen.shape
        if self.steps > 0:
            self._hear(seen.accepted, seen.verified)
        if self.steps % self.every == 0:
            self.length = 0
            best = self._goodput(seen, n, 0) * Fraction(self.caution)
            for length in range(1, k + 1):
                goodput = self._goodput(seen, n, length)
                if goodput <= best:
                    break
                self.length, best = length, goodput
        self.steps += 1
        return [self.length] * n

    def _hear(self, accepted, verified):
        if verified:
            self.alpha = (1 - self.smoothing) * self.alpha + self.smoothing * accepted / verified
            self.without_drafts = 0
            return
        self.without_drafts += 1
        if self.without_drafts == self.retry:
            self.alpha, self.without_drafts = self.start, 0

    def _goodput(self, seen, n, length):
        expected = sum(Fraction(self.alpha) ** j for j in range(length + 1))
        seconds = (
            Fraction(seen.fixed_s) + Fraction(seen.draft_s[length]) + Fraction(seen.verify_s(n * length))
        )
        return n * expected / seconds


class AdaEdl:
    """Draft until the bound of a token falls below lambda; lambda is steered towards an acceptance."""

    def __init__(self, start=0.4, aim=0.9, pace=0.01, forget=0.5, smooth=0.9):
        self.threshold, self.rate = start, aim
        self.aim, self.pace, self.forget, self.smooth = aim, pace, forget, smooth
        self.asked = False

    def lengths(self, seen):
        if self.asked and seen.verified:
            self.rate = self.forget * self.rate + (1 - self.forget) * seen.accepted / seen.verified
            wanted = self.threshold + (self.pace if self.rate <= self.aim else -self.pace)
            self.threshold = self.smooth * self.threshold + (1 - self.smooth) * wanted
        self.asked = True
        lengths = []
        for bounds in seen.levels:
            drafted = 0
            for bound in bounds:
                drafted += 1
                if bound / TOP_LEVEL < self.threshold:
                    break
            lengths.append(drafted)
        return lengths


class Tetris:
    """The best n (K - extra) tokens of the batch."""

    def __init__(self, extra=1):
        self.extra = extra

    def lengths(self, seen):
        n, k = seen.shape
        return seen.first_of_ranking(n * (k - self.extra))


class Dspark:
    """Algorithm 1: admit in order of survival while goodput strictly rises; or the best of all counts."""

    def __init__(self, search="causal"):
        self.search = search

    def lengths(self, seen):
        if self.search == "global":
            return seen.first_of_ranking(seen.best_count())
        admitted = 0
        while admitted < len(seen.ranked()) and seen.goodput(admitted + 1) > seen.goodput(admitted):
            admitted += 1
        return seen.first_of_ranking(admitted)


class VllmAdaptive:
    """The best tokens up to the budget per sequence that was best ``lag`` steps ago; at first all."""

    def __init__(self, lag=1):
        self.lag, self.best_per_sequence = lag, []

    def lengths(self, seen):
        n, k = seen.shape
        budget = n * k
        if len(self.best_per_sequence) >= self.lag:
            budget = int(self.best_per_sequence[-self.lag] * n + 0.5)
        self.best_per_sequence.append(seen.best_count() / n)
        return seen.first_of_ranking(budget)


class Del:
    """The exit and the length with the most expected tokens by cost, from what recent rounds showed."""

    def __init__(self, layers, num_layers, d_max=8, forget=0.9, by_price=False):
        self.layers, self.num_layers, self.d_max = layers, num_layers, d_max
        self.forget, self.by_price = forget, by_price
        self.right, self.seen = [0.5] * len(layers), 1.0

    def hear(self, right, seen):
        """Rows of the last round, and how many of them each exit had right."""
        self.right = [self.forget * old + new for old, new in zip(self.right, right, strict=True)]
        self.seen = self.forget * self.seen + seen

    def choice(self, step_s):
        """(number of the exit, length); step_s(exit, length): seconds of the step."""
        best = None
        for number, layer in enumerate(self.layers):
            alpha = self.right[number] / self.seen
            for length in range(self.d_max + 1):
                tokens = sum(alpha**j for j in range(length + 1))
                cost = step_s(number, length) if self.by_price else length * layer + self.num_layers
                if best is None or tokens / cost > best[0] * (1 + 1e-12):
                    best = tokens / cost, number, length
        return best[1:]


class DiffuSpec:
    """The next block's length from what the last one generated before its end, and how much was accepted."""

    def __init__(self, k_min=20, k_max=30, delta=10, rho=0.5):
        self.k_min, self.k_max, self.delta, self.rho = k_min, k_max, delta, rho
        self.generated = self.accepted = 0.0
        self.k = k_max

    def hear(self, generated, accepted):
        self.generated = (1 - self.rho) * self.generated + self.rho * generated
        self.accepted = (1 - self.rho) * self.accepted + self.rho * accepted
        wanted = int(self.generated // 1) + (self.delta if self.accepted >= self.generated else 0)
        self.k = min(max(wanted, self.k_min), self.k_max)


class Compiled:
    """A compiled rule asked the same way; ``memory`` is kept between steps, spare rows hold rubbish."""

    def __init__(self, rule, options=(), spare_rows=1):
        self.rule, self.options, self.spare_rows = rule, np.array(options, np.float64), spare_rows
        self.memory = np.zeros(MEMORY_SIZE)

    def lengths(self, seen):
        n, k = seen.shape
        candidates = np.full((n + self.spare_rows, k), TOP_LEVEL, np.uint16)
        candidates[:n] = seen.levels
        self.memory[LAST_ACCEPTED], self.memory[LAST_VERIFIED] = seen.accepted, seen.verified
        self.memory[DRAFT_S : DRAFT_S + k + 1] = seen.draft_s
        lengths = np.full(n + self.spare_rows, -1, np.int64)
        tokens = self.rule(
            n,
            candidates,
            np.array([seen.verify_s(e) for e in range(n * k + 1)], np.float64),
            float(seen.fixed_s),
            self.options,
            self.memory,
            np.full(SCRATCH_SIZE, -7, np.int64),
            lengths,
        )
        assert (lengths[n:] == -1).all(), "rows beyond the batch were written"
        assert tokens == lengths[:n].sum()
        return lengths[:n].tolist()
