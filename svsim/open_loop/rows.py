"""Simulate what was understood, and put the rows together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from svsim.errors import InputError
from svsim.open_loop.options import Cell, ServeRun
from svsim.progress import Count
from svsim.serving.ledger import pieces
from svsim.serving.metrics import Measured
from svsim.serving.runs import FleetRecords, ReplicationRuns
from svsim.serving.samples import TIME_PARTS, Stretch
from svsim.serving.steady import warm_up_segments


def simulated(run: ServeRun, jobs: int, count: Count) -> tuple[list[FleetRecords], bool]:
    """The replications of all cells; whether Ctrl-C cut them short."""
    fleets = [cell.fleet for cell in run.cells]
    return ReplicationRuns(run.demand, fleets, run.horizon, run.num_replications, jobs).run(count)


def rows_of(run: ServeRun, records: Sequence[FleetRecords]) -> tuple[list[dict[str, Any]], list[Measured]]:
    """Rows of all cells, and what they are made of."""
    measured = _measured(run, records)
    return [row_of(run, cell, found) for cell, found in zip(run.cells, measured, strict=True)], measured


def _measured(run: ServeRun, records: Sequence[FleetRecords]) -> list[Measured]:
    """Numbers of every cell after one warm-up, the longest that a method needs."""
    first = max(warm_up_segments(one.records, run.horizon) for one in records)
    found = []
    for one in records:
        blocks = one.fleet.num_replicas * one.fleet.rules.num_blocks
        stretches = [Stretch(r, run.horizon, first, run.horizon.num_segments, blocks) for r in one.records]
        _check_length(run, stretches)
        found.append(Measured.of(stretches, run.slos))
    return found


def _check_length(run: ServeRun, stretches: Sequence[Stretch]) -> None:
    """InputError if nothing was measured, or the window is shorter than a request."""
    num_requests, least_s, window_s = 0, np.inf, stretches[0].seconds
    for piece in (piece for stretch in stretches for piece in pieces(stretch.requests)):
        seconds = piece["finish_s"] - piece["scheduled_s"]
        num_requests, least_s = num_requests + len(piece), float(np.fmin.reduce(seconds, initial=least_s))
    if num_requests == 0:
        raise InputError(
            f"no request arrives in the {window_s:g} s that are measured; ask for a longer `duration`, a "
            "higher rate, or a shorter `warm_up`"
        )
    if not run.demand.is_given and least_s > run.demand.duration_s:
        took = "longer" if least_s == np.inf else f"{least_s:.3g} s at least"
        raise InputError(
            f"`duration` {run.demand.duration_s:g} s is shorter than a request takes ({took}); "
            "ask for ten times as long or more"
        )


def row_of(run: ServeRun, cell: Cell, measured: Measured) -> dict[str, Any]:
    """Everything that a row says of a cell."""
    method, deployment, demand = cell.method, cell.deployment, run.demand
    kind, reason = _replay_kind(run, cell)
    numbers = measured.numbers(run.slos)
    tok_s, replicas = numbers["output_tok_s"], cell.fleet.num_replicas
    usd, power_w = cell.cost.usd_per_hour, cell.cost.power_w

    def per_million(rate: float | None) -> float | None:
        return None if rate is None or not tok_s else 1e6 * rate * replicas / tok_s

    return {
        "method": method.name,
        "params": dict(method.params),
        "hardware": deployment.latency.hardware,
        "tensor_parallel": deployment.latency.tensor_parallel,
        "hardware_options": deployment.options,
        "latency_source": deployment.latency.source,
        "engine": deployment.engine,
        "price_error": deployment.price_error_at(max(1, round(numbers["mean_batch"] or 1))),
        "arrivals": demand.text,
        "rate": demand.rate,
        "replicas": replicas,
        "scheduler": cell.settings.scheduler,
        "scheduling": cell.settings.scheduling,
        "max_num_seqs": cell.settings.max_num_seqs,
        "max_num_batched_tokens": cell.settings.max_num_batched_tokens,
        "kv_blocks": cell.num_blocks,
        "duration_s": demand.duration_s,
        **numbers,
        **_time_shares(measured, replicas),
        "usd_per_million_tokens": per_million(None if usd is None else usd / 3600.0),
        "joules_per_million_tokens": per_million(power_w),
        "replay_kind": kind,
        "replay_reason": reason,
        "lossless": method.is_lossless_on(run.metadata),
        "is_bound": method.is_bound,
    }


def _time_shares(measured: Measured, replicas: int) -> dict[str, float | None]:
    """Shares of the replicas' seconds in the window: host, draft, companion, verify, prefill, idle."""
    shares = {f"{name}_share": measured.over_all[name] / replicas for name in TIME_PARTS}
    return {**shares, "idle_share": max(1.0 - sum(shares.values()), 0.0)}


def _replay_kind(run: ServeRun, cell: Cell) -> tuple[str, str | None]:
    """``exact`` only where every request is a request of the trace, and replaying it would be exact."""
    demand = run.demand
    if demand.trace is None:
        return "approximate", "there is no trace: lengths are as asked, nothing is accepted"
    if demand.is_given or demand.lengths.law != "trace":
        return "approximate", "acceptance is borrowed from requests of other lengths"
    if cell.overlaps:
        return "approximate", "the method's overlap is not simulated"
    if not cell.method.is_exact_on(run.metadata):
        return (
            "approximate",
            "as in the closed loop: of this method's chains a recorded trace knows too little",
        )
    return "exact", None
