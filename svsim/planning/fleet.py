"""Replicas for a demand, and the proof: the fleet simulated behind its router, by other random numbers.

The number is ceil(demand / rate) at first. A fleet is accepted if the upper end of the 95 % interval of eight
replications meets every objective, and each replication by itself does; else it gets one replica more. Of
more than ``MOST_SIMULATED`` replicas so many are simulated, with their share of the demand: a router in turn
gives each the same arrivals, one by load has fewer to choose from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from svsim.errors import InfeasibleError
from svsim.planning.rates import NUMBERS, Found, row_at
from svsim.planning.trials import meets_all, without_gaps
from svsim.serving.metrics import Measured, Row
from svsim.serving.samples import values_of
from svsim.serving.steady import is_saturated

MOST_SIMULATED = 32
MOST_MORE = 0.5  # of the replicas that the search says, and one
MAX_REPLICAS = 100_000
OTHERS = tuple(1000 + number for number in NUMBERS)  # the search never saw them


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas that carry a rate. row: of the fleet (or the part that was simulated)."""

    rate: float
    replicas: int
    num_simulated: int
    row: Row


@dataclass(frozen=True, slots=True)
class Hour:
    """Replicas of one hour."""

    hour: int
    rate: float
    replicas: int


def proven(found: Found, rate: float, replicas: int) -> Fleet:
    """The smallest fleet from ``replicas`` on that carries ``rate``. InfeasibleError if many more do not."""
    most = replicas + 1 + math.ceil(MOST_MORE * replicas)
    if replicas > MAX_REPLICAS:
        raise InfeasibleError(
            f"{found.candidate.name} carries {found.rate:.3g} requests/s, and `demand` {rate:g} needs "
            f"{replicas:,} replicas; expected at most {MAX_REPLICAS:,}"
        )
    for num in range(replicas, most + 1):
        row = _row_if_met(found, rate, num)
        if row is not None:
            return Fleet(rate, num, min(num, MOST_SIMULATED), row)
    raise InfeasibleError(
        f"{found.candidate.name}: {most} replicas do not carry {rate:g} requests/s, though one carries "
        f"{found.rate:.3g}; `router` decides more than its replicas: try another"
    )


def _row_if_met(found: Found, rate: float, replicas: int) -> Row | None:
    num = min(replicas, MOST_SIMULATED)
    fleet, trials = found.candidate.with_replicas(num), found.trials
    offered = rate * num / replicas
    stretches = trials.simulated(fleet, offered, OTHERS)
    if is_saturated(stretches):
        return None
    parts = [values_of(stretch, trials.slos) for stretch in stretches]
    measured = Measured.over(parts, [without_gaps(stretch) for stretch in stretches])
    each = all(
        slo.meets(part[slo.column]) or math.isnan(part[slo.column]) for part in parts for slo in trials.slos
    )
    if not (each and meets_all(measured, trials.slos, for_sure=True)):
        return None
    return row_at(trials, fleet, offered, measured)


def by_hour(found: Found, hours: Sequence[float], peak: Fleet) -> tuple[Hour, ...]:
    """Replicas of every hour. Every number of replicas is proven at the highest rate it is given."""
    assert found.rate is not None
    each = peak.rate / peak.replicas  # what a replica was seen to carry
    needed = {rate: max(1, math.ceil(round(rate / each, 9))) for rate in set(hours)}
    highest = {num: max(r for r, n in needed.items() if n == num) for num in set(needed.values())}
    proved = {
        num: num if rate == 0.0 or num >= peak.replicas else proven(found, rate, num).replicas
        for num, rate in highest.items()
    }
    return tuple(
        Hour(number, rate, min(proved[needed[rate]], peak.replicas)) for number, rate in enumerate(hours)
    )
