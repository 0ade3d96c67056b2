"""Requests that retrieve speculatively, cycle by cycle: fixed strides, and the stride that OS3 chooses."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from svsim.errors import require
from svsim.speculative_retrieval.renewal import MAX_STRIDE, SpeculativeRetrieval, best_stride

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class StrideRule(Protocol):
    """How many documents the next cycle speculates on."""

    @property
    def max_stride(self) -> int:
        """The longest that it asks for."""
        ...

    @property
    def window(self) -> int:
        """Cycles that it looks back on."""
        ...

    def first(self) -> int:
        """The stride of a request's first cycle."""
        ...

    def after(self, matched: Ints, missed: NDArray[np.bool_]) -> Ints:
        """Strides of the next cycle, int64 [requests].

        matched: hits before the first miss in the last cycles, int64 [cycles, requests]; missed: whether
        there was one.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedStride:
    """The same stride always."""

    max_stride: int
    window: int = 1

    def __post_init__(self) -> None:
        require(
            1 <= self.max_stride <= MAX_STRIDE,
            f"`stride` {self.max_stride} is out of range; expected 1 to {MAX_STRIDE}",
        )

    def first(self) -> int:
        """It."""
        return self.max_stride

    def after(self, matched: Ints, missed: NDArray[np.bool_]) -> Ints:
        """It."""
        return np.full(matched.shape[1], self.max_stride)


@dataclass(frozen=True, slots=True)
class OptimalStride:
    """OS3: the best stride at the hit rate of the last ``window`` verifications, from a first stride of 1.

    gamma = matched / (matched + cycles with a miss), at most ``max_hit_rate``; a and b are known, as from
    profiling. Published: window 5, max_hit_rate 0.6; strides up to 8.
    """

    model: SpeculativeRetrieval
    window: int = 5
    max_hit_rate: float = 0.6
    max_stride: int = 8

    def __post_init__(self) -> None:
        require(
            1 <= self.max_stride <= MAX_STRIDE,
            f"`max_stride` {self.max_stride} is out of range; expected 1 to {MAX_STRIDE}",
        )
        require(self.window >= 1, f"`window` {self.window} is out of range; expected at least 1")
        require(
            0 < self.max_hit_rate < 1,
            f"`gamma_max` {self.max_hit_rate:g} is out of range; expected 0 < gamma_max < 1",
        )

    def first(self) -> int:
        """1."""
        return 1

    def after(self, matched: Ints, missed: NDArray[np.bool_]) -> Ints:
        """The best of 1 to ``max_stride`` at the estimated hit rates."""
        hits, misses = matched.sum(axis=0), missed.sum(axis=0)
        cycles = np.maximum(hits + misses, 1)  # finished requests have none
        rates = np.minimum(hits / cycles, self.max_hit_rate)
        values, where = np.unique(rates, return_inverse=True)
        strides = [best_stride(replace(self.model, hit_rate=float(r)), self.max_stride) for r in values]
        return np.asarray(strides, np.int64)[where]


def simulate_s(
    model: SpeculativeRetrieval, rule: StrideRule, num_requests: int, generator: np.random.Generator
) -> Floats:
    """Seconds of each of so many requests of N documents, float64 [requests]."""
    left = np.full(num_requests, model.num_documents)
    stride = np.full(num_requests, rule.first())
    at_hand = np.zeros(num_requests, bool)  # the first speculation of the cycle has been made
    seconds = np.zeros(num_requests)
    matched: list[Ints] = []
    missed: list[NDArray[np.bool_]] = []
    while (running := left > 0).any():
        s = np.minimum(stride, left)
        hits = generator.random((num_requests, rule.max_stride)) < model.hit_rate
        run = np.minimum(np.logical_and.accumulate(hits, axis=1).sum(axis=1), s)
        miss = run < s
        goes_on = ~miss & (left > s) & model.is_async
        b = model.verification_s + (s - 1) * model.verification_per_query_s
        took = (s - at_hand) * model.speculation_s + miss * model.regenerate_s
        took += np.where(goes_on, np.maximum(model.speculation_s, b), b)
        seconds += np.where(running, took, 0.0)
        left = left - np.where(running, run + miss, 0)
        at_hand = goes_on
        matched = [*matched, run][-rule.window :]
        missed = [*missed, miss][-rule.window :]
        stride = rule.after(np.asarray(matched), np.asarray(missed))
    return seconds
