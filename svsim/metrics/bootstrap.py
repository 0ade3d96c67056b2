"""Bootstrap over requests: the same resamples for every method, so that speedups are paired."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from svsim.random_streams import RandomStreams
from svsim.records import RunRecord

NUM_RESAMPLES = 1000
INTERVAL = (0.025, 0.975)


@lru_cache(maxsize=32)
def resample_counts(num_groups: int, seed: int) -> NDArray[np.float32]:
    """How often each group is drawn in each resample, float32 [NUM_RESAMPLES, groups]."""
    rng = RandomStreams(seed).generator("bootstrap", num_groups)
    drawn = rng.integers(0, num_groups, (NUM_RESAMPLES, num_groups))
    drawn += np.arange(NUM_RESAMPLES)[:, None] * num_groups
    counts = np.bincount(drawn.ravel(), minlength=NUM_RESAMPLES * num_groups)
    return counts.reshape(NUM_RESAMPLES, num_groups).astype(np.float32)


@lru_cache(maxsize=2)
def _wide_counts(num_groups: int, seed: int) -> NDArray[np.float64]:
    """``resample_counts`` as sums take them; large, and the same for all records of a run."""
    return resample_counts(num_groups, seed).astype(np.float64)


def goodput_tok_s(record: RunRecord) -> float:
    """Emitted tokens per second: ratio of sums, or (specdecode-bench) mean over requests of ratios."""
    sums = record.sums
    if record.estimator == "mean-of-ratios":
        return float(np.mean(sums.emitted_tokens / sums.seconds))
    return float(sums.emitted_tokens.sum() / sums.seconds.sum())


def resampled_goodput(record: RunRecord, seed: int) -> NDArray[np.float64] | None:
    """Goodput of every resample, float64 [NUM_RESAMPLES]; None with fewer than two groups.

    ``belief_error`` is added as normal noise, drawn for each method by itself. None if that is unknown.
    """
    sums, error = record.sums, record.belief_error
    if len(sums.seconds) < 2 or error == math.inf:
        return None
    noise: float | NDArray[np.float64] = 1.0
    if error is not None:
        rng = RandomStreams(seed).generator(f"belief of {record.label}")
        noise = 1.0 + error * rng.standard_normal(NUM_RESAMPLES)
    counts = _wide_counts(len(sums.seconds), seed)
    if record.estimator == "mean-of-ratios":
        return np.asarray(counts @ (sums.emitted_tokens / sums.seconds) / len(sums.seconds) * noise)
    return np.asarray((counts @ sums.emitted_tokens) / (counts @ sums.seconds) * noise)


def interval(resamples: NDArray[np.float64] | None) -> tuple[float | None, float | None]:
    """95 % percentile interval, or (None, None)."""
    if resamples is None:
        return None, None
    low, high = np.quantile(resamples, INTERVAL)
    return float(low), float(high)
