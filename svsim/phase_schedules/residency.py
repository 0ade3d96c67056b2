"""Who is decoding? Output lengths, and how many queries each pass of a phase finds running.

Words
-----
query      one request: a prompt, then s decode passes.
phase      B_E prompts are encoded, then N_D decode passes run. A query of s tokens stays ceil(s/N_D) phases.
resident   queries that decode in a phase, those just encoded included: B_D.

In steady state B_E queries come and go per phase, so stage j of a query (its j-th phase) holds B_E P(s > (j -
1) N_D) queries: B_D = B_E E[ceil(s/N_D)] (``resident``).

The published law starts from the residents: it gives them the lengths of *arriving* queries, P(s), and
lets 1/ceil(s/N_D) of each finish per phase, so B_D = B_E / E[1/ceil(s/N_D)] (``paper``). Its finishing
queries then have lengths in proportion to P(s)/ceil(s/N_D), not to P(s): residents are longer than arrivals,
and the law overlooks it. By Jensen's inequality its B_D is the smaller one. Both laws are one computation:
``paper`` is ``resident`` at these shorter lengths (``arriving``). At N_D = 1 the paper's own rule for WAA,
B_D = B_E E[s], is ``resident``.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import require

Floats = NDArray[np.float64]
MAX_OUTPUT_TOKENS = 1 << 20


class Law(StrEnum):
    """How residents follow from arrivals."""

    RESIDENT = "resident"
    PAPER = "paper"


@dataclass(frozen=True, slots=True, eq=False)
class OutputLengths:
    """The law of output lengths: probability of 1, 2, ... tokens, float64 [longest]; it sums to 1."""

    probability: Floats

    @classmethod
    def truncated_normal(cls, mean: float, deviation: float, longest: int) -> "OutputLengths":
        """The normal density at 1 to ``longest``, scaled to sum to 1; mean and deviation move a little."""
        require(
            deviation > 0 and 1 <= longest <= MAX_OUTPUT_TOKENS,
            f"a normal law of deviation {deviation:g} up to {longest} tokens; expected a deviation above 0 "
            f"and 1 to {MAX_OUTPUT_TOKENS} tokens",
        )
        exponent = -0.5 * ((np.arange(1, longest + 1) - mean) / deviation) ** 2
        weight = np.exp(exponent - exponent.max())
        return cls(weight / weight.sum())

    @classmethod
    def observed(cls, lengths: ArrayLike) -> "OutputLengths":
        """The shares of recorded lengths, all from 1 token."""
        counts = np.bincount(np.asarray(lengths, np.int64))
        require(
            0 < len(counts) <= MAX_OUTPUT_TOKENS + 1 and counts[0] == 0 and counts.sum() > 0,
            f"output lengths must be 1 to {MAX_OUTPUT_TOKENS} tokens, and at least one must be given",
        )
        return cls(counts[1:] / counts.sum())

    @property
    def tokens(self) -> NDArray[np.int64]:
        """1 to the longest."""
        return np.arange(1, len(self.probability) + 1)

    @property
    def mean(self) -> float:
        """E[s]."""
        return float(self.probability @ self.tokens)

    def quantile(self, share: float) -> int:
        """The shortest length that at least this share of queries does not exceed."""
        return int(np.searchsorted(np.cumsum(self.probability), share - 1e-12)) + 1

    def num_phases(self, num_passes: int) -> NDArray[np.int64]:
        """ceil(s/N_D) of every length, int64 [longest]."""
        return -(-self.tokens // num_passes)


def arriving(lengths: OutputLengths, num_passes: int, law: Law) -> OutputLengths:
    """Lengths of the queries that a law lets come and go: as given, or in proportion to P(s)/ceil(s/N_D)."""
    if law is Law.RESIDENT:
        return lengths
    weight = lengths.probability / lengths.num_phases(num_passes)
    return OutputLengths(weight / weight.sum())


def residents_per_query(lengths: OutputLengths, num_passes: int, law: Law = Law.RESIDENT) -> float:
    """B_D/B_E: E[ceil(s/N_D)], or the paper's 1/E[1/ceil(s/N_D)]."""
    passing = arriving(lengths, num_passes, law)
    return float(passing.probability @ passing.num_phases(num_passes))


@dataclass(frozen=True, slots=True, eq=False)
class PhaseBatches:
    """Per query encoded in a phase: queries that its pass u = 1, 2, ... finds running, float64 [N_D].

    output_tokens: tokens that these have generated before the pass, summed.
    """

    queries: Floats
    output_tokens: Floats

    @classmethod
    def of(cls, lengths: OutputLengths, num_passes: int, law: Law = Law.RESIDENT) -> "PhaseBatches":
        """Sums over the stages j of P(s >= (j - 1) N_D + u)."""
        passing = arriving(lengths, num_passes, law)
        at_least = np.cumsum(passing.probability[::-1])[::-1]
        num_stages = -(-len(at_least) // num_passes)
        padded = np.zeros(num_stages * num_passes)
        padded[: len(at_least)] = at_least
        age = np.arange(len(padded), dtype=np.float64)
        shape = (num_stages, num_passes)
        return cls(padded.reshape(shape).sum(axis=0), (padded * age).reshape(shape).sum(axis=0))
