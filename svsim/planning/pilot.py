"""A first look at a candidate: a closed loop of more and more users.

It tells the rates worth a search (up to the capacity) and how long a request takes at each, from which the
runs of the search get their lengths.
"""

from dataclasses import dataclass, replace

import numpy as np

from svsim.planning.candidates import Candidate
from svsim.planning.runs import Runs
from svsim.serving.arrivals import Arrivals
from svsim.serving.samples import Stretch, values_of
from svsim.serving.simulation import Horizon
from svsim.serving.slo import Slo

FIRST_S = 4.0  # a run of one user; longer, until it holds enough requests
ENOUGH_REQUESTS = 6
MOST_S = 1e7
LATENCIES_PER_RUN = 3.0
FASTER_STEPS, SLOWER_STEPS, MANY_USERS = 8, 4, 64
LEAST_GAIN = 1.03  # of the rate, from one number of users to the next
TOO_SLOW = 1.1  # times an objective: more users need not be tried


@dataclass(frozen=True, slots=True)
class Pilot:
    """Users, requests per second they complete, and mean seconds of a request; ascending.

    batch: mean number of sequences of a step at the most users. is_too_slow: whether these break an objective
    by themselves, so that no higher rate can meet it.
    """

    users: tuple[int, ...]
    rates: tuple[float, ...]
    latency_s: tuple[float, ...]
    batch: float
    is_too_slow: bool

    @property
    def capacity(self) -> float:
        """The highest rate seen: requests/s."""
        return max(self.rates)

    def latency_at(self, rate: float) -> float:
        """Mean seconds of a request at an open loop's rate, from the closed loop that completes as much."""
        rates = np.maximum.accumulate(self.rates)
        return float(np.exp(np.interp(rate, rates, np.log(self.latency_s))))


def pilot(candidate: Candidate, slos: tuple[Slo, ...], runs: Runs) -> Pilot:
    """More users until they stop gaining, wait far longer than asked for, or the server is full."""
    most = candidate.cell.settings.max_num_seqs
    users, guess_s, batch = 1, FIRST_S / LATENCIES_PER_RUN, 1.0
    seen: list[tuple[int, float, float]] = []
    while True:
        values, latency_s = _closed_loop(candidate, users, guess_s, runs)
        seen.append((users, users / latency_s, latency_s))
        batch = values["mean_batch"]
        gains = len(seen) < 2 or seen[-1][1] > LEAST_GAIN * seen[-2][1]
        is_too_slow = _is_too_slow(values, slos)
        if users >= most or not gains or is_too_slow:
            break
        faster = min(users * (FASTER_STEPS if users < MANY_USERS else SLOWER_STEPS), most)
        guess_s = latency_s * (1.0 + 0.25 * faster / users)
        users = faster
    every_user, rates, latencies = zip(*seen, strict=True)
    return Pilot(every_user, rates, latencies, float(batch), is_too_slow)


def _closed_loop(
    candidate: Candidate, users: int, guess_s: float, runs: Runs
) -> tuple[dict[str, float], float]:
    """Numbers of the run, and mean seconds of a request."""
    duration_s = LATENCIES_PER_RUN * guess_s
    while True:
        demand = replace(
            candidate.run.demand, arrivals=Arrivals.parse(f"closed:users={users}"), duration_s=duration_s
        )
        horizon = Horizon.of(duration_s, 0.0, window_s=duration_s)
        fleet = replace(candidate.cell.fleet, num_replicas=1)
        (record,) = runs.replications(demand, fleet, horizon, (0,))
        # the first round starts all at once
        stretch = Stretch(record, horizon, horizon.num_segments // 3, horizon.num_segments, 1)
        took_s = stretch.requests["finish_s"] - stretch.requests["arrival_s"]
        took_s = took_s[np.isfinite(took_s)]
        if len(took_s) >= max(ENOUGH_REQUESTS, users // 4) or duration_s > MOST_S:
            found = values_of(stretch, ())
            return found, float(took_s.mean()) if len(took_s) else duration_s
        duration_s *= 2.0


def _is_too_slow(values: dict[str, float], slos: tuple[Slo, ...]) -> bool:
    """Whether the batch by itself, without bursts of arrivals, is beyond an objective."""
    return any(values[slo.column] > TOO_SLOW * slo.limit for slo in slos if slo.metric != "good")
