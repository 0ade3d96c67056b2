"""What a step costs, as tables over everything that varies: for whole grids at once.

A step of n sequences at mean context c prices, as the replay does, K drafter passes (pass j at n (c + j)
KV tokens, the first with the catch-up tokens of its sequences), the companion's pass over n K tokens and
catch-up, and the verification. Tables hold these seconds for every deployment (axis H), every knot of
mean context (axis G, linear between knots) and every catch-up or token count, so that an expectation is
a dot product with a law of counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.decoding.drafters import Drafter
from svsim.decoding.method import DecodingMethod
from svsim.decoding.work import Schedule, Verification
from svsim.engines.binding import Deployment
from svsim.engines.prices import PricedWork

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
T = TypeVar("T")
NO_DEVIATIONS: Floats = np.zeros(1)


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

    Drafts that stop early have tables of their own (``draft_passes_s``; ``bounds``). ``copies``: identical
    sequences that each one stands for. ``deviations``: of contexts from their mean, float64 [D], for what is
    not linear in them. Raises OutOfRangeError as the latency model says.
    """

    def __init__(
        self,
        deployments: Sequence[Deployment],
        batch_sizes: Sequence[int],
        methods: Sequence[DecodingMethod],
        knots: ContextKnots,
        copies: int = 1,
        deviations: Floats = NO_DEVIATIONS,
    ) -> None:
        self.deployments, self.knots, self.copies = tuple(deployments), knots, copies
        self._deviations = deviations
        self.batch_sizes = np.asarray(batch_sizes, np.int64)
        most = max((m.num_speculative_tokens for m in methods), default=0)
        self._tokens = _Places(self.batch_sizes, self.batch_sizes * most + 1)
        self._unscored = _Places(self.batch_sizes, self.batch_sizes + 1)
        self._verify_s = {
            key: self._stack(self._verify, method) for key, method in _distinct(_verified, methods).items()
        }
        self._owed = {
            most: _Places(self.batch_sizes, self.batch_sizes * most + 1) for most in map(_most_owed, methods)
        }
        self._first_draft_s = {
            key: self._stack(self._first_draft, method)
            for key, method in _distinct(_first_passes, methods).items()
        }
        self._other_drafts_s = {
            key: self._stack(self._other_drafts, method)
            for key, method in _distinct(_drafted, methods).items()
        }
        self._companion_s = {
            k: self._stack(self._companion, method) for k, method in _distinct(_scored, methods).items()
        }

    def priced(self, method: DecodingMethod) -> list[PricedWork]:
        """The method's work on every deployment."""
        return [d.priced(method) for d in self.deployments]

    def overhead_s(self, i: int, method: DecodingMethod) -> Floats:
        """Host time of a step at batch size i, [H]; a draft pass holds its own."""
        hosts = [priced.host for priced in self.priced(method)]
        n = int(self.batch_sizes[i]) * self.copies
        return np.array([host.per_step_s + host.per_sequence_s * n for host in hosts])

    def verify_s(self, i: int, method: DecodingMethod) -> Floats:
        """Verifications of e = 0 .. n K draft tokens at batch size i, float64 [H, G, n K + 1]."""
        return self._verify_s[_verified(method)][:, :, self._tokens.of[i]]

    def draft_by_catch_up_s(self, i: int, method: DecodingMethod) -> Floats:
        """Drafting K tokens at batch size i by the tokens owed, [H, G, n most + 1] (``most_owed``)."""
        drafted = _drafted(method)
        if drafted is None:
            return np.zeros((len(self.deployments), self.knots.num, int(self.batch_sizes[i]) + 1))
        return np.asarray(self._first_s(i, method) + self._other_drafts_s[drafted][:, :, i, None])

    def draft_s(self, i: int, method: DecodingMethod, catch_up: ArrayLike) -> Floats:
        """Expected drafting seconds at batch size i, [P, H, G], at mean tokens owed per sequence [P]."""
        drafted, mean = _drafted(method), np.atleast_1d(np.asarray(catch_up, np.float64))
        if drafted is None:
            return np.zeros((len(mean), len(self.deployments), self.knots.num))
        n, most = int(self.batch_sizes[i]), _most_owed(method)
        law = binomial_law(n, mean) if most == 1 else _law_at(n * mean, n * most)
        return _expected(law, self._first_s(i, method)) + self._other_drafts_s[drafted][:, :, i]

    def companion_by_unscored_s(self, i: int, method: DecodingMethod) -> Floats:
        """The companion's pass at batch size i by the tokens it has not read, [H, G, n + 1]."""
        if not method.uses_companion:
            return np.zeros((len(self.deployments), self.knots.num, int(self.batch_sizes[i]) + 1))
        return self._companion_s[method.num_speculative_tokens][:, :, self._unscored.of[i]]

    def companion_s(self, i: int, method: DecodingMethod, unscored: ArrayLike) -> Floats:
        """Expected seconds of the companion's pass, [P, H, G], at mean tokens unread per sequence [P]."""
        law = binomial_law(int(self.batch_sizes[i]), np.atleast_1d(np.asarray(unscored, np.float64)))
        if not method.uses_companion:
            return np.zeros((len(law), len(self.deployments), self.knots.num))
        return _expected(law, self.companion_by_unscored_s(i, method))

    def draft_passes_s(self, i: int, method: DecodingMethod) -> tuple[Floats, Floats]:
        """Passes of drafts that stop early at batch size i: the first by tokens owed [H, G, n most + 1], and
        pass j by the number of sequences in it [H, G, K, n + 1] (pass 0 is the first: left at 0)."""
        n, num_drafted = int(self.batch_sizes[i]), method.num_speculative_tokens
        counts, owed = np.arange(n + 1), np.arange(n * _most_owed(method) + 1)
        first = np.zeros((len(self.deployments), self.knots.num, len(owed)))
        later = np.zeros((len(self.deployments), self.knots.num, num_drafted, n + 1))
        for h, priced in enumerate(self.priced(method)):
            draft, context = priced.work.draft, self.draft_context(priced)[:, None]
            if draft.schedule is Schedule.SEQUENTIAL:
                first[h] = priced.first_draft_s(n, n + owed, context * n)
                for j in range(1, num_drafted):
                    kv = self.draft_context(priced, j)[:, None] * counts[1:]
                    later[h, :, j, 1:] = priced.draft_s(counts[1:], counts[1:], kv)
            elif draft.schedule is Schedule.BLOCK:
                each = 1 if draft.of_one_sequence else n
                tokens = each * np.arange(1 + draft.tokens_beside, num_drafted + 1 + draft.tokens_beside)
                whole = priced.draft_s(n, tokens, context * n)
                first[h] = whole[:, :1]
                later[h, :, 1:, 1:] = np.diff(whole, axis=1)[:, :, None]
        return first, later

    # -- one deployment -----------------------------------------------------------------------------

    def _stack(
        self, table_of: Callable[[PricedWork, DecodingMethod], Floats], method: DecodingMethod
    ) -> Floats:
        return np.stack([table_of(priced, method) for priced in self.priced(method)])

    def _kv(self, n: Counts, ahead: int = 0) -> Floats:
        """KV tokens of all copies at every knot, [G, len(n)], ``ahead`` tokens past the step's context."""
        return np.asarray((self.knots.values[:, None] + ahead) * (n * self.copies))

    def draft_context(self, priced: PricedWork, ahead: int = 0) -> Floats:
        """Mean tokens of context per sequence that a draft pass reads at every knot, float64 [G]."""
        context, budget = self.knots.values + ahead, priced.work.draft.kv_budget
        if budget is None:
            return context
        spread = np.maximum(context[:, None] + self._deviations, 0.0)
        return np.asarray(np.minimum(spread, budget).mean(axis=1))

    def _draft_kv(self, priced: PricedWork, n: Counts, ahead: int = 0) -> Floats:
        """KV tokens of all copies that a draft pass reads at every knot, [G, len(n)]."""
        return np.asarray(self.draft_context(priced, ahead)[:, None] * (n * self.copies))

    def _first_s(self, i: int, method: DecodingMethod) -> Floats:
        return self._first_draft_s[method.drafter, _most_owed(method)][
            :, :, self._owed[_most_owed(method)].of[i]
        ]

    def _verify(self, priced: PricedWork, method: DecodingMethod) -> Floats:
        n = self._tokens.sequences
        return priced.verify_s(n * self.copies, (n + self._tokens.entry) * self.copies, self._kv(n))

    def _companion(self, priced: PricedWork, method: DecodingMethod) -> Floats:
        n, k = self._unscored.sequences, method.num_speculative_tokens
        return priced.companion_s(n * self.copies, (n * k + self._unscored.entry) * self.copies, self._kv(n))

    def _first_draft(self, priced: PricedWork, method: DecodingMethod) -> Floats:
        """By tokens owed [G, entries]; nothing where one pass drafts all, or none."""
        places = self._owed[_most_owed(method)]
        n = places.sequences
        if priced.work.draft.schedule not in (Schedule.SEQUENTIAL, Schedule.TREE):
            return np.zeros((self.knots.num, len(n)))
        return priced.first_draft_s(
            n * self.copies, (n + places.entry) * self.copies, self._draft_kv(priced, n)
        )

    def _other_drafts(self, priced: PricedWork, method: DecodingMethod) -> Floats:
        """All later passes, or the one pass, [G, batch sizes]."""
        n, draft, k = self.batch_sizes, priced.work.draft, method.num_speculative_tokens
        total, m = np.zeros((self.knots.num, len(n))), n * self.copies
        if draft.schedule is Schedule.SEQUENTIAL:
            for j in range(1, k):
                total = total + priced.draft_s(m, m, self._draft_kv(priced, n, j))
        elif draft.schedule is Schedule.BLOCK:
            each = np.ones_like(n) if draft.of_one_sequence else m
            total = priced.draft_s(m, each * (k + draft.tokens_beside), self._draft_kv(priced, n))
        return total


def _distinct(
    key: Callable[[DecodingMethod], T | None], methods: Sequence[DecodingMethod]
) -> dict[T, DecodingMethod]:
    """A method for every key; none for those of None."""
    found = {key(method): method for method in methods}
    return {k: method for k, method in found.items() if k is not None}


def _drafted(method: DecodingMethod) -> tuple[Drafter, int] | None:
    """What full drafts depend on; None where there are none."""
    if not method.num_speculative_tokens or method.stops_draft:
        return None
    return method.drafter, method.num_speculative_tokens


def _first_passes(method: DecodingMethod) -> tuple[Drafter, int] | None:
    return None if _drafted(method) is None else (method.drafter, _most_owed(method))


def _verified(method: DecodingMethod) -> tuple[Drafter | Literal["whole"], Verification]:
    """What verifications depend on: the drafter alone, where it runs layers of the target."""
    draft = method.work().draft
    return method.drafter if draft.exits_early else "whole", method.verification


def _scored(method: DecodingMethod) -> int | None:
    return method.num_speculative_tokens if method.uses_companion else None


def _most_owed(method: DecodingMethod) -> int:
    """Tokens owed beyond the last that a first pass is tabled for, per sequence: one at least."""
    return max(method.work().draft.most_owed(method.num_speculative_tokens, stops=False), 1)


def _law_at(mean: Floats, most: int) -> Floats:
    """All at the two counts next to each mean [P], float64 [P, most + 1]."""
    return np.maximum(1.0 - np.abs(mean[:, None] - np.arange(most + 1)), 0.0)


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
