"""The Python face of svsim: the words of the command line as functions."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, get_args

from svsim.deployments import PricedHardware, RunningCost, priced_hardware
from svsim.errors import InputError
from svsim.latency.memory import GPU_MEMORY_UTILIZATION
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.metrics.rows import ResultTable, result_rows
from svsim.progress import OnProgress
from svsim.trace.file import TraceReader
from svsim.trace.parts import IN_MEMORY_POSITIONS, FileSource, MemorySource, Source
from svsim.trace.token_trace import TokenTrace, TraceMetadata
from svsim.version import __version__

if TYPE_CHECKING:
    from svsim.decoding.acceptance_rules import AcceptanceRule
    from svsim.decoding.method import DecodingMethod
    from svsim.engines.binding import Deployment
    from svsim.engines.settings import PreparedRun, RunSettings
    from svsim.feasibility import MemoryFit
    from svsim.metrics.signal_values import SignalValues
    from svsim.metrics.trace_information import TraceInformation
    from svsim.records import RunRecord

DEFAULT_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 48, 64)
VALUE_BATCH_SIZES = (1, 8, 32, 64)
MAX_BATCH_SIZE = 4096
MAX_REDRAWS = 10_000
W = TypeVar("W", bound=str)
N = TypeVar("N", int, float)


class RunOptions(TypedDict, total=False):
    """Options of ``replay`` and ``analytic``, the words of the command line; all may be left out.

    methods: texts (``"sv:k=7"``) or DecodingMethod objects (default td, sd:k=5, sv:k=7);
    batch_sizes: default 1 to 64; hardware: names such as ``"h100_sxm:tp=4,draft=replicated"``; latency:
    ``"trace"``, ``"database"``, ``"roofline"``, a file, or a LatencyModel; prices: a file of dollars per
    GPU-hour; gpu_memory_utilization: share of each GPU's memory that the server uses (default 0.9);
    coins: ``"recorded"`` or ``"redraw:N"``.
    """

    methods: Sequence["str | DecodingMethod"]
    batch_sizes: Sequence[int]
    hardware: Sequence[str]
    latency: str | LatencyModel
    refill: str | None
    batch_of: str | None
    prefill: str | None
    profile_split: float | None
    coins: str
    convention: str
    out_of_range: OutOfRange
    prices: str | Path | None
    gpu_memory_utilization: float | None
    seed: int
    jobs: int | None


@dataclass(frozen=True, slots=True)
class _Run:
    """Options understood: what the engines need, and what the result says of it."""

    prepared: "PreparedRun"
    memory: "MemoryFit"
    costs: Mapping[str, RunningCost]
    asked: frozenset[str]
    trace: Mapping[str, Any]
    config: Mapping[str, Any]
    notes: tuple[str, ...]

    def table(self, engine: str, records: Sequence["RunRecord"]) -> ResultTable:
        seed = self.prepared.settings.seed
        fits = self.memory.of_record
        marked = [
            replace(r, asked=r.label in self.asked, fits_memory=fits(r), **asdict(self._cost(r)))
            for r in records
        ]
        config = {"engine": engine, **self.config}
        return ResultTable(result_rows(marked, seed), __version__, self.trace, config, self.notes)

    def _cost(self, record: "RunRecord") -> RunningCost:
        return self.costs[record.deployment]


def replay(
    trace: TokenTrace | str | Path, *, progress: OnProgress | None = None, **options: Unpack[RunOptions]
) -> ResultTable:
    """Replay a trace under decoding methods, batch sizes and hardware: the compiled closed loop.

    ``progress`` is called after every run. Raises the errors of ``svsim.errors``.

    >>> svsim.replay("traces/llama70b.parquet", batch_sizes=[8, 64]).to_frame()  # doctest: +SKIP
    """
    from svsim.engines.belief_error import with_belief_error
    from svsim.engines.replay import ClosedLoopReplay

    run = _understand(trace, options)
    records = ClosedLoopReplay(run.prepared).run(progress)
    records = with_belief_error(records, run.prepared)
    return run.table("replay", records)


def analytic(
    trace: TokenTrace | str | Path, *, progress: OnProgress | None = None, **options: Unpack[RunOptions]
) -> ResultTable:
    """The question of ``replay`` answered by the analytic model: renewal walks instead of a loop.

    Same options, same rows; ``replay_kind`` is ``approximate`` in all of them. Of a trace too long for
    memory a sample of requests is walked, and a note says so. Raises the errors of ``svsim.errors``.

    >>> svsim.analytic("traces/llama70b.parquet", batch_sizes=[8, 64]).to_frame()  # doctest: +SKIP
    """
    from svsim.analytic_model.model import AnalyticModel
    from svsim.engines.belief_error import with_belief_error

    run = _understand(trace, options)
    model = AnalyticModel(run.prepared)
    records = with_belief_error(model.run(progress), run.prepared)
    return replace(run, notes=run.notes + model.notes).table("analytic", records)


def info(
    trace: TokenTrace | str | Path,
    *,
    profile_split: float = 0.5,
    latency: str | LatencyModel = "trace",
    hardware: Sequence[str] = (),
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> "TraceInformation":
    """What a trace holds: sizes, acceptance by depth and fixed length, what its signals tell, checks.

    Beliefs are learnt on a ``profile_split`` of the requests and judged on the others; ``latency`` and
    ``hardware``, as in ``replay``, price the steps that are slower than target-only decoding. Raises the
    errors of ``svsim.errors``.
    """
    from svsim.inspection.inspect import InspectionSettings, inspect_trace

    if not 0.0 < profile_split < 1.0:
        raise InputError(f"`profile_split` {profile_split:g} is out of range; expected 0 < split < 1")
    settings = InspectionSettings(
        file=Path(trace).name if isinstance(trace, str | Path) else None,
        profile_split=profile_split,
        seed=_integer("seed", seed, 0, 2**63 - 1),
        latency=latency,
        hardware=tuple(hardware),
        jobs=_integer("jobs", _or(jobs, os.cpu_count() or 1), 1, 1024),
    )
    return inspect_trace(open_source(trace), settings, progress)


def value(
    trace: TokenTrace | str | Path,
    *,
    k: int | None = None,
    batch_sizes: Sequence[int] = (),
    hardware: Sequence[str] = (),
    latency: str | LatencyModel = "trace",
    profile_split: float = 0.5,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> "SignalValues":
    """What the signals of a trace are worth: held-out bits, and goodput under the same selection.

    Beliefs from every signal, from the mean alone and from the acceptance probability itself choose what to
    verify of ``k`` drafted tokens (default 7, or K). Raises the errors of ``svsim.errors``.
    """
    from svsim.decoding.presets import target_only
    from svsim.inspection.signal_value import value_of_signals

    source = open_source(trace)
    if not 0.0 < profile_split < 1.0:
        raise InputError(f"`profile_split` {profile_split:g} is out of range; expected 0 < split < 1")
    options: RunOptions = {
        "batch_sizes": batch_sizes or VALUE_BATCH_SIZES,
        "profile_split": profile_split,
        "seed": seed,
        "jobs": jobs,
    }
    longest = source.metadata.num_speculative_tokens
    settings = replace(_settings(options, [target_only()]), trim_batch_sizes=not batch_sizes)
    return value_of_signals(
        source,
        settings,
        _deployments(source, latency, hardware),
        _integer("k", _or(k, min(7, longest)), 1, longest),
        Path(trace).name if isinstance(trace, str | Path) else None,
        progress,
    )


def _understand(trace: TokenTrace | str | Path, options: RunOptions) -> _Run:
    from svsim.decoding.presets import parse_method, target_only
    from svsim.engines.settings import prepare
    from svsim.feasibility import MemoryFit

    source = open_source(trace)
    notes: list[str] = []
    texts = options.get("methods") or _default_methods(source, notes)
    limit = source.metadata.num_speculative_tokens
    methods = _distinct(parse_method(m, limit, source.signals) if isinstance(m, str) else m for m in texts)
    asked = frozenset(m.label for m in methods)
    if "td" not in asked:
        methods = [target_only(), *methods]  # the baseline of every speedup

    settings = _settings(options, methods)
    latency = options.get("latency") or "trace"
    deployments = _deployments(
        source,
        latency,
        options.get("hardware") or (),
        options.get("out_of_range") or "raise",
        draft_of_one_sequence=settings.convention.draft_of_one_sequence,
    )
    prepared = prepare(source, settings, deployments)
    utilization = _or(options.get("gpu_memory_utilization"), GPU_MEMORY_UTILIZATION)
    memory = MemoryFit.of(prepared, utilization)
    prices = options.get("prices")
    costs = {d.name: RunningCost.of(d.latency, prices) for d in deployments}
    config = {
        "methods": sorted(asked),
        "batch_sizes": list(prepared.settings.batch_sizes),
        "hardware": [d.latency.hardware for d in deployments],
        "deployments": [d.name for d in deployments],
        "gpu_memory_utilization": utilization,
        "latency": latency if isinstance(latency, str) else latency.source,
        "refill": settings.refill,
        "batch_of": settings.batch_of,
        "prefill": settings.prefill,
        "profile_split": settings.profile_split,
        "coins": options.get("coins", "recorded"),
        "convention": settings.convention.name,
        "seed": settings.seed,
    }
    file = Path(trace).name if isinstance(trace, str | Path) else None
    about = {
        "file": file,
        "num_evaluation_positions": prepared.part.num_positions,
        **provenance(source.metadata),
    }
    notes += [*prepared.notes, *memory.notes(prepared.settings.batch_sizes)]
    return _Run(prepared, memory, costs, asked, about, config, tuple(notes))


def _deployments(
    source: Source,
    latency: str | LatencyModel,
    hardware: Sequence[str],
    out_of_range: OutOfRange = "raise",
    draft_of_one_sequence: bool = False,
) -> list["Deployment"]:
    """What ``--latency`` and ``--hardware`` stand for, or the given latency model."""
    from svsim.engines.binding import Deployment

    if isinstance(latency, str):
        priced = priced_hardware(source, latency, hardware, out_of_range)
    else:
        priced = [PricedHardware(latency)]
    return [Deployment(p.latency, draft_of_one_sequence, p.spec) for p in priced]


def _settings(options: RunOptions, methods: Sequence["DecodingMethod"]) -> "RunSettings":
    """The options that say how to run, checked; a convention fixes some of them."""
    from svsim.engines.convention import CONVENTIONS, BatchOf, Prefill, Refill
    from svsim.engines.settings import RunSettings

    convention = CONVENTIONS[_word("convention", options.get("convention") or "native", tuple(CONVENTIONS))]
    fixed_by = convention.name if convention.is_fixed else None
    refills: tuple[Refill, ...] = get_args(Refill)
    batches: tuple[BatchOf, ...] = get_args(BatchOf)
    prefills: tuple[Prefill, ...] = get_args(Prefill)
    seed, coins = _integer("seed", options.get("seed", 0), 0, 2**63 - 1), options.get("coins", "recorded")
    sizes = options.get("batch_sizes") or ()
    return RunSettings(
        methods=tuple(methods),
        batch_sizes=tuple(dict.fromkeys(_integer("batch_sizes", b, 1, MAX_BATCH_SIZE) for b in sizes))
        or DEFAULT_BATCH_SIZES,
        trim_batch_sizes=not sizes,
        refill=_by_convention("refill", options.get("refill"), refills, convention.refill, fixed_by),
        batch_of=_by_convention("batch_of", options.get("batch_of"), batches, convention.batch_of, fixed_by),
        prefill=_by_convention("prefill", options.get("prefill"), prefills, convention.prefill, fixed_by),
        profile_split=_share(options.get("profile_split"), convention.profile_split),
        coins=_coins(coins, seed),
        convention=convention,
        seed=seed,
        jobs=_integer("jobs", _or(options.get("jobs"), os.cpu_count() or 1), 1, 1024),
    )


def open_source(trace: TokenTrace | str | Path) -> Source:
    """Where a run reads its trace from: memory, or a file of any length."""
    return MemorySource(trace) if isinstance(trace, TokenTrace) else FileSource(TraceReader(trace))


def fits_in_memory(trace: str | Path) -> bool:
    """Whether a trace file is short enough for the analytic model (a longer one is streamed)."""
    return TraceReader(trace).num_positions <= IN_MEMORY_POSITIONS


def provenance(metadata: TraceMetadata) -> dict[str, Any]:
    """Where a trace comes from, as plain JSON values."""
    return asdict(metadata)


def _distinct(methods: Iterable["DecodingMethod"]) -> list["DecodingMethod"]:
    return list({m.label: m for m in methods}.values())


def _default_methods(source: Source, notes: list[str]) -> list[str]:
    """td, sd:k=5 and sv:k=7, as far as the trace carries them."""
    limit = source.metadata.num_speculative_tokens
    methods = ["td", f"sd:k={min(5, limit)}"]
    missing = [s for s in ("similarity", "companion_accept") if s not in source.signals]
    if missing:
        notes.append(
            f"sv is left out: the trace has no {' or '.join(missing)} (record it with a companion model)"
        )
    else:
        methods.append(f"sv:k={min(7, limit)}")
    return methods


def _by_convention(name: str, given: str | None, words: tuple[W, ...], default: W, fixed_by: str | None) -> W:
    """The given word, or the default; where a convention fixes it, others contradict it."""
    if fixed_by and given not in (None, default):
        raise InputError(f"`convention={fixed_by}` fixes `{name}={default}`; leave `{name}` out")
    return _word(name, given or default, words)


def _share(given: float | None, default: float) -> float:
    share = default if given is None else given
    if not 0.0 <= share < 1.0:
        raise InputError(f"`profile_split` {share:g} is out of range; expected 0 <= split < 1")
    return share


def _coins(text: str, seed: int) -> "AcceptanceRule":
    from svsim.decoding.acceptance_rules import RecordedCoins, RedrawnCoins

    word, _, count = text.partition(":")
    if text == "recorded":
        return RecordedCoins()
    if word == "redraw" and count.isdecimal():
        return RedrawnCoins(_integer("coins", int(count), 1, MAX_REDRAWS), seed)
    raise InputError(f"`coins` {text} is unknown; use recorded, or redraw:N as redraw:20")


def _or(given: N | None, default: N) -> N:
    return default if given is None else given


def _word(name: str, given: str, words: tuple[W, ...]) -> W:
    for word in words:
        if word == given:
            return word
    raise InputError(f"`{name}` {given} is unknown; choose one of {', '.join(words)}")


def _integer(name: str, given: int, least: int, most: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        raise InputError(f"`{name}` {given} is out of range; expected a whole number from {least} to {most}")
    return given
