"""Exact percentiles and means of more numbers than fit into memory, by passes over pieces of them."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Source = Callable[[], Iterable[Floats]]  # the same pieces at every call
_BITS = 16  # of a number that one pass decides


def mean_and_percentiles(source: Source, percentiles: Sequence[float]) -> list[float]:
    """The mean and the linear percentiles of numbers >= 0, as NumPy's of them all; NaN without any."""
    first = _at_most_two(source)
    if len(first) < 2:
        values = first[0] if first else np.zeros(0)
        if len(values) == 0:
            return [np.nan] * (1 + len(percentiles))
        return [float(values.mean()), *np.percentile(values, percentiles).tolist()]
    num, total = 0, 0.0
    for piece in source():
        num, total = num + len(piece), total + float(piece.sum())
    places = np.asarray(percentiles) / 100.0 * (num - 1)
    low = np.floor(places).astype(np.int64)
    ranks = np.unique(np.concatenate([low, np.minimum(low + 1, num - 1)]))
    found = dict(zip(ranks.tolist(), order_statistics(source, ranks), strict=True))
    return [total / num, *(_between(found, place, num) for place in places.tolist())]


def order_statistics(source: Source, ranks: NDArray[np.int64]) -> list[float]:
    """The numbers >= 0 at these places (from 0) of all in order: 16 bits of each a pass."""
    # bits of floats that are not negative are in the order of the floats
    prefix = np.zeros(len(ranks), np.uint64)
    left = ranks.astype(np.int64).copy()  # its place among the numbers of its prefix
    for shift in range(64 - _BITS, -1, -_BITS):
        counts = {int(p): np.zeros(1 << _BITS, np.int64) for p in prefix}
        for piece in source():
            bits = np.ascontiguousarray(piece + 0.0).view(np.uint64)  # no -0.0
            digits = (bits >> np.uint64(shift)) & np.uint64((1 << _BITS) - 1)
            heads = np.zeros_like(bits) if shift == 64 - _BITS else bits >> np.uint64(shift + _BITS)
            for head in counts:
                mine = digits[heads == np.uint64(head)].astype(np.int64)
                counts[head] += np.bincount(mine, minlength=1 << _BITS)
        for i in range(len(ranks)):
            below = np.cumsum(counts[int(prefix[i])])
            digit = int(np.searchsorted(below, left[i], side="right"))
            left[i] -= int(below[digit - 1]) if digit else 0
            prefix[i] = (prefix[i] << np.uint64(_BITS)) | np.uint64(digit)
    return prefix.view(np.float64).tolist()


def _at_most_two(source: Source) -> list[Floats]:
    found = []
    for piece in source():
        found.append(piece)
        if len(found) == 2:
            break
    return found


def _between(found: dict[int, float], place: float, num: int) -> float:
    """As NumPy interpolates."""
    low = int(place)
    a, b, t = found[low], found[min(low + 1, num - 1)], place - low
    return b - (b - a) * (1.0 - t) if t >= 0.5 else a + (b - a) * t
