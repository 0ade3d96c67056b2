"""The Python face of capacity planning: ``svsim.plan``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svsim.decoding.method import DecodingMethod
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.model_choice import ModelChoice
from svsim.open_loop.options import ServeOptions
from svsim.options import RunOptions, texts
from svsim.planning.front import pareto_points
from svsim.planning.options import PlanOptions
from svsim.planning.plan import Plan, Say, made
from svsim.planning.rates import NUMBERS
from svsim.planning.result import PlanResult
from svsim.planning.rows import hour_rows, plan_rows
from svsim.planning.schedules import ScheduleResult, planned_schedules
from svsim.planning.trials import requests_needed
from svsim.progress import OnProgress
from svsim.run import Trace


def plan(
    trace: Trace | None = None,
    *,
    slo: Sequence[str] | str = (),
    demand: float | str | Path | None = None,
    methods: Sequence[str | DecodingMethod] | str | DecodingMethod = (),
    hardware: Sequence[str] | str = (),
    tp: Sequence[int] | int = (),
    quant: Sequence[str] | str = (),
    max_num_seqs: Sequence[int] | int = (),
    max_num_batched_tokens: Sequence[int] | int = (),
    arrivals: str | None = None,
    lengths: str | None = None,
    latency: str | LatencyModel = "auto",
    engine: str | None = None,
    target: str | Path | None = None,
    draft: str | Path | None = None,
    companion: str | Path | None = None,
    drafter: str | None = None,
    head: str | Path | None = None,
    kv_blocks: int | None = None,
    scheduling: str = "sync",
    scheduler: str = "vllm",
    router: str = "round-robin",
    profile_split: float | None = None,
    out_of_range: OutOfRange | None = None,
    prices: str | Path | None = None,
    gpu_memory_utilization: float | None = None,
    prune: bool = True,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
    say: Say | None = None,
) -> PlanResult:
    """How many GPUs, which method, at what cost: the cheapest replicas that meet every objective.

    Raises the errors of ``svsim.errors``; InfeasibleError, with the closest, where no candidate meets them.

    Parameters
    ----------
    trace: lends its acceptance (and, by default, its lengths); None: target-only decoding.
    slo: ``"ttft:p99=0.5"``, ``"tpot:p95=0.05"``, ``"good=0.95"`` ...: all shall hold.
    demand: requests/s that the fleet shall carry, ``"diurnal:rate=20,amplitude=0.6"``, or a CSV file
        (``hour,rate``); None: the best per request.
    methods: default td, sd at k = 1, 2, 3, 5, and sv where the trace has its signals (never chosen unless it
        keeps the text's law, or is asked for).
    hardware: ``"h100_sxm"``, ``"h100_sxm:tp=4,quant=fp8"`` ...; default the first of the trace's step times.
    tp, quant: GPUs per replica and precisions to try where the hardware does not say; default 1, 2, 4, 8
        where step times are computed.
    max_num_seqs, max_num_batched_tokens: to try; default as vLLM's server on that GPU.
    arrivals: the law without its rate: ``"poisson"`` (default), ``"gamma:burstiness=0.5"``, ``"constant"``,
        ``"onoff:on=10,off=30"``.
    prune: leave out what the analytic model says cannot be best.
    prices: your dated file of dollars per GPU-hour (JSON).
    say: called with one line before a search that takes longer than a minute.

    The others are those of ``serve_sim``.

    >>> svsim.plan("traces/llama70b.parquet", slo=["ttft:p99=0.5", "tpot:p95=0.05"],
    ...            demand=20).to_frame()  # doctest: +SKIP
    """
    run = RunOptions(
        methods=methods,
        hardware=hardware,
        latency=latency,
        engine=engine,
        models=ModelChoice(target, draft, companion, drafter, head),
        profile_split=profile_split,
        out_of_range=out_of_range,
        prices=prices,
        gpu_memory_utilization=gpu_memory_utilization,
        seed=seed,
        jobs=jobs,
    )
    serve = ServeOptions(
        run,
        arrivals=arrivals,
        lengths=lengths,
        kv_blocks=kv_blocks,
        scheduling=scheduling,
        scheduler=scheduler,
        router=router,
    )
    options = PlanOptions(
        serve,
        slo=slo,
        demand=demand,
        tp=tp,
        quant=quant,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        prune=prune,
    )
    return _result(trace, options, made(trace, options, progress, say))


def plan_schedules(
    trace: Trace | None = None,
    *,
    schedule: Sequence[str] | str,
    slo: Sequence[str] | str = (),
    demand: float | str | None = None,
    hardware: Sequence[str] | str = (),
    tp: Sequence[int] | int = (),
    quant: Sequence[str] | str = (),
    lengths: str | None = None,
    latency: str | LatencyModel = "auto",
    engine: str | None = None,
    target: str | Path | None = None,
    kv_blocks: int | None = None,
    out_of_range: OutOfRange | None = None,
    prices: str | Path | None = None,
    gpu_memory_utilization: float | None = None,
    seed: int = 0,
) -> ScheduleResult:
    """When to encode and when to decode: the best schedule of phases on every deployment (ExeGPT).

    Raises the errors of ``svsim.errors``; InfeasibleError, with the closest, where none keeps the bound.

    Parameters
    ----------
    trace: lends its lengths, unless ``lengths`` says them.
    schedule: ``"rra:be=52,nd=13"``, ``"rra:be=1-64,law=paper"``, ``"waa:be=4"``, or ``"rra"`` alone; ranges,
        and what is left out, are searched.
    slo: ``"e2el:p99=11.5"``: most seconds of a request of 99th-percentile output length.
    demand: requests/s that replicas shall carry.

    The others are those of ``plan``.

    >>> svsim.plan_schedules(schedule="rra", target="llama-3.1-8b", hardware="h100_sxm:tp=1",
    ...                      lengths="fixed:512/128").best["schedule"]  # doctest: +SKIP
    """
    run = RunOptions(
        hardware=hardware,
        latency=latency,
        engine=engine,
        models=ModelChoice(target),
        out_of_range=out_of_range,
        prices=prices,
        gpu_memory_utilization=gpu_memory_utilization,
        seed=seed,
    )
    serve = ServeOptions(run, lengths=lengths, kv_blocks=kv_blocks)
    options = PlanOptions(serve, slo=slo, demand=demand, tp=tp, quant=quant)
    return planned_schedules(trace, options, schedule)


def _result(trace: Trace | None, options: PlanOptions, found: Plan) -> PlanResult:
    notes = list(found.notes)
    if found.left_out:
        notes.append(
            f"{len(found.left_out)} of {len(found.left_out) + len(found.searched)} candidates are left out: "
            "by the analytic model they cannot cost as little as the best, even within the error of prices"
        )
    if not found.costs.in_dollars:
        notes.append("GPUs are counted instead of dollars: some hardware here has no price; give `prices`")
    first = found.searched[found.best].candidate.run
    left_out = tuple(
        {"label": c.label, "deployment": c.deployment, "max_num_seqs": c.cell.settings.max_num_seqs,
         "max_num_batched_tokens": c.cell.settings.max_num_batched_tokens, "most_rate": rate}
        for c, rate in found.left_out
    )  # fmt: skip
    return PlanResult(
        tuple(plan_rows(found)),
        tuple(pareto_points(found.searched)),
        tuple(hour_rows(found)),
        left_out,
        first.about,
        _config(options, found),
        tuple(dict.fromkeys(notes)),
        trace,
        options.serve.run.models,
    )


def _config(options: PlanOptions, found: Plan) -> Mapping[str, Any]:
    """What was asked, as plain JSON values."""
    told = dict(found.searched[found.best].candidate.run.config)
    for name in ("duration_s", "warm_up", "replications", "failure", "replicas", "time_scale", "format"):
        told.pop(name, None)
    traffic = found.traffic
    return {
        **told,
        "slo": list(texts("slo", options.slo)),
        "demand": None if traffic is None else traffic.text,
        "peak_rate": None if traffic is None else traffic.peak,
        "arrivals": options.arrivals.replace("rate=1,", "").replace(":rate=1", ""),
        "hardware": list(dict.fromkeys(f.candidate.deployment for f in found.searched)),
        "max_num_seqs": sorted({f.candidate.cell.settings.max_num_seqs for f in found.searched}),
        "max_num_batched_tokens": sorted(
            {f.candidate.cell.settings.max_num_batched_tokens for f in found.searched}
        ),
        "cost": "usd_per_hour" if found.costs.in_dollars else "gpus",
        "num_candidates": len(found.searched) + len(found.left_out),
        "num_replications": len(NUMBERS),
        "requests_per_replication": requests_needed(found.slos),
    }
