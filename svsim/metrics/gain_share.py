"""The share of a bound's gain over target-only decoding that a method captures.

share = (goodput - goodput of td) / (goodput of the bound - goodput of td), all at one batch size of one
deployment. Target-only decoding is what a server does without speculation, so 0 is no gain, 1 is the
bound's and below 0 speculation costs; what the best fixed length leaves to 1 is all that choosing lengths
could add. A share above 1 is possible: a bound knows the answer, but it is not proven to be the fastest
(it may draft tokens that it never verifies, or wait for the longest chain of the batch).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.metrics.bootstrap import interval

WithInterval = tuple[float | None, float | None, float | None]
UNDEFINED: WithInterval = (None, None, None)


class Goodput(NamedTuple):
    """Tokens per second, and of every bootstrap resample (None with fewer than two groups)."""

    tok_s: float
    resamples: NDArray[np.float64] | None


def gain_share(mine: Goodput, base: Goodput, bound: Goodput) -> WithInterval:
    """Share with its paired 95 % interval; undefined where the bound gains nothing beyond the noise."""
    gain = bound.tok_s - base.tok_s
    if mine.resamples is None or base.resamples is None or bound.resamples is None:
        return ((mine.tok_s - base.tok_s) / gain, None, None) if gain > 0 else UNDEFINED
    gains = bound.resamples - base.resamples
    lowest, _ = interval(gains)
    if gain <= 0 or lowest is None or lowest <= 0:
        return UNDEFINED
    return (mine.tok_s - base.tok_s) / gain, *interval((mine.resamples - base.resamples) / gains)
