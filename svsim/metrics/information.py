"""What signals are worth: how much of acceptance a belief learnt on other requests foretells.

Words
-----
Z          whether a draft token is accepted; a its probability, known to the target alone.
gain       h(mean a) - E[-a log2 P - (1 - a) log2(1 - P)]: bits about Z in the belief P, held out.
ceiling    h(mean a) - E[h(a)]: bits about Z in a itself; the most that any belief can tell.
share      gain / ceiling.
R2         1 - E(a - P)^2 / var a.
Brier      1 - E(Z - P)^2 / E(Z - mean a)^2, Z's coin averaged out (Brier skill).

All on one token per output position (depth 1: the true prefix, each token once); intervals resample
the judged requests, the belief stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from svsim.metrics.calibration import Calibration, calibration_of
from svsim.metrics.request_sums import Estimate, RequestSums
from svsim.random_streams import RandomStreams
from svsim.speculation_math import (
    Floats,
    Ints,
    binary_entropy_bits,
    discretized_information_gain_bits,
)

PAPER_X_BINS = (5, 10)
PAPER_CELLS: tuple[int | Literal["adaptive"], ...] = (5, 10, 20, "adaptive")


@dataclass(frozen=True, slots=True)
class BeliefValue:
    """What one belief foretells; ``signals`` are the columns it reads."""

    name: str
    signals: tuple[str, ...]
    gain_bits: Estimate
    share_of_ceiling: Estimate
    r2: Estimate
    brier_skill: Estimate
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class PaperGain:
    """I(X; S, A) of one binning (arXiv 2509.24328): X = a in ``num_x_bins`` equal bins of [0, 1].

    ``cells``: how (S, A) is cut, as "10x10" or "adaptive"; ``entropy_bits``: H(X); corrected = raw -
    shuffled. Values of different binnings cannot be compared.
    """

    num_x_bins: int
    cells: str
    entropy_bits: float
    raw_bits: float
    shuffled_bits: float
    corrected_bits: float


@dataclass(frozen=True, slots=True)
class Information:
    """Beliefs judged on requests they did not learn from, and the paper's mutual information.

    ``acceptance``: "probability" (a recorded) or "coin" (a is the recorded outcome, 0 or 1);
    ``entropy_bits``: h(mean a); ``ceiling_bits``: the gain of a itself.
    """

    acceptance: Literal["probability", "coin"]
    num_profile_requests: int
    num_profile_tokens: int
    num_judged_requests: int
    num_judged_tokens: int
    mean_acceptance: Estimate
    entropy_bits: Estimate
    ceiling_bits: Estimate
    beliefs: tuple[BeliefValue, ...]
    paper: tuple[PaperGain, ...]
    overlap_correlation: Estimate | None


@dataclass(frozen=True, slots=True)
class JudgedTokens:
    """Acceptance of the depth-1 tokens that beliefs are judged on: accept_prob float64 [N]."""

    accept_prob: Floats
    request: Ints
    num_requests: int
    seed: int

    def mean_acceptance(self) -> Estimate:
        """Mean a."""
        return self._sums({}).estimate(("n", "a"), lambda n, a: a / n)

    def entropy_bits(self) -> Estimate:
        """h(mean a)."""
        return self._sums({}).estimate(("n", "a"), lambda n, a: binary_entropy_bits(a / n))

    def ceiling_bits(self) -> Estimate:
        """h(mean a) - E[h(a)]."""
        sums = self._sums({"h": binary_entropy_bits(self.accept_prob)})
        return sums.estimate(("n", "a", "h"), lambda n, a, h: binary_entropy_bits(a / n) - h / n)

    def judge(self, name: str, signals: tuple[str, ...], belief: Floats) -> BeliefValue:
        """The value of a belief P, float64 [N], 0 < P < 1."""
        a, p = self.accept_prob, belief
        loss = -a * np.log2(p) - (1 - a) * np.log2(1 - p)
        sums = self._sums({"h": binary_entropy_bits(a), "loss": loss, "aa": a * a, "square": (a - p) ** 2})
        return BeliefValue(
            name,
            signals,
            sums.estimate(("n", "a", "loss"), lambda n, a, loss: binary_entropy_bits(a / n) - loss / n),
            sums.estimate(("n", "a", "loss", "h"), _share_of_ceiling),
            sums.estimate(
                ("n", "a", "aa", "square"), lambda n, a, aa, square: 1 - _share(square, aa - a * a / n, n)
            ),
            sums.estimate(
                ("n", "a", "aa", "square"),
                lambda n, a, aa, square: 1 - _share(square + a - aa, a - a * a / n, n),
            ),
            calibration_of(a, p, self.request),
        )

    def _sums(self, columns: Mapping[str, Floats]) -> RequestSums:
        columns = {"n": np.ones(len(self.accept_prob)), "a": self.accept_prob, **columns}
        return RequestSums(columns, self.request, self.num_requests, self.seed)


def _share_of_ceiling(n: Floats, a: Floats, loss: Floats, h: Floats) -> Floats:
    entropy = n * binary_entropy_bits(a / n)
    return _share(entropy - loss, entropy - h, n)


def _share(part: Floats, whole: Floats, n: Floats) -> Floats:
    """part / whole, undefined where nothing but rounding is left of a mean whole / n."""
    return np.asarray(np.where(whole > 1e-9 * n, part / whole, np.nan))


def paper_gains(
    accept_prob: Floats, similarity: Floats, companion_accept: Floats, seed: int
) -> tuple[PaperGain, ...]:
    """I(X; S, A) at every resolution of PAPER_X_BINS and PAPER_CELLS; arrays [N] of all depth-1 tokens."""
    found = []
    for x_bins in PAPER_X_BINS:
        for place, cells in enumerate(PAPER_CELLS):
            gain = discretized_information_gain_bits(
                accept_prob,
                similarity,
                companion_accept,
                num_x_bins=x_bins,
                num_signal_bins=cells,
                generator=RandomStreams(seed).generator("shuffled information gain", x_bins, place),
            )
            name = cells if isinstance(cells, str) else f"{cells}x{cells}"
            found.append(
                PaperGain(
                    x_bins, name, gain.entropy_bits, gain.raw_bits, gain.shuffled_bits, gain.corrected_bits
                )
            )
    return tuple(found)


def correlation(x: Floats, y: Floats, request: Ints, num_requests: int, seed: int) -> Estimate:
    """Pearson correlation of x and y, [N] each; None where one is constant."""
    columns = {"n": np.ones(len(x)), "x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}
    sums = RequestSums(columns, request, num_requests, seed)
    return sums.estimate(tuple(columns), _correlation_of_sums)


def _correlation_of_sums(n: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> Floats:
    spread = (xx - x * x / n) * (yy - y * y / n)
    negligible = 1e-12 * xx * yy
    return np.asarray(np.where(spread > negligible, (xy - x * y / n) / np.sqrt(spread), np.nan))
