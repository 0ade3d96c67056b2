"""Trials of one candidate: its replications at the steps of a ladder of rates, each simulated once.

Step 0 is 0.05 of the capacity, every step 2 % more, the last 1.2 of it (1.0 where the closed loop breaks an
objective there already). All rates meet the same requests of
the same numbers (common random numbers), so that their differences are the rate's.

Length of a run: as many measured requests as the objectives' percentiles need (ten beyond the percentile, at
least 300), at least eight mean latencies, after a warm-up of three and of a tenth of that.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from svsim.planning.candidates import Candidate
from svsim.planning.pilot import Pilot
from svsim.planning.runs import Runs
from svsim.serving.metrics import Measured
from svsim.serving.samples import Stretch, is_good, values_of
from svsim.serving.simulation import Horizon, ReplicationRecord
from svsim.serving.slo import Slo
from svsim.serving.steady import is_saturated

LOWEST, HIGHEST, STEP = 0.05, 1.2, 1.02  # of the capacity; factor of a step
TOP = math.ceil(math.log(HIGHEST / LOWEST) / math.log(STEP))
WARM_UP_LATENCIES, WARM_UP_SHARE, LATENCIES = 3.0, 0.1, 8.0
FEWEST_REQUESTS, BEYOND_PERCENTILE = 300, 10
HOPELESS = math.log(100.0)  # the margin of a rate at which requests pile up, at least
SHARE_RESOLUTION = 1e-4
_NO_GAPS = np.zeros((1, 1), np.int64)


def requests_needed(slos: Sequence[Slo]) -> int:
    """Measured requests of a run."""
    tails = [
        1.0 - slo.limit if slo.metric == "good" else 1.0 - float(slo.statistic[1:]) / 100.0
        for slo in slos
        if slo.metric == "good" or slo.statistic.startswith("p")
    ]
    most = max((BEYOND_PERCENTILE / max(tail, 0.01) for tail in tails), default=0.0)
    return max(FEWEST_REQUESTS, math.ceil(round(most, 6)))


def step_near(share: float) -> int:
    """The step next to a share of the capacity."""
    return min(max(round(math.log(share / LOWEST) / math.log(STEP)), 0), TOP)


@dataclass(slots=True)
class Trial:
    """What was seen at one rate: numbers by replication; the stretches of those run last, without gaps."""

    rate: float
    parts: dict[int, Mapping[str, float]]
    stretches: dict[int, Stretch]
    saturated: bool = False

    def measured(self, numbers: Sequence[int]) -> Measured:
        """Of these replications."""
        return Measured.over([self.parts[n] for n in numbers], [self.stretches[n] for n in numbers])

    @property
    def everything(self) -> Measured:
        """Of all replications."""
        return self.measured(sorted(self.parts))


class Trials:
    """Trials by step; ``passes`` and ``alone`` are the tests of the search.

    scales: how much longer or shorter steps may be than priced, for which attainment is counted too.
    """

    def __init__(
        self,
        candidate: Candidate,
        pilot: Pilot,
        slos: tuple[Slo, ...],
        runs: Runs,
        scales: tuple[float, ...] = (),
    ) -> None:
        self.candidate, self.pilot, self.slos, self.runs, self.scales = candidate, pilot, slos, runs, scales
        self.num_requests = requests_needed(slos)
        self.top = step_near(1.0) if pilot.is_too_slow else TOP
        self.by_step: dict[int, Trial] = {}

    def rate(self, step: float) -> float:
        """Requests per second of a step."""
        return float(LOWEST * self.pilot.capacity * STEP**step)

    def horizon(self, rate: float, replicas: int = 1) -> Horizon:
        """Warm-up and window of a run at this rate of each of so many replicas."""
        latency_s = self.pilot.latency_at(rate)
        window_s = max(self.num_requests / (rate * replicas), LATENCIES * latency_s)
        warm_up_s = max(WARM_UP_LATENCIES * latency_s, WARM_UP_SHARE * window_s)
        whole_s = warm_up_s + window_s
        return Horizon.of(whole_s, warm_up_s, window_s=whole_s)

    def trial(self, step: int, numbers: Sequence[int]) -> Trial:
        """At this step, with at least these replications."""
        rate = self.rate(step)
        found = self.by_step.setdefault(step, Trial(rate, {}, {}))
        missing = [n for n in numbers if n not in found.parts]
        if missing:
            stretches = self.simulated(self.candidate, rate, missing)
            for number, stretch in zip(missing, stretches, strict=True):
                found.parts[number] = self._values(stretch)
                found.stretches[number] = without_gaps(stretch)
            found.saturated = found.saturated or is_saturated(stretches)
        return found

    def simulated(self, candidate: Candidate, rate: float, numbers: Sequence[int]) -> list[Stretch]:
        """Measured windows of replications; rate: of the whole fleet."""
        replicas = candidate.cell.fleet.num_replicas
        horizon = self.horizon(rate / replicas, replicas)
        demand = candidate.demand_at(rate, horizon.duration_s)
        records = self.runs.replications(demand, candidate.cell.fleet, horizon, numbers)
        blocks = replicas * candidate.cell.fleet.rules.num_blocks
        return [_measured_part(record, horizon, blocks) for record in records]

    def passes(self, step: int, numbers: Sequence[int], *, for_sure: bool) -> bool:
        """Whether every objective is met by the mean, or by the upper end of its 95 % interval."""
        trial = self.trial(step, numbers)
        measured = trial.measured(numbers)
        return not trial.saturated and meets_all(measured, self.slos, for_sure=for_sure)

    def alone(self, step: int, number: int) -> bool:
        """Whether one replication by itself meets every objective."""
        trial = self.trial(step, (number,))
        values = trial.parts[number]
        return not trial.saturated and all(
            slo.meets(values[slo.column]) or math.isnan(values[slo.column]) for slo in self.slos
        )

    def margins(self, scale: float = 1.0) -> dict[int, float]:
        """By step the largest margin of all objectives, if all steps took ``scale`` times as long.

        Then every latency is ``scale`` times as long and every rate that much lower: exactly, as time has no
        other unit. ``rate`` of the steps returned is still that of the prices.
        """
        return {step: self._margin(trial, scale) for step, trial in self.by_step.items()}

    def _margin(self, trial: Trial, scale: float) -> float:
        values = trial.everything.over_all
        worst = max(margin(slo, values[scaled_name(slo, scale)], scale) for slo in self.slos)
        return max(worst, HOPELESS) if trial.saturated else worst

    def _values(self, stretch: Stretch) -> Mapping[str, float]:
        values = values_of(stretch, self.slos)
        for scale in self.scales:
            scaled = [replace(s, limit=s.limit / scale) for s in self.slos if s.is_of_requests]
            good = is_good(stretch.requests, scaled)
            values[f"slo_attainment*{scale!r}"] = float(good.mean()) if len(good) else math.nan
        return values


def scaled_name(slo: Slo, scale: float) -> str:
    """Where a trial keeps the objective's number."""
    return f"{slo.column}*{scale!r}" if slo.metric == "good" and scale != 1.0 else slo.column


def margin(slo: Slo, value: float, scale: float = 1.0) -> float:
    """Log of the number over the limit; of a share, of what misses over what may. Not known: met."""
    if math.isnan(value):
        return -HOPELESS
    if slo.metric == "good":
        return math.log((1.0 - value + SHARE_RESOLUTION) / (1.0 - slo.limit + SHARE_RESOLUTION))
    return math.log(max(value, 1e-12) * scale / slo.limit)


def meets_all(measured: Measured, slos: Sequence[Slo], *, for_sure: bool) -> bool:
    """Every objective; one without a number (time per token of one token) is met."""
    for slo in slos:
        found = measured.met(slo)
        is_met = found["met_for_sure"] if for_sure and found["met_for_sure"] is not None else found["met"]
        if is_met is False:
            return False
    return True


def without_gaps(stretch: Stretch) -> Stretch:
    """The same without what only values are made of."""
    return replace(stretch, record=replace(stretch.record, step_gaps=_NO_GAPS, token_gaps=_NO_GAPS))


def _measured_part(record: ReplicationRecord, horizon: Horizon, num_blocks: int) -> Stretch:
    assert horizon.warm_up_s is not None
    first = math.ceil(round(horizon.warm_up_s / horizon.segment_s, 9))
    return Stretch(record, horizon, first, horizon.num_segments, num_blocks)
