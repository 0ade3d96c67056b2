"""The Python face of svsim: the words of the command line as functions.

A method, batch size or hardware may stand alone where a list of them is expected.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from svsim.latency.elsewhere import Elsewhere
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.model_choice import ModelChoice
from svsim.options import RunOptions, several
from svsim.progress import OnProgress
from svsim.run import RunResult, Trace, answer, inspect, value_signals

if TYPE_CHECKING:
    from svsim.advice.advise import AdviceResult
    from svsim.decoding.method import DecodingMethod
    from svsim.metrics.signal_values import SignalValues
    from svsim.metrics.trace_information import TraceInformation


def replay(
    trace: Trace,
    *,
    methods: "Sequence[str | DecodingMethod] | str | DecodingMethod" = (),
    batch_sizes: Sequence[int] | int = (),
    hardware: Sequence[str] | str = (),
    latency: str | LatencyModel = "trace",
    engine: str | None = None,
    target: str | Path | None = None,
    draft: str | Path | None = None,
    companion: str | Path | None = None,
    drafter: str | None = None,
    head: str | Path | None = None,
    draft_hardware: str | None = None,
    companion_hardware: str | None = None,
    link_s: float = 0.0,
    refill: str | None = None,
    batch_of: str | None = None,
    prefill: str | None = None,
    profile_split: float | None = None,
    profile_from: Trace | None = None,
    believed_prices: str | LatencyModel | None = None,
    coins: str = "recorded",
    convention: str = "native",
    out_of_range: OutOfRange | None = None,
    prices: str | Path | None = None,
    gpu_memory_utilization: float | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> RunResult:
    """Replay a trace under decoding methods, batch sizes and hardware: the compiled closed loop.

    Raises the errors of ``svsim.errors``.

    Parameters
    ----------
    trace: a file, or a TokenTrace.
    methods: texts (``"sv:k=7"``, ``"sd:k=1-5"``) or DecodingMethod objects; default td, sd at a ladder of
        lengths (1, 2, 3, 5) and, where the trace has its signals, sv:k=7.
    batch_sizes: default 1 to 64, as far as the trace has requests.
    hardware: names such as ``"h100_sxm:tp=4,draft=replicated"``; default the first of the step times.
    latency: ``"trace"`` (its own step times), ``"database"``, ``"roofline"``, a file, or a LatencyModel.
    engine: what runs the passes: a profile (``svsim engines``), an engine's version (``"vllm-0.24"``), a
        profile's file, or ``"none"`` (bare passes and the step times' own overhead). Default ``"vllm-0.20"``
        where passes are modelled, ``"none"`` where they were measured.
    target, draft, companion: models in the place of those that the trace names: a preset, a Hugging Face
        config.json, or its folder.
    drafter: what drafts in ``sd`` and every method that leaves it open: ``"model"``, ``"eagle"``,
        ``"eagle3"``, ``"mtp"``, ``"dflash"``, ``"peagle"``, ``"ngram"`` or ``"none"``.
    head: a head's own config.json or its folder; default the usual head for the target.
    draft_hardware, companion_hardware: where that model runs if not beside the target: ``"l40s:tp=1"``,
        split over those GPUs, or a linear latency file. Its passes come from where the target's do, or from a
        roofline where ``latency`` is a linear file or a model.
    link_s: seconds that exchanging tokens with it adds to a step (default 0).
    refill: ``"continuous"`` (default) or ``"static"``.
    batch_of: ``"requests"`` (default) or ``"copies"``.
    prefill: ``"exclude"`` (default) or ``"include"``.
    profile_split: share of requests that beliefs learn from and nobody replays (default 0.5).
    profile_from: another trace, whose profile part beliefs are learnt on instead: a cold start.
    believed_prices: step times that methods plan with, while the clock charges ``latency``: as ``latency``.
    coins: ``"recorded"``, or ``"redraw:N"`` for N fresh draws.
    convention: ``"native"`` or ``"specdecode-bench"``, which fixes the four above.
    out_of_range: passes outside the calibrated range: ``"raise"`` (default), ``"clip"``, ``"extrapolate"``.
    prices: a file of dollars per GPU-hour.
    gpu_memory_utilization: share of each GPU's memory that the server uses (default 0.9).
    seed: of split, order and intervals.
    jobs: worker threads, which results do not depend on (default all cores).
    progress: called after every run.

    >>> svsim.replay("traces/llama70b.parquet", batch_sizes=[8, 64]).to_frame()  # doctest: +SKIP
    """
    options = RunOptions(
        methods=methods,
        batch_sizes=batch_sizes,
        hardware=hardware,
        latency=latency,
        engine=engine,
        models=ModelChoice(target, draft, companion, drafter, head),
        elsewhere=Elsewhere(draft_hardware, companion_hardware, link_s),
        refill=refill,
        batch_of=batch_of,
        prefill=prefill,
        profile_split=profile_split,
        profile_from=profile_from,
        believed_prices=believed_prices,
        coins=coins,
        convention=convention,
        out_of_range=out_of_range,
        prices=prices,
        gpu_memory_utilization=gpu_memory_utilization,
        seed=seed,
        jobs=jobs,
    )
    return answer("replay", trace, options, progress)


def analytic(
    trace: Trace,
    *,
    methods: "Sequence[str | DecodingMethod] | str | DecodingMethod" = (),
    batch_sizes: Sequence[int] | int = (),
    hardware: Sequence[str] | str = (),
    latency: str | LatencyModel = "trace",
    engine: str | None = None,
    target: str | Path | None = None,
    draft: str | Path | None = None,
    companion: str | Path | None = None,
    drafter: str | None = None,
    head: str | Path | None = None,
    draft_hardware: str | None = None,
    companion_hardware: str | None = None,
    link_s: float = 0.0,
    refill: str | None = None,
    batch_of: str | None = None,
    prefill: str | None = None,
    profile_split: float | None = None,
    profile_from: Trace | None = None,
    believed_prices: str | LatencyModel | None = None,
    coins: str = "recorded",
    convention: str = "native",
    out_of_range: OutOfRange | None = None,
    prices: str | Path | None = None,
    gpu_memory_utilization: float | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> RunResult:
    """The question of ``replay`` answered by the analytic model: renewal walks instead of a loop.

    Same options, same rows; ``replay_kind`` is ``approximate`` in all of them. Of a trace too long for
    memory a sample of requests is walked, and a note says so. Raises the errors of ``svsim.errors``.

    >>> svsim.analytic("traces/llama70b.parquet", batch_sizes=[8, 64]).to_frame()  # doctest: +SKIP
    """
    options = RunOptions(
        methods=methods,
        batch_sizes=batch_sizes,
        hardware=hardware,
        latency=latency,
        engine=engine,
        models=ModelChoice(target, draft, companion, drafter, head),
        elsewhere=Elsewhere(draft_hardware, companion_hardware, link_s),
        refill=refill,
        batch_of=batch_of,
        prefill=prefill,
        profile_split=profile_split,
        profile_from=profile_from,
        believed_prices=believed_prices,
        coins=coins,
        convention=convention,
        out_of_range=out_of_range,
        prices=prices,
        gpu_memory_utilization=gpu_memory_utilization,
        seed=seed,
        jobs=jobs,
    )
    return answer("analytic", trace, options, progress)


def info(
    trace: Trace,
    *,
    profile_split: float = 0.5,
    latency: str | LatencyModel = "trace",
    engine: str | None = None,
    hardware: Sequence[str] | str = (),
    target: str | Path | None = None,
    draft: str | Path | None = None,
    companion: str | Path | None = None,
    drafter: str | None = None,
    head: str | Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> "TraceInformation":
    """What a trace holds: sizes, acceptance by depth and fixed length, what its signals tell, checks.

    Beliefs are learnt on a ``profile_split`` of the requests and judged on the others; ``latency``,
    ``hardware`` and models, as in ``replay``, price the steps that are slower than target-only decoding.
    Raises the errors of ``svsim.errors``.
    """
    models = ModelChoice(target, draft, companion, drafter, head)
    return inspect(trace, profile_split, latency, engine, hardware, models, seed, jobs, progress)


def value(
    trace: Trace,
    *,
    k: int | None = None,
    batch_sizes: Sequence[int] | int = (),
    hardware: Sequence[str] | str = (),
    latency: str | LatencyModel = "trace",
    engine: str | None = None,
    target: str | Path | None = None,
    draft: str | Path | None = None,
    companion: str | Path | None = None,
    drafter: str | None = None,
    head: str | Path | None = None,
    profile_split: float = 0.5,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> "SignalValues":
    """What the signals of a trace are worth: held-out bits, and goodput under the same selection.

    Beliefs from every signal, from the mean alone and from the acceptance probability itself choose what to
    verify of ``k`` drafted tokens (default 7, or K). The other options are those of ``replay``. Raises the
    errors of ``svsim.errors``.
    """
    options = RunOptions(
        batch_sizes=batch_sizes,
        hardware=hardware,
        latency=latency,
        engine=engine,
        models=ModelChoice(target, draft, companion, drafter, head),
        profile_split=profile_split,
        seed=seed,
        jobs=jobs,
    )
    return value_signals(trace, k, options, progress)


def advise(
    trace: "Trace | Sequence[str | Path] | None" = None,
    *,
    import_format: str | None = None,
    accept_by_position: "str | Sequence[float] | Mapping[str, str | Sequence[float]] | None" = None,
    acceptance_length: float | None = None,
    k: int | None = None,
    shape: str | None = None,
    prompt_tokens: int | float | str | None = None,
    output_tokens: int | float | str | None = None,
    concurrency: Sequence[int] | int = (),
    methods: Sequence[str] | str = (),
    hardware: Sequence[str] | str = (),
    latency: str | LatencyModel | None = None,
    engine: str | None = None,
    target: str | Path | None = None,
    draft: str | Path | None = None,
    companion: str | Path | None = None,
    drafter: str | None = None,
    head: str | Path | None = None,
    draft_hardware: str | None = None,
    companion_hardware: str | None = None,
    link_s: float = 0.0,
    prefill: str | None = None,
    out_of_range: OutOfRange | None = None,
    prices: str | Path | None = None,
    gpu_memory_utilization: float | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> "AdviceResult":
    """What to run: the best method and k per batch size, how sure that is, and what to do about it.

    Raises the errors of ``svsim.errors``.

    Parameters
    ----------
    trace: a trace, or the files of a recording whose ``import_format`` is given.
    import_format: a format of ``svsim import``, as ``"vllm-metrics"``.
    accept_by_position: instead of a trace: cumulative shares of steps that accept 1, 2, ... draft tokens
        (``".72/.51/.36"``), or several drafters, ``{"eagle3": ".72/.51/.36", "ngram": ".5/.3/.2"}``.
    acceptance_length: instead: mean tokens per step, bonus included, with ``k``.
    k: draft tokens per step, of a mean or of a recording that does not say it.
    shape: how a mean is spread over positions, as in ``svsim import``; the ranges hold every other shape.
    prompt_tokens, output_tokens: mean lengths, or ``"MEAN:VARIATION"``; of a trace its own.
    concurrency: requests at once that are asked about; default a grid from 1 to 256.
    methods: what is compared with td; default sd at every sensible length and, where the trace has its
        signals, sv; of these only methods that keep the target's law are advised.
    latency: default the trace's own step times, or ``"database"`` where hardware is named.
    prefill: ``"include"`` (default where the numbers are a server's) or ``"exclude"``.

    The others are those of ``replay``.

    >>> svsim.advise(accept_by_position=".72/.51/.36", target="llama-3.1-8b", drafter="eagle3",
    ...              hardware="h100_sxm", concurrency=[1, 64]).to_frame()  # doctest: +SKIP
    """
    from svsim.advice.advise import advise as answer_advice
    from svsim.advice.asking import Told, drafting_of
    from svsim.advice.search import Server

    told = Told(
        trace=trace,
        import_format=import_format,
        accept_by_position=accept_by_position,
        acceptance_length=acceptance_length,
        k=k,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        shape=shape,
        seed=seed,
    )
    server = Server(
        concurrency=several(concurrency),
        methods=several(methods),
        hardware=several(hardware),
        latency=latency,
        engine=engine,
        prefill=prefill,
        out_of_range=out_of_range,
        prices=prices,
        gpu_memory_utilization=gpu_memory_utilization,
        elsewhere=Elsewhere(draft_hardware, companion_hardware, link_s),
        seed=seed,
        jobs=jobs,
    )
    models = ModelChoice(target, draft, companion, drafter, head)
    return answer_advice(drafting_of(told, models, server.num_requests), server, progress)
