"""What a step costs, as tables over everything that varies: for whole grids at once.

A step of n sequences at mean context c prices, as the replay does, K drafter passes (pass j at n (c + j)
KV tokens, the first with the catch-up tokens of its sequences), the companion's pass over n K tokens and
catch-up, and the verification. Tables hold these seconds for every deployment (axis H), every knot of
mean context (axis G, linear between knots) and every catch-up or token count, so that an expectation is
a dot product with a law of counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.decoding.drafters import HeadDrafter, ModelDrafter
from svsim.decoding.method import DecodingMethod
from svsim.engines.binding import Deployment
from svsim.engines.step import Draft
from svsim.latency.shape import Role, StepShape

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ContextKnots:
    """``num`` uniform knots of mean context (tokens per sequence) from low to high."""

    low: float
    high: float
    num: int

    @property
    def values(self) -> Floats:
        """float64 [G]."""
        return np.linspace(self.low, self.high, self.num)

    @property
    def spacing(self) -> float:
        """Tokens between knots."""
        return max((self.high - self.low) / (self.num - 1), 1e-9)

    def locate(self, context: ArrayLike) -> tuple[NDArray[np.intp], Floats]:
        """The knot below each context and the weight of the knot above it."""
        place = np.clip((np.asarray(context, np.float64) - self.low) / self.spacing, 0, self.num - 1)
        below = np.minimum(place.astype(np.intp), self.num - 2)
        return below, place - below

    def weights(self, context: ArrayLike) -> Floats:
        """Interpolation weights [..., G] of contexts [...]."""
        below, share = self.locate(context)
        knots = np.arange(self.num)
        here, after = knots == below[..., None], knots == below[..., None] + 1
        return np.asarray(here * (1.0 - share[..., None]) + after * share[..., None], np.float64)


class _Places:
    """An axis that holds ``widths[i]`` entries, 0 .. widths[i] - 1, for batch size i."""

    def __init__(self, batch_sizes: Counts, widths: Counts) -> None:
        ends = np.cumsum(widths)
        self.of = [slice(e - w, e) for e, w in zip(ends.tolist(), widths.tolist(), strict=True)]
        self.sequences = np.repeat(batch_sizes, widths)
        self.entry = np.arange(ends[-1]) - np.repeat(ends - widths, widths)


class StepTables:
    """Seconds of every pass that methods take at the given batch sizes (numbers of sequences).

    Drafts that stop at a planned length are not here (``analytic_bounds``). ``copies``: identical
    sequences that each one stands for. Raises OutOfRangeError as the latency model says.
    """

    def __init__(
        self,
        deployments: Sequence[Deployment],
        batch_sizes: Sequence[int],
        methods: Sequence[DecodingMethod],
        knots: ContextKnots,
        copies: int = 1,
    ) -> None:
        self.deployments, self.knots, self.copies = tuple(deployments), knots, copies
        self.batch_sizes = np.asarray(batch_sizes, np.int64)
        self.overhead_s = np.array([d.latency.overhead_per_step_s for d in deployments])
        most = max(m.num_speculative_tokens for m in methods)
        self._tokens = _Places(self.batch_sizes, self.batch_sizes * most + 1)
        self._catch_up = _Places(self.batch_sizes, self.batch_sizes + 1)
        self._verify_s = self._stack(self._verify)
        self._drafting = [
            m
            for m in methods
            if m.num_speculative_tokens and not m.stops_draft and isinstance(m.drafter, ModelDrafter)
        ]
        self._depths = sorted({m.num_speculative_tokens for m in self._drafting})
        if self._drafting:
            self._first_draft_s = self._stack(self._first_draft)
            self._other_drafts_s = self._stack(self._other_drafts)
        self._companion_s = {
            k: self._stack(partial(self._companion, k=k))
            for k in sorted({m.num_speculative_tokens for m in methods if m.uses_companion})
        }

    def verify_s(self, i: int) -> Floats:
        """Verifications of e = 0 .. n K draft tokens at batch size i, float64 [H, G, n K + 1]."""
        return self._verify_s[:, :, self._tokens.of[i]]

    def draft_s(self, i: int, num_drafted: int, law: Floats) -> Floats:
        """Expected drafting seconds at batch size i, [P, H, G], for laws of catch-up tokens [P, n + 1]."""
        if num_drafted == 0:
            return np.zeros((len(law), len(self.deployments), self.knots.num))
        other = self._other_drafts_s[:, :, self._depths.index(num_drafted), i]
        return _expected(law, self._first_draft_s[:, :, self._catch_up.of[i]]) + other

    def companion_s(self, i: int, method: DecodingMethod, law: Floats) -> Floats:
        """Expected seconds of the companion's pass, [P, H, G], as for ``draft_s``."""
        if not method.uses_companion:
            return np.zeros((len(law), len(self.deployments), self.knots.num))
        return _expected(law, self._companion_s[method.num_speculative_tokens][:, :, self._catch_up.of[i]])

    def head_draft_s(self, i: int, method: DecodingMethod, read_again: float) -> Floats:
        """Drafting by a head, [1, H, G]; ``read_again``: mean tokens per sequence beyond the last emitted."""
        assert isinstance(method.drafter, HeadDrafter)
        n, share = self.batch_sizes[i : i + 1], method.drafter.share_of_target
        more = np.array([int(n[0] * read_again), int(n[0] * read_again) + 1])

        def of(d: Deployment) -> Floats:
            first = self._pass_s(d, Role.TARGET, n.repeat(2), (n + more) * self.copies)
            up = n[0] * read_again - more[0]
            total = first[:, 0] * (1.0 - up) + first[:, 1] * up
            for j in range(1, method.num_speculative_tokens):
                total += self._pass_s(d, Role.TARGET, n, n * self.copies, j)[:, 0]
            return np.asarray(total * share)

        return self._stack(of)[None]

    def draft_passes_s(self, i: int, method: DecodingMethod) -> tuple[Floats, Floats]:
        """Passes of drafts that stop early at batch size i: the first by catch-up tokens [H, G, n + 1], and
        pass j by the number of sequences in it [H, G, K, n + 1] (pass 0 is the first: left at 0)."""
        n, context, num_drafted = (
            int(self.batch_sizes[i]),
            self.knots.values[:, None],
            method.num_speculative_tokens,
        )
        counts = np.arange(n + 1)
        first = np.zeros((len(self.deployments), self.knots.num, n + 1))
        later = np.zeros((len(self.deployments), self.knots.num, num_drafted, n + 1))
        for h, d in enumerate(self.deployments):
            price, kind = d.latency.predict_s, d.draft_kind(method)
            if kind == Draft.SEQUENTIAL:
                first[h] = price(StepShape(Role.DRAFT, n, n + counts, context * n))
                for j in range(1, num_drafted):
                    kv = (context + j) * counts[1:]
                    later[h, :, j, 1:] = price(StepShape(Role.DRAFT, counts[1:], counts[1:], kv))
                continue
            each = n if kind == Draft.ONE_PASS else 1
            tokens = each * np.arange(2, num_drafted + 2)
            whole = price(StepShape(Role.DRAFT, n, tokens, context * n))
            first[h] = whole[:, :1]
            later[h, :, 1:, 1:] = np.diff(whole, axis=1)[:, :, None]
        return first, later

    # -- one deployment -----------------------------------------------------------------------------

    def _stack(self, table_of: Callable[[Deployment], Floats]) -> Floats:
        return np.stack([table_of(d) for d in self.deployments])

    def _pass_s(self, d: Deployment, role: Role, n: Counts, tokens: Counts, ahead: int = 0) -> Floats:
        """Passes of all copies at every knot, [G, len(n)], ``ahead`` tokens past the step's context."""
        kv = (self.knots.values[:, None] + ahead) * (n * self.copies)
        return d.latency.predict_s(StepShape(role, n * self.copies, tokens, kv))

    def _verify(self, d: Deployment) -> Floats:
        n = self._tokens.sequences
        return self._pass_s(d, Role.TARGET, n, (n + self._tokens.entry) * self.copies)

    def _companion(self, d: Deployment, k: int) -> Floats:
        n = self._catch_up.sequences
        return self._pass_s(d, Role.COMPANION, n, (n * k + self._catch_up.entry) * self.copies)

    def _first_draft(self, d: Deployment) -> Floats:
        """By catch-up tokens [G, entries]; nothing where one pass drafts all."""
        n = self._catch_up.sequences
        if d.draft_kind(self._drafting[0]) != Draft.SEQUENTIAL:
            return np.zeros((self.knots.num, len(n)))
        return self._pass_s(d, Role.DRAFT, n, (n + self._catch_up.entry) * self.copies)

    def _other_drafts(self, d: Deployment) -> Floats:
        """All later passes, or the one pass, [G, depths, batch sizes]."""
        n, kind = self.batch_sizes, d.draft_kind(self._drafting[0])
        if kind == Draft.SEQUENTIAL:
            later = [self._pass_s(d, Role.DRAFT, n, n * self.copies, j) for j in range(1, max(self._depths))]
            total = np.cumsum([np.zeros((self.knots.num, len(n))), *later], axis=0)
            return np.asarray(total[np.array(self._depths) - 1].transpose(1, 0, 2))
        tokens = [
            (k + 1) * (n * self.copies if kind == Draft.ONE_PASS else np.ones_like(n)) for k in self._depths
        ]
        return np.stack([self._pass_s(d, Role.DRAFT, n, t) for t in tokens], axis=1)


def _expected(law: Floats, seconds: Floats) -> Floats:
    """[P, C] against [H, G, C] -> [P, H, G]."""
    return np.asarray((seconds @ law.T).transpose(2, 0, 1))


def binomial_law(num: int, share: ArrayLike) -> Floats:
    """P(c of num) for independent shares [P], float64 [P, num + 1]."""
    counts = np.arange(num + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, num + 1)))])
    log_ways = log_factorial[-1] - log_factorial - log_factorial[::-1]
    p = np.clip(np.asarray(share, np.float64), 1e-300, 1 - 1e-16)[:, None]
    return np.asarray(np.exp(log_ways + counts * np.log(p) + (num - counts) * np.log1p(-p)))


def law_of_sum(law: Floats, num: int) -> Floats:
    """Law of the sum of ``num`` independent counts, each of law [k + 1]: float64 [num k + 1]."""
    size = num * (len(law) - 1) + 1
    total = np.fft.irfft(np.fft.rfft(law, 2 * size) ** num, 2 * size)[:size]
    total = np.maximum(total, 0.0)
    return np.asarray(total / total.sum())
