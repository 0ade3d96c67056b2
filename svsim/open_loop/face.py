"""The Python face of open-loop serving: ``svsim.serve_sim``."""

from collections.abc import Sequence
from pathlib import Path

from svsim.decoding.method import DecodingMethod
from svsim.latency.elsewhere import Elsewhere
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.model_choice import ModelChoice
from svsim.open_loop.answer import answer
from svsim.open_loop.options import ServeOptions
from svsim.open_loop.result import ServingResult
from svsim.options import RunOptions
from svsim.progress import OnProgress
from svsim.run import Trace


def serve_sim(
    trace: Trace | None = None,
    *,
    arrivals: str | None = None,
    workload: str | Path | None = None,
    format: str | None = None,
    time_scale: float = 1.0,
    lengths: str | None = None,
    duration: float | None = None,
    warm_up: float | str = "auto",
    replications: int | None = None,
    methods: Sequence[str | DecodingMethod] | str | DecodingMethod = (),
    hardware: Sequence[str] | str = (),
    latency: str | LatencyModel = "auto",
    engine: str | None = None,
    target: str | Path | None = None,
    draft: str | Path | None = None,
    companion: str | Path | None = None,
    drafter: str | None = None,
    head: str | Path | None = None,
    draft_hardware: str | None = None,
    companion_hardware: str | None = None,
    link_s: float = 0.0,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    kv_blocks: int | None = None,
    block_size: int = 16,
    watermark: float = 0.0,
    long_prefill_token_threshold: int = 0,
    reserve_full_isl: bool = True,
    policy: str = "fcfs",
    scheduling: str = "sync",
    scheduler: str = "vllm",
    replicas: int = 1,
    router: str = "round-robin",
    failure: Sequence[str] | str = (),
    slo: Sequence[str] | str = (),
    profile_split: float | None = None,
    out_of_range: OutOfRange | None = None,
    prices: str | Path | None = None,
    gpu_memory_utilization: float | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> ServingResult:
    """Serve requests as they arrive: TTFT, TPOT, percentiles and overload, with and without speculation.

    Raises the errors of ``svsim.errors``. Options that are not named here are those of ``replay``.

    Parameters
    ----------
    trace: lends its acceptance (and, by default, its lengths); None: target-only decoding.
    arrivals: ``"poisson:rate=4"``, ``"gamma:rate=4,burstiness=0.5"``, ``"constant:rate=4"``, ``"ramp:..."``,
        ``"onoff:..."``, ``"diurnal:..."`` or ``"closed:users=64,think=1"``.
    workload, format: a recording of requests instead, ``"csv"`` (default), ``"azure"``, ``"burstgpt"``,
        ``"mooncake"``, ``"bailian"``, ``"aiperf"``, ``"guidellm"`` or ``"vidur"``.
    time_scale: its arrivals are so many times as far apart.
    lengths: ``"trace"``, ``"fixed:P/O"``, ``"uniform:P/O/r"`` or ``"lognormal:P/O/cv"``, in tokens.
    duration: simulated seconds, warm-up included; default 1000 requests and at least 300 s.
    warm_up: seconds that are not measured, or ``"auto"`` (MSER-5).
    replications: independent runs (default 8; of a workload 1).
    latency: ``"trace"`` (the default where it has step times), ``"roofline"``, ``"database"``, a linear file,
        or a LatencyModel.
    max_num_seqs, max_num_batched_tokens: default as vLLM's server on that GPU.
    kv_blocks: of one replica; default what fits into memory.
    block_size, watermark, long_prefill_token_threshold, reserve_full_isl, policy: as in vLLM.
    scheduling: ``"sync"``, or ``"async"``: the next step is planned while one runs.
    scheduler: whose order of work, admission and preemption: ``"vllm"``, ``"sglang"``, ``"trtllm"``.
    replicas, router: servers alike, ``"round-robin"`` or ``"least-loaded"``.
    failure: ``"replica=0,at=600,for=120"``: it is down; its requests go to the others.
    slo: ``"ttft:p99=0.5"``, ``"tpot:p95=0.05"``, ``"good=0.95"``.
    profile_split: share of the trace's requests that beliefs learn from and nobody borrows (default 0.5).
    progress: called with simulated hundredths of replications.

    >>> svsim.serve_sim("traces/llama70b.parquet", arrivals="poisson:rate=4").to_frame()  # doctest: +SKIP
    """
    run = RunOptions(
        methods=methods,
        hardware=hardware,
        latency=latency,
        engine=engine,
        models=ModelChoice(target, draft, companion, drafter, head),
        elsewhere=Elsewhere(draft_hardware, companion_hardware, link_s),
        profile_split=profile_split,
        out_of_range=out_of_range,
        prices=prices,
        gpu_memory_utilization=gpu_memory_utilization,
        seed=seed,
        jobs=jobs,
    )
    options = ServeOptions(
        run,
        arrivals=arrivals,
        workload=workload,
        format=format,
        time_scale=time_scale,
        lengths=lengths,
        duration=duration,
        warm_up=warm_up,
        replications=replications,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        kv_blocks=kv_blocks,
        block_size=block_size,
        watermark=watermark,
        long_prefill_token_threshold=long_prefill_token_threshold,
        reserve_full_isl=reserve_full_isl,
        policy=policy,
        scheduling=scheduling,
        scheduler=scheduler,
        replicas=replicas,
        router=router,
        slo=slo,
        failure=failure,
    )
    return answer(trace, options, progress)
