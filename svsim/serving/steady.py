"""When a run has warmed up, and whether it ever settles.

Warm-up: MSER-5 (White, Cobb and Spratt 2000): of all beginnings that could be left out, the one after which
the mean of what is left is known best, over means of five. Here of requests in the system; at least five mean
end-to-end latencies, at most half of the run.
Saturation: the queue grows over the measured window (slope, one-sided at 99 %), requests in the system too,
and completions fall below arrivals outside their 95 % interval; or the run had to be cut off.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from svsim.serving import state
from svsim.serving.ledger import PIECE, pieces
from svsim.serving.samples import Stretch
from svsim.serving.simulation import Horizon, ReplicationRecord
from svsim.serving.state import Floats

NUM_BATCHES = 20
MSER_BATCH = 5
LATENCIES_OF_WARM_UP = 5.0
LEVEL = 0.99
ENOUGH_REPLICATIONS = 5  # fewer tell little of their spread; then batches of time stand for them


def in_system(record: ReplicationRecord, horizon: Horizon) -> Floats:
    """Requests in the system, mean of each bucket."""
    line = record.timeline[:-1]
    return np.asarray((line[:, state.RUNNING_S] + line[:, state.WAITING_S]) / horizon.bucket_s)


def mser(series: Floats) -> int:
    """Values to leave out at the beginning."""
    num = len(series) // MSER_BATCH
    if num < 4:
        return 0
    means = series[: num * MSER_BATCH].reshape(num, MSER_BATCH).mean(axis=1)
    left = np.arange(num, 0, -1)[: num // 2 + 1]
    sums = np.cumsum(means[::-1])[::-1][: len(left)]
    squares = np.cumsum(means[::-1] ** 2)[::-1][: len(left)]
    error = np.maximum(squares - sums**2 / left, 0.0) / left**2
    return int(np.argmin(error)) * MSER_BATCH


def warm_up_segments(records: Sequence[ReplicationRecord], horizon: Horizon) -> int:
    """Segments to leave out, from all replications of a method together."""
    if horizon.warm_up_s is not None:
        return math.ceil(round(horizon.warm_up_s / horizon.segment_s, 9))
    series = np.mean([in_system(record, horizon) for record in records], axis=0)
    found_s = max(mser(series) * horizon.bucket_s, LATENCIES_OF_WARM_UP * _mean_e2el_s(records))
    return min(math.ceil(found_s / horizon.segment_s), horizon.num_segments // 2)


def _mean_e2el_s(records: Sequence[ReplicationRecord]) -> float:
    """Of all requests that finished; 0 without any."""
    total_s, num = 0.0, 0
    is_short = sum(len(record.requests) for record in records) <= PIECE
    joined = [np.concatenate([record.requests for record in records])] if is_short else ()
    for piece in joined or (piece for record in records for piece in pieces(record.requests)):
        e2el = piece["finish_s"] - piece["arrival_s"]
        e2el = e2el[np.isfinite(e2el)]
        total_s, num = total_s + float(e2el.sum()), num + len(e2el)
    return total_s / num if num else 0.0


def is_saturated(stretches: Sequence[Stretch]) -> bool:
    """Whether requests pile up, over all replications' measured windows."""
    if any(stretch.record.cut_off_s is not None for stretch in stretches):
        return True
    queue = [_means(stretch, (state.WAITING_S,)) for stretch in stretches]
    system = [_means(stretch, (state.WAITING_S, state.RUNNING_S)) for stretch in stretches]
    if np.mean([line[-NUM_BATCHES // 4 :].mean() for line in queue]) < 1.0:
        return False
    return _grows(queue) and _grows(system) and _falls_behind(stretches)


def _means(stretch: Stretch, columns: tuple[int, ...]) -> Floats:
    """Mean of these columns' sums in each batch."""
    return np.array([sum(b.total(c) for c in columns) / b.seconds for b in stretch.batches(NUM_BATCHES)])


def _grows(lines: Sequence[Floats]) -> bool:
    """Whether the slope is positive at 99 %: over replications, or of one line's batches."""
    if len(lines) < ENOUGH_REPLICATIONS:
        lines = [np.mean(lines, axis=0)]
    place = np.arange(NUM_BATCHES)
    slopes = [stats.linregress(place, line) for line in lines]
    if len(lines) == 1:
        slope, error = slopes[0].slope, slopes[0].stderr
        free = NUM_BATCHES - 2
    else:
        values = np.array([one.slope for one in slopes])
        slope, error, free = values.mean(), values.std(ddof=1) / math.sqrt(len(values)), len(values) - 1
    return bool(slope > stats.t.ppf(LEVEL, free) * error and slope > 0)


def _falls_behind(stretches: Sequence[Stretch]) -> bool:
    parts = list(stretches)
    if len(parts) < ENOUGH_REPLICATIONS:
        parts = [batch for stretch in stretches for batch in stretch.batches(NUM_BATCHES)]
    behind = np.array([(p.total(state.ARRIVED) - p.total(state.FINISHED)) / p.seconds for p in parts])
    error = behind.std(ddof=1) / math.sqrt(len(behind))
    return bool(behind.mean() > stats.t.ppf(0.975, len(behind) - 1) * error)
