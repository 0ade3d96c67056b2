"""Answer a question of open-loop serving: rows, verdicts, and what the page shows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from svsim.open_loop.options import Cell, ServeOptions, ServeRun
from svsim.open_loop.question import OpenLoopQuestion
from svsim.open_loop.result import ServingResult
from svsim.open_loop.rows import rows_of, simulated
from svsim.open_loop.understand import understand
from svsim.options import workers
from svsim.progress import Count, OnProgress
from svsim.run import Trace
from svsim.serving import state
from svsim.serving.ledger import pieces
from svsim.serving.metrics import Measured, finite, label_of
from svsim.serving.runs import UNITS, FleetRecords
from svsim.serving.samples import latency
from svsim.serving.verdict import verdict_of
from svsim.version import __version__

SHARES = np.linspace(0.0, 1.0, 201)  # of requests, at which distributions are kept
MOST_DRAWN = 200_000  # requests that a distribution is drawn from


def answer(trace: Trace | None, options: ServeOptions, progress: OnProgress | None = None) -> ServingResult:
    """Simulate, and put the rows together. Raises the errors of ``svsim.errors``."""
    run = understand(trace, options)
    count = Count(progress, "simulated", run.num_replications * len(run.cells) * UNITS)
    records, interrupted = simulated(run, workers(options.run.jobs), count)
    return _result(run, records, interrupted, OpenLoopQuestion(trace, options, run))


def _result(
    run: ServeRun, records: Sequence[FleetRecords], interrupted: bool, question: OpenLoopQuestion
) -> ServingResult:
    rows, measured = rows_of(run, records)
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
    return ServingResult(
        tuple(rows[i] for i in shown),
        __version__,
        run.about,
        run.config,
        tuple(dict.fromkeys(notes)),
        tuple(verdicts),
        RequestRows([(run.cells[i], measured[i]) for i in shown]),
        tuple(_timeline(run.cells[i], measured[i]) for i in shown),
        interrupted,
        tuple(_distributions(run.cells[i], measured[i]) for i in shown),
        question,
    )


def _notes_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    lossy = dict.fromkeys(label_of(dict(r)) for r in rows if not r["lossless"] and not r["is_bound"])
    if lossy:
        yield f"not lossless at this sampling: {', '.join(lossy)} (the text leaves the target's law)"
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


class RequestRows:
    """Measured requests of all cells as ``--requests-csv`` has them, made as they are asked for."""

    def __init__(self, parts: Sequence[tuple[Cell, Measured]]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for cell, measured in self._parts:
            yield from _requests(cell, measured)

    def __len__(self) -> int:
        return sum(len(stretch.requests) for _, measured in self._parts for stretch in measured.stretches)


def _requests(cell: Cell, measured: Measured) -> Iterator[dict[str, Any]]:
    """Measured requests as ``--requests-csv`` has them; undefined is empty."""
    for number, one in (
        (number, one)
        for number, stretch in enumerate(measured.stretches)
        for piece in pieces(stretch.requests)
        for one in piece
    ):
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


def _distributions(cell: Cell, measured: Measured) -> dict[str, Any]:
    """Quantiles of measured requests at ``SHARES``, replications together; of every m-th where they are
    more than ``MOST_DRAWN``."""
    stretches = measured.stretches
    every = -(-sum(len(s.requests) for s in stretches) // MOST_DRAWN)
    found: dict[str, Any] = {"method": cell.method.label, "hardware": cell.deployment.name}
    for metric in ("ttft", "tpot", "e2el"):
        values = np.concatenate(
            [
                latency(piece[::every], metric, s.record.cut_off_s)
                for s in stretches
                for piece in pieces(s.requests)
            ]
        )
        found[f"{metric}_s"] = np.quantile(values, SHARES).tolist() if len(values) else []
    return found


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
        "request_throughput": (line[:, state.FINISHED] / bucket_s).tolist(),
        "busy_share": (line[:, state.BUSY_S] / bucket_s / cell.fleet.num_replicas).tolist(),
    }
