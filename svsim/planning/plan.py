"""From a question to a plan: the grid, the searches side by side, the choice, the proof.

Candidates go in waves, in order of what they could cost at best. After a wave everything is left out that the
analytic model says cannot come near the best so far. Waves have a fixed size, so that workers change no byte.
"""

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from svsim.errors import InfeasibleError
from svsim.metrics.verdict import HALF_90
from svsim.options import workers
from svsim.planning.bounds import mean_lengths, most_rates
from svsim.planning.candidates import Candidate
from svsim.planning.choice import Costs, could_be_best, order
from svsim.planning.fleet import Fleet, Hour, by_hour, proven
from svsim.planning.options import PlanOptions, check_size
from svsim.planning.rates import Found, find_rate
from svsim.planning.runs import Runs
from svsim.planning.traffic import Traffic
from svsim.progress import Count, OnProgress
from svsim.run import Trace
from svsim.serving.runs import until_done
from svsim.serving.slo import Slo

WAVE = 12
UNITS = 100  # of progress in a candidate
FLEET_UNITS = 50
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was found. searched: in the grid's order; fleets: by number of those.

    best: number of the best; could_be: of those that could be. bounds: (number of the grid, candidate, the
    rate it cannot exceed) of those that were left out. output_tokens: of a request, on average.
    """

    slos: tuple[Slo, ...]
    traffic: Traffic | None
    costs: Costs
    searched: tuple[Found, ...]
    fleets: dict[int, Fleet]
    hours: tuple[Hour, ...]
    best: int
    could_be: tuple[int, ...]
    ordered: tuple[int, ...]
    left_out: tuple[tuple[Candidate, float], ...]
    notes: tuple[str, ...]
    output_tokens: float


def made(
    trace: Trace | None, options: PlanOptions, progress: OnProgress | None = None, say: Say | None = None
) -> Plan:
    """Search, choose, prove. Raises the errors of ``svsim.errors``; InfeasibleError names the closest."""
    slos, traffic = options.slos, options.traffic
    jobs = workers(options.serve.run.jobs)
    grid = options.grid(trace)
    check_size(grid.size, jobs)  # before anything is read
    candidates, notes = options.candidates(trace, grid)
    words = check_size(len(candidates), jobs)
    if words and say:
        say(words)
    demand = None if traffic is None else traffic.peak
    costs = Costs.of(candidates, demand, only_lossless=not options.serve.run.methods)
    most = [math.inf] * len(candidates)
    if options.prune and len(candidates) > WAVE:
        run, auto = options.serve.run, "roofline" if grid.is_modelled else "trace"
        run = replace(run, latency=auto) if run.latency == "auto" else run
        most = most_rates(trace, run, candidates, slos)
    total = len(candidates) * UNITS + (0 if traffic is None else FLEET_UNITS)
    with Runs(jobs) as runs:
        runs.load([candidate.cell for candidate in candidates])
        search = _Searches(candidates, most, slos, costs, runs, Count(progress, "planning", total))
        searched = search.run()
        fleets, ordered = _fleets(costs, searched, traffic)
        best = ordered[0]
        hours: tuple[Hour, ...] = ()
        if traffic is not None and not traffic.is_steady:
            hours = by_hour(searched[best], traffic.hours, fleets[best])
    could_be = tuple(n for n in ordered[1:] if could_be_best(costs, searched[best], searched[n]))
    left_out = tuple((candidates[n], most[n]) for n in search.left_out)
    return Plan(
        slos,
        traffic,
        costs,
        tuple(searched),
        fleets,
        hours,
        best,
        could_be,
        tuple(ordered),
        left_out,
        notes,
        mean_lengths(candidates[0])[1],
    )


class _Searches:
    """Candidates searched in waves; ``left_out``: numbers of those that were not."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        most: Sequence[float],
        slos: tuple[Slo, ...],
        costs: Costs,
        runs: Runs,
        count: Count,
    ) -> None:
        self.candidates, self.most, self.slos, self.costs = candidates, most, slos, costs
        self.runs, self.count = runs, count
        self.left_out: list[int] = []
        self._lock, self._done = threading.Lock(), [0.0] * len(candidates)

    def run(self) -> list[Found]:
        """Those that were searched, in the grid's order."""
        found: dict[int, Found] = {}
        to_come = sorted(range(len(self.candidates)), key=lambda n: (self._least_cost(n), n))
        while to_come:
            wave, to_come = to_come[:WAVE], to_come[WAVE:]
            found |= self._wave(wave)
            cut = [n for n in to_come if self._is_ruled_out(n, list(found.values()))]
            self.left_out += cut
            to_come = [n for n in to_come if n not in set(cut)]
            for n in cut:
                self._tell(n, 1.0)
        return [found[n] for n in sorted(found)]

    def _wave(self, numbers: Sequence[int]) -> dict[int, Found]:
        """One thread each, which waits most of the time: replications are on the workers."""
        with ThreadPoolExecutor(len(numbers)) as threads:
            jobs = {n: threads.submit(self._find, n) for n in numbers}
            try:
                until_done(jobs.values())
            except BaseException:
                self.runs.stop()
                raise
        return {n: job.result() for n, job in jobs.items()}

    def _find(self, number: int) -> Found:
        return find_rate(
            self.candidates[number], self.slos, self.runs, lambda share: self._tell(number, share)
        )

    def _tell(self, number: int, share: float) -> None:
        with self._lock:
            self._done[number] = share
            self.count(round(UNITS * sum(self._done)))

    def _least_cost(self, number: int) -> float:
        if not self.costs.may_choose(self.candidates[number]):
            return math.inf
        return self.costs.at(self.candidates[number], self.most[number])

    def _is_ruled_out(self, number: int, found: Sequence[Found]) -> bool:
        """Whether even what it cannot exceed, and errors of prices, leave it dearer than the best so far."""
        first = next(iter(order(self.costs, found)), None)
        if first is None or math.isinf(self.most[number]):
            return False
        best, candidate = found[first], self.candidates[number]
        error = candidate.cell.deployment.price_error_at(1) or 0.0
        room = math.exp(HALF_90 * math.hypot(best.price_sigma, 2.0 * error))
        return self.costs.at(candidate, self.most[number] * room) > self.costs.at(
            best.candidate, best.rate or 0.0
        )


def _fleets(
    costs: Costs, searched: Sequence[Found], traffic: Traffic | None
) -> tuple[dict[int, Fleet], tuple[int, ...]]:
    """Fleets that were proven, and all that have a rate, best first: the first one's fleet is proven."""
    ordered = order(costs, searched)
    if not ordered:
        raise InfeasibleError(_nothing_fits(costs, searched))
    fleets: dict[int, Fleet] = {}
    while traffic is not None and ordered[0] not in fleets:
        first = searched[ordered[0]]
        fleets[ordered[0]] = proven(first, traffic.peak, costs.replicas(first.rate or 0.0))
        ordered = order(costs, searched, {number: fleet.replicas for number, fleet in fleets.items()})
    return fleets, tuple(ordered)


def _nothing_fits(costs: Costs, searched: Sequence[Found]) -> str:
    """The candidate that misses by the least, and by how much."""
    allowed = [found for found in searched if costs.may_choose(found.candidate)] or list(searched)
    closest = min(allowed, key=lambda found: min(found.trials.margins().values()))
    slo = closest.nearest
    value, limit = slo["value"], slo["limit"]
    if value is None:
        missed = f"{slo['text']} is not known"
    elif slo["is_share"]:
        missed = f"{value:.1%} are good, and `slo` asks for {limit:.1%}"
    else:
        missed = f"`slo` {slo['text']} is missed by {value / limit - 1.0:.0%} ({value:.3g} s)"
    return (
        f"no candidate of {len(searched)} meets every `slo` at any rate from 0.05 of what it can complete; "
        f"the closest is {closest.candidate.name}: at {slo['rate']:.3g} requests/s {missed}"
    )
