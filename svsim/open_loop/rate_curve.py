"""The same question at other rates: where each method's latencies rise, and where its queue grows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from svsim.open_loop.options import ServeRun
from svsim.open_loop.question import OpenLoopQuestion
from svsim.open_loop.rows import rows_of, simulated
from svsim.options import workers
from svsim.progress import Count, OnProgress
from svsim.serving.demand import Demand
from svsim.serving.runs import UNITS
from svsim.serving.simulation import Horizon

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.4, 2.0, 2.8)  # of the asked rate, where no rates are named
REPLICATIONS = 3
LEAST_S, REQUESTS_OF_POINT = 120.0, 4000.0  # a point takes as long as the run, or these
MOST_GIVEN_REQUESTS = 20_000  # of a workload file that is stretched
Row = Mapping[str, Any]


def rate_curve(
    asked: OpenLoopQuestion, rows: Sequence[Row], progress: OnProgress | None = None
) -> tuple[Row, ...]:
    """Rows at other rates with those of the run itself, by rising rate; empty where users decide the rate."""
    run, rate = asked.run, asked.run.demand.rate
    if rate is None or (run.demand.workload and run.demand.workload.num_requests > MOST_GIVEN_REQUESTS):
        return ()
    found = list(rows)
    for other in (factor * rate for factor in FACTORS if factor != 1.0):
        one = _at_rate(run, rate, other)
        total = one.num_replications * len(run.cells) * UNITS
        count = Count(progress, f"simulated at {other:.3g} requests/s", total)
        records, interrupted = simulated(one, workers(asked.options.run.jobs), count)
        if interrupted:
            raise KeyboardInterrupt
        made, _ = rows_of(one, records)
        found += [row for row, cell in zip(made, one.cells, strict=True) if cell.is_asked]
    return tuple(sorted(found, key=lambda row: float(row["rate"])))


def _at_rate(run: ServeRun, rate: float, other: float) -> ServeRun:
    """The run at another mean rate; not longer than a point of the curve needs."""
    demand = run.demand
    if demand.arrivals is None:
        factor = rate / other
        stretched = replace(
            demand, time_scale=demand.time_scale * factor, duration_s=demand.duration_s * factor
        )
        return replace(
            run, demand=stretched, horizon=Horizon.of(stretched.duration_s, None, drain_s=math.inf)
        )
    duration_s = min(demand.duration_s, max(LEAST_S, REQUESTS_OF_POINT / other))
    moved = replace(demand, arrivals=demand.arrivals.at_rate(other), duration_s=duration_s)
    horizon = Horizon.of(duration_s, _warm_up_s(run, demand, duration_s))
    return replace(
        run, demand=moved, horizon=horizon, num_replications=min(REPLICATIONS, run.num_replications)
    )


def _warm_up_s(run: ServeRun, demand: Demand, duration_s: float) -> float | None:
    """The same share of the time."""
    warm_up_s = run.horizon.warm_up_s
    return None if warm_up_s is None else warm_up_s * duration_s / demand.duration_s
