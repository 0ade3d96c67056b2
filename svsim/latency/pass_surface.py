"""Seconds of one model's pass as a sum of few, physical terms (fitted by ``pass_fit.py``).

Words
-----
token curve          seconds that depend on the new tokens n of the pass alone: matrix products,
                     element-wise work, all-reduce, and everything constant. It never decreases and
                     has a knot at every measured n, so it keeps the stairs of graph padding and tiles.
logit rows           min(n, 32 B): tokens whose logits are computed. A verification needs all of its
                     tokens', a prompt (more than 32 new tokens per sequence) few. Their cost tells
                     the two apart at the same n; without such rows it is counted in the curve.
attention surface    seconds added by reading the KV cache: B sequences of mean context c. Bilinear
                     between knots of B and c, never decreasing in c. Zero at the smallest B and c,
                     where its constant is counted in the token curve.
query-key pairs      n (c + n / 2B): every new token meets its context and half the new tokens of its
                     sequence. With few queries per sequence attention takes as long as reading the
                     cache, however many they are; with many (prefill) as long as its pairs.
pass = token curve(n) + row_s * logit rows + max(attention surface(B, c), pair_s * pairs)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.latency.context_costs import MANY_QUERIES, ContextCosts
from svsim.latency.valid_range import ValidRange

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FitResiduals:
    """|predicted / measured - 1| over the rows of the fit."""

    num_rows: int
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class PassSurface:
    """A fitted pass (see the module's words).

    tokens [N], token_s [N]: the curve. context: attention surface and pairs; the surface has one knot
    beyond either end of the measured B: in proportion to B down to 0 and up.

    Outside the measured range (``extrapolate``): below the smallest n the curve is constant, above
    the largest it goes on with its mean slope over the upper half; contexts go on linearly with the
    outer segment's slope, never below 0; attention scales in proportion to B.
    """

    tokens: Floats
    token_s: Floats
    tail_slope_s: float
    row_s: float
    context: ContextCosts
    valid_range: ValidRange
    residuals: FitResiduals

    def predict_s(self, sequences: Floats, tokens: Floats, context: Floats) -> Floats:
        """Seconds of each pass, float64; the arguments broadcast, and each term keeps to its own."""
        curve_s = self.curve_s(tokens)
        if self.row_s > 0:
            curve_s = curve_s + self.row_s * logit_rows(sequences, tokens)
        return np.asarray(curve_s + self.context.seconds(sequences, tokens, context))

    def curve_s(self, tokens: Floats) -> Floats:
        """The token curve alone."""
        tail_s = self.tail_slope_s * np.maximum(tokens - self.tokens[-1], 0.0)
        return np.asarray(np.interp(tokens, self.tokens, self.token_s) + tail_s)


def logit_rows(sequences: Floats, tokens: Floats) -> Floats:
    """Tokens whose logits are computed."""
    return np.minimum(tokens, MANY_QUERIES * sequences)
