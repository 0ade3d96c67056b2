"""Pure array functions of speculative decoding.

Words: K draft tokens x_1..x_K are proposed; token d is accepted with probability a_d given that all
before it were; the *survival* w_d = a_1 ... a_d is the probability that depth d is reached and
accepted. Emitted tokens include the recovered or bonus token (vLLM's convention).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def survival(accept_prob: ArrayLike) -> Floats:
    """w[..., d] = product of accept_prob[..., :d + 1]: float64, same shape, never increasing in d."""
    return np.cumprod(np.asarray(accept_prob, np.float64), axis=-1, dtype=np.float64)


def constant_acceptance_tokens(accept_prob: float, num_speculative_tokens: int) -> float:
    """Emitted tokens per step at constant acceptance: (1 - a^(k+1)) / (1 - a), bonus included.

    Leviathan et al., arXiv 2211.17192, equation 1.
    """
    return float((accept_prob ** np.arange(num_speculative_tokens + 1)).sum())


def binary_entropy_bits(p: ArrayLike) -> Floats:
    """h(p) = -p log2 p - (1 - p) log2(1 - p), 0 at p = 0 and p = 1."""
    p = np.asarray(p, np.float64)
    q = 1.0 - p
    return -(p * np.log2(np.where(p > 0, p, 1.0)) + q * np.log2(np.where(q > 0, q, 1.0)))


def information_ceiling_bits(accept_prob: ArrayLike) -> float:
    """h(mean a) - E[h(a)]: what knowing a itself tells about acceptance, in bits; a of any shape."""
    a = np.asarray(accept_prob, np.float64)
    return float(binary_entropy_bits(a.mean()) - binary_entropy_bits(a).mean())


def information_gain_bits(accept_prob: ArrayLike, belief: ArrayLike) -> float:
    """h(mean a) - E[-a log2 P - (1 - a) log2(1 - P)] of a belief P about acceptance, in bits.

    At most ``information_ceiling_bits`` (reached at P = a); negative where P misleads, and minus
    infinity where P rules out what can happen. Held out: P must be learnt on other requests.
    """
    a, p = np.asarray(accept_prob, np.float64), np.asarray(belief, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = -np.where(a > 0, a * np.log2(p), 0.0) - np.where(a < 1, (1 - a) * np.log2(1 - p), 0.0)
    return float(binary_entropy_bits(a.mean()) - loss.mean())


def entropy_bits(counts: ArrayLike) -> float:
    """Plug-in entropy of a histogram, in bits."""
    n = np.asarray(counts, np.float64)
    n = n[n > 0]
    return float(np.log2(n.sum()) - (n * np.log2(n)).sum() / n.sum())


@dataclass(frozen=True, slots=True)
class DiscretizedGain:
    """I(X; S, A) over bins, in bits: plug-in, and the same after (S, A) were shuffled against X.

    The plug-in estimate grows with the number of cells even where nothing is to be learnt; the
    shuffled one measures that excess.
    """

    entropy_bits: float
    raw_bits: float
    shuffled_bits: float

    @property
    def corrected_bits(self) -> float:
        """Plug-in minus shuffled."""
        return self.raw_bits - self.shuffled_bits


def discretized_information_gain_bits(
    accept_prob: ArrayLike,
    similarity: ArrayLike,
    companion_accept: ArrayLike,
    *,
    num_x_bins: int,
    num_signal_bins: int | Literal["adaptive"],
    generator: np.random.Generator,
    num_shuffles: int = 4,
) -> DiscretizedGain:
    """I(X; S, A) the way of Speculative Verification (arXiv 2509.24328, section 3): X = a in bins.

    X has ``num_x_bins`` equal bins of [0, 1]; (S, A) has n x n equal cells, or ``"adaptive"``: the
    272 = 16 x 17 cells of equal counts (ties stay together). All arrays have one shape. The value
    moves with the bins: never compare it across unknown binnings.
    """
    x = equal_bins(accept_prob, num_x_bins)
    if num_signal_bins == "adaptive":
        cells = CellGrid.of_equal_counts(similarity, companion_accept, 16, 17).cell_of(
            similarity, companion_accept
        )
    else:
        n = num_signal_bins
        cells = equal_bins(similarity, n) * n + equal_bins(companion_accept, n)
    h_x, h_cells = entropy_bits(np.bincount(x)), entropy_bits(np.bincount(cells))

    def gain(cells: Ints) -> float:
        return h_x + h_cells - entropy_bits(np.bincount(cells * num_x_bins + x))

    shuffled = [gain(generator.permutation(cells)) for _ in range(num_shuffles)]
    return DiscretizedGain(h_x, gain(cells), float(np.mean(shuffled)) if shuffled else 0.0)


def equal_bins(values: ArrayLike, num_bins: int) -> Ints:
    """Index of the equal bin of [0, 1] that holds each value, int64 [N]; 1 belongs to the last bin."""
    scaled = np.asarray(values, np.float64).ravel() * num_bins
    return np.clip(scaled.astype(np.int64), 0, num_bins - 1)


@dataclass(frozen=True, slots=True)
class CellGrid:
    """Cells of (S, A): bins of S, and inside each its own bins of A.

    row_edges: inner edges of S, float64 [R - 1]; column_edges: per row the inner edges of A.
    """

    row_edges: Floats
    column_edges: tuple[Floats, ...]
    num_columns: int

    @classmethod
    def of_equal_counts(cls, s: ArrayLike, a: ArrayLike, num_rows: int, num_columns: int) -> "CellGrid":
        """Edges at equal counts of the given points; equal values share a cell, so cells may be fewer."""
        s, a = np.asarray(s, np.float64).ravel(), np.asarray(a, np.float64).ravel()
        row_edges = _inner_quantiles(s, num_rows)
        rows = np.searchsorted(row_edges, s, side="right")
        columns = tuple(_inner_quantiles(a[rows == row], num_columns) for row in range(len(row_edges) + 1))
        return cls(row_edges, columns, num_columns)

    @property
    def num_cells(self) -> int:
        """Cells, some possibly empty."""
        return (len(self.row_edges) + 1) * self.num_columns

    def cell_of(self, s: ArrayLike, a: ArrayLike) -> Ints:
        """Cell index of each point, int64 [N]; row = cell // num_columns."""
        s, a = np.asarray(s, np.float64).ravel(), np.asarray(a, np.float64).ravel()
        rows = np.searchsorted(self.row_edges, s, side="right")
        cells = np.empty(len(s), np.int64)
        for row, edges in enumerate(self.column_edges):
            members = np.flatnonzero(rows == row)
            cells[members] = row * self.num_columns + np.searchsorted(edges, a[members], side="right")
        return cells


def _inner_quantiles(values: Floats, num_bins: int) -> Floats:
    if len(values) == 0:
        return np.zeros(0)
    ordered = np.sort(values)
    edges = np.unique(ordered[np.arange(1, num_bins) * len(values) // num_bins])
    inner: Floats = edges[edges > ordered[0]]  # no empty bin below the least value
    return inner
