"""Which candidate is best, and which could be.

A candidate costs what its replicas cost: dollars per hour where every candidate has a price, else GPUs. With
a demand, as many replicas as carry it; without, per request per second. The best costs least, of equals the
one whose replicas cost least per request. Another *could be* the best if it is at most as dear when its rate
is as much higher as the errors of prices and sampling allow, both sides together (1.64 sigma, added in
squares): the band of the verdicts of ``replay``; and one step of the search more, which tells rates no finer
apart. Between two schedulers of one method on one deployment prices err alike, and only sampling counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from svsim.metrics.verdict import HALF_90, HALF_95
from svsim.planning.candidates import Candidate
from svsim.planning.rates import Found
from svsim.planning.trials import STEP


@dataclass(frozen=True, slots=True)
class Costs:
    """What candidates cost. demand: requests/s; None: not asked. in_dollars: else GPUs are counted.

    only_lossless: a method that changes the text's law is not chosen.
    """

    demand: float | None
    in_dollars: bool
    only_lossless: bool = False

    @classmethod
    def of(cls, candidates: Sequence[Candidate], demand: float | None, only_lossless: bool) -> "Costs":
        """Dollars only if all have a price."""
        return cls(demand, all(c.usd_per_hour is not None for c in candidates), only_lossless)

    def may_choose(self, candidate: Candidate) -> bool:
        """Bounds are no methods; one that changes the text's law is for those who ask for it."""
        method = candidate.cell.method
        return not method.is_bound and (
            not self.only_lossless or method.is_lossless_on(candidate.run.metadata)
        )

    def of_replica(self, candidate: Candidate) -> float:
        """Dollars per hour, or GPUs."""
        usd = candidate.usd_per_hour
        return float(usd) if self.in_dollars and usd is not None else float(candidate.num_gpus)

    def replicas(self, rate: float) -> int:
        """As many as the demand needs."""
        return 1 if self.demand is None else max(1, math.ceil(round(self.demand / rate, 9)))

    def at(self, candidate: Candidate, rate: float, replicas: int | None = None) -> float:
        """Of the fleet for the demand, or of one request per second; infinite without a rate."""
        if rate <= 0.0:
            return math.inf
        each = self.of_replica(candidate)
        if self.demand is None:
            return each / rate
        return each * (self.replicas(rate) if replicas is None else replicas)


def order(costs: Costs, searched: Sequence[Found], replicas: dict[int, int] | None = None) -> list[int]:
    """Numbers of those that have a rate, best first. replicas: of those that were simulated as fleets."""
    proven = replicas or {}

    def key(number: int) -> tuple[float, float, int]:
        found = searched[number]
        rate = found.rate or 0.0
        per_request = costs.of_replica(found.candidate) / max(rate, 1e-300)
        return costs.at(found.candidate, rate, proven.get(number)), per_request, number

    return sorted((n for n, f in enumerate(searched) if f.rate and costs.may_choose(f.candidate)), key=key)


def could_be_best(costs: Costs, best: Found, other: Found) -> bool:
    """Whether errors of prices and sampling leave it open."""
    if best.rate is None or other.rate is None or not costs.may_choose(other.candidate):
        return False
    sigma = math.hypot(_sampling(best), _sampling(other))
    if (best.candidate.label, best.candidate.deployment) != (
        other.candidate.label,
        other.candidate.deployment,
    ):
        sigma = math.hypot(sigma, best.price_sigma, other.price_sigma_upwards)
    higher = math.inf if math.isinf(sigma) else other.rate * STEP * math.exp(HALF_90 * sigma)
    return costs.at(other.candidate, higher) <= costs.at(best.candidate, best.rate)


def _sampling(found: Found) -> float:
    return 0.0 if found.ci is None else math.log(found.ci[1] / found.ci[0]) / (2.0 * HALF_95)
