"""Numbers of one stretch of a run: latencies of the requests that arrive in it, rates, KV use.

A stretch is a replication's measured window [warm-up, end), or one of the batches that a single given
workload is cut into. Words: TTFT first token - arrival; E2EL finish - arrival; queue first scheduled -
arrival; TPOT (E2EL - TTFT)/(output tokens - 1), of requests with more than one token; ITL per step: the gap
between two emissions of a request; per token: that gap divided by its tokens, once for each token.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from svsim.metrics.quantiles import mean_and_percentiles
from svsim.serving import state
from svsim.serving.ledger import pieces
from svsim.serving.simulation import Horizon, ReplicationRecord
from svsim.serving.slo import STATISTICS, Slo
from svsim.serving.state import FIRST_GAP_S, GAP_GROWTH, NUM_GAP_BINS, Floats, Ints, Requests

# parts of the replicas' seconds, and their columns of the timeline
TIME_PARTS: Mapping[str, int] = {
    "host": state.HOST_S,
    "draft": state.DRAFT_S,
    "companion": state.COMPANION_S,
    "verify": state.VERIFY_S,
    "prefill": state.PREFILL_S,
}
PERCENTILES = (50.0, 90.0, 95.0, 99.0)
_GAP_S = FIRST_GAP_S * GAP_GROWTH ** (np.arange(NUM_GAP_BINS) + 0.5)
Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What arrived in segments [first, end) of a replication; num_kv_blocks: of all replicas."""

    record: ReplicationRecord
    horizon: Horizon
    first: int
    end: int
    num_kv_blocks: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.first) * self.horizon.segment_s

    @property
    def requests(self) -> Requests:
        """Requests that arrive in it."""
        arrival_s = self.record.requests["arrival_s"]
        low, high = self.first * self.horizon.segment_s, self.end * self.horizon.segment_s
        if self.end == self.horizon.num_segments:
            high = np.inf
        # not NumPy's search, which copies the column
        first, end = (bisect_left(arrival_s, moment) for moment in (low, high))
        return self.record.requests[first:end]

    @property
    def num_unfinished(self) -> int:
        """Requests that had not finished when the run was cut off."""
        return sum(int(np.isnan(piece["finish_s"]).sum()) for piece in pieces(self.requests))

    @property
    def timeline(self) -> Floats:
        """Its buckets [buckets, columns]."""
        per = self.horizon.buckets_per_segment
        return self.record.timeline[self.first * per : self.end * per]

    def total(self, column: int) -> float:
        """Sum of a column of the timeline."""
        return float(self.timeline[:, column].sum())

    def batches(self, num: int) -> list["Stretch"]:
        """Cut into so many stretches of about the same length."""
        edges = np.linspace(self.first, self.end, num + 1).round().astype(int)
        return [
            Stretch(self.record, self.horizon, int(low), int(high), self.num_kv_blocks)
            for low, high in pairwise(edges)
        ]


REQUEST_LATENCIES = ("ttft", "e2el", "queue", "tpot")


def latency(requests: Requests, metric: str, cut_off_s: float | None) -> Floats:
    """Seconds of a metric. What had not happened when a run was cut off counts as happening then."""
    if metric == "tpot":
        several = requests[(requests["output"] > 1) & np.isfinite(requests["finish_s"])]
        return np.asarray((several["finish_s"] - several["first_token_s"]) / (several["output"] - 1))
    moment = requests[{"ttft": "first_token_s", "e2el": "finish_s", "queue": "scheduled_s"}[metric]]
    last_s = np.inf if cut_off_s is None else cut_off_s
    return np.asarray(np.where(np.isnan(moment), last_s, moment) - requests["arrival_s"])


def is_good(requests: Requests, slos: Sequence[Slo]) -> "np.typing.NDArray[np.bool_]":
    """Whether each request has finished and meets every objective that is about requests, bool [N]."""
    good = np.isfinite(requests["finish_s"])
    output = np.maximum(requests["output"] - 1, 1)
    with np.errstate(invalid="ignore"):
        seconds = {
            "ttft": requests["first_token_s"] - requests["arrival_s"],
            "e2el": requests["finish_s"] - requests["arrival_s"],
            "queue": requests["scheduled_s"] - requests["arrival_s"],
            "tpot": (requests["finish_s"] - requests["first_token_s"]) / output,
        }
        for slo in slos:
            if slo.is_of_requests:
                good &= seconds[slo.metric] <= slo.limit
    return np.asarray(good, np.bool_)


def _of_gaps(counts: Ints) -> list[float]:
    """Of a histogram: middles of its bins, a quarter of a percent wide."""
    total = counts.sum()
    if total == 0:
        return [np.nan] * len(STATISTICS)
    cumulative = np.cumsum(counts)
    places = np.searchsorted(cumulative, np.array(PERCENTILES) / 100.0 * total)
    return [float(counts @ _GAP_S / total), *_GAP_S[np.minimum(places, NUM_GAP_BINS - 1)].tolist()]


def values_of(stretch: Stretch, slos: Sequence[Slo]) -> dict[str, float]:
    """Every number of a stretch; NaN where there is none."""
    requests, record = stretch.requests, stretch.record
    found: dict[str, float] = {}
    for metric in REQUEST_LATENCIES:

        def seconds(metric: str = metric) -> Iterator[Floats]:
            return (latency(piece, metric, record.cut_off_s) for piece in pieces(requests))

        found |= zip_names(metric, mean_and_percentiles(seconds, PERCENTILES))
    for metric, gaps in (("itl_token", record.token_gaps), ("itl_step", record.step_gaps)):
        found |= zip_names(metric, _of_gaps(gaps[stretch.first : stretch.end].sum(axis=0)))
    per_s = 1.0 / stretch.seconds
    blocks = stretch.timeline[:, state.KV_BLOCKS_S]
    num_good, decode_steps, own_tokens, accepted, drafted = 0, 0, 0, 0, 0
    for piece in pieces(requests):
        num_good += int(is_good(piece, slos).sum())
        decode_steps += int(piece["decode_steps"].sum())
        own_tokens += int(piece["own_tokens"].sum())
        accepted += int(piece["accepted"].sum())
        drafted += int(piece["drafted"].sum())
    return found | {
        "request_throughput": stretch.total(state.FINISHED) * per_s,
        "output_tok_s": stretch.total(state.EMITTED) * per_s,
        "arrived": stretch.total(state.ARRIVED) * per_s,
        "mean_running": stretch.total(state.RUNNING_S) * per_s,
        "mean_waiting": stretch.total(state.WAITING_S) * per_s,
        "kv_use_mean": float(blocks.sum()) * per_s / stretch.num_kv_blocks,
        "kv_use_max": float(blocks.max()) / stretch.horizon.bucket_s / stretch.num_kv_blocks,
        "num_preemptions": stretch.total(state.PREEMPTIONS),
        "num_steps": stretch.total(state.STEPS),
        "mean_batch": _ratio(stretch.total(state.SEQUENCE_STEPS), stretch.total(state.STEPS)),
        "busy": stretch.total(state.BUSY_S) * per_s,
        **{name: stretch.total(column) * per_s for name, column in TIME_PARTS.items()},
        "mean_acceptance_length": 1.0 + _ratio(accepted - (decode_steps - own_tokens), decode_steps),
        "draft_acceptance_rate": _ratio(accepted, drafted),
        "slo_attainment": _ratio(num_good, len(requests)),
        "request_goodput": num_good * per_s,
    }


def zip_names(metric: str, values: Sequence[float]) -> dict[str, float]:
    """``ttft_s_mean``, ``ttft_s_p50`` ..."""
    return {f"{metric}_s_{name}": value for name, value in zip(STATISTICS, values, strict=True)}


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else np.nan
