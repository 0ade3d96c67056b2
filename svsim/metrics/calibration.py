"""Calibration of a belief: of the tokens believed to be accepted with probability P, are P accepted?"""

from dataclasses import dataclass

import numpy as np

from svsim.speculation_math import Floats, Ints

NUM_BINS = 10
MEAN_ABSOLUTE_NORMAL = float(np.sqrt(2 / np.pi))  # E|x| of a standard normal


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Tokens of similar belief: their number, mean belief, mean acceptance and its standard error."""

    num_tokens: int
    mean_belief: float
    mean_acceptance: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected calibration error over bins of equal count, in acceptance probability.

    error   mean over tokens of |mean acceptance - mean belief| of their bin.
    noise   what ``error`` would be on average for a perfect belief on so few requests.
    """

    error: float
    noise: float
    bins: tuple[CalibrationBin, ...]


def calibration_of(accept_prob: Floats, belief: Floats, request: Ints) -> Calibration:
    """Calibration over NUM_BINS bins of equal count of the belief; equal beliefs share a bin.

    All arrays [N]; standard errors take the tokens of one request as dependent.
    """
    bins, found = bins_of_equal_count(belief, NUM_BINS), []
    for b in range(bins.max() + 1):
        inside = bins == b
        gap = accept_prob[inside] - belief[inside]
        found.append(
            CalibrationBin(
                int(inside.sum()),
                float(belief[inside].mean()),
                float(accept_prob[inside].mean()),
                clustered_standard_error(gap, request[inside]),
            )
        )
    total = len(belief)
    return Calibration(
        sum(b.num_tokens * abs(b.mean_acceptance - b.mean_belief) for b in found) / total,
        sum(b.num_tokens * b.standard_error for b in found) * MEAN_ABSOLUTE_NORMAL / total,
        tuple(found),
    )


def bins_of_equal_count(values: Floats, num_bins: int) -> Ints:
    """Bin of every value, int64 [N], numbered from 0 without gaps; equal values share a bin."""
    ordered = np.sort(values)
    edges = np.unique(ordered[np.arange(1, num_bins) * len(values) // num_bins])
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1].astype(np.int64)


def clustered_standard_error(values: Floats, request: Ints) -> float:
    """Standard error of the mean of ``values`` [N] whose entries depend on each other inside a request."""
    around_mean = np.bincount(request, values - values.mean())
    return float(np.sqrt((around_mean * around_mean).sum()) / len(values))
