"""The largest rate of one candidate that meets every objective, with what is not sure about it.

Found in three passes: a scan of the ladder and a bisection with one replication, then a gallop and a
bisection where the upper end of the 95 % interval of eight decides. The scan goes on until two rates above
the last that passed have failed: an objective need not be monotone. Every replication searched alone gives
the interval of sampling; step times longer and shorter by the error of prices give the range of prices.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from svsim.metrics.verdict import HALF_90
from svsim.open_loop.rows import row_of
from svsim.planning.candidates import Candidate
from svsim.planning.pilot import Pilot, pilot
from svsim.planning.runs import Runs
from svsim.planning.search import bisected, crossing, largest
from svsim.planning.trials import STEP, Trials, margin, step_near
from svsim.serving.metrics import Measured, Row, finite
from svsim.serving.slo import Slo

NUMBERS, FEW = tuple(range(8)), (0,)  # replications
SCAN = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.1, 1.2)  # of the capacity
SCAN_ABOVE = 2
COARSE_STEPS, ALONE_STEPS = 4, 2
PARTS = (
    0.15,
    0.4,
    0.55,
    0.85,
    1.0,
)  # of the work, when pilot, scan, bisection, search and intervals are done
Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Point:
    """What a candidate does at one rate; ``meets`` by the mean of its replications."""

    rate: float
    meets: bool
    num_replications: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate searched. rate: None if no rate of the ladder meets the objectives.

    ci: 95 % interval of the rates that single replications find. price_error: 1 sigma, relative; low, high:
    rates that hold 90 % of what prices may be. row: as ``serve-sim`` has it, at the rate. nearest: the
    objective that binds: it fails one step above the rate, or misses by the most where all rates miss.
    """

    candidate: Candidate
    pilot: Pilot
    trials: Trials
    rate: float | None
    ci: tuple[float, float] | None
    price_error: float | None
    low: float
    high: float
    row: Row | None
    points: tuple[Point, ...]
    nearest: Mapping[str, Any]

    @property
    def price_sigma(self) -> float:
        """Of the log of the rate; infinite where slower steps leave no rate."""
        if self.rate is None or self.price_error is None:
            return 0.0
        return math.log(self.high / self.low) / (2.0 * HALF_90) if self.low > 0.0 else math.inf

    @property
    def price_sigma_upwards(self) -> float:
        """The same, by faster steps alone where slower ones leave no rate: finite."""
        if self.rate is None or math.isfinite(self.price_sigma):
            return self.price_sigma
        return math.log(self.high / self.rate) / HALF_90


def find_rate(candidate: Candidate, slos: tuple[Slo, ...], runs: Runs, tell: Tell) -> Found:
    """Search one candidate; tell: called with the share of the work that is done."""
    first = pilot(candidate, slos, runs)
    tell(PARTS[0])
    error = candidate.cell.deployment.price_error_at(max(1, round(first.batch)))
    factor = math.exp(HALF_90 * (error or 0.0))
    has_share = error is not None and any(slo.metric == "good" for slo in slos)
    trials = Trials(candidate, first, slos, runs, (factor, 1.0 / factor) if has_share else ())
    step = _searched(trials, tell)
    ci = None if step is None else _interval(trials, step)
    tell(PARTS[4])
    rate = None if step is None else trials.rate(step)
    low, high = (0.0, 0.0) if rate is None or step is None else _priced(trials, step, rate, factor)
    row = None if step is None else _row(trials, step)
    points = tuple(_point(trials, step) for step in sorted(trials.by_step))
    return Found(candidate, first, trials, rate, ci, error, low, high, row, points, _nearest(trials, step))


def _searched(trials: Trials, tell: Tell) -> int | None:
    """The largest step that passes for sure."""

    def may(step: int) -> bool:
        return trials.passes(step, FEW, for_sure=False)

    def is_sure(step: int) -> bool:
        half = NUMBERS[: len(NUMBERS) // 2]  # what these miss, all will not meet for sure
        return trials.passes(step, half, for_sure=False) and trials.passes(step, NUMBERS, for_sure=True)

    top = trials.top
    low, high, fails = None, top, 0
    for step in map(step_near, SCAN):
        if step > top:
            break
        if may(step):
            low, high, fails = step, top, 0
            continue
        high, fails = (step if fails == 0 else high), fails + 1
        if fails == SCAN_ABOVE:
            break
    tell(PARTS[1])
    if low is None:
        return None
    if fails:
        low, _ = bisected(may, low, high, COARSE_STEPS)
    tell(PARTS[2])
    found = largest(is_sure, low, top)
    tell(PARTS[3])
    return found


def _interval(trials: Trials, step: int) -> tuple[float, float]:
    """95 % t interval of the log rates that each replication finds by itself."""
    found = [largest(partial(trials.alone, number=n), step, trials.top, ALONE_STEPS) or 0 for n in NUMBERS]
    places = np.array(found, np.float64)
    half = stats.t.ppf(0.975, len(places) - 1) * places.std(ddof=1) / math.sqrt(len(places))
    middle = float(places.mean()) + 0.5 * ALONE_STEPS  # a step found is the last of so many that passes
    return trials.rate(middle - float(half)), trials.rate(middle + float(half))


def _priced(trials: Trials, step: int, rate: float, factor: float) -> tuple[float, float]:
    """Rates if all steps took ``factor`` times, or one ``factor``-th, as long."""
    middle = crossing(trials.margins())
    middle = float(step) if middle is None else middle
    found = []
    for scale in (factor, 1.0 / factor):
        place = crossing(trials.margins(scale))
        found.append(0.0 if place is None else rate * STEP ** (place - middle) / scale)
    return min(found[0], rate), max(found[1], rate)


def _row(trials: Trials, step: int) -> Row:
    trial = trials.by_step[step]
    return row_at(trials, trials.candidate, trial.rate, trial.measured(NUMBERS))


def row_at(trials: Trials, candidate: Candidate, rate: float, measured: Measured) -> Row:
    """The row of ``serve-sim`` for this rate of the whole fleet."""
    replicas = candidate.cell.fleet.num_replicas
    horizon = trials.horizon(rate / replicas, replicas)
    demand = candidate.demand_at(rate, horizon.duration_s)
    run = replace(candidate.run, demand=demand, horizon=horizon, slos=trials.slos)
    return row_of(run, candidate.cell, measured)


def _point(trials: Trials, step: int) -> Point:
    trial = trials.by_step[step]
    numbers = sorted(trial.parts)
    meets = trials.passes(step, numbers, for_sure=False)
    return Point(trial.rate, meets, len(numbers), trial.everything.over_all)


def _nearest(trials: Trials, step: int | None) -> Mapping[str, Any]:
    """The objective that ends the search, with its number at the rate (or at the one that misses least)."""
    if step is None:
        margins = trials.margins()
        step = above = min(margins, key=lambda s: (margins[s], s))
    else:
        above = min(step + 1, trials.top)
    trial = trials.by_step[step]
    higher = trials.by_step.get(above, trial)
    measured, values = higher.everything, trial.everything.over_all

    def excess(slo: Slo) -> float:
        low, high = measured.interval(slo.column)
        bound = low if slo.metric == "good" else high
        return margin(slo, measured.over_all[slo.column] if bound is None else bound)

    slo = max(trials.slos, key=excess)
    return {
        "text": slo.text,
        "rate": trial.rate,
        "value": finite(values[slo.column]),
        "limit": slo.limit,
        "is_share": slo.metric == "good",
        "queue_grows": higher.saturated,
    }
