"""Estimates that are functions of sums over requests, with bootstrap intervals over whole requests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from svsim.limits import MAX_BOOTSTRAP_GROUPS
from svsim.metrics.bootstrap import interval, resample_counts
from svsim.speculation_math import Floats, Ints


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; None where it is undefined."""

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None


class RequestSums:
    """Sums per request of named columns, float64 [N] each; request: int64 [N], the request of each entry."""

    def __init__(self, columns: Mapping[str, Floats], request: Ints, num_requests: int, seed: int) -> None:
        self._place = {name: place for place, name in enumerate(columns)}
        self._seed = seed
        group, num_groups = request, num_requests
        if num_requests > MAX_BOOTSTRAP_GROUPS:
            group, num_groups = request % MAX_BOOTSTRAP_GROUPS, MAX_BOOTSTRAP_GROUPS
        sums = [np.bincount(group, values, num_groups) for values in columns.values()]
        self._sums = np.stack(sums, axis=1)
        self._total = self._sums.sum(axis=0)
        self._resampled: Floats | None = None

    def estimate(self, names: Sequence[str], statistic: Callable[..., Floats]) -> Estimate:
        """``statistic`` of the summed columns ``names``: its value, and its interval over resamples."""
        places = [self._place[name] for name in names]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(*self._total[places]))
            if not np.isfinite(value):
                return Estimate(None)
            if len(self._sums) < 2:
                return Estimate(value)
            resamples = statistic(*self._resamples()[:, places].T)
        return Estimate(value, *interval(resamples) if np.isfinite(resamples).all() else (None, None))

    def _resamples(self) -> Floats:
        """Summed columns of every resample, float64 [NUM_RESAMPLES, C]."""
        if self._resampled is None:
            counts = resample_counts(len(self._sums), self._seed)
            self._resampled = np.asarray(counts.astype(np.float64) @ self._sums)
        return self._resampled


def request_of_rows(first_position: Ints) -> Ints:
    """The request of every row, int64 [T]."""
    return np.repeat(np.arange(len(first_position) - 1), np.diff(first_position))
