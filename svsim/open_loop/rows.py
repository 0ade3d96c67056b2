"""Simulate what was understood, and put the rows together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from svsim.errors import InputError
from svsim.open_loop.options import Cell, ServeOptions, ServeRun
from svsim.open_loop.understand import understand
from svsim.options import workers
from svsim.progress import Count, OnProgress
from svsim.run import Trace
from svsim.serving import state
from svsim.serving.metrics import Measured, ServingTable, finite, label_of
from svsim.serving.runs import UNITS, FleetRecords, ReplicationRuns
from svsim.serving.samples import Stretch
from svsim.serving.steady import warm_up_segments
from svsim.serving.verdict import verdict_of
from svsim.version import __version__


def answer(trace: Trace | None, options: ServeOptions, progress: OnProgress | None = None) -> ServingTable:
    """Simulate, and put the rows together. Raises the errors of ``svsim.errors``."""
    run = understand(trace, options)
    num = run.num_replications
    count = Count(progress, "simulated", num * len(run.cells) * UNITS)
    runs = ReplicationRuns(
        run.demand, [cell.fleet for cell in run.cells], run.horizon, num, workers(options.run.jobs)
    )
    records, interrupted = runs.run(count)
    return _table(run, records, interrupted)


def _table(run: ServeRun, records: Sequence[FleetRecords], interrupted: bool) -> ServingTable:
    measured = _measured(run, records)
    rows = [row_of(run, cell, found) for cell, found in zip(run.cells, measured, strict=True)]
    verdicts = []
    for name in dict.fromkeys(cell.deployment.name for cell in run.cells):
        mine = [i for i, cell in enumerate(run.cells) if cell.deployment.name == name]
        found = verdict_of([rows[i] for i in mine], [measured[i] for i in mine])
        verdicts += [found] if found else []
    notes = list(run.notes)
    done = len(records[0].records)
    if interrupted:
        notes.append(f"interrupted: {done} of {run.num_replications} replications were finished and count")
    notes += _notes_of(rows)
    shown = [i for i, cell in enumerate(run.cells) if cell.is_asked]
    return ServingTable(
        tuple(rows[i] for i in shown),
        __version__,
        run.about,
        run.config,
        tuple(dict.fromkeys(notes)),
        tuple(verdicts),
        tuple(one for i in shown for one in _requests(run.cells[i], measured[i])),
        tuple(_timeline(run.cells[i], measured[i]) for i in shown),
        interrupted,
    )


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
    requests = np.concatenate([stretch.requests for stretch in stretches])
    seconds = requests["finish_s"] - requests["scheduled_s"]
    seconds = seconds[np.isfinite(seconds)]
    window_s = stretches[0].seconds
    if len(requests) == 0:
        raise InputError(
            f"no request arrives in the {window_s:g} s that are measured; ask for a longer `duration`, a "
            "higher rate, or a shorter `warm_up`"
        )
    if not run.demand.is_given and (len(seconds) == 0 or seconds.min() > run.demand.duration_s):
        took = "longer" if len(seconds) == 0 else f"{seconds.min():.3g} s at least"
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
        "usd_per_million_tokens": per_million(None if usd is None else usd / 3600.0),
        "joules_per_million_tokens": per_million(power_w),
        "replay_kind": kind,
        "replay_reason": reason,
        "lossless": method.is_lossless_on(run.metadata),
        "is_bound": method.is_bound,
    }


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


def _notes_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        label = label_of(dict(row))
        if row["saturated"]:
            yield (
                f"{label} is saturated: latencies grow with the run; it completes "
                f"{row['request_throughput']:.3g} requests/s"
            )
        if row["num_unfinished"]:
            yield f"{label}: {row['num_unfinished']} requests had not finished when the run was cut off"
        if row["warm_up_s"] >= 0.5 * row["duration_s"]:
            yield "the warm-up takes half of the run: ask for a longer `duration`"


def _requests(cell: Cell, measured: Measured) -> Iterator[dict[str, Any]]:
    """Measured requests as ``--requests-csv`` has them; undefined is empty."""
    for number, stretch in enumerate(measured.stretches):
        for one in stretch.requests:
            first_s, finish_s, arrival_s = one["first_token_s"], one["finish_s"], one["arrival_s"]
            several_tokens = one["output"] > 1
            yield {
                "request_id": int(one["row"]),
                "arrival_s": float(arrival_s),
                "scheduled_s": finite(one["scheduled_s"]),
                "first_token_s": finite(first_s),
                "finish_s": finite(finish_s),
                "prompt_tokens": int(one["prompt"]),
                "output_tokens": int(one["output"]),
                "num_steps": int(one["steps"]),
                "num_preemptions": int(one["preemptions"]),
                "ttft_s": finite(first_s - arrival_s),
                "tpot_s": finite((finish_s - first_s) / (one["output"] - 1)) if several_tokens else None,
                "e2el_s": finite(finish_s - arrival_s),
                "method": cell.method.label,
                "hardware": cell.deployment.name,
                "replication": number,
            }


def _timeline(cell: Cell, measured: Measured) -> dict[str, Any]:
    """Means over replications, bucket by bucket up to the end of the run."""
    first = measured.stretches[0]
    bucket_s = first.horizon.bucket_s
    line = np.mean([s.record.timeline[:-1] for s in measured.stretches], axis=0)
    steps = np.maximum(line[:, state.SEQUENCE_STEPS], 1.0)
    return {
        "method": cell.method.label,
        "hardware": cell.deployment.name,
        "bucket_s": bucket_s,
        "num_running": (line[:, state.RUNNING_S] / bucket_s).tolist(),
        "num_waiting": (line[:, state.WAITING_S] / bucket_s).tolist(),
        "kv_use": (line[:, state.KV_BLOCKS_S] / bucket_s / first.num_kv_blocks).tolist(),
        "output_tok_s": (line[:, state.EMITTED] / bucket_s).tolist(),
        "mean_acceptance_length": (1.0 + line[:, state.ACCEPTED] / steps).tolist(),
    }
